//! Logins at Cyrus, by each mechanism that it offers, NTLM among them.

use crate::login_kit::{attempt, server};
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::PASSWORD;
use crate::support::server::MailServer;
use mailgather::config::{AuthMethod, Protocol, TlsMode};
use mailgather::source::SourceErrorKind as Kind;

#[tokio::test]
async fn c8_c9_each_method_logs_in_at_cyrus() {
    let cyrus = Cyrus::start();
    cyrus.add_user("tim");
    use AuthMethod::*;
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        for (method, disable) in [
            (Ntlm, ""),
            (Scram, ""),
            (Scram, "SCRAM-SHA-256"),
            (CramMd5, ""),
            (Plain, ""),
            (Login, ""),
            (Password, ""),
            (Auto, ""),
            (Auto, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"),
        ] {
            for mode in [TlsMode::Implicit, TlsMode::StartTls] {
                let port = match (protocol, mode) {
                    (Protocol::Imap, TlsMode::Implicit) => cyrus.imaps(),
                    (Protocol::Imap, _) => cyrus.imap(),
                    (Protocol::Pop3, TlsMode::Implicit) => cyrus.pop3s(),
                    _ => cyrus.pop3(),
                };
                let mut server = server(protocol, port, mode, method);
                server.tls.ca_file = Some(cyrus.ca());
                server.username = "tim".into();
                server.auth.disable = disable.split_whitespace().map(str::to_owned).collect();
                attempt(&server, PASSWORD).await.result.unwrap_or_else(|error| panic!("{protocol:?} {method:?} {disable} {mode:?}: {error}"));
                if mode == TlsMode::Implicit {
                    let error = attempt(&server, "wrong-horse").await.error();
                    assert_eq!((error.kind, error.stage), (Kind::Auth, "login"), "{protocol:?} {method:?}: {error}");
                }
            }
        }
    }
}
