//! What goes wrong on the way to the mailbox: the step, what the server said, what to do, and what was not tried.

use crate::kit::*;
use crate::support::corpus::letter;
use crate::support::process::Channel;
use crate::support::*;
use std::net::TcpListener;

fn forwarding(yaml: CollectorYaml) -> CollectorYaml {
    yaml.forward_to(BOX)
}

/// A program with one collector.
fn program(boxes: &Boxes, collector: CollectorYaml) -> Mailgather {
    Mailgather::new(&config(&boxes.delivery(), &[forwarding(collector)]))
}

#[test]
fn m18_what_could_not_authenticate_says_so() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    for (protocol, way) in [(CollectorYaml::imap as fn(&Dovecot, &str) -> _, "AUTHENTICATE PLAIN as u"), (CollectorYaml::pop3, "AUTH PLAIN as u")] {
        server.put("u", &letter(0, "anna@pop.example"));
        let program = program(&boxes, protocol(&server, "u").channel(Channel::Tls)).env(process::PASSWORD_VARIABLE, "Geheim-123");
        let done = test(&program, &["u"]).expect_code(77);
        let out = &done.stdout;
        let login = line(out, "login");
        assert!(login.contains(way) && login.contains(" REFUSED "), "{out}");
        assert!(out.contains("\n              server said: "), "{out}");
        assert!(out.ends_with("  not tried: folder, count, destination\n"), "{out}");
        assert!(done.stderr.contains("error[MG-203]: u: 127.0.0.1:") && done.stderr.contains("hint: check username and password"), "{}", done.stderr);
        assert!(done.stderr.ends_with("more: mailgather explain MG-203\n"), "{}", done.stderr);
        assert!(!format!("{out}{}", done.stderr).contains("Geheim-123"));
    }
    assert_eq!(boxes.of(BOX).count(), 0);
}

#[test]
fn m18_a_provider_says_what_it_wants_in_its_own_words() {
    let boxes = Boxes::new();
    let port = scripted("+OK\r\n", |line| match line.split(' ').next()? {
        "CAPA" => Some("+OK\r\nUSER\r\n.\r\n".into()),
        "USER" => Some("+OK\r\n".into()),
        "PASS" => Some("-ERR [AUTH] NEOBHODIM parol prilozheniya\r\n".into()),
        _ => None,
    });
    let done = test(&program(&boxes, CollectorYaml::at("pop3", "boss", port)), &["boss"]).expect_code(77);
    assert!(line(&done.stdout, "greeting").contains("ok, without a word"), "{}", done.stdout);
    assert!(line(&done.stdout, "login").contains("USER/PASS as boss  "), "{}", done.stdout);
    assert!(done.stdout.contains("server said: [AUTH] NEOBHODIM parol prilozheniya"), "{}", done.stdout);
    assert!(done.stderr.contains("hint: this provider wants an app password"), "{}", done.stderr);
}

#[test]
fn a_dead_port_and_a_name_that_nobody_knows() {
    let boxes = Boxes::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for protocol in ["imap", "pop3"] {
        let done = test(&program(&boxes, CollectorYaml::at(protocol, "u", port)), &["u"]).expect_code(69);
        assert!(line(&done.stdout, "tcp").contains("connection refused") && line(&done.stdout, "tcp").contains(" FAILED "), "{}", done.stdout);
        assert!(done.stdout.ends_with("  not tried: tls, greeting, login, folder, count, destination\n"), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-211]: u: 127.0.0.1:") && done.stderr.contains("hint: "), "{}", done.stderr);
        let yaml = config(&boxes.delivery(), &[forwarding(CollectorYaml::at(protocol, "u", port)).set("timeouts", "{connect: 20s}")]);
        let nowhere = Mailgather::new(&yaml.replace("server: 127.0.0.1", "server: no-such-host.invalid"));
        let done = test(&nowhere, &["u"]).expect_code(69);
        assert_eq!(steps(&done.stdout), ["dns"], "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-210]: u: no-such-host.invalid:"), "{}", done.stderr);
    }
}

#[test]
fn the_port_that_would_answer_is_named() {
    // An address of this test's own: ports 993 and 143 are free there.
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let (dead, ports) = (TcpListener::bind("127.0.7.93:0").unwrap().local_addr().unwrap().port(), server.imaps());
    let listener = TcpListener::bind("127.0.7.93:993").expect("the tests run as root");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(near) = stream else { return };
            let far = std::net::TcpStream::connect(("127.0.0.1", ports)).unwrap();
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (far, near);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    let yaml = config(&boxes.delivery(), &[forwarding(CollectorYaml::at("imap", "u", dead))]).replace("server: 127.0.0.1", "server: 127.0.7.93");
    let done = test(&Mailgather::new(&yaml), &["u"]).expect_code(69);
    // Its certificate is for another name and of an unknown authority: TLS it is all the same.
    let words = "port 993 answers with TLS: `port: 993`, `tls: {mode: implicit}` is probably meant";
    assert!(done.stdout.contains(words) && done.stderr.contains(&format!("hint: {words}")), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_certificate_that_is_not_trusted_is_shown() {
    let server = Dovecot::builder().extra("listen = 127.0.0.1, 127.0.0.2").start();
    let boxes = Boxes::new();
    let ca = format!(", ca_file: {}", server.ca().display());
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        for channel in [Channel::StartTls, Channel::Tls] {
            let good = config(&boxes.delivery(), &[forwarding(protocol(&server, "u").channel(channel))]);
            let unknown = test(&Mailgather::new(&good.replace(&ca, "")), &["u"]).expect_code(69);
            let tls = line(&unknown.stdout, "tls");
            assert!(tls.contains("unknown issuer; its SHA-256 is ") && tls.contains(" FAILED "), "{}", unknown.stdout);
            assert!(
                tls.contains("subject CN=localhost, issuer CN=mailgather test authority, for localhost, 127.0.0.1, valid "),
                "{}",
                unknown.stdout
            );
            assert!(unknown.stderr.contains("error[MG-221]: u: ") && unknown.stderr.contains("ca_file"), "{}", unknown.stderr);
            let not_tried = if channel == Channel::Tls { "greeting, login" } else { "login" };
            assert!(unknown.stdout.ends_with(&format!("  not tried: {not_tried}, folder, count, destination\n")), "{}", unknown.stdout);
            let other_name = test(&Mailgather::new(&good.replace("server: 127.0.0.1", "server: 127.0.0.2")), &["u"]).expect_code(69);
            assert!(line(&other_name.stdout, "tls").contains("not valid for this name"), "{}", other_name.stdout);
            // Switched off it is said aloud, and goes on.
            let off = test(&Mailgather::new(&good.replace(&ca, ", verify: off")), &["u"]).expect_success();
            assert!(
                line(&off.stdout, "tls").contains("localhost, NOT VERIFIED, ") && off.stdout.contains("can pass for the server"),
                "{}",
                off.stdout
            );
        }
    }
    assert!(!server.log().contains("auth failed"), "{}", server.log());
}

/// Lines of dovecot.conf: neither STARTTLS nor STLS; the ports of TLS answer in clear.
const WITHOUT_TLS: &str = "ssl = no
service imap-login {
  inet_listener imaps {
    ssl = no
  }
}
service pop3-login {
  inet_listener pop3s {
    ssl = no
  }
}";

#[test]
fn no_starttls_is_told_and_no_password_is_said() {
    let (server, boxes) = (Dovecot::builder().extra(WITHOUT_TLS).start(), Boxes::new());
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let done = test(&program(&boxes, protocol(&server, "u").channel(Channel::StartTls)), &["u"]).expect_code(69);
        assert!(line(&done.stdout, "tls").contains("does not offer ST"), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-222]: u: ") && done.stderr.contains("hint: use `tls: {mode: implicit}`"), "{}", done.stderr);
        assert!(done.stdout.ends_with("  not tried: login, folder, count, destination\n"), "{}", done.stdout);
        // Opportunistic: the channel stays open, and that is said.
        let open = config(&boxes.delivery(), &[forwarding(protocol(&server, "u"))]).replace("mode: none", "mode: opportunistic");
        for arguments in [&["u"][..], &["u", "--tls"]] {
            let done = test(&Mailgather::new(&open), arguments).expect_success();
            assert!(line(&done.stdout, "tls").contains("not offered by the server"), "{}", done.stdout);
        }
    }
    assert!(!server.log().contains("auth failed"), "{}", server.log());
}

#[test]
fn a_folder_that_is_not_there() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    Maildir(server.maildir("u").0.join(".Somewhere")).make();
    std::fs::write(server.maildir("u").0.join(".Somewhere/maildirfolder"), "").unwrap();
    // One or several: what may be meant is named, and the destination is looked at all the same.
    for folders in ["[Somewere]", "[INBOX, Somewere]"] {
        let collector = CollectorYaml::imap(&server, "u").set("folders", folders);
        let done = test(&program(&boxes, collector), &["u"]).expect_code(78);
        assert!(line(&done.stdout, "folder").contains("there is no folder `Somewere`; there is `Somewhere`"), "{}", done.stdout);
        assert!(line(&done.stdout, "destination").contains(" free"), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-242]: u: there is no folder") && done.stderr.contains("hint: "), "{}", done.stderr);
    }
}

/// Where mail is moved to: a folder is made when it is needed, what only a special use names is not.
#[test]
fn a_folder_to_move_to_that_is_not_there() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    for (key, value) in [("after", "{move_to: Done}"), ("on_hold", "{move_to: Done}")] {
        let done = test(&program(&boxes, CollectorYaml::imap(&server, "u").set(key, value)), &["u"]).expect_success();
        assert!(done.stdout.contains("`Done`, where mail is moved to, is not there: it is made with the first message"), "{}", done.stdout);
    }
    for (key, value) in [("after", "{move_to: '\\Archive'}"), ("on_hold", "{move_to: '\\Archive'}")] {
        let done = test(&program(&boxes, CollectorYaml::imap(&server, "u").set(key, value)), &["u"]).expect_code(78);
        assert!(line(&done.stdout, "folder").contains("moved to \\Archive, and the server names no folder so"), "{}", done.stdout);
        assert!(line(&done.stdout, "destination").contains(" free"), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-242]: u: mail is to be moved"), "{}", done.stderr);
    }
    let there = Maildir(server.maildir("u").0.join(".Done"));
    there.make();
    std::fs::write(there.0.join("maildirfolder"), "").unwrap();
    let done = test(&program(&boxes, CollectorYaml::imap(&server, "u").set("after", "{move_to: Done}")), &["u"]).expect_success();
    assert!(!done.stdout.contains("is not there"), "{}", done.stdout);
}

#[test]
fn a_password_that_cannot_be_read_is_ours() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let yaml = config(&boxes.delivery(), &[forwarding(protocol(&server, "u").channel(Channel::Tls))]);
        let program = Mailgather::new(&yaml.replace("env: MAILGATHER_TEST_PASSWORD", "file: /no/such/file"));
        let done = test(&program, &["u"]).expect_code(78);
        assert!(line(&done.stdout, "login").contains("/no/such/file"), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-202]: u: "), "{}", done.stderr);
    }
}

#[test]
fn servers_that_do_not_speak_their_protocol_or_not_at_all() {
    let boxes = Boxes::new();
    let tried = |protocol: &'static str, port: u16| {
        let collector = CollectorYaml::at(protocol, "u", port).set("timeouts", "{connect: 2s}");
        test(&program(&boxes, collector), &["u"])
    };
    let web = scripted("HTTP/1.0 400 Bad Request\r\n\r\n", |_| None);
    for protocol in ["imap", "pop3"] {
        let done = tried(protocol, web).expect_code(76);
        assert!(line(&done.stdout, "greeting").contains(" FAILED "), "{}", done.stdout);
        assert!(done.stderr.contains("error[MG-241]: u: "), "{}", done.stderr);
        let silent = BlackHole::start();
        let done = tried(protocol, silent.port()).expect_code(69);
        assert!(line(&done.stdout, "greeting").contains(" FAILED ") && done.stderr.contains("error[MG-212]: u: "), "{}", done.stderr);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let done = tried(protocol, gone).expect_code(69);
        assert!(done.stderr.contains("error[MG-213]: u: "), "{}", done.stderr);
    }
    // A server that speaks the other protocol.
    let pop3 = scripted("+OK ready\r\n", |_| None);
    let done = tried("imap", pop3).expect_code(76);
    assert!(done.stderr.contains("hint: this is a POP3 server"), "{}", done.stderr);
    // A server that has no time; what it says may be meant for the terminal.
    let busy = scripted("+OK\r\n", |line| match line.split(' ').next()? {
        "PASS" => Some("-ERR [IN-USE] \x1b[31mlocked\r\n".into()),
        "CAPA" => Some("-ERR\r\n".into()),
        _ => Some("+OK\r\n".into()),
    });
    let done = tried("pop3", busy).expect_code(75);
    assert!(done.stderr.contains("error[MG-204]: u: ") && !format!("{}{}", done.stdout, done.stderr).contains('\x1b'), "{}", done.stdout);
}

#[test]
fn pop3_without_top_or_uidl() {
    let boxes = Boxes::new();
    let server = |without: &'static [&'static str]| {
        scripted("+OK\r\n", move |line| {
            let command = line.split(' ').next()?.to_ascii_uppercase();
            match command.as_str() {
                _ if without.contains(&command.as_str()) => Some("-ERR unknown command\r\n".into()),
                "CAPA" => Some("-ERR\r\n".into()),
                "STAT" => Some("+OK 1 100\r\n".into()),
                "UIDL" => Some("+OK\r\n1 a\r\n.\r\n".into()),
                "TOP" => Some("+OK\r\nSubject: x\r\n\r\n.\r\n".into()),
                // It would mark the message as collected.
                "RETR" | "DELE" => panic!("{line}"),
                _ => Some("+OK\r\n".into()),
            }
        })
    };
    let done = test(&program(&boxes, CollectorYaml::at("pop3", "u", server(&[]))), &["u"]).expect_success();
    assert!(line(&done.stdout, "count").contains("1 message; retrieved"), "{}", done.stdout);
    let done = test(&program(&boxes, CollectorYaml::at("pop3", "u", server(&["TOP"]))), &["u"]).expect_success();
    assert!(line(&done.stdout, "count").contains("1 message  ") && done.stdout.contains("the server refuses TOP"), "{}", done.stdout);
    let done = test(&program(&boxes, CollectorYaml::at("pop3", "u", server(&["UIDL"]))), &["u"]);
    assert!(line(&done.stdout, "count").contains("UIDL") && done.status.code() == Some(75), "{done:?}");
    let deletes = CollectorYaml::at("pop3", "u", server(&["UIDL"])).after("delete");
    test(&program(&boxes, deletes), &["u"]).expect_success();
}

/// The one folder that is named is there, and the server does not open it: the configuration, for `test` and for `once`. Not if it says "later".
#[test]
fn a_folder_that_the_server_does_not_open_has_one_exit_code() {
    for (refusal, code) in [("NO [NOPERM] not yours", 78), ("NO [UNAVAILABLE] later", 75)] {
        let port = scripted("* OK hi\r\n", move |line| {
            let (tag, command) = line.split_once(' ')?;
            Some(match command.split(' ').next()? {
                "CAPABILITY" => format!("* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
                "LIST" => format!("* LIST () \"/\" Theirs\r\n{tag} OK\r\n"),
                "SELECT" | "EXAMINE" => format!("{tag} {refusal}\r\n"),
                _ => format!("{tag} OK\r\n"),
            })
        });
        let boxes = Boxes::new();
        let collector = CollectorYaml::at("imap", "u", port).forward_to(BOX).set("folders", "[Theirs]");
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        test(&program, &["u"]).expect_code(code);
        program.once(&[]).expect_code(code);
    }
}
