//! A source over the fake, and what tests ask of it.

use crate::support::graph::{Graph, TOKEN};
use bytes::Bytes;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Environment, Server};
use mailgather::mail::{CollectorId, Content, FolderName, KnownUids, Message, RemoteUid, Secret};
use mailgather::source::graph::GraphSource;
use mailgather::source::{Fetched, Listing, Session, Source, SourceError, Want, Wanted};
use mailgather::spool::Spool;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub const BOX: &str = "shared@tenant.example";
/// Messages above 64 KiB go to a file.
pub const SPOOL_ABOVE: u64 = 64 * 1024;

/// A letter with this subject.
pub fn letter(subject: &str) -> Vec<u8> {
    format!(
        "From: a@remote.example\r\nTo: b@remote.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@remote.example>\r\n\r\nText of {subject}\r\n"
    )
    .into_bytes()
}

/// How the mailbox is reached, as a configuration says it.
pub fn server(graph: &Graph) -> Server {
    let text = format!(
        "delivery: {{maildir: '/nowhere/{{local}}'}}\ncollectors:\n  box:\n    protocol: graph\n    url: {}\n    email: {BOX}\n    \
         auth: {{method: oauth2, token: {{file: /nowhere}}, allow_plaintext: true}}\n    recipient: {{forward_to: b@c.example}}\n",
        graph.url()
    );
    let loaded = mailgather::config::parse(&text, Path::new("t.yaml"), &Environment::default()).unwrap_or_else(|report| panic!("{report:?}"));
    loaded.config.collectors.values().next().unwrap().server.clone()
}

/// A source, and where it spools.
pub struct Kit {
    pub source: GraphSource,
    /// The token that it gets next.
    pub token: Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

pub fn kit(graph: &Graph) -> Kit {
    kit_of(server(graph), None)
}

pub fn kit_of(server: Server, max: Option<u64>) -> Kit {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(folder.path(), SPOOL_ABOVE, 4 << 20).unwrap();
    let token = Arc::new(Mutex::new(TOKEN.to_owned()));
    let told = Arc::clone(&token);
    let reader: SecretReader = Arc::new(move || {
        let secret = Secret::new(told.lock().unwrap().clone());
        Box::pin(async move { Ok(secret) })
    });
    let source = GraphSource::new(server, reader, spool, CollectorId::new("box").unwrap(), max);
    Kit { source, token, _folder: folder }
}

impl Kit {
    /// A session with the inbox open.
    pub async fn inbox(&self) -> Box<dyn Session> {
        let mut session = self.source.open().await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        session
    }
}

pub fn uid(id: &str) -> RemoteUid {
    RemoteUid::Opaque(id.as_bytes().into())
}

pub fn ids(listing: &Listing) -> Vec<String> {
    listing.messages.iter().map(|message| message.uid.to_string()).collect()
}

pub fn want() -> Want {
    Want { limit: 10_000, ..Want::all() }
}

pub fn known(ids: &[&String]) -> KnownUids {
    let mut known = KnownUids::new();
    ids.iter().for_each(|id| known.insert(&uid(id)));
    known
}

pub fn wanted(ids: &[String]) -> Vec<Wanted> {
    ids.iter().map(|id| Wanted { uid: uid(id), generation: 0, size: None }).collect()
}

/// What became of one message, in words: its subject, or why it did not come.
pub async fn fetched(session: &mut dyn Session, ids: &[String]) -> Result<Vec<(String, String)>, SourceError> {
    session.fetch(wanted(ids)).await?;
    let mut all = Vec::new();
    while let Some(fetched) = session.next_message().await? {
        all.push(match fetched {
            Fetched::Message(message) => (message.key.uid.to_string(), subject(&message)),
            Fetched::Missing { uid, reason } => (uid.to_string(), format!("missing: {reason}")),
            Fetched::Unreadable { uid, reason } => (uid.to_string(), format!("unreadable: {reason}")),
            Fetched::TooLarge { uid, octets } => (uid.to_string(), format!("too large: {octets}")),
        });
    }
    all.sort();
    Ok(all)
}

pub fn subject(message: &Message) -> String {
    message.header.first("Subject").map(|field| message.header.text(field)).unwrap_or_default()
}

/// All octets of a message.
pub fn octets(message: &Message) -> Bytes {
    match &message.content {
        Content::Memory(octets) => octets.clone(),
        Content::Spooled { file, start, len } => {
            let mut all = vec![0; *len as usize];
            std::os::unix::fs::FileExt::read_exact_at(&**file, &mut all, *start).unwrap();
            all.into()
        }
    }
}
