//! Logins: each mechanism against a real Dovecot, by IMAP and POP3, and against scripted peers that do it wrong.

mod login_kit;
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use login_kit::{Attempt, Heard, attempt, attempt_over, imap_answer, peer, pop3_answer, server};
use mailgather::config::{AuthMethod, ClientCertificate, Protocol, Server, TlsMode};
use mailgather::source::{Retry, SourceErrorKind as Kind};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use support::Dovecot;
use support::dovecot::PASSWORD;

/// With every mechanism that Dovecot has and we speak.
fn dovecot(more: &str) -> Dovecot {
    let mechanisms = "auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 apop external xoauth2 oauthbearer\nauth_username_chars =\n";
    Dovecot::builder().extra(&format!("{mechanisms}{more}")).start()
}

fn at(dovecot: &Dovecot, protocol: Protocol, mode: TlsMode, method: AuthMethod) -> Server {
    let port = match (protocol, mode) {
        (Protocol::Imap, TlsMode::Implicit) => dovecot.imaps(),
        (Protocol::Imap, _) => dovecot.imap(),
        (Protocol::Pop3, TlsMode::Implicit) => dovecot.pop3s(),
        (Protocol::Pop3, _) => dovecot.pop3(),
    };
    let mut server = server(protocol, port, mode, method);
    server.tls.ca_file = Some(dovecot.ca());
    server
}

/// The mechanism of the last login, as Dovecot logged it.
fn last_method(dovecot: &Dovecot) -> String {
    let log = dovecot.log();
    let line = log.lines().rev().find(|line| line.contains("Login: user=")).unwrap_or_else(|| panic!("no login in {log}"));
    line.split("method=").nth(1).unwrap().split(',').next().unwrap().to_owned()
}

#[tokio::test]
async fn i6_c8_k7_m15_each_method_logs_in_and_is_refused_once() {
    let dovecot = dovecot("");
    use AuthMethod::*;
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for (method, disable, logged) in [
            (Auto, "", "SCRAM-SHA-256"),
            (Auto, "SCRAM-SHA-256", "SCRAM-SHA-1"),
            (Auto, "SCRAM-SHA-256 SCRAM-SHA-1", "CRAM-MD5"),
            (Auto, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5", "PLAIN"),
            (Auto, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN", "LOGIN"),
            (Auto, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN", "PLAIN"),
            // Dovecot logs its own command so.
            (Password, "", "PLAIN"),
            (Plain, "", "PLAIN"),
            (Login, "", "LOGIN"),
            (CramMd5, "", "CRAM-MD5"),
            (Scram, "", "SCRAM-SHA-256"),
            (Scram, "SCRAM-SHA-256", "SCRAM-SHA-1"),
        ] {
            let mut server = at(&dovecot, protocol, TlsMode::Implicit, method);
            server.auth.disable = disable.split_whitespace().map(str::to_owned).collect();
            let there = attempt(&server, PASSWORD).await;
            there.result.unwrap_or_else(|error| panic!("{protocol:?} {method:?} {disable}: {error}"));
            let masked = there.trace.iter().filter(|line| line.contains(" C: ") && line.ends_with("***")).count();
            assert!(masked > 0 && there.trace.iter().any(|line| line.contains(" S: ")), "{method:?} {disable}: {:?}", there.trace);
            assert_eq!(last_method(&dovecot), logged, "{protocol:?} {method:?} {disable}");
            let failures = || dovecot.log().matches("auth failed, 1 attempts").count();
            let before = failures();
            let error = attempt(&server, "wrong-horse").await.error();
            assert_eq!((error.kind, error.code(), error.retry()), (Kind::Auth, 203, Retry::Credentials), "{protocol:?} {method:?}: {error}");
            assert!(error.hint.is_some(), "{error:?}");
            support::eventually("one attempt is logged", support::SOON, || failures() == before + 1);
        }
    }
}

#[tokio::test]
async fn i5_m8_c11_p6_logins_over_each_channel() {
    let dovecot = dovecot("");
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for (mode, tls) in [(TlsMode::Implicit, true), (TlsMode::StartTls, true), (TlsMode::Opportunistic, true)] {
            attempt(&at(&dovecot, protocol, mode, AuthMethod::Auto), PASSWORD).await.result.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
            assert_eq!(dovecot.log().lines().rev().find(|line| line.contains("Login: user=")).unwrap().contains(", TLS"), tls, "{mode:?}");
        }
        // In the clear: only on purpose, however the password is hidden.
        let mut open = at(&dovecot, protocol, TlsMode::None, AuthMethod::Scram);
        let refused = attempt(&open, PASSWORD).await;
        assert_eq!((refused.result.unwrap_err().code()), 222);
        open.auth.allow_plaintext = true;
        attempt(&open, PASSWORD).await.result.unwrap();
    }
}

#[tokio::test]
async fn m7_k6_names_with_backslashes_and_beyond_ascii() {
    let dovecot = dovecot("");
    for name in ["dom\\juser\\j.user", "ü@example.org", "o'neil \"x\"@example.org"] {
        for (protocol, method) in [
            (Protocol::Imap, AuthMethod::Password),
            (Protocol::Imap, AuthMethod::Plain),
            (Protocol::Imap, AuthMethod::Scram),
            (Protocol::Pop3, AuthMethod::Password),
            (Protocol::Pop3, AuthMethod::Scram),
        ] {
            let mut server = at(&dovecot, protocol, TlsMode::Implicit, method);
            server.username = name.to_owned();
            attempt(&server, PASSWORD).await.result.unwrap_or_else(|error| panic!("{name} {method:?}: {error}\n{}", dovecot.log()));
        }
    }
}

#[tokio::test]
async fn c8_apop_at_dovecot() {
    let dovecot = dovecot("");
    let server = at(&dovecot, Protocol::Pop3, TlsMode::Implicit, AuthMethod::Apop);
    attempt(&server, PASSWORD).await.result.unwrap();
    assert_eq!(last_method(&dovecot), "APOP");
    assert_eq!(attempt(&server, "wrong").await.error().kind, Kind::Auth);
}

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
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for (disable, logged) in [("", "OAUTHBEARER"), ("OAUTHBEARER", "XOAUTH2")] {
            let mut server = at(&dovecot, protocol, TlsMode::Implicit, AuthMethod::OAuth2);
            server.auth.disable = disable.split_whitespace().map(str::to_owned).collect();
            for token in ["good-token", long] {
                attempt(&server, token).await.result.unwrap_or_else(|error| panic!("{protocol:?} {logged}: {error}\n{}", dovecot.log()));
                assert_eq!(last_method(&dovecot), logged);
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

/// A certificate authority for clients, and a client's certificate in `folder`.
fn client_certificate(folder: &Path, name: &str) -> ClientCertificate {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "authority of clients");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("clients.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let mut client = CertificateParams::new(vec![]).unwrap();
    client.distinguished_name = rcgen::DistinguishedName::new();
    client.distinguished_name.push(DnType::CommonName, name);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let files = ClientCertificate { cert: folder.join("us.pem"), key: folder.join("us.key") };
    std::fs::write(&files.cert, client.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).unwrap();
    files
}

#[tokio::test]
async fn m9_k7_a_client_certificate_is_shown_and_is_the_login() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let own = client_certificate(folder.path(), "tim@example.org");
    let dovecot = dovecot(&format!(
        "ssl_ca = <{}\nssl_require_crl = no\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\n\
         auth_ssl_username_from_cert = yes\nssl_cert_username_field = commonName\n\
         passdb {{\n driver = static\n mechanisms = external\n args = nopassword=y\n}}",
        folder.path().join("clients.pem").display()
    ));
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for mode in [TlsMode::Implicit, TlsMode::StartTls] {
            let mut server = at(&dovecot, protocol, mode, AuthMethod::External);
            server.tls.client_cert = Some(own.clone());
            let done = attempt(&server, "").await;
            assert_eq!(done.secret_read, 0, "there is no password");
            done.result.unwrap_or_else(|error| panic!("{protocol:?} {mode:?}: {error}\n{}", dovecot.log()));
            assert_eq!(last_method(&dovecot), "EXTERNAL");
            // With a password beside it.
            server.auth.method = AuthMethod::Plain;
            attempt(&server, PASSWORD).await.result.unwrap();
            // Without one the server lets nobody in.
            server.tls.client_cert = None;
            assert!(attempt(&server, PASSWORD).await.result.is_err());
        }
    }
}

/// A SCRAM-SHA-256 server for the password "pencil" that can do each step wrong.
struct ScramServer {
    step: usize,
    iterations: &'static str,
    foreign_nonce: bool,
    right: bool,
    early_ok: bool,
    key: Vec<u8>,
    message: String,
}

impl ScramServer {
    fn new() -> ScramServer {
        ScramServer { step: 0, iterations: "4096", foreign_nonce: false, right: true, early_ok: false, key: vec![], message: String::new() }
    }

    fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    /// The answer to a client's message: a challenge, or `None` for OK.
    fn answer(&mut self, message: &[u8]) -> Option<String> {
        self.step += 1;
        let text = String::from_utf8(message.to_vec()).unwrap();
        match self.step {
            1 => {
                let bare = text.strip_prefix("n,,").unwrap();
                let nonce = bare.split_once("r=").unwrap().1;
                let nonce = if self.foreign_nonce { "somebody-elses" } else { nonce };
                let first = format!("r={nonce}SERVER,s={},i={}", STANDARD.encode("salt"), self.iterations);
                self.message = format!("{bare},{first}");
                Some(first)
            }
            2 => {
                let (without_proof, proof) = text.rsplit_once(",p=").unwrap();
                let mut salted = [0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", b"salt", 4096, &mut salted);
                let message = format!("{},{without_proof}", self.message);
                let client_key = Self::keyed(&salted, b"Client Key");
                let signature = Self::keyed(&Sha256::digest(&client_key), message.as_bytes());
                let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
                assert_eq!(STANDARD.decode(proof).unwrap(), expected, "our proof is right");
                if self.early_ok {
                    return None;
                }
                self.key = Self::keyed(&salted, b"Server Key");
                let mut signature = Self::keyed(&self.key, message.as_bytes());
                if !self.right {
                    signature[0] ^= 1;
                }
                Some(format!("v={}", STANDARD.encode(signature)))
            }
            _ => None,
        }
    }
}

/// A login at a scripted server: `respond` gets the decoded messages of the client, and says the next challenge or OK.
async fn scripted(
    protocol: Protocol,
    method: AuthMethod,
    mechanism: &'static str,
    secret: &'static str,
    mut respond: impl FnMut(&[u8]) -> Option<String> + Send + 'static,
    refuse: bool,
) -> (Attempt, Heard) {
    let (ok, refusal) = match protocol {
        Protocol::Imap => ("@ OK in\r\n", "@ NO [AUTHENTICATIONFAILED] no\r\n"),
        Protocol::Pop3 => ("+OK in\r\n", "-ERR [AUTH] no\r\n"),
    };
    let mut busy = false;
    let answer = move |command: &str| {
        let begins = command.starts_with("AUTHENTICATE ") || command.starts_with("AUTH ");
        if !begins && !busy {
            return match command {
                "CAPA" => format!("+OK\r\nUIDL\r\nSASL {mechanism}\r\n.\r\n"),
                _ if protocol == Protocol::Imap => imap_answer(command),
                _ => pop3_answer(command),
            };
        }
        busy = true;
        if command == "*" {
            busy = false;
            return if protocol == Protocol::Imap { "@ BAD cancelled\r\n".into() } else { "-ERR cancelled\r\n".into() };
        }
        let message = if begins {
            match command.split(' ').nth(2) {
                Some(initial) => STANDARD.decode(initial).unwrap(),
                None => return "+ \r\n".into(),
            }
        } else {
            STANDARD.decode(command).unwrap_or_else(|_| panic!("{command}"))
        };
        match respond(&message) {
            Some(challenge) => format!("+ {}\r\n", STANDARD.encode(challenge)),
            None => {
                busy = false;
                if refuse { refusal.into() } else { ok.into() }
            }
        }
    };
    let greeting = match protocol {
        Protocol::Imap => format!("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH={mechanism}] hi\r\n"),
        Protocol::Pop3 => "+OK hi\r\n".to_owned(),
    };
    let (channel, heard) = peer(&greeting, answer);
    let mut server = server(protocol, 1, TlsMode::Implicit, method);
    server.auth.domain = Some("Domain".into());
    server.username = "User".into();
    (attempt_over(channel, &server, secret).await, heard)
}

#[tokio::test]
async fn f49_scram_servers_that_do_not_know_the_password_are_not_believed() {
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for (change, kind, words) in [
            ("none", None, ""),
            ("signature", Some(Kind::Auth), "did not prove"),
            ("early ok", Some(Kind::Auth), "did not prove"),
            ("iterations", Some(Kind::Protocol), "1000000000 iterations"),
            ("few iterations", Some(Kind::Protocol), "1 iterations"),
            ("nonce", Some(Kind::Protocol), "does not extend ours"),
        ] {
            let mut scram = ScramServer::new();
            match change {
                "signature" => scram.right = false,
                "early ok" => scram.early_ok = true,
                "iterations" => scram.iterations = "1000000000",
                "few iterations" => scram.iterations = "1",
                "nonce" => scram.foreign_nonce = true,
                _ => {}
            }
            let begun = Instant::now();
            let respond = move |message: &[u8]| scram.answer(message);
            let (attempt, heard) = scripted(protocol, AuthMethod::Scram, "SCRAM-SHA-256", "pencil", respond, false).await;
            assert!(begun.elapsed() < Duration::from_secs(10), "{change}: no CPU bomb");
            match kind {
                None => attempt.result.unwrap(),
                Some(kind) => {
                    let error = attempt.error();
                    assert_eq!((error.kind, error.stage), (kind, "login"), "{change}: {error}");
                    assert!(error.to_string().contains(words), "{change}: {error}");
                    let said = heard.lines();
                    assert_eq!(said.iter().any(|line| line == "*"), change != "early ok", "{change}: {said:?}");
                    // No second mechanism, no second try, and no mail.
                    assert_eq!(said.iter().filter(|line| line.starts_with("AUTH")).count(), 1);
                    assert!(!said.iter().any(|line| line.starts_with("SELECT") || line.starts_with("STAT")), "{said:?}");
                }
            }
        }
    }
}

/// A CHALLENGE_MESSAGE with a target name pair, and a time if asked for.
fn ntlm_challenge(with_time: bool) -> Vec<u8> {
    let mut info = vec![2, 0, 2, 0, b'D', 0];
    if with_time {
        info.extend([7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    info.extend([0; 4]);
    let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
    message.extend([0; 8]);
    message.extend(0x0080_0201u32.to_le_bytes());
    message.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    message.extend([0; 8]);
    message.extend((info.len() as u16).to_le_bytes());
    message.extend((info.len() as u16).to_le_bytes());
    message.extend(56u32.to_le_bytes());
    message.extend([0; 8]);
    message.extend(info);
    message
}

/// The user, domain and password of MS-NLMP §4.2.1, whose NTOWFv2 stands in §4.2.4.1.1.
#[tokio::test]
async fn c9_ntlm_with_the_key_of_ms_nlmp() {
    const KEY: [u8; 16] = [0x0c, 0x86, 0x8a, 0x40, 0x3b, 0xfd, 0x7a, 0x93, 0xa3, 0x00, 0x1e, 0xf2, 0x2e, 0xf0, 0x2e, 0x3f];
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for with_time in [false, true] {
            let mut step = 0;
            let respond = move |message: &[u8]| {
                step += 1;
                assert_eq!(&message[..8], b"NTLMSSP\0");
                if step == 1 {
                    assert_eq!(message[8], 1);
                    return Some(ntlm_challenge(with_time));
                }
                let field = |at: usize| {
                    let number = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap()) as usize;
                    message[number(at + 4)..number(at + 4) + (number(at) & 0xffff)].to_vec()
                };
                let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
                assert_eq!((message[8], field(28), field(36)), (3, utf16("Domain"), utf16("User")));
                let nt = field(20);
                let mut mac = Hmac::<Md5>::new_from_slice(&KEY).unwrap();
                mac.update(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
                mac.update(&nt[16..]);
                assert_eq!(nt[..16], mac.finalize().into_bytes()[..], "NTProofStr");
                None
            };
            let (attempt, _) = scripted_octets(protocol, AuthMethod::Ntlm, "NTLM", "Password", respond).await;
            attempt.result.unwrap();
        }
    }
}

#[tokio::test]
async fn f49_hostile_ntlm_challenges_end_the_login() {
    let good = ntlm_challenge(true);
    let mut far = good.clone();
    far[44..48].fill(0xff);
    for bad in [b"".to_vec(), b"NTLMSSP\0".to_vec(), good[..40].to_vec(), far, vec![0xff; 4096], b"NTLM error 42".to_vec()] {
        for protocol in [Protocol::Imap, Protocol::Pop3] {
            let (bad, mut step) = (bad.clone(), 0);
            let respond = move |_: &[u8]| {
                step += 1;
                (step == 1).then(|| bad.clone())
            };
            let (attempt, heard) = scripted_octets(protocol, AuthMethod::Ntlm, "NTLM", "Password", respond).await;
            let error = attempt.error();
            // POP3 has shorter lines.
            assert!(error.kind == Kind::Protocol, "{error}");
            let lines = heard.lines();
            assert!(lines.last().is_some_and(|line| line == "*") || error.to_string().contains("no answer of a POP3 server"), "{lines:?} {error}");
        }
    }
}

/// As [`scripted`], for challenges that are not text.
async fn scripted_octets(
    protocol: Protocol,
    method: AuthMethod,
    mechanism: &'static str,
    secret: &'static str,
    mut respond: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> (Attempt, Heard) {
    let mut busy = false;
    let answer = move |command: &str| {
        let begins = command.starts_with("AUTHENTICATE ") || command.starts_with("AUTH ");
        if !begins && !busy {
            return match command {
                "CAPA" => format!("+OK\r\nUIDL\r\nSASL {mechanism}\r\n.\r\n"),
                _ if protocol == Protocol::Imap => imap_answer(command),
                _ => pop3_answer(command),
            };
        }
        busy = command != "*";
        if !busy {
            return if protocol == Protocol::Imap { "@ BAD cancelled\r\n".into() } else { "-ERR cancelled\r\n".into() };
        }
        let message = match (begins, command.split(' ').nth(2)) {
            (true, None) => return "+ \r\n".into(),
            (true, Some(initial)) => STANDARD.decode(initial).unwrap(),
            (false, _) => STANDARD.decode(command).unwrap(),
        };
        match respond(&message) {
            Some(challenge) => format!("+ {}\r\n", STANDARD.encode(challenge)),
            None => {
                busy = false;
                if protocol == Protocol::Imap { "@ OK in\r\n".into() } else { "+OK in\r\n".into() }
            }
        }
    };
    let greeting = match protocol {
        Protocol::Imap => format!("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH={mechanism}] hi\r\n"),
        Protocol::Pop3 => "+OK hi\r\n".to_owned(),
    };
    let (channel, heard) = peer(&greeting, answer);
    let mut server = server(protocol, 1, TlsMode::Implicit, method);
    server.auth.domain = Some("Domain".into());
    server.username = "User".into();
    (attempt_over(channel, &server, secret).await, heard)
}

#[tokio::test]
async fn f49_odd_challenges_are_cancelled_and_nothing_weaker_follows() {
    for (method, mechanism, challenges) in [
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ PDE4\tOTY+\r\n"][..]),
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ \0\r\n"]),
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ PDE4OTY+\r\n", "+ PDE4OTY+\r\n"]),
        (AuthMethod::Login, "LOGIN PLAIN", &["+ \r\n", "+ \r\n", "+ \r\n"]),
        (AuthMethod::Scram, "SCRAM-SHA-1 PLAIN", &["+ \r\n", "+ !!!\r\n"]),
        (AuthMethod::Plain, "PLAIN LOGIN", &["+ \r\n", "+ more\r\n"]),
        (AuthMethod::OAuth2, "XOAUTH2 PLAIN", &["+ \r\n", "+ e30=\r\n", "+ e30=\r\n"]),
    ] {
        for protocol in [Protocol::Imap, Protocol::Pop3] {
            let mut left = challenges.iter();
            let answer = move |command: &str| match command {
                "CAPA" => format!("+OK\r\nUIDL\r\nSASL {mechanism}\r\n.\r\n"),
                "*" if protocol == Protocol::Imap => "@ BAD cancelled\r\n".into(),
                "*" => "-ERR cancelled\r\n".into(),
                _ => left.next().map_or_else(|| "@ OK in\r\n".into(), ToString::to_string),
            };
            let offers: String = mechanism.split(' ').map(|name| format!(" AUTH={name}")).collect();
            let greeting = if protocol == Protocol::Imap { format!("* OK [CAPABILITY IMAP4rev1{offers}] hi\r\n") } else { "+OK hi\r\n".into() };
            let (channel, heard) = peer(&greeting, answer);
            let mut server = server(protocol, 1, TlsMode::Implicit, method);
            server.username = "u".into();
            let error = attempt_over(channel, &server, "token").await.error();
            assert_eq!((error.kind, error.stage), (Kind::Protocol, "login"), "{protocol:?} {method:?}: {error}");
            let lines = heard.lines();
            assert_eq!(lines.iter().filter(|line| line.starts_with("AUTH") || line.starts_with("LOGIN") || line.starts_with("USER")).count(), 1);
            assert_eq!(lines.last().map(String::as_str), Some("*"), "{method:?} {lines:?}");
        }
    }
}

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
        for protocol in [Protocol::Imap, Protocol::Pop3] {
            let answer = move |command: &str| if command == "CAPA" { format!("+OK\r\nSASL {offered}\r\nUSER\r\n.\r\n") } else { "@ OK\r\n".into() };
            let offers: String = offered.split(' ').map(|name| format!(" AUTH={name}")).collect();
            let greeting = if protocol == Protocol::Imap { format!("* OK [CAPABILITY IMAP4rev1{offers}] hi\r\n") } else { "+OK hi\r\n".into() };
            let (channel, heard) = peer(&greeting, answer);
            let attempt = attempt_over(channel, &server(protocol, 1, TlsMode::Implicit, method), "pw").await;
            assert!(attempt.secret_read == 0 || protocol == Protocol::Pop3);
            let error = attempt.error();
            assert!(error.text.contains("does not offer"), "{error}");
            assert!(heard.lines().iter().all(|line| line == "CAPA"), "{:?}", heard.lines());
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
    let boxes = support::Boxes::new();
    let mut yaml = support::config(&boxes.delivery(), &[]);
    for (n, (id, email, user, keys)) in collectors.iter().enumerate() {
        dovecot.put(user, &support::corpus::letter(n, "anna@pop.example"));
        yaml += &format!("  {id}: {{email: {email}, server: localhost, recipient: {{forward_to: box@example.org}}, {keys}}}\n");
    }
    support::Mailgather::new(&yaml).once(&[]).expect_success();
    assert_eq!(boxes.subjects("box@example.org").len(), collectors.len());
    let log = dovecot.log();
    for login in [
        "user=<paul@example.org>, method=SCRAM-SHA-256",
        "user=<anna>, method=SCRAM-SHA-256",
        "method=OAUTHBEARER",
        "method=APOP",
        "user=<zoe@example.org>, method=LOGIN",
    ] {
        assert!(log.contains(login), "{login} is not in {log}");
    }
    // Another certificate, a wrong token: told with their numbers, and nothing of the secret.
    let wrong = yaml.replace(&fingerprint, &"0f".repeat(32)).replace("good-token", "stale-token");
    let done = support::Mailgather::new(&wrong).once(&["named", "token"]);
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
    let boxes = support::Boxes::new();
    let folder = tempfile::tempdir().unwrap();
    let with = |script: &str| {
        let file = folder.path().join("token.sh");
        std::fs::write(&file, script).unwrap();
        format!(
            "{}  tim: {{email: tim@example.org, server: localhost, port: {}, tls: {{ca_file: {ca}}}, recipient: {{forward_to: box@example.org}}, \
             auth: {{method: oauth2, token: {{command: [sh, '{}'], timeout: 2s}}}}}}\n",
            support::config(&boxes.delivery(), &[]),
            dovecot.imaps(),
            file.display()
        )
    };
    dovecot.put("tim@example.org", &support::corpus::letter(1, "anna@pop.example"));
    let program = support::Mailgather::new(&with(""));
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
