//! POP3 servers that give their messages other ids: once, as after a move to another server, or in each session.

use super::*;
use pop3_kit::{Fake, Mailbox, Quit};
use std::sync::{Arc, Mutex};

#[path = "../pop3_kit/mod.rs"]
mod pop3_kit;

fn dovecot(format: &str) -> Dovecot {
    Dovecot::builder().extra(&format!("pop3_uidl_format = {format}")).start()
}

/// The mailbox of one server is that of the next one.
fn moved(from: Dovecot, format: &str) -> Dovecot {
    let to = dovecot(format);
    from.messages("u").iter().for_each(|message| to.put("u", message));
    to
}

/// The same mailbox behind a server whose ids have another form: compared once, and then known by the new ids.
#[test]
fn f32_ids_of_another_form_bring_nothing_twice() {
    let (server, boxes) = (dovecot("%08Xu%08Xv"), Boxes::new());
    fill(&server, "u", 0..25);
    let collector = |server: &Dovecot| forwarding(CollectorYaml::pop3(server, "u")).set("max_messages_per_session", "10");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector(&server)]));
    assert!(program.once(&[]).expect_success().stdout.contains("25 delivered"));
    let mut server = server;
    for (round, format) in ["%f", "x%u-%v", "%v.%u"].iter().enumerate() {
        server = moved(server, format);
        fill(&server, "u", 25 + round..26 + round);
        program.configure(&config(&boxes.delivery(), &[collector(&server)]));
        let done = program.once(&[]).expect_success();
        assert!(done.stderr.contains("ids_changed") && done.stdout.contains("1 delivered"), "{}\n{}", done.stdout, done.stderr);
        assert_eq!((arrived(&boxes), server.count("u")), (letters(0..26 + round), 26 + round));
        let again = program.once(&[]).expect_success();
        assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("message_duplicate"), "known by now: {}", again.stderr);
    }
    // Some go, others come: that is no change of ids.
    OtherClient::inbox(server.imap(), "u").expunge(&[1, 2]);
    fill(&server, "u", 28..29);
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("1 delivered") && !done.stderr.contains("ids_changed"), "{}", done.stderr);
    assert_eq!(arrived(&boxes), letters(0..29));
}

/// A mailbox that was emptied and filled looks the same, and its mail is new.
#[test]
fn f32_a_mailbox_that_was_emptied_and_filled_is_collected() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::pop3(&server, "u"))]));
    program.once(&[]).expect_success();
    OtherClient::inbox(server.imap(), "u").expunge(&[1, 2, 3]);
    fill(&server, "u", 3..6);
    assert!(program.once(&[]).expect_success().stdout.contains("3 delivered"));
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("ids_changed"), "{}", again.stderr);
    assert_eq!((arrived(&boxes), server.count("u")), (letters(0..6), 3));
}

/// A mailbox of these letters, with ids that are good for this session only.
fn session(number: usize, letters: std::ops::Range<usize>) -> Mailbox {
    let messages = letters.map(|n| (format!("s{number}-{n}").into_bytes(), letter(n))).collect();
    std::sync::Arc::new(std::sync::Mutex::new(messages))
}

fn fake(number: usize, letters: std::ops::Range<usize>) -> Fake {
    Fake { pipelining: true, messages: session(number, letters), ..Fake::default() }
}

/// Ids that are good for one session: each pass reads what it read before, and delivers what is new, limits or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_ids_that_change_each_session_bring_each_letter_once() {
    let mut fakes: Vec<Fake> = (0..4).map(|n| fake(n, 0..6)).collect();
    fakes.extend((4..8).map(|n| fake(n, 0..7)));
    let (port, heard) = Fake::listen(fakes).await;
    let boxes = Boxes::new();
    let collector = forwarding(CollectorYaml::at("pop3", "u", port)).set("max_messages_per_session", "2");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    let mut sessions = 0;
    while sessions < 7 {
        program.once(&[]).expect_success();
        let now = heard.lock().unwrap().len();
        assert!(now > sessions, "it asks");
        sessions = now;
        // Whatever was there is delivered, and nothing twice.
        assert_eq!(arrived(&boxes), letters(if sessions > 4 { 0..7 } else { 0..6 }), "after {sessions} sessions");
    }
    let never = heard.lock().unwrap().iter().all(|heard| !heard.text().contains("DELE"));
    assert!(never, "nothing is deleted with `after: keep`");
}

/// What a first run left alone is looked at in each session, limits or not: new mail does not stand behind it, and the sessions come to an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_ids_that_change_each_session_behind_what_a_first_run_left_alone() {
    let old = |n: usize| String::from_utf8(letter(n)).unwrap().replace("2026", "2016").into_bytes();
    let named = |session: usize, n: usize| format!("s{session}-{n}").into_bytes();
    let mailboxes: Vec<Mailbox> = (0..40).map(|session| Arc::new(Mutex::new((0..6).map(|n| (named(session, n), old(n))).collect()))).collect();
    let fakes = mailboxes.iter().map(|messages| Fake { messages: messages.clone(), ..fake(0, 0..0) }).collect();
    let (port, heard) = Fake::listen(fakes).await;
    let boxes = Boxes::new();
    let collector = forwarding(CollectorYaml::at("pop3", "u", port)).set("max_messages_per_session", "2").set("first_run", "none");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    let mut come = Vec::new();
    for round in 0..5 {
        if round > 1 {
            let (n, letter) = (20 + round, epochs::fresh(20 + round));
            mailboxes.iter().enumerate().for_each(|(session, messages)| messages.lock().unwrap().push((named(session, n), letter.clone())));
            come.push(n);
        }
        program.once(&[]).expect_success();
        assert_eq!(arrived(&boxes), letters(come.clone()), "round {round}");
        assert!(heard.lock().unwrap().len() <= 2 * (round + 1), "round {round}: {} sessions", heard.lock().unwrap().len());
    }
}

/// An id that names another letter by now, while the first one was still waited with for somebody: whoever had the first has not had the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f31_an_id_that_names_another_letter_before_the_first_one_was_settled() {
    let of = |n: usize| Fake { messages: Arc::new(Mutex::new(vec![(b"id".to_vec(), letter(n))])), ..fake(0, 0..0) };
    let fakes = vec![of(0), of(1)];
    let last = fakes[1].messages.clone();
    let (port, _heard) = Fake::listen(fakes).await;
    let sink = Sink::lmtp_builder().on_text("RCPT", "boris", "450 4.2.0 later").start();
    let collector = CollectorYaml::at("pop3", "u", port).set("recipient", "{forward_to: [anna@example.org, boris@example.org]}").after("delete");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
    program.once(&[]);
    assert_eq!(sink.taken().iter().flat_map(|taken| taken.recipients.clone()).collect::<Vec<_>>(), ["anna@example.org"]);
    sink.clear();
    sink.script(|script| script);
    program.once(&[]).expect_success();
    let taken = sink.taken();
    assert!(taken.iter().all(|taken| String::from_utf8_lossy(&taken.content).contains("Subject: letter 1")));
    let mut got: Vec<String> = taken.into_iter().flat_map(|taken| taken.recipients).collect();
    got.sort();
    assert_eq!((got, last.lock().unwrap().len()), (vec!["anna@example.org".to_owned(), "boris@example.org".into()], 0));
}

/// The session that was to delete breaks off, and the next one calls the same mail by other names: it is deleted, not delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_a_deletion_that_is_owed_is_found_under_another_id() {
    for quit in [Quit::CutBefore, Quit::Refused, Quit::Untrue] {
        let last = session(1, 0..4);
        let fakes = vec![Fake { quit, ..fake(0, 0..3) }, Fake { messages: last.clone(), ..fake(1, 0..0) }];
        let (port, _heard) = Fake::listen(fakes).await;
        let boxes = Boxes::new();
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::at("pop3", "u", port)).after("delete")]));
        program.once(&[]);
        assert_eq!(arrived(&boxes), letters(0..3));
        program.once(&[]).expect_success();
        assert_eq!((arrived(&boxes), last.lock().unwrap().len()), (letters(0..4), 0), "{quit:?}");
        last.lock().unwrap().push((b"s2-9".to_vec(), letter(9)));
        program.once(&[]).expect_success();
        assert_eq!((arrived(&boxes), last.lock().unwrap().len()), (letters([0, 1, 2, 3, 9]), 0), "{quit:?}");
    }
}

/// What was kept for so long is deleted, once, also where it has another id by then.
#[test]
fn i10_delete_after_by_pop3() {
    let (server, boxes) = (dovecot("%08Xu%08Xv"), Boxes::new());
    fill(&server, "u", 0..3);
    let collector = |server: &Dovecot, age: &str| forwarding(CollectorYaml::pop3(server, "u")).after(&format!("{{delete_after: {age}}}"));
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector(&server, "1h")]));
    program.once(&[]).expect_success();
    program.once(&[]).expect_success();
    assert_eq!(server.count("u"), 3);
    let server = moved(server, "%f");
    program.configure(&config(&boxes.delivery(), &[collector(&server, "1h")]));
    assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    program.configure(&config(&boxes.delivery(), &[collector(&server, "1s")]));
    program.once(&[]).expect_success();
    assert_eq!((server.count("u"), arrived(&boxes)), (0, letters(0..3)));
    // In one go: old by now, and under another id.
    fill(&server, "u", 3..5);
    program.configure(&config(&boxes.delivery(), &[collector(&server, "1h")]));
    assert!(program.once(&[]).expect_success().stdout.contains("2 delivered"));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let server = moved(server, "x%u-%v");
    program.configure(&config(&boxes.delivery(), &[collector(&server, "1s")]));
    program.once(&[]).expect_success();
    assert_eq!((server.count("u"), arrived(&boxes)), (0, letters(0..5)));
}

/// Without UIDL each pass reads the whole mailbox: where mail stays there, somebody has to say that this is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_without_uidl_is_for_those_who_say_so() {
    let none = |fake: Fake| fake.answering("UIDL", "-ERR unknown command\r\n").answering("CAPA", "-ERR unknown command\r\n");
    for (after, key, allowed) in [
        ("keep", false, false),
        ("{delete_after: 14d}", false, false),
        ("keep", true, true),
        ("{delete_after: 14d}", true, true),
        ("delete", false, true),
    ] {
        let fake = none(fake(0, 0..3));
        let mailbox = fake.messages.clone();
        let (port, _heard) = Fake::listen(vec![fake]).await;
        let boxes = Boxes::new();
        let collector = forwarding(CollectorYaml::at("pop3", "u", port)).after(after);
        let collector = if key { collector.set("keep_without_uidl", "true") } else { collector };
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        let done = program.once(&[]);
        if !allowed {
            assert!(!done.status.success() && done.stderr.contains("`keep_without_uidl: true` allows that"), "{after}: {}", done.stderr);
            assert_eq!((arrived(&boxes).len(), mailbox.lock().unwrap().len()), (0, 3));
            continue;
        }
        done.expect_success();
        // The numbers move, and what was collected is known by what it holds.
        mailbox.lock().unwrap().insert(0, (Vec::new(), letter(7)));
        program.once(&[]).expect_success();
        assert_eq!(arrived(&boxes), letters([0, 1, 2, 7]), "{after}");
        assert_eq!(mailbox.lock().unwrap().len(), if after == "delete" { 0 } else { 4 });
    }
}

/// Ids that are good for one session, and a server that deletes nothing: what limits leave comes all the same, once, and no session follows another
/// without a pause for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_ids_that_change_each_session_and_deletions_that_come_to_nothing() {
    for (refused, first_limit) in [(true, "2"), (true, "0"), (false, "2"), (false, "0")] {
        let one = |n| if refused { fake(n, 0..6).answering("DELE", "-ERR not now\r\n") } else { Fake { quit: Quit::Untrue, ..fake(n, 0..6) } };
        let (port, heard) = Fake::listen((0..40).map(one).collect()).await;
        let boxes = Boxes::new();
        let collector = forwarding(CollectorYaml::at("pop3", "u", port)).after("delete");
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector.clone().set("max_messages_per_session", first_limit)]));
        for round in 1..6 {
            program.once(&[]);
            program.configure(&config(&boxes.delivery(), &[collector.clone().set("max_messages_per_session", "2")]));
            assert!(heard.lock().unwrap().len() <= 3 * round, "round {round}: {} sessions", heard.lock().unwrap().len());
        }
        assert_eq!(arrived(&boxes), letters(0..6), "{refused} {first_limit}");
    }
}

/// The same with messages that cannot be told apart: they come again, as those may be others, but not one session after the other; and somebody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_nameless_messages_of_a_server_that_deletes_nothing_are_no_flood() {
    let messages =
        |session: usize| (0..8).map(|n| (format!("s{session}-{n}").into_bytes(), format!("Subject: {n}\r\n\r\nx\r\n").into_bytes())).collect();
    let one = |n| Fake { quit: Quit::Untrue, messages: Arc::new(Mutex::new(messages(n))), ..fake(n, 0..0) };
    let (port, heard) = Fake::listen((0..40).map(one).collect()).await;
    let boxes = Boxes::new();
    let collector = forwarding(CollectorYaml::at("pop3", "u", port)).after("delete").set("max_messages_per_session", "2");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    for round in 1..4 {
        let done = program.once(&[]).expect_code(75);
        assert!(done.stderr.contains("as many messages are there as before"), "{}", done.stderr);
        assert_eq!(heard.lock().unwrap().len(), 2 * round);
    }
    // The daemon keeps to its interval, too.
    let mut daemon = program.run();
    daemon.wait_for("disposal_refused");
    daemon.stop();
    assert!(heard.lock().unwrap().len() <= 8, "{}", heard.lock().unwrap().len());
}

/// Ids that are good for one session, of a server that does delete: the backlog goes on at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_ids_that_change_each_session_hold_up_no_backlog_that_gets_smaller() {
    let (port, heard) = Fake::listen((0..5).map(|n| fake(n, (2 * n).min(8)..8)).collect()).await;
    let boxes = Boxes::new();
    let collector = forwarding(CollectorYaml::at("pop3", "u", port)).after("delete").set("max_messages_per_session", "2");
    Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
    assert_eq!((arrived(&boxes), heard.lock().unwrap().len()), (letters(0..8), 4));
}
