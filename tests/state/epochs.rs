//! UIDs that are given out anew, by a real server: nothing comes twice, nothing is lost, and no flood.

use super::*;

/// The files of the first so many letters of an INBOX go, behind the server's back.
fn remove_first(server: &Dovecot, user: &str, many: usize) {
    let folder = server.maildir(user).0;
    for stored in server.stored(user).into_iter().take(many) {
        let _ = std::fs::remove_file(folder.join("new").join(&stored.name)).or_else(|_| std::fs::remove_file(folder.join("cur").join(&stored.name)));
    }
}

fn uidvalidity(server: &Dovecot, user: &str) -> String {
    let answer = OtherClient::login(server.imap(), user).command("STATUS INBOX (UIDVALIDITY)");
    answer.lines.into_iter().find(|line| line.contains("UIDVALIDITY")).unwrap()
}

#[test]
fn f17_a_new_uidvalidity_is_compared_within_the_limits_of_a_session() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..25);
    let collector = forwarding(CollectorYaml::imap(&server, "u")).set("max_messages_per_session", "10");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    assert!(program.once(&[]).expect_success().stdout.contains("25 delivered"));
    server.new_uidvalidity("u");
    fill(&server, "u", 25..27);
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("2 delivered, 25 known duplicates"), "{}", done.stdout);
    assert_eq!((arrived(&boxes), server.count("u")), (letters(0..27), 27));
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("message_duplicate"), "compared once: {}", again.stderr);
}

/// The list of UIDs is gone: Dovecot makes another one, and another UIDVALIDITY.
#[test]
fn f17_a_list_of_uids_that_was_lost() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "u")).after("mark_seen")]));
    program.once(&[]).expect_success();
    let before = uidvalidity(&server, "u");
    // It is a time in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for entry in std::fs::read_dir(server.maildir("u").0).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("dovecot") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    fill(&server, "u", 3..4);
    let done = program.once(&[]).expect_success();
    assert_ne!(uidvalidity(&server, "u"), before);
    assert!(done.stdout.contains("1 delivered, 3 known duplicates"), "{}", done.stdout);
    assert_eq!((arrived(&boxes), server.count("u")), (letters(0..4), 4));
}

/// The lines of this event.
fn told<'a>(done: &'a support::process::Finished, event: &str) -> Vec<&'a str> {
    done.stderr.lines().filter(|line| line.contains(event)).collect()
}

/// The operator is told in figures what came of it, once; and that most of it was new, where it was.
#[test]
fn f17_a_new_uidvalidity_is_told_in_figures() {
    for (remade, flood) in [(false, false), (true, true)] {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, "u", 0..30);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "u"))]));
        let first = program.once(&[]).expect_success();
        assert!(told(&first, "uidvalidity_changed").is_empty() && told(&first, "messages_compared").is_empty(), "{}", first.stderr);
        if remade {
            // The server was moved, and what is there is other mail but for five letters.
            remove_first(&server, "u", 25);
            fill(&server, "u", 100..130);
        } else {
            fill(&server, "u", 30..32);
        }
        server.new_uidvalidity("u");
        let done = program.once(&[]).expect_success();
        let (changed, compared) = (told(&done, "uidvalidity_changed"), told(&done, "messages_compared"));
        assert_eq!((changed.len(), compared.len()), (1, 1), "{}", done.stderr);
        assert!(changed[0].contains("remembered=30") && changed[0].contains(" warn"), "{}", changed[0]);
        let figures = if remade { "known=5 left_alone=0 new=30" } else { "known=30 left_alone=0 new=2" };
        assert!(compared[0].contains(figures) && compared[0].contains(" warn"), "{}", compared[0]);
        assert_eq!(compared[0].contains("most messages looked new"), flood, "{}", compared[0]);
        let again = program.once(&[]).expect_success();
        assert!(told(&again, "uidvalidity_changed").is_empty() && told(&again, "messages_compared").is_empty(), "{}", again.stderr);
    }
}

/// UIDNEXT goes back under the same UIDVALIDITY, and new mail gets UIDs that other mail had: the server breaks its word (RFC 9051 §2.3.1.1).
#[test]
fn f17_uids_that_are_used_again_under_one_uidvalidity() {
    for (collect, after) in [
        ("new", "keep"),
        ("new", "mark_seen"),
        ("new", "{delete_after: 1h}"),
        ("unseen", "keep"),
        ("unseen", "mark_seen"),
        ("unseen", "{delete_after: 1h}"),
    ] {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, "u", 0..6);
        let collector = forwarding(CollectorYaml::imap(&server, "u")).set("collect", collect).after(after);
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        program.once(&[]).expect_success();
        let before = uidvalidity(&server, "u");
        for round in 0..2 {
            remove_first(&server, "u", 3);
            server.uids_anew("u", 0);
            fill(&server, "u", 6 + round..7 + round);
            let done = program.once(&[]).expect_success();
            assert_eq!(uidvalidity(&server, "u"), before, "the test would show something else");
            let case = format!("{collect}, {after}, {round}");
            assert!(done.stderr.contains("uids_went_back") && done.stdout.contains("1 delivered"), "{case} {}\n{}", done.stdout, done.stderr);
            assert_eq!(arrived(&boxes), letters(0..7 + round), "{case}");
        }
        let again = program.once(&[]).expect_success();
        assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("message_duplicate"), "{}", again.stderr);
        assert_eq!(server.count("u"), 2);
    }
}

/// The UIDs whose mail is old enough to be deleted are those of other mail by now, which nobody has yet.
#[test]
fn f17_uids_that_are_used_again_delete_nothing_that_nobody_got() {
    for collect in ["new", "unseen", "all"] {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, "u", 0..6);
        let collector = forwarding(CollectorYaml::imap(&server, "u")).set("collect", collect).after("{delete_after: 2s}");
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        program.once(&[]).expect_success();
        remove_first(&server, "u", 3);
        server.uids_anew("u", 0);
        fill(&server, "u", 6..8);
        std::thread::sleep(std::time::Duration::from_millis(3500));
        let done = program.once(&[]).expect_success();
        assert!(done.stderr.contains("uids_went_back"), "{collect}: {}", done.stderr);
        assert_eq!(arrived(&boxes), letters(0..8), "{collect}");
    }
}

/// What is held follows its message also where the server breaks its word.
#[test]
fn f17_held_mail_is_found_again_under_a_used_uid() {
    let (from, to) = (Dovecot::start(), Dovecot::builder().users(&[BOX]).start());
    fill(&from, "u", 0..4);
    let collector = CollectorYaml::imap(&from, "u").after("delete").forward_to("nobody@example.org");
    let program = Mailgather::new(&config(&format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp()), &[collector]));
    assert!(program.once(&[]).expect_success().stdout.contains("4 held"));
    remove_first(&from, "u", 2);
    from.uids_anew("u", 0);
    fill(&from, "u", 4..5);
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("uids_went_back") && done.stdout.contains("0 delivered, 3 held"), "{}\n{}", done.stdout, done.stderr);
    let list = program.run_to_end("held", &["list", "--json"]).expect_success();
    assert_eq!(list.stdout.lines().count(), 5, "{}", list.stdout);
    program.run_to_end("held", &["release", "--all", "--to", BOX]).expect_success();
    program.once(&[]).expect_success();
    assert_eq!((support::maildir::subjects(&to.messages(BOX)), from.count("u")), (letters(0..5), 0), "each copy was found and deleted");
}

/// A letter that arrives now.
pub fn fresh(n: usize) -> Vec<u8> {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000");
    let received = format!("Received: from a.example by b.example; {now}");
    format!("{received}\r\nFrom: s@x.example\r\nTo: {BOX}\r\nSubject: letter {n}\r\nMessage-ID: <{n}@x.example>\r\nDate: {now}\r\n\r\nBody {n}\r\n")
        .into_bytes()
}

/// What a first run left alone is left alone once more: nobody wants ten years of mail because a server was restored.
#[test]
fn f17_what_a_first_run_left_alone_is_no_flood() {
    let old = |n: usize| String::from_utf8(letter(n)).unwrap().replace("2026", "2016").into_bytes();
    for (pop3, first_run, between) in [(false, "none", 3), (false, "none", 0), (false, "{since: 1h}", 3), (true, "none", 3), (true, "none", 0)] {
        let case = format!("{pop3} {first_run} {between}");
        let (mut server, boxes) = (Dovecot::start(), Boxes::new());
        (0..12).for_each(|n| server.put("u", &old(n)));
        let protocol = if pop3 { CollectorYaml::pop3 } else { CollectorYaml::imap };
        let collector = |server: &Dovecot| forwarding(protocol(server, "u")).set("first_run", first_run);
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector(&server)]));
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"), "{case}");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        (20..20 + between).for_each(|n| server.put("u", &fresh(n)));
        assert!(program.once(&[]).expect_success().stdout.contains(&format!("{between} delivered")), "{case}");
        if pop3 {
            let other = Dovecot::builder().extra("pop3_uidl_format = x%u-%v").start();
            server.messages("u").iter().for_each(|message| other.put("u", message));
            server = other;
            program.configure(&config(&boxes.delivery(), &[collector(&server)]));
        } else {
            server.new_uidvalidity("u");
        }
        server.put("u", &fresh(30));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("1 delivered"), "{case}: {}", done.stdout);
        assert_eq!(done.stderr.matches("message_left_alone").count(), 12, "{case}: {}", done.stderr);
        assert_eq!((arrived(&boxes), server.count("u")), (letters((20..20 + between).chain([30])), 13 + between), "{case}");
        let again = program.once(&[]).expect_success();
        assert!(again.stdout.contains("0 delivered") && !again.stderr.contains("message_duplicate"), "{case}: {}", again.stderr);
        // Old mail that comes from now on comes.
        server.put("u", &old(12));
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"), "{case}");
    }
}

/// With `collect: unseen` nobody sees when all was compared that could be: what the first run left alone is left alone once more, and old mail that comes
/// later comes. A seen letter that becomes unseen is still known.
#[test]
fn f17_unseen_mail_that_comes_behind_a_new_uidvalidity_is_no_leaving_of_the_first_run() {
    let old = |n: usize| String::from_utf8(letter(n)).unwrap().replace("2026", "2016").into_bytes();
    for is_seen in [true, false] {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        (0..3).for_each(|n| server.put("u", &old(n)));
        let collector = forwarding(CollectorYaml::imap(&server, "u")).set("first_run", "none").set("collect", "unseen");
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        server.put("u", &fresh(20));
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"));
        let flag = |sign: char| {
            let mut client = OtherClient::inbox(server.imap(), "u");
            let uid = client.search("SUBJECT \"letter 20\"")[0];
            client.command(&format!("UID STORE {uid} {sign}FLAGS.SILENT (\\Seen)"));
        };
        if is_seen {
            flag('+');
        }
        server.new_uidvalidity("u");
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("0 delivered"), "{is_seen}: {}", done.stdout);
        assert_eq!(done.stderr.matches("message_left_alone").count(), 3, "{is_seen}: {}", done.stderr);
        server.put("u", &old(12));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("1 delivered"), "{is_seen}: {}\n{}", done.stdout, done.stderr);
        flag('-');
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"));
        assert_eq!(arrived(&boxes), letters([12, 20]), "{is_seen}");
    }
}
