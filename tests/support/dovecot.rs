//! A private Dovecot (2.3, as Debian 12 has it): IMAP and POP3 with and without TLS, LMTP over TCP and a unix socket.
//!
//! What it serves of what [`Dovecot::put`] wrote into a mailbox (seen with 2.3.19; the tests in `support_servers.rs` hold it to this):
//!
//! - CRLF and bare LF both come out as CRLF, by IMAP and by POP3;
//! - a bare CR comes out as it is;
//! - a NUL comes out as the octet 0x80 by IMAP `FETCH BODY[]` (RFC 3501 forbids NUL in a literal), and as it is by POP3;
//! - a missing last line end stays missing by IMAP; POP3 ends the line, as it must before the final dot;
//! - POP3 does not stuff a dot that is the very first octet of a message: the message `.` ends early and the dialogue is out of step. No client
//!   can do anything about it; tests leave such messages out of POP3 mailboxes.
//!
//! So a test that compares with `canonical(raw)` takes bare LF from the raw file as it is, and for NUL by IMAP expects 0x80.

use super::certificates::Certificates;
use super::maildir::{MAIL_UID, Maildir, Stored};
use super::ports::Port;
use super::private::{self, MailPorts};
use super::process::{Guarded, is_installed};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The password of every user.
pub const PASSWORD: &str = "correct-horse";

/// A running server; stopped on drop.
pub struct Dovecot {
    _server: Guarded,
    pub(super) certificates: Certificates,
    pub(super) ports: MailPorts,
    lmtp: Port,
    // Last, so that the files go after the server.
    folder: TempDir,
}

/// What a test may choose.
#[derive(Default)]
pub struct Builder {
    users: Vec<String>,
    extra: String,
}

impl Builder {
    /// Users that LMTP knows; all others are refused with 550. Without any call LMTP takes every name.
    pub fn users(mut self, names: &[&str]) -> Builder {
        self.users.extend(names.iter().map(ToString::to_string));
        self
    }

    /// More lines of dovecot.conf, at its end.
    pub fn extra(mut self, lines: &str) -> Builder {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// An IMAP server without these capabilities (they still work, but a polite client cannot know).
    pub fn without(self, capabilities: &[&str]) -> Builder {
        const USUAL: &str = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN ESEARCH";
        let left: Vec<&str> = USUAL.split(' ').filter(|c| !capabilities.contains(c)).collect();
        self.extra(&format!("imap_capability = {}", left.join(" ")))
    }

    /// Most sessions of one user from one address.
    pub fn max_connections(self, n: usize) -> Builder {
        self.extra(&format!("mail_max_userip_connections = {n}"))
    }

    /// Starts it.
    pub fn start(self) -> Dovecot {
        assert!(is_installed("dovecot"), "Dovecot is not installed: tests/run installs what the tests need");
        let folder = private::folder("dovecot", &["run", "mail"]);
        std::os::unix::fs::chown(folder.path().join("mail"), Some(MAIL_UID), Some(MAIL_UID)).expect("the tests run as root, as Dovecot needs it");
        let certificates = Certificates::make(folder.path());
        let (ports, lmtp) = (MailPorts::reserve(), Port::reserve());
        let users: String = self.users.iter().map(|user| format!("{user}:{{PLAIN}}{PASSWORD}::::::\n")).collect();
        std::fs::write(folder.path().join("users"), users).expect("the list of users");
        let text = configuration(folder.path(), ports.numbers(), lmtp.number(), !self.users.is_empty(), &self.extra);
        std::fs::write(folder.path().join("dovecot.conf"), text).expect("the configuration");

        let [file, console, log] = ["dovecot.conf", "console", "log"].map(|name| folder.path().join(name));
        let server = Guarded::start("/usr/sbin/dovecot", &["-F", "-c", &file.to_string_lossy()], &console);
        let [imap, imaps, pop3, pop3s] = ports.all();
        private::until_it_answers("Dovecot", &server, &[imap, imaps, pop3, pop3s, &lmtp], &[console, log]);
        Dovecot { _server: server, certificates, ports, lmtp, folder }
    }
}

impl Dovecot {
    /// A server with nothing special.
    pub fn start() -> Dovecot {
        Dovecot::builder().start()
    }

    /// A server with something special.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The port of IMAP, with STARTTLS.
    pub fn imap(&self) -> u16 {
        self.ports.imap.number()
    }

    /// The port of IMAP over TLS.
    pub fn imaps(&self) -> u16 {
        self.ports.imaps.number()
    }

    /// The port of POP3, with STLS.
    pub fn pop3(&self) -> u16 {
        self.ports.pop3.number()
    }

    /// The port of POP3 over TLS.
    pub fn pop3s(&self) -> u16 {
        self.ports.pop3s.number()
    }

    /// The port of LMTP.
    pub fn lmtp(&self) -> u16 {
        self.lmtp.number()
    }

    /// The unix socket of LMTP.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.path().join("run/lmtp")
    }

    /// The certificate authority that a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.certificates.ca.clone()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The lines of the log that contain `what`, once there are so many, or more: Dovecot's word on a login may come after its answer to it.
    #[track_caller]
    pub fn logged(&self, what: &str, at_least: usize) -> Vec<String> {
        let lines = || -> Vec<String> { self.log().lines().filter(|line| line.contains(what)).map(str::to_owned).collect() };
        super::eventually(&format!("{at_least} lines with {what:?} in the log"), super::SOON, || lines().len() >= at_least);
        lines()
    }

    /// A user's Maildir.
    pub fn maildir(&self, user: &str) -> Maildir {
        Maildir(self.folder.path().join("mail").join(user).join("Maildir"))
    }

    /// Puts a message into a user's INBOX, octet by octet as given.
    pub fn put(&self, user: &str, bytes: &[u8]) {
        self.maildir(user).put(bytes);
    }

    /// The messages in a user's INBOX, as they are on disk: what LMTP delivered has CRLF.
    pub fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.maildir(user).messages()
    }

    /// The same with names and flags.
    pub fn stored(&self, user: &str) -> Vec<Stored> {
        self.maildir(user).stored()
    }

    /// The flags of each message: `S` for \Seen, `T` for \Deleted.
    pub fn flags(&self, user: &str) -> Vec<String> {
        self.stored(user).into_iter().map(|m| m.flags).collect()
    }

    /// How many messages are in a user's INBOX.
    pub fn count(&self, user: &str) -> usize {
        self.maildir(user).count()
    }

    /// Gives the INBOX a new UIDVALIDITY, as after a restore: all UIDs are given out anew.
    pub fn new_uidvalidity(&self, user: &str) {
        self.uids_anew(user, 1);
    }

    /// Gives out the UIDs of the INBOX anew, under a UIDVALIDITY that is so much higher. With 0 the server breaks its word.
    pub fn uids_anew(&self, user: &str, higher: u32) {
        let folder = self.maildir(user).0;
        let validity = std::fs::read_to_string(folder.join("dovecot-uidlist"))
            .ok()
            .and_then(|list| list.split(' ').find_map(|word| word.strip_prefix('V')?.parse::<u32>().ok()))
            .unwrap_or(1_700_000_000);
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("dovecot") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let list = folder.join("dovecot-uidlist");
        std::fs::write(&list, format!("3 V{} N1\n", validity + higher)).expect("the list of UIDs");
        std::os::unix::fs::chown(&list, Some(MAIL_UID), Some(MAIL_UID)).expect("root may");
    }
}

fn configuration(folder: &Path, ports: [u16; 4], lmtp: u16, known_users_only: bool, extra: &str) -> String {
    let base = folder.display();
    let [imap, imaps, pop3, pop3s] = ports;
    // Logins by IMAP and POP3 take any name; LMTP asks the list of users, if there is one.
    let anybody =
        format!("  userdb {{\n    driver = static\n    args = uid={MAIL_UID} gid={MAIL_UID} home={base}/mail/%u allow_all_users=yes\n  }}\n");
    let listed = format!(
        "  userdb {{\n    driver = passwd-file\n    args = {base}/users\n    override_fields = uid={MAIL_UID} gid={MAIL_UID} home={base}/mail/%u\n  }}\n"
    );
    let users_of_lmtp = if known_users_only { listed } else { anybody.clone() };
    format!(
        "base_dir = {base}/run
state_dir = {base}/run
instance_name = mailgather-test
log_path = {base}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{base}/server.pem
ssl_key = <{base}/server.key
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 1
passdb {{
  driver = static
  args = password={PASSWORD}
}}
mail_location = maildir:~/Maildir
mail_save_crlf = yes
mail_fsync = never
mail_max_userip_connections = 100
service imap-login {{
  service_count = 0
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  service_count = 0
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol imap {{
{anybody}}}
protocol pop3 {{
{anybody}}}
protocol lmtp {{
{users_of_lmtp}}}
{extra}"
    )
}
