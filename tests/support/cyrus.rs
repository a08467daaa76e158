//! A private Cyrus IMAP (3.6, as Debian 12 has it): IMAP and POP3 with and without TLS, LMTP over TCP. Debian's packages conflict with Dovecot:
//! `tests/run packages` unpacks them beside, and they run from there.
//!
//! Logins: users have to be made; PLAIN, LOGIN, CRAM-MD5, DIGEST-MD5, SCRAM-SHA-1, SCRAM-SHA-256 and NTLM, by both protocols. INBOX comes with the
//! first login.
//!
//! APPEND and LMTP refuse a bare LF and a NUL, so [`Cyrus::put_all`] writes such messages into the store itself and has it rebuilt. What it
//! serves of them (seen with 3.6.1; the tests in `families.rs` hold it to this):
//!
//! - octets as they are: bare LF, bare CR, NUL, a missing last line end;
//! - a message with a NUL comes by `FETCH BODY[]` as a literal8, `~{17}`, though nobody asked for BINARY;
//! - POP3 passes on a bare LF, and ends a message whose last line ends so with LF, dot, CRLF; it leaves out a NUL and all behind it in its line,
//!   the line end included, so that a NUL in the last line leaves the final dot in the middle of a line. A client waits for ever, and can do
//!   nothing about it;
//! - an empty message cannot be stored at all.

use super::certificates::Certificates;
use super::dovecot::PASSWORD;
use super::other_client::OtherClient;
use super::ports::Port;
use super::private::{self, MailPorts, PACKAGES, unpacked as program};
use super::process::Guarded;
use super::server::MailServer;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The user as which it runs; it must have an entry in /etc/passwd.
const USER: &str = "cyrus";
/// Who may remove and make mailboxes.
const ADMIN: &str = "admin";

/// A running server; stopped on drop.
pub struct Cyrus {
    _server: Guarded,
    certificates: Certificates,
    ports: MailPorts,
    lmtp: Port,
    // Last, so that the files go after the server.
    folder: TempDir,
}

/// What a test may choose.
#[derive(Default)]
pub struct Builder {
    extra: String,
}

impl Builder {
    /// More lines of imapd.conf; they replace ours of the same name.
    pub fn extra(mut self, lines: &str) -> Builder {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// The only SASL mechanisms that are offered, e.g. `NTLM`.
    pub fn mechanisms(self, names: &str) -> Builder {
        self.extra(&format!("sasl_mech_list: {names}"))
    }

    /// Starts it.
    pub fn start(self) -> Cyrus {
        let master = program("cyrus-common", "usr/lib/cyrus/bin/master");
        let inside = ["conf/db", "conf/proc", "conf/socket", "conf/lock", "conf/msg", "spool", "sieve", "run/proc", "run/lock", "run/socket"];
        let folder = private::folder("cyrus", &inside);
        let certificates = Certificates::make(folder.path());
        let (ports, lmtp) = (MailPorts::reserve(), Port::reserve());
        std::fs::write(folder.path().join("imapd.conf"), configuration(folder.path(), &self.extra)).expect("the configuration");
        let services = services(folder.path(), ports.numbers(), lmtp.number());
        std::fs::write(folder.path().join("cyrus.conf"), services).expect("the list of services");
        private::give(USER, &[folder.path()]);

        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (imapd_conf, cyrus_conf, pid, console) = (file("imapd.conf"), file("cyrus.conf"), file("pid"), folder.path().join("console"));
        // A PID namespace of its own, so that all its processes end with the first one, whatever groups they make.
        let arguments = ["--pid", "--fork", "--kill-child", "env", &libraries(), &master, "-D", "-C", &imapd_conf, "-M", &cyrus_conf, "-p", &pid];
        let server = Guarded::start("unshare", &arguments, &console);
        let [imap, imaps, pop3, pop3s] = ports.all();
        private::until_it_answers("Cyrus", &server, &[imap, imaps, pop3, pop3s, &lmtp], &[console]);
        let cyrus = Cyrus { _server: server, certificates, ports, lmtp, folder };
        cyrus.add_user(ADMIN);
        cyrus
    }
}

impl Cyrus {
    /// A server with nothing special.
    pub fn start() -> Cyrus {
        Cyrus::builder().start()
    }

    /// A server with something special.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The port of LMTP; recipients are users without a domain, whose INBOX must be there.
    pub fn lmtp(&self) -> u16 {
        self.lmtp.number()
    }

    /// Writes messages into the store itself, and has its index rebuilt: nothing looks at them.
    fn put_files(&self, user: &str, messages: &[&Vec<u8>]) {
        let mailbox = format!("user/{user}");
        let folder = PathBuf::from(self.tool("mbpath", &[&mailbox]).trim());
        let next = self.uid_next(user);
        for (uid, message) in (next..).zip(messages) {
            let path = folder.join(format!("{uid}."));
            std::fs::write(&path, message).expect("a file in the store");
            private::give(USER, &[path]);
        }
        self.tool("reconstruct", &[&mailbox]);
        assert_eq!(self.uid_next(user), next + messages.len() as u32, "the store took not every message");
    }

    fn uid_next(&self, user: &str) -> u32 {
        let answer = OtherClient::login(self.imap(), user).command("STATUS INBOX (UIDNEXT)");
        let number = answer.lines.iter().find_map(|line| line.split_once("UIDNEXT ")?.1.strip_suffix(')'));
        number.and_then(|number| number.parse().ok()).expect("the server tells UIDNEXT")
    }

    /// Runs one of its programs to its end; returns what it printed.
    fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let (path, value) = (program("cyrus-common", &format!("usr/lib/cyrus/bin/{name}")), libraries());
        let (variable, value) = value.split_once('=').expect("it has one");
        let output = Command::new(path).arg("-C").arg(self.folder.path().join("imapd.conf")).args(arguments).env(variable, value).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{name}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl MailServer for Cyrus {
    fn family(&self) -> &'static str {
        "Cyrus"
    }

    fn ports(&self) -> &MailPorts {
        &self.ports
    }

    fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    fn add_user(&self, user: &str) {
        assert!(user.chars().all(|c| c.is_ascii_alphanumeric()), "Cyrus takes what is behind @ for a realm: {user}");
        let file = self.folder.path().join("sasldb2");
        let mut child = Command::new(program("sasl2-bin", "usr/sbin/saslpasswd2"))
            .args(["-p", "-c", "-u", "localhost", "-f"])
            .args([file.as_os_str(), user.as_ref()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("it is piped").write_all(PASSWORD.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "no user {user} could be made");
        private::give(USER, &[file]);
    }

    /// Those that the server refuses come last.
    fn put_all(&self, user: &str, messages: &[Vec<u8>]) {
        self.add_user(user);
        let mut client = OtherClient::login(self.imap(), user);
        let refused: Vec<&Vec<u8>> = messages.iter().filter(|message| client.append(message).is_err()).collect();
        drop(client);
        if !refused.is_empty() {
            self.put_files(user, &refused);
        }
    }

    fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        let mut client = OtherClient::login(self.imap(), user);
        client.command("EXAMINE INBOX");
        client.command("UID FETCH 1:* (BODY.PEEK[])").literals
    }

    fn flags(&self, user: &str) -> Vec<String> {
        let mut client = OtherClient::login(self.imap(), user);
        client.command("EXAMINE INBOX");
        let answer = client.command("UID FETCH 1:* (FLAGS)");
        let letters = |line: &String| [("\\Seen", "S"), ("\\Deleted", "T")].iter().filter(|(flag, _)| line.contains(flag)).map(|(_, l)| *l).collect();
        answer.lines.iter().filter(|line| line.contains("FETCH")).map(letters).collect()
    }

    /// The mailbox is removed and made again, and its messages are put back without their flags.
    fn new_uidvalidity(&self, user: &str) {
        let messages = self.messages(user);
        let mut admin = OtherClient::login(self.imap(), ADMIN);
        admin.command(&format!("SETACL user/{user} {ADMIN} lrswipkxtecda"));
        admin.command(&format!("DELETE user/{user}"));
        admin.command(&format!("CREATE user/{user}"));
        self.put_all(user, &messages);
    }
}

/// Its programs share libraries of their own.
fn libraries() -> String {
    format!("LD_LIBRARY_PATH={PACKAGES}/cyrus-common/usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

fn configuration(folder: &Path, extra: &str) -> String {
    let usual = format!(
        "configdirectory: {base}/conf
partition-default: {base}/spool
defaultpartition: default
sievedir: {base}/sieve
cyrus_user: {USER}
admins: {ADMIN}
servername: localhost
defaultdomain: localhost
virtdomains: off
unixhierarchysep: yes
altnamespace: yes
allowplaintext: yes
autocreate_post: yes
autocreate_quota: 0
createonpost: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {base}/sasldb2
sasl_mech_list: PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 NTLM
failedloginpause: 0
munge8bit: no
tls_server_cert: {base}/server.pem
tls_server_key: {base}/server.key
idlesocket: {base}/run/socket/idle
proc_path: {base}/run/proc
mboxname_lockpath: {base}/run/lock
lmtpsocket: {base}/run/socket/lmtp
notifysocket: {base}/run/socket/notify
popminpoll: 0
duplicatesuppression: no
expunge_mode: immediate
delete_mode: immediate
",
        base = folder.display(),
    );
    // Cyrus takes no name twice.
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_string();
    let replaced: Vec<String> = extra.lines().map(name).collect();
    usual.lines().filter(|line| !replaced.contains(&name(line))).chain(extra.lines()).map(|line| format!("{line}\n")).collect()
}

fn services(folder: &Path, ports: [u16; 4], lmtp: u16) -> String {
    let [imap, imaps, pop3, pop3s] = ports;
    let common = |name: &str| program("cyrus-common", &format!("usr/lib/cyrus/bin/{name}"));
    let (imapd, pop3d) = (program("cyrus-imapd", "usr/lib/cyrus/bin/imapd"), program("cyrus-pop3d", "usr/lib/cyrus/bin/pop3d"));
    let (idled, lmtpd, recover) = (program("cyrus-imapd", "usr/lib/cyrus/bin/idled"), common("lmtpd"), common("ctl_cyrusdb"));
    let options = format!("-C {}", folder.join("imapd.conf").display());
    // Without maxchild Cyrus forks as many as come.
    format!(
        "START {{
  recover cmd=\"{recover} {options} -r\"
}}
DAEMON {{
  idled cmd=\"{idled} {options}\"
}}
SERVICES {{
  imap cmd=\"{imapd} {options}\" listen=\"127.0.0.1:{imap}\" prefork=0
  imaps cmd=\"{imapd} -s {options}\" listen=\"127.0.0.1:{imaps}\" prefork=0
  pop3 cmd=\"{pop3d} {options}\" listen=\"127.0.0.1:{pop3}\" prefork=0
  pop3s cmd=\"{pop3d} -s {options}\" listen=\"127.0.0.1:{pop3s}\" prefork=0
  lmtp cmd=\"{lmtpd} -a {options}\" listen=\"127.0.0.1:{lmtp}\" prefork=0
}}
EVENTS {{
}}
"
    )
}
