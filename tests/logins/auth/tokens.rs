//! OAuth2: tokens that are taken, refused, and that cannot be had.

use super::*;
use crate::support::corpus::letter;
use crate::support::{Boxes, Mailgather, config};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// RFC 7662: tokens that start with "good" are tim's; at those that start with "broken" the server of tokens itself fails, each in its way.
fn introspection() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut block = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut block) {
                    Ok(octets @ 1..) => request.extend_from_slice(&block[..octets]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request);
            let asked = |token: &str| request.contains(&format!("token={token}"));
            let (status, body) = match () {
                () if asked("good") => ("200 OK", r#"{"active":true,"username":"tim@example.org"}"#),
                () if asked("broken-503") => ("503 Service Unavailable", "later"),
                () if asked("broken-html") => ("200 OK", "<html><body>Sign in</body></html>"),
                () => ("200 OK", r#"{"active":false}"#),
            };
            let length = body.len();
            let _ =
                write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    port
}

/// A server that takes tokens.
fn token_dovecot() -> Dovecot {
    let folder = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let conf = folder.path().join("oauth2.conf");
    let text = format!(
        "introspection_url = http://127.0.0.1:{}/introspect?token=\nintrospection_mode = get\nforce_introspection = yes\n\
         username_attribute = username\nactive_attribute = active\nactive_value = true\n",
        introspection()
    );
    std::fs::write(&conf, text).unwrap();
    dovecot(&format!("passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {}\n}}", conf.display()))
}

#[tokio::test]
async fn k7_oauth2_by_both_mechanisms() {
    let dovecot = token_dovecot();
    // A token longer than a line of POP3 may be (RFC 5034 §4).
    let long: &'static str = Box::leak(format!("good-{}", "x".repeat(1500)).into_boxed_str());
    let mut logins = 0;
    for protocol in BOTH {
        for (disable, logged) in [("", "OAUTHBEARER"), ("OAUTHBEARER", "XOAUTH2")] {
            let mut server = at(&dovecot, protocol, TlsMode::Implicit, AuthMethod::OAuth2);
            server.auth.disable = disable.split_whitespace().map(str::to_owned).collect();
            for token in ["good-token", long] {
                attempt(&server, token).await.result.unwrap_or_else(|error| panic!("{protocol:?} {logged}: {error}\n{}", dovecot.log()));
                logins += 1;
                assert_eq!(method_of(&dovecot, logins), logged);
            }
            // The error challenge is answered, and the refusal that follows is read: the session is not left hanging.
            let begun = Instant::now();
            let error = attempt(&server, "expired-token").await.error();
            assert_eq!((error.kind, error.code()), (Kind::Auth, 203), "{error}");
            assert!(error.server.as_ref().is_some_and(|said| said.contains("invalid_token") || said.contains("401")), "{error:?}");
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("token")), "{error:?}");
            assert!(begun.elapsed() < Duration::from_secs(15));
        }
    }
}

#[tokio::test]
async fn k7_pop3_sends_tokens_in_two_lines_and_answers_the_error_once() {
    let mut step = 0;
    let answer = move |command: &str| {
        step += usize::from(command != "CAPA");
        match (command, step) {
            ("CAPA", _) => "+OK\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n.\r\n".into(),
            ("AUTH XOAUTH2", 1) => "+ \r\n".to_owned(),
            (_, 2) => format!("+ {}\r\n", STANDARD.encode(r#"{"status":"400","scope":"https://outlook.office365.com"}"#)),
            ("", 3) => "-ERR Authentication failure: unknown user name or bad password.\r\n".into(),
            other => panic!("{other:?}"),
        }
    };
    let (channel, heard) = peer("+OK The Microsoft Exchange POP3 service is ready.\r\n", answer);
    let error = attempt_over(channel, &server(Protocol::Pop3, 1, TlsMode::Implicit, AuthMethod::OAuth2), "token-1").await.error();
    assert_eq!(error.kind, Kind::Auth);
    assert!(error.server.unwrap().contains(r#"XOAUTH2: {"status":"400""#));
    assert_eq!(heard.lines().len(), 4);
}

/// The keys as an operator writes them, from the file to the mail: each collector by another way.
#[test]
fn i5_m9_k6_k7_c8_rows_by_their_keys() {
    let dovecot = token_dovecot();
    let pem = std::fs::read(dovecot.ca().with_file_name("server.pem")).unwrap();
    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem).unwrap();
    let fingerprint = Sha256::digest(&der).iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":");
    let ca = dovecot.ca().display().to_string();
    let (imap, imaps, pop3, pop3s) = (dovecot.imap(), dovecot.imaps(), dovecot.pop3(), dovecot.pop3s());
    let password = "password: {env: MAILGATHER_TEST_PASSWORD}";
    let token = "auth: {method: oauth2, token: {command: [printf, good-token]}}";
    let collectors = [
        (
            "named",
            "paul@example.org",
            "paul@example.org",
            format!("port: {imaps}, tls: {{fingerprint: '{fingerprint}'}}, auth: {{method: scram}}, {password}"),
        ),
        ("local", "anna@example.org", "anna", format!("port: {imap}, login: local_part, tls: {{mode: opportunistic, ca_file: {ca}}}, {password}")),
        ("token", "tim@example.org", "tim@example.org", format!("port: {imaps}, tls: {{ca_file: {ca}, min_version: 1.3}}, {token}")),
        (
            "digest",
            "eve@example.org",
            "eve@example.org",
            format!("protocol: pop3, port: {pop3s}, tls: {{ca_file: {ca}}}, auth: {{method: apop}}, {password}"),
        ),
        (
            "other",
            "zoe@example.org",
            "zoe@example.org",
            format!("protocol: pop3, port: {pop3}, tls: {{mode: starttls, ca_file: {ca}}}, auth: {{disable: [scram, cram_md5, plain]}}, {password}"),
        ),
    ];
    let boxes = Boxes::new();
    let mut yaml = config(&boxes.delivery(), &[]);
    for (n, (id, email, user, keys)) in collectors.iter().enumerate() {
        dovecot.put(user, &letter(n, "anna@pop.example"));
        yaml += &format!("  {id}: {{email: {email}, server: localhost, recipient: {{forward_to: box@example.org}}, {keys}}}\n");
    }
    Mailgather::new(&yaml).once(&[]).expect_success();
    assert_eq!(boxes.subjects("box@example.org").len(), collectors.len());
    for login in [
        "user=<paul@example.org>, method=SCRAM-SHA-256",
        "user=<anna>, method=SCRAM-SHA-256",
        "method=OAUTHBEARER",
        "method=APOP",
        "user=<zoe@example.org>, method=LOGIN",
    ] {
        dovecot.logged(login, 1);
    }
    // Another certificate, a wrong token: told with their numbers, and nothing of the secret.
    let wrong = yaml.replace(&fingerprint, &"0f".repeat(32)).replace("good-token", "stale-token");
    let done = Mailgather::new(&wrong).once(&["named", "token"]);
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(said.contains("MG-221") && said.contains(&fingerprint) && said.contains("MG-203"), "{said}");
    assert!(!said.contains("stale-token") && !said.contains(PASSWORD), "{said}");
}

/// What yields the token fails in each way that such programs know: a clear error, nothing of it in any log, and no login with half a token.
/// The next session asks anew, so a token that has expired is replaced by then.
#[test]
fn f48_tokens_that_cannot_be_had() {
    let dovecot = token_dovecot();
    let ca = dovecot.ca().display().to_string();
    let boxes = Boxes::new();
    let folder = tempfile::tempdir().unwrap();
    let with = |script: &str| {
        let file = folder.path().join("token.sh");
        std::fs::write(&file, script).unwrap();
        format!(
            "{}  tim: {{email: tim@example.org, server: localhost, port: {}, tls: {{ca_file: {ca}}}, recipient: {{forward_to: box@example.org}}, \
             auth: {{method: oauth2, token: {{command: [sh, '{}'], timeout: 2s}}}}}}\n",
            config(&boxes.delivery(), &[]),
            dovecot.imaps(),
            file.display()
        )
    };
    dovecot.put("tim@example.org", &letter(1, "anna@pop.example"));
    let program = Mailgather::new(&with(""));
    let cases = [
        ("a program that fails", "echo sesame-4711; echo 'invalid_grant: sign in again' >&2; exit 1", 202, "sign in again"),
        ("a page in place of a token", "echo '<html>sesame-4711 please sign in</html>'", 202, "visible ASCII"),
        ("nothing", "true", 202, "empty"),
        ("too much", "head -c 70000 /dev/zero | tr '\\0' a; echo sesame-4711", 202, "64 KiB"),
        ("no end", "echo sesame-4711; sleep 60", 202, "did not end within 2s"),
        ("a token that has expired", "echo sesame-4711", 203, "expired"),
    ];
    for (what, script, code, words) in cases {
        program.configure(&with(script));
        let done = program.once(&[]);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(&format!("MG-{code}")) && said.contains(words), "{what}: {said}");
        assert!(!said.contains("sesame-4711"), "{what}: {said}");
        assert_eq!(dovecot.count("tim@example.org"), 1);
    }
    // The server of tokens is out of order: nobody's secret is wrong.
    for token in ["broken-503", "broken-html"] {
        program.configure(&with(&format!("echo {token}")));
        let done = program.once(&[]);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains("MG-204") && !said.contains("MG-203"), "{token}: {said}");
    }
    assert_eq!(boxes.subjects("box@example.org").len(), 0);
    program.configure(&with("echo good-token"));
    program.once(&[]).expect_success();
    assert_eq!(boxes.subjects("box@example.org").len(), 1);
}
