//! Name servers that fail in each way: the program asks the system's resolver, and the system's resolver asks ours, in a mount namespace.

use crate::support::process::{Daemon, PASSWORD_VARIABLE, PROGRAM, Signal};
use crate::support::*;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

const A: u8 = 1;
const CNAME: u8 = 5;

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    ServFail,
    NoSuchName,
    Silence,
    Nothing,
    CnameLoop,
    Garbage,
    /// An address at which nobody listens.
    WrongAddress,
    Right,
}

const ALL: [Answer; 8] =
    [Answer::ServFail, Answer::NoSuchName, Answer::Silence, Answer::Nothing, Answer::CnameLoop, Answer::Garbage, Answer::WrongAddress, Answer::Right];

struct NameServer {
    mode: Arc<AtomicU8>,
    ends: Arc<AtomicBool>,
}

impl NameServer {
    fn start(socket: UdpSocket, right: Ipv4Addr, wrong: Ipv4Addr) -> NameServer {
        let (mode, ends) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let server = NameServer { mode: Arc::clone(&mode), ends: Arc::clone(&ends) };
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !ends.load(Ordering::Relaxed) {
                let Ok((_, peer)) = socket.recv_from(&mut packet) else { continue };
                let length = packet[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
                let (question, kind) = (packet[12..12 + length + 4].to_vec(), packet[12 + length + 1]);
                let address = |ip: Ipv4Addr| if kind == A { vec![(A, ip.octets().to_vec())] } else { Vec::new() };
                let (code, records) = match ALL[usize::from(mode.load(Ordering::Relaxed))] {
                    Answer::Silence => continue,
                    Answer::Garbage => {
                        let _ = socket.send_to(&[packet[0], packet[1], 0x81, 0x80, 0, 1, 0, 9, 0xff, 0xff], peer);
                        continue;
                    }
                    Answer::ServFail => (2, Vec::new()),
                    Answer::NoSuchName => (3, Vec::new()),
                    Answer::Nothing => (0, Vec::new()),
                    // The name is another name of itself.
                    Answer::CnameLoop => (0, vec![(CNAME, vec![0xc0, 12])]),
                    Answer::WrongAddress => (0, address(wrong)),
                    Answer::Right => (0, address(right)),
                };
                let mut reply = vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
                reply.extend_from_slice(&question);
                for (kind, data) in records {
                    reply.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
                    reply.extend_from_slice(&data);
                }
                let _ = socket.send_to(&reply, peer);
            }
        });
        server
    }

    fn answers(&self, answer: Answer) {
        self.mode.store(ALL.iter().position(|known| *known == answer).unwrap() as u8, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Each failure is one that passes: the session fails with a number that says why, the mail waits, and comes when the name has its address again.
#[test]
fn f47_name_servers_that_fail_delay_mail_and_lose_none() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let (reserved, nobody) = (LoopbackAddress::reserve(), LoopbackAddress::reserve());
    let socket = UdpSocket::bind(SocketAddr::new(reserved.ip().into(), 53)).unwrap();
    let name_server = NameServer::start(socket, Ipv4Addr::LOCALHOST, nobody.ip());
    let collector = CollectorYaml::imap(&server, "one").forward_to("anna@example.org").after("delete").set("timeouts", "{connect: 5s}");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]).replace("server: 127.0.0.1", "server: imap.corp.example"));
    let (resolv, nsswitch, hosts) = (program.path().join("resolv.conf"), program.path().join("nsswitch.conf"), program.path().join("hosts"));
    std::fs::write(&resolv, format!("nameserver {}\noptions timeout:1 attempts:1\n", reserved.ip())).unwrap();
    std::fs::write(&nsswitch, "hosts: files dns\n").unwrap();
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let mut command = Command::new("unshare");
    let script =
        "mount --bind \"$0\" /etc/resolv.conf && mount --bind \"$1\" /etc/nsswitch.conf && mount --bind \"$2\" /etc/hosts && shift 2 && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]).args([&resolv, &nsswitch, &hosts]);
    command.arg(PROGRAM).args(program.arguments("run")).env(PASSWORD_VARIABLE, dovecot::PASSWORD);
    server.put("one", b"Subject: letter\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n");
    let mut daemon = Daemon::start(command);
    for (n, answer) in ALL.into_iter().enumerate() {
        name_server.answers(answer);
        if n > 0 {
            daemon.signal(Signal::USR1);
        } else {
            // What it was asked at its start may have been answered by chance as this one is: the first failure counts.
            assert_eq!(answer, Answer::ServFail);
        }
        if answer == Answer::Right {
            break;
        }
        let failed = daemon.wait_for("session_failed");
        let codes: &[&str] = if answer == Answer::WrongAddress { &["code=MG-211"] } else { &["code=MG-210", "code=MG-212"] };
        assert!(codes.iter().any(|code| failed.contains(code)) && failed.contains("next_try=\"in "), "{answer:?}: {failed}");
        assert_eq!((server.count("one"), sink.count()), (1, 0), "{answer:?}");
    }
    sink.wait_for(1);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_eq!(sink.count(), 1);
}
