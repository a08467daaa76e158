//! What works: each step told, nothing changed.

use crate::kit::*;
use crate::support::corpus::letter;
use crate::support::process::Channel;
use crate::support::*;
use serde_json::Value;

const PROTOCOLS: [fn(&Dovecot, &str) -> CollectorYaml; 2] = [CollectorYaml::imap, CollectorYaml::pop3];

fn fill(server: &Dovecot, user: &str, count: usize) {
    (0..count).for_each(|n| server.put(user, &letter(n, "anna@pop.example")));
}

#[test]
fn m18_a_test_connects_authenticates_retrieves_and_is_successful() {
    let server = Dovecot::start();
    for (n, protocol) in PROTOCOLS.into_iter().enumerate() {
        for channel in [Channel::Plain, Channel::StartTls, Channel::Tls] {
            let (boxes, user) = (Boxes::new(), format!("u{n}{channel:?}").to_lowercase());
            fill(&server, &user, 3);
            let before = files(&server.maildir(&user).0.join("new"));
            assert_eq!(before.len(), 3);
            let program = Mailgather::new(&config(&boxes.delivery(), &[protocol(&server, &user).channel(channel).forward_to(BOX)]));
            // No state there may be, and none is made.
            std::fs::remove_dir(program.state_dir()).unwrap();
            let done = test(&program, &[&user]).expect_success();
            let out = &done.stdout;
            assert!(out.starts_with(&format!("{user}: connecting to 127.0.0.1:")), "{out}");
            let tls_first = ["dns", "tcp", "tls", "greeting", "login", "folder", "count", "destination"];
            let greeting_first = ["dns", "tcp", "greeting", "tls", "login", "folder", "count", "destination"];
            assert_eq!(steps(out), if channel == Channel::StartTls { greeting_first } else { tls_first }, "{out}");
            assert!(line(out, "login").contains(&format!("as {user}: Logged in")), "{out}");
            assert!(line(out, "greeting").contains("Dovecot"), "{out}");
            match channel {
                Channel::Plain => assert!(line(out, "tls").contains("none, as configured") && out.contains("the channel is open"), "{out}"),
                _ => assert!(line(out, "tls").contains("TLSv1.3, localhost, chain trusted, ") && line(out, "tls").contains(" days left"), "{out}"),
            }
            assert!(line(out, "folder").contains("INBOX"), "{out}");
            assert!(line(out, "count").contains("3 messages; retrieved the header of the last one"), "{out}");
            assert!(line(out, "destination").contains("maildir ") && line(out, "destination").contains(" free"), "{out}");
            assert!(out.ends_with(&format!("{user}: test successful\n")), "{out}");
            assert_eq!(done.stderr, "");
            // Not even moved from `new` to `cur`, which would be \Recent gone: by EXAMINE. POP3 has nothing of the kind.
            if n == 0 {
                assert_eq!(files(&server.maildir(&user).0.join("new")), before);
            }
            assert_eq!((server.flags(&user), server.count(&user)), (vec![String::new(); 3], 3));
            assert!(!program.state_dir().exists(), "a state directory was made");
            assert!(files(boxes.of(BOX).0.parent().unwrap()).is_empty(), "a Maildir was made");
        }
    }
}

#[test]
fn c12_check_the_connection_beside_a_running_daemon_and_nothing_is_touched() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    fill(&server, "u", 2);
    let program = Mailgather::new(&config(&sink.delivery(), &[CollectorYaml::imap(&server, "u").forward_to(BOX).set("idle", "on")]));
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    sink.wait_for(2);
    let (flags, log_lines) = (server.flags("u"), daemon.log().len());
    let done = test(&program, &["u"]).expect_success();
    assert!(line(&done.stdout, "count").contains("2 messages; retrieved"), "{}", done.stdout);
    assert!(daemon.is_alive());
    assert_eq!((server.flags("u"), server.count("u")), (flags, 2));
    // The daemon noticed nothing, and goes on.
    assert!(!daemon.log()[log_lines..].iter().any(|line| line.contains("ERROR")), "{:?}", daemon.log());
    fill(&server, "u", 1);
    sink.wait_for(3);
    daemon.stop();
    assert_eq!(sink.count(), 3);
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
}

#[test]
fn the_ledger_is_not_touched_and_the_next_pass_brings_what_it_would_have_brought() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    for protocol in PROTOCOLS {
        let user = format!("u{}", protocol(&server, "x").to_string().contains("pop3"));
        fill(&server, &user, 2);
        let program = Mailgather::new(&config(&boxes.delivery(), &[protocol(&server, &user).forward_to(&format!("{user}@example.org"))]));
        program.once(&[]).expect_success();
        let before = files(&program.state_dir());
        assert!(before.keys().any(|name| name.ends_with("ledger.db")), "{:?}", before.keys());
        server.put(&user, &letter(7, "anna@pop.example"));
        test(&program, &[&user]).expect_success();
        test(&program, &["--all"]).expect_success();
        assert!(files(&program.state_dir()) == before, "the state was changed");
        program.once(&[]).expect_success();
        assert_eq!(boxes.subjects(&format!("{user}@example.org")), ["letter 0", "letter 1", "letter 7"]);
    }
}

#[test]
fn it_stops_after_tls_or_after_the_login() {
    let server = Dovecot::start();
    let mut logins = 0;
    for protocol in PROTOCOLS {
        for channel in [Channel::Plain, Channel::StartTls, Channel::Tls] {
            let boxes = Boxes::new();
            // Without TLS no password is asked for: none has to be there.
            let yaml = config(&boxes.delivery(), &[protocol(&server, "u").channel(channel).forward_to(BOX)]);
            let program = Mailgather::new(&yaml.replace("env: MAILGATHER_TEST_PASSWORD", "file: /no/such/file"));
            let done = test(&program, &["u", "--tls"]).expect_success();
            let mut tried = steps(&done.stdout);
            tried.sort();
            assert_eq!(tried, ["dns", "greeting", "tcp", "tls"], "{}", done.stdout);
            assert!(done.stdout.ends_with("u: test successful, up to the secured channel\n"), "{}", done.stdout);
            assert_eq!(server.log().matches("Login: user=").count(), logins);
            let done = test(&Mailgather::new(&yaml), &["u", "--auth"]).expect_success();
            logins = server.logged("Login: user=", logins + 1).len();
            assert_eq!(steps(&done.stdout).last().unwrap(), "login", "{}", done.stdout);
            assert!(done.stdout.ends_with("u: test successful, up to the login\n"), "{}", done.stdout);
        }
    }
}

#[test]
fn several_at_once_and_as_json() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "good", 1);
    let yaml = config(
        &boxes.delivery(),
        &[
            CollectorYaml::imap(&server, "good").channel(Channel::Tls).forward_to(BOX),
            CollectorYaml::pop3(&server, "bad").forward_to(BOX),
            CollectorYaml::imap(&server, "off").forward_to(BOX).set("enabled", "false"),
        ],
    );
    let at = yaml.find("username: 'bad'").unwrap();
    let yaml = format!("{}{}", &yaml[..at], yaml[at..].replacen(process::PASSWORD_VARIABLE, "OTHER_PASSWORD", 1));
    let program = Mailgather::new(&yaml).env("OTHER_PASSWORD", "wrong-password");
    let done = test(&program, &["--all"]).expect_code(75);
    let order: Vec<_> = ["good: connecting", "bad: connecting"].iter().map(|head| done.stdout.find(head).unwrap()).collect();
    assert!(order[1] < order[0], "by name: {}", done.stdout);
    assert!(done.stdout.contains("good: test successful") && !done.stdout.contains("off:"), "{}", done.stdout);
    assert!(done.stderr.contains("error[MG-203]: bad: "), "{}", done.stderr);
    let done = test(&program, &["good", "bad", "good", "--json"]).expect_code(75);
    let objects: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2, "{}", done.stdout);
    assert_eq!((objects[0]["collector"].as_str(), objects[0]["ok"].as_bool(), objects[0]["exit"].as_u64()), (Some("good"), Some(true), Some(0)));
    assert!(objects[0]["steps"].as_array().unwrap().iter().all(|step| step["ms"].is_u64()), "{}", objects[0]);
    assert_eq!((objects[1]["exit"].as_u64(), objects[1]["error"]["code"].as_str()), (Some(77), Some("MG-203")));
    assert_eq!(objects[1]["error"]["doc"], "docs/errors/MG-203.md");
    assert_eq!(objects[1]["not_tried"], serde_json::json!(["folder", "count", "destination"]));
    let everything = format!("{}{}", done.stdout, done.stderr);
    assert!(!everything.contains("wrong-password") && !everything.contains(dovecot::PASSWORD), "{everything}");
    // One that is named is tried, also when it is switched off; who says -q hears of failures only.
    assert_eq!(test(&program, &["off", "-q"]).expect_success().stdout, "");
    test(&program, &[]).expect_code(64);
    test(&program, &["nobody"]).expect_code(64);
    test(&program, &["good", "--tls", "--auth"]).expect_code(64);
    test(&program, &["good", "--deliver", "no address"]).expect_code(64);
}

#[test]
fn several_folders_are_opened_and_counted() {
    let (server, boxes) = (Dovecot::builder().extra("namespace inbox {\n  inbox = yes\n  separator = /\n}").start(), Boxes::new());
    fill(&server, "u", 2);
    let mut client = OtherClient::login(server.imap(), "u");
    for folder in ["Lists/a", "Lists/b", "Newsletter"] {
        client.command(&format!("CREATE {folder}"));
    }
    client.command("SELECT INBOX");
    client.command("COPY 1:2 Lists/a");
    let yaml = |folders: &str| config(&boxes.delivery(), &[CollectorYaml::imap(&server, "u").forward_to(BOX).set("folders", folders)]);
    let done = test(&Mailgather::new(&yaml("[INBOX, 'Lists/*', Newsletter]")), &["u"]).expect_success();
    for folder in ["INBOX", "Lists/a", "Lists/b", "Newsletter"] {
        assert!(line(&done.stdout, "folder").contains(folder), "{}", done.stdout);
    }
    assert!(line(&done.stdout, "count").contains("4 messages; retrieved"), "{}", done.stdout);
    // What is missing is said, with what may be meant; the rest is tried all the same.
    let done = test(&Mailgather::new(&yaml("[INBOX, Newsleter]")), &["u"]).expect_code(78);
    assert!(line(&done.stdout, "folder").contains("there is no folder `Newsleter`; there is `Newsletter`; found: INBOX"), "{}", done.stdout);
    assert!(
        steps(&done.stdout).contains(&"destination".to_owned())
            && line(&done.stdout, "count").contains("2 messages")
            && !done.stdout.contains("successful"),
        "{}",
        done.stdout
    );
    assert!(done.stderr.contains("error[MG-242]: u: there is no folder `Newsleter`"), "{}", done.stderr);
    // An empty mailbox is fine.
    let done = test(&Mailgather::new(&yaml("[Newsletter]")), &["u"]).expect_success();
    assert!(line(&done.stdout, "count").contains("0 messages: nothing to retrieve"), "{}", done.stdout);
}

#[test]
fn a_provider_fills_in_the_server_and_is_named() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "anna", 1);
    let yaml = format!(
        "providers:\n  corp:\n    title: Corporate mail\n    domains: [corp.example]\n    protocol: imap\n    server: localhost\n    port: {}\n    \
         tls: {{mode: starttls, ca_file: {}}}\n    login: local_part\ndelivery: {}\ncollectors:\n  anna:\n    email: anna@corp.example\n    \
         password: {{env: {}}}\n    recipient: {{forward_to: {BOX}}}\n",
        server.imap(),
        server.ca().display(),
        boxes.delivery(),
        process::PASSWORD_VARIABLE,
    );
    let done = test(&Mailgather::new(&yaml), &["anna"]).expect_success();
    assert!(done.stdout.contains(&format!("connecting to localhost:{} (imap, provider corp)", server.imap())), "{}", done.stdout);
    assert!(line(&done.stdout, "dns").contains("localhost → "), "{}", done.stdout);
    assert!(line(&done.stdout, "login").contains("as anna: "), "{}", done.stdout);
}

#[test]
fn c12_each_family_of_servers_is_understood_and_left_as_it_was() {
    for server in families() {
        for protocol in ["imap", "pop"] {
            for (n, channel) in [Channel::StartTls, Channel::Tls].into_iter().enumerate() {
                let (boxes, user, family) = (Boxes::new(), format!("{protocol}{n}"), server.family());
                let collector = if protocol == "imap" { CollectorYaml::imap(&*server, &user) } else { CollectorYaml::pop3(&*server, &user) };
                let yaml = config(&boxes.delivery(), &[collector.channel(channel).forward_to(BOX)]);
                server.put_all(&user, &[letter(0, "anna@pop.example"), letter(1, "anna@pop.example")]);
                let done = test(&Mailgather::new(&yaml), &[&user]).expect_success();
                assert!(line(&done.stdout, "tls").contains("chain trusted"), "{family}: {}", done.stdout);
                assert!(line(&done.stdout, "login").contains(&format!(" as {user}: ")), "{family}: {}", done.stdout);
                assert!(line(&done.stdout, "count").contains("2 messages; retrieved the header"), "{family}: {}", done.stdout);
                assert_eq!((server.count(&user), server.flags(&user)), (2, vec![String::new(); 2]), "{family}");
                let wrong = Mailgather::new(&yaml).env(process::PASSWORD_VARIABLE, "wrong");
                let done = test(&wrong, &[&user]).expect_code(77);
                assert!(line(&done.stdout, "login").contains(" REFUSED ") && done.stdout.contains("server said: "), "{family}: {}", done.stdout);
            }
        }
    }
}
