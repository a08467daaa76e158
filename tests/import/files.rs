//! What is written, and what is said of what cannot be.

use crate::support::process::{Finished, PROGRAM, finish};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `mailgather import …` in a home folder of its own.
pub fn import(home: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(PROGRAM);
    command.arg("import").args(arguments).args(["--state-dir", home.join("state").to_str().unwrap(), "--config", "/nonexistent.yaml"]);
    command.env("HOME", home).current_dir(home).stdin(Stdio::null());
    finish(command, Duration::from_secs(120))
}

pub fn check(file: &Path, code: i32) -> Finished {
    let mut command = Command::new(PROGRAM);
    command.arg("check").arg(file).stdin(Stdio::null());
    finish(command, Duration::from_secs(60)).expect_code(code)
}

const FETCHMAILRC: &str = r#"# Everything that people write.
set daemon 600
set postmaster "chief"
set no bouncemail
defaults proto imap ssl timeout 90
poll imap.corp.example with options interval 2
  user "anna@corp.example" there with password "p #1: '\"" is anna here keep, idle, limit 5000000 fetchlimit 50 folder INBOX "Junk E-Mail"
  user bert there password "q" is bert here flush fetchall expunge 20
poll catchall via pop.corp.example proto pop3 aka corp.example uidl envelope 1 "X-Original-To" no dns
  user "all@corp.example" password "r" is sales=anna support=bert * here smtpaddress corp.example smtphost /run/lmtp lmtp dropdelivered
skip old.example proto pop3 no sslcertck
  user u password p mda "/usr/bin/procmail -d %T" antispam 571 550
"#;

const MPOPRC: &str = "defaults\ntls on\ntls_starttls off\ndelivery maildir ~/Mail\n\naccount a\nhost pop.x.example\nuser anna@x.example\npassword pw1\nkeep on\nskipsize 2m\n\naccount b : a\nuser bert\npasswordeval cat /dev/null\npassword\nfilter spamc\n";

const GETMAILRC: &str = "[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = imap.x.example\nusername = anna@x.example\npassword = pw\nmailboxes = (\"INBOX\", \"Sent\")\n[destination]\ntype = Maildir\npath = ~/Mail/\n[options]\nread_all = false\ndelete_after = 14\nmessage_log = ~/log\n";

const MULTIDROP: &str = "[retriever]\ntype = MultidropPOP3SSLRetriever\nserver = pop.x.example\nusername = all@x.example\npassword_command = (\"cat\", \"/dev/null\")\nenvelope_recipient = x-original-to:1\n[destination]\ntype = MDA_lmtp\nhost = 127.0.0.1\nport = 24\n[options]\ndelete = true\nmax_message_size = 100000\nreceived = false\n";

/// Each file becomes one that `check` takes, with secrets in files and without.
#[test]
fn the_result_passes_check() {
    for (kind, text, passwords) in [("fetchmailrc", FETCHMAILRC, 4), ("mpoprc", MPOPRC, 1), ("getmailrc", GETMAILRC, 1), ("getmailrc", MULTIDROP, 0)]
    {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("Mail")).unwrap();
        std::fs::write(home.path().join("rc"), text).unwrap();
        let printed = import(home.path(), &[kind, "rc"]).expect_success();
        let plain = home.path().join("plain.yaml");
        std::fs::write(&plain, &printed.stdout).unwrap();
        std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o600)).unwrap();
        let said = check(&plain, 0);
        assert_eq!(said.stderr.matches("stands in the configuration itself").count(), passwords, "{}\n{}", said.stderr, printed.stdout);
        assert_eq!(printed.stderr.contains("passwords stand in the configuration itself"), passwords > 0, "{}", printed.stderr);
        assert!(printed.stderr.contains("will come again"), "{}", printed.stderr);

        // With a file to write into, passwords go beside it.
        let written = import(home.path(), &[kind, "rc", "--write", "out/mailgather.yaml"]).expect_code(73);
        assert!(written.stderr.contains("cannot write"), "{}", written.stderr);
        let written = import(home.path(), &[kind, "rc", "--write", "mailgather.yaml"]).expect_success();
        assert_eq!(written.stdout, "");
        let file = home.path().join("mailgather.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let said = check(&file, 0);
        assert!(!said.stderr.contains("stands in the configuration itself") && !said.stderr.contains("open to"), "{}", said.stderr);
        let files: Vec<_> = std::fs::read_dir(home.path().join("secrets")).into_iter().flatten().flatten().collect();
        assert_eq!(files.len(), passwords);
        for one in &files {
            assert_eq!(one.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(text.contains(&*one.path().to_string_lossy()), "{text}");
        }
        // Never over a file that is there; a second run with the same passwords is no matter.
        let again = import(home.path(), &[kind, "rc", "--write", "mailgather.yaml"]).expect_code(73);
        assert!(again.stderr.contains("is there already"), "{}", again.stderr);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        import(home.path(), &[kind, "rc", "--write", "other.yaml"]).expect_success();
        if let Some(one) = files.first() {
            std::fs::write(one.path(), "another").unwrap();
            import(home.path(), &[kind, "rc", "--write", "third.yaml"]).expect_code(73);
            assert_eq!(std::fs::read_to_string(one.path()).unwrap(), "another");
            assert!(!home.path().join("third.yaml").exists());
        }
    }
}

#[test]
fn what_has_no_equal_is_told_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("rc"), FETCHMAILRC).unwrap();
    let printed = import(home.path(), &["fetchmailrc", "rc"]).expect_success();
    for line in [
        "rc:8: flush: refused: it deletes mail that nobody may have collected",
        "rc:12: mda: decide: no program is run",
        "rc:12: antispam: differs: ",
        "rc:9: dns: not needed: ",
        "disabled: u-old-example",
    ] {
        assert!(printed.stderr.contains(line), "{line}\n{}", printed.stderr);
    }
    assert!(!printed.stderr.contains("procmail") && !printed.stderr.contains("p #1"), "neither arguments nor secrets: {}", printed.stderr);
    for text in [
        "after: keep\n",
        "idle: on\n",
        "max_message_size: 5000000\n",
        "max_messages_per_session: 50\n",
        "interval: 1200s\n",
        "folders: [INBOX, 'Junk E-Mail']\n",
        "expunge: {every_messages: 20}\n",
        "password: 'p #1: ''\"'\n",
        "default_box: chief@corp.example",
        "lmtp: 'unix:/run/lmtp'",
    ] {
        assert!(printed.stdout.contains(text), "{text}\n{}", printed.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&import(home.path(), &["fetchmailrc", "rc", "--json"]).expect_success().stdout).unwrap();
    let flush = json["notes"].as_array().unwrap().iter().find(|note| note["option"] == "flush").unwrap();
    assert_eq!((&flush["kind"], &flush["line"], &flush["file"]), (&"refused".into(), &8.into(), &"rc".into()));
    assert!(json["configuration"].as_str().unwrap().contains("collectors:\n") && json["written"].is_null());
}

#[test]
fn what_cannot_be_read() {
    let home = tempfile::tempdir().unwrap();
    for (kind, text, code, says) in [
        ("fetchmailrc", &b"poll x\nprotocoll imap\n"[..], 65, "rc:2: this is no keyword of fetchmail"),
        ("fetchmailrc", b"poll x proto kpop user u pass p", 65, "no mailbox in it"),
        ("fetchmailrc", b"poll \xff", 65, "not UTF-8"),
        ("getmailrc", b"[options]\n", 65, "no `[retriever]`"),
        ("mpoprc", b"account a\nhots x\n", 65, "rc:2: this is no command of mpop"),
    ] {
        std::fs::write(home.path().join("rc"), text).unwrap();
        let done = import(home.path(), &[kind, "rc"]).expect_code(code);
        assert!(done.stderr.contains(says) && done.stdout.is_empty(), "{says}\n{}", done.stderr);
    }
    import(home.path(), &["fetchmailrc", "missing"]).expect_code(66);
    import(home.path(), &["procmailrc", "rc"]).expect_code(64);
}

/// Several files of getmail are one configuration.
#[test]
fn getmails_files_together() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a"), GETMAILRC).unwrap();
    std::fs::write(home.path().join("b"), GETMAILRC.replace("imap.x", "imap.y")).unwrap();
    let printed = import(home.path(), &["getmailrc", "a", "b"]).expect_success();
    assert!(printed.stdout.contains("  anna-imap-x-example:\n") && printed.stdout.contains("  anna-imap-y-example:\n"), "{}", printed.stdout);
    assert!(printed.stderr.contains("a:13: message_log: not needed") && printed.stderr.contains("b:13: "), "{}", printed.stderr);
}
