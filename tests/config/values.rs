//! What the keys become: defaults, what follows from what, what a collector inherits, and what a reload touches.

use super::*;

#[test]
fn defaults_are_those_of_the_requirements() {
    let c = collector(&with(""));
    let s = &c.server;
    assert_eq!(
        (s.protocol, s.port, s.tls.mode, s.auth.method, s.auth.allow_plaintext),
        (Protocol::Imap, 993, TlsMode::Implicit, AuthMethod::Auto, false)
    );
    assert_eq!((s.connect_timeout, s.idle_timeout), (Some(Duration::from_secs(30)), Some(Duration::from_secs(120))));
    assert_eq!((c.interval, c.collect, c.after), (Duration::from_secs(300), Collect::New, After::Keep));
    assert_eq!((c.max_messages_per_session, c.max_message_size, c.enabled), (100, None, true));
    assert_eq!((c.title.as_str(), c.description.as_str()), ("a", ""));
    let d = &c.delivery;
    assert_eq!((d.max_connections, d.max_messages_per_connection, d.max_recipients, d.max_hops), (4, 100, 100, 50));
    assert!(d.trace_received && d.trace_id);
    let loaded = read(&with("")).unwrap();
    let service = &loaded.config.service;
    assert_eq!(service.state_dir, Path::new("/var/lib/mailgather"));
    assert_eq!((service.max_sessions, service.max_sessions_per_host, service.memory, service.spool_above), (64, 8, 64 << 20, 1 << 20));
    assert_eq!((service.start_jitter, service.shutdown_grace), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!(loaded.config.log_level, LogLevel::Info);
    let over = Environment { state_dir: Some("/other".into()), ..env() };
    let text = format!("service: {{state_dir: /x}}\n{}", with(""));
    assert_eq!(parse(&text, Path::new("x"), &over).unwrap().config.service.state_dir, Path::new("/other"));
}

#[test]
fn ports_follow_protocol_and_tls() {
    for (protocol, mode, port) in [
        ("imap", "implicit", 993),
        ("imap", "ssl/tls", 993),
        ("imap", "starttls", 143),
        ("imap", "none", 143),
        ("pop3", "ssl", 995),
        ("pop3", "starttls", 110),
        ("pop3", "none", 110),
    ] {
        let text = with(&format!("protocol: {protocol}\ntls: {{mode: {mode}}}\nauth: {{allow_plaintext: true}}"));
        assert_eq!(collector(&text).server.port, port, "{protocol} {mode}");
    }
    assert_eq!(collector(&with("port: 1993")).server.port, 1993);
}

#[test]
fn recipients() {
    let auto = |text: &str| match collector(&with(text)).recipient {
        RecipientMode::Auto(rules, sender) => (mailgather::resolve::Rules::clone(&rules), sender),
        other => panic!("{other:?}"),
    };
    let (by_word, _) = auto("recipient: {auto: true}");
    let (by_block, _) = auto("recipient: {auto: {}}");
    assert_eq!(by_word, by_block);
    assert_eq!(by_word.unresolved, mailgather::resolve::Unresolved::Leave);
    assert_eq!(by_word.own.unwrap().to_string(), "a@почта.рф");
    assert_eq!((by_word.max_recipients, by_word.server_host.as_str()), (20, "imap.example.org"));
    for (text, expected) in
        [("null", SenderFallback::Null), ("from", SenderFallback::From), ("{fixed: x@икс.рф}", SenderFallback::Fixed("x@икс.рф".parse().unwrap()))]
    {
        assert_eq!(auto(&format!("recipient: {{auto: true, sender_fallback: {text}}}")).1, expected);
    }
    let (rules, _) = auto(
        "recipient:\n  auto:\n    headers: [X-Original-To, {header: Delivered-To, skip: 1, strip_prefix: v-, take: last, trust: any}, 'received:FOR']\n    aliases: {\"sales+*@почта.рф\": [s@икс.рф, t@икс.рф]}\n    trusted_hosts: [.example.org, Example.NET, .почта.рф]\n    map: {old.example: ИКС.рф}",
    );
    let mailgather::resolve::Headers::List(list) = &rules.headers else { panic!() };
    assert_eq!((list[0].header.as_str(), list[0].index), ("X-Original-To", None));
    assert_eq!(
        (list[1].index, list[1].strip_prefix.as_deref(), list[1].take, list[1].trust_any),
        (Some(2), Some("v-"), mailgather::resolve::Take::Last, true)
    );
    assert_eq!(list[2].header, "Received:for");
    assert_eq!((rules.aliases[0].local.as_str(), rules.aliases[0].to.len()), ("sales+*", 2));
    assert_eq!(rules.trusted_hosts, [".example.org", "example.net", ".xn--80a1acny.xn--p1ai"]);
    assert_eq!(rules.domains.len(), 3);
    let before = collector(&with("recipient: {auto: {domains: [a.example]}}")).recipient_hash;
    let same = collector(&with("interval: 10s\nrecipient: {auto: {domains: [a.example]}}")).recipient_hash;
    let other = collector(&with("recipient: {auto: {domains: [b.example]}}")).recipient_hash;
    assert_eq!(before, same);
    assert_ne!(before, other);
}

#[test]
fn a_collector_extends_delivery_and_a_new_target_leaves_the_old_login_behind() {
    let shared =
        "delivery: {smtp: 'relay.example:587', hello: gate.икс.рф, max_hops: 7, tls: {mode: starttls}, auth: {username: u, password: {env: P}}}\n";
    let rest = |lines: &str| format!("{shared}{}", with(lines).split_once('\n').unwrap().1);
    let same = collector(&rest("delivery: {max_connections: 2}"));
    let Target::Smtp(relay) = &same.delivery.target else { panic!() };
    assert_eq!((relay.auth.is_some(), relay.tls.mode, same.delivery.max_connections, same.delivery.max_hops), (true, TlsMode::StartTls, 2, 7));
    let moved = collector(&rest("delivery: {smtp: '[::1]:2525'}"));
    let Target::Smtp(relay) = &moved.delivery.target else { panic!() };
    assert_eq!(relay.endpoints[0], Endpoint::Tcp { host: "::1".into(), port: 2525 });
    assert_eq!((relay.auth.as_ref(), relay.tls.mode, moved.delivery.max_hops), (None, TlsMode::None, 7));
    assert_eq!(relay.hello.as_deref(), Some("gate.икс.рф".parse::<mailgather::mail::Domain>().unwrap().as_ascii()));
    for (target, host, port) in [("lmtp: mail.example", "mail.example", 24), ("smtp: 127.0.0.1", "127.0.0.1", 25), ("lmtp: '::1'", "::1", 24)] {
        match &collector(&rest(&format!("delivery: {{{target}}}"))).delivery.target {
            Target::Smtp(relay) | Target::Lmtp(relay) => assert_eq!(relay.endpoints[0], Endpoint::Tcp { host: host.into(), port }),
            other => panic!("{other:?}"),
        }
    }
    let maildir = collector(&rest("delivery: {maildir: '/var/mail/{domain}/{local}', maildir_create: true}"));
    assert_eq!(maildir.delivery.target, Target::Maildir { path: "/var/mail/{domain}/{local}".into(), create: true });
}

#[test]
fn defaults_are_inherited_and_overridden_key_by_key() {
    let text = format!(
        "defaults: {{interval: 10s, tls: {{mode: starttls, ca_file: ca.pem}}, timeouts: {{connect: 0}}, collect: unseen}}\n{}",
        with("tls: {mode: implicit}\ncollect: new")
    );
    let c = collector(&text);
    assert_eq!((c.interval, c.collect), (Duration::from_secs(10), Collect::New));
    assert_eq!(c.server.tls, Tls { ca_file: Some("/etc/mailgather/ca.pem".into()), ..Tls::mode(TlsMode::Implicit) });
    assert_eq!((c.server.connect_timeout, c.server.idle_timeout), (None, Some(Duration::from_secs(120))));
    refused(&format!("defaults: {{server: x.example}}\n{}", with("")), "unknown key `server` in `defaults`");
    // What is half a contradiction may be made whole by a collector.
    let archive = format!("defaults: {{collect: all}}\n{}", with("after: delete"));
    assert_eq!((collector(&archive).collect, collector(&archive).after), (Collect::All, After::Delete));
    refused(&format!("defaults: {{collect: all}}\n{}", with("")), "collector `a` would deliver the same mail for ever");
    // A wrong default is said once, however many collectors there are, and even if each has its own value.
    let report = read(&format!("defaults: {{interval: soon}}\n{}", with("interval: 10s"))).unwrap_err();
    assert_eq!(report.errors.len(), 1, "{report}");
}

#[test]
fn a_reload_touches_only_what_changed() {
    let block = |id: &str, more: &str| {
        format!(
            "  {id}:\n    email: {id}@a.example\n    server: s.example\n    password: {{env: P}}\n    recipient: {{forward_to: x@b.example}}\n{more}"
        )
    };
    let config =
        |head: &str, blocks: &[String]| read(&format!("{head}delivery: {{lmtp: unix:/l}}\ncollectors:\n{}", blocks.concat())).unwrap().config;
    let old = config("", &[block("same", ""), block("gone", ""), block("edited", ""), block("off", ""), block("on", "    enabled: false\n")]);
    let new = config(
        "service: {state_dir: /s, held: {max_size: 2GiB}}\n",
        &[block("same", ""), block("edited", "    interval: 10s\n"), block("off", "    enabled: false\n"), block("on", ""), block("fresh", "")],
    );
    let names = |ids: &[mailgather::mail::CollectorId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let d = diff(Some(&old), &new);
    assert_eq!((names(&d.added), names(&d.removed)), (vec!["fresh".into(), "on".into()], vec!["gone".into(), "off".into()]));
    assert_eq!((names(&d.changed), names(&d.unchanged)), (vec!["edited".to_string()], vec!["same".to_string()]));
    assert_eq!(d.needs_restart, ["service.state_dir", "service.held"]);
    assert_eq!(names(&diff(None, &old).added), ["edited", "gone", "off", "same"]);
    let stopped = config("service: {enabled: false}\n", &[block("same", "")]);
    assert_eq!(diff(Some(&old), &stopped).removed.len(), 4);
}

#[test]
fn thousands_of_collectors_load() {
    let mut text = String::from("delivery: {lmtp: unix:/l}\ndefaults: &d {interval: 1m}\ncollectors:\n");
    for n in 0..5_000 {
        text += &format!("  c{n}: {{email: c{n}@a.example, server: s.example, password: {{env: P}}, recipient: {{forward_to: x@b.example}}}}\n");
    }
    assert_eq!(read(&text).unwrap().config.collectors.len(), 5_000);
}
