//! Each error, typed, with what to do.

use crate::kit::{BOX, kit, server};
use crate::support::certificates::{Authority, for_names};
use crate::support::graph::{Fault, Graph, Rights};
use mailgather::config::{Auth, Tls, TlsMode};
use mailgather::source::{Retry, Source, SourceErrorKind};
use std::time::Duration;

#[tokio::test]
async fn logins_that_are_refused() {
    use SourceErrorKind::{Auth, Closed, Mailbox, Protocol, Throttled};
    for (what, kind, words, hint) in [
        ("wrong token", Auth, "InvalidAuthenticationToken", "scope"),
        ("other mailbox", Auth, "ErrorAccessDenied", "RBAC"),
        ("no mailbox", Mailbox, "ErrorInvalidUser", "`email`"),
        ("elsewhere", Mailbox, "MailboxNotEnabledForRESTAPI", "protocol: exchange"),
        ("busy", Throttled, "503", "tried again"),
        ("failing", Throttled, "500", ""),
        ("html", Protocol, "", ""),
        ("hangs up", Closed, "", ""),
    ] {
        let graph = Graph::start();
        if what != "no mailbox" {
            graph.make_mailbox(BOX);
        }
        let kit = kit(&graph);
        match what {
            "wrong token" => *kit.token.lock().unwrap() = "narrow-minded".into(),
            "other mailbox" => {
                graph.token("narrow", Rights { mailboxes: Some(vec!["x@y.example".into()]), write: true, contents: true });
                *kit.token.lock().unwrap() = "narrow".into();
            }
            "elsewhere" => graph.move_mailbox_away(BOX),
            "busy" => graph.fault("inbox", 9, Fault::Error(503, "ServiceUnavailable", Some(90))),
            "failing" => graph.fault("inbox", 9, Fault::Error(500, "InternalServerError", None)),
            "html" => graph.fault("inbox", 9, Fault::Html(200)),
            "hangs up" => graph.fault("inbox", 9, Fault::HangUp),
            _ => {}
        }
        let error = kit.source.open().await.map(drop).unwrap_err();
        assert_eq!(error.kind, kind, "{what}: {error}");
        assert!(error.to_string().contains(words) && error.hint.as_deref().unwrap_or_default().contains(hint), "{what}: {error:?}");
        assert!(!format!("{error:?}").contains("narrow"), "{what}: {error:?}");
        match what {
            // A token that never worked is asked for once.
            "wrong token" => assert_eq!((error.retry(), graph.web.requests().len()), (Retry::Credentials, 1)),
            "busy" => assert_eq!(error.retry(), Retry::After(Duration::from_secs(90))),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_token_does_not_go_over_an_open_channel_unasked() {
    let graph = Graph::start();
    graph.make_mailbox(BOX);
    let server = mailgather::config::Server { auth: Auth { allow_plaintext: false, ..server(&graph).auth }, ..server(&graph) };
    let error = crate::kit::kit_of(server, None).source.open().await.map(drop).unwrap_err();
    assert_eq!((error.kind, graph.web.requests().len()), (SourceErrorKind::Tls, 0), "{error}");
}

#[tokio::test]
async fn certificates_are_checked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let graph = Graph::tls(authority.sign(for_names(&["localhost"])).server());
    graph.make_mailbox(BOX);
    for (trusted, works) in [(&authority, true), (&other, false)] {
        let tls = Tls { ca_file: Some(trusted.file()), ..Tls::mode(TlsMode::Implicit) };
        let kit = crate::kit::kit_of(mailgather::config::Server { tls, ..server(&graph) }, None);
        assert_eq!(kit.source.reach().await.is_ok(), works);
        match kit.source.open().await.map(drop) {
            Ok(()) => assert!(works),
            Err(error) => assert_eq!((error.kind, error.dialled, works), (SourceErrorKind::Tls, true, false), "{error}"),
        }
    }
    assert_eq!(graph.web.requests().len(), 1);
}
