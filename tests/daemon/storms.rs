//! Reload storms: many reloads, by signal and by the control socket, with a configuration that really changes, while mail is delivered.

use super::*;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

const RELOADS: usize = 1_000;

/// One request over the control socket: the status and the body.
fn request(socket: &Path, method: &str, place: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "{method} {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// What a process takes of the system: open files, threads, and memory in octets (proc(5)).
#[derive(Clone, Copy, Debug)]
struct Taken {
    files: usize,
    threads: usize,
    memory: usize,
}

impl Taken {
    fn by(pid: u32) -> Taken {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
            line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Taken { files, threads: number("Threads"), memory: number("VmRSS") * 1024 }
    }
}

/// How often the file was read again and taken, as the metrics have it.
fn reloads(socket: &Path) -> usize {
    let (_, text) = request(socket, "GET", "/metrics");
    let taken = text.lines().filter(|line| line.starts_with("mailgather_config_reloads_total{") && line.contains("result=\"success\""));
    let counts: Vec<f64> = taken.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!counts.is_empty(), "{text}");
    counts.iter().sum::<f64>() as usize
}

/// Four collectors deliver while the configuration changes a thousand times, each time another collector: nothing is lost, nothing comes twice, a collector
/// that did not change keeps its connection, and the process takes no more of anything than before.
#[test]
fn f54_a_thousand_reloads_while_mail_is_delivered() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let users = ["a", "b", "c", "d"];
    let with = |n: usize| {
        // The n-th change is one of the collector n % 4.
        let changed = |at: usize| (n + 3 - at) / 4;
        let collectors: Vec<CollectorYaml> = users
            .iter()
            .enumerate()
            .map(|(at, user)| {
                let interval = if changed(at) % 2 == 0 { "200ms" } else { "300ms" };
                imap(&server, user).after("delete").set("interval", interval).set("max_messages_per_session", "20")
            })
            .chain([imap(&server, "waits").set("idle", "on").set("interval", "1h")])
            .collect();
        often(&config(&sink.delivery(), &collectors)).replace("log: {level: debug}", "log: {level: info}")
    };
    users.iter().for_each(|user| server.put(user, &letter(usize::MAX)));
    let program = Mailgather::new(&with(0));
    let mut daemon = program.run();
    let socket = program.state_dir().join("control.sock");
    sink.wait_for(users.len());
    eventually("IDLE of the one that waits", SOON, || {
        request(&socket, "GET", "/metrics").1.contains("mailgather_idle_connected{collector=\"waits\"} 1")
    });
    sink.clear();
    let connections = || server.log().lines().filter(|line| line.contains("Login: user=<waits>")).count();
    let (before, logins) = (Taken::by(daemon.pid()), connections());
    let mut most = before;
    let mut taken = reloads(&socket);
    for n in 1..=RELOADS {
        server.put(users[n % users.len()], &letter(n));
        program.configure(&with(n));
        if n % 2 == 0 {
            let (status, body) = request(&socket, "POST", "/v1/reload");
            assert_eq!(status, 200, "{body}");
            serde_json::from_str::<Value>(&body).unwrap();
        } else {
            daemon.signal(Signal::HUP);
            // Signals that come together are one: each is waited for.
            eventually("the reload by the signal", SOON, || reloads(&socket) > taken);
        }
        taken = reloads(&socket);
        if n % 50 == 0 {
            let now = Taken::by(daemon.pid());
            most = Taken { files: most.files.max(now.files), threads: most.threads.max(now.threads), memory: most.memory.max(now.memory) };
        }
    }
    sink.wait_for(RELOADS);
    eventually("the sources are empty", SOON, || users.iter().all(|user| server.count(user) == 0));
    assert!(taken >= RELOADS, "{taken}");
    assert_eq!(connections(), logins, "the one that did not change kept its connections");
    assert!(daemon.is_alive());
    let ended = |now: Taken| now.files <= before.files + 8 && now.threads <= before.threads + 4;
    eventually("files and threads are as before", Duration::from_secs(40), || ended(Taken::by(daemon.pid())));
    assert!(most.files < before.files + 100 && most.threads < before.threads + 40, "{before:?} {most:?}");
    assert!(most.memory < before.memory + (32 << 20), "{before:?} {most:?}");
    // The word of the server still comes through the connection that was kept.
    server.put("waits", &letter(0));
    sink.wait_for(RELOADS + 1);
    daemon.stop().expect_success();
    assert_each_once(&sink, RELOADS + 1);
}

/// Many at once, the file good and bad in turn: each is answered, and the daemon goes on with what was good.
#[test]
fn f54_reloads_at_once_are_all_answered() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let mut daemon = program.run();
    first_pass(&mut daemon);
    let socket = program.state_dir().join("control.sock");
    for text in [good.replace("collect: new", "collect: never"), good[..good.len() / 2].to_owned(), good.clone()] {
        program.configure(&text);
        let wanted = if text == good { 200 } else { 422 };
        let asking: Vec<_> = (0..40)
            .map(|_| {
                let socket = socket.clone();
                std::thread::spawn(move || request(&socket, "POST", "/v1/reload"))
            })
            .collect();
        (0..40).for_each(|_| daemon.signal(Signal::HUP));
        for asked in asking {
            let (status, body) = asked.join().unwrap();
            assert!(status == wanted && (wanted == 200 || body.contains(".yaml:")), "{status} {body}");
        }
    }
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    assert_eq!(sessions(&daemon, "one"), 2, "the collector itself never changed");
    daemon.stop().expect_success();
}
