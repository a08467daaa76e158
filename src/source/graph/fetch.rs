//! Messages on their way in: several at once, each by a request and a connection of its own, streamed into the spool.

use super::super::{Fetched, SourceError, SourceErrorKind, Wanted};
use super::client::{Ask, Begun, Client, is_whole_known};
use super::listing::id_of;
use super::refusal;
use super::session::Open;
use crate::mail::outcome::harmless;
use crate::mail::{Epoch, MessageKey, RemoteUid};
use crate::net::WebErrorKind;
use crate::proto::graph::{Meaning, Problem};
use crate::spool::SpoolError;
use hyper::header::CONTENT_TYPE;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Most octets of one message, for those who configured no limit: a server could go on for ever.
const MESSAGE_OCTETS_MAX: u64 = 16 << 30;
/// What the answer to a request for a message is not; Graph says `text/plain`.
const NO_MESSAGE: [&str; 3] = ["application/json", "application/xml", "text/xml"];
/// A message whose transfer broke off is asked for so often in one session.
const TRANSFERS_MAX: u32 = 2;
/// So many messages in a row whose transfers break off, or that the server does not even show, are no fault of theirs.
const BROKEN_MAX: u32 = 4;

/// The requests for messages of a session. Those on their way end with it.
#[derive(Default)]
pub(super) struct Flights {
    waiting: VecDeque<Wanted>,
    flying: JoinSet<Landed>,
    folder: Option<Open>,
    /// Messages that did not come since the last whole one.
    broken: u32,
    /// Why no more are asked for; told when those on their way are here.
    failed: Option<SourceError>,
}

/// How a flight ended.
enum Landed {
    Well(Fetched),
    /// It did not come, for this reason; the session may be fine.
    Broke(RemoteUid, String, SourceError),
    /// The session is over.
    Failed(SourceError),
}

/// One message.
struct Flight {
    client: Arc<Client>,
    target: String,
    /// For a look at whether it is there.
    look: String,
    key: MessageKey,
}

impl Flights {
    pub(super) fn begin(&mut self, client: &Arc<Client>, folder: &Open, batch: Vec<Wanted>) -> Result<(), SourceError> {
        if !self.waiting.is_empty() || !self.flying.is_empty() || self.failed.is_some() {
            return Err(client.error(SourceErrorKind::Protocol, "fetch", "the former messages were not all taken"));
        }
        self.folder = Some(folder.clone());
        self.waiting = batch.into();
        self.start(client);
        Ok(())
    }

    /// The next that is here.
    pub(super) async fn next(&mut self, client: &Arc<Client>) -> Result<Option<Fetched>, SourceError> {
        loop {
            self.start(client);
            let landed = match self.flying.join_next().await {
                None => return self.failed.take().map_or(Ok(None), Err),
                Some(Ok(landed)) => landed,
                Some(Err(join)) => Landed::Failed(client.error(SourceErrorKind::Protocol, "fetch", join.to_string())),
            };
            match landed {
                Landed::Well(fetched) => {
                    if matches!(fetched, Fetched::Message(_)) {
                        self.broken = 0;
                    }
                    return Ok(Some(fetched));
                }
                Landed::Broke(uid, reason, error) => {
                    self.broken += 1;
                    if self.broken < BROKEN_MAX {
                        return Ok(Some(Fetched::Missing { uid, reason }));
                    }
                    self.failed.get_or_insert(error);
                }
                Landed::Failed(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
    }

    fn start(&mut self, client: &Arc<Client>) {
        let Some(folder) = &self.folder else { return };
        while self.failed.is_none() && self.flying.len() < client.shared.at_once {
            let Some(wanted) = self.waiting.pop_front() else { return };
            let (shared, uid) = (&client.shared, wanted.uid.clone());
            let key = MessageKey {
                collector: shared.collector.clone(),
                mailbox: Arc::clone(&shared.mailbox),
                folder: folder.name.clone(),
                epoch: Epoch(0),
                uid: wanted.uid,
                generation: wanted.generation,
            };
            let Some(id) = id_of(&uid) else {
                self.flying.spawn(async move { Landed::Well(Fetched::Missing { uid, reason: "no message of Graph has such an id".into() }) });
                continue;
            };
            let (target, look) = (shared.place.mime(id), shared.place.look(&folder.id, id));
            self.flying.spawn(Flight { client: Arc::clone(client), target, look, key }.fly());
        }
    }
}

impl Flight {
    async fn fly(self) -> Landed {
        let mut transfers = 1;
        loop {
            match self.transfer().await {
                // A message that takes longer than the limits allow would do so again.
                Landed::Broke(_, _, error) if error.kind == SourceErrorKind::Closed && transfers < TRANSFERS_MAX => transfers += 1,
                landed => return landed,
            }
        }
    }

    async fn transfer(&self) -> Landed {
        let shared = &self.client.shared;
        let uid = || self.key.uid.clone();
        let broke = |error: SourceError| Landed::Broke(uid(), format!("its transfer broke off: {}", error.text), error);
        let (mut answer, lane) = match self.client.begin("fetch", &Ask::get(self.target.clone())).await {
            Ok(Begun::Answer(answer, lane)) => (answer, lane),
            Ok(Begun::Refused(problem)) => return self.refused(problem).await,
            // The request itself broke, though others may not.
            Err(error) if !error.dialled && matches!(error.kind, SourceErrorKind::Closed | SourceErrorKind::Timeout | SourceErrorKind::Protocol) => {
                return broke(error);
            }
            Err(error) => return Landed::Failed(error),
        };
        let broke = |kind, text: String| broke(self.client.error(kind, "fetch", text));
        if let Err(text) = is_whole_known(&answer) {
            return broke(SourceErrorKind::Protocol, text);
        }
        // It would be delivered in place of the message, which then would be deleted.
        let kind = answer.field(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        if NO_MESSAGE.iter().any(|no| kind.starts_with(no)) {
            return broke(SourceErrorKind::Protocol, format!("the answer is no message: {}", harmless(&kind, 50)));
        }
        let limit = shared.max_message_size.unwrap_or(MESSAGE_OCTETS_MAX);
        let announced = answer.announced();
        if let Some(octets) = announced.filter(|octets| *octets > limit) {
            // What is on its way is not read: the connection ends with the request.
            return Landed::Well(Fetched::TooLarge { uid: uid(), octets });
        }
        let mut intake = shared.spool.intake(self.key.clone(), announced).await;
        loop {
            let piece = match answer.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let kind =
                        if error.kind == WebErrorKind::Closed { SourceErrorKind::Closed } else { SourceError::web("fetch", "", error.clone()).kind };
                    return broke(kind, error.text);
                }
            };
            let octets = intake.octets() + piece.len() as u64;
            if octets > limit {
                return match shared.max_message_size {
                    Some(_) => Landed::Well(Fetched::TooLarge { uid: uid(), octets }),
                    None => broke(SourceErrorKind::Protocol, "the server sends a message without an end".into()),
                };
            }
            if let Err(error) = intake.write(&piece).await {
                return self.disk(&error);
            }
        }
        lane.give_back();
        if intake.octets() == 0 {
            return Landed::Well(Fetched::Missing { uid: uid(), reason: "the server sent nothing".into() });
        }
        match intake.finish().await {
            Ok(message) => Landed::Well(Fetched::Message(Box::new(message))),
            Err(error) => self.disk(&error),
        }
    }

    /// The server does not give the message. Where it is not clear whether that is about the message, a look at it tells. Only what the server says
    /// that it cannot make MIME of is given up ([`Fetched::Unreadable`]): anything else may be otherwise tomorrow.
    async fn refused(&self, problem: Problem) -> Landed {
        let missing = |why: &str| Landed::Well(Fetched::Missing { uid: self.key.uid.clone(), reason: format!("{why}: {problem}") });
        let unreadable = |why: &str| Landed::Well(Fetched::Unreadable { uid: self.key.uid.clone(), reason: format!("{why}: {problem}") });
        let error = refusal::error(&self.client.shared, "fetch", &problem);
        match problem.meaning() {
            Meaning::NotFound => missing("it is not there any more"),
            Meaning::NoMime => unreadable("the server cannot give it as MIME"),
            Meaning::NoMailbox => Landed::Failed(error),
            meaning => match self.client.document("fetch", &Ask::get(self.look.clone())).await {
                // Whoever may look at messages and not read them (Mail.ReadBasic) may read none of them.
                Ok(Ok(_)) if meaning == Meaning::Denied => Landed::Failed(error),
                Ok(Ok(_)) => missing("the server knows the message, and does not give it"),
                Ok(Err(gone)) if gone.meaning() == Meaning::NotFound => missing("it is not there any more"),
                Ok(Err(_)) => Landed::Broke(self.key.uid.clone(), format!("the server neither gives nor shows it: {problem}"), error),
                Err(error) => Landed::Failed(error),
            },
        }
    }

    fn disk(&self, error: &SpoolError) -> Landed {
        Landed::Failed(self.client.error(SourceErrorKind::Disk, "fetch", error.to_string()).hint(crate::spool::HINT))
    }
}
