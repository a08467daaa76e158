//! A private Exim (4.96, as Debian 12 has it): SMTP on a loopback port, mail for `@example.org` and икс.рф into one Maildir for each known
//! user. Debian's Exim conflicts with Postfix: `tests/run packages` unpacks it beside, and it runs from there.
//!
//! What it makes of a message, as far as tests see it:
//!
//! - it stores line ends as bare LF, with its own Return-path and Received on top;
//! - it takes an SMTPUTF8 local part, and domains as A-labels or in UTF-8.

use super::maildir::{Maildir, with_crlf};
use super::ports::Port;
use super::private;
use super::process::Guarded;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Where `tests/run packages` unpacks it.
const PROGRAM: &str = "/var/cache/mailgather-tests/debian/exim4-daemon-light/usr/sbin/exim4";
/// The user whose name is compiled into it.
const USER: &str = "Debian-exim";
/// Users that are known if a test names none.
pub const USERS: [&str; 7] = ["anna", "boris", "vera", "grigori", "post", "postmaster", "раз"];

/// A running server; stopped on drop.
///
/// `defer@` is refused with 451, `refuse@` and unknown users with 550 5.1.1, a subject with `SPAM` at the end of data with 550 5.7.1.
pub struct Exim {
    _server: Guarded,
    port: Port,
    // Last, so that the files go after the server.
    folder: TempDir,
}

/// What a test may choose.
pub struct Builder {
    message_size_limit: u64,
    extra: String,
}

impl Builder {
    /// Largest message, in octets; offered by SIZE. 200 MB if unset.
    pub fn message_size_limit(mut self, octets: u64) -> Builder {
        self.message_size_limit = octets;
        self
    }

    /// More lines of the main section.
    pub fn extra(mut self, lines: &str) -> Builder {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Starts it.
    pub fn start(self) -> Exim {
        assert!(Path::new(PROGRAM).exists(), "Exim is not unpacked at {PROGRAM}: run `tests/run packages` as root");
        let owned = ["spool", "mail", "log"];
        let folder = private::folder("exim", &owned);
        private::give(&format!("{USER}:{USER}"), &owned.map(|name| folder.path().join(name)));
        let port = Port::reserve();
        let file = folder.path().join("exim.conf");
        std::fs::write(&file, self.configuration(folder.path(), port.number())).expect("the configuration");
        let console = folder.path().join("console");
        let server = Guarded::start(PROGRAM, &["-C", &file.to_string_lossy(), "-bdf", "-q1m"], &console);
        private::until_it_answers("Exim", &server, &[&port], &[console, folder.path().join("log/main")]);
        Exim { _server: server, port, folder }
    }

    fn configuration(&self, folder: &Path, port: u16) -> String {
        // Mail lies with Exim's own user, so no process of it needs root's rights after the start, and the program needs no set-user-ID bit.
        format!(
            "primary_hostname = exim.example.org
exim_user = {USER}
exim_group = {USER}
exim_path = {PROGRAM}
deliver_drop_privilege
never_users =
keep_environment =
spool_directory = {base}/spool
log_file_path = {base}/log/%s
pid_file_path = {base}/spool/pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
domainlist local_domains = example.org : икс.рф : xn--h1aev.xn--p1ai
localpartlist users = {users}
acl_smtp_rcpt = rcpt
acl_smtp_data = data
acl_smtp_predata = accept
message_size_limit = {size}
received_headers_max = 100
header_maxsize = 4M
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 1000
host_lookup =
rfc1413_query_timeout = 0s
recipient_unqualified_hosts =
smtputf8_advertise_hosts = *
tls_advertise_hosts =
envelope_to_remove = false
delivery_date_remove = false
{extra}
begin acl
rcpt:
  defer local_parts = defer
        message = 4.2.1 try later
  deny  local_parts = refuse
        message = 5.1.1 no such user
  deny  domains = !+local_domains
        message = 5.7.1 relay not permitted
  deny  local_parts = !+users
        message = 5.1.1 no such user
  accept
data:
  deny  condition = ${{if match{{$h_Subject:}}{{SPAM}}}}
        message = 5.7.1 content refused
  accept
begin routers
local:
  driver = accept
  domains = +local_domains
  # What the list yields may name a file; what came from outside may not.
  local_parts = +users
  transport = boxes
begin transports
boxes:
  driver = appendfile
  maildir_format
  return_path_add
  directory = {base}/mail/$local_part_data
  create_directory
  user = {USER}
  group = {USER}
",
            base = folder.display(),
            users = USERS.join(" : "),
            size = self.message_size_limit,
            extra = self.extra,
        )
    }
}

impl Exim {
    /// A server with nothing special.
    pub fn start() -> Exim {
        Exim::builder().start()
    }

    /// A server with something special.
    pub fn builder() -> Builder {
        Builder { message_size_limit: 200_000_000, extra: String::new() }
    }

    /// The port of SMTP.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The value of `delivery:` in a configuration.
    pub fn delivery(&self) -> String {
        format!("{{smtp: '127.0.0.1:{}'}}", self.port())
    }

    /// A user's Maildir, by local part.
    pub fn maildir(&self, user: &str) -> Maildir {
        Maildir(self.folder.path().join("mail").join(user))
    }

    /// A user's messages, in CRLF again.
    pub fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.maildir(user).messages().iter().map(|m| with_crlf(m)).collect()
    }

    /// How many messages a user has. Exim answers before it delivers: wait with [`super::eventually`].
    pub fn count(&self, user: &str) -> usize {
        self.maildir(user).count()
    }

    /// What the server logged, its refusals included.
    pub fn log(&self) -> String {
        ["main", "reject", "panic"].map(|name| std::fs::read_to_string(self.folder.path().join("log").join(name)).unwrap_or_default()).join("")
    }
}
