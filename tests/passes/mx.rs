//! `trusted_hosts: mx`: a filter service in front of the provider is trusted because the domain's MX records name it. A scripted name server
//! answers; the mailbox and the targets are real.

use crate::support::*;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Answers every MX question with `10 mx.filter.example.`, or with a failure, and counts. RFC 1035 §4.
struct NameServer {
    port: u16,
    asked: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Answer {
    Mx,
    NoSuchName,
    ServerFailure,
}

impl NameServer {
    fn start(answer: Answer) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (port, asked, ends) = (socket.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&asked), Arc::clone(&ends));
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                let Ok((_, peer)) = socket.recv_from(&mut packet) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                // Identifier; then the one question: labels up to the empty one, type, class.
                let name = packet[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
                let question = &packet[12..12 + name + 4];
                assert_eq!(&question[name..], [0, 15, 0, 1], "type MX, class IN");
                let (code, answers) = match answer {
                    Answer::Mx => (0, 1),
                    Answer::NoSuchName => (3, 0),
                    Answer::ServerFailure => (2, 0),
                };
                let mut reply = vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
                reply.extend_from_slice(question);
                if answers > 0 {
                    let host = b"\x02mx\x06filter\x07example\x00";
                    // A pointer to the question's name, MX, IN, a time to live, length, preference, host.
                    reply.extend_from_slice(&[0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 2 + host.len() as u8, 0, 10]);
                    reply.extend_from_slice(host);
                }
                socket.send_to(&reply, peer).unwrap();
            }
        });
        NameServer { port, asked, ends }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// The provider took it from the filter, and the filter wrote down who it was for.
const LETTER: &str = "Received: from mx.filter.example (mx.filter.example [192.0.2.25]) by imap.pop.example with ESMTPS id 2; Sat, 21 Nov 2026 10:00:01 +0000\r\n\
    X-Original-To: anna@pop.example\r\n\
    Received: from out.sender.example (out.sender.example [198.51.100.7]) by mx.filter.example with ESMTPS id 1; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
    From: S <s@sender.example>\r\nTo: somebody@else.example\r\nSubject: one\r\nMessage-ID: <1@sender.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\ntext\r\n";

fn program(from: &Dovecot, boxes: &Boxes, dns: u16, trusted: &str) -> Mailgather {
    let collector = CollectorYaml::imap(from, "source").after("delete").set("email", "source@pop.example");
    let collector = collector.set("recipient", &format!("{{auto: {{trusted_hosts: {trusted}}}, default_box: post@pop.example}}"));
    let text = config(&boxes.delivery(), &[collector]);
    Mailgather::new(&text.replace("service: {", &format!("service: {{dns: '127.0.0.1:{dns}', ")))
}

#[test]
fn the_hosts_of_the_mx_records_are_trusted_where_the_operator_says_so() {
    let dns = NameServer::start(Answer::Mx);
    for (trusted, recipient, asked) in [("auto", "post@pop.example", false), ("mx", "anna@pop.example", true)] {
        let (from, boxes) = (Dovecot::start(), Boxes::new());
        from.put("source", LETTER.as_bytes());
        let program = program(&from, &boxes, dns.port, trusted);
        let explained = program.run_to_end("explain", &["source", "--last", "1"]).expect_success().stdout;
        assert!(explained.contains(recipient), "{explained}");
        program.once(&[]).expect_success();
        assert_eq!((boxes.of(recipient).count(), from.count("source")), (1, 0), "{trusted}");
        assert_eq!(dns.asked() > 0, asked, "{trusted}");
    }
}

#[test]
fn a_domain_without_mx_records_takes_its_mail_itself() {
    let dns = NameServer::start(Answer::NoSuchName);
    let (from, boxes) = (Dovecot::start(), Boxes::new());
    from.put("source", LETTER.as_bytes());
    program(&from, &boxes, dns.port, "mx").once(&[]).expect_success();
    assert_eq!((boxes.of("post@pop.example").count(), from.count("source")), (1, 0));
}

#[test]
fn while_name_servers_fail_mail_waits_at_its_source() {
    let dns = NameServer::start(Answer::ServerFailure);
    let (from, boxes) = (Dovecot::start(), Boxes::new());
    from.put("source", LETTER.as_bytes());
    let program = program(&from, &boxes, dns.port, "mx");
    let done = program.once(&[]).expect_code(69);
    assert!(done.stderr.contains("the MX records of pop.example cannot be looked up"), "{}", done.stderr);
    assert_eq!(from.count("source"), 1);
    let done = program.run_to_end("explain", &["source"]).expect_code(69);
    assert!(done.stderr.contains("error[MG-210]") && done.stderr.contains("trusted_hosts"), "{}", done.stderr);
}
