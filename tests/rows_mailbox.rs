//! Rows of the requirements about the remote mailbox, each against a real Dovecot: where it is, how to log in, what is collected, what
//! happens to it then. Tests are named after their rows.

mod support;

use std::os::unix::fs::PermissionsExt;
use support::corpus::letter;
use support::dovecot::PASSWORD;
use support::maildir::{field, subjects};
use support::process::{Channel, PASSWORD_VARIABLE};
use support::*;

const BOX: &str = "box@example.org";
const PROTOCOLS: [fn(&Dovecot, &str) -> CollectorYaml; 2] = [CollectorYaml::imap, CollectorYaml::pop3];

/// A collector that forwards everything to [`BOX`].
fn forwarding(protocol: fn(&Dovecot, &str) -> CollectorYaml, server: &Dovecot, user: &str) -> CollectorYaml {
    protocol(server, user).forward_to(BOX)
}

/// `letter 0` … in a user's mailbox.
fn fill(server: &Dovecot, user: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|n| server.put(user, &letter(n, "anna@pop.example")));
}

fn letters(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.into_iter().map(|n| format!("letter {n}")).collect();
    all.sort();
    all
}

/// True if somebody tried to log in, as Dovecot tells it.
fn was_tried(server: &Dovecot) -> bool {
    let log = server.log();
    log.contains("Login: user=")
        || log.lines().any(|line| line.contains("auth") && line.contains(" attempts in") && !line.contains("no auth attempts"))
}

#[test]
fn i3_the_server_by_address_and_by_name() {
    let server = Dovecot::start();
    for (n, name) in ["127.0.0.1", "localhost", "LocalHost"].iter().enumerate() {
        let (boxes, user) = (Boxes::new(), format!("u{n}"));
        fill(&server, &user, n..n + 1);
        let yaml = forwarding(CollectorYaml::imap, &server, &user).channel(Channel::Tls).to_string();
        let yaml = config(&boxes.delivery(), &[]) + &yaml.replace("server: 127.0.0.1", &format!("server: {name}"));
        Mailgather::new(&yaml).once(&[]).expect_success();
        assert_eq!(boxes.subjects(BOX), letters([n]), "{name}");
    }
}

#[test]
fn i4_pop3_and_imap() {
    let server = Dovecot::start();
    for (protocol, (user, word)) in PROTOCOLS.into_iter().zip([("imap", "IMAP"), ("pop", "POP3")]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..3);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, user)]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains(&format!("{user}: 3 delivered")), "{}", done.stdout);
        assert_eq!(boxes.subjects(BOX), letters(0..3), "{word}");
        let received = field(&boxes.of(BOX).messages()[0], "Received").unwrap();
        assert!(received.contains(&format!("with {word}, collector ")), "{received}");
        program.once(&[]).expect_success();
        assert_eq!(boxes.of(BOX).count(), 3, "{word}: nothing comes twice");
    }
}

#[test]
fn i5_tls_implicit_by_command_and_none() {
    let server = Dovecot::start();
    for protocol in PROTOCOLS {
        for (n, channel) in [Channel::Plain, Channel::StartTls, Channel::Tls].into_iter().enumerate() {
            let (boxes, user) = (Boxes::new(), format!("u{n}{}", protocol(&server, "x").to_string().contains("pop3")));
            fill(&server, &user, 0..1);
            Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, &user).channel(channel)])).once(&[]).expect_success();
            assert_eq!(boxes.subjects(BOX), letters([0]), "{user}");
            // Dovecot's own word on the channel. It calls loopback "secured" without TLS.
            let login = server.logged(&format!("Login: user=<{user}>"), 1).remove(0);
            assert_eq!(login.contains(", TLS"), channel != Channel::Plain, "{login}");
        }
    }
}

/// The id is what the log, the summary, the commands and the delivered mail call a collector. Two that differ in one letter's case are two.
#[test]
fn c2_the_id_names_the_collector_everywhere() {
    let server = Dovecot::start();
    let ids = ["a", "A", "Sales_2", "a-b", "0", "_", &"x".repeat(64)];
    for protocol in PROTOCOLS {
        let boxes = Boxes::new();
        let user = |n: usize| format!("u{n}{}", protocol(&server, "x").to_string().contains("pop3"));
        let collectors: Vec<CollectorYaml> =
            ids.iter().enumerate().map(|(n, id)| forwarding(protocol, &server, &user(n)).id(&format!("'{id}'"))).collect();
        (0..ids.len()).for_each(|n| fill(&server, &user(n), n..n + 1));
        let program = Mailgather::new(&config(&boxes.delivery(), &collectors));
        // One by its name, and nobody else.
        let done = program.once(&["Sales_2"]).expect_success();
        assert!(done.stdout.contains("Sales_2: 1 delivered"), "{}", done.stdout);
        assert_eq!(boxes.subjects(BOX), letters([2]));
        let done = program.once(&[]).expect_success();
        for id in ids.iter().filter(|id| **id != "Sales_2") {
            assert!(done.stdout.lines().any(|line| line.starts_with(&format!("{id}: 1 delivered"))), "{id}: {}", done.stdout);
        }
        assert_eq!(boxes.subjects(BOX), letters(0..ids.len()));
        for message in boxes.of(BOX).messages() {
            let n: usize = field(&message, "Subject").unwrap().strip_prefix("letter ").unwrap().parse().unwrap();
            assert_eq!(field(&message, "X-Mailgather-Collector").as_deref(), Some(ids[n]));
        }
        assert!(done.stderr.contains("collector=a-b "), "{}", done.stderr);
    }
    // Nobody by that name; and a name that cannot be is refused before anything is collected.
    let boxes = Boxes::new();
    fill(&server, "other", 0..1);
    // For each protocol one login for the collector that was named, and one for each.
    let logins = server.logged("Login: user=", 2 * (1 + ids.len())).len();
    let collector = |id: &str| forwarding(CollectorYaml::imap, &server, "other").id(id);
    let unknown = Mailgather::new(&config(&boxes.delivery(), &[collector("other")])).once(&["Other"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("Other"), "{}", unknown.stderr);
    for id in ["продажи", "'a b'", "a.b", "'../a'", "a@b"] {
        let done = Mailgather::new(&config(&boxes.delivery(), &[collector(id)])).once(&[]).expect_code(78);
        assert!(done.stderr.contains("letters, digits, `_` and `-`"), "{id}: {}", done.stderr);
    }
    assert_eq!((boxes.of(BOX).count(), server.count("other"), server.log().matches("Login: user=").count()), (0, 1, logins));
}

/// A server is written without a scheme. With one nothing is tried, and what the error says is right: written down, it collects.
#[test]
fn c6_a_server_with_a_scheme_is_not_tried_and_what_the_error_says_collects() {
    let server = Dovecot::start();
    let mut logins = 0;
    for (protocol, (user, scheme)) in PROTOCOLS.into_iter().zip([("imap", "imap"), ("pop", "pop3")]) {
        fill(&server, user, 0..2);
        for (channel, secure) in [(Channel::Plain, ""), (Channel::StartTls, ""), (Channel::Tls, "s")] {
            let boxes = Boxes::new();
            let yaml = config(&boxes.delivery(), &[forwarding(protocol, &server, user).channel(channel)]);
            let with = |host: &str| yaml.replace("server: 127.0.0.1", &format!("server: {host}"));
            let before = server.logged("Login: user=", logins).len();
            let wrong = with(&format!("{scheme}{secure}://localhost/"));
            for command in ["check", "once", "run"] {
                let done = Mailgather::new(&wrong).run_to_end(command, &[]).expect_code(78);
                assert!(done.stderr.contains("MG-118"), "{command}: {}", done.stderr);
            }
            let said = Mailgather::new(&wrong).check().stderr;
            let right = said.split("did you mean `").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or_else(|| panic!("{said}"));
            assert_eq!((right, server.log().matches("Login: user=").count()), ("localhost", before));
            Mailgather::new(&with(right)).once(&[]).expect_success();
            logins += 1;
            assert_eq!(boxes.subjects(BOX), letters(0..2), "{user} {channel:?}");
        }
    }
}

/// One letter of a user of its own, collected with these keys; whether Dovecot says that the login went over TLS.
fn login_over_tls(server: &Dovecot, user: &str, port: u16, keys: &str) -> Result<bool, support::process::Finished> {
    fill(server, user, 0..1);
    let boxes = Boxes::new();
    let yaml = format!(
        "{}  {user}: {{server: 127.0.0.1, port: {port}, email: {user}@pop.example, username: {user}, password: {{env: {PASSWORD_VARIABLE}}}, \
         recipient: {{forward_to: {BOX}}}, {keys}}}\n",
        config(&boxes.delivery(), &[])
    );
    let done = Mailgather::new(&yaml).once(&[]);
    if done.status.code() != Some(0) {
        assert!(boxes.subjects(BOX).is_empty() && !server.log().contains(&format!("Login: user=<{user}>")));
        return Err(done);
    }
    assert_eq!(boxes.subjects(BOX), letters([0]), "{keys}");
    Ok(server.logged(&format!("Login: user=<{user}>"), 1)[0].contains(", TLS"))
}

/// "Insecure", "TLS", "TLS, when available", "SSL": the last but one takes what is there, and still sends no password over an open channel unasked.
#[test]
fn m8_four_ways_to_connect() {
    let server = Dovecot::start();
    let ca = server.ca().display().to_string();
    let opportunistic = format!("tls: {{mode: opportunistic, ca_file: {ca}}}");
    for (user, port, keys, tls) in [
        ("insecure", server.imap(), "tls: {mode: none}, auth: {allow_plaintext: true}", false),
        ("tls", server.imap(), &*format!("tls: {{mode: starttls, ca_file: {ca}}}"), true),
        ("available", server.imap(), &opportunistic, true),
        ("ssl", server.imaps(), &*format!("tls: {{mode: implicit, ca_file: {ca}}}"), true),
    ] {
        assert_eq!(login_over_tls(&server, user, port, keys).unwrap_or_else(|done| panic!("{keys}: {}", done.stderr)), tls, "{keys}");
    }
    // A server without TLS.
    let old = RawImap::serve(vec![letter(7, "anna@pop.example")]);
    let boxes = Boxes::new();
    let at = |more: &str| {
        let text = config(&boxes.delivery(), &[CollectorYaml::at("imap", "u", old.port()).forward_to(BOX)]);
        text.replace("tls: {mode: none}", "tls: {mode: opportunistic}").replace("    auth: {allow_plaintext: true}\n", more)
    };
    let refused = Mailgather::new(&at("")).once(&[]).expect_code(69);
    assert!(refused.stderr.contains("MG-222") && refused.stderr.contains("allow_plaintext"), "{}", refused.stderr);
    Mailgather::new(&at("    auth: {allow_plaintext: true}\n")).once(&[]).expect_success();
    assert_eq!(boxes.subjects(BOX), letters([7]));
}

/// None, SSL, TLS: TLS is the one by a command on the port of the open channel.
#[test]
fn c11_none_ssl_and_tls_by_a_command() {
    let server = Dovecot::start();
    let ca = server.ca().display().to_string();
    for (n, (port, keys, tls)) in [
        (server.imap(), "tls: {mode: none}, auth: {allow_plaintext: true}".to_owned(), false),
        (server.imaps(), format!("tls: {{mode: ssl, ca_file: {ca}}}"), true),
        (server.imaps(), format!("tls: {{mode: ssl/tls, ca_file: {ca}}}"), true),
        (server.imap(), format!("tls: {{mode: starttls, ca_file: {ca}}}"), true),
        (server.pop3(), "protocol: pop3, tls: {mode: none}, auth: {allow_plaintext: true}".to_owned(), false),
        (server.pop3s(), format!("protocol: pop3, tls: {{mode: ssl, ca_file: {ca}}}"), true),
        (server.pop3(), format!("protocol: pop3, tls: {{mode: starttls, ca_file: {ca}}}"), true),
    ]
    .into_iter()
    .enumerate()
    {
        let over_tls = login_over_tls(&server, &format!("u{n}"), port, &keys).unwrap_or_else(|done| panic!("{keys}: {}", done.stderr));
        assert_eq!(over_tls, tls, "{keys}");
    }
}

#[test]
fn i5_a_certificate_that_cannot_be_verified_gets_no_password() {
    // The certificate is for 127.0.0.1 and localhost: at 127.0.0.2 its name is wrong.
    let server = Dovecot::builder().extra("listen = 127.0.0.1, 127.0.0.2").start();
    let other = Dovecot::start();
    fill(&server, "u", 0..1);
    let boxes = Boxes::new();
    for protocol in PROTOCOLS {
        for channel in [Channel::StartTls, Channel::Tls] {
            let good = config(&boxes.delivery(), &[forwarding(protocol, &server, "u").channel(channel)]);
            let ca = server.ca().display().to_string();
            let wrong = [
                ("another authority", good.replace(&ca, &other.ca().display().to_string())),
                ("no authority", good.replace(&format!(", ca_file: {ca}"), "")),
                ("another name", good.replace("server: 127.0.0.1", "server: 127.0.0.2")),
            ];
            for (what, yaml) in wrong {
                assert_ne!(yaml, good, "{what}");
                let done = Mailgather::new(&yaml).once(&[]).expect_code(69);
                assert!(done.stderr.to_lowercase().contains("certificate"), "{what}: {}", done.stderr);
                assert!(done.stderr.contains("hint"), "{what}: {}", done.stderr);
            }
        }
    }
    assert!(!was_tried(&server), "{}", server.log());
    assert_eq!(boxes.of(BOX).count(), 0);
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
fn i5_without_starttls_at_the_server_there_is_no_login() {
    let server = Dovecot::builder().extra(WITHOUT_TLS).start();
    let boxes = Boxes::new();
    for protocol in PROTOCOLS {
        let done = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, "u").channel(Channel::StartTls)])).once(&[]);
        let done = done.expect_code(69);
        assert!(done.stderr.contains("TLS"), "{}", done.stderr);
    }
    assert!(!was_tried(&server), "{}", server.log());
}

#[test]
fn i5_an_open_channel_is_for_those_who_say_so() {
    let server = Dovecot::start();
    let yaml = config("{maildir: '/nowhere/{local}'}", &[forwarding(CollectorYaml::imap, &server, "u")]);
    let done = Mailgather::new(&yaml.replace("    auth: {allow_plaintext: true}\n", "")).once(&[]).expect_code(78);
    assert!(done.stderr.contains("open channel") && done.stderr.contains("allow_plaintext"), "{}", done.stderr);
}

#[test]
fn i6_the_password_from_a_file_the_environment_and_a_command() {
    let server = Dovecot::start();
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("secret");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let sources = [format!("{{file: '{}'}}", file.display()), "{env: THE_SECRET}".into(), format!("{{command: [printf, '{PASSWORD}\\n']}}")];
    for protocol in PROTOCOLS {
        for (n, source) in sources.iter().enumerate() {
            for method in ["auto", "password", "plain"] {
                let boxes = Boxes::new();
                let user = format!("u{n}");
                server.put(&user, &letter(n, "anna@pop.example"));
                let here = server.count(&user);
                let yaml = config(&boxes.delivery(), &[forwarding(protocol, &server, &user)]);
                let yaml = yaml.replace(&format!("password: {{env: {}}}", support::process::PASSWORD_VARIABLE), &format!("password: {source}"));
                let yaml = yaml.replace("allow_plaintext: true", &format!("allow_plaintext: true, method: {method}"));
                let program = Mailgather::new(&yaml).env("THE_SECRET", PASSWORD);
                program.check().expect_success();
                let done = program.once(&[]).expect_success();
                assert_eq!(boxes.of(BOX).count(), here, "{source}, {method}");
                assert!(!done.stderr.contains(PASSWORD) && !done.stdout.contains(PASSWORD), "{}", done.stderr);
            }
        }
    }
}

#[test]
fn i6_a_wrong_password_is_a_clear_error_and_never_shown() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    for protocol in PROTOCOLS {
        for channel in [Channel::Plain, Channel::StartTls, Channel::Tls] {
            fill(&server, "u", 0..1);
            let yaml = config(&boxes.delivery(), &[forwarding(protocol, &server, "u").channel(channel)]);
            let program = Mailgather::new(&yaml).env(support::process::PASSWORD_VARIABLE, "wrong-Secret-7341");
            let done = program.run_to_end("once", &["-vv"]).expect_code(77);
            for needle in ["login", "hint", "password"] {
                assert!(done.stderr.contains(needle), "{needle}: {}", done.stderr);
            }
            assert!(done.stderr.contains("u: FAILED"), "{}", done.stderr);
            let output = format!("{}{}", done.stdout, done.stderr);
            // In clear, in base64 as SASL PLAIN sends it, and as the pieces of both.
            assert!(!output.contains("wrong-Secret") && !output.contains("d3JvbmctU2VjcmV0"), "{output}");
        }
    }
    assert_eq!(boxes.of(BOX).count(), 0);
    // Each run tried once: accounts get locked by more.
    assert_eq!(server.logged("auth failed, 1 attempts", 6).len(), 6, "{}", server.log());
}

#[test]
fn i10_all_and_delete_takes_what_was_collected_before_too() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..2);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, user)]));
        program.once(&[]).expect_success();
        fill(&server, user, 2..3);
        program.configure(&config(&boxes.delivery(), &[forwarding(protocol, &server, user).set("collect", "all").after("delete")]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("3 delivered, 3 removed"), "{}", done.stdout);
        assert_eq!(server.count(user), 0);
        // A Maildir's file is named after the message: the second copy of the first two is the first one.
        assert_eq!(boxes.subjects(BOX), letters(0..3), "{user}");
    }
}

#[test]
fn i10_new_and_delete_leaves_alone_what_was_collected_before() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..2);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, user)]));
        program.once(&[]).expect_success();
        fill(&server, user, 2..4);
        program.configure(&config(&boxes.delivery(), &[forwarding(protocol, &server, user).after("delete")]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("2 delivered, 2 removed"), "{}", done.stdout);
        assert_eq!(subjects(&server.messages(user)), letters(0..2), "{user}");
        assert_eq!(boxes.subjects(BOX), letters(0..4), "{user}");
    }
}

#[test]
fn i10_new_and_keep_collects_each_message_once() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, user)]));
        for n in 0..3 {
            fill(&server, user, n..n + 1);
            let done = program.once(&[]).expect_success();
            assert!(done.stdout.contains("1 delivered"), "{}", done.stdout);
            // Gone from where it was delivered to, so that a second copy would be seen.
            std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
        }
        program.once(&[]).expect_success();
        assert_eq!(boxes.of(BOX).count(), 0);
        assert_eq!(subjects(&server.messages(user)), letters(0..3), "{user}");
        assert_untouched(&server, user);
    }
}

/// No flag by IMAP. By POP3 Dovecot itself sets \Seen at RETR (`pop3_no_flag_updates = no`), and no client can help it.
fn assert_untouched(server: &Dovecot, user: &str) {
    let allowed = if user == "pop" { "S" } else { "" };
    assert!(server.flags(user).iter().all(|flags| flags == allowed), "{user}: {:?}", server.flags(user));
}

#[test]
fn i11_a_short_interval_of_the_daemon() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    let collectors = [
        forwarding(CollectorYaml::imap, &server, "a").set("interval", "100ms"),
        forwarding(CollectorYaml::pop3, &server, "b").set("interval", "100ms"),
    ];
    let program = Mailgather::new(&format!("limits: {{interval_min: 50ms}}\n{}", config(&boxes.delivery(), &collectors)));
    let daemon = program.run();
    for n in 0..3 {
        fill(&server, "a", n..n + 1);
        fill(&server, "b", n + 10..n + 11);
        eventually("both are collected", SOON, || boxes.of(BOX).count() == 2 * (n + 1));
    }
    daemon.stop().expect_success();
    assert_eq!(boxes.subjects(BOX), letters((0..3).chain(10..13)));
}

#[test]
fn i12_at_most_so_many_a_session_and_once_empties_the_box_all_the_same() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        for after in ["keep", "delete"] {
            let boxes = Boxes::new();
            let user = format!("{user}-{after}");
            fill(&server, &user, 0..7);
            let collector = forwarding(protocol, &server, &user).set("max_messages_per_session", "3").after(after);
            let done = Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
            assert_eq!(boxes.subjects(BOX), letters(0..7), "{user}");
            assert_eq!(sessions(&done.stderr), [3, 3, 1], "{}", done.stderr);
            assert_eq!(server.logged(&format!("Login: user=<{user}>"), 3).len(), 3, "{user}");
        }
    }
}

/// How many messages each session that found any delivered.
fn sessions(log: &str) -> Vec<usize> {
    let figure = |line: &str| line.split(' ').find_map(|word| word.strip_prefix("delivered=")).and_then(|figure| figure.parse().ok());
    log.lines().filter(|line| line.contains("session_finished")).filter_map(figure).filter(|delivered| *delivered > 0).collect()
}

#[test]
fn m1_many_collectors_at_once() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    let mut collectors = Vec::new();
    for n in 0..15 {
        let user = format!("client-{n}");
        fill(&server, &user, n * 10..n * 10 + 4);
        let (protocol, channel) = [
            (PROTOCOLS[1], Channel::Plain),
            (PROTOCOLS[0], Channel::Plain),
            (PROTOCOLS[0], Channel::Tls),
            (PROTOCOLS[1], Channel::Tls),
            (PROTOCOLS[0], Channel::StartTls),
        ][n % 5];
        let after = ["keep", "delete"][n % 2];
        collectors.push(protocol(&server, &user).id(&format!("client-{n}")).forward_to(&format!("box{n}@example.org")).channel(channel).after(after));
    }
    let program = Mailgather::new(&config(&boxes.delivery(), &collectors));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("60 delivered in"), "{}", done.stdout);
    for n in 0..15 {
        assert_eq!(boxes.subjects(&format!("box{n}@example.org")), letters(n * 10..n * 10 + 4), "{n}");
        assert_eq!(server.count(&format!("client-{n}")), if n % 2 == 0 { 4 } else { 0 });
    }
}

#[test]
fn m1_collectors_run_at_the_same_time() {
    let server = Dovecot::start();
    let collectors: Vec<CollectorYaml> = (0..6).map(|n| forwarding(PROTOCOLS[n % 2], &server, &format!("c{n}"))).collect();
    (0..6).for_each(|n| fill(&server, &format!("c{n}"), n..n + 1));
    // The first answer to a final dot is late enough for all of them to be there: in turn, no two connections would ever be open at once.
    let sink = Sink::builder().delay("DOT", 0, std::time::Duration::from_millis(1500)).start();
    let delivery = sink.delivery().replace('}', ", max_connections: 8}");
    Mailgather::new(&config(&delivery, &collectors)).once(&[]).expect_success();
    assert_eq!((sink.count(), sink.most_open()), (6, 6));
}

#[test]
fn m1_one_that_fails_holds_up_nobody() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    fill(&server, "good", 0..3);
    let bad = CollectorYaml::at("imap", "dead", 1).forward_to(BOX);
    let done = Mailgather::new(&config(&boxes.delivery(), &[bad, forwarding(CollectorYaml::imap, &server, "good")])).once(&[]).expect_code(75);
    assert_eq!(boxes.subjects(BOX), letters(0..3));
    assert!(done.stderr.contains("dead: FAILED: error[MG-211]: 127.0.0.1:1"), "{}", done.stderr);
    assert!(done.stdout.contains("good: 3 delivered") && !done.stdout.contains("FAILED"), "{}", done.stdout);
}

#[test]
fn c3_switched_off_and_on_again() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    let collector = || forwarding(CollectorYaml::imap, &server, "box");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector().set("enabled", "false")]));
    fill(&server, "box", 0..1);
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    daemon.signal(process::Signal::USR1);
    daemon.wait_for("collect_requested");
    program.configure(&config(&boxes.delivery(), &[collector()]));
    daemon.wait_for("added=1");
    daemon.wait_for("message_delivered");
    program.configure(&config(&boxes.delivery(), &[collector().set("enabled", "false")]));
    daemon.wait_for("removed=1");
    fill(&server, "box", 1..2);
    daemon.signal(process::Signal::USR1);
    daemon.wait_for("collect_requested");
    daemon.stop().expect_success();
    assert_eq!(boxes.subjects(BOX), letters([0]));
}

#[test]
fn m2_a_disabled_collector_does_not_run_unless_it_is_named() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    fill(&server, "on", 0..1);
    fill(&server, "off", 1..2);
    let collectors = [forwarding(CollectorYaml::imap, &server, "on"), forwarding(CollectorYaml::imap, &server, "off").set("enabled", "false")];
    let program = Mailgather::new(&config(&boxes.delivery(), &collectors));
    let checked = program.check().expect_success();
    assert!(checked.stdout.contains("2 collectors, 1 enabled"), "{}", checked.stdout);
    program.once(&[]).expect_success();
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    daemon.stop().expect_success();
    assert_eq!(boxes.subjects(BOX), letters([0]));
    assert!(!server.log().contains("user=<off>"), "{}", server.log());
    program.once(&["off"]).expect_success();
    assert_eq!(boxes.subjects(BOX), letters(0..2));
    let unknown = program.once(&["of"]).expect_code(64);
    assert!(unknown.stderr.contains("off, on"), "{}", unknown.stderr);
}

#[test]
fn m5_fifty_messages_a_connection() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..120);
        let collector = forwarding(protocol, &server, user).set("max_messages_per_session", "50").set("collect", "all").after("delete");
        let done = Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
        assert_eq!(sessions(&done.stderr), [50, 50, 20], "{}", done.stderr);
        assert_eq!(server.logged(&format!("Login: user=<{user}>"), 3).len(), 3);
        assert_eq!((boxes.of(BOX).count(), server.count(user)), (120, 0));
    }
}

#[test]
fn m6_the_port_of_imap_follows_the_mode() {
    for (mode, port) in [("implicit", 993), ("starttls", 143), ("none", 143)] {
        assert_tried(&unreachable("imap", mode).replace("    port: 1\n", ""), port);
    }
}

#[test]
fn p4_the_port_of_pop3_follows_the_mode() {
    for (mode, port) in [("implicit", 995), ("starttls", 110), ("none", 110)] {
        assert_tried(&unreachable("pop3", mode).replace("    port: 1\n", ""), port);
    }
}

#[test]
fn c7_a_port_that_is_set_is_the_one() {
    for (protocol, mode) in [("imap", "implicit"), ("imap", "none"), ("pop3", "starttls")] {
        assert_tried(&unreachable(protocol, mode), 1);
    }
}

/// A collector of an address where nobody listens.
fn unreachable(protocol: &'static str, mode: &str) -> String {
    let yaml = config("{maildir: '/nowhere/{local}'}", &[CollectorYaml::at(protocol, "u", 1).forward_to(BOX)]);
    yaml.replace("server: 127.0.0.1", "server: 127.0.0.77").replace("tls: {mode: none}", &format!("tls: {{mode: {mode}}}"))
}

/// The error names the port that was tried.
#[track_caller]
fn assert_tried(yaml: &str, port: u16) {
    let done = Mailgather::new(yaml).once(&[]).expect_code(69);
    assert!(done.stderr.contains(&format!("127.0.0.77:{port}:")), "{port}: {}", done.stderr);
}

#[test]
fn m7_a_login_with_backslashes() {
    const LOGIN: &str = r"dom\juser\J.User";
    // Dovecot refuses such names unless it is told otherwise.
    let server = Dovecot::builder().extra("auth_username_chars =\nauth_username_format = %u").start();
    for protocol in PROTOCOLS {
        for method in ["password", "plain"] {
            let boxes = Boxes::new();
            fill(&server, LOGIN, 0..1);
            let here = server.count(LOGIN);
            let yaml = config(&boxes.delivery(), &[forwarding(protocol, &server, LOGIN)]);
            let yaml = yaml.replace("allow_plaintext: true", &format!("allow_plaintext: true, method: {method}"));
            Mailgather::new(&yaml).once(&[]).expect_success();
            assert_eq!(boxes.of(BOX).count(), here, "{method}");
        }
    }
    server.logged(r"Login: user=<dom\juser\J.User>", 1);
}

#[test]
fn p2_the_login_is_the_address_unless_it_is_set() {
    let server = Dovecot::start();
    fill(&server, "anna@pop.example", 0..1);
    fill(&server, "other", 1..2);
    for (user, n) in [("anna@pop.example", 0), ("other", 1)] {
        let boxes = Boxes::new();
        let yaml = config(&boxes.delivery(), &[forwarding(CollectorYaml::pop3, &server, user).set("email", "anna@pop.example")]);
        Mailgather::new(&yaml.replace("    username: 'anna@pop.example'\n", "")).once(&[]).expect_success();
        assert_eq!(boxes.subjects(BOX), letters([n]));
    }
}

#[test]
fn p7_nothing_is_deleted_or_marked_unless_it_is_said() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..3);
        let yaml = config(&boxes.delivery(), &[forwarding(protocol, &server, user)]);
        let yaml = yaml.replace("    after: keep\n", "").replace("    collect: new\n", "");
        let program = Mailgather::new(&yaml);
        program.once(&[]).expect_success();
        program.once(&[]).expect_success();
        assert_eq!((boxes.of(BOX).count(), server.count(user)), (3, 3));
        assert_untouched(&server, user);
    }
}

#[test]
fn p7_c1_collected_mail_is_marked_read() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap, &server, "u").after("mark_seen")]));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("3 delivered, 3 removed or marked"), "{}", done.stdout);
    assert_eq!(server.flags("u"), ["S", "S", "S"]);
    fill(&server, "u", 3..4);
    assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"));
    assert_eq!(server.flags("u"), ["S", "S", "S", "S"]);
}

#[test]
fn c1_unseen_mail_only() {
    let server = Dovecot::start();
    let boxes = Boxes::new();
    fill(&server, "u", 0..4);
    // Somebody has read letter 1 and, later, reads letter 2.
    let see = |n: usize| {
        let folder = server.maildir("u");
        let subject = format!("letter {n}");
        let stored = folder.stored().into_iter().find(|m| field(&m.bytes, "Subject").as_deref() == Some(&subject)).unwrap();
        let from = folder.0.join(if stored.is_new { "new" } else { "cur" }).join(&stored.name);
        let base = stored.name.split(":2,").next().unwrap();
        std::fs::rename(from, folder.0.join("cur").join(format!("{base}:2,S"))).unwrap();
    };
    see(1);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap, &server, "u").set("collect", "unseen")]));
    program.once(&[]).expect_success();
    assert_eq!(boxes.subjects(BOX), letters([0, 2, 3]));
    std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
    // What is unseen still was collected before; what becomes unseen again and was not, is new.
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("0 delivered"), "{}", again.stdout);
    let folder = server.maildir("u");
    let seen = folder.stored().into_iter().find(|m| m.flags == "S").unwrap();
    std::fs::rename(folder.0.join("cur").join(&seen.name), folder.0.join("cur").join(seen.name.replace(":2,S", ":2,"))).unwrap();
    program.once(&[]).expect_success();
    assert_eq!(boxes.subjects(BOX), letters([1]));
}

#[test]
fn a_new_name_in_the_file_delivers_nothing_twice() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..3);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol, &server, user).id("before")]));
        program.once(&[]).expect_success();
        // Gone, as its reader may have filed it: a second copy would be seen.
        std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
        fill(&server, user, 3..4);
        program.configure(&config(&boxes.delivery(), &[forwarding(protocol, &server, user).id("behind")]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("behind: 1 delivered"), "{}", done.stdout);
        assert_eq!(boxes.subjects(BOX), letters([3]), "{user}");
    }
}

#[test]
fn a_message_above_the_limit_is_reported_and_waits_for_a_higher_one() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let boxes = Boxes::new();
        fill(&server, user, 0..1);
        server.put(user, &[letter(1, "anna@pop.example"), b"x".repeat(70_000)].concat());
        fill(&server, user, 2..3);
        let collector = |limit: &str| forwarding(protocol, &server, user).set("max_message_size", limit).after("delete");
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector("64KiB")]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("2 delivered, 1 left on the server"), "{}", done.stdout);
        assert!(done.stderr.contains("message_skipped") && done.stderr.contains("max_message_size"), "{}", done.stderr);
        let again = program.once(&[]).expect_success();
        assert!(!again.stderr.contains("message_skipped"), "reported once: {}", again.stderr);
        assert_eq!((boxes.subjects(BOX), subjects(&server.messages(user))), (letters([0, 2]), letters([1])));
        program.configure(&config(&boxes.delivery(), &[collector("{limit: 1MiB, action: skip}")]));
        program.once(&[]).expect_success();
        assert_eq!((boxes.subjects(BOX), server.count(user)), (letters(0..3), 0), "{user}");
    }
}

#[test]
fn without_uidplus_messages_are_flagged_reported_once_and_never_fetched_again() {
    let server = Dovecot::builder().without(&["UIDPLUS"]).start();
    let boxes = Boxes::new();
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap, &server, "u").after("delete")]));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("3 delivered"), "{}", done.stdout);
    assert_eq!(done.stderr.matches("no UIDPLUS").count(), 1, "{}", done.stderr);
    assert_eq!(server.flags("u"), ["ST", "ST", "ST"], "flagged (and \\Seen, for Exchange's sake), and not expunged");
    std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("UIDPLUS"), "{}\n{}", again.stdout, again.stderr);
    fill(&server, "u", 3..4);
    program.once(&[]).expect_success();
    assert_eq!(boxes.subjects(BOX), letters([3]));
    assert_eq!(server.count("u"), 4);
}
