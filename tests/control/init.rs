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
    assert!(text.contains("    password: {secret: office}\n") && done.stderr.contains("mailgather secret set office"), "{text}{}", done.stderr);
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

/// A login that begins with a person's signing in is written, and what comes next is said.
#[test]
fn k7_a_mailbox_of_microsoft_365_is_written_and_waits_for_a_person() {
    let program = empty();
    let text = "email: shared@tenant.example\nprotocol: graph\nauth: {method: oauth2, provider: microsoft, tenant: tenant.example, flow: device, client_id: 0000-1111}\n\
                recipient: {forward_to: anna@example.org}\ndelivery: {lmtp: '127.0.0.1:1'}\n";
    let file = answers(&program, text);
    let done = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_success();
    assert!(done.stderr.contains("somebody has to sign in first") && done.stderr.contains("mailgather oauth login shared"), "{}", done.stderr);
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    assert!(text.contains("    protocol: graph\n") && !text.contains("password"), "{text}");
    program.check().expect_success();
    // Until then each pass says what is missing, and asks nobody.
    let once = program.once(&[]);
    assert!(once.stderr.contains("mailgather oauth login shared"), "{}", once.stderr);
}

#[test]
fn answers_that_are_not_enough_are_said() {
    let program = empty();
    for (text, code, words) in [
        ("", 78, "the answers have no `email`"),
        ("email: nobody\n", 78, "email: "),
        ("email: a@b.invalid\nserver: x.invalid\n", 78, "the answers have no `password`"),
        ("email: a@b.invalid\nserver: x.invalid\npassword: {env: X}\n", 78, "the answers have no `recipient`"),
        ("email: a@b.invalid\nnotify: [{webhook: 'https://x.example/', token: hunter2}]\n", 78, "`token` is a secret: say where it is"),
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

#[test]
fn what_is_wrong_is_shown_where_it_was_answered() {
    let program = empty();
    let good = "email: office@example.org\nserver: imap.example.org\npassword: {secret: later}\nrecipient: {forward_to: c@d.example}\ndelivery: {smtp: 127.0.0.1:25}\n";
    let refused = |text: &str, words: &[&str]| {
        let file = answers(&program, text);
        let said = program.run_to_end("init", &["--answers", &file, "--non-interactive"]).expect_code(78).stderr;
        for words in words {
            assert!(said.contains(&words.replace("FILE", &file)), "{words}: {said}");
        }
        // Neither the file that is not there, nor the one that would be.
        assert!(!said.contains("--> ") || said.contains(&format!("--> {file}:")), "{said}");
        assert!(!said.contains("collectors.d/"), "{said}");
    };
    let wrong = |from: &str, to: &str| good.replace(from, to);
    refused(
        &wrong("server:", "servre:"),
        &["unknown key `servre` in the answers", "  --> FILE:2:1\n2 | servre: ***\n  | ^^^^^^ did you mean `server`?"],
    );
    refused(
        &wrong("forward_to", "froward_to"),
        &["unknown key `froward_to`", "  --> FILE:4:13\n", "             ^^^^^^^^^^ did you mean `forward_to`?"],
    );
    refused(&wrong("imap.example.org", "imap.example.org:993"), &["has a port", "  --> FILE:2:9\n2 | server: imap.example.org:993\n", "`port: 993`"]);
    refused(&wrong("127.0.0.1:25", "'a b'"), &["  --> FILE:5:18\n"]);
    refused(&wrong("office@", "office"), &["  --> FILE:1:8\n1 | email: officeexample.org\n  |        ^^^^"]);
    refused(&format!("{good}name: [a]\n"), &["`name` takes one word", "  --> FILE:6:7\n"]);
    refused(&format!("{good}tls:\n  mode: sslv2\n"), &["  --> FILE:7:9\n7 |   mode: sslv2\n"]);
    refused(&format!("{good}auth: {{method: oauth2, token: hunter2}}\n"), &["`auth.token` is a secret", "--> FILE:6:"]);
    assert!(!program.config_file().exists());
    // A secret that is not there is told, as `check` tells it, and is no error: it may come later.
    let file = answers(&program, good);
    let done = program.run_to_end("init", &["--answers", &file, "--non-interactive", "--no-test"]).expect_success();
    for words in ["warning[MG-107]: there is no secret `later` in ", "mailgather secret set later", "{secret: later}", "mailgather.yaml:"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    // A further collector: its name is told at once, and what is wrong with it is shown in the answers too.
    refused(&format!("{good}name: office\nrecipeint: x\n"), &["unknown key `recipeint`"]);
    refused(
        &format!("name: office\n{}", wrong("forward_to", "froward_to")),
        &["there is a collector `office` already", "`office2` is free", "  --> FILE:1:7\n1 | name: office\n  |       ^^^^^^"],
    );
    refused(&wrong("forward_to", "froward_to").replace("office@", "other@"), &["unknown key `froward_to`", "  --> FILE:4:13\n"]);
    refused(good, &["collect the same mailbox"]);
    let file = answers(&program, &wrong("office@example.org", "office@other.example"));
    program.run_to_end("init", &["--answers", &file, "--non-interactive", "--no-test"]).expect_success();
    assert!(program.state_dir().join("collectors.d/office2.yaml").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_questions() {
    let program = empty();
    let file = answers(&program, "email: office@example.org\n");
    // Root may write in every folder, and makes none below a file.
    for (config, state_dir) in [("answers.yaml/m.yaml", "state"), ("m.yaml", "answers.yaml/below/it")] {
        let mut command = Command::new(PROGRAM);
        command.args(["init", "--answers", &file, "--non-interactive", "--config", config, "--state-dir", state_dir]).current_dir(program.path());
        let said = crate::support::process::finish(command, SOON).expect_code(73).stderr;
        assert!(said.contains("nothing can be written in ") && said.contains("it is no folder") && said.contains("--state-dir DIR"), "{said}");
    }
}

#[test]
fn the_step_that_failed_is_named_without_anybody_there() {
    let server = Dovecot::start();
    let program = empty();
    let of = |port: u16, more: &str| {
        format!(
            "email: office@example.org\nserver: 127.0.0.1\nport: {port}\nusername: office\npassword: {PASSWORD}\nrecipient: {{forward_to: a@b.example}}\n\
             delivery: {{maildir: /nonexistent/{{local}}}}\n{more}"
        )
        .replace("/nonexistent/{local}", "'/nonexistent/{local}'")
    };
    for (text, code, words) in [
        (of(1, ""), 69, &["  tcp ", "127.0.0.1:1", "FAILED", "not tried: tls"][..]),
        (of(server.imaps(), ""), 69, &["  tls ", "FAILED", "unknown issuer", "tls: {ca_file: …}", "tls: {fingerprint: …}"]),
        (
            of(server.imaps(), &format!("tls: {{ca_file: {}}}\n", server.ca().display())),
            69,
            &["destination", "FAILED", "/nonexistent", "mkdir -p /nonexistent"],
        ),
    ] {
        let file = answers(&program, &text);
        let said = program.run_to_end("init", &["--answers", &file, "--non-interactive"]);
        assert!(said.status.code() == Some(code) || said.status.code() == Some(73), "{}: {}", said.status, said.stderr);
        for words in words {
            assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
        }
        assert!(!said.stderr.contains("login failed") && !program.config_file().exists(), "{}", said.stderr);
        assert!(!program.state_dir().join("secrets").exists());
    }
}

/// A person at a terminal of its own, by util-linux's script(1): each answer is typed when its question is there.
struct Person {
    script: std::process::Child,
    keyboard: Option<std::process::ChildStdin>,
    seen: std::sync::Arc<std::sync::Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
    done: usize,
}

impl Person {
    fn at(program: &Mailgather) -> Person {
        let words: Vec<String> = [PROGRAM.to_owned()].into_iter().chain(program.arguments("init")).map(|word| format!("'{word}'")).collect();
        let mut script = Command::new("script")
            .args(["-qec", &words.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("script(1) of util-linux");
        let (keyboard, mut screen) = (script.stdin.take(), script.stdout.take().unwrap());
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
        Person { script, keyboard, seen, reader, done: 0 }
    }

    #[track_caller]
    fn answers(&mut self, question: &str, text: &str) {
        let start = std::time::Instant::now();
        while !self.seen.lock().unwrap()[self.done..].contains(question) {
            assert!(start.elapsed() < SOON, "{question}: {}", self.seen.lock().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.done = self.seen.lock().unwrap().len();
        self.keyboard.as_mut().unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// What was on the screen.
    fn leaves(mut self) -> String {
        drop(self.keyboard.take());
        let status = self.script.wait().unwrap();
        self.reader.join().unwrap();
        let seen = self.seen.lock().unwrap().clone();
        assert!(status.success(), "{seen}");
        seen
    }
}

#[test]
fn a_person_on_a_terminal_is_asked_and_the_password_is_not_shown() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = empty();
    let port = server.imap().to_string();
    let target = sink.delivery().trim_matches(['{', '}']).replacen(": ", " ", 1);
    let mut person = Person::at(&program);
    for (question, text) in [
        ("Address of the mailbox", "office@pl.invalid"),
        ("A name for the collector", ""),
        ("Protocol", ""),
        ("Server", "127.0.0.1"),
        ("TLS:", "none"),
        ("Is this line trusted?", "y"),
        ("Port", &port),
        ("Login name", "office"),
        ("Password (it is not shown", "wrong one"),
        ("The login failed", "p"),
        ("Password (it is not shown", PASSWORD),
        ("Who gets the mail", "nonsense"),
        ("Who gets the mail", "anna@example.org"),
        ("Where mail goes", &target),
        ("Write this to", "y"),
    ] {
        person.answers(question, text);
    }
    let seen = person.leaves();
    assert!(!seen.contains("wrong one") && !seen.contains(PASSWORD), "a secret got out: {seen}");
    let secret = program.state_dir().join("secrets/office");
    assert_eq!((std::fs::read_to_string(&secret).unwrap().as_str(), mode(&secret)), (PASSWORD, 0o600));
    server.put("office", &letter(1));
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 1);
}

/// A dead server, a certificate that is not trusted, a folder that is not there, a name that is taken: each is told as what it is, where it was answered.
#[test]
fn what_fails_is_mended_where_it_failed() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = empty();
    let place = format!("127.0.0.1:{}", server.imaps());
    let (ca, target) = (server.ca().display().to_string(), sink.delivery().trim_matches(['{', '}']).replacen(": ", " ", 1));
    let mut person = Person::at(&program);
    for (question, text) in [
        ("Address of the mailbox", "office@pl.invalid"),
        ("A name for the collector", ""),
        ("Protocol", ""),
        ("Server", "imap.example.org:many"),
        ("HOST, HOST:PORT, or [ADDRESS]:PORT", "[127.0.0.1:993"),
        ("HOST, HOST:PORT, or [ADDRESS]:PORT", "127.0.0.1:1"),
        ("TLS:", ""),
        ("Login name", "office"),
        ("Step `tcp` of 127.0.0.1:1 (imap) failed", "n"),
        ("Protocol", ""),
        ("Server", &place),
        ("TLS:", ""),
        ("c  name the file of the authority", "c"),
        ("File of the authority", "/nonexistent/ca.pem"),
        ("No such file", &ca),
        ("Password (it is not shown", PASSWORD),
        ("Who gets the mail", "anna@example.org"),
        ("Where mail goes", "maildir /nonexistent/{domain}/{local}"),
        ("mkdir -p /nonexistent", ""),
        ("Where mail goes", "lmtp /run/somewhere"),
        ("`lmtp unix:/run/somewhere`", "smtp 127.0.0.1:1"),
        ("nothing takes mail at 127.0.0.1:1", "n"),
        ("Where mail goes", &target),
        ("Write this to", "y"),
    ] {
        person.answers(question, text);
    }
    let seen = person.leaves();
    assert!(!seen.contains("login failed") && seen.contains("unknown issuer") && !seen.contains(PASSWORD), "{seen}");
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    for words in ["server: 127.0.0.1\n", &format!("port: {}\n", server.imaps()), &format!("ca_file: {ca}\n"), "password: {secret: office}\n"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // A second mailbox of the same name, by the fingerprint of the certificate.
    let mut person = Person::at(&program);
    for (question, text) in [
        ("Address of the mailbox", "office@two.invalid"),
        ("A name for the collector [office2]", "office"),
        ("there is a collector `office` already", ""),
        ("Protocol", ""),
        ("Server", &place),
        ("TLS:", ""),
        ("Login name", "two"),
        ("f  take this certificate by its fingerprint", "f"),
        ("SHA-256 of the certificate", "ab:cd"),
        ("64 hexadecimal digits", ""),
        ("Password (it is not shown", PASSWORD),
        ("Who gets the mail", "anna@example.org"),
        ("Write this to", "y"),
    ] {
        person.answers(question, text);
    }
    person.leaves();
    let text = std::fs::read_to_string(program.state_dir().join("collectors.d/office2.yaml")).unwrap();
    assert!(text.contains("fingerprint: ") && text.contains("password: {secret: office2}\n") && !text.contains("ca_file"), "{text}");
    program.check().expect_success();
    ["office", "two"].iter().for_each(|user| server.put(user, &letter(1)));
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 2);
}

/// The package brings a file without a collector: the first one has a target of its own, and the next is proposed the same.
#[test]
fn a_further_mailbox_is_proposed_the_target_of_the_others() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new("version: 1\ncollectors:\n");
    let place = format!("127.0.0.1:{}", server.imap());
    let target = sink.delivery().trim_matches(['{', '}']).replacen(": ", " ", 1).replace('\'', "");
    for (user, question, answer) in [("one", "Where mail goes", target.as_str()), ("two", &format!("collector `one` delivers to {target}"), "")] {
        let mut person = Person::at(&program);
        for (question, text) in [
            ("Address of the mailbox", format!("{user}@pl.invalid").as_str()),
            ("A name for the collector", ""),
            ("Protocol", ""),
            ("Server", &place),
            ("TLS:", "none"),
            ("Is this line trusted?", "y"),
            ("Login name", user),
            ("Password (it is not shown", PASSWORD),
            ("Who gets the mail", "anna@example.org"),
            (question, answer),
            ("Write this to", "y"),
        ] {
            person.answers(question, text);
        }
        person.leaves();
        server.put(user, &letter(1));
    }
    program.check().expect_success();
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 2);
}
