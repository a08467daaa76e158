//! Rows of the requirements that have no test of their own elsewhere.

use super::kit::*;
use crate::support::*;
use std::time::Duration;

/// The title is for people: the summary shows it beside the id, whatever is in it.
#[test]
fn i2_c4_the_title_is_shown_and_the_description_is_not_in_the_way() {
    let server = Dovecot::start();
    fill(&server, "sales", 0..2);
    let collector =
        CollectorYaml::imap(&server, "sales").forward_to(BOX).set("title", "'Отдел продаж: № 1'").set("description", "'заказы # и жалобы'");
    let scene = Scene::new(&collector);
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(0..2));
    assert!(said.stdout.contains("sales (Отдел продаж: № 1): 2 delivered"), "{}", said.stdout);
    scene.configure(&collector.set("title", "\"a\\e[31mred\\nline\""));
    let (_, said) = scene.once_said();
    assert!(!said.stdout.contains('\u{1b}') && said.stdout.lines().count() == 2, "{:?}", said.stdout);
}

/// «5 м»: minutes and seconds are written as people write them, and the daemon holds to them.
#[test]
fn c10_the_interval_is_a_duration_and_the_daemon_holds_to_it() {
    let server = Dovecot::start();
    fill(&server, "seldom", 0..1);
    fill(&server, "often", 10..11);
    let collectors = [
        CollectorYaml::imap(&server, "seldom").forward_to(BOX).set("interval", "5m"),
        CollectorYaml::imap(&server, "often").forward_to(BOX).set("interval", "1s500ms"),
    ];
    let sink = Sink::lmtp();
    let program = Mailgather::new(&format!("limits: {{interval_min: 1s}}\n{}", config(&sink.delivery(), &collectors)));
    let mut daemon = program.run();
    sink.wait_for(2);
    fill(&server, "seldom", 1..2);
    for n in 11..14 {
        fill(&server, "often", n..n + 1);
        sink.wait_for(n - 8);
    }
    assert_eq!(daemon.count_log("session_started collector=seldom"), 1);
    assert!(daemon.count_log("session_started collector=often") >= 4);
    // «Собрать» does not wait for it.
    daemon.signal(process::Signal::USR1);
    daemon.wait_for("session_started collector=seldom");
    sink.wait_for(6);
    daemon.stop().expect_success();
    assert_eq!(sink.count(), 6);
}

/// A mailbox that fills while it is collected, with the limit of a session: each letter comes once, and all of them.
#[test]
fn m5_i12_a_mailbox_that_fills_while_it_is_collected() {
    let server = Dovecot::start();
    for (protocol, user, after) in
        [(CollectorYaml::imap as Protocol, "imap", "delete"), (CollectorYaml::pop3, "pop", "delete"), (CollectorYaml::imap, "seen", "mark_seen")]
    {
        fill(&server, user, 0..30);
        let collector = protocol(&server, user).forward_to(BOX).after(after).set("max_messages_per_session", "7").set("interval", "100ms");
        let sink = Sink::lmtp();
        let program = Mailgather::new(&format!("limits: {{interval_min: 50ms}}\n{}", config(&sink.delivery(), &[collector])));
        let daemon = program.run();
        for n in 30..60 {
            server.put(user, &corpus::letter(n, "anna@pop.example"));
            std::thread::sleep(Duration::from_millis(20));
        }
        sink.wait_for(60);
        eventually("the source is disposed of", SOON, || server.flags(user).iter().all(|flags| after == "mark_seen" && flags == "S"));
        let done = daemon.stop().expect_success();
        assert!(sessions(&done.stderr).iter().all(|delivered| *delivered <= 7), "{user}: {}", done.stderr);
        let mut arrived: Vec<String> = sink.taken().iter().map(|taken| maildir::field(&taken.content, "Subject").unwrap()).collect();
        arrived.sort();
        assert_eq!(arrived, letters(0..60), "{user}");
    }
}

/// A reader who works in the mailbox meanwhile: what he has read before we come is not collected by `unseen`, what he flags keeps its flag, and what
/// we mark is marked for him.
#[test]
fn c1_m12_p7_beside_a_person_who_reads() {
    for server in [Box::new(Dovecot::start()) as Box<Server>, Box::new(Cyrus::start()), Box::new(Courier::start())] {
        let (server, user) = (&*server, "box");
        fill(server, user, 0..3);
        let mut person = OtherClient::inbox(server.imap(), user);
        person.command("UID FETCH 1 BODY[]");
        let scene = Scene::new(&CollectorYaml::imap(server, user).forward_to(BOX).set("collect", "unseen").after("mark_seen"));
        assert_eq!(scene.once(), letters([1, 2]), "{}", server.family());
        person.command("NOOP");
        assert_eq!(person.search("SEEN").len(), 3, "{}", server.family());
        // He marks one as unread to read it again: it was collected, and does not come twice.
        person.command("UID STORE 2 -FLAGS (\\Seen)");
        fill(server, user, 3..4);
        assert_eq!(scene.once(), letters([3]), "{}", server.family());
        person.command("NOOP");
        assert_eq!(person.search("UNSEEN").len(), 1, "{}: his mark stays", server.family());
    }
}
