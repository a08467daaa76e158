//! Delivery to a real Exim: replies for each recipient, for the content and for its size. Hostile mail and
//! smuggling: `corpus.rs`; Cyrillic local parts: `rows_recipient.rs`.

use crate::support::corpus::letter;
use crate::support::maildir::{field, subjects};
use crate::support::*;

/// Collects the mailbox `source` into Exim.
#[track_caller]
fn collect(from: &Dovecot, to: &Exim, recipient: &str, expected: &str) -> process::Finished {
    let collector = CollectorYaml::imap(from, "source").set("recipient", recipient);
    let done = Mailgather::new(&config(&to.delivery(), &[collector])).once(&[]);
    assert!(done.stdout.contains(expected), "{}\n{}\n{}", done.stdout, done.stderr, to.log());
    done
}

#[test]
fn exim_answers_for_each_recipient() {
    let (from, to) = (Dovecot::start(), Exim::start());
    from.put("source", &letter(1, "team@pop.example"));
    let team = "{auto: {aliases: {team@pop.example: [anna@example.org, refuse@example.org, defer@example.org, vera@example.org]}}, \
                default_box: post@example.org}";
    let done = collect(&from, &to, team, "1 to be tried again").expect_code(75);
    for user in ["anna", "vera", "post"] {
        eventually(user, SOON, || to.count(user) == 1);
    }
    assert!(done.stderr.contains("451 4.2.1 try later") && done.stderr.contains("550 5.1.1 no such user"), "{}", done.stderr);
    assert_eq!(field(&to.messages("post")[0], "X-Mailgather-Refused").as_deref(), Some("team@pop.example"));
}

#[test]
fn exim_refuses_content_and_size() {
    let (from, to) = (Dovecot::start(), Exim::builder().message_size_limit(100_000).start());
    from.put("source", b"Subject: cheap SPAM\r\n\r\nbuy\r\n");
    from.put("source", &[b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(10_000)].concat());
    from.put("source", &letter(3, "anna@pop.example"));
    let done = collect(&from, &to, "{forward_to: anna@example.org}", "1 delivered");
    eventually("the good one arrives", SOON, || to.count("anna") == 1);
    assert_eq!(subjects(&to.messages("anna")), ["letter 3"]);
    assert!(done.stderr.contains("550 5.7.1 content refused"), "{}", done.stderr);
    assert_eq!(from.count("source"), 3, "nothing is lost at the source");
    assert!(!to.log().contains("panic"), "{}", to.log());
}
