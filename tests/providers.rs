//! Providers: `mailgather providers`, detection by a scripted name server, and what a provider fills in against a real server. Tests of
//! requirements are named after their rows.

mod support;

use mailgather::config::{Access, Environment, Provider, TlsMode, parse};
use serde_json::Value;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::*;

const MX: u8 = 15;
const SRV: u8 = 33;

/// Answers from a table of names, types and data (RFC 1035 §4); what is not in it does not exist. Counts questions.
struct NameServer {
    port: u16,
    asked: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

impl NameServer {
    fn start(records: Vec<(&'static str, u8, Vec<u8>)>, fails: bool) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (port, asked, ends) = (socket.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&asked), Arc::clone(&ends));
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                let Ok((_, peer)) = socket.recv_from(&mut packet) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let length = packet[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
                let question = &packet[12..12 + length + 4];
                let (asked, kind) = (question[..length].to_ascii_lowercase(), question[length + 1]);
                let data: Vec<&Vec<u8>> =
                    records.iter().filter(|(name, of, _)| labels(name) == asked && *of == kind).map(|(.., data)| data).collect();
                let code = match (fails, data.is_empty()) {
                    (true, _) => 2,
                    (false, true) => 3,
                    (false, false) => 0,
                };
                let mut reply = vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, if fails { 0 } else { data.len() as u8 }, 0, 0, 0, 0];
                reply.extend_from_slice(question);
                for data in data.iter().filter(|_| !fails) {
                    reply.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                    reply.extend_from_slice(data);
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

/// A name as octets, with its end.
fn labels(name: &str) -> Vec<u8> {
    let parts = name.split('.').filter(|label| !label.is_empty()).flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    parts.chain([0]).collect()
}

fn mx(preference: u8, host: &str) -> Vec<u8> {
    [vec![0, preference], labels(host)].concat()
}

fn srv(priority: u8, weight: u8, port: u16, host: &str) -> Vec<u8> {
    let mut data = vec![0, priority, 0, weight];
    data.extend(port.to_be_bytes());
    [data, labels(host)].concat()
}

/// A configuration with these name servers, and a provider of one's own.
fn program(dns: u16) -> Mailgather {
    Mailgather::new(&format!(
        "service: {{dns: '127.0.0.1:{dns}'}}\nproviders:\n  corp:\n    title: Корпоративная почта\n    domains: [corp.example, '*.corp.example']\n    server: imap.corp.example\n    tls: {{mode: starttls}}\n    quirks: a quirk of theirs\ndelivery: {{lmtp: 127.0.0.1:24}}\ncollectors:\n  sales: {{email: sales@corp.example, password: {{env: P}}, recipient: {{forward_to: x@y.example}}}}\n  boss: {{email: boss@mail.ru, password: {{env: P}}, recipient: {{forward_to: x@y.example}}}}\n"
    ))
}

/// What is to be written can be read, and leads to this server.
#[track_caller]
fn leads_to(yaml: &str, host: &str, port: u16) {
    let text = format!("delivery: {{lmtp: unix:/l}}\n{yaml}");
    let loaded = parse(&text, Path::new("x.yaml"), &Environment::default()).unwrap_or_else(|report| panic!("{yaml}\n{report}"));
    let collector = loaded.config.collectors.values().next().unwrap();
    assert_eq!((collector.server.host.as_str(), collector.server.port), (host, port), "{yaml}");
}

#[test]
fn k8_the_list_says_who_uses_a_provider() {
    let program = program(1);
    let list = program.run_to_end("providers", &["list"]).expect_success().stdout;
    let line = |name: &str| list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}\n{list}"));
    assert!(list.lines().nth(1).unwrap().starts_with("corp "), "one's own first\n{list}");
    assert!(line("corp").contains(" 1 ") && line("corp").contains("Корпоративная почта (own): corp.example, *.corp.example"), "{list}");
    assert!(line("mailru").contains("imap.mail.ru") && line("mailru").contains("pop.mail.ru"), "{list}");
    let json: Value = serde_json::from_str(&program.run_to_end("providers", &["list", "--json"]).expect_success().stdout).unwrap();
    let of = |name: &str| json.as_array().unwrap().iter().find(|provider| provider["name"] == name).unwrap().clone();
    assert_eq!((&of("mailru")["used_by"][0], &of("mailru")["imap"]["port"]), (&Value::from("boss"), &Value::from(993)));
    assert_eq!((&of("corp")["built_in"], &of("corp")["imap"]["tls"]), (&Value::from(false), &Value::from("starttls")));
    let shown = program.run_to_end("providers", &["show", "corp"]).expect_success().stdout;
    for words in ["corp: Корпоративная почта", "imap.corp.example port 143, starttls", "a quirk of theirs", "used by          sales"]
    {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let gmail: Value = serde_json::from_str(&program.run_to_end("providers", &["show", "gmail", "--json"]).expect_success().stdout).unwrap();
    assert_eq!(gmail["special_folders"]["\\Junk"], "[Gmail]/Spam");
    assert!(program.run_to_end("providers", &["show", "nobody"]).expect_code(64).stderr.contains("there is no provider `nobody`"));
    // A provider in use does not go: not at a check, and not at a reload, which keeps what runs.
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    program.configure(&text.replace("email: boss@mail.ru", "email: boss@mail.ru, provider: gone"));
    let refused = program.check().expect_code(78).stderr;
    assert!(refused.contains("there is no provider `gone`") && refused.contains("used by collector `boss`"), "{refused}");
    // A broken file does not keep anybody from looking.
    let listed = program.run_to_end("providers", &["list"]).expect_success();
    assert!(listed.stdout.contains("gmail") && listed.stderr.contains("1 errors (`mailgather check`)"), "{}", listed.stderr);
}

#[test]
fn k1_detection_goes_from_the_domain_to_its_records() {
    let dns = NameServer::start(
        vec![
            ("_imaps._tcp.srv.example", SRV, srv(20, 0, 993, "second.srv.example")),
            ("_imaps._tcp.srv.example", SRV, srv(10, 5, 1993, "first.srv.example")),
            ("_pop3._tcp.srv.example", SRV, srv(0, 1, 110, "pop.srv.example")),
            ("_imaps._tcp.none.example", SRV, srv(0, 0, 0, "")),
            ("_imap._tcp.open.example", SRV, srv(0, 1, 143, "imap.open.example")),
            ("_imaps._tcp.at.example", SRV, srv(0, 1, 993, "imap.mail.ru")),
            ("hosted.example", MX, mx(10, "mx1.filter.example")),
            ("hosted.example", MX, mx(20, "aspmx.l.google.com")),
            ("none.example", MX, mx(10, "mx.none.example")),
        ],
        false,
    );
    let program = program(dns.port);
    let detect = |address: &str, more: &[&str]| program.run_to_end("providers", &[&["detect", address], more].concat());
    // By the domain alone: nobody is asked.
    for (address, words) in [
        ("anna@corp.example", "corp.example belongs to provider corp (Корпоративная почта, from the configuration)"),
        ("anna@sales.corp.example", "belongs to provider corp"),
        ("boss@Mail.RU", "mail.ru belongs to provider mailru (Почта Mail, built in)"),
        ("gmail.com", "gmail.com belongs to provider gmail"),
    ] {
        let done = detect(address, &[]).expect_success();
        assert!(done.stdout.contains(words), "{words}\n{}", done.stdout);
        assert!(done.stderr.contains("note: "), "its quirks\n{}", done.stderr);
    }
    leads_to(detect("boss@mail.ru", &[]).stdout.split_once("\n\n").unwrap().1, "imap.mail.ru", 993);
    assert_eq!(dns.asked(), 0);
    // SRV, the first choice first.
    let json: Value = serde_json::from_str(&detect("anna@srv.example", &["--json"]).expect_success().stdout).unwrap();
    assert_eq!((&json["by"], &json["provider"], json["servers"].as_array().unwrap().len()), (&Value::from("srv"), &Value::Null, 2));
    leads_to(json["yaml"].as_str().unwrap(), "first.srv.example", 1993);
    let done = detect("anna@open.example", &[]).expect_success();
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.open.example", 143);
    let done = detect("anna@at.example", &[]).expect_success();
    assert!(done.stdout.contains("name imap imap.mail.ru, of provider mailru"), "{}", done.stdout);
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.mail.ru", 993);
    // The mail exchangers of a known provider.
    let done = detect("anna@hosted.example", &[]).expect_success();
    assert!(done.stdout.contains("hosted.example takes its mail at aspmx.l.google.com, of provider gmail"), "{}", done.stdout);
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.gmail.com", 993);
    // Nothing: "." in SRV says that there is no such service (RFC 2782), and the mail exchanger is nobody's.
    let done = detect("anna@none.example", &[]).expect_code(66);
    assert!(done.stderr.contains("no provider is known for none.example, and its SRV and MX records name none"), "{}", done.stderr);
    let before = dns.asked();
    assert!(detect("anna@hosted.example", &["--offline"]).expect_code(66).stderr.contains("nobody was asked (--offline)"));
    assert_eq!(dns.asked(), before);
    assert!(detect("no address", &[]).expect_code(64).stderr.contains("neither an address nor a domain"));
}

#[test]
fn k1_name_servers_that_fail_are_no_answer() {
    let dns = NameServer::start(Vec::new(), true);
    let done = program(dns.port).run_to_end("providers", &["detect", "anna@srv.example"]).expect_code(69);
    assert!(done.stderr.contains("the SRV records of srv.example cannot be looked up") && done.stderr.contains("--offline"), "{}", done.stderr);
}

/// docs/providers.md holds what is built in, word for word. `UPDATE_EXPECTED=1` writes that part anew: read the difference.
#[test]
fn the_page_about_providers_says_what_is_built_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, _) = page.split_once("## The built-in providers\n").expect("its heading");
    let sections: String = mailgather::config::presets().iter().map(|provider| section(provider)).collect();
    let expected = format!("{head}## The built-in providers\n{sections}");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

fn section(provider: &Provider) -> String {
    let mut text = format!("\n### {}\n\n`{}`\n\n", provider.title, provider.id);
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            text += &format!("- {label}: {value}\n");
        }
    };
    let code = |items: Vec<String>| items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    line("domains", code(provider.domains.iter().map(ToString::to_string).collect()));
    let mode = |access: &Access| if access.tls == TlsMode::Implicit { "TLS" } else { "STARTTLS" };
    let server = |access: &Option<Access>| access.as_ref().map(|a| format!("`{}`, port {}, {}", a.host, a.port, mode(a))).unwrap_or_default();
    line("IMAP", server(&provider.imap));
    line("POP3", server(&provider.pop3));
    line("login", provider.login.as_ref().map(|login| format!("`{login}`")).unwrap_or_default());
    line("`received_hosts`", code(provider.received_hosts.clone()));
    line("folders", provider.special_folders.iter().map(|(of, name)| format!("`{of}` is `{name}`")).collect::<Vec<_>>().join(", "));
    provider.limits.iter().for_each(|limit| line("limit", limit.clone()));
    provider.quirks.iter().for_each(|quirk| line("note", quirk.clone()));
    line("help", provider.help.iter().map(|page| format!("<{page}>")).collect());
    text
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
            support::process::PASSWORD_VARIABLE,
        ));
        program.once(&[]).expect_success();
        assert_eq!((boxes.of(recipient).count(), from.count("source")), (1, 0), "{received}");
    }
}
