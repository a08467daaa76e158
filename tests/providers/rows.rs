//! What a provider fills in, against real servers: server, protocol, port, TLS and login name.

use crate::support::certificates::Certificates;
use crate::support::corpus::letter;
use crate::support::process::{PASSWORD_VARIABLE, PROGRAM, finish};
use crate::support::*;
use std::process::Command;
use std::time::Duration;

const BOX: &str = "box@example.org";
/// What a collector at a known provider has to say.
const COLLECTOR: &str = "email: anna@pop.example, password: {env: MAILGATHER_TEST_PASSWORD}, recipient: {forward_to: box@example.org}";

/// `letter 0` to `letter 2` in a mailbox.
fn fill(server: &Dovecot, user: &str) {
    (0..3).for_each(|n| server.put(user, &letter(n, "anna@pop.example")));
}

/// All letters arrived, once, and stay at their source.
#[track_caller]
fn collected(program: &Mailgather, boxes: &Boxes, server: &Dovecot, user: &str) {
    program.once(&[]).expect_success();
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("0 delivered"), "{}", again.stdout);
    assert_eq!(boxes.subjects(BOX), ["letter 0", "letter 1", "letter 2"]);
    assert_eq!(server.count(user), 3);
}

/// A file with this provider and one collector.
fn file(provider: &str, boxes: &Boxes, collector: &str) -> String {
    format!("providers:\n  corp: {{{provider}}}\ndelivery: {}\ncollectors:\n  a: {{{collector}}}\n", boxes.delivery())
}

/// The logins of a user, as Dovecot tells them: those of two runs.
fn logins(server: &Dovecot, user: &str) -> Vec<String> {
    server.logged(&format!("Login: user=<{user}>"), 2)
}

/// A Dovecot on the ports that the services have in the world, at an address of its own.
struct Standard {
    server: Dovecot,
    address: LoopbackAddress,
    folder: tempfile::TempDir,
}

impl Standard {
    /// Its certificate is for the address and for `name`.
    fn start(name: &str) -> Standard {
        let (address, folder) = (LoopbackAddress::reserve(), tempfile::tempdir().unwrap());
        let ip = address.ip().to_string();
        let made = Certificates::of(folder.path(), &[&ip, name]);
        let mut extra = format!("ssl_cert = <{}\nssl_key = <{}\n", made.certificate.display(), made.key.display());
        for (service, ports) in [("imap", [143, 993]), ("pop3", [110, 995])] {
            let listener =
                |port: u16, ssl: &str| format!("  inet_listener std{port} {{\n    address = {ip}\n    port = {port}\n    ssl = {ssl}\n  }}\n");
            extra += &format!("service {service}-login {{\n{}{}}}\n", listener(ports[0], "no"), listener(ports[1], "yes"));
        }
        Standard { server: Dovecot::builder().extra(&extra).start(), address, folder }
    }

    fn ca(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }
}

/// The domain of the address is all that is said about where the mailbox is.
#[test]
fn k1_an_address_of_a_providers_domain_is_collected_with_nothing_else_said() {
    for (domain, address) in [("pop.example", "anna@pop.example"), ("'*.pop.example'", "anna@sales.pop.example"), ("почта.рф", "anna@почта.рф")]
    {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, address);
        let provider = format!(
            "domains: [{domain}], imap: {{server: 127.0.0.1, port: {}, tls: {{mode: implicit, ca_file: {}}}}}",
            server.imaps(),
            server.ca().display()
        );
        // Dovecot's list of characters in names leaves out Cyrillic ones: there the login is said otherwise.
        let collector = COLLECTOR.replace("anna@pop.example", address);
        let (collector, user) = if address.is_ascii() { (collector, address) } else { (format!("{collector}, login: local_part"), "anna") };
        if user != address {
            fill(&server, user);
        }
        collected(&Mailgather::new(&file(&provider, &boxes, &collector)), &boxes, &server, user);
        assert!(logins(&server, user).iter().all(|login| login.contains("imap-login") && login.contains(", TLS")), "{}", server.log());
    }
}

#[test]
fn k2_p3_the_protocol_comes_from_the_provider_or_the_collector() {
    let server = Dovecot::start();
    let ca = server.ca().display().to_string();
    let imap = format!("imap: {{server: 127.0.0.1, port: {}, tls: {{ca_file: {ca}}}}}", server.imaps());
    let pop3 = format!("pop3: {{server: 127.0.0.1, port: {}, tls: {{ca_file: {ca}}}}}", server.pop3s());
    for (n, (servers, said, expected)) in [
        (imap.clone(), "", "imap-login"),
        (pop3.clone(), "", "pop3-login"),
        (format!("{imap}, {pop3}"), "", "imap-login"),
        (format!("{imap}, {pop3}, protocol: pop3"), "", "pop3-login"),
        (format!("{imap}, {pop3}, protocol: pop3"), ", protocol: imap", "imap-login"),
        (format!("{imap}, {pop3}"), ", protocol: pop3", "pop3-login"),
    ]
    .into_iter()
    .enumerate()
    {
        let (boxes, user) = (Boxes::new(), format!("u{n}@pop.example"));
        fill(&server, &user);
        let collector = format!("{}{said}", COLLECTOR.replace("anna@pop.example", &user));
        collected(&Mailgather::new(&file(&format!("domains: [pop.example], {servers}"), &boxes, &collector)), &boxes, &server, &user);
        let logins = logins(&server, &user);
        assert!(!logins.is_empty() && logins.iter().all(|login| login.contains(expected)), "{servers}{said}: {logins:?}");
    }
}

/// The server by its address and the way of TLS; the port follows from both. And the same where the collector says it itself.
#[test]
fn k3_p4_p6_the_port_follows_the_way_of_tls() {
    let standard = Standard::start("localhost");
    let (server, ip) = (&standard.server, standard.address.ip());
    let mut n = 0;
    for (protocol, mode, port) in [
        ("imap", "implicit", 993),
        ("imap", "starttls", 143),
        ("imap", "none", 143),
        ("pop3", "implicit", 995),
        ("pop3", "starttls", 110),
        ("pop3", "none", 110),
    ] {
        for of_provider in [true, false] {
            n += 1;
            let (boxes, user) = (Boxes::new(), format!("u{n}@pop.example"));
            fill(server, &user);
            let tls = if mode == "none" { "tls: {mode: none}".to_owned() } else { format!("tls: {{mode: {mode}, ca_file: {}}}", standard.ca()) };
            let open = if mode == "none" { ", auth: {allow_plaintext: true}" } else { "" };
            let said = COLLECTOR.replace("anna@pop.example", &user);
            let yaml = match of_provider {
                true => file(&format!("domains: [pop.example], {protocol}: {{server: {ip}, {tls}}}"), &boxes, &format!("{said}{open}")),
                false => file(
                    "domains: [other.example], server: imap.other.example",
                    &boxes,
                    &format!("{said}{open}, protocol: {protocol}, server: {ip}, {tls}"),
                ),
            };
            collected(&Mailgather::new(&yaml), &boxes, server, &user);
            for login in logins(server, &user) {
                assert_eq!((login.contains(&format!("{protocol}-login")), login.contains(", TLS")), (true, mode != "none"), "{port} {mode}: {login}");
            }
        }
    }
}

/// A port that belongs to another way of TLS, or to the other protocol, is a slip that the check names.
#[test]
fn p6_a_port_that_belongs_to_another_way_is_told() {
    for (said, words) in [
        ("port: 993, tls: {mode: starttls}", "port 993 is that of `tls: {mode: implicit}`"),
        ("port: 143, tls: {mode: implicit}", "port 143 is that of `tls: {mode: starttls}`"),
        ("port: 143", "port 143 is that of `tls: {mode: starttls}`"),
        ("protocol: pop3, port: 995, tls: {mode: starttls}", "port 995 is that of `tls: {mode: implicit}`"),
        ("protocol: pop3, port: 110", "port 110 is that of `tls: {mode: starttls}`"),
        ("port: 995", "port 995 is that of POP3"),
        ("protocol: pop3, port: 143, tls: {mode: starttls}", "port 143 is that of IMAP"),
        ("port: 465", "port 465 is that of SMTP"),
        ("port: 993", ""),
        ("port: 1993, tls: {mode: starttls}", ""),
        ("port: 143, tls: {mode: starttls}", ""),
    ] {
        let program = Mailgather::new(&file("server: x.example", &Boxes::new(), &format!("{COLLECTOR}, server: imap.pop.example, {said}")));
        let done = program.check().expect_success();
        match words {
            "" => assert!(!done.stderr.contains(" is that of "), "{said}: {}", done.stderr),
            words => assert!(done.stderr.contains(words) && done.stderr.contains("hint: "), "{said}: {}", done.stderr),
        }
    }
}

#[test]
fn k6_p2_the_login_name_from_the_provider_and_the_collector() {
    let server = Dovecot::start();
    let access =
        format!("domains: [pop.example], imap: {{server: 127.0.0.1, port: {}, tls: {{ca_file: {}}}}}", server.imaps(), server.ca().display());
    for (n, (provider, said, expected)) in [
        ("", "", "u0@pop.example"),
        (", login: email", "", "u1@pop.example"),
        (", login: local_part", "", "u2"),
        (", login: local_part", ", login: email", "u3@pop.example"),
        ("", ", login: local_part", "u4"),
        ("", ", login: manual, username: clerk-5", "clerk-5"),
        (", login: local_part", ", username: clerk-6", "clerk-6"),
        (", login: manual", ", username: clerk-7", "clerk-7"),
    ]
    .into_iter()
    .enumerate()
    {
        let boxes = Boxes::new();
        fill(&server, expected);
        let collector = format!("{}{said}", COLLECTOR.replace("anna@", &format!("u{n}@")));
        collected(&Mailgather::new(&file(&format!("{access}{provider}"), &boxes, &collector)), &boxes, &server, expected);
    }
    // By hand, and no name.
    let refused = Mailgather::new(&file(&format!("{access}, login: manual"), &Boxes::new(), COLLECTOR)).check().expect_code(78);
    assert!(refused.stderr.contains("username"), "{}", refused.stderr);
}

/// What is no protocol is told those that there are. (Exchange and Graph: tests/exchange, tests/graph.)
#[test]
fn p3_another_protocol_is_refused_with_those_that_there_are() {
    let done = Mailgather::new(&file("server: x.example", &Boxes::new(), &format!("{COLLECTOR}, server: x.example, protocol: imap4")))
        .check()
        .expect_code(78);
    assert!(done.stderr.contains("`imap`, `pop3`, `exchange`, `graph`"), "{}", done.stderr);
}

/// The server by a name in Cyrillic: found by its A-labels, which its certificate has too.
#[test]
fn i3_a_server_with_a_name_of_an_international_domain() {
    let standard = Standard::start("xn--b1afb6bcb.xn--80a1acny.xn--p1ai");
    let (server, boxes) = (&standard.server, Boxes::new());
    fill(server, "anna@pop.example");
    let program =
        Mailgather::new(&file(&format!("domains: [pop.example], server: сервер.почта.рф, tls: {{ca_file: {}}}", standard.ca()), &boxes, COLLECTOR));
    // Names that only this process knows: a file of hosts in a mount namespace of its own.
    let hosts = program.path().join("hosts");
    std::fs::write(&hosts, format!("{} xn--b1afb6bcb.xn--80a1acny.xn--p1ai\n", standard.address.ip())).unwrap();
    for delivered in [3, 0] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(&hosts).arg(PROGRAM).args(program.arguments("once")).env(PASSWORD_VARIABLE, dovecot::PASSWORD);
        let done = finish(command, Duration::from_secs(120)).expect_success();
        assert!(done.stdout.contains(&format!("{delivered} delivered")), "{}", done.stdout);
    }
    assert_eq!((boxes.of(BOX).count(), server.count("anna@pop.example")), (3, 3));
}

/// The provider took it from its filter, and the filter wrote down who it was for.
const LETTER: &str = "Received: from mx.filter.example (mx.filter.example [192.0.2.25]) by imap.pop.example with ESMTPS id 2; Sat, 21 Nov 2026 10:00:01 +0000\r\n\
    X-Original-To: anna@pop.example\r\n\
    Received: from out.sender.example (out.sender.example [198.51.100.7]) by mx.filter.example with ESMTPS id 1; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
    From: S <s@sender.example>\r\nTo: somebody@else.example\r\nSubject: one\r\nMessage-ID: <1@sender.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\ntext\r\n";

/// Server, port and TLS come from the provider by the domain of the address, and its own hosts tell the recipient from forgeries.
#[test]
fn k5_a_provider_fills_in_what_the_collector_does_not_say() {
    for (received, recipient) in [("[filter.example]", "anna@pop.example"), ("[other.example]", "post@pop.example")] {
        let (from, boxes) = (Dovecot::start(), Boxes::new());
        from.put("source", LETTER.as_bytes());
        let program = Mailgather::new(&format!(
            "providers:\n  pop:\n    domains: [pop.example]\n    imap: {{server: 127.0.0.1, port: {}, tls: {{mode: implicit, ca_file: {}}}}}\n    received_hosts: {received}\n    after: delete\ndelivery: {}\ncollectors:\n  a:\n    email: source@pop.example\n    username: source\n    password: {{env: {}}}\n    recipient: {{auto: true, default_box: post@pop.example}}\n",
            from.imaps(),
            from.ca().display(),
            boxes.delivery(),
            PASSWORD_VARIABLE,
        ));
        program.once(&[]).expect_success();
        assert_eq!((boxes.of(recipient).count(), from.count("source")), (1, 0), "{received}");
    }
}
