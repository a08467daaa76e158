//! Servers without UIDPLUS: copies that were only flagged, and what becomes of them when a plain EXPUNGE is allowed.

use super::*;

fn collector(server: &Dovecot, after: &str, plain: bool) -> CollectorYaml {
    let collector = forwarding(CollectorYaml::imap(server, "u")).after(after);
    if plain { collector.set("allow_plain_expunge", "true") } else { collector }
}

#[test]
fn i10_copies_that_were_only_flagged_are_expunged_when_that_is_allowed() {
    let (server, boxes) = (Dovecot::builder().without(&["UIDPLUS", "MOVE"]).start(), Boxes::new());
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector(&server, "delete", false)]));
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("the server has no UIDPLUS, and `allow_plain_expunge` is not set"), "{}", done.stderr);
    assert_eq!(server.flags("u"), ["ST", "ST", "ST"]);
    // Nothing is flagged anew, or said anew, as long as nothing has changed.
    assert!(!program.once(&[]).expect_success().stderr.contains("UIDPLUS"));

    // Somebody else's flagged mail keeps it from being said: that would go too.
    fill(&server, "u", 3..4);
    program.once(&[]).expect_success();
    fill(&server, "u", 4..5);
    let mut other = OtherClient::inbox(server.imap(), "u");
    other.command("UID STORE 5 +FLAGS.SILENT (\\Deleted)");
    program.configure(&config(&boxes.delivery(), &[collector(&server, "delete", true).set("first_run", "none")]));
    let done = program.once(&[]).expect_success();
    // It is new mail for us, and flagged already: it is delivered, and ours from then on.
    assert!(done.stdout.contains("1 delivered"), "{}", done.stdout);
    assert!(done.stderr.contains("EXPUNGE would take mail that others flagged"), "{}", done.stderr);
    program.once(&[]).expect_success();
    assert_eq!((server.count("u"), arrived(&boxes)), (0, letters(0..5)));
    fill(&server, "u", 5..6);
    program.once(&[]).expect_success();
    assert_eq!((server.count("u"), arrived(&boxes)), (0, letters(0..6)));
}

#[test]
fn i10_copies_that_were_moved_and_only_flagged_are_not_moved_again() {
    let (server, boxes) = (Dovecot::builder().without(&["UIDPLUS", "MOVE"]).start(), Boxes::new());
    fill(&server, "u", 0..3);
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector(&server, "{move_to: Done}", false)]));
    let in_done = || OtherClient::login(server.imap(), "u").command("STATUS Done (MESSAGES)").lines.concat();
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("copied and flagged") && done.stderr.contains("not moved again"), "{}", done.stderr);
    for plain in [false, true] {
        program.configure(&config(&boxes.delivery(), &[collector(&server, "{move_to: Done}", plain)]));
        let again = program.once(&[]).expect_success();
        assert!(again.stdout.contains("0 delivered"), "{}", again.stdout);
        assert!(in_done().contains("(MESSAGES 3)"), "{}", in_done());
        assert_eq!(server.count("u"), if plain { 0 } else { 3 });
    }
    fill(&server, "u", 3..4);
    program.once(&[]).expect_success();
    assert!(in_done().contains("(MESSAGES 4)"), "{}", in_done());
    assert_eq!((server.count("u"), arrived(&boxes)), (0, letters(0..4)));
}
