//! The real programs collect from a real Dovecot, with `keep`; then they are left for mailgather.

use super::files::{check, import};
use crate::support::process::{Finished, PROGRAM, finish, is_installed};
use crate::support::{Dovecot, Sink, dovecot};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Who the other programs run as: getmail refuses to deliver as root, and asks for the name of its user.
const NOBODY: u32 = 65534;

fn letter(n: usize) -> Vec<u8> {
    format!(
        "Received: from a.example by b.example; Sat, 21 Nov 2026 10:00:{:02} +0000\r\nFrom: s@x.example\r\nTo: anna@x.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@x.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBody {n}\r\n",
        n % 60
    )
    .into_bytes()
}

fn fill(server: &Dovecot, user: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|n| server.put(user, &letter(n)));
}

/// A home for both programs.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        let home = tempfile::Builder::new().prefix("mailgather-import-").tempdir().unwrap();
        for folder in ["theirs", "theirs/Mail", "theirs/Mail/cur", "theirs/Mail/new", "theirs/Mail/tmp", "ours"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        Home(home)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs one of the other programs as somebody who is not root.
    fn other(&self, program: &str, arguments: &[&str]) -> Finished {
        assert!(is_installed(program), "{program} is not installed: tests/run packages installs what the tests need");
        let theirs = self.path().join("theirs");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.path(), PermissionsExt::from_mode(0o755)).unwrap();
        own(&theirs);
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", program]).args(arguments);
        command.env("HOME", &theirs).env("FETCHMAILHOME", &theirs).env("LC_ALL", "C.UTF-8").current_dir(&theirs).stdin(Stdio::null());
        finish(command, Duration::from_secs(120))
    }

    fn rc(&self, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join("theirs/rc");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn mail(&self) -> String {
        self.path().join("theirs/Mail").to_str().unwrap().to_owned()
    }

    /// How many letters the other program has delivered into its Maildir.
    fn theirs(&self) -> usize {
        ["new", "cur"].iter().map(|part| std::fs::read_dir(self.path().join("theirs/Mail").join(part)).unwrap().count()).sum()
    }

    /// One pass of ours by this configuration, with another target: subjects of what came.
    fn collect(&self, yaml: &str) -> Vec<String> {
        let sink = Sink::smtp();
        let lines = yaml.lines().map(|line| match line.trim_start().starts_with("delivery:") {
            true => format!("{}delivery: {}", &line[..line.len() - line.trim_start().len()], sink.delivery()),
            false => line.to_owned(),
        });
        let text: Vec<String> = lines.filter(|line| line.trim() != "enabled: false").collect();
        let config = self.path().join("ours/once.yaml");
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&config, text.join("\n")).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
        let mut command = Command::new(PROGRAM);
        // The first one: others are of mailboxes that are gone.
        let name = text.iter().skip_while(|line| *line != "collectors:").nth(1).unwrap().trim().trim_end_matches(':');
        command
            .args(["once", name, "--config", config.to_str().unwrap(), "--state-dir", self.path().join("state").to_str().unwrap()])
            .stdin(Stdio::null());
        finish(command, Duration::from_secs(120)).expect_success();
        assert!(sink.violations().is_empty(), "{:?}", sink.violations());
        let mut subjects: Vec<String> =
            sink.taken().iter().map(|taken| crate::support::maildir::field(&taken.content, "Subject").unwrap_or_default()).collect();
        subjects.sort();
        subjects
    }
}

fn own(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

fn letters(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.map(|n| format!("letter {n}")).collect();
    all.sort();
    all
}

/// Takes over, twice, and collects: nothing that they had, everything that they had not.
fn over(home: &Home, server: &Dovecot, kind: &str, rc: &str, marks: usize) {
    let first = import(home.path(), &[kind, rc, "--history"]).expect_success();
    assert!(first.stderr.contains(&format!("{marks} marked as collected, 0 were so before")), "{}", first.stderr);
    // New mail, between the two runs and after them.
    fill(server, "anna", 5..7);
    let second = import(home.path(), &[kind, rc, "--history", "--write", "ours/mailgather.yaml"]).expect_success();
    assert!(second.stderr.contains(&format!("0 marked as collected, {marks} were so before")), "{}", second.stderr);
    fill(server, "anna", 7..9);
    let file = home.path().join("ours/mailgather.yaml");
    check(&file, 0);
    let yaml = std::fs::read_to_string(&file).unwrap();
    assert_eq!(home.collect(&yaml), letters(5..9), "{yaml}");
    assert_eq!(home.collect(&yaml), letters(0..0));
    assert_eq!(server.count("anna"), 9, "mail stays on the server");
}

#[test]
fn fetchmail_by_pop3() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..5);
    let rc = home.rc(&format!(
        "set no syslog\npoll label via localhost service {} proto pop3 uidl no dns\n  user \"anna\" there with password \"{}\" is joe here keep ssl sslcertfile {} mda \"cat >>{}/new/all\"\n",
        server.pop3s(),
        dovecot::PASSWORD,
        server.ca().display(),
        home.mail(),
    ));
    // The certificate authority lies in a folder of root's.
    let _ = std::fs::copy(server.ca(), home.path().join("theirs/ca.pem")).unwrap();
    let rc =
        home.rc(&std::fs::read_to_string(rc).unwrap().replace(server.ca().to_str().unwrap(), home.path().join("theirs/ca.pem").to_str().unwrap()));
    home.other("fetchmail", &["-f", &rc, "--pidfile", &format!("{}/pid", home.mail())]).expect_success();
    let ids = std::fs::read_to_string(home.path().join("theirs/.fetchids")).unwrap();
    assert_eq!(ids.lines().count(), 5, "{ids}");
    over(&home, &server, "fetchmailrc", &rc, 5);
}

#[test]
fn fetchmail_by_imap() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..5);
    let rc = home.rc(&format!(
        "set no syslog\npoll localhost service {} proto imap no dns user anna password {} is joe here keep sslproto \"\" mda \"cat >>{}/new/all\"\nskip gone.invalid proto pop3 user u password p is joe here\n",
        server.imap(),
        dovecot::PASSWORD,
        home.mail()
    ));
    home.other("fetchmail", &["-f", &rc, "--pidfile", &format!("{}/pid", home.mail())]).expect_success();
    assert_eq!(server.flags("anna"), ["S"; 5]);
    // The mailbox under `skip` stands in nobody's way, though its server and its history are gone.
    over(&home, &server, "fetchmailrc", &rc, 5);
    let again = import(home.path(), &["fetchmailrc", &rc, "--history"]).expect_success();
    assert!(again.stderr.contains("warning: u-gone-invalid is skipped there and disabled here"), "{}", again.stderr);
}

fn getmailrc(home: &Home, kind: &str, port: u16) -> String {
    home.rc(&format!(
        "[retriever]\ntype = Simple{kind}Retriever\nserver = 127.0.0.1\nport = {port}\nusername = anna\npassword = {}\n[destination]\ntype = Maildir\npath = {}/\n[options]\nread_all = false\ndelete = false\n",
        dovecot::PASSWORD,
        home.mail()
    ))
}

#[test]
fn getmail_by_pop3() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..5);
    let rc = getmailrc(&home, "POP3", server.pop3());
    let theirs = home.path().join("theirs");
    home.other("getmail", &[&format!("--getmaildir={}", theirs.display()), &format!("--rcfile={rc}")]).expect_success();
    assert_eq!(home.theirs(), 5);
    over(&home, &server, "getmailrc", &rc, 5);
}

#[test]
fn getmail_by_imap() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..5);
    let rc = getmailrc(&home, "IMAP", server.imap());
    let theirs = home.path().join("theirs");
    home.other("getmail", &[&format!("--getmaildir={}", theirs.display()), &format!("--rcfile={rc}")]).expect_success();
    assert_eq!(home.theirs(), 5);
    over(&home, &server, "getmailrc", &rc, 5);
}

fn mpoprc(home: &Home, server: &Dovecot) -> String {
    home.rc(&format!(
        "account a\nhost 127.0.0.1\nport {}\nuser anna\npassword {}\nauth user\ntls off\nkeep on\ndelivery maildir {}\nuidls_file ~/ids/%U\n",
        server.pop3(),
        dovecot::PASSWORD,
        home.mail()
    ))
}

#[test]
fn mpop_by_pop3() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..5);
    let rc = mpoprc(&home, &server);
    home.other("mpop", &["-C", &rc, "-q", "-a"]).expect_success();
    assert_eq!(home.theirs(), 5);
    // `~` was that of the other program's user.
    let place = format!("--history={}", home.path().join("theirs/ids/anna").display());
    let missing = import(home.path(), &["mpoprc", &rc, "--history"]).expect_code(66);
    assert!(missing.stderr.contains("nothing was marked or written") && missing.stdout.is_empty(), "{}", missing.stderr);
    std::fs::create_dir(home.path().join("ids")).unwrap();
    std::fs::copy(home.path().join("theirs/ids/anna"), home.path().join("ids/anna")).unwrap();
    import(home.path(), &["mpoprc", &rc, &place, "--json"]).expect_success();
    over_again(&home, &server, "mpoprc", &rc);
}

/// After a first run with another place of the history.
fn over_again(home: &Home, server: &Dovecot, kind: &str, rc: &str) {
    let again = import(home.path(), &[kind, rc, "--history"]).expect_success();
    assert!(again.stderr.contains("5 were remembered, 5 of them are on the server: 0 marked as collected, 5 were so before"), "{}", again.stderr);
    fill(server, "anna", 5..9);
    assert_eq!(home.collect(&again.stdout), letters(5..9));
}

/// What was only half done is done by the second run, whenever the first one was killed.
#[test]
fn killed_in_the_midst() {
    let (home, server) = (Home::new(), Dovecot::start());
    fill(&server, "anna", 0..40);
    let rc = mpoprc(&home, &server);
    home.other("mpop", &["-C", &rc, "-q", "-a"]).expect_success();
    let place = format!("--history={}", home.path().join("theirs/ids/anna").display());
    for milliseconds in [5, 15, 30, 45, 60, 80, 100, 150] {
        let mut command = Command::new(PROGRAM);
        let state = home.path().join("state");
        command.args([
            "import",
            "mpoprc",
            &rc,
            &place,
            "--write",
            "ours/mailgather.yaml",
            "--config",
            "/nonexistent.yaml",
            "--state-dir",
            state.to_str().unwrap(),
        ]);
        let mut child = command.env("HOME", home.path()).current_dir(home.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = child.kill();
        let _ = child.wait();
        let file = home.path().join("ours/mailgather.yaml");
        if file.exists() {
            // Whole, and its secrets are there.
            check(&file, 0);
            std::fs::remove_file(file).unwrap();
        }
    }
    let last = import(home.path(), &["mpoprc", &rc, &place, "--write", "ours/mailgather.yaml"]).expect_success();
    assert!(last.stderr.contains("40 were remembered, 40 of them are on the server"), "{}", last.stderr);
    fill(&server, "anna", 40..43);
    assert_eq!(home.collect(&std::fs::read_to_string(home.path().join("ours/mailgather.yaml")).unwrap()), letters(40..43));
}

/// A server that cannot be reached, or a daemon that holds the state directory: nothing is written, and it is said.
#[test]
fn without_the_server_nothing_is_written() {
    let (home, server) = (Home::new(), Dovecot::start());
    let rc = home.rc(&mpoprc_text(&home, server.pop3()));
    std::fs::create_dir(home.path().join("ids")).unwrap();
    std::fs::write(home.path().join("ids/anna"), "").unwrap();
    drop(server);
    let failed = import(home.path(), &["mpoprc", &rc, "--history", "--write", "ours/mailgather.yaml"]).expect_code(69);
    assert!(failed.stderr.contains("error[MG-"), "{}", failed.stderr);
    assert!(!home.path().join("ours/mailgather.yaml").exists() && !home.path().join("ours/secrets").exists());
}

fn mpoprc_text(home: &Home, port: u16) -> String {
    format!(
        "account a\nhost 127.0.0.1\nport {port}\nuser anna\npassword {}\nkeep on\ndelivery maildir {}\nuidls_file ~/ids/%U\n",
        dovecot::PASSWORD,
        home.mail()
    )
}
