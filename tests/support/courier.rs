//! A private Courier (IMAP 5.0, mail server 1.0, as Debian 12 has them): IMAP and POP3 with and without TLS. Debian's packages conflict with
//! Dovecot: `tests/run packages` unpacks them beside. The authentication library has its paths compiled in, so the servers run in a mount
//! namespace of their own, in which those paths are ours.
//!
//! Logins: users have to be made; PLAIN and CRAM-MD5 by IMAP, also LOGIN by POP3.
//!
//! What it serves of what [`Courier::put_all`] wrote into a mailbox (seen with 5.0.13; the tests in `families.rs` hold it to this):
//!
//! - by IMAP every LF comes out as CRLF, also one that has a CR before it: CRLF on disk becomes CRCRLF. On disk it expects bare LF;
//! - a bare CR, a NUL and a missing last line end come out as they are; POP3 ends the line;
//! - POP3 packs a message with 8-bit octets in its header into a notice, `Cannot display Unicode content`, unless the client has said UTF8
//!   (RFC 6856) before the login;
//! - POP3 does not stuff a dot that is the very first octet of a message, as Dovecot;
//! - what a POP3 client sends behind PASS in the same packet is lost, though CAPA says PIPELINING;
//! - SELECT tells no UIDNEXT; POP3 announces `LOGIN-DELAY 10`, and does not hold to it; POP3's RETR sets \Seen;
//! - without a FAM daemon IMAP gives an ALERT at the login, and IDLE looks each second.

use super::certificates::Certificates;
use super::dovecot::PASSWORD;
use super::maildir::{MAIL_UID, Maildir};
use super::private::{self, MailPorts, PACKAGES, unpacked as program};
use super::process::Guarded;
use super::server::MailServer;
use super::{SOON, eventually};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// A running server; stopped on drop.
pub struct Courier {
    _server: Guarded,
    certificates: Certificates,
    ports: MailPorts,
    users: Mutex<Vec<String>>,
    hashes: String,
    // Last, so that the files go after the server.
    folder: TempDir,
}

/// What a test may choose.
pub struct Builder {
    environment: String,
    max_per_ip: u32,
}

impl Builder {
    /// Sets a variable of Courier's configuration files, e.g. `POP3AUTH`.
    pub fn set(mut self, name: &str, value: &str) -> Builder {
        let _ = writeln!(self.environment, "export {name}='{value}'");
        self
    }

    /// Most connections from one address to one service. Courier closes those beyond without a word.
    pub fn max_per_ip(mut self, connections: u32) -> Builder {
        self.max_per_ip = connections;
        self
    }

    /// Starts it.
    pub fn start(self) -> Courier {
        let tcpd = program("courier-base", "usr/sbin/couriertcpd");
        let folder = private::folder("courier", &["etc", "run/authdaemon", "mail"]);
        std::os::unix::fs::chown(folder.path().join("mail"), Some(MAIL_UID), Some(MAIL_UID)).expect("the tests run as root, as Courier needs it");
        let certificates = Certificates::make(folder.path());
        let both = [&certificates.certificate, &certificates.key].map(|file| std::fs::read(file).expect("our own file")).concat();
        let chain = folder.path().join("courier.pem");
        std::fs::write(&chain, both).expect("the certificate with its key");
        // STARTTLS runs as another user.
        std::fs::set_permissions(&chain, std::fs::Permissions::from_mode(0o644)).expect("our own file");
        std::fs::write(folder.path().join("etc/authdaemonrc"), AUTHDAEMONRC).expect("the configuration of logins");
        let ports = MailPorts::reserve();
        let script = script(folder.path(), &tcpd, ports.numbers(), self.max_per_ip, &self.environment);
        let (file, console) = (folder.path().join("start.sh"), folder.path().join("console"));
        std::fs::write(&file, script).expect("the script that starts it");
        // A PID namespace too: all its processes end with the first one, whatever groups they make.
        let arguments = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "/bin/sh", &file.to_string_lossy()];
        let server = Guarded::start("unshare", &arguments, &console);
        let socket = folder.path().join("run/authdaemon/socket");
        // First what logins need: a connection that comes before it lingers, and counts against the limit of connections.
        eventually("Courier takes logins", SOON, || socket.exists() || !server.is_alive());
        private::until_it_answers("Courier", &server, &ports.all(), &[console]);
        let users = Mutex::new(Vec::new());
        let courier = Courier { _server: server, certificates, ports, users, hashes: hashes(), folder };
        courier.write_users();
        courier
    }
}

impl Courier {
    /// A server with nothing special.
    pub fn start() -> Courier {
        Courier::builder().start()
    }

    /// A server with something special.
    pub fn builder() -> Builder {
        Builder { environment: String::new(), max_per_ip: 100 }
    }

    /// A user's Maildir.
    pub fn maildir(&self, user: &str) -> Maildir {
        Maildir(self.folder.path().join("mail").join(user).join("Maildir"))
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
    }

    /// Both tables of users: what may be seen, and the passwords.
    fn write_users(&self) {
        let (mut seen, mut secret) = (String::new(), String::new());
        for user in self.users.lock().expect("no thread panics with the lock").iter() {
            let home = self.folder.path().join("mail").join(user);
            let home = home.display();
            let _ = writeln!(seen, "{user}\thome={home}|mail={home}/Maildir|uid={MAIL_UID}|gid={MAIL_UID}");
            let _ = writeln!(secret, "{user}\t{}", self.hashes);
        }
        for (name, lines) in [("userdb", seen), ("userdbshadow", secret)] {
            let folder = self.folder.path().join("etc");
            let mut child = courier_command("courier-authlib", "usr/lib/courier/courier-authlib/makedatprog")
                .arg("-")
                .args([folder.join(format!("{name}.tmp")), folder.join(format!("{name}.dat"))])
                .stdin(Stdio::piped())
                .spawn()
                .expect("it starts");
            child.stdin.take().expect("it is piped").write_all(format!("{lines}.\n").as_bytes()).expect("it reads");
            assert!(child.wait().expect("it ends").success(), "the table {name} could not be made");
        }
    }
}

impl MailServer for Courier {
    fn family(&self) -> &'static str {
        "Courier"
    }

    fn ports(&self) -> &MailPorts {
        &self.ports
    }

    fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    fn add_user(&self, user: &str) {
        self.maildir(user).make();
        let mut users = self.users.lock().expect("no thread panics with the lock");
        if !users.iter().any(|known| known == user) {
            users.push(user.into());
            drop(users);
            self.write_users();
        }
    }

    fn put_all(&self, user: &str, messages: &[Vec<u8>]) {
        self.add_user(user);
        messages.iter().for_each(|message| self.maildir(user).put(message));
    }

    fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.maildir(user).messages()
    }

    fn flags(&self, user: &str) -> Vec<String> {
        self.maildir(user).stored().into_iter().map(|message| message.flags).collect()
    }

    fn new_uidvalidity(&self, user: &str) {
        let list = self.maildir(user).0.join("courierimapuiddb");
        let text = std::fs::read_to_string(&list).expect("Courier has listed the folder before");
        let validity: u32 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("the list begins with `1 UIDVALIDITY UIDNEXT`");
        std::fs::write(&list, format!("1 {} 1\n", validity + 1)).expect("the list of UIDs");
    }
}

/// The libraries that its programs share.
fn libraries() -> String {
    let authlib = Path::new(PACKAGES).join("courier-authlib/usr/lib");
    format!("{}:{}", authlib.display(), authlib.join("courier-authlib").display())
}

fn courier_command(package: &str, path: &str) -> Command {
    let mut command = Command::new(program(package, path));
    command.env("LD_LIBRARY_PATH", libraries());
    command
}

/// [`PASSWORD`] as its tables hold it: for plain logins, and for CRAM-MD5.
fn hashes() -> String {
    let piped = |mut command: Command| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(PASSWORD.as_bytes()).expect("it reads");
        String::from_utf8_lossy(&child.wait_with_output().expect("it ends").stdout).trim().to_string()
    };
    let mut openssl = Command::new("/bin/sh");
    openssl.args(["-c", "openssl dgst -sha256 -binary | base64"]);
    let mut hmac = courier_command("courier-authlib-userdb", "usr/sbin/userdbpw");
    hmac.arg("-hmac-md5");
    format!("systempw={{SHA256}}{}|hmac-md5pw={}", piped(openssl), piped(hmac))
}

const AUTHDAEMONRC: &str = "authmodulelist=\"authuserdb\"
authmodulelistorig=\"authuserdb\"
daemons=2
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=1
DEFAULTOPTIONS=\"\"
LOGGEROPTS=\"\"
";

fn script(folder: &Path, tcpd: &str, ports: [u16; 4], max_per_ip: u32, more: &str) -> String {
    let [imap, imaps, pop3, pop3s] = ports;
    let authdaemond = program("courier-authlib", "usr/lib/courier/courier-authlib/authdaemond");
    let tls = program("courier-base", "usr/bin/couriertls");
    let imapd = format!("{} {}", program("courier-imap", "usr/lib/courier/courier/imaplogin"), program("courier-imap", "usr/bin/imapd"));
    let pop3d = ["courierpop3login", "courierpop3d"].map(|name| program("courier-pop", &format!("usr/lib/courier/courier/{name}"))).join(" ");
    let modules = Path::new(PACKAGES).join("courier-authlib-userdb/usr/lib/courier-authlib");
    format!(
        "set -eu
# Empty folders to mount upon; outside of this namespace they stay empty.
mkdir -p /etc/courier /usr/lib/courier-authlib /run/courier
mount --bind {base}/etc /etc/courier
mount --bind {base}/run /run/courier
mount --bind {modules} /usr/lib/courier-authlib
export LD_LIBRARY_PATH={libraries}
export COURIERTLS={tls} TLS_CERTFILE={base}/courier.pem TLS_VERIFYPEER=NONE
export IMAP_CAPABILITY='IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE AUTH=PLAIN AUTH=CRAM-MD5'
export IMAP_CAPABILITY_TLS=\"$IMAP_CAPABILITY\" IMAP_STARTTLS=YES IMAP_TLS_REQUIRED=0
export IMAP_EMPTYTRASH= IMAP_KEYWORDS=1 IMAP_USELOCKS=0 IMAP_IDLE_TIMEOUT=1
export POP3AUTH='LOGIN PLAIN CRAM-MD5' POP3AUTH_TLS='LOGIN PLAIN CRAM-MD5' POP3_STARTTLS=YES POP3_TLS_REQUIRED=0
{more}
listen='{tcpd} -address=127.0.0.1 -maxprocs=200 -maxperip={max_per_ip} -nodnslookup -noidentlookup'
{authdaemond} &
$listen {imap} {imapd} Maildir &
IMAP_TLS=1 $listen {imaps} {tls} -server -tcpd {imapd} Maildir &
$listen {pop3} {pop3d} Maildir &
POP3_TLS=1 $listen {pop3s} {tls} -server -tcpd {pop3d} Maildir &
wait
",
        base = folder.display(),
        modules = modules.display(),
        libraries = libraries(),
    )
}
