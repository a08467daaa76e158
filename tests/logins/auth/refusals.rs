//! What a server offers and says: never a weaker login than configured, and whose fault a refusal is.

use super::*;
use std::time::Duration;

#[tokio::test]
async fn a_weaker_login_than_configured_is_never_taken() {
    for (method, offered) in [
        (AuthMethod::CramMd5, "PLAIN LOGIN"),
        (AuthMethod::Scram, "PLAIN LOGIN CRAM-MD5"),
        (AuthMethod::Ntlm, "PLAIN"),
        (AuthMethod::OAuth2, "PLAIN LOGIN"),
        (AuthMethod::External, "PLAIN"),
        (AuthMethod::Login, "PLAIN"),
    ] {
        for protocol in BOTH {
            let answer = move |command: &str| if command == "CAPA" { format!("+OK\r\nSASL {offered}\r\nUSER\r\n.\r\n") } else { "@ OK\r\n".into() };
            let (channel, heard) = peer(&greeting(protocol, "IMAP4rev1", offered), answer);
            let attempt = attempt_over(channel, &server(protocol, 1, TlsMode::Implicit, method), "pw").await;
            assert!(attempt.secret_read == 0 || protocol == Protocol::Pop3);
            let error = attempt.error();
            assert!(error.text.contains("does not offer"), "{error}");
            assert!(heard.lines().iter().all(|line| line == "CAPA"), "{:?}", heard.lines());
        }
    }
}

#[tokio::test]
async fn p5_a_server_that_needs_no_login() {
    // IMAP: PREAUTH, where that is what is configured, and nowhere else.
    let preauth = "* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS] hi tim\r\n";
    for (method, taken) in [(AuthMethod::None, true), (AuthMethod::External, true), (AuthMethod::Auto, false), (AuthMethod::Plain, false)] {
        let (channel, heard) = peer(preauth, imap_answer);
        let attempt = attempt_over(channel, &server(Protocol::Imap, 1, TlsMode::Implicit, method), "pw").await;
        assert_eq!(attempt.secret_read, 0);
        match attempt.result {
            Ok(()) => assert!(taken && heard.lines()[0].starts_with("SELECT"), "{method:?}"),
            Err(error) => assert!(!taken && error.text.contains("PREAUTH") && heard.lines().is_empty(), "{method:?}: {error}"),
        }
    }
    let (channel, heard) = peer("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", imap_answer);
    let error = attempt_over(channel, &server(Protocol::Imap, 1, TlsMode::Implicit, AuthMethod::None), "pw").await.error();
    assert!(error.text.contains("wants a login") && heard.lines().is_empty(), "{error}");
    // POP3: straight to the mailbox.
    let answer = |command: &str| if command == "CAPA" { "+OK\r\nUIDL\r\n.\r\n".into() } else { pop3_answer(command) };
    let (channel, heard) = peer("+OK hi\r\n", answer);
    attempt_over(channel, &server(Protocol::Pop3, 1, TlsMode::Implicit, AuthMethod::None), "").await.result.unwrap();
    assert_eq!(heard.lines(), ["CAPA", "STAT", "QUIT"]);
}

#[tokio::test]
async fn c8_apop_wants_a_message_id() {
    for (greeting, sent) in [
        ("+OK <1896.697170952@dbc.mtview.ca.us>\r\n", Some("APOP tim@example.org c4c9334bac560ecc979e58001b3e22fb")),
        ("+OK no timestamp\r\n", None),
        // CVE-2007-1558
        ("+OK <\u{80}\u{1}x@h>\r\n", None),
        ("+OK <1 2@h>\r\n", None),
    ] {
        let answer = |command: &str| match command.split(' ').next() {
            Some("APOP") => "+OK\r\n".into(),
            Some("CAPA") => "-ERR\r\n".into(),
            _ => pop3_answer(command),
        };
        let (channel, heard) = peer(greeting, answer);
        let result = attempt_over(channel, &server(Protocol::Pop3, 1, TlsMode::Implicit, AuthMethod::Apop), "tanstaaf").await.result;
        let said = heard.lines().into_iter().find(|line| line.starts_with("APOP"));
        assert_eq!((said.as_deref(), result.is_ok()), (sent, sent.is_some()), "{greeting}");
    }
}

/// F34 and pain 25: whose fault a refusal is, and when to come back.
#[tokio::test]
async fn f34_refused_and_unavailable_are_told_apart() {
    let after = |seconds| Retry::After(Duration::from_secs(seconds));
    for (line, kind, retry, hint) in [
        ("NO [AUTHENTICATIONFAILED] no", Kind::Auth, Retry::Credentials, "check username"),
        ("NO [AUTHORIZATIONFAILED] no", Kind::Auth, Retry::Credentials, "may not open"),
        ("NO [EXPIRED] no", Kind::Auth, Retry::Credentials, "expired"),
        ("NO [PRIVACYREQUIRED] no", Kind::Tls, Retry::Backoff, "TLS before the login"),
        ("NO [CONTACTADMIN] no", Kind::Auth, Retry::Credentials, "administrator"),
        ("NO [UNAVAILABLE] no", Kind::Throttled, Retry::Backoff, "later"),
        ("NO [LIMIT] no", Kind::Throttled, Retry::Backoff, "later"),
        ("NO User is authenticated but not connected.", Kind::Throttled, Retry::Backoff, "Exchange"),
        ("BAD Request is throttled. Suggested Backoff Time: 29000 milliseconds", Kind::Throttled, after(29), "later"),
        ("NO [ALERT] Application-specific password required", Kind::Auth, Retry::Credentials, "app password"),
        ("NO Application password is REQUIRED", Kind::Auth, Retry::Credentials, "app password"),
    ] {
        let answer = move |command: &str| if command.starts_with("LOGIN") { format!("@ {line}\r\n") } else { imap_answer(command) };
        let (channel, _) = peer("* OK [CAPABILITY IMAP4rev1] hi\r\n", answer);
        let error = attempt_over(channel, &server(Protocol::Imap, 1, TlsMode::Implicit, AuthMethod::Auto), "pw").await.error();
        assert_eq!((error.kind, error.retry()), (kind, retry), "{line}: {error}");
        assert!(error.hint.as_ref().is_some_and(|said| said.contains(hint)), "{line}: {error:?}");
    }
    for (line, kind, retry, hint) in [
        ("-ERR [AUTH] no", Kind::Auth, Retry::Credentials, "check username"),
        ("-ERR [SYS/TEMP] no", Kind::Throttled, Retry::Backoff, "later"),
        ("-ERR [SYS/PERM] no", Kind::Mailbox, Retry::Backoff, "operator"),
        ("-ERR [IN-USE] no", Kind::Throttled, Retry::Backoff, "later"),
        ("-ERR [LOGIN-DELAY] no", Kind::Throttled, Retry::Backoff, "later"),
        ("-ERR Request is throttled. Suggested Backoff Time: 29000 milliseconds", Kind::Throttled, after(29), "later"),
        ("-ERR NEOBHODIM parol prilozheniya", Kind::Auth, Retry::Credentials, "app password"),
    ] {
        let answer = move |command: &str| match command.split(' ').next() {
            Some("CAPA") => "-ERR\r\n".into(),
            Some("USER") => "+OK\r\n".into(),
            Some("PASS") => format!("{line}\r\n"),
            _ => pop3_answer(command),
        };
        let (channel, heard) = peer("+OK hi\r\n", answer);
        let error = attempt_over(channel, &server(Protocol::Pop3, 1, TlsMode::Implicit, AuthMethod::Auto), "pw").await.error();
        assert_eq!((error.kind, error.retry()), (kind, retry), "{line}: {error}");
        assert!(error.hint.as_ref().is_some_and(|said| said.contains(hint)), "{line}: {error:?}");
        assert_eq!(heard.lines().iter().filter(|line| line.starts_with("PASS")).count(), 1);
    }
}
