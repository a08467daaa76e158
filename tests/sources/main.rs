//! The clients of IMAP and POP3 as a library: dialogues with scripted peers, and sessions at a real Dovecot. `tests/imap_rows` has what IMAP servers do beside
//! the rules.

#[allow(dead_code)]
#[path = "../imap_rows/kit.rs"]
mod imap_kit;
#[path = "../pop3_kit/mod.rs"]
mod pop3_kit;
#[path = "../support/mod.rs"]
mod support;

mod imap_dialogue;
mod imap_dovecot;
mod pop3_dialogue;
mod pop3_dovecot;
mod pop3_faults;
mod pop3_sessions;
