//! POP3 over several sessions: the program against a scripted server that keeps its mailbox, and TLS that ends without a word.

use crate::pop3_kit::*;
use crate::support::certificates::Certificates;
use crate::support::{CollectorYaml, Mailgather, Sink, config};
use mailgather::config::{Tls, TlsMode};
use mailgather::mail::FolderName;
use mailgather::source::{Source, SourceErrorKind as Kind};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const A: (&[u8], &[u8]) = (b"id-a", b"Message-ID: <a@x>\r\nSubject: a\r\n\r\na\r\n");
const B: (&[u8], &[u8]) = (b"id-b", b"Message-ID: <b@x>\r\nSubject: b\r\n\r\nb\r\n");
const C: (&[u8], &[u8]) = (b"id-c", b"Message-ID: <c@x>\r\nSubject: c\r\n\r\nc\r\n");

/// The program, a sink, and a mailbox behind a server.
struct Run {
    program: Mailgather,
    sink: Sink,
    mailbox: Mailbox,
}

impl Run {
    /// `first` serves the first session, a server that does as it should all others.
    async fn new(first: Fake, after: &str) -> Run {
        let well = Fake { quit: Quit::Done, cut: None, close_at: None, ..first.clone() };
        let mailbox = first.messages.clone();
        let (port, _) = Fake::listen(vec![first, well]).await;
        let sink = Sink::smtp();
        let collector = CollectorYaml::at("pop3", "u1", port).forward_to("anna@example.org").after(after);
        let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
        Run { program, sink, mailbox }
    }

    /// One session; returns the subjects of what was delivered so far.
    async fn once(&self) -> Vec<String> {
        let mut command = self.program.command("once", &[]);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(self.sink.violations().is_empty(), "{:?}", self.sink.violations());
        let subject = |content: &[u8]| crate::support::maildir::field(content, "Subject").unwrap_or_default().trim().to_owned();
        let mut subjects: Vec<String> = self.sink.taken().iter().map(|taken| subject(&taken.content)).collect();
        subjects.sort();
        subjects
    }

    fn ids(&self) -> Vec<Vec<u8>> {
        self.mailbox.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    fn put(&self, (id, text): (&[u8], &[u8])) {
        self.mailbox.lock().unwrap().push((id.to_vec(), text.to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f30_a_quit_that_failed_is_followed_by_deletion_and_not_by_delivery() {
    for quit in [Quit::Refused, Quit::Untrue, Quit::CutBefore, Quit::CutAfter] {
        let fake = Fake { quit, ..Fake::with(&[A, B]) };
        let run = Run::new(fake, "delete").await;
        assert_eq!(run.once().await, ["a", "b"], "{quit:?}");
        assert_eq!(run.ids().is_empty(), quit == Quit::CutAfter);
        run.put(C);
        assert_eq!(run.once().await, ["a", "b", "c"], "{quit:?}: once each");
        assert!(run.ids().is_empty(), "{quit:?}: deleted in the next session");
        assert_eq!(run.once().await.len(), 3);
    }
}

/// Some servers give the id of a deleted message to the next one at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_an_id_that_is_used_again_at_once_names_a_new_letter() {
    for (quit, after) in [(Quit::Done, "delete"), (Quit::CutAfter, "delete"), (Quit::Done, "keep")] {
        let run = Run::new(Fake { quit, ..Fake::with(&[A, B]) }, after).await;
        assert_eq!(run.once().await, ["a", "b"]);
        if after == "keep" {
            // Somebody else deletes it, and a session sees that it is gone.
            run.mailbox.lock().unwrap().remove(0);
            run.once().await;
        }
        run.put((A.0, C.1));
        assert_eq!(run.once().await, ["a", "b", "c"], "{quit:?} {after}");
        assert_eq!(run.ids().len(), if after == "keep" { 2 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_without_uidl_each_letter_comes_once_whatever_its_number() {
    for quit in [Quit::Done, Quit::Refused, Quit::CutBefore, Quit::Untrue] {
        let fake = Fake::with(&[A, B]).answering("UIDL", "-ERR unknown command\r\n").answering("CAPA", "-ERR unknown command\r\n");
        let run = Run::new(Fake { quit, ..fake }, "delete").await;
        assert_eq!(run.once().await, ["a", "b"]);
        // The numbers move.
        run.mailbox.lock().unwrap().insert(0, (b"".to_vec(), C.1.to_vec()));
        assert_eq!(run.once().await, ["a", "b", "c"], "{quit:?}");
        assert!(run.ids().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_a_shared_id_brings_each_letter_once() {
    for after in ["keep", "delete"] {
        let run = Run::new(Fake::with(&[A, (A.0, B.1)]), after).await;
        assert_eq!(run.once().await, ["a", "b"]);
        run.put((A.0, C.1));
        assert_eq!(run.once().await, ["a", "b", "c"], "{after}");
        if after == "keep" {
            run.mailbox.lock().unwrap().truncate(1);
            assert_eq!(run.once().await.len(), 3, "alone by now, and still known");
        }
    }
}

/// A server over TLS that closes TCP when it is done, without close_notify.
async fn tls(fake: Fake) -> (mailgather::source::pop3::Pop3Source, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path());
    let chain = CertificateDer::pem_file_iter(&made.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&made.key).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let settings = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, fake) = (acceptor.clone(), fake.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                fake.serve(&mut stream, &Heard::default()).await;
            });
        }
    });
    let ca: PathBuf = made.ca;
    let mut server = server();
    (server.port, server.tls) = (port, Tls { ca_file: Some(ca), ..Tls::mode(TlsMode::Implicit) });
    (source_of(server, None), folder)
}

#[tokio::test]
async fn p20_tls_that_ends_without_close_notify_is_no_error_behind_a_complete_answer() {
    let (source, _folder) = tls(Fake::with(&[A, B])).await;
    let mut done = Done::default();
    whole(&source, &mut done).await.unwrap();
    assert_eq!((done.messages.len(), done.deleted.len()), (2, 2));
    // Before that it is one: a part of a message is no message, and no answer is no deletion.
    for (fake, messages) in [
        (Fake { quit: Quit::CutAfter, ..Fake::with(&[A, B]) }, 2),
        (Fake { close_at: Some("DELE 2"), ..Fake::with(&[A, B]) }, 2),
        (Fake { cut: Some(160), ..Fake::with(&[A, B]) }, 1),
    ] {
        let (source, _folder) = tls(fake).await;
        let mut done = Done::default();
        let error = whole(&source, &mut done).await.unwrap_err();
        assert_eq!((error.kind, done.messages.len(), done.deleted.len()), (Kind::Closed, messages, 0), "{error}");
    }
}

#[tokio::test]
async fn p20_a_session_that_is_given_up_says_no_quit() {
    let fake = Fake::with(&[A]);
    let mailbox = fake.messages.clone();
    let (port, heard) = Fake::listen(vec![fake]).await;
    let mut session = source_at(port).open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let listing = session.list(want()).await.unwrap();
    session.dispose(&names(&listing), mailgather::source::Disposal::Delete).await.unwrap();
    session.abandon().await;
    assert!(!heard.lock().unwrap()[0].text().contains("QUIT"));
    assert_eq!(mailbox.lock().unwrap().len(), 1);
}
