//! Logins: each mechanism against a real Dovecot, by IMAP and POP3, and against scripted peers that do it wrong.

use crate::login_kit::{Attempt, Heard, attempt, attempt_over, imap_answer, peer, pop3_answer, server};
use crate::support::Dovecot;
use crate::support::dovecot::PASSWORD;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailgather::config::{AuthMethod, ClientCertificate, Protocol, Server, TlsMode};
use mailgather::source::{Retry, SourceErrorKind as Kind};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

mod challenges;
mod refusals;
mod tokens;

const BOTH: [Protocol; 2] = [Protocol::Imap, Protocol::Pop3];

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
        _ => dovecot.pop3(),
    };
    let mut server = server(protocol, port, mode, method);
    server.tls.ca_file = Some(dovecot.ca());
    server
}

/// What Dovecot logs of the `nth` login, counted from 1. It may come after its answer.
fn login(dovecot: &Dovecot, nth: usize) -> String {
    dovecot.logged("Login: user=", nth).swap_remove(nth - 1)
}

/// The mechanism of the `nth` login, as Dovecot logged it.
fn method_of(dovecot: &Dovecot, nth: usize) -> String {
    login(dovecot, nth).split("method=").nth(1).unwrap().split(',').next().unwrap().to_owned()
}

/// The greeting of a scripted server with these capabilities and mechanisms, of which POP3 tells only in its answer to CAPA.
fn greeting(protocol: Protocol, capabilities: &str, mechanisms: &str) -> String {
    let offers: String = mechanisms.split(' ').map(|name| format!(" AUTH={name}")).collect();
    match protocol {
        Protocol::Imap => format!("* OK [CAPABILITY {capabilities}{offers}] hi\r\n"),
        _ => "+OK hi\r\n".into(),
    }
}

#[tokio::test]
async fn i6_c8_k7_m15_each_method_logs_in_and_is_refused_once() {
    let dovecot = dovecot("");
    use AuthMethod::*;
    let mut logins = 0;
    for protocol in BOTH {
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
            logins += 1;
            assert_eq!(method_of(&dovecot, logins), logged, "{protocol:?} {method:?} {disable}");
            let failures = || dovecot.log().matches("auth failed, 1 attempts").count();
            let before = failures();
            let error = attempt(&server, "wrong-horse").await.error();
            assert_eq!((error.kind, error.code(), error.retry()), (Kind::Auth, 203, Retry::Credentials), "{protocol:?} {method:?}: {error}");
            assert!(error.hint.is_some(), "{error:?}");
            crate::support::eventually("one attempt is logged", crate::support::SOON, || failures() == before + 1);
        }
    }
}

#[tokio::test]
async fn i5_m8_c11_p6_logins_over_each_channel() {
    let dovecot = dovecot("");
    let mut logins = 0;
    for protocol in BOTH {
        for mode in [TlsMode::Implicit, TlsMode::StartTls, TlsMode::Opportunistic] {
            attempt(&at(&dovecot, protocol, mode, AuthMethod::Auto), PASSWORD).await.result.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
            logins += 1;
            assert!(login(&dovecot, logins).contains(", TLS"), "{protocol:?} {mode:?}");
        }
        // In the clear: only on purpose, however the password is hidden.
        let mut open = at(&dovecot, protocol, TlsMode::None, AuthMethod::Scram);
        let refused = attempt(&open, PASSWORD).await;
        assert_eq!((refused.result.unwrap_err().code()), 222);
        open.auth.allow_plaintext = true;
        attempt(&open, PASSWORD).await.result.unwrap();
        logins += 1;
        assert!(!login(&dovecot, logins).contains(", TLS"), "{protocol:?}");
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
    assert_eq!(method_of(&dovecot, 1), "APOP");
    assert_eq!(attempt(&server, "wrong").await.error().kind, Kind::Auth);
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
    let mut logins = 0;
    for protocol in BOTH {
        for mode in [TlsMode::Implicit, TlsMode::StartTls] {
            let mut server = at(&dovecot, protocol, mode, AuthMethod::External);
            server.tls.client_cert = Some(own.clone());
            let done = attempt(&server, "").await;
            assert_eq!(done.secret_read, 0, "there is no password");
            done.result.unwrap_or_else(|error| panic!("{protocol:?} {mode:?}: {error}\n{}", dovecot.log()));
            assert_eq!(method_of(&dovecot, logins + 1), "EXTERNAL");
            // With a password beside it.
            server.auth.method = AuthMethod::Plain;
            attempt(&server, PASSWORD).await.result.unwrap();
            assert_eq!(method_of(&dovecot, logins + 2), "PLAIN");
            logins += 2;
            // Without one the server lets nobody in.
            server.tls.client_cert = None;
            assert!(attempt(&server, PASSWORD).await.result.is_err());
        }
    }
}
