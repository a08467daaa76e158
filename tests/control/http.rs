//! The protocol of the socket: who may speak, what is said to nonsense, events, and clients that are stuck.

use crate::kit::{imap, letter, raw, request, running, socket};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn places_problems_and_permissions() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for (place, status) in
        [("/livez", 200), ("/readyz", 200), ("/health/collectors", 200), ("/openapi.json", 200), ("/v1/status", 200), ("/v1/jobs", 200)]
    {
        let (found, body) = request(&path, "GET", place, "");
        assert_eq!(found, status, "{place}: {body}");
        serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{place}: {error}: {body}"));
    }
    for (method, place, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/v1/collectors/nobody", "", 404),
        ("GET", "/v1/collectors/%2e%2e", "", 404),
        ("POST", "/v1/collectors/nobody/collect", "", 404),
        ("POST", "/v1/status", "", 405),
        ("DELETE", "/v1/collectors/one", "", 405),
        ("POST", "/v1/collect", "{\"names\": 1}", 400),
        ("POST", "/v1/collect?wait=soon", "", 400),
        ("GET", "/v1/jobs/99", "", 404),
    ] {
        let (found, answer) = request(&path, method, place, body);
        assert_eq!(found, status, "{method} {place}: {answer}");
        let problem: Value = serde_json::from_str(&answer).unwrap();
        assert!(problem["status"] == status && problem["detail"].is_string() && problem["title"].is_string(), "{answer}");
    }
    assert!(raw(&path, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let too_long = "x".repeat(2 * 1024 * 1024);
    let (status, _) = request(&path, "POST", "/v1/collect", &too_long);
    assert!(status == 413 || status == 0, "{status}: refused, or cut off while it was still being sent");
    daemon.stop().expect_success();
}

/// The routes as the server's source has them, in the words of the document: method and place.
fn routes() -> BTreeSet<(String, String)> {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/route.rs")).unwrap();
    let mut routes = BTreeSet::new();
    for line in source.lines().map(str::trim) {
        let Some((steps, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { continue };
        // A place with several methods has a condition for all but the last.
        let Some((_, rest)) = rest.split_once(" => (\"").filter(|(guard, _)| guard.is_empty() || guard.starts_with(" if ")) else { continue };
        let method = rest.split('"').next().unwrap().to_owned();
        // `word @ ("a" | "b")` is two places; a bare name is a variable.
        let mut places = vec![String::new()];
        for step in steps.split(", ") {
            let words: Vec<String> = match step.split_once(" @ ") {
                Some((_, words)) => words.trim_matches(['(', ')']).split(" | ").map(|word| word.trim_matches('"').to_owned()).collect(),
                None if step.starts_with('"') => vec![step.trim_matches('"').to_owned()],
                None => vec![format!("{{{step}}}")],
            };
            places = places.iter().flat_map(|place| words.iter().map(move |word| format!("{place}/{word}"))).collect();
        }
        routes.extend(places.into_iter().map(|place| (method.clone(), place)));
    }
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert!(source.contains(&format!("\"{method}\"")), "{method}");
        routes.insert((method.to_owned(), "/v1/config/collectors/{id}".to_owned()));
    }
    routes
}

/// The document is written by hand: it has each place that the server answers, with its methods, and no other.
#[test]
fn the_document_of_the_api_has_what_is_answered_and_nothing_else() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    let (_, document) = request(&path, "GET", "/openapi.json", "");
    let document: Value = serde_json::from_str(&document).unwrap();
    let methods = |of: &Value| of.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect::<Vec<_>>();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(place, of)| methods(of).into_iter().map(move |method| (method, place.clone())))
        .collect();
    assert!(documented.len() > 25, "{documented:?}");
    assert_eq!(documented, routes());
    let (_, job) = request(&path, "POST", "/v1/collect?wait=30s", "{\"names\": [\"one\"]}");
    let number = serde_json::from_str::<Value>(&job).unwrap()["job"].to_string();
    // The first octets of the answer: some of them have no end.
    let status = |method: &str, place: &str| {
        let place = place.replace("{id}", "one").replace("{number}", &number);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "{method} {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8_lossy(&start[9..]).parse::<u16>().unwrap()
    };
    // The last one is its end.
    let (last, others): (Vec<_>, Vec<_>) = documented.iter().partition(|(_, place)| place == "/v1/stop");
    assert_eq!(last.len(), 1);
    for (method, place) in others.into_iter().chain(last) {
        let other = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|other| !documented.contains(&((*other).to_owned(), place.clone())));
        assert_eq!(status(other.unwrap(), place), 405, "{other:?} {place}");
        let found = status(method, place);
        assert!(![0, 404, 405, 500, 501].contains(&found), "{method} {place}: {found}");
        // What changes nothing needs no body.
        assert!(method != "GET" || found == 200, "{method} {place}: {found}");
    }
    daemon.wait(SOON).expect_success();
}

#[test]
fn a_job_tells_how_far_it_is() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("max_messages_per_session", "10")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    (0..50).for_each(|n| server.put("one", &letter(n)));
    let (status, job) = request(&path, "POST", "/v1/collect", "{\"names\": [\"one\"]}");
    assert_eq!(status, 202, "{job}");
    let number = serde_json::from_str::<Value>(&job).unwrap()["job"].as_u64().unwrap();
    let answer = raw(&path, &format!("GET /v1/jobs/{number}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert!(answer.to_ascii_lowercase().contains("content-type: text/event-stream"), "{answer}");
    let states: Vec<Value> = answer.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let (last, part) = (states.last().unwrap(), &states.last().unwrap()["collectors"][0]);
    assert!(answer.contains("event: done") && last["state"] == "done", "{answer}");
    // All of the backlog, over the limit of one session.
    assert_eq!((&part["taken"], &part["result"]["delivered"], &part["result"]["outcome"]), (&50.into(), &50.into(), &"ok".into()), "{last}");
    assert_eq!(sink.taken().len(), 50);
    let (_, again) = request(&path, "GET", &format!("/v1/jobs/{number}"), "");
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["state"], "done");
    daemon.stop().expect_success();
}

/// f74: clients that connect and say nothing, or stop in the midst, take neither the mail's time nor each other's for good.
#[test]
fn f74_stuck_clients_are_let_go() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    // More than there are places for.
    let stuck: Vec<UnixStream> = (0..80)
        .map(|n| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(if n % 2 == 0 { b"GET /v1/sta" } else { b"" }).unwrap();
            stream
        })
        .collect();
    server.put("one", &letter(1));
    daemon.signal(crate::support::process::Signal::USR1);
    sink.wait_for(1);
    // Their time is over, one after the other: who comes behind them gets an answer.
    let mut last = UnixStream::connect(&path).unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(stuck);
    daemon.stop().expect_success();
}

/// The metrics are what the log says, and those of a collector go when it goes.
#[test]
fn metrics_follow_the_collectors() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let both = config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two").set("enabled", "false")]);
    let program = Mailgather::new(&both);
    (0..3).for_each(|n| server.put("one", &letter(n)));
    let daemon = running(&program, 1);
    let path = socket(&program);
    let (status, text) = request(&path, "GET", "/metrics", "");
    assert_eq!(status, 200);
    for line in [
        "mailgather_collectors{state=\"enabled\"} 1.0",
        "mailgather_collectors{state=\"disabled\"} 1.0",
        "mailgather_config_last_reload_successful 1.0",
        "mailgather_collector_up{collector=\"one\"} 1.0",
        "mailgather_sessions_total{collector=\"one\",result=\"ok\"} 1",
        "mailgather_messages_delivered_total{collector=\"one\",transport=\"lmtp\"} 3",
        "mailgather_session_errors_total{collector=\"one\",reason=\"auth\"} 0",
        "mailgather_message_size_bytes_count{collector=\"one\"} 3",
        "mailgather_remote_messages{collector=\"one\",folder=\"INBOX\"} 3.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!text.contains("anna@") && !text.contains("127.0.0.1"), "addresses are no labels: {text}");
    // One is gone, and so are its series.
    program.configure(&config(&sink.delivery(), &[imap(&server, "two")]));
    program.run_to_end("reload", &[]).expect_success();
    eventually("the other's series", SOON, || {
        let (_, text) = request(&path, "GET", "/metrics", "");
        text.contains("collector=\"two\"") && !text.contains("collector=\"one\"")
    });
    program.configure("nonsense: 1");
    program.run_to_end("reload", &[]).expect_code(78);
    let (_, text) = request(&path, "GET", "/metrics", "");
    assert!(text.contains("mailgather_config_last_reload_successful 0.0\n"), "{text}");
    daemon.stop().expect_success();
}

/// f74: whoever is not the daemon's user is kept out by the kernel; what stands in the socket's place is never followed nor removed; floods and rubbish
/// cost nobody's mail, and little memory.
#[test]
fn f74_other_users_links_floods_and_rubbish() {
    use std::os::unix::fs::symlink;
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let path = program.state_dir().join("control.sock");
    // A link that somebody laid there: the daemon collects, and is not led elsewhere.
    let precious = program.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    symlink(&precious, &path).unwrap();
    let mut daemon = program.run();
    assert!(daemon.wait_for("control_unavailable").contains("is no socket"));
    server.put("one", &letter(1));
    daemon.signal(crate::support::process::Signal::USR1);
    sink.wait_for(1);
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    daemon.stop().expect_success();
    std::fs::remove_file(&path).unwrap();
    // What a crash left is taken away.
    let daemon = running(&program, 1);
    socket(&program);
    daemon.kill();
    assert!(path.exists(), "a crash leaves it");
    let daemon = running(&program, 1);
    eventually("it answers", SOON, || UnixStream::connect(&path).is_ok());
    assert_eq!(request(&path, "GET", "/livez", "").0, 200);
    // Another user: every folder on the way is open, and the socket is not.
    for folder in [program.path().to_owned(), program.state_dir()] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut other = std::process::Command::new("setpriv");
    other.args(["--reuid", "5000", "--regid", "5000", "--clear-groups", "curl", "--silent", "--show-error", "--unix-socket"]);
    let asked = other.arg(&path).arg("http://localhost/v1/status").output().unwrap();
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(!asked.status.success() && asked.stdout.is_empty() && !said.contains("No such file"), "{said}");
    // A gigabyte is announced, and some of it sent; headers without an end; rubbish.
    let memory = daemon.peak_memory();
    let mut floods: Vec<UnixStream> = Vec::new();
    for n in 0..30 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let head = match n % 3 {
            0 => "POST /v1/collect HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n",
            1 => "GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ",
            _ => "\u{1}\u{2}\u{3}\r\n",
        };
        // Who is cut off while it sends has been told.
        let _ = stream.write_all(head.as_bytes());
        for _ in 0..64 {
            if stream.write_all(&[b'x'; 64 * 1024]).is_err() {
                break;
            }
        }
        floods.push(stream);
    }
    server.put("one", &letter(2));
    daemon.signal(crate::support::process::Signal::USR1);
    sink.wait_for(2);
    drop(floods);
    eventually("it answers", Duration::from_secs(60), || request(&path, "GET", "/livez", "").0 == 200);
    assert!(daemon.peak_memory() < memory + (32 << 20), "{memory} {}", daemon.peak_memory());
    daemon.stop().expect_success();
    assert_eq!(sink.count(), 2);
}

/// Said again with the same key a request is done once, whether the first answer was heard or not.
#[test]
fn a_key_makes_a_request_one() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two")]));
    let daemon = running(&program, 2);
    let path = socket(&program);
    let post = |place: &str, key: &str, body: &str| -> (u16, Value) {
        let length = body.len();
        let head =
            format!("POST {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = raw(&path, &head);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default())
    };
    let asked = || daemon.count_log("collect_requested");
    let (status, first) = post("/v1/collect", "k-1", "");
    let (_, second) = post("/v1/collect?wait=30s", "k-1", "");
    assert!(status == 202 && first["job"].is_u64() && first["job"] == second["job"] && second["state"] == "done", "{first} {second}");
    assert_eq!(asked(), 1);
    // Several at once, one of whom goes away before it hears anything.
    let gone = "POST /v1/collect HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k-2\r\nContent-Length: 0\r\n\r\n";
    UnixStream::connect(&path).unwrap().write_all(gone.as_bytes()).unwrap();
    let jobs: Vec<Value> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| post("/v1/collect?wait=30s", "k-2", "").1["job"].clone())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(jobs.iter().all(|job| job.is_u64() && *job == jobs[0] && *job != first["job"]), "{jobs:?}");
    assert_eq!(asked(), 2);
    // Without a key, and with another one, it is another request.
    assert_ne!(post("/v1/collect", "k-3", "").1["job"], jobs[0]);
    request(&path, "POST", "/v1/collect", "");
    assert_eq!(asked(), 4);
    for (place, body) in [("/v1/collect", "{\"limit\": 1}"), ("/v1/collectors/one/collect", "")] {
        let (status, problem) = post(place, "k-1", body);
        assert!(status == 422 && problem["detail"].as_str().unwrap().contains("another request"), "{problem}");
    }
    // What is no job is done once as well; what failed may be tried again.
    for _ in 0..3 {
        assert_eq!(post("/v1/collectors/two/disable", "k-4", "{\"reason\": \"once\"}").0, 200);
        assert_eq!(post("/v1/collectors/nobody/disable", "k-5", "").0, 404);
    }
    assert_eq!(daemon.counted("collector_disabled", 1), 1);
    for wrong in ["a b", &"x".repeat(256), "ключ"] {
        assert_eq!(post("/v1/collect", wrong, "").0, 400, "{wrong}");
    }
    assert_eq!(asked(), 4);
    daemon.stop().expect_success();
}
