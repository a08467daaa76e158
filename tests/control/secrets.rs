//! The program's own store of secrets: `secret set | list | rm`, and `{secret: NAME}` in the configuration.

use crate::kit::{imap, letter, on_a_full_disk, socket};
use crate::support::dovecot::PASSWORD;
use crate::support::process::{Finished, PASSWORD_VARIABLE, Signal, finish};
use crate::support::*;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// A collector whose password is in the store.
fn with_secret(delivery: &str, collectors: &[CollectorYaml], name: &str) -> String {
    config(delivery, collectors).replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), &format!("{{secret: {name}}}"))
}

/// `mailgather secret …`, with this on its standard input.
fn secret(program: &Mailgather, arguments: &[&str], input: &str) -> Finished {
    let file = program.path().join("input");
    std::fs::write(&file, input).unwrap();
    let mut command = program.command("secret", arguments);
    command.stdin(std::fs::File::open(&file).unwrap());
    let done = finish(command, SOON);
    std::fs::remove_file(file).unwrap();
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(input.trim().is_empty() || !said.contains(input.trim()), "a secret was printed: {said}");
    done
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn secrets_are_set_listed_and_removed() {
    let program = Mailgather::new("");
    std::fs::remove_file(program.config_file()).unwrap();
    // There may be a secret before there is a file that names it.
    let done = secret(&program, &["set", "boss", "--stdin"], "canary-one\n").expect_success();
    assert!(done.stderr.contains("kept `boss`") && done.stdout.is_empty(), "{}", done.stderr);
    let folder = program.state_dir().join("secrets");
    assert_eq!(std::fs::read_to_string(folder.join("boss")).unwrap(), "canary-one");
    assert_eq!((mode(&folder), mode(&folder.join("boss"))), (0o700, 0o600));
    program.configure(&with_secret("{lmtp: '127.0.0.1:1'}", &[CollectorYaml::at("imap", "boss", 1).forward_to("a@b.example")], "boss"));
    program.check().expect_success();
    let done = secret(&program, &["set", "boss", "--stdin"], "canary-two").expect_success();
    assert!(done.stderr.contains("replaced `boss`") && done.stderr.contains("used by boss (password)"), "{}", done.stderr);
    secret(&program, &["set", "other", "--stdin"], "canary-three\r\n").expect_success();
    assert_eq!(std::fs::read_to_string(folder.join("other")).unwrap(), "canary-three");

    let shown = secret(&program, &["list"], "").expect_success().stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with("boss ") && lines[1].ends_with("boss (password)") && lines[2].ends_with(" -"), "{shown}");
    let listed: Vec<Value> =
        secret(&program, &["list", "--json"], "").expect_success().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["used_by"][0]["collector"], &listed[0]["used_by"][0]["key"]),
        (&"boss".into(), &"boss".into(), &"password".into())
    );
    assert!(listed[0]["set"].is_string() && listed[1]["used_by"].as_array().unwrap().is_empty() && !format!("{listed:?}").contains("canary"));

    // What is no secret, or no name of one.
    for (arguments, input, words) in [
        (&["set", "a/b", "--stdin"][..], "x", "a name has"),
        (&["set", "..", "--stdin"], "x", "a name has"),
        (&["set", "empty", "--stdin"], "\n", "is empty"),
        (&["set", "lines", "--stdin"], "one\ntwo\n", "more than one line"),
        (&["set", "boss"], "x", "--stdin"),
        (&["set", "boss", "canary-four"], "", "never given on the command line"),
        (&["rm", "boss"], "", "used by boss (password)"),
    ] {
        let done = secret(&program, arguments, input).expect_code(64);
        assert!(done.stderr.contains(words), "{arguments:?}: {}", done.stderr);
    }
    assert_eq!(std::fs::read_to_string(folder.join("boss")).unwrap(), "canary-two", "none of these changed it");
    secret(&program, &["rm", "nobody"], "").expect_code(66);
    secret(&program, &["rm", "other"], "").expect_success();
    secret(&program, &["rm", "boss", "--yes"], "").expect_success();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

    // It is missed where it is named, with the command that mends it.
    let missed = program.check().expect_code(78).stderr;
    for words in ["error[MG-107]: there is no secret `boss`", "{secret: boss}", "^^^^", "mailgather secret set boss", ".yaml:"] {
        assert!(missed.contains(words), "{words}: {missed}");
    }
    let listed = secret(&program, &["list"], "").expect_success();
    assert!(listed.stdout.contains("MISSING") && listed.stderr.contains("secret set boss"), "{}{}", listed.stdout, listed.stderr);
}

/// A secret is read at each login: a new one needs no reload, and a refused login is tried again as soon as there is another one.
/// A file of the store is the store's, however a collector names it: as long as one does, the secret is used.
#[test]
fn a_secret_that_is_named_as_a_file_is_used() {
    let program = Mailgather::new("");
    std::fs::remove_file(program.config_file()).unwrap();
    for name in ["boss", "other"] {
        secret(&program, &["set", name, "--stdin"], "canary-one\n").expect_success();
    }
    let file = program.state_dir().join("secrets/boss");
    let collector = CollectorYaml::at("imap", "boss", 1).forward_to("a@b.example");
    let named = config("{lmtp: '127.0.0.1:1'}", &[collector]);
    program.configure(&named.replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), &format!("{{file: {}}}", file.display())));
    program.check().expect_success();
    let shown = secret(&program, &["list"], "").expect_success().stdout;
    assert!(shown.lines().any(|line| line.starts_with("boss ") && line.ends_with("boss (password)")), "{shown}");
    let refused = secret(&program, &["rm", "boss"], "").expect_code(64);
    assert!(refused.stderr.contains("used by boss (password)"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "canary-one");
    let replaced = secret(&program, &["set", "boss", "--stdin"], "canary-two\n").expect_success();
    assert!(replaced.stderr.contains("used by boss (password)"), "{}", replaced.stderr);
    // The one beside it is nobody's.
    secret(&program, &["rm", "other"], "").expect_success();
    secret(&program, &["rm", "boss", "--yes"], "").expect_success();
    assert!(!file.exists());
}

#[test]
fn a_new_secret_counts_from_the_next_login() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(1));
    let program = Mailgather::new(&with_secret(&sink.delivery(), &[imap(&server, "one")], "mail.one"));
    let mut daemon = program.run();
    let missing = daemon.wait_for("session_failed");
    assert!(missing.contains("code=MG-202") && missing.contains("mailgather secret set mail.one"), "{missing}");
    socket(&program);
    secret(&program, &["set", "mail.one", "--stdin"], "wrong-canary").expect_success();
    let refused = daemon.wait_for("session_failed");
    assert!(refused.contains("code=MG-203"), "{refused}");
    secret(&program, &["set", "mail.one", "--stdin"], PASSWORD).expect_success();
    sink.wait_for(1);
    // Taken away while the daemon runs: the next login fails, and nothing else.
    secret(&program, &["rm", "mail.one", "--yes"], "").expect_success();
    server.put("one", &letter(2));
    daemon.signal(Signal::USR1);
    assert!(daemon.wait_for("session_failed").contains("code=MG-202"));
    secret(&program, &["set", "mail.one", "--stdin"], PASSWORD).expect_success();
    sink.wait_for(2);
    let log = daemon.stop().expect_success().stderr;
    assert_eq!(log.matches("config_loaded").count(), 1, "no reload");
    assert!(!log.contains("wrong-canary") && !log.contains(PASSWORD), "a secret is in the log");
}

/// Typed on a terminal it is not shown, and has to be typed twice.
#[test]
fn a_typed_secret_is_not_shown() {
    let program = Mailgather::new("");
    std::fs::remove_file(program.config_file()).unwrap();
    let plain = program.command("secret", &["set", "boss"]);
    let words: Vec<String> = std::iter::once(plain.get_program()).chain(plain.get_args()).map(|word| word.to_str().unwrap().to_owned()).collect();
    // What is typed at each prompt, and what is kept in the end.
    for (typed, kept) in
        [(["canary-a\n", "canary-b\n"], None), (["canary-\x7f-c\n", "canary-c\n"], Some("canary-c")), (["canary-d\x03", ""], Some("canary-c"))]
    {
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = terminal.spawn().unwrap();
        let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut octet) = (String::new(), [0]);
        for (prompt, line) in ["(nothing is shown): ", "Once more: "].into_iter().zip(typed).filter(|(_, line)| !line.is_empty()) {
            while !shown.ends_with(prompt) && screen.read(&mut octet).unwrap() > 0 {
                shown.push(char::from(octet[0]));
            }
            keyboard.write_all(line.as_bytes()).unwrap();
            keyboard.flush().unwrap();
        }
        let mut rest = Vec::new();
        screen.read_to_end(&mut rest).unwrap();
        shown.push_str(&String::from_utf8_lossy(&rest));
        assert!(!shown.contains("canary"), "{shown}");
        let status = child.wait().unwrap();
        assert_eq!(status.success(), typed[1] == "canary-c\n", "{shown}");
        assert_eq!(std::fs::read_to_string(program.state_dir().join("secrets/boss")).ok().as_deref(), kept, "{shown}");
    }
}

/// Root sets it, and the service's own user reads it.
#[test]
fn a_secret_belongs_to_whom_the_state_belongs_to() {
    use std::os::unix::fs::MetadataExt;
    assert!(rustix::process::geteuid().is_root(), "the tests run as root");
    let program = Mailgather::new("");
    std::os::unix::fs::chown(program.state_dir(), Some(5000), Some(5000)).unwrap();
    secret(&program, &["set", "boss", "--stdin"], "canary-owner").expect_success();
    // So does the line of the audit, to which the service adds its own.
    let audit = std::fs::read_dir(program.state_dir().join("audit")).unwrap().next().unwrap().unwrap().path();
    let places = ["secrets", "secrets/boss", "audit"].map(|place| program.state_dir().join(place)).into_iter().chain([audit]);
    for place in places {
        let meta = std::fs::metadata(&place).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (5000, 5000), "{}", place.display());
    }
}

#[test]
fn a_full_disk_is_told_as_one() {
    let program = Mailgather::new("");
    std::fs::remove_file(program.config_file()).unwrap();
    let said = on_a_full_disk(&program, "secret", &["set", "boss", "--stdin"], "canary").expect_code(74).stderr;
    assert!(said.contains("error[MG-301]: ") && said.contains("No space left on device") && said.contains("hint: the disk is full"), "{said}");
    assert!(!said.contains("MG-303") && !said.contains("run it as the user") && !said.contains("canary"), "{said}");
    let page = program.run_to_end("explain", &["MG-303"]).expect_success().stdout;
    assert!(page.contains("mailgather collect") && !page.contains("SIGUSR1"), "{page}");
}
