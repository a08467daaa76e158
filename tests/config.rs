//! The configuration from the outside: broken files with the words they are answered with, the shipped samples, and secrets that never show.

use mailgather::config::*;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "config/auth_keys.rs"]
mod auth_keys;
#[path = "config/collecting_keys.rs"]
mod collecting_keys;
#[path = "config/delivery_keys.rs"]
mod delivery_keys;
#[path = "config/provider_keys.rs"]
mod provider_keys;
#[path = "config/recipient_keys.rs"]
mod recipient_keys;
#[path = "config/reference.rs"]
mod reference;

fn env() -> Environment {
    Environment { uid: 0, file_mode: Some(0o640), ..Environment::default() }
}

fn read(text: &str) -> Result<Loaded, Report> {
    parse(text, Path::new("/etc/mailgather/mailgather.yaml"), &env())
}

/// A configuration with one collector, `a`, to which lines are added.
fn with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "delivery: {{lmtp: unix:/run/lmtp}}\ncollectors:\n  a:\n    email: a@почта.рф\n    server: imap.example.org\n    password: {{env: P}}\n{}{lines}",
        if lines.contains("recipient:") { "" } else { "    recipient: {forward_to: b@икс.рф}\n" }
    )
}

fn collector(text: &str) -> Collector {
    let loaded = read(text).unwrap_or_else(|report| panic!("{text}\n{report}"));
    let first = loaded.config.collectors.values().next().unwrap();
    Collector::clone(first)
}

fn refused(text: &str, words: &str) {
    match read(text) {
        Ok(_) => panic!("taken:\n{text}"),
        Err(report) => assert!(report.to_string().contains(words), "{words}\n--- in\n{report}"),
    }
}

/// The lines are taken with exactly one warning, which holds these words.
fn warned(lines: &str, words: &str) {
    let warnings = warnings_of(lines);
    assert_eq!(warnings.len(), 1, "{lines}: {warnings:?}");
    assert!(warnings[0].to_string().contains(words), "{words}\n--- in\n{}", warnings[0]);
}

/// The warnings about these lines, but for the one about what becomes of mail for nobody, which has a test of its own.
fn warnings_of(lines: &str) -> Vec<Problem> {
    let mut warnings = read(&with(lines)).unwrap_or_else(|report| panic!("{lines}\n{report}")).warnings;
    warnings.retain(|warning| !warning.message.contains("neither `default_box` nor `unresolved`"));
    warnings
}

/// Every `tests/config/NAME.yaml` is answered with `NAME.expected`. `UPDATE_EXPECTED=1` writes them anew: read the difference.
#[test]
fn broken_files_are_answered_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 20, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let said = match parse(&text, Path::new(name), &env()) {
            Ok(loaded) => Report { errors: vec![], warnings: loaded.warnings }.to_string(),
            Err(report) => report.to_string(),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("=== {name}\n{said}"));
        }
        assert!(!said.is_empty() && !said.contains("hunter2"), "{name}: {said}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sample(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name);
    load(&path, &env()).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn the_small_sample_loads_without_a_warning() {
    let loaded = sample("mailgather.small.yaml");
    assert_eq!(loaded.warnings, []);
    let ids: Vec<_> = loaded.config.collectors.keys().map(|id| id.as_str()).collect();
    assert_eq!(ids, ["boss", "office"]);
    let office = loaded.config.collectors.values().last().unwrap();
    assert_eq!(office.server.username, "example@почта.рф");
    assert_eq!((office.server.host.as_str(), office.server.port), ("imap.xn--80a1acny.xn--p1ai", 993));
    let RecipientMode::Auto(rules, SenderFallback::Default) = &office.recipient else { panic!("{:?}", office.recipient) };
    let domains: Vec<_> = rules.domains.iter().map(ToString::to_string).collect();
    assert_eq!(domains, ["почта.рф", "икс.рф"]);
    assert_eq!(rules.default_box.as_ref().unwrap().to_string(), "postmaster@икс.рф");
}

#[test]
fn the_example_of_the_readme_loads_without_a_warning() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("README.md has an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let loaded = read(example).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.collectors.len(), 1);
    // The same into a server could come back.
    let loaded = read(&example.replace("{maildir: /home/me/Maildir}", "{smtp: 127.0.0.1:25}")).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.iter().any(|warning| warning.to_string().contains("a loop")), "{:?}", loaded.warnings);
}

#[test]
fn the_full_sample_holds_the_defaults() {
    let full = sample("mailgather.full.yaml");
    assert_eq!(full.warnings, []);
    // The same file, cut down to what has no default: the result must be the same.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/mailgather.full.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let collectors = &text[text.find("\ncollectors:").unwrap()..];
    let defaults = [
        "domains: [почта.рф",
        "headers: auto",
        "trusted_hosts: auto",
        "envelope_below",
        "max_recipients: 20",
        "unresolved:",
        "port: 993",
        "rewrite: []",
        "exclude: []",
        "keep_tag: true",
        "guess: off",
        "check_local: none",
        "journal: off",
    ];
    let kept: Vec<_> = collectors.lines().filter(|line| !defaults.iter().any(|key| line.trim_start().starts_with(key))).collect();
    assert_eq!(collectors.lines().count() - kept.len(), defaults.len());
    let bare = format!("delivery: {{lmtp: unix:/run/dovecot/lmtp}}\n{}", kept.join("\n"));
    let bare = parse(&bare, &path, &env()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(full.config.service, bare.config.service);
    assert_eq!(full.config.log_level, bare.config.log_level);
    let comparable = |config: &Config| -> Vec<Collector> {
        let plain = |c: &std::sync::Arc<Collector>| {
            let mut c = Collector::clone(c);
            // `null` is written in the sample to show its place; the default knows one case more.
            if let RecipientMode::Auto(_, sender) = &mut c.recipient {
                *sender = SenderFallback::Default;
            }
            Collector { recipient_hash: 0, ..c }
        };
        config.collectors.values().map(plain).collect()
    };
    assert_eq!(comparable(&full.config), comparable(&bare.config));
}

#[test]
fn the_full_sample_shows_every_key() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/mailgather.full.yaml")).unwrap();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    // The report of a wrong type lists the keys of a block.
    for block in ["service: 1", "limits: 1", "log: 1", "defaults: 1", "delivery: 1", "collectors: {a: 1}", "templates: {a: 1}", "providers: {a: 1}"] {
        let report = read(block).unwrap_err();
        let keys = report.errors.iter().flat_map(|p| &p.hints).find_map(|hint| hint.strip_prefix("its keys: ")).unwrap();
        for key in keys.split(", ") {
            assert!(text.contains(&format!("{key}:")), "`{key}` of {block} is not in the full sample");
            assert!(docs.contains(&format!("`{key}`")), "`{key}` of {block} is not in docs/configuration.md");
        }
    }
}

#[test]
fn the_examples_of_the_reference_load() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let examples: Vec<_> = docs.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").expect("an example ends").0).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        if example.contains("collectors:") {
            let loaded = read(example).unwrap_or_else(|report| panic!("{example}\n{report}"));
            assert_eq!(loaded.warnings, [], "{example}");
            continue;
        }
        // A piece of a collector.
        let beside = if example.starts_with("recipient:") { "" } else { "recipient: {auto: true, default_box: d@икс.рф}\n" };
        let loaded = read(&with(&format!("{beside}{example}"))).unwrap_or_else(|report| panic!("{example}\n{report}"));
        assert_eq!(loaded.warnings, [], "{example}");
    }
}

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
fn contradictions_are_refused() {
    for (lines, words) in [
        ("collect: all", "deliver the same mail for ever"),
        ("collect: all\nafter: mark_seen", "deliver the same mail for ever"),
        ("protocol: pop3\ncollect: unseen", "no flags"),
        ("protocol: pop3\nafter: mark_seen", "no flags"),
        ("tls: {mode: none}", "open channel"),
        ("recipient: {forward_to: b@c.example, auto: true}", "both forwards"),
        ("recipient: {forward_to: b@c.example, default_box: d@c.example}", "no effect with `forward_to`"),
        ("recipient: {auto: true, unresolved: default_box}", "without a `default_box`"),
        ("recipient: {auto: {headers: [To]}}", "`guess: on` asks To and Cc"),
        ("recipient: {auto: {headers: [{header: Resent-Cc}]}}", "`guess: on` asks To and Cc"),
        ("delivery: {smtp: localhost, maildir: /x}", "two targets"),
        ("delivery: {smtp: localhost, auth: {username: u, password: {env: P}}}", "open channel"),
        ("interval: 1s", "interval 1s is below limits.interval_min (5s)"),
        ("interval: 2d", "interval 2d is above limits.interval_max (24h)"),
        ("interval: 300", "`300s` for seconds or `300m` for minutes"),
        ("server: imaps://imap.example.org/", "did you mean `imap.example.org`?"),
        ("password: {secret: x}", "`secret` does not work yet"),
        ("auth: {client_id: x}", "`client_id` does not work yet"),
    ] {
        // A key that the base has too is replaced.
        let key = lines.split(':').next().unwrap();
        let base: String =
            with("").lines().filter(|line| !line.trim_start().starts_with(&format!("{key}:"))).map(|line| format!("{line}\n")).collect();
        let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        let base = if key == "delivery" { format!("delivery: {{lmtp: unix:/x}}\n{base}") } else { base };
        refused(&format!("{base}{lines}"), words);
    }
    refused(&with("").replace("delivery: {lmtp: unix:/run/lmtp}", "log: {level: warn}"), "nowhere to deliver to");
}

#[test]
fn two_enabled_collectors_never_share_a_mailbox() {
    let second = |more: &str| {
        let block = format!(
            "  b:\n    email: a@почта.рф\n    server: IMAP.example.org\n    password: {{env: P}}\n    recipient: {{forward_to: c@икс.рф}}\n{more}"
        );
        with("") + &block
    };
    refused(&second(""), "collectors `a` and `b` collect the same mailbox");
    assert!(read(&second("    enabled: false\n")).is_ok());
    assert!(read(&second("    protocol: pop3\n")).is_ok());
    assert!(read(&second("    username: other\n")).is_ok());
}

#[test]
fn keys_of_the_whole_product_are_never_silent() {
    for key in ["include", "ledger", "metrics", "control", "web", "notify"] {
        refused(&format!("{key}: {{x: 1}}\n{}", with("")), &format!("`{key}` does not work yet in this version; remove it"));
    }
    for key in ["url", "exchange_version", "disabled_until", "log", "notify"] {
        refused(&with(&format!("{key}: x")), &format!("`{key}` does not work yet in this version; remove it"));
    }
    refused(&with("recipient: {auto: {stop_at_first: true}}"), "`guess: union` asks them as well");
    refused(&with("delivery: {fold: qp}"), "`fold: qp` does not work yet in this version");
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
fn a_plain_password_is_warned_of_and_refused_where_others_read() {
    let text = with("").replace("{env: P}", "hunter2");
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].code, Code::SecretSource);
    assert_eq!(collector(&text).server.password, SecretSource::Plain(mailgather::mail::Secret::new("hunter2".into())));
    let open = parse(&text, Path::new("x"), &Environment { file_mode: Some(0o644), ..env() }).unwrap_err();
    assert!(open.to_string().contains("everybody may read"));
    assert!(parse(&with(""), Path::new("x"), &Environment { file_mode: Some(0o644), ..env() }).is_ok());
}

#[test]
fn loops_that_can_be_seen_are_warned_of() {
    for (lines, words) in [
        ("recipient: {forward_to: [x@b.example, a@почта.рф]}", "goes to the collected mailbox itself"),
        ("recipient: {auto: true, default_box: a@почта.рф}", "goes to the collected mailbox itself"),
        ("username: b\ndelivery: {smtp: IMAP.example.org}", "delivers to the server it collects from"),
        ("recipient: {auto: {envelope_below_received: true}}", "believes fields that a sender may have written"),
        ("timeouts: {connect: 0}", "waits up to 10 minutes"),
        ("timeouts: {idle_data: 0s}", "waits for ever"),
    ] {
        warned(lines, words);
    }
}

#[test]
fn slips_that_work_otherwise_than_they_look_are_warned_of() {
    for (auto, words) in [
        ("exclude: ['bot-.*@firm.example']", "looks like an expression, and is taken for an address"),
        ("exclude: [a@firm.example, '^root@firm.example']", "`^root@firm.example` looks like an expression"),
        (
            "domains: [firm.example], aliases: {info@firm.exmple: a@firm.example}",
            "an alias at `firm.exmple`, which is not in `domains`: did you mean `firm.example`?",
        ),
        ("domains: [икс.рф], aliases: {info@икс.рв: a@икс.рф}", "did you mean `икс.рф`?"),
        ("trusted_hops: 0", "warning[MG-112]: `trusted_hops: 0` believes no header at all"),
        ("map: {firm.example: local.example, local.example: firm.example}", "`map` leads from `firm.example` to `local.example` and back"),
    ] {
        warned(&format!("recipient: {{auto: {{{auto}}}}}"), words);
    }
    for fine in [
        "exclude: [b+c@firm.example, '/^bot-/']",
        // A strange domain is no slip: an alias accepts its own address.
        "domains: [firm.example], aliases: {info@gmail.com: a@firm.example, 'x@почта.рф': a@firm.example, y@sub.firm.example: a@firm.example}",
        "domains: [.firm.example, firm.example, firn.example], aliases: {a@firn.example: a@firm.example}",
        "trusted_hops: 1",
        "map: {a.example: b.example, b.example: c.example, c.example: c.example}",
    ] {
        let lines = format!("recipient: {{auto: {{{fine}}}}}");
        assert_eq!(warnings_of(&lines), [], "{fine}");
    }
    refused(&with("recipient: {auto: {exclude: [noreply]}}"), "an expression stands between slashes");
}

#[test]
fn what_becomes_of_mail_for_nobody_has_to_be_said() {
    let warnings = |lines: &str| read(&with(lines)).unwrap().warnings;
    let silent = warnings("recipient: {auto: {domains: [x.example]}}");
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(silent[0].to_string().contains("mail for nobody stays on the server") && silent[0].to_string().contains("`unresolved: leave`"));
    for said in ["unresolved: leave", "unresolved: hold", "default_box: d@x.example"] {
        assert_eq!(warnings(&format!("recipient: {{auto: {{domains: [x.example]}}, {said}}}")), [], "{said}");
    }
}

#[test]
fn all_that_is_wrong_in_a_block_or_a_list_is_said_at_once() {
    for (lines, places) in [
        (
            "recipient:\n  auto:\n    map: [x]\n    keep_tag: 1\n    max_recipients: many\n    trusted_hops: x",
            &["`map`", "`keep_tag`", "`max_recipients`", "`trusted_hops`"][..],
        ),
        ("recipient:\n  auto:\n    domains: ['a b', '*.x.example', ok.example, 'c d']", &["`a b`", "`*.x.example`", "`c d`"]),
        ("recipient:\n  auto:\n    trusted_hosts: ['a b', ok.example, 'c d']", &["`a b`", "`c d`"]),
        ("recipient: {forward_to: [one, a@x.example, two]}", &["`one`", "`two`"]),
        (
            "delivery: {smtp: [/one, ok.example, 'unix:two', ok.example, 'x:y:z']}",
            &["`/one` is a path", "a whole path", "this server twice", "`x:y:z`"],
        ),
    ] {
        let report = read(&with(lines)).unwrap_err();
        assert_eq!(report.errors.len(), places.len(), "{lines}\n{report}");
        for (place, error) in places.iter().zip(&report.errors) {
            // Values with a space in them are not repeated.
            let text = error.to_string();
            assert!(text.contains(place) || text.contains(place.trim_matches('`')), "{place}\n{text}");
        }
    }
}

#[test]
fn our_own_line_ends_in_hints_are_line_ends() {
    let report = read("delivery: {lmtp: unix:/run/lmtp}\n").unwrap_err().to_string();
    assert!(report.contains("hint: collectors:\n        office: {email: …, server:") && !report.contains('\u{fffd}'), "{report}");
}

#[test]
fn files_that_cannot_be_read_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let report = load(&folder.path().join("none.yaml"), &env()).unwrap_err();
    assert!(report.is_missing_file());
    assert!(!load(folder.path(), &env()).unwrap_err().is_missing_file());
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert!(load(&path, &env()).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(load(&path, &env()).unwrap_err().to_string().contains("larger than 4 MiB"));
    std::fs::write(&path, with("")).unwrap();
    let loaded = load(&path, &env()).unwrap();
    assert_eq!(loaded.files, [path]);
    assert_eq!(loaded.digest, load(&loaded.files[0], &env()).unwrap().digest);
}

/// What `mailgather check` finds outside of the file.
fn looked_at(text: &str) -> Report {
    parse_and_look(text, Path::new("/etc/mailgather/mailgather.yaml"), &env()).unwrap_or_else(|report| panic!("{text}\n{report}")).1
}

fn file_of(folder: &Path, name: &str, octets: &str, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, octets).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn what_a_file_names_is_looked_at_and_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = file_of(folder.path(), "data", "x", 0o600);
    let program = file_of(folder.path(), "program", "#!/bin/sh\n", 0o700);
    let password = |source: &str| with("").replace("{env: P}", source);
    let check = |check: &str| {
        with(&format!("password: {{env: PATH}}\nrecipient: {{auto: {{check_local: {check}}}, unresolved: leave}}"))
            .replace("    password: {env: P}\n", "")
    };
    for (text, code, words, under) in [
        (password("{file: /no/such/secret}"), Code::SecretSource, "/no/such/secret: No such file", "/no/such/secret"),
        (password("{env: MAILGATHER_NO_SUCH}"), Code::SecretSource, "the environment variable MAILGATHER_NO_SUCH is not set", "MAILGATHER_NO_SUCH"),
        (password("{credential: x}"), Code::SecretSource, "CREDENTIALS_DIRECTORY", "x"),
        (password("{command: [no-such-program]}"), Code::SecretSource, "no-such-program is in no folder of $PATH", "***"),
        (password("{command: [/no/such/program, a]}"), Code::SecretSource, "/no/such/program does not exist", "***"),
        (password(&format!("{{command: [{data}]}}")), Code::SecretSource, "is not executable", "***"),
        (check("{file: /no/such/list}"), Code::Unreadable, "`check_local`: /no/such/list: No such file", "/no/such/list"),
        (check("{command: [/no/such/check]}"), Code::Unreadable, "`check_local`: the program /no/such/check does not exist", "***"),
        (check(&format!("{{command: [{data}]}}")), Code::Unreadable, "is not executable", "***"),
        (
            check("{smtp: mx.example, tls: {mode: starttls, ca_file: /no/such/ca}}"),
            Code::Unreadable,
            "`ca_file`: /no/such/ca: No such file",
            "/no/such/ca",
        ),
    ] {
        let report = looked_at(&text);
        let problem = report.errors.first().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((report.errors.len(), problem.code), (1, code), "{report}");
        let place = problem.place.as_ref().unwrap_or_else(|| panic!("{problem}"));
        let shown: String = place.text.chars().skip(place.caret - 1).take(place.width).collect();
        assert!(problem.to_string().contains(words) && !problem.hints.is_empty(), "{words}\n{problem}");
        assert!(shown == under || under == "***", "{under}: {shown}\n{problem}");
    }
    for text in
        [password("{env: PATH}"), password("{command: [sh, -c, x]}"), password(&format!("{{command: [{program}]}}")), check("{command: [sh]}")]
    {
        assert_eq!(looked_at(&text), Report::default(), "{text}");
    }
}

#[test]
fn maildirs_that_are_missing_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (there, none) = (folder.path().display().to_string(), folder.path().join("none").display().to_string());
    let of = |path: &str, more: &str| with(&format!("delivery: {{maildir: '{path}'{more}}}")).replace("{env: P}", "{env: PATH}");
    for (path, missing) in [(format!("{there}/{{local}}"), false), (format!("{there}/box"), false), (format!("{none}/{{domain}}/{{local}}"), true)] {
        let report = looked_at(&of(&path, ""));
        assert_eq!((report.errors.len(), report.warnings.len()), (0, usize::from(missing)), "{report}");
        let hint = format!("create it: mkdir -p {none}, owned by the service's user");
        assert!(!missing || report.to_string().contains(&hint) && report.warnings[0].place.is_some(), "{report}");
    }
    // Found addresses need folders that are there; who says so either way is not asked again.
    let auto = "\nrecipient: {auto: {domains: [x.example]}, default_box: d@x.example}";
    let warnings = |more: &str, auto: &str| read(&with(&format!("delivery: {{maildir: '/m/{{local}}'{more}}}{auto}"))).unwrap().warnings;
    let asked = warnings("", auto);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].to_string().contains("`maildir_create: true`"), "{}", asked[0]);
    for (more, auto) in [(", maildir_create: true", auto), (", maildir_create: false", auto), ("", "")] {
        assert_eq!(warnings(more, auto), [], "{more}{auto}");
    }
}

#[test]
fn odd_secrets_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    for (n, (octets, words)) in [
        ("hunter2\n", None),
        ("hunter2", None),
        ("hunter2\r\n", None),
        ("correct horse", None),
        (" hunter2\n", Some("starts or ends with white space")),
        ("hunter2 \n", Some("starts or ends with white space")),
        ("hunter2\n\n", Some("more than one line")),
        ("hunter2\nold: hunter1\n", Some("more than one line")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file_of(folder.path(), &n.to_string(), octets, 0o600);
        let report = looked_at(&with("").replace("{env: P}", &format!("{{file: {path}}}")));
        assert_eq!((report.errors.len(), report.warnings.len()), (0, usize::from(words.is_some())), "{octets:?}");
        assert!(words.is_none_or(|words| report.warnings[0].to_string().contains(words)), "{report}");
        assert!(!report.to_string().contains("hunter"), "{report}");
    }
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

/// Every way a secret may stand in a file, with the canary in each.
const CANARY: &str = "Zq7canaryXw";

fn files_with_a_canary() -> Vec<String> {
    let secrets = [
        "password: Zq7canaryXw",
        "password: 'Zq7canaryXw'",
        "password: \"Zq7canaryXw\" # comment",
        "password: |\n      Zq7canaryXw",
        "password: >-\n      some words\n      Zq7canaryXw: x",
        "password:\n      Zq7canaryXw",
        "password: a Zq7canaryXw #b",
        "password: !Zq7canaryXw",
        "password: [Zq7canaryXw]",
        "password: {Zq7canaryXw}",
        "password: {plain: Zq7canaryXw}",
        "pasword: Zq7canaryXw",
        "Password: Zq7canaryXw",
        "passwort: 'Zq7canaryXw'",
        "auth: {client_secret: Zq7canaryXw, method: nonsense}",
        "auth: {token: Zq7canaryXw}",
        "interval: x # password: Zq7canaryXw",
        "delivery: {smtp: localhost, auth: {username: u, pasword: Zq7canaryXw}}",
        "delivery: {auth: {username: u, password: 'Zq7canaryXw'}, smtp: [}",
        "recipient: {auto: {check_local: {command: [ask, --token, Zq7canaryXw], timeout: soon}}}",
        "recipient: {auto: {check_local: {comand: [ask, Zq7canaryXw]}}}",
        "recipient:\n      auto:\n        rewrite: [{regex: (, to: $9@x, password: Zq7canaryXw}]",
        "delivery:\n      policy: [{reply: 9, do: nothing}]\n      auth: {username: u, password: Zq7canaryXw}\n      retry: {max: 0}",
    ];
    let block = |secret: &str| {
        format!(
            "version: 1\nlog: {{level: loud}}\ndelivery: {{lmtp: unix:/run/lmtp}}\ncollectors:\n  a:\n    email: a@почта.рф\n    {secret}\n    server: imap.example.org\n    interval: 1s\n    recipient: {{forward_to: b@икс.рф}}\n"
        )
    };
    let mut files: Vec<String> = secrets.iter().map(|secret| block(secret)).collect();
    for key in ["password", "pasword", "passwd"] {
        files.push(format!(
            "delivery: {{lmtp: unix:/l}}\ncollectors: {{a: {{email: x, {key}: {CANARY}, server: a@b, recipient: {{forward_to: b}}}}}}\n"
        ));
        files.push(format!("collectors:\n  a: {{email: x, \"{key}\": \"{CANARY}\",\n    server: a@b}}\n"));
    }
    files
}

fn never_prints_the_canary(text: &str) -> Result<(), String> {
    let printed = match read(text) {
        Ok(loaded) => format!("{:?}{}", loaded, Report { errors: vec![], warnings: loaded.warnings.clone() }),
        Err(report) => format!("{report}{report:?}"),
    };
    if printed.contains(CANARY) { Err(format!("{text}\n--- printed\n{printed}")) } else { Ok(()) }
}

#[test]
fn whole_files_never_print_a_secret() {
    for text in files_with_a_canary() {
        never_prints_the_canary(&text).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Break {
    Delete,
    Insert(char),
    Cut,
    Double,
}

/// Breaks a text at a character that is no part of the canary.
fn broken(text: &str, at: usize, how: &Break) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = at % chars.len();
    let mut out: String = chars[..at].iter().collect();
    let rest: String = chars[at..].iter().collect();
    let behind: String = chars[at + 1..].iter().collect();
    match how {
        Break::Delete => out += &behind,
        Break::Insert(c) => {
            out.push(*c);
            out += &rest;
        }
        Break::Cut => {}
        Break::Double => {
            out.push(chars[at]);
            out += &rest;
        }
    }
    out
}

/// Exhaustive: every file, one break at every place.
#[test]
fn files_broken_anywhere_never_print_a_secret() {
    let mut leaks = Vec::new();
    for text in files_with_a_canary() {
        // Around the canary: breaks further away change nothing about it.
        let canary = text[..text.find(CANARY).unwrap()].chars().count();
        for at in canary.saturating_sub(40)..(canary + 20).min(text.chars().count()) {
            for how in [Break::Delete, Break::Cut, Break::Double].into_iter().chain("\n :#'\"{[|".chars().map(Break::Insert)) {
                if let Err(leak) = never_prints_the_canary(&broken(&text, at, &how)) {
                    leaks.push(format!("{how:?} at {at}: {leak}"));
                }
            }
        }
    }
    assert!(
        leaks.is_empty(),
        "{} leaks\n{}",
        leaks.len(),
        leaks.iter().step_by(leaks.len().div_ceil(8).max(1)).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// Every key at once, broken all along: read or refused, and never a panic.
#[test]
fn all_keys_broken_anywhere_are_read_or_refused() {
    let keys = "service: {held: {max_age: 9d, max_size: 2GiB}}\ndelivery:\n  lmtp: [unix:/a, b:24]\n  policy: [{reply: 5.7.x, do: hold}, {reply: '/a(b)/', do: leave}]\n  retry: {delays: [1m, 2m], max: 3h, give_up: 4d}\n  headers: {bcc: keep, spam: strip}\n  xclient: true\n  eight_bit: hold\n  fold: off\ncollectors:\n  a:\n    email: a@b.example\n    server: c.example\n    password: {env: P}\n    on_hold: delete\n    after: delete\n    recipient:\n      auto:\n        domains: [b.example, .b.example]\n        map: {d.example: e.example, f.example: g@h.example}\n        aliases: {\"s+*@b.example\": t@b.example}\n        rewrite: [{regex: '(?<x>.)y(.)', to: '${x}$2@b.example'}]\n        exclude: [n@b.example, '/^o/']\n        guess: on\n        lists: {p@q.example: r@b.example, <u.v>: [w@b.example]}\n        check_local: {lmtp: unix:/x}\n        headers: [{header: Y, pattern: 'z(.)', skip: 1}]\n      journal: google\n      journal_from: j@b.example\n      unresolved: hold\n";
    assert!(read(keys).is_ok(), "{}", read(keys).unwrap_err());
    for at in (0..keys.chars().count()).step_by(7) {
        for how in [Break::Delete, Break::Cut, Break::Double].into_iter().chain("\n '$[{*я".chars().map(Break::Insert)) {
            let text = broken(keys, at, &how);
            if let Err(report) = read(&text) {
                assert!(!report.errors.is_empty() && !report.to_string().is_empty(), "{text}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Two breaks at once. Three can tear a key apart and take its colon: then no line tells any longer that it holds a secret.
    #[test]
    fn files_broken_often_never_print_a_secret(
        file in 0usize..29,
        breaks in prop::collection::vec((any::<usize>(), prop_oneof![
            Just(Break::Delete), Just(Break::Double), prop::sample::select("\n :#'\"{}[],\t&*!|-".chars().collect::<Vec<_>>()).prop_map(Break::Insert)
        ]), 2..3),
    ) {
        let mut text = files_with_a_canary()[file].clone();
        for (at, how) in &breaks {
            text = broken(&text, *at, how);
        }
        let leak = never_prints_the_canary(&text);
        prop_assert!(leak.is_ok(), "{}", leak.unwrap_err());
    }
}
