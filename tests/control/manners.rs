//! Collecting in another manner than everything that is new: since a time, and deleting what was collected.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::faults::{Fault, FaultProxy, Towards};
use crate::support::process::PASSWORD_VARIABLE;
use crate::support::*;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

fn subjects(sink: &Sink) -> Vec<String> {
    let mut subjects: Vec<String> = sink.taken().iter().map(|taken| maildir::field(&taken.content, "Subject").unwrap()).collect();
    subjects.sort();
    subjects
}

/// Letters that arrived on these days of October 2026, at noon, with the day in the subject.
fn arrived(server: &Dovecot, user: &str, days: &[usize]) {
    let mut client = OtherClient::inbox(server.imap(), user);
    days.iter().for_each(|day| client.append_at(&letter(*day), &format!("{day:02}-Oct-2026 12:00:00 +0000")));
}

/// Who asks for young mail more often than the interval does not put off what comes by itself.
#[test]
fn since_puts_off_no_pass_of_its_own() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("interval", "5s")]));
    let daemon = running(&program, 1);
    arrived(&server, "one", &[1]);
    eventually("the old letter comes by itself", SOON, || {
        let asked = program.run_to_end("collect", &["one", "--since", "2026-10-20T00:00:00Z"]).expect_success();
        // Its own pass may have been there just before.
        assert_eq!(asked.stdout, "one: 0 delivered\n");
        // Far more often than the interval, and a pass that has begun by itself is not asked to step aside before it has a letter.
        std::thread::sleep(Duration::from_secs(1));
        sink.count() == 1
    });
    daemon.stop().expect_success();
}

/// A login that was refused in a pass that somebody asked for: the password that is set then counts at once, not when the time of waiting is over.
#[test]
fn a_new_password_counts_after_a_refused_pass_that_was_asked_for() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let set = |password: &str| {
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    set("hunter2");
    let one = imap(&server, "one").set("password", &format!("{{file: {}}}", file.display())).set("interval", "1h");
    let text = config(&sink.delivery(), &[one]).replace(&format!("    password: {{env: {PASSWORD_VARIABLE}}}\n"), "");
    let program = Mailgather::new(&text);
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    program.run_to_end("collect", &["one", "--limit", "1"]).expect_code(77);
    server.put("one", &letter(1));
    set(dovecot::PASSWORD);
    sink.wait_for(1);
    daemon.stop().expect_success();
}

/// Only what arrived since then comes, to the second; of the rest nothing is noted, so that the next pass brings it, each letter once.
#[test]
fn since_takes_what_is_young_and_notes_nothing_of_the_rest() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let keeps = imap(&server, "keeps").set("enabled", "false");
    let deletes = imap(&server, "deletes").after("delete").set("enabled", "false");
    let unseen = imap(&server, "unseen").set("collect", "unseen").after("mark_seen").set("first_run", "all").set("enabled", "false");
    let pop = CollectorYaml::pop3(&server, "pop").forward_to("anna@example.org").set("enabled", "false");
    let program = Mailgather::new(&config(&sink.delivery(), &[keeps, deletes, unseen, pop]));
    let users = ["keeps", "deletes", "unseen"];
    // The young ones stand between old ones: a watermark would lose what is below it.
    users.iter().for_each(|user| arrived(&server, user, &[20, 1, 21, 2, 22, 3]));
    // Without a daemon, and to the second: noon of the 21st is in, a second later it is not.
    for (since, count) in [("2026-10-21T12:00:01Z", 1), ("2026-10-21T12:00:00Z", 1), ("2026-10-21T15:00:00+03:00", 0)] {
        let done = program.run_to_end("once", &["keeps", "--since", since]).expect_success();
        assert!(done.stdout.contains(&format!("keeps: {count} delivered")), "{since}: {}", done.stdout);
    }
    assert_eq!(subjects(&sink), ["letter 21", "letter 22"]);
    let daemon = program.run();
    let path = socket(&program);
    for user in &users[1..] {
        let done = program.run_to_end("collect", &[user, "--since", "2026-10-20T00:00:00Z"]).expect_success();
        assert_eq!(done.stdout, format!("{user}: 3 delivered\n"));
    }
    assert_eq!((server.count("deletes"), server.count("unseen")), (3, 6));
    // With a limit beside it: one session.
    let limited = program.run_to_end("collect", &["keeps", "--since", "2026-10-02T00:00:00Z", "--limit", "2"]).expect_success();
    assert_eq!(limited.stdout, "keeps: 2 delivered\n");
    // The rest comes with an ordinary pass, and nothing twice.
    for (user, count) in [("keeps", 2), ("deletes", 3), ("unseen", 3)] {
        assert_eq!(program.run_to_end("collect", &[user]).expect_success().stdout, format!("{user}: {count} delivered\n"));
    }
    assert_eq!(program.run_to_end("collect", &users).expect_success().stdout, "deletes: 0 delivered\nkeeps: 0 delivered\nunseen: 0 delivered\n");
    let mut all: Vec<String> = [1, 2, 3, 20, 21, 22].iter().flat_map(|n| vec![format!("letter {n}"); 3]).collect();
    all.sort();
    assert_eq!(subjects(&sink), all);
    // By POP3 nobody knows when a message arrived.
    let refused = program.run_to_end("collect", &["pop", "--since", "7d"]).expect_code(64);
    assert!(refused.stderr.contains("POP3, which does not tell") && refused.stderr.contains("IMAP"), "{}", refused.stderr);
    assert_eq!(request(&path, "POST", "/v1/collect", "{\"names\": [\"pop\"], \"since\": \"2026-10-01T00:00:00Z\"}").0, 400);
    assert_eq!(daemon.count_log("names=deletes since=2026-10-20T00:00:00Z"), 1, "{:?}", daemon.log());
    daemon.stop().expect_success();
    program.run_to_end("once", &["pop", "--since", "7d"]).expect_code(64);
}

/// It only limits: what a first run leaves alone is left alone, young or old, and by each way in which that is remembered.
#[test]
fn since_takes_nothing_that_a_first_run_leaves_alone() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let none = imap(&server, "none").set("first_run", "none");
    let unseen = imap(&server, "unseen").set("first_run", "none").set("collect", "unseen").after("mark_seen");
    let program = Mailgather::new(&config(&sink.delivery(), &[none, unseen]));
    let users = ["none", "unseen"];
    users.iter().for_each(|user| arrived(&server, user, &[20, 1, 21]));
    for user in users {
        for arguments in [&[user, "--since", "2026-10-10"][..], &[user]] {
            let done = program.run_to_end("once", arguments).expect_success();
            assert!(done.stdout.contains(&format!("{user}: 0 delivered")), "{arguments:?}: {}", done.stdout);
        }
        arrived(&server, user, &[2, 22]);
        for (arguments, count) in [(&[user, "--since", "2026-10-10"][..], 1), (&[user], 1)] {
            let done = program.run_to_end("once", arguments).expect_success();
            assert!(done.stdout.contains(&format!("{user}: {count} delivered")), "{arguments:?}: {}", done.stdout);
        }
    }
    assert_eq!(subjects(&sink), ["letter 2", "letter 2", "letter 22", "letter 22"]);
}

/// Beside `--refetch` it says which of the messages come once more; the others are not forgotten.
#[test]
fn since_limits_what_comes_once_more() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("idle", "on")]));
    arrived(&server, "one", &[10, 11, 12]);
    let daemon = running(&program, 1);
    socket(&program);
    sink.wait_for(3);
    let again = ["one", "--refetch", "1", "--refetch", "2", "--refetch", "3", "--since", "2026-10-11T12:00:00Z"];
    assert_eq!(program.run_to_end("collect", &again).expect_success().stdout, "one: 2 delivered\n");
    assert_eq!(program.run_to_end("collect", &["one"]).expect_success().stdout, "one: 0 delivered\n");
    assert_eq!(subjects(&sink), ["letter 10", "letter 11", "letter 11", "letter 12", "letter 12"]);
    // None of them is so young.
    let none = ["one", "--refetch", "1", "--since", "2026-10-30T00:00:00Z"];
    assert_eq!(program.run_to_end("collect", &none).expect_success().stdout, "one: 0 delivered\n");
    assert!(daemon.count_log("collector_refetches collector=one") == 1, "{:?}", daemon.log());
    daemon.stop().expect_success();
    let none = program.run_to_end("once", &none).expect_success();
    assert!(none.stderr.contains("none of it comes again"), "{}", none.stderr);
    assert!(program.run_to_end("once", &["one", "--refetch", "1", "--since", "2026-10-10"]).expect_success().stdout.contains("one: 1 delivered"));
    assert!(program.run_to_end("once", &["one"]).expect_success().stdout.contains("one: 0 delivered"));
    assert_eq!(sink.count(), 6);
}

/// A letter to somebody; one to `nobody` is held.
fn to(n: usize, user: &str, whom: &str, body: &str) -> Vec<u8> {
    format!("To: {whom}@example.org\r\nFrom: a@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}.{user}@remote.example>\r\n\r\n{body}\r\n")
        .into_bytes()
}

/// What stays in the mailbox `user`, by subject.
fn left(server: &Dovecot, user: &str) -> Vec<String> {
    let mut left: Vec<String> = server.messages(user).iter().map(|message| maildir::field(message, "Subject").unwrap()).collect();
    left.sort();
    left
}

fn keeping(server: &Dovecot, protocol: &str, user: &str) -> CollectorYaml {
    let collector = if protocol == "imap" { CollectorYaml::imap(server, user) } else { CollectorYaml::pop3(server, user) };
    let rules = "{auto: {guess: on, domains: [example.org], check_local: lmtp}, unresolved: hold}";
    collector.set("recipient", rules).after("keep").set("collect", "new").set("max_message_size", "{limit: 4KiB, action: skip}").set("interval", "1h")
}

/// Three that are delivered and kept, one that is too large, one that is held: collected once. Then one that is new.
fn filled(server: &Dovecot, program: &Mailgather, user: &str) {
    (1..4).for_each(|n| server.put(user, &to(n, user, "anna", "short")));
    server.put(user, &to(4, user, "anna", &"long ".repeat(2000)));
    server.put(user, &to(5, user, "nobody", "short"));
    let done = program.once(&[user]);
    assert!(done.stdout.contains(&format!("{user}: 3 delivered")) && done.stdout.contains("1 held"), "{}{}", done.stdout, done.stderr);
    server.put(user, &to(6, user, "anna", "new"));
}

const UNDELIVERED: [&str; 3] = ["letter 4", "letter 5", "letter 6"];

/// What was delivered and kept is deleted on request, once that was confirmed, and nothing else.
#[test]
fn a_purge_deletes_what_was_delivered_and_nothing_else() {
    let server = Dovecot::builder().users(&["anna@example.org"]).start();
    let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp());
    let program = Mailgather::new(&config(&delivery, &[keeping(&server, "imap", "one"), keeping(&server, "pop3", "pop")]));
    ["one", "pop"].iter().for_each(|user| filled(&server, &program, user));
    // Nobody said yes.
    let refused = program.run_to_end("once", &["one", "--purge-collected"]).expect_code(64);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    program.run_to_end("once", &["one", "pop", "--purge-collected", "--yes"]).expect_code(64);
    assert_eq!((server.count("one"), server.count("pop")), (6, 6));
    let done = program.run_to_end("once", &["pop", "--purge-collected", "--yes"]).expect_success();
    assert!(done.stdout.contains("pop: 3 deleted on the server") && done.stderr.contains("DELETES ON THE SERVER"), "{}{}", done.stdout, done.stderr);
    assert_eq!(left(&server, "pop"), UNDELIVERED);
    // By the daemon: a count first, by which nothing is done.
    let daemon = running(&program, 2);
    let path = socket(&program);
    eventually("the new letters", SOON, || server.count("anna@example.org") == 8);
    assert_eq!(left(&server, "one").len(), 6);
    let (status, answer) = request(&path, "POST", "/v1/collectors/one/collect", "{\"purge_collected\": true, \"dry_run\": true}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["deletes"], &answer["folders"][0]["folder"]), (200, &4.into(), &"INBOX".into()), "{answer}");
    assert_eq!(request(&path, "POST", "/v1/collect", "{\"purge_collected\": true}").0, 400, "whose?");
    program.run_to_end("collect", &["one", "--purge-collected"]).expect_code(64);
    assert_eq!(server.count("one"), 6);
    let done = program.run_to_end("collect", &["one", "--purge-collected", "--yes"]).expect_success();
    assert_eq!(done.stdout, "one: 4 deleted on the server\n", "{}", done.stderr);
    assert!(done.stderr.contains("4 messages of «one» (127.0.0.1, one) that were delivered"), "{}", done.stderr);
    assert_eq!(left(&server, "one"), UNDELIVERED[..2]);
    let done = program.run_to_end("collect", &["pop", "--purge-collected", "--yes", "--json"]).expect_success();
    let job: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(job["collectors"][0]["result"]["disposed"], 1, "{job}");
    assert_eq!(left(&server, "pop"), UNDELIVERED[..2]);
    // There is nothing more to be purged, and nothing comes again.
    let done = program.run_to_end("collect", &["one", "--purge-collected", "--yes"]).expect_success();
    assert!(done.stdout.contains("one: 0 deleted") && done.stderr.contains("nothing of"), "{}{}", done.stdout, done.stderr);
    assert_eq!(program.run_to_end("collect", &[]).expect_success().stdout, "one: 0 delivered\npop: 0 delivered\n");
    assert_eq!(server.count("anna@example.org"), 8);
    let audit = std::fs::read_to_string(program.state_dir().join("audit").read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
    assert!(audit.lines().filter(|line| line.contains("collect_requested") && line.contains("names=one purge=true")).count() >= 2, "{audit}");
    assert_eq!(audit.lines().filter(|line| line.contains("collect_requested") && line.contains("names=pop purge=true")).count(), 2, "{audit}");
    daemon.stop().expect_success();
}

/// A message that a server calls by the name of one that was delivered is another message, and is not deleted undelivered; nor is what is called
/// as nothing that was delivered.
#[test]
fn a_purge_looks_at_what_it_deletes() {
    let sink = Sink::lmtp();
    let server = Dovecot::start();
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "marked")]));
    (1..4).for_each(|n| server.put("one", &letter(n)));
    (1..4).for_each(|n| server.put("marked", &letter(n)));
    program.once(&["one"]).expect_success();
    program.run_to_end("clear", &["marked", "--mark-collected", "--yes"]).expect_success();
    // Other UIDs: what is there is not known by them, until a pass has looked.
    server.new_uidvalidity("one");
    let done = program.run_to_end("once", &["one", "--purge-collected", "--yes"]);
    assert!(done.stdout.contains("0 of 3 deleted"), "{}{}", done.stdout, done.stderr);
    assert_eq!(server.count("one"), 3);
    program.once(&["one"]).expect_success();
    assert_eq!(sink.count(), 3);
    let done = program.run_to_end("once", &["one", "--purge-collected", "--yes"]).expect_success();
    assert!(done.stdout.contains("one: 3 deleted") && server.count("one") == 0, "{}", done.stdout);
    // What was only marked as collected was delivered to nobody.
    let done = program.run_to_end("once", &["marked", "--purge-collected", "--yes"]).expect_success();
    assert!(done.stdout.contains("marked: 0 deleted") && server.count("marked") == 3, "{}", done.stdout);
}

/// Killed anywhere in a purge, by either protocol: what nobody has stays, nothing comes twice, and a second purge does the rest.
#[test]
fn a_purge_that_is_killed_deletes_nothing_undelivered() {
    let server = Dovecot::builder().users(&["anna@example.org"]).start();
    let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp());
    let mut delivered = 0;
    for protocol in ["imap", "pop3"] {
        let proxy = FaultProxy::start(if protocol == "imap" { server.imap() } else { server.pop3() });
        let mut whole = None;
        let mut struck = 0;
        // The first one is not cut off, and says how long the dialogue is.
        for point in 0..9 {
            let user = format!("{protocol}{point}");
            let program = Mailgather::new(&config(&delivery, &[keeping(&server, protocol, &user)]));
            filled(&server, &program, &user);
            delivered += 3;
            program.configure(&config(&delivery, &[keeping(&server, protocol, &user).by_port(proxy.port())]));
            // Closer together towards the end, where the deletions are.
            let fault = whole.map_or(Fault::None, |whole: u64| Fault::Stall(whole * [1, 40, 60, 70, 80, 86, 92, 97, 99][point] / 100));
            proxy.set(Towards::Server, fault);
            let mut command = program.command("once", &[&user, "--purge-collected", "--yes"]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let before = proxy.struck();
            eventually("the end, or the stall", SOON, || proxy.struck() > before || child.try_wait().unwrap().is_some());
            let _ = child.kill();
            child.wait().unwrap();
            struck += proxy.struck() - before;
            proxy.set(Towards::Server, Fault::None);
            whole.get_or_insert(proxy.octets(Towards::Server));
            let there = left(&server, &user);
            assert!(UNDELIVERED.iter().all(|letter| there.contains(&(*letter).to_owned())), "{user}: {there:?}");
            // An ordinary pass in between, sometimes: what is kept is kept.
            if point % 2 == 0 {
                program.once(&[&user]);
                delivered += 1;
                assert_eq!(left(&server, &user), there, "{user}: a collector that keeps its mail deletes nothing");
            }
            let done = program.run_to_end("once", &[&user, "--purge-collected", "--yes"]);
            let rest = left(&server, &user);
            let expected = if point % 2 == 0 { &UNDELIVERED[..2] } else { &UNDELIVERED[..] };
            assert_eq!(rest, expected, "{user}: {}{}", done.stdout, done.stderr);
            program.once(&[&user]);
            delivered += usize::from(point % 2 == 1);
            assert_eq!(server.count("anna@example.org"), delivered, "{user}: each letter once");
        }
        assert!(struck >= 6, "{protocol}: {struck}");
    }
}
