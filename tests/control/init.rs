//! `mailgather init`: by a file of answers and on a terminal, against a real server, and then one message with what it wrote.

use crate::kit::letter;
use crate::support::dovecot::PASSWORD;
use crate::support::process::PROGRAM;
use crate::support::*;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A place without a configuration.
fn empty() -> Mailgather {
    let program = Mailgather::new("");
    std::fs::remove_file(program.config_file()).unwrap();
    program
}

fn answers(program: &Mailgather, text: &str) -> String {
    let path = program.path().join("answers.yaml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn from_answers_to_the_first_message() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = empty();
    let of = |password: &str| {
        format!(
            "email: office@example.org\nserver: 127.0.0.1\nport: {}\ntls: {{mode: none}}\nauth: {{allow_plaintext: true}}\nusername: office\npassword: {password}\nrecipient: {{forward_to: anna@example.org}}\n\
             delivery: {}\n",
            server.imap(),
            sink.delivery()
        )
    };
    // The wrong password: the test says so, and nothing is there.
    let file = answers(&program, &of("hunter2"));
    let failed = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_code(77);
    assert!(
        failed.stderr.contains("  login ") && failed.stderr.contains("REFUSED") && failed.stderr.contains("nothing was written"),
        "{}",
        failed.stderr
    );
    assert!(!program.config_file().exists() && !program.state_dir().join("secrets").exists());
    let file = answers(&program, &of(PASSWORD));
    let done = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_success();
    assert!(done.stderr.contains("test successful") && done.stderr.contains("mailgather once"), "{}", done.stderr);
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    assert!(
        text.starts_with("# yaml-language-server: $schema=") && text.contains("collectors:\n  office:\n    email: office@example.org\n"),
        "{text}"
    );
    assert!(!format!("{text}{}{}{}", done.stdout, done.stderr, failed.stderr).contains(PASSWORD), "a secret got out");
    let secret = program.state_dir().join("secrets/office");
    assert_eq!((mode(&program.config_file()), mode(&secret)), (0o640, 0o600));
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), PASSWORD);
    program.check().expect_success();
    server.put("office", &letter(1));
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 1);
    // A further one goes into a file of its own, and takes its target from the first.
    let second = of(PASSWORD).replace("office", "second");
    let second = answers(&program, &second[..second.find("delivery:").unwrap()]);
    program.run_to_end("init", &["--answers", &second, "--non-interactive"]).expect_success();
    assert!(program.state_dir().join("collectors.d/second.yaml").exists());
    assert_eq!(std::fs::read_to_string(program.config_file()).unwrap(), text);
    server.put("second", &letter(2));
    program.once(&["second"]).expect_success();
    assert_eq!(sink.taken().len(), 2);
}

#[test]
fn answers_that_are_not_enough_are_said() {
    let program = empty();
    for (text, code, words) in [
        ("", 78, "the answers have no `email`"),
        ("email: nobody\n", 78, "email: "),
        ("email: a@b.invalid\nserver: x.invalid\n", 78, "the answers have no `password`"),
        ("email: a@b.invalid\nserver: x.invalid\npassword: {env: X}\n", 78, "the answers have no `recipient`"),
        ("email: a@b.invalid\nserver: x.invalid\npassword: {env: X}\nrecipient: {forward_to: c@d.example}\n", 78, "the answers have no `delivery`"),
        (
            "email: a@b.invalid\nserver: x.invalid\nservre: y\npassword: {env: X}\nrecipient: {forward_to: c@d.example}\ndelivery: {smtp: h}\n",
            78,
            "unknown key `servre`",
        ),
        (
            "email: a@b.invalid\nname: a b\nserver: x.invalid\npassword: {env: X}\nrecipient: {forward_to: c@d.example}\ndelivery: {smtp: h}\n",
            78,
            "no name for a collector",
        ),
        ("email: [a\n", 78, "error[MG-102]"),
    ] {
        let file = answers(&program, text);
        let done = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_code(code);
        assert!(done.stderr.contains(words), "{text}: {}", done.stderr);
        assert!(!program.config_file().exists(), "{text}");
    }
    let file = answers(&program, "email: a@b.invalid\npassword: hunter2\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_code(78);
    assert!(open.stderr.contains("others may read it") && !open.stderr.contains("hunter2"), "{}", open.stderr);
    let nobody = program.run_to_end("init", &[]).expect_code(64);
    assert!(nobody.stderr.contains("nobody is there to be asked"), "{}", nobody.stderr);
}

/// On a terminal of its own, by util-linux's script(1): each answer is typed when its question is there.
#[test]
fn a_person_on_a_terminal_is_asked_and_the_password_is_not_shown() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = empty();
    let words: Vec<String> = [PROGRAM.to_owned()].into_iter().chain(program.arguments("init")).map(|word| format!("'{word}'")).collect();
    let mut script = Command::new("script")
        .args(["-qec", &words.join(" "), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("script(1) of util-linux");
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let reader = {
        let seen = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n) = std::io::Read::read(&mut screen, &mut buffer) {
                if n == 0 {
                    break;
                }
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        })
    };
    let mut done = 0;
    let mut answer = |question: &str, text: &str| {
        eventually(question, SOON, || {
            let seen = seen.lock().unwrap();
            seen[done..].contains(question)
        });
        done = seen.lock().unwrap().len();
        keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
    };
    let port = server.imap().to_string();
    let target = sink.delivery().trim_matches(['{', '}']).replacen(": ", " ", 1);
    answer("Address of the mailbox", "office@pl.invalid");
    answer("A name for the collector", "");
    answer("Protocol", "");
    answer("Server", "127.0.0.1");
    answer("TLS:", "none");
    answer("Is this line trusted?", "y");
    answer("Port", &port);
    answer("Login name", "office");
    answer("Password (it is not shown", "wrong one");
    answer("The login failed", "p");
    answer("Password (it is not shown", PASSWORD);
    answer("Who gets the mail", "nonsense");
    answer("Who gets the mail", "anna@example.org");
    answer("Where mail goes", &target);
    answer("Write this to", "y");
    drop(keyboard);
    let status = script.wait().unwrap();
    reader.join().unwrap();
    let seen = seen.lock().unwrap();
    assert!(status.success(), "{seen}");
    assert!(!seen.contains("wrong one") && !seen.contains(PASSWORD), "a secret got out: {seen}");
    let secret = program.state_dir().join("secrets/office");
    assert_eq!((std::fs::read_to_string(&secret).unwrap().as_str(), mode(&secret)), (PASSWORD, 0o600));
    server.put("office", &letter(1));
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 1);
}
