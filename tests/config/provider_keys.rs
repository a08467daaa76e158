//! `providers`, `templates`, `use`, and what they fill in.

use super::*;

/// A file with these lines at its head and one collector.
fn file(head: &str, collector: &str) -> String {
    let lines: String = collector.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "{head}\ndelivery: {{lmtp: unix:/l}}\ncollectors:\n  a:\n    password: {{env: P}}\n    recipient: {{auto: true, default_box: d@икс.рф}}\n{lines}"
    )
}

fn one(head: &str, lines: &str) -> Collector {
    collector(&file(head, lines))
}

fn access(c: &Collector) -> (&str, u16, TlsMode) {
    (&c.server.host, c.server.port, c.server.tls.mode)
}

fn hosts(c: &Collector) -> Vec<String> {
    match &c.recipient {
        RecipientMode::Auto(rules, _) => rules.provider_hosts.clone(),
        RecipientMode::ForwardTo(..) => panic!("{:?}", c.recipient),
    }
}

const CORP: &str = "providers:\n  corp:\n    title: Корпоративная почта\n    domains: [corp.example, '*.corp.example']\n    server: imap.corp.example\n    tls: {mode: starttls, ca_file: ca.pem}\n    received_hosts: [mx.corp.example]\n    interval: 10s";

/// What is configured and goes against what a provider is known for is warned of.
#[test]
fn what_a_provider_does_not_do_is_warned_of() {
    let warned = |lines: &str| {
        let text = file("", lines);
        let warnings = read(&text).unwrap_or_else(|report| panic!("{text}\n{report}")).warnings;
        warnings.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
    };
    let to_one = |lines: &str| {
        let text = file("", lines).replace("{auto: true, default_box: d@икс.рф}", "{forward_to: d@икс.рф}");
        let warnings = read(&text).unwrap_or_else(|report| panic!("{text}\n{report}")).warnings;
        warnings.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
    };
    assert!(warned("email: x@outlook.com").contains("takes no passwords"), "{}", warned("email: x@outlook.com"));
    assert_eq!(warned("email: x@outlook.com\nauth: {method: oauth2}"), "");
    assert_eq!(warned("email: x@mail.ru"), "");
    assert!(warned("email: x@gmail.com\nprotocol: pop3").contains("hides from later sessions"));
    // A letter stands in the folder of each of its labels, and is known by Gmail's name for it.
    for folders in ["['*']", "[INBOX, '\\All']", "['\\All']"] {
        let lines = format!("email: x@gmail.com\nfolders: {folders}");
        assert_eq!((to_one(&lines), warned(&lines)), (String::new(), String::new()), "{folders}");
    }
}

#[test]
fn a_built_in_provider_fills_in_the_server() {
    let c = one("", "email: boss@mail.ru");
    assert_eq!((access(&c), c.provider.as_deref()), (("imap.mail.ru", 993, TlsMode::Implicit), Some("mailru")));
    assert_eq!(hosts(&c), ["mail.ru"]);
    let c = one("", "email: boss@mail.ru\nprotocol: pop3");
    assert_eq!((access(&c), c.server.protocol), (("pop.mail.ru", 995, TlsMode::Implicit), Protocol::Pop3));
    let c = one("defaults: {protocol: pop3}", "email: x@gmail.com");
    assert_eq!(access(&c), ("pop.gmail.com", 995, TlsMode::Implicit));
    // One that has no POP3 is asked by IMAP, unless the collector itself says otherwise.
    assert_eq!(access(&one("defaults: {protocol: pop3}", "email: x@icloud.com")).0, "imap.mail.me.com");
    refused(&file("", "email: x@icloud.com\nprotocol: pop3"), "provider `icloud` has no server for `protocol: pop3`");
    assert_eq!(one("", "email: x@corp.example\nprovider: ovh").server.host, "ssl0.ovh.net");
}

#[test]
fn what_the_collector_says_wins() {
    let c = one("defaults: {tls: {mode: none}, interval: 20s}", "email: x@gmail.com\nport: 1993");
    assert_eq!((access(&c), c.interval), (("imap.gmail.com", 1993, TlsMode::Implicit), Duration::from_secs(20)));
    // The port belongs to the way of TLS, and both belong to the server.
    assert_eq!(access(&one("", "email: x@gmail.com\ntls: {mode: starttls}")), ("imap.gmail.com", 143, TlsMode::StartTls));
    let c = one("", "email: x@proton.me\nserver: bridge.example\nprovider: proton");
    assert_eq!((access(&c), c.provider.as_deref()), (("bridge.example", 993, TlsMode::Implicit), Some("proton")));
    // A mailbox that is reached elsewhere is not the provider's to describe.
    let c = one("", "email: x@gmail.com\nserver: imap.elsewhere.example");
    assert_eq!((access(&c), c.provider.clone()), (("imap.elsewhere.example", 993, TlsMode::Implicit), None));
    assert!(hosts(&c).is_empty());
    let c = one("", "email: x@gmail.com\nprovider: none\nserver: imap.gmail.com");
    assert_eq!((c.provider.clone(), hosts(&c).len()), (None, 0));
    // A domain of one's own at a known provider.
    let c = one("", "email: x@corp.example\nserver: imap.gmail.com");
    let google = ["google.com", "googlemail.com", "gmail.com"].map(String::from).to_vec();
    assert_eq!((c.provider.as_deref(), hosts(&c)), (Some("gmail"), google.clone()));
    // Another name of theirs tells who writes the Received fields, and nothing else; also where everything is forwarded.
    let c = one("", "email: x@corp.example\nserver: imap.googlemail.com");
    assert_eq!((c.provider.clone(), hosts(&c), c.received_hosts), (None, google.clone(), google.clone()));
    let forwards = collector(&file("", "email: x@gmail.com").replace("{auto: true, default_box: d@икс.рф}", "{forward_to: d@икс.рф}"));
    assert_eq!(forwards.received_hosts, google);
    // Proton's Bridge is at 127.0.0.1, but not everything there is Proton's.
    let c = one("", "email: x@corp.example\nserver: 127.0.0.1");
    assert_eq!((c.provider.clone(), hosts(&c)), (None, Vec::new()));
}

#[test]
fn own_providers_come_first() {
    for (lines, provider) in [
        ("email: x@corp.example", Some("corp")),
        ("email: x@sales.corp.example", Some("corp")),
        ("email: x@other.example\nprovider: corp", Some("corp")),
    ] {
        let c = one(CORP, lines);
        assert_eq!((access(&c), c.provider.as_deref()), (("imap.corp.example", 143, TlsMode::StartTls), provider), "{lines}");
        assert_eq!(c.server.tls.ca_file.as_deref(), Some(Path::new("/etc/mailgather/ca.pem")));
        assert_eq!((c.interval, hosts(&c)), (Duration::from_secs(10), vec!["mx.corp.example".to_owned()]));
    }
    // One's own of the same domain, and of the same name.
    assert_eq!(one("providers: {g: {domains: [gmail.com], server: proxy.example}}", "email: x@gmail.com").server.host, "proxy.example");
    let replaced = read(&file("providers: {gmail: {domains: [corp.example], server: own.example}}", "email: x@corp.example")).unwrap().config;
    assert_eq!(replaced.providers().iter().filter(|provider| provider.id == "gmail").count(), 1);
    assert!(!replaced.providers()[0].built_in);
    // Both protocols.
    let both = "providers: {p: {domains: [p.example], imap: {server: i.p.example}, pop3: {server: o.p.example, port: 1110, tls: {mode: starttls}}}}";
    assert_eq!(access(&one(both, "email: x@p.example")), ("i.p.example", 993, TlsMode::Implicit));
    assert_eq!(access(&one(both, "email: x@p.example\nprotocol: pop3")), ("o.p.example", 1110, TlsMode::StartTls));
}

#[test]
fn broken_providers_are_refused() {
    for (head, words) in [
        ("providers: {auto: {server: x.example}}", "`auto` is no name for a provider"),
        ("providers: {p: {domains: [p.example]}}", "provider `p` has no server"),
        ("providers: {p: {domains: [p.example], port: 993}}", "`port` of provider `p` without `server`"),
        ("providers: {p: {domains: ['*'], server: x.example}}", "no domain name"),
        ("providers: {p: {imap: {port: 993}}}", "`imap` of provider `p` has no `server`"),
        ("providers: {p: {server: x.example, imap: {server: y.example}}}", "names its server twice"),
        ("providers: {p: {domains: [d.example], server: x.example}, q: {domains: [d.example], server: y.example}}", "both claim d.example"),
        ("providers: {p: {server: x.example, password: {env: P}}}", "unknown key `password` in provider `p`"),
        ("providers: {p: {server: imap://x.example}}", "has a scheme"),
        ("providers: {p: {server: x.example, login: name}}", "`login` is one of `email`, `local_part`, `manual`"),
        ("providers: {p: {server: x.example, interval: soon}}", "`interval` is a duration"),
        ("providers: [p]", "`providers` takes a block for each provider"),
    ] {
        refused(&file(head, "email: x@y.example\nserver: z.example"), words);
    }
}

#[test]
fn a_provider_in_use_cannot_vanish_unnoticed() {
    let text = format!(
        "{}\n  b:\n    password: {{env: P}}\n    recipient: {{forward_to: x@y.example}}\n    email: b@x.example\n    provider: corp\n",
        file(CORP, "email: x@y.example\nprovider: corp")
    );
    assert!(read(&text).is_ok(), "{}", read(&text).unwrap_err());
    let report = read(&text.replace(CORP, "")).unwrap_err();
    assert_eq!(report.errors.len(), 1, "{report}");
    let said = report.to_string();
    for words in ["there is no provider `corp`", "used by collector `a`, collector `b`", "providers list"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    refused(&file("", "email: x@y.example\nprovider: gmial"), "did you mean `gmail`?");
}

#[test]
fn without_a_server_the_report_says_what_to_write() {
    for (lines, words) in [
        ("email: x@gmial.com", "no provider is known for gmial.com; near are gmail.com (gmail)"),
        ("email: x@corp.example", "write `server: imap.corp.example`"),
        ("email: x@corp.example\nprotocol: pop3", "write `server: pop3.corp.example`"),
        ("email: x@corp.example", "mailgather providers detect x@corp.example"),
        ("username: x", "or `email: you@example.org`, whose domain may tell the provider"),
    ] {
        let report = read(&file("", lines)).unwrap_err();
        assert_eq!(report.errors.len(), 1, "{lines}: {report}");
        assert!(report.to_string().contains(words), "{words}\n{report}");
    }
}

#[test]
fn templates_lie_between_the_provider_and_the_collector() {
    let head = format!(
        "{CORP}\ndefaults: {{interval: 1h, collect: unseen, after: delete, timeouts: {{connect: 1s, idle_data: 1s}}}}\ntemplates:\n  journal: {{interval: 30s, collect: all, expunge: {{every_messages: 500}}, timeouts: {{connect: 2s}}}}\n  slow: {{interval: 2h, recipient: {{forward_to: slow@икс.рф}}}}"
    );
    let c = one(&head, "email: x@corp.example\nuse: journal\nafter: {delete_after: 1d}");
    assert_eq!((c.interval, c.collect, c.after), (Duration::from_secs(30), Collect::All, After::DeleteAfter(Duration::from_secs(86_400))));
    assert_eq!(c.expunge.every_messages, 500);
    assert_eq!((c.server.connect_timeout, c.server.idle_timeout), (Some(Duration::from_secs(2)), Some(Duration::from_secs(1))));
    // The last of several wins.
    assert_eq!(one(&head, "email: x@corp.example\nuse: [journal, slow]").interval, Duration::from_secs(7200));
    assert_eq!(one(&head, "email: x@corp.example\nuse: [slow, journal]").interval, Duration::from_secs(30));
    // Who gets the mail may stand in a template.
    let c = collector(&file(&head, "email: x@corp.example\nuse: slow").replace("    recipient: {auto: true, default_box: d@икс.рф}\n", ""));
    assert!(matches!(&c.recipient, RecipientMode::ForwardTo(to, _) if to[0].to_string() == "slow@икс.рф"));
    for (head, lines, words) in [
        (head.as_str(), "use: jurnal", "did you mean `journal`?"),
        (head.as_str(), "use: other", "there are: journal, slow"),
        ("", "use: journal", "templates stand at the top level"),
        ("templates: {t: {email: x@y.example}}", "", "unknown key `email` in template `t`"),
        ("templates: {t: {interval: soon}}", "", "`interval` is a duration"),
        ("templates: {t: {use: u}}", "", "unknown key `use` in template `t`"),
        ("templates: {t: {interval: 1s}}", "use: t", "below limits.interval_min"),
    ] {
        refused(&file(head, &format!("email: x@y.example\nserver: z.example\n{lines}")), words);
    }
    // A template speaks to many: what has no effect for one of them is no error.
    assert_eq!(one("templates: {t: {idle: on}}", "email: x@y.example\nserver: z.example\nprotocol: pop3\nuse: t").idle, Idle::Off);
}

#[test]
fn a_reload_sees_that_a_provider_changed() {
    let old = read(&file(CORP, "email: x@corp.example")).unwrap().config;
    let new = read(&file(&CORP.replace("imap.corp.example", "imap2.corp.example"), "email: x@corp.example")).unwrap().config;
    assert_eq!(diff(Some(&old), &new).changed.len(), 1);
}

#[test]
fn providers_are_found_by_domain_and_by_their_mail_exchangers() {
    let all = presets();
    let of = |domain: &str| provider_of(all.iter().map(|p| &**p), &domain.parse().unwrap()).map(|p| p.id.clone());
    assert_eq!(of("Gmail.com").as_deref(), Some("gmail"));
    assert_eq!((of("mail.gmail.com"), of("corp.example")), (None, None));
    let by_mx = |hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        provider_of_hosts(all.iter().map(|p| &**p), &hosts).map(|p| p.id.clone())
    };
    assert_eq!(by_mx(&["filter.example", "aspmx.l.google.com."]).as_deref(), Some("gmail"));
    assert_eq!(by_mx(&["corp-example.mail.protection.outlook.com"]).as_deref(), Some("outlook"));
    assert_eq!(by_mx(&["mx.yandex.net"]).as_deref(), Some("yandex"));
    assert_eq!(by_mx(&["notgoogle.com", "mx.corp.example"]), None);
}
