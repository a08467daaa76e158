//! What all mail servers of the tests have in common, so that one test can be held against each family.

use super::certificates::Certificates;
use super::courier::Courier;
use super::cyrus::Cyrus;
use super::dovecot::Dovecot;
use super::private::MailPorts;
use std::path::PathBuf;

/// A server with IMAP and POP3, each open (with STARTTLS and STLS) and over TLS, in which tests put and find mail.
///
/// The password of every user is [`super::dovecot::PASSWORD`].
pub trait MailServer {
    /// The name of the family, for messages.
    fn family(&self) -> &'static str;

    /// Where it listens.
    fn ports(&self) -> &MailPorts;

    /// What it shows, and who signed it.
    fn certificates(&self) -> &Certificates;

    /// The port of IMAP, with STARTTLS.
    fn imap(&self) -> u16 {
        self.ports().imap.number()
    }

    /// The port of IMAP over TLS.
    fn imaps(&self) -> u16 {
        self.ports().imaps.number()
    }

    /// The port of POP3, with STLS.
    fn pop3(&self) -> u16 {
        self.ports().pop3.number()
    }

    /// The port of POP3 over TLS.
    fn pop3s(&self) -> u16 {
        self.ports().pop3s.number()
    }

    /// The certificate authority that a client must trust.
    fn ca(&self) -> PathBuf {
        self.certificates().ca.clone()
    }

    /// Makes a user who can log in; nothing happens if there is one.
    fn add_user(&self, user: &str);

    /// Puts messages into a user's INBOX, octet by octet as given, and makes the user if need be. What the family makes of odd octets when it
    /// serves them stands at the head of its file.
    fn put_all(&self, user: &str, messages: &[Vec<u8>]);

    /// Puts one message into a user's INBOX.
    fn put(&self, user: &str, message: &[u8]) {
        self.put_all(user, &[message.to_vec()]);
    }

    /// The messages in a user's INBOX.
    fn messages(&self, user: &str) -> Vec<Vec<u8>>;

    /// The flags of each message as a Maildir writes them: `S` for \Seen, `T` for \Deleted.
    fn flags(&self, user: &str) -> Vec<String>;

    /// How many messages are in a user's INBOX.
    fn count(&self, user: &str) -> usize {
        self.flags(user).len()
    }

    /// Gives the INBOX a new UIDVALIDITY, as after a restore: all UIDs are given out anew.
    fn new_uidvalidity(&self, user: &str);
}

/// One server of each family.
pub fn families() -> Vec<Box<dyn MailServer>> {
    vec![Box::new(Dovecot::start()), Box::new(Cyrus::start()), Box::new(Courier::start())]
}

impl MailServer for Dovecot {
    fn family(&self) -> &'static str {
        "Dovecot"
    }

    fn ports(&self) -> &MailPorts {
        &self.ports
    }

    fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    // Any name logs in.
    fn add_user(&self, _user: &str) {}

    fn put_all(&self, user: &str, messages: &[Vec<u8>]) {
        messages.iter().for_each(|message| self.put(user, message));
    }

    fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.messages(user)
    }

    fn flags(&self, user: &str) -> Vec<String> {
        self.flags(user)
    }

    fn new_uidvalidity(&self, user: &str) {
        self.new_uidvalidity(user);
    }
}
