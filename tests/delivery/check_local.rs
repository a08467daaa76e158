//! `check_local`: whether a recipient exists, asked of real servers, a file and commands.

use crate::deliver_kit::{local, no_password, relay};
use crate::smtp_peer::{Act, Server, Step, say};
use crate::support::{CollectorYaml, Dovecot, Mailgather, Postfix, SOON, config, eventually};
use futures_util::future::join_all;
use mailgather::config::{CheckLocal, Endpoint};
use mailgather::deliver::local_check::{Exists, LocalCheck};
use std::path::Path;
use std::time::{Duration, Instant};

fn check(how: CheckLocal) -> LocalCheck {
    LocalCheck::new(&how, no_password())
}

async fn ask(check: &LocalCheck, address: &str) -> Exists {
    check.exists(&address.parse().unwrap()).await
}

/// `Yes`, `No` or `Unknown`, and why.
fn split(exists: Exists) -> (&'static str, String) {
    match exists {
        Exists::Yes => ("Yes", String::new()),
        Exists::No(why) => ("No", why),
        Exists::Unknown(why) => ("Unknown", why),
    }
}

#[tokio::test]
async fn without_a_check_everybody_exists() {
    assert_eq!(ask(&check(CheckLocal::None), "anybody@x.example").await, Exists::Yes);
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_knows_its_users() {
    let dovecot = Dovecot::builder().users(&["anna@example.org", "vera@example.org"]).start();
    for server in [relay(Endpoint::Unix(dovecot.lmtp_socket())), local(dovecot.lmtp())] {
        let check = check(CheckLocal::Lmtp(server));
        for _ in 0..2 {
            assert_eq!(ask(&check, "anna@example.org").await, Exists::Yes);
            assert_eq!(ask(&check, "vera@example.org").await, Exists::Yes);
            let (word, why) = split(ask(&check, "who@example.org").await);
            assert!(word == "No" && why.starts_with("550 5.1.1"), "{word} {why}");
            let (word, why) = split(ask(&check, "раз@example.org").await);
            assert!(word == "No" && why.contains("SMTPUTF8"), "{word} {why}");
        }
        check.rest().await;
    }
    assert_eq!(dovecot.count("anna@example.org"), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_knows_its_users() {
    let postfix = Postfix::start();
    let check = check(CheckLocal::Smtp(local(postfix.port())));
    for (address, expected) in [
        ("anna@example.org", "Yes"),
        ("раз@example.org", "Yes"),
        ("who@example.org", "No"),
        ("refuse@example.org", "No"),
        ("defer@example.org", "Unknown"),
        // Relaying denied is not an answer about a mailbox.
        ("anna@elsewhere.example", "Unknown"),
        ("boris@example.org", "Yes"),
    ] {
        let (word, why) = split(ask(&check, address).await);
        assert_eq!(word, expected, "{address}: {why}");
    }
    check.rest().await;
    assert_eq!(postfix.count("anna"), 0);
    // One connection for all of them, besides that of the test's start.
    let seen = |what: &str| postfix.log().matches(what).count();
    eventually("one connection is logged", SOON, || seen(": connect from ") == seen("lost connection after CONNECT") + 1);
}

fn lines(server: &Server) -> Vec<String> {
    server.log().steps.into_iter().filter(|seen| seen.step != Step::Banner).map(|seen| seen.line).collect()
}

#[tokio::test]
async fn a_probe_is_mail_rcpt_rset_and_asked_once() {
    let server = Server::new(false).extensions(&["PIPELINING", "DSN"]);
    let check = check(CheckLocal::Smtp(local(server.listen().await)));
    let together = join_all((0..10).map(|_| ask(&check, "a@y.example"))).await;
    assert_eq!(together, vec![Exists::Yes; 10]);
    assert_eq!(ask(&check, "a@y.example").await, Exists::Yes);
    assert_eq!(ask(&check, "b@y.example").await, Exists::Yes);
    let (mail, reset) = ("MAIL FROM:<> RET=HDRS", "RSET");
    let expected = ["EHLO relay.example", mail, "RCPT TO:<a@y.example> NOTIFY=NEVER", reset, mail, "RCPT TO:<b@y.example> NOTIFY=NEVER", reset];
    assert_eq!(lines(&server), expected);
    assert_eq!((server.connections(), server.count(Step::Data)), (1, 0));
}

/// Whatever goes wrong, nobody is said not to exist, and it is asked again.
#[tokio::test]
async fn only_a_refusal_of_the_recipient_is_a_no() {
    for lmtp in [false, true] {
        for (step, said, expected) in [
            (Step::Rcpt, "250 ok\r\n", "Yes"),
            (Step::Rcpt, "252 perhaps\r\n", "Yes"),
            (Step::Rcpt, "550 5.1.1 who?\r\n", "No"),
            (Step::Rcpt, "550 no such user\r\n", "No"),
            (Step::Rcpt, "553 5.1.3 bad\r\n", "No"),
            (Step::Rcpt, "550 5.7.1 relaying denied\r\n", "Unknown"),
            (Step::Rcpt, "554 blocked\r\n", "Unknown"),
            (Step::Rcpt, "552 5.2.2 full\r\n", "Unknown"),
            (Step::Rcpt, "450 4.2.0 greylisted\r\n", "Unknown"),
            (Step::Rcpt, "421 bye\r\n", "Unknown"),
            (Step::Rcpt, "354 what\r\n", "Unknown"),
            (Step::Rcpt, "", "Unknown"),
            (Step::Rcpt, "garbage\r\n", "Unknown"),
            (Step::Mail, "550 5.7.1 null sender not wanted\r\n", "Unknown"),
            (Step::Mail, "530 log in\r\n", "Unknown"),
            (Step::Mail, "", "Unknown"),
            (Step::Banner, "554 no\r\n", "Unknown"),
            (Step::Hello, "550 no\r\n", "Unknown"),
            // The server has said it, and then something went wrong.
            (Step::Rset, "", "Unknown"),
        ] {
            let act = if said.is_empty() { Act::Close } else { Act::Say(said.into()) };
            let server = Server::new(lmtp).rule(move |seen| (seen.step == step).then(|| act.clone()));
            let relay = local(server.listen().await);
            let check = check(if lmtp { CheckLocal::Lmtp(relay) } else { CheckLocal::Smtp(relay) });
            let (word, why) = split(ask(&check, "a@y.example").await);
            assert_eq!(word, expected, "{lmtp} {step:?} {said:?}: {why}");
            assert_eq!(server.count(Step::Data), 0);
        }
    }
}

#[tokio::test]
async fn a_resting_connection_that_died_is_no_answer() {
    let server = Server::new(false).rule(|seen| (seen.step == Step::Mail && seen.connection == 0 && seen.nth == 1).then_some(Act::Close));
    let check = check(CheckLocal::Smtp(local(server.listen().await)));
    assert_eq!(ask(&check, "a@y.example").await, Exists::Yes);
    assert_eq!(ask(&check, "b@y.example").await, Exists::Yes);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_is_down_is_left_alone() {
    let server = Server::new(true).rule(|seen| if seen.step == Step::Banner { say("421 busy\r\n") } else { None });
    let check = check(CheckLocal::Lmtp(local(server.listen().await)));
    for n in 0..20 {
        let (word, why) = split(ask(&check, &format!("r{n}@y.example")).await);
        assert!(word == "Unknown" && why.contains("421 busy"), "{word} {why}");
    }
    assert!(server.connections() <= 3, "{}", server.connections());
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mailboxes");
    let missing = check(CheckLocal::File(path.clone()));
    let (word, why) = split(ask(&missing, "anna@example.org").await);
    assert!(word == "Unknown" && why.contains("No such file"), "{why}");

    std::fs::write(&path, "# staff\nAnna@example.org\nраз@икс.рф\n@all.example\n").unwrap();
    let check = check(CheckLocal::File(path.clone()));
    assert_eq!(ask(&check, "anna@example.org").await, Exists::Yes);
    assert_eq!(ask(&check, "Раз@xn--h1aev.xn--p1ai").await, Exists::Yes);
    assert_eq!(ask(&check, "who@all.example").await, Exists::Yes);
    assert_eq!(split(ask(&check, "boris@example.org").await).0, "No");

    // As most editors and `mv` do it: another inode, the same size.
    let wait = || tokio::time::sleep(Duration::from_millis(1100));
    std::fs::write(folder.path().join("new"), "# staff\nOlga@example.org\nраз@икс.рф\n@all.example\n").unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    wait().await;
    assert_eq!((ask(&check, "olga@example.org").await, split(ask(&check, "anna@example.org").await).0), (Exists::Yes, "No"));
    // In place.
    std::fs::write(&path, "boris@example.org\n").unwrap();
    wait().await;
    assert_eq!(ask(&check, "boris@example.org").await, Exists::Yes);
    // Gone, too large, no text, a folder: nobody is said not to exist.
    let spoil: [&dyn Fn(&Path); 4] = [
        &|path| std::fs::remove_file(path).unwrap(),
        &|path| std::fs::write(path, vec![b'\n'; 16 * 1024 * 1024 + 1]).unwrap(),
        &|path| std::fs::write(path, b"\xff\xfe").unwrap(),
        &|path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for spoil in spoil {
        spoil(&path);
        wait().await;
        assert_eq!(split(ask(&check, "boris@example.org").await).0, "Unknown");
    }
    // And back.
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "boris@example.org\n").unwrap();
    wait().await;
    assert_eq!(ask(&check, "boris@example.org").await, Exists::Yes);
}

fn command(argv: &[&str], timeout_ms: u64) -> LocalCheck {
    let argv = argv.iter().map(|word| word.to_string()).collect();
    check(CheckLocal::Command { argv, timeout: Duration::from_millis(timeout_ms) })
}

fn script(text: &str, timeout_ms: u64) -> LocalCheck {
    command(&["sh", "-c", text, "check"], timeout_ms)
}

#[tokio::test]
async fn a_command_answers_by_its_status() {
    for (text, expected, said) in [
        ("exit 0", "Yes", ""),
        ("echo no such user >&2; exit 1", "No", "sh ended with 1: no such user"),
        ("exit 67", "No", "sh ended with 67"),
        ("echo db is down; exit 2", "Unknown", "sh ended with 2: db is down"),
        ("exit 75", "Unknown", "sh ended with 75"),
        ("kill -9 $$", "Unknown", "sh was killed"),
        // The address is one argument, whatever is in it, and standard input is empty.
        (r#"test "$#" = 1 && test "$1" = '"a b;$(id)"@y.example' && ! read x"#, "Yes", ""),
        (r"printf 'a\033[1mb\n' >&2; exit 1", "No", "sh ended with 1: a?[1mb"),
    ] {
        let (word, why) = split(ask(&script(text, 10_000), "\"a b;$(id)\"@y.example").await);
        assert_eq!((word, why.as_str()), (expected, said), "{text}");
    }
    let (word, why) = split(ask(&command(&["/no/such/program"], 1000), "a@y.example").await);
    assert!(word == "Unknown" && why.contains("No such file"), "{why}");
    assert_eq!(split(ask(&command(&[], 1000), "a@y.example").await).0, "Unknown");
    // What comes from outside is never an option.
    assert_eq!(split(ask(&command(&["true"], 1000), "--help@y.example").await).0, "Unknown");
    // Output without end is read and thrown away.
    let (word, why) = split(ask(&script("head -c 10000000 /dev/zero | tr '\\0' x; exit 1", 20_000), "a@y.example").await);
    assert!(word == "No" && why.len() < 600, "{word} {}", why.len());
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("alive");
    let text = format!("(sleep 2; touch {}) & sleep 600", mark.display());
    let check = script(&text, 300);
    let begun = Instant::now();
    let answers = join_all((0..5).map(|_| ask(&check, "a@y.example"))).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "one question, and it ends");
    assert!(answers.iter().all(|answer| matches!(answer, Exists::Unknown(why) if why.contains("did not end within 0.3 s"))), "{answers:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!mark.exists(), "its child lives on");
    // One that leaves a child behind, with the pipes, has answered all the same.
    let begun = Instant::now();
    assert_eq!(ask(&script("sleep 5 & exit 0", 4000), "b@y.example").await, Exists::Yes);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn answers_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    for (status, asked) in [(0, 1), (1, 1), (75, 5)] {
        std::fs::write(&count, "").unwrap();
        let check = script(&format!("echo x >> {}; exit {status}", count.display()), 10_000);
        for _ in 0..5 {
            ask(&check, "a@y.example").await;
        }
        assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), asked, "{status}");
    }
}

/// Everything is let through then, so an operator has to learn of it; once, however many recipients there are.
#[test]
fn a_check_that_fails_is_in_the_log() {
    let from = Dovecot::start();
    let people = ["anna", "boris", "vera"];
    for user in people {
        let letter = format!(
            "X-Original-To: {user}@example.org\r\nReceived: from a.example (a.example [192.0.2.1]) by 127.0.0.1 with ESMTP; x\r\nMessage-ID: <{user}@a.example>\r\n\r\ntext\r\n"
        );
        from.put("u", letter.as_bytes());
    }
    let boxes = tempfile::tempdir().unwrap();
    let delivery = format!("{{maildir: '{}/{{local}}', maildir_create: true}}", boxes.path().display());
    let rules = "{domains: [example.org], check_local: {command: [sh, -c, 'printf \"no \\\\033[31mdatabase\\\\n\" >&2; exit 3']}}";
    let program = Mailgather::new(&config(&delivery, &[CollectorYaml::imap(&from, "u").auto(rules, "post@example.org")]));
    let done = program.once(&[]).expect_success();
    let said: Vec<&str> = done.stderr.lines().filter(|line| line.contains("check_local_failed")).collect();
    assert_eq!(said.len(), 1, "{}", done.stderr);
    for words in [" warn ", "sh ended with 3: no ", "database", "next=\"delivered as if the address existed\""] {
        assert!(said[0].contains(words), "{words}: {}", said[0]);
    }
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    for user in people {
        assert!(boxes.path().join(user).join("new").is_dir(), "{user}");
    }
}
