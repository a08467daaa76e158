//! A fake of Microsoft Graph: mailboxes with folders and messages, delta tokens, immutable ids, bearer tokens, at most four requests at once for one
//! mailbox, and faults that a test asks for. It is strict: an option of a query, a property or a path that it does not know is an error.

mod answer;
mod mailbox;

use super::web::{self, WebServer};
use bytes::Bytes;
pub use mailbox::Mime;
use mailbox::{Mailbox, Message};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Requests at once for one mailbox; the next one is refused.
pub const AT_ONCE: usize = 4;
/// The token that may do everything.
pub const TOKEN: &str = "a-token-that-may-do-everything";
/// When the first message comes that a test puts without saying when.
pub const FIRST_ARRIVAL: i64 = 1_790_000_000;
/// A server that runs.
pub struct Graph {
    pub web: WebServer,
    state: Arc<Mutex<State>>,
}

/// What a test asks for, instead of the answer to some requests.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and code; with a time to wait.
    Error(u16, &'static str, Option<u32>),
    /// The connection ends without an answer.
    HangUp,
    /// It is done, and the connection ends without an answer.
    HangUpAfter,
    /// The answer's body ends after so many octets, and the connection with it.
    BreakOff(usize),
    /// The answer has a length that is more than what comes.
    ShortLength(usize),
    /// 200 with this in place of what was asked for.
    Says(&'static str),
    /// A page of HTML, with this status.
    Html(u16),
    /// Pages go on at another host.
    ForeignLink,
    /// No answer for so long, and then the right one.
    Late(Duration),
}

/// What a token may do.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The mailboxes, `None` for all.
    pub mailboxes: Option<Vec<String>>,
    /// Change and delete.
    pub write: bool,
    /// What is in a message, not only what it is about (which Mail.ReadBasic is for).
    pub contents: bool,
}

#[derive(Default)]
struct State {
    mailboxes: HashMap<String, Mailbox>,
    tokens: HashMap<String, Rights>,
    faults: Vec<(String, usize, Fault)>,
    /// Requests until this happens to one.
    strike: Option<(usize, Fault)>,
    latency: Duration,
    /// Older delta tokens are not known any more.
    generation: u64,
    /// Requests that were one too many.
    refused_at_once: usize,
    most_at_once: usize,
    receipts_refused: bool,
    /// A message is found by way of any folder.
    any_folder: bool,
    /// Read receipts that were sent.
    receipts: usize,
}

impl Graph {
    /// A plain server without a mailbox.
    pub fn start() -> Graph {
        Graph::with(None)
    }

    /// The same with TLS.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Graph {
        Graph::with(Some(config))
    }

    fn with(tls: Option<Arc<rustls::ServerConfig>>) -> Graph {
        let state = Arc::new(Mutex::new(State { generation: 1, ..State::default() }));
        state.lock().unwrap().tokens.insert(TOKEN.into(), Rights { mailboxes: None, write: true, contents: true });
        let of_handler = Arc::clone(&state);
        let handler = move |request| answer::answer(Arc::clone(&of_handler), request);
        let web = match tls {
            Some(config) => WebServer::tls(config, handler),
            None => WebServer::plain(handler),
        };
        Graph { web, state }
    }

    /// `http://127.0.0.1:port/v1.0`
    pub fn url(&self) -> String {
        format!("{}/v1.0", self.web.url())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn mailbox<T>(&self, address: &str, act: impl FnOnce(&mut Mailbox) -> T) -> T {
        act(self.state().mailboxes.entry(address.to_lowercase()).or_insert_with(Mailbox::with_folders))
    }

    /// Another token.
    pub fn token(&self, token: &str, rights: Rights) {
        self.state().tokens.insert(token.into(), rights);
    }

    /// A token is not taken any more.
    pub fn revoke(&self, token: &str) {
        self.state().tokens.remove(token);
    }

    /// A mailbox with its folders; `put` makes one too.
    pub fn make_mailbox(&self, address: &str) {
        self.mailbox(address, |_| ());
    }

    /// The mailbox is on a server of its own, where Graph does not reach.
    pub fn move_mailbox_away(&self, address: &str) {
        self.mailbox(address, |mailbox| mailbox.is_elsewhere = true);
    }

    /// A folder by its path, made if it is not there; `inbox` and the like are the well-known ones.
    pub fn folder(&self, address: &str, path: &str) -> String {
        self.mailbox(address, |mailbox| {
            let at = mailbox.at_path(path);
            mailbox.folders[at].id.clone()
        })
    }

    /// Puts a message into a folder; messages arrive a second after one another. The id is the immutable one.
    pub fn put(&self, address: &str, path: &str, mime: impl Into<Bytes>) -> String {
        self.put_as(address, path, Mime::Octets(mime.into()), None)
    }

    /// The same for whatever octets, and a time of arrival.
    pub fn put_as(&self, address: &str, path: &str, mime: Mime, received: Option<i64>) -> String {
        self.mailbox(address, |mailbox| {
            let folder = mailbox.at_path(path);
            mailbox.clock += 1;
            let number = mailbox.clock;
            let received = received.unwrap_or(FIRST_ARRIVAL + number as i64);
            let message =
                Message { number, moves: 0, folder, mime, received, is_read: false, wants_receipt: false, is_hidden: false, changed: number };
            let id = message.id(true);
            mailbox.messages.insert(number, message);
            id
        })
    }

    /// The immutable ids of the messages of a folder.
    pub fn ids(&self, address: &str, path: &str) -> Vec<String> {
        self.select(address, path, |message| message.id(true))
    }

    /// Their octets.
    pub fn messages(&self, address: &str, path: &str) -> Vec<Bytes> {
        self.select(address, path, |message| message.mime.whole())
    }

    /// Which of them are read.
    pub fn read(&self, address: &str, path: &str) -> Vec<bool> {
        self.select(address, path, |message| message.is_read)
    }

    fn select<T>(&self, address: &str, path: &str, get: impl Fn(&Message) -> T) -> Vec<T> {
        self.mailbox(address, |mailbox| {
            let folder = mailbox.at_path(path);
            mailbox.messages.values().filter(|message| message.folder == folder).map(get).collect()
        })
    }

    /// Another client deletes it for good.
    pub fn remove(&self, address: &str, id: &str) {
        self.mailbox(address, |mailbox| {
            let number = mailbox.find(id).expect("the message is there");
            mailbox.leave(number);
            mailbox.messages.remove(&number);
        });
    }

    /// Another client moves it.
    pub fn move_to(&self, address: &str, id: &str, path: &str) {
        self.mailbox(address, |mailbox| {
            let (number, to) = (mailbox.find(id).expect("the message is there"), mailbox.at_path(path));
            mailbox.move_to(number, to);
        });
    }

    /// Another client reads it, or makes it unread.
    pub fn set_read(&self, address: &str, id: &str, is_read: bool) {
        self.mailbox(address, |mailbox| {
            let number = mailbox.find(id).expect("the message is there");
            mailbox.change(number, |message| message.is_read = is_read);
        });
    }

    /// Whoever sent it wants to know when it is read.
    pub fn want_receipt(&self, address: &str, id: &str) {
        self.mailbox(address, |mailbox| {
            let number = mailbox.find(id).expect("the message is there");
            mailbox.change(number, |message| message.wants_receipt = true);
        });
    }

    /// A message is found by its id below whatever folder is asked, wherever it is.
    pub fn find_in_any_folder(&self) {
        self.state().any_folder = true;
    }

    /// Messages tell the folder that they are in by another id than the one that it has itself.
    pub fn tell_folders_by_other_ids(&self, address: &str) {
        self.mailbox(address, |mailbox| mailbox.other_ids = true);
    }

    /// No delta tells of it any more, though it is there.
    pub fn hide_from_deltas(&self, address: &str, id: &str) {
        self.mailbox(address, |mailbox| {
            let number = mailbox.find(id).expect("the message is there");
            mailbox.messages.get_mut(&number).expect("it was found").is_hidden = true;
        });
    }

    /// How many read receipts were sent.
    pub fn receipts(&self) -> usize {
        self.state().receipts
    }

    /// Nobody may change whether a receipt is wanted.
    pub fn refuse_receipt_changes(&self) {
        self.state().receipts_refused = true;
    }

    /// All delta tokens become too old.
    pub fn expire_delta_tokens(&self) {
        self.state().generation += 1;
    }

    /// The next `times` requests whose line (`GET /v1.0/…`) holds `text` end so.
    pub fn fault(&self, text: &str, times: usize, fault: Fault) {
        self.state().faults.push((text.into(), times, fault));
    }

    /// The n-th request from now, whatever it is, ends so.
    pub fn strike(&self, number: usize, fault: Fault) {
        self.state().strike = Some((number, fault));
    }

    /// Faults that did not happen yet are forgotten. False if a strike was among them.
    pub fn no_more_faults(&self) -> bool {
        let mut state = self.state();
        state.faults.clear();
        state.strike.take().is_none()
    }

    /// The round trip of each request.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Requests that were one too many for their mailbox.
    pub fn refused_at_once(&self) -> usize {
        self.state().refused_at_once
    }

    /// Requests at once for one mailbox, at most.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// The lines of requests that hold `text`.
    pub fn requests(&self, text: &str) -> usize {
        self.web.requests().iter().filter(|line| line.contains(text)).count()
    }
}
