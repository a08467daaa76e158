//! A session with the server, step by step.

use crate::support::Ews;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, Protocol, SecretSource, Server, Tls, TlsMode, WebMailbox};
use mailgather::mail::{CollectorId, FolderName, KnownUids, RemoteUid, Secret};
use mailgather::net::Tracer;
use mailgather::proto::ews::Version;
use mailgather::source::ews::EwsSource;
use mailgather::source::{Fetched, Session, Source, SourceError, Want, Wanted};
use mailgather::spool::Spool;
use mailgather::spool::reader::Outgoing;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a test may change of a collector.
#[derive(Clone)]
pub struct Setup {
    pub server: Server,
    pub password: String,
    /// What takes the place of the password while a source lives.
    pub later: Arc<Mutex<Option<String>>>,
    pub max_message_size: Option<u64>,
    pub tracer: Tracer,
}

impl Setup {
    pub fn of(server: &Ews) -> Setup {
        let server = Server {
            protocol: Protocol::Exchange,
            host: "127.0.0.1".into(),
            port: server.web().port(),
            tls: Tls::mode(TlsMode::None),
            username: "u@corp.example".into(),
            password: SecretSource::Env("NOBODY_READS_IT".into()),
            auth: Auth { method: AuthMethod::Password, allow_plaintext: true, ..Auth::default() },
            partial_fetch: PartialFetch::default(),
            compress: false,
            allow_plain_expunge: false,
            connect_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(5)),
            web: WebMailbox { path: Some(crate::support::ews::PATH.into()), ..WebMailbox::default() },
        };
        Setup { server, password: "pw".into(), later: Arc::default(), max_message_size: None, tracer: Tracer::default() }
    }

    pub fn version(mut self, version: Option<Version>) -> Setup {
        self.server.web.version = version;
        self
    }

    pub fn mailbox(mut self, address: &str, impersonate: bool) -> Setup {
        self.server.web.address = Some(address.parse().unwrap());
        self.server.web.impersonate = impersonate;
        self
    }

    pub fn source(&self) -> EwsSource {
        let dir = std::env::temp_dir().join(format!("mailgather-ews-{}", std::process::id()));
        let spool = Spool::new(&dir, 64 * 1024, 8 * 1024 * 1024).unwrap();
        let (password, later) = (self.password.clone(), Arc::clone(&self.later));
        let reader: SecretReader = Arc::new(move || {
            let password = later.lock().unwrap().clone().unwrap_or_else(|| password.clone());
            Box::pin(async move { Ok(Secret::new(password)) })
        });
        EwsSource::new(self.server.clone(), reader, spool, CollectorId::new("box").unwrap(), self.max_message_size).traced_by(self.tracer.clone())
    }

    pub async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.source().open().await
    }

    /// With a folder selected.
    pub async fn session(&self, folder: &str) -> Box<dyn Session> {
        let mut session = self.open().await.unwrap();
        session.select(&FolderName::new(folder)).await.unwrap();
        session
    }
}

pub fn want() -> Want {
    Want { sizes: true, limit: 10_000, ..Want::all() }
}

pub fn uid(id: &str) -> RemoteUid {
    RemoteUid::Opaque(id.as_bytes().into())
}

pub fn known(ids: &[String]) -> KnownUids {
    let mut known = KnownUids::new();
    ids.iter().for_each(|id| known.insert(&uid(id)));
    known
}

pub fn wanted(ids: &[String]) -> Vec<Wanted> {
    ids.iter().map(|id| Wanted { uid: uid(id), generation: 0, size: None }).collect()
}

/// What came of each: its octets, or why there are none.
pub async fn fetch(session: &mut dyn Session, batch: Vec<Wanted>) -> Result<Vec<(RemoteUid, String)>, SourceError> {
    session.fetch(batch).await?;
    let mut all = Vec::new();
    while let Some(fetched) = session.next_message().await? {
        all.push(match fetched {
            Fetched::Message(message) => {
                let mut octets = Vec::new();
                let mut pieces = Outgoing::new(b"", &[], &message.content);
                while let Some(piece) = pieces.next().await.unwrap() {
                    octets.extend_from_slice(&piece);
                }
                (message.key.uid.clone(), String::from_utf8_lossy(&octets).into_owned())
            }
            Fetched::Missing { uid, reason } => (uid, format!("missing: {reason}")),
            Fetched::Unreadable { uid, reason } => (uid, format!("unreadable: {reason}")),
            Fetched::TooLarge { uid, octets } => (uid, format!("too large: {octets}")),
        });
    }
    Ok(all)
}

/// One request as it is, and all that comes back.
pub fn raw(server: &Ews, document: &str) -> String {
    let mut stream = std::net::TcpStream::connect(server.web().address()).unwrap();
    let head = format!(
        "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: h\r\nAuthorization: Basic dUBjb3JwLmV4YW1wbGU6cHc=\r\nContent-Type: text/xml\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        document.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(document.as_bytes()).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}
