//! Mail that a pass holds, from a real Dovecot to real targets; and the same under strace: whatever strikes at whatever moment, each letter is at
//! its source or whole in the store. The long version of the sweep: `MAILGATHER_LONG_SWEEP=1 cargo test --test passes held_pass`

use crate::support::corpus::{canonical, letter};
use crate::support::maildir::field;
use crate::support::*;
use mailgather::ledger::{AtSource, HeldMail, HeldWhy, sqlite};
use std::collections::BTreeSet;

fn rows(program: &Mailgather) -> Vec<(HeldMail, AtSource)> {
    sqlite::look_at_held(&program.state_dir().join("ledger.db")).unwrap()
}

fn octets(program: &Mailgather, mail: &HeldMail) -> Option<Vec<u8>> {
    std::fs::read(program.state_dir().join("held").join(format!("{}.eml", mail.trace_id))).ok()
}

fn held(program: &Mailgather, arguments: &[&str]) -> process::Finished {
    program.run_to_end("held", arguments)
}

const HOLD: &str = "{auto: {map: {pop.example: example.org}}, unresolved: hold}";

#[test]
fn unresolved_mail_is_held_and_redelivered_when_the_rules_are_mended() {
    for (protocol, on_hold) in [
        (CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml, "keep"),
        (CollectorYaml::imap, "delete"),
        (CollectorYaml::pop3, "keep"),
        (CollectorYaml::pop3, "delete"),
    ] {
        let (from, boxes) = (Dovecot::start(), Boxes::new());
        from.put("source", &letter(1, "ivan@other.example"));
        from.put("source", &letter(2, "anna@pop.example"));
        let collector = protocol(&from, "source").after("delete").set("on_hold", on_hold).set("recipient", HOLD);
        let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector)));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("1 held"), "{}", done.stdout);
        assert_eq!(boxes.of("anna@example.org").count(), 1);
        let (mail, copy) = rows(&program).remove(0);
        assert_eq!(
            (mail.why, mail.subject.as_str(), octets(&program, &mail).unwrap()),
            (HeldWhy::Unresolved, "letter 1", canonical(&letter(1, "ivan@other.example")))
        );
        let stays = on_hold == "keep";
        // A POP3 server's word that it deleted is believed when the message is missing from a listing.
        assert_eq!((copy == AtSource::Stays, from.count("source")), (stays, usize::from(stays)));
        // It is never collected again, and never twice in the store.
        let done = program.once(&[]).expect_success();
        assert!(!done.stdout.contains("held") && rows(&program).len() == 1, "{}", done.stdout);
        held(&program, &["redeliver", "--all"]).expect_code(75);
        program.configure(&config(
            &boxes.delivery(),
            &[collector.set("recipient", "{auto: {map: {pop.example: example.org, other.example: example.org}}}")],
        ));
        held(&program, &["redeliver", "--all"]).expect_success();
        program.once(&[]).expect_success();
        let arrived = boxes.of("ivan@example.org").messages();
        assert_eq!((arrived.len(), rows(&program).len(), from.count("source")), (1, 0, 0), "{on_hold}");
        assert_eq!(field(&arrived[0], "Return-Path").as_deref(), Some("<sender1@remote.example>"));
    }
}

#[test]
fn what_a_server_refuses_is_held_for_whom_it_refused() {
    // Forwarding has no window against duplicates: nobody noted that anna has it.
    for recipient in
        ["{auto: {aliases: {list@pop.example: [anna@example.org, nobody@example.org]}}}", "{forward_to: [anna@example.org, nobody@example.org]}"]
    {
        let (from, to) = (Dovecot::start(), Dovecot::builder().users(&["anna@example.org", "post@example.org"]).start());
        from.put("source", &letter(1, "list@pop.example"));
        let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp());
        let collector = CollectorYaml::imap(&from, "source").after("delete").set("recipient", recipient);
        let program = Mailgather::new(&config(&delivery, &[collector]));
        program.once(&[]).expect_success();
        let (mail, copy) = rows(&program).remove(0);
        assert_eq!((mail.why, mail.recipients.as_slice(), copy), (HeldWhy::Refused, &["nobody@example.org".to_owned()][..], AtSource::Stays));
        assert!(mail.reason.contains("550 5.1.1"), "{}", mail.reason);
        // Still refused; then to somebody who exists. Anna has it once.
        let done = held(&program, &["release", "1"]).expect_code(75);
        assert!(done.stdout.contains("550 5.1.1"), "{}", done.stdout);
        let done = held(&program, &["redeliver", "1"]).expect_code(75);
        assert!(done.stdout.contains("anna@example.org has it already"), "{}", done.stdout);
        held(&program, &["release", "1", "--to", "post@example.org"]).expect_success();
        program.once(&[]).expect_success();
        assert_eq!((to.count("anna@example.org"), to.count("post@example.org"), from.count("source"), rows(&program).len()), (1, 1, 0, 0));
    }
}

#[test]
fn a_full_store_leaves_mail_at_its_source() {
    let from = Dovecot::start();
    let large = [letter(1, "ivan@other.example"), b"0123456789abcdef\r\n".repeat(100_000)].concat();
    from.put("source", &large);
    from.put("source", &letter(2, "ivan@other.example"));
    let collector = CollectorYaml::imap(&from, "source").after("delete").set("on_hold", "delete").set("recipient", HOLD);
    let text = config(&Boxes::new().delivery(), &[collector]).replace("service: {", "service: {held: {max_size: 1MiB}, ");
    let program = Mailgather::new(&text);
    let done = program.once(&[]);
    assert!(done.stderr.contains("service.held.max_size"), "{}", done.stderr);
    let subjects: Vec<String> = rows(&program).into_iter().map(|(mail, _)| mail.subject).collect();
    assert_eq!((subjects, from.count("source")), (vec!["letter 2".to_owned()], 1), "the small one fits");
}

/// Held for one and tried again for another: when both have it, the copy at the source goes; and nobody gets it twice on either way.
#[test]
fn a_part_that_was_held_is_no_reason_to_stay() {
    for released in ["release", "redeliver"] {
        let refusing =
            |script: sink::Builder| script.on_text("RCPT", "a@example.org", "550 5.1.1 no").on_text("RCPT", "b@example.org", "450 4.2.1 later");
        let (from, sink) = (Dovecot::start(), refusing(Sink::lmtp_builder()).start());
        from.put("source", b"Subject: an alarm without a name\r\n\r\nBody\r\n");
        let collector =
            CollectorYaml::imap(&from, "source").after("delete").set("recipient", "{forward_to: [a@example.org, b@example.org, c@example.org]}");
        let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
        program.once(&[]).expect_success();
        let (mail, copy) = rows(&program).remove(0);
        assert_eq!((mail.recipients.as_slice(), copy), (&["a@example.org".to_owned()][..], AtSource::Stays));
        sink.script(|script| script);
        let done = held(&program, &[released, "1"]).expect_success();
        assert_eq!(done.stdout.contains("c@example.org has it already"), released == "redeliver", "{}", done.stdout);
        program.once(&[]).expect_success();
        let mut taken: Vec<String> = sink.taken().into_iter().flat_map(|taken| taken.recipients).collect();
        taken.sort();
        assert_eq!((taken, from.count("source")), (["a", "b", "c"].map(|name| format!("{name}@example.org")).to_vec(), 0), "{released}");
    }
}

/// Without a window nobody noted who has it, but for the row: other rules, a later delivery to the others, a part that was released.
#[test]
fn redelivery_never_reaches_who_has_it() {
    let refusing = |script: sink::Builder| {
        ["a", "b"].into_iter().fold(script, |script, name| script.on_text("RCPT", &format!("{name}@example.org"), "550 5.1.1 no"))
    };
    let (from, sink) = (Dovecot::start(), refusing(Sink::lmtp_builder()).on_text("RCPT", "d@example.org", "450 4.2.1 later").start());
    from.put("source", b"Subject: an alarm without a name\r\n\r\nBody\r\n");
    let to = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}@example.org")).collect();
        let collector = CollectorYaml::imap(&from, "source").after("delete").set("recipient", &format!("{{forward_to: [{}]}}", names.join(", ")));
        config(&sink.delivery(), &[collector])
    };
    let program = Mailgather::new(&to(&["a", "b", "c", "d"]));
    program.once(&[]).expect_success();
    sink.script(|script| script.on_text("RCPT", "b@example.org", "550 5.1.1 no"));
    // d gets it from the source, a from the store; b never.
    program.once(&[]).expect_success();
    held(&program, &["release", "1"]).expect_code(75);
    program.configure(&to(&["a", "c", "d", "e"]));
    let done = held(&program, &["redeliver", "1"]).expect_success();
    for name in ["a", "c", "d"] {
        assert!(done.stdout.contains(&format!("{name}@example.org has it already")), "{}", done.stdout);
    }
    program.once(&[]).expect_success();
    let mut taken: Vec<String> = sink.taken().into_iter().flat_map(|taken| taken.recipients).collect();
    taken.sort();
    assert_eq!(taken, ["a", "c", "d", "e"].map(|name| format!("{name}@example.org")));
    assert_eq!((from.count("source"), rows(&program).len()), (0, 0));
}

/// What came out of a journal report names nobody: its recipients stand in the row, and redelivery goes to them.
#[test]
fn an_original_goes_to_whom_its_report_named() {
    let report = b"Delivered-To: journal@pop.example\r\nReturn-Path: <>\r\n\
        Received: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby localhost with ESMTP id 1; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
        From: journal@corp.example\r\nContent-Type: multipart/mixed; boundary=b\r\nMessage-ID: <1@e>\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nSender: k@remote.example\r\nRecipient: hidden@example.org\r\n\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: k@remote.example\r\nTo: other@elsewhere.example\r\nMessage-ID: <o@e>\r\n\r\nhi\r\n\r\n--b--\r\n";
    // While the report names nobody of ours, it is held itself: nothing else could tell whom today's rules are to find.
    let (from, sink) = (Dovecot::start(), Sink::lmtp());
    from.put("source", report);
    let with = |domain: &str| {
        let rules = format!(
            "{{auto: {{domains: [{domain}]}}, journal: exchange, journal_from: journal@corp.example, journal_hosts: remote.example, unresolved: hold}}"
        );
        config(&sink.delivery(), &[CollectorYaml::imap(&from, "source").set("recipient", &rules)])
    };
    let program = Mailgather::new(&with("elsewhere.example"));
    program.once(&[]).expect_success();
    let mail = rows(&program).remove(0).0;
    assert_eq!((mail.why, octets(&program, &mail).unwrap()), (HeldWhy::Unresolved, canonical(report)));
    program.configure(&with("example.org"));
    held(&program, &["redeliver", "1"]).expect_success();
    let taken = sink.taken();
    assert_eq!(
        (taken[0].recipients.as_slice(), field(&taken[0].content, "Message-ID").as_deref()),
        (&["hidden@example.org".to_owned()][..], Some("<o@e>"))
    );

    let (from, sink) = (Dovecot::start(), Sink::lmtp_builder().on_text("RCPT", "hidden", "554 5.7.1 policy").start());
    from.put("source", report);
    let rules = "{auto: {domains: [example.org]}, journal: exchange, journal_from: journal@corp.example, journal_hosts: remote.example, default_box: post@example.org}";
    let collector = CollectorYaml::imap(&from, "source").set("recipient", rules);
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]).replace("delivery: {", "delivery: {on_permanent_failure: hold, "));
    program.once(&[]).expect_success();
    let mail = rows(&program).remove(0).0;
    assert_eq!(
        (mail.recipients.as_slice(), mail.from_journal, mail.sender.as_str()),
        (&["hidden@example.org".to_owned()][..], true, "k@remote.example")
    );
    sink.script(|script| script);
    held(&program, &["redeliver", "1"]).expect_success();
    let taken = sink.taken();
    assert_eq!(
        (taken.len(), taken[0].recipients.as_slice(), taken[0].from.as_str()),
        (1, &["hidden@example.org".to_owned()][..], "k@remote.example")
    );
    assert!(rows(&program).is_empty());
}

/// What is held for its content is known to be for somebody; what went in a circle too, and goes there again only if somebody says so.
#[test]
fn what_is_set_aside_is_held_for_its_recipients() {
    let (from, sink) = (Dovecot::start(), Sink::lmtp());
    from.put("source", &letter(1, "anna@pop.example").iter().copied().chain(*b"\ra bare CR\r\n").collect::<Vec<u8>>());
    from.put(
        "source",
        &["Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0000\r\n".repeat(60).into_bytes(), letter(2, "anna@pop.example")].concat(),
    );
    let collector = CollectorYaml::imap(&from, "source").after("delete").set("recipient", "{forward_to: [anna@example.org, boris@example.org]}");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]).replace("delivery: {", "delivery: {bare_cr: hold, "));
    program.once(&[]).expect_success();
    let rows_now = rows(&program);
    let of = |why| rows_now.iter().map(|(mail, _)| mail).find(|mail| mail.why == why).unwrap();
    let (content, circle) = (of(HeldWhy::Content), of(HeldWhy::Loop));
    for mail in [content, circle] {
        assert_eq!(mail.recipients, ["anna@example.org", "boris@example.org"]);
    }
    assert_eq!(content.sender, "sender1@remote.example");
    held(&program, &["release", &content.id.to_string()]).expect_success();
    let (id, taken) = (circle.id.to_string(), sink.taken());
    assert_eq!((taken.len(), taken.iter().flat_map(|taken| &taken.recipients).count(), sink.count()), (1, 2, 1));
    for how in ["release", "redeliver"] {
        let done = held(&program, &[how, &id]).expect_code(75);
        assert!(format!("{}{}", done.stdout, done.stderr).contains("--to ADDR"), "{}", done.stdout);
    }
    assert_eq!(sink.count(), 1);
    held(&program, &["release", &id, "--to", "anna@example.org", "--to", "boris@example.org"]).expect_success();
    program.once(&[]).expect_success();
    assert_eq!((sink.taken().len(), rows(&program).len(), from.count("source")), (2, 0, 0));
}

/// Each delivery is remembered for as long as its own collector says, whichever collector runs next.
#[test]
fn a_collector_without_a_window_forgets_nothing_of_the_others() {
    let (from, sink) = (Dovecot::start(), Sink::lmtp());
    from.put("source", &letter(1, "anna@pop.example"));
    let auto = CollectorYaml::imap(&from, "source").id("auto").after("delete").set("recipient", "{auto: {map: {pop.example: example.org}}}");
    let forward = CollectorYaml::imap(&from, "box1").id("forward").forward_to("boris@example.org");
    let program = Mailgather::new(&config(&sink.delivery(), &[auto, forward]));
    program.once(&["auto"]).expect_success();
    // What was remembered is from an earlier second than the next run.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    program.once(&["forward"]).expect_success();
    from.put("source", &letter(1, "anna@pop.example"));
    let done = program.once(&["auto"]).expect_success();
    assert!(done.stderr.contains("duplicate_suppressed"), "{}", done.stderr);
    assert_eq!((sink.taken().len(), from.count("source")), (1, 0));
}

/// Two letters, one of them in a spool file on its way; `on_hold: delete`, so that what is lost is lost.
struct Sweep {
    server: Dovecot,
    program: Mailgather,
    round: usize,
}

impl Sweep {
    fn letters() -> [Vec<u8>; 2] {
        let large = [letter(2, "ivan@other.example"), b"0123456789abcdef.\r\n".repeat(10_000)].concat();
        [letter(1, "ivan@other.example"), large]
    }

    fn user(&self) -> String {
        format!("box{}", self.round)
    }

    fn prepare(&mut self) {
        self.round += 1;
        Self::letters().iter().for_each(|letter| self.server.put(&self.user(), letter));
        let collector = CollectorYaml::imap(&self.server, &self.user()).after("delete").set("on_hold", "delete").set("recipient", HOLD);
        let text = config("{maildir: '/nowhere/{local}'}", &[collector]);
        self.program.configure(&text.replace("service: {", "service: {spool_above: 64KiB, "));
    }

    /// The subjects of what is in the store for this round's mailbox; each must be whole.
    #[track_caller]
    fn in_store(&self, what: &str) -> BTreeSet<String> {
        let expected: Vec<Vec<u8>> = Self::letters().iter().map(|letter| canonical(letter)).collect();
        for entry in std::fs::read_dir(self.program.state_dir().join("held")).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "eml") {
                assert!(expected.contains(&std::fs::read(&path).unwrap()), "{what}: half a file under its final name: {}", path.display());
            }
        }
        let of_round: Vec<HeldMail> =
            rows(&self.program).into_iter().map(|(mail, _)| mail).filter(|mail| mail.key.mailbox.login == self.user()).collect();
        let whole = of_round.iter().filter(|mail| octets(&self.program, mail).is_some()).map(|mail| mail.subject.clone()).collect::<BTreeSet<_>>();
        assert_eq!(whole.len(), of_round.len(), "{what}: a row without a file, or twice");
        whole
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let at_source = crate::support::maildir::subjects(&self.server.messages(&self.user()));
        let all: BTreeSet<String> = self.in_store(what).into_iter().chain(at_source).collect();
        assert_eq!(all.len(), 2, "{what}: lost: there is only {all:?}");
    }

    #[track_caller]
    fn check_end(&self, what: &str) {
        assert_eq!((self.in_store(what).len(), self.server.count(&self.user())), (2, 0), "{what}: at the end");
    }
}

#[test]
fn whatever_strikes_while_mail_is_held_nothing_is_lost() {
    let mut sweep = Sweep { server: Dovecot::start(), program: Mailgather::new(""), round: 0 };
    sweep.prepare();
    sweep.program.once(&["--quiet"]).expect_success();
    sweep.check_end("no fault");
    let mut met = 0;
    let most = if std::env::var_os("MAILGATHER_LONG_SWEEP").is_some() { 200 } else { 2 };
    for (call, fault) in [
        ("rename", "signal=KILL"),
        ("fsync", "signal=KILL"),
        ("fdatasync", "signal=KILL"),
        ("write", "signal=KILL"),
        ("rename", "error=EIO"),
        ("fsync", "error=EIO"),
    ] {
        for k in 1..=most {
            sweep.prepare();
            let what = format!("{call} {k} {fault}");
            let struck = strace::once_with_fault(&sweep.program, call, fault, k);
            sweep.check(&what);
            if struck.is_none() {
                break;
            }
            met += 1;
            // A message that could not be held is set back for a minute: the next pass may leave it where it is, but must not lose it.
            let done = sweep.program.once(&["--quiet"]);
            sweep.check(&what);
            if done.status.success() {
                sweep.check_end(&what);
            }
        }
    }
    assert!(met > 6, "{met} faults were met");
}
