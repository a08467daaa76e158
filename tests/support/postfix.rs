//! A private Postfix (3.7, as Debian 12 has it): SMTP on a loopback port, mail for `@example.org` into one Maildir for each known user.

use super::maildir::{MAIL_UID, Maildir};
use super::ports::Port;
use super::private;
use super::process::{Guarded, is_installed};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Users that are known if a test names none.
pub const USERS: [&str; 6] = ["anna", "boris", "vera", "grigori", "postmaster", "раз"];

/// A running server; stopped on drop.
///
/// It adds no Date, From or Message-ID that a message lacks: a stock Postfix does so for clients of the same host, at the end of the header.
///
/// `defer@example.org` is refused with 450, `refuse@example.org` and unknown users with 550 5.1.1.
pub struct Postfix {
    _server: Guarded,
    port: Port,
    // Last, so that the files go after the server.
    folder: TempDir,
}

/// What a test may choose.
pub struct Builder {
    users: Vec<String>,
    message_size_limit: u64,
    extra: String,
}

impl Builder {
    /// The known users, in place of [`USERS`].
    pub fn users(mut self, names: &[&str]) -> Builder {
        self.users = names.iter().map(ToString::to_string).collect();
        self
    }

    /// Largest message, in octets; offered by SIZE. 200 MB if unset.
    pub fn message_size_limit(mut self, octets: u64) -> Builder {
        self.message_size_limit = octets;
        self
    }

    /// More lines of main.cf, at its end.
    pub fn extra(mut self, lines: &str) -> Builder {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Starts it.
    pub fn start(self) -> Postfix {
        assert!(is_installed("postfix"), "Postfix is not installed: tests/run installs what the tests need");
        let folder = private::folder("postfix", &["etc", "queue", "data", "mail"]);
        std::os::unix::fs::chown(folder.path().join("mail"), Some(MAIL_UID), Some(MAIL_UID)).expect("the tests run as root, as Postfix needs it");
        // What `postfix start` would make, but in milliseconds: its scripts take more than two seconds.
        let queues =
            ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace", "maildrop", "public"];
        let mut owned = vec![folder.path().join("data")];
        for name in queues {
            let path = folder.path().join("queue").join(name);
            std::fs::create_dir(&path).expect("a folder in ours");
            let mode = if matches!(name, "maildrop" | "public") { 0o730 } else { 0o700 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own folder");
            owned.push(path);
        }
        std::fs::create_dir(folder.path().join("queue/pid")).expect("a folder in ours");
        private::give("postfix:postdrop", &owned);
        let port = Port::reserve();
        self.write(folder.path(), port.number());

        let etc = folder.path().join("etc").to_string_lossy().into_owned();
        let console = folder.path().join("console");
        let server = Guarded::start("/usr/lib/postfix/sbin/master", &["-c", &etc, "-s"], &console);
        private::until_it_answers("Postfix", &server, &[&port], &[console, folder.path().join("log")]);
        Postfix { _server: server, port, folder }
    }

    fn write(&self, folder: &Path, port: u16) {
        let base = folder.display();
        let users: String = self.users.iter().map(|user| format!("{user}@example.org {user}/\n")).collect();
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/log
maillog_file_prefixes = {base}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.org
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = texthash:{base}/etc/users
virtual_mailbox_limit = 0
virtual_uid_maps = static:{MAIL_UID}
virtual_gid_maps = static:{MAIL_UID}
virtual_minimum_uid = 1
message_size_limit = {size}
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{defer@example.org = 450 4.2.1 try later}}, {{refuse@example.org = 550 5.1.1 no such user}} }}, reject_unauth_destination
smtputf8_enable = yes
local_header_rewrite_clients =
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
{extra}",
            size = self.message_size_limit,
            extra = self.extra,
        );
        // Only what a delivery into a Maildir needs; no chroot, since the queue lies in a temporary folder.
        let master = format!(
            "127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"
        );
        // A parameter that stands twice is warned of by every process, and postlogd, which would have to take the warnings, waits for itself.
        let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
        let lines: Vec<&str> = main.lines().collect();
        let is_last = |at: &usize| key(lines[*at]).is_none_or(|one| !lines[at + 1..].iter().any(|line| key(line).as_ref() == Some(&one)));
        let main: String = (0..lines.len()).filter(is_last).map(|at| format!("{}\n", lines[at])).collect();
        for (name, text) in [("main.cf", main), ("master.cf", master), ("users", users)] {
            std::fs::write(folder.join("etc").join(name), text).expect("the configuration");
        }
    }
}

impl Postfix {
    /// A server with nothing special.
    pub fn start() -> Postfix {
        Postfix::builder().start()
    }

    /// A server with something special.
    pub fn builder() -> Builder {
        Builder { users: USERS.iter().map(ToString::to_string).collect(), message_size_limit: 200_000_000, extra: String::new() }
    }

    /// The port of SMTP.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A user's Maildir, by local part.
    pub fn maildir(&self, user: &str) -> Maildir {
        Maildir(self.folder.path().join("mail").join(user))
    }

    /// A user's messages. virtual(8) writes bare LF: here they are in CRLF again.
    pub fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.maildir(user).messages().iter().map(|m| super::maildir::with_crlf(m)).collect()
    }

    /// How many messages a user has. Postfix answers before it delivers: wait with [`super::eventually`].
    pub fn count(&self, user: &str) -> usize {
        self.maildir(user).count()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
