//! A message at which the target hangs up must not hold up the mailbox.

use crate::support::maildir::field;
use crate::support::*;

const LETTERS: usize = 40;

fn letter(subject: &str, body: &str) -> Vec<u8> {
    format!("From: a@remote.example\r\nSubject: {subject}\r\nMessage-ID: <{}@remote.example>\r\n\r\n{body}\r\n", subject.replace(' ', "-"))
        .into_bytes()
}

/// The target takes every message but one, and closes the connection in the middle of that one's content. In one run all others arrive, also
/// where there is but one connection to the target, and the one is to be tried again.
#[test]
fn a_message_at_which_the_target_hangs_up_is_set_back() {
    for max_connections in [1, 4] {
        let (server, sink) = (Dovecot::start(), Sink::builder().close_in_content("Subject: poison").start());
        // Larger than the buffers of a connection, so that the target hangs up while it is being sent.
        server.put("one", &letter("poison", &"a line of a large message\r\n".repeat(900_000)));
        (0..LETTERS).for_each(|n| server.put("one", &letter(&format!("letter {n}"), "body")));
        let delivery = sink.delivery().replace('}', &format!(", max_connections: {max_connections}}}"));
        let program = Mailgather::new(&config(&delivery, &[CollectorYaml::imap(&server, "one").forward_to("anna@example.org")]));

        let once = program.once(&[]).expect_code(75);
        assert!(once.stdout.contains(&format!("one: {LETTERS} delivered, 1 to be tried again")), "{}\n{}", once.stdout, once.stderr);
        assert_eq!(sink.count(), LETTERS);
        assert!(sink.taken().iter().all(|taken| field(&taken.content, "Subject").is_some_and(|subject| subject.starts_with("letter "))));
        assert_eq!(sink.broken_off(), 1, "it was tried once in this run");

        // What comes later is not held up either.
        server.put("one", &letter("letter later", "body"));
        program.once(&[]);
        assert_eq!(sink.count(), LETTERS + 1);
    }
}
