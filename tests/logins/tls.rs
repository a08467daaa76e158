//! TLS: certificates that are wrong in each way, STARTTLS with somebody on the line, handshakes that never end.

use crate::login_kit::{Attempt, Heard, attempt, imap_answer, pop3_answer, server};
use crate::support::certificates::{Authority, Identity, for_names};
use mailgather::config::{AuthMethod, Protocol, Server, Tls, TlsBackend, TlsMode, TlsVerify, TlsVersion};
use mailgather::mail::code;
use mailgather::source::SourceErrorKind as Kind;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn acceptor(identity: &Identity, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
    TlsAcceptor::from(identity.server_of(versions))
}

/// Plain octets that a server says before TLS, or instead of it.
#[derive(Clone, Copy, Default)]
struct Tricks {
    /// Behind the greeting, and once more in front of the answer to STARTTLS.
    greeted: &'static str,
    before: &'static str,
    /// Behind the answer to STARTTLS: at once, and in a later segment.
    behind: &'static str,
    later: &'static str,
    /// Ends the connection without close_notify after this command.
    cut_after: &'static str,
}

/// A server for one connection: TLS at once or by STARTTLS, and a mailbox with nothing in it.
async fn serve(acceptor: TlsAcceptor, protocol: Protocol, mode: TlsMode, tricks: Tricks) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let noted = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = converse(stream, &acceptor, protocol, mode, tricks, &noted).await;
        }
    });
    (port, heard)
}

async fn converse(mut stream: TcpStream, acceptor: &TlsAcceptor, protocol: Protocol, mode: TlsMode, tricks: Tricks, heard: &Heard) -> Option<()> {
    let imap = protocol == Protocol::Imap;
    if mode == TlsMode::StartTls {
        let greeting = if imap { "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n" } else { "+OK hi\r\n" };
        stream.write_all(format!("{greeting}{}", tricks.greeted).as_bytes()).await.ok()?;
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).await.ok()?;
        heard.note(line.trim_end());
        let tag = line.split(' ').next()?.to_owned();
        let go = if imap { format!("{tag} OK go\r\n") } else { "+OK go\r\n".into() };
        stream.write_all(format!("{}{go}{}", tricks.before, tricks.behind).as_bytes()).await.ok()?;
        if !tricks.later.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stream.write_all(tricks.later.as_bytes()).await.ok()?;
        }
    }
    let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
    heard.note("TLS");
    if mode != TlsMode::StartTls {
        let greeting = if imap { "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS] hi\r\n" } else { "+OK hi\r\n" };
        stream.write_all(greeting.as_bytes()).await.ok()?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let (tag, command) = if imap { line.trim_end().split_once(' ')? } else { ("", line.trim_end()) };
        heard.note(command);
        let answer = match command.split(' ').next()? {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS\r\n@ OK done\r\n".into(),
            "AUTHENTICATE" | "LOGIN" => "@ OK in\r\n".into(),
            "CAPA" => "+OK\r\nUIDL\r\nUSER\r\n.\r\n".into(),
            "USER" | "PASS" => "+OK\r\n".into(),
            _ if imap => imap_answer(command),
            _ => pop3_answer(command),
        };
        stream.write_all(answer.replace('@', tag).as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        if !tricks.cut_after.is_empty() && command.starts_with(tricks.cut_after) {
            // The TCP connection ends, TLS does not.
            let (tcp, _) = stream.into_inner().into_inner();
            drop(tcp);
            return None;
        }
    }
}

fn client(port: u16, protocol: Protocol, tls: Tls) -> Server {
    Server { tls, ..server(protocol, port, TlsMode::Implicit, AuthMethod::Auto) }
}

fn says_nothing_of_login(heard: &Heard) {
    let lines = heard.lines();
    assert!(!lines.iter().any(|line| line.contains("LOGIN") || line.contains("AUTH") || line.contains("USER") || line.contains("PASS")), "{lines:?}");
}

/// Refused with these words and a hint, before anything was said.
fn refused(case: &str, attempt: Attempt, heard: &Heard, words: &str) {
    says_nothing_of_login(heard);
    let error = attempt.error();
    assert_eq!((error.kind, error.code()), (Kind::Tls, code::CERTIFICATE), "{case}: {error}");
    assert!(error.text.contains(words), "{case}: {error}");
    assert!(error.hint.is_some(), "{case}: what is to be done? {error}");
}

#[tokio::test]
async fn f16_certificates_that_are_wrong_are_refused_before_the_login() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (case, identity, words) in authority.wrong(&other) {
        for (protocol, mode) in [
            (Protocol::Imap, TlsMode::Implicit),
            (Protocol::Imap, TlsMode::StartTls),
            (Protocol::Pop3, TlsMode::Implicit),
            (Protocol::Pop3, TlsMode::StartTls),
        ] {
            let acceptor = acceptor(&identity, rustls::ALL_VERSIONS);
            let (port, heard) = serve(acceptor, protocol, mode, Tricks::default()).await;
            let tls = Tls { ca_file: Some(authority.file()), ..Tls::mode(mode) };
            let attempt = attempt(&client(port, protocol, tls.clone()), "hunter2").await;
            if let Err(error) = &attempt.result {
                assert!(!format!("{error} {:?}", error.hint).contains(['\u{1b}', '\u{202e}', '\0']), "{case}: {error:?}");
            }
            refused(case, attempt, &heard, words);
        }
        // The same certificate, named by its fingerprint, is the right one; and with `off` any is.
        let fingerprint: [u8; 32] = Sha256::digest(&identity.certificate).into();
        for verify in [TlsVerify::Fingerprint(vec![[0; 32], fingerprint]), TlsVerify::Off] {
            let (port, heard) = serve(acceptor(&identity, rustls::ALL_VERSIONS), Protocol::Imap, TlsMode::Implicit, Tricks::default()).await;
            let tls = Tls { verify: verify.clone(), ..Tls::default() };
            attempt(&client(port, Protocol::Imap, tls), "hunter2").await.result.unwrap_or_else(|error| panic!("{case} {verify:?}: {error}"));
            assert!(heard.lines().iter().any(|line| line.starts_with("AUTHENTICATE")));
        }
    }
}

#[tokio::test]
async fn m9_the_right_certificate_and_none_but_the_named_one() {
    let authority = Authority::new();
    let (named, other) = (authority.sign(for_names(&["localhost"])), authority.sign(for_names(&["localhost"])));
    let fingerprint: [u8; 32] = Sha256::digest(&named.certificate).into();
    for (protocol, mode) in [(Protocol::Imap, TlsMode::Implicit), (Protocol::Pop3, TlsMode::StartTls), (Protocol::Imap, TlsMode::Opportunistic)] {
        let served = if mode == TlsMode::Implicit { mode } else { TlsMode::StartTls };
        for (identity, verify, fine) in [
            (&named, TlsVerify::Full, true),
            (&named, TlsVerify::Fingerprint(vec![fingerprint]), true),
            // Signed by the same authority, and all the same another one.
            (&other, TlsVerify::Fingerprint(vec![fingerprint]), false),
        ] {
            let (port, heard) = serve(acceptor(identity, rustls::ALL_VERSIONS), protocol, served, Tricks::default()).await;
            let tls = Tls { ca_file: Some(authority.file()), verify, ..Tls::mode(mode) };
            let attempt = attempt(&client(port, protocol, tls), "hunter2").await;
            if fine {
                attempt.result.unwrap_or_else(|error| panic!("{protocol:?} {mode:?}: {error}"));
            } else {
                refused("another certificate", attempt, &heard, "not one of `tls.fingerprint`");
            }
        }
    }
}

#[tokio::test]
async fn the_oldest_version_that_is_spoken() {
    let authority = Authority::new();
    let identity = authority.sign(for_names(&["localhost"]));
    for (versions, least, fine) in [
        (&[&rustls::version::TLS12][..], TlsVersion::V1_2, true),
        (&[&rustls::version::TLS12], TlsVersion::V1_3, false),
        (&[&rustls::version::TLS13], TlsVersion::V1_3, true),
    ] {
        let (port, heard) = serve(acceptor(&identity, versions), Protocol::Imap, TlsMode::Implicit, Tricks::default()).await;
        let tls = Tls { ca_file: Some(authority.file()), min_version: least, ..Tls::default() };
        let attempt = attempt(&client(port, Protocol::Imap, tls), "hunter2").await;
        if fine {
            attempt.result.unwrap();
        } else {
            refused("too old", attempt, &heard, "");
        }
    }
}

/// A server of `openssl s_server` with these arguments, on a port of its own.
struct OpenSsl {
    child: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl OpenSsl {
    /// `None` if there is no openssl here.
    fn start(key: &[&str], arguments: &[&str]) -> Option<(OpenSsl, PathBuf)> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (key_file, cert_file) = (file("k.pem"), file("c.pem"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-nodes", "-days", "10", "-subj", "/CN=weak", "-addext", "subjectAltName=DNS:localhost"]);
        make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key_file, "-out", &cert_file]).args(key);
        if !make.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?.success() {
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = Command::new("openssl");
        serve.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key", &key_file, "-cert", &cert_file]).args(arguments);
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "openssl s_server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let ca = folder.path().join("c.pem");
        Some((OpenSsl { child, port, _folder: folder }, ca))
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn f16_weak_keys_and_old_versions_are_refused() {
    for (case, key, arguments, words) in [
        ("a key of 1024 bits", &["-newkey", "rsa:1024"][..], &["-cipher", "DEFAULT@SECLEVEL=0"][..], "too weak"),
        ("TLS 1.1", &["-newkey", "rsa:2048"], &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "TLS"),
        ("TLS 1.0", &["-newkey", "rsa:2048"], &["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "TLS"),
    ] {
        let Some((openssl, ca)) = OpenSsl::start(key, arguments) else { panic!("openssl is not installed: tests/run installs what the tests need") };
        let tls = Tls { ca_file: Some(ca), ..Tls::default() };
        let attempt = attempt(&client(openssl.port, Protocol::Imap, tls), "hunter2").await;
        refused(case, attempt, &Heard::default(), words);
    }
}

/// In a build with `legacy-tls` only: what such servers need is spoken, and the same certificates are refused.
#[cfg(feature = "legacy-tls")]
#[tokio::test]
async fn old_servers_are_reached_on_purpose() {
    use mailgather::net::{TlsClient, tcp};
    let limit = Some(Duration::from_secs(20));
    let old = |version: &'static str| [version, "-rev", "-cipher", "DEFAULT@SECLEVEL=0"];
    for (version, least) in [("-tls1", TlsVersion::V1_0), ("-tls1_1", TlsVersion::V1_1)] {
        let (openssl, ca) = OpenSsl::start(&["-newkey", "rsa:2048"], &old(version)).unwrap();
        let pem = std::fs::read(&ca).unwrap();
        let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem).unwrap();
        let own: [u8; 32] = Sha256::digest(&der).into();
        for (verify, trusts, host, level, least, words) in [
            (TlsVerify::Full, true, "localhost", Some(0), least, None),
            (TlsVerify::Fingerprint(vec![own]), false, "127.0.0.1", Some(0), least, None),
            (TlsVerify::Off, false, "127.0.0.1", Some(0), least, None),
            (TlsVerify::Full, false, "localhost", Some(0), least, Some("not trusted")),
            (TlsVerify::Full, true, "127.0.0.1", Some(0), least, Some("not trusted")),
            (TlsVerify::Fingerprint(vec![[0; 32]]), true, "localhost", Some(0), least, Some("not one of `tls.fingerprint`")),
            (TlsVerify::Full, true, "localhost", Some(0), TlsVersion::V1_2, Some("handshake")),
            (TlsVerify::Full, true, "localhost", Some(2), least, Some("handshake")),
        ] {
            let tls = Tls {
                verify: verify.clone(),
                ca_file: trusts.then(|| ca.clone()),
                min_version: least,
                backend: TlsBackend::OpenSsl { security_level: level },
                ..Tls::default()
            };
            let channel = tcp("127.0.0.1", openssl.port, limit).await.unwrap();
            match (TlsClient::new(&tls).unwrap().secure(channel, host, limit).await, words) {
                (Ok(mut channel), None) => {
                    assert!(channel.is_tls() && channel.is_private());
                    channel.write_all(b"abc\n").await.unwrap();
                    let mut answer = [0; 4];
                    channel.read_exact(&mut answer).await.unwrap();
                    assert_eq!(&answer, b"cba\n");
                }
                (Err(error), Some(words)) => assert!(error.text.contains(words), "{verify:?}: {error}"),
                (other, words) => panic!("{version} {verify:?} {host}: {other:?}, not {words:?}"),
            }
        }
    }
}

/// F10, f12, f15: somebody on the line.
#[tokio::test]
async fn f15_octets_behind_starttls_end_the_session() {
    let authority = Authority::new();
    let identity = authority.sign(for_names(&["localhost"]));
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        let injected = if protocol == Protocol::Imap { "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n" } else { "+OK\r\n" };
        for tricks in [Tricks { behind: injected, ..Tricks::default() }, Tricks { later: injected, ..Tricks::default() }] {
            let (port, heard) = serve(acceptor(&identity, rustls::ALL_VERSIONS), protocol, TlsMode::StartTls, tricks).await;
            let tls = Tls { ca_file: Some(authority.file()), ..Tls::mode(TlsMode::StartTls) };
            let error = attempt(&client(port, protocol, tls), "hunter2").await.error();
            assert_eq!((error.kind, error.stage), (Kind::Tls, "starttls"), "{error}");
            assert!(heard.lines().iter().all(|line| line.ends_with("STARTTLS") || line == "STLS"), "{:?}", heard.lines());
        }
    }
}

/// What somebody says before TLS, without a question: state, capabilities that would lead to another login, a login that nobody made.
const STATE: [&str; 9] = [
    "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=CRAM-MD5\r\n",
    "* 99 EXISTS\r\n* 9 RECENT\r\n* 1 EXPUNGE\r\n",
    "* OK [UIDVALIDITY 666] x\r\n* OK [UIDNEXT 667] x\r\n",
    "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] you are in\r\n",
    "* LIST () \"/\" \"injected\"\r\n* FLAGS (\\Seen)\r\n",
    "* SEARCH 1 2 3\r\n* ESEARCH UID ALL 1:9\r\n",
    "* 1 FETCH (UID 1 FLAGS (\\Deleted) BODY[] {8}\r\ninjected)\r\n",
    "* OK [ALERT] log in at evil.example\r\n* NO x\r\n* BAD x\r\n",
    "* ID (\"name\" \"x\")\r\n* NAMESPACE NIL NIL NIL\r\n* XYZZY\r\n",
];

/// The session that follows is the same as if it had not been said: capabilities are asked for under TLS, the login is the one that the server offers
/// there, and the mailbox is what it says there.
#[tokio::test]
async fn f10_nothing_that_was_said_before_tls_is_believed() {
    let authority = Authority::new();
    let identity = authority.sign(for_names(&["localhost"]));
    let tls = Tls { ca_file: Some(authority.file()), ..Tls::mode(TlsMode::StartTls) };
    for said in STATE {
        for tricks in [Tricks { greeted: said, ..Tricks::default() }, Tricks { before: said, ..Tricks::default() }] {
            let (port, heard) = serve(acceptor(&identity, rustls::ALL_VERSIONS), Protocol::Imap, TlsMode::StartTls, tricks).await;
            let attempt = attempt(&client(port, Protocol::Imap, tls.clone()), "hunter2").await;
            attempt.result.unwrap_or_else(|error| panic!("{said}: {error}"));
            let selected = attempt.selected.unwrap();
            assert_eq!((selected.epoch.0, selected.exists, selected.uid_next), (77, 0, Some(10)), "{said}");
            let lines = heard.lines();
            let commands: Vec<&str> = lines.iter().map(|line| line.split(' ').find(|word| !word.starts_with('a')).unwrap_or_default()).collect();
            assert_eq!(commands, ["STARTTLS", "TLS", "CAPABILITY", "AUTHENTICATE", "SELECT", "CAPABILITY", "LOGOUT"], "{said}: {lines:?}");
            assert!(lines[3].starts_with("AUTHENTICATE PLAIN "), "{said}: {lines:?}");
        }
    }
}

/// By POP3 each answer belongs to a command, so what nobody asked for is taken for the answer to STLS, and then there is no TLS: an end, and no login.
#[tokio::test]
async fn f12_lines_that_nobody_asked_for_end_the_session_before_the_login() {
    let authority = Authority::new();
    let identity = authority.sign(for_names(&["localhost"]));
    let tls = Tls { ca_file: Some(authority.file()), ..Tls::mode(TlsMode::StartTls) };
    for said in [
        "+OK\r\n",
        "+OK\r\nUSER\r\nSTLS\r\n.\r\n",
        "+OK 2 messages\r\n1 a\r\n2 b\r\n.\r\n",
        "-ERR [AUTH] no\r\n",
        "+ \r\n",
        ".\r\n",
        "* OK x\r\n",
        "\r\n",
    ] {
        for tricks in [Tricks { greeted: said, ..Tricks::default() }, Tricks { before: said, ..Tricks::default() }] {
            let (port, heard) = serve(acceptor(&identity, rustls::ALL_VERSIONS), Protocol::Pop3, TlsMode::StartTls, tricks).await;
            let mut server = client(port, Protocol::Pop3, tls.clone());
            (server.connect_timeout, server.idle_timeout) = (Some(Duration::from_secs(5)), Some(Duration::from_secs(5)));
            let begun = Instant::now();
            let error = attempt(&server, "hunter2").await.error();
            assert!(matches!(error.kind, Kind::Tls | Kind::Protocol) && error.stage == "starttls", "{said}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(12), "{said}: {error}");
            // It may be over before the server has looked.
            assert!(heard.lines().iter().all(|line| line == "STLS"), "{said}: {:?}", heard.lines());
        }
    }
}

/// A peer in the clear that says these lines, one for each that it hears.
async fn open_peer(lines: &'static [&'static str]) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let noted = heard.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut tag = String::new();
        for said in lines {
            if stream.write_all(said.replace('@', &tag).as_bytes()).await.is_err() {
                return;
            }
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            noted.note(line.trim_end());
            tag = line.split(' ').next().unwrap_or_default().to_owned();
        }
    });
    (port, heard)
}

#[tokio::test]
async fn f10_f12_stripped_starttls_gets_no_login() {
    use Protocol::{Imap, Pop3};
    use TlsMode::{None as Open, Opportunistic, StartTls};
    for (protocol, mode, lines) in [
        // Absent, refused, odd, and a greeting that is logged in.
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"][..]),
        (Imap, StartTls, &["* OK hi\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n@ OK done\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "@ NO no\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "@ BAD no\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "+ go on\r\n"]),
        (Imap, StartTls, &["* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "@ NO [REFERRAL imap://evil.example/] no\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n* PREAUTH [CAPABILITY IMAP4rev1] in\r\n", "@ NO no\r\n"]),
        (Imap, StartTls, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "@ NO no\r\n"]),
        (Imap, Opportunistic, &["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"]),
        (Imap, Opportunistic, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "@ NO no\r\n"]),
        (Imap, Opportunistic, &["* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "@ NO no\r\n"]),
        (Imap, Open, &["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"]),
        (Pop3, StartTls, &["+OK hi\r\n", "-ERR no\r\n"]),
        (Pop3, StartTls, &["+OK hi\r\n", "-ERR [SYS/PERM] no\r\n"]),
        (Pop3, StartTls, &["+OK hi\r\n", "-ERR [AUTH] log in first\r\n"]),
        (Pop3, StartTls, &["+OK hi\r\n", "+ go on\r\n"]),
        (Pop3, StartTls, &["+OK <1896.1@h.example> hi\r\n", "-ERR no\r\n"]),
        (Pop3, StartTls, &["+OK hi\r\n", "+OK\r\nUSER\r\nSTLS\r\n.\r\n"]),
        (Pop3, Opportunistic, &["+OK hi\r\n", "+OK\r\nUSER\r\n.\r\n"]),
        (Pop3, Opportunistic, &["+OK hi\r\n", "+OK\r\nSTLS\r\nUSER\r\n.\r\n", "-ERR no\r\n"]),
        (Pop3, Opportunistic, &["+OK hi\r\n", "+OK\r\nSTLS\r\n.\r\n", "+OK begin\r\n+OK\r\n"]),
        (Pop3, Opportunistic, &["+OK <1896.1@h.example> hi\r\n", "+OK\r\nSASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\r\nUSER\r\n.\r\n"]),
        (Pop3, Opportunistic, &["+OK hi\r\n", "+OK\r\nUSER\r\n.\r\n+OK\r\nSTLS\r\n.\r\n"]),
        (Pop3, Open, &["+OK hi\r\n", "+OK\r\nSASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\r\nUSER\r\n.\r\n"]),
        (Pop3, Opportunistic, &["+OK hi\r\n", "-ERR what\r\n"]),
        (Pop3, Open, &["+OK <1.2@h> hi\r\n", "-ERR what\r\n"]),
    ] {
        let (port, heard) = open_peer(lines).await;
        let attempt = attempt(&client(port, protocol, Tls::mode(mode)), "hunter2").await;
        let error = attempt.error();
        assert_eq!((error.kind, error.code()), (Kind::Tls, code::OPEN_CHANNEL), "{lines:?}: {error}");
        assert!(error.hint.is_some() || ["PREAUTH", "question", "behind"].iter().any(|word| error.text.contains(word)), "{lines:?}: {error:?}");
        says_nothing_of_login(&heard);
    }
    // A PREAUTH that strips TLS where it is only hoped for: a login is configured, so it is refused.
    let (port, heard) = open_peer(&["* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n"]).await;
    assert!(attempt(&client(port, Imap, Tls::mode(Opportunistic)), "hunter2").await.error().text.contains("PREAUTH"));
    assert_eq!(heard.lines(), Vec::<String>::new());
}

/// Pain 20: a server that forgets close_notify. After a whole answer that is no error, in the middle of one it is.
#[tokio::test]
async fn an_unexpected_eof_of_tls_counts_only_in_mid_answer() {
    let authority = Authority::new();
    let identity = authority.sign(for_names(&["localhost"]));
    for (protocol, cut_after, fine) in
        [(Protocol::Imap, "LOGOUT", true), (Protocol::Pop3, "QUIT", true), (Protocol::Imap, "AUTHENTICATE", false), (Protocol::Pop3, "PASS", false)]
    {
        let tricks = Tricks { cut_after, ..Tricks::default() };
        let (port, _) = serve(acceptor(&identity, rustls::ALL_VERSIONS), protocol, TlsMode::Implicit, tricks).await;
        let tls = Tls { ca_file: Some(authority.file()), ..Tls::default() };
        let result = attempt(&client(port, protocol, tls), "hunter2").await.result;
        match result {
            Ok(()) => assert!(fine, "{cut_after}"),
            Err(error) => {
                assert!(!fine, "{cut_after}: {error}");
                assert_eq!((error.kind, error.code()), (Kind::Closed, code::CLOSED), "{error}");
            }
        }
    }
}

/// F26, f27: one octet now and then, or none at all, in the handshake and in the greeting.
#[tokio::test]
async fn f26_f27_handshakes_and_greetings_have_an_end() {
    for drip in [None, Some(b'\x16'), Some(b'*')] {
        for (mode, stage) in [(TlsMode::Implicit, "connect"), (TlsMode::StartTls, "greeting")] {
            for protocol in [Protocol::Imap, Protocol::Pop3] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let peer = tokio::spawn(async move {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    loop {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        if let Some(octet) = drip
                            && stream.write_all(&[octet]).await.is_err()
                        {
                            return;
                        }
                        let mut block = [0; 4096];
                        if let Ok(Ok(0)) = tokio::time::timeout(Duration::from_millis(10), stream.read(&mut block)).await {
                            return;
                        }
                    }
                });
                let mut server = client(port, protocol, Tls::mode(mode));
                server.connect_timeout = Some(Duration::from_millis(1500));
                let begun = Instant::now();
                let error = attempt(&server, "hunter2").await.error();
                assert!(begun.elapsed() < Duration::from_secs(15), "{error}");
                assert_eq!(error.stage, stage, "{error}");
                // Rubbish may be told from TLS before the time is over.
                assert!(error.kind == Kind::Timeout || (mode == TlsMode::Implicit && drip.is_some() && error.kind == Kind::Tls), "{drip:?} {error}");
                peer.abort();
            }
        }
    }
}

#[test]
fn the_backend_is_told_when_it_is_missing() {
    let tls = Tls { backend: TlsBackend::OpenSsl { security_level: None }, ..Tls::default() };
    let made = mailgather::net::TlsClient::new(&tls);
    assert_eq!(made.is_ok(), cfg!(feature = "legacy-tls"));
    if let Err(error) = made {
        assert!(error.text.contains("legacy-tls"), "{error}");
    }
}
