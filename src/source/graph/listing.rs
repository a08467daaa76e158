//! Listings: what changed since the cursor, the whole folder, or what a filter at the server leaves.

use super::super::{CURSOR_OCTETS_MAX, Listed, Listing, SourceError, SourceErrorKind, Want};
use super::client::Ask;
use super::refusal;
use super::session::{GraphSession, Open};
use crate::mail::{KnownUids, Present, RemoteUid};
use crate::proto::graph::{self, Change, Link, Meaning, MessagePage, PAGES_MESSAGES, Seen};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// Most pages of one listing: a server could go on for ever.
const PAGES_MAX: usize = 50_000;
/// So often a listing begins anew because the server has lost what it knew of it.
const RESYNCS_MAX: u32 = 2;
/// Most messages of `also` of which the server is asked one by one whether they are there, where a delta tells of the others.
const ASKED_MAX: usize = 100;
/// So many are asked for before the answers are read.
const LOOKS: usize = 100;

/// What to do where the server fails over each page.
const FAILS: &str = "a broken message may stand in its way: `collect: unseen`, or a `first_run` that leaves old mail alone, may get around it";

/// How the messages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// What changed since the cursor.
    Since,
    /// Everything, with a cursor behind it.
    Whole,
    /// What the filter leaves.
    Filtered,
}

/// A listing in the making.
struct Scan<'w> {
    want: &'w Want,
    known: KnownUids,
    also: HashSet<&'w RemoteUid>,
    /// What is to be yielded: when it came, and in which order it was told.
    fresh: HashMap<RemoteUid, (i64, usize)>,
    older: HashMap<RemoteUid, usize>,
    /// Of `also`: those that were told to be there.
    met: HashSet<RemoteUid>,
    /// Of `also` and of what is known: those that were told to be gone.
    gone: HashSet<RemoteUid>,
    told: usize,
    /// Which of [`PAGES_MESSAGES`] the server can do.
    page: usize,
}

/// How the pages ended.
enum Ended {
    /// At the last one, with the link for later.
    All(Option<Link>),
    /// Before the page with this address: the limit is reached.
    Cut(String),
    /// The server has lost what it knew of the cursor.
    Lost,
}

impl GraphSession {
    pub(super) async fn list_messages(&mut self, want: Want) -> Result<Listing, SourceError> {
        let folder = self.opened("list")?.clone();
        if want.above == u32::MAX {
            let scan = Scan::new(&want);
            return self.finished(&folder, scan, Way::Filtered, Ended::All(None)).await;
        }
        let filters = want.unseen || want.not_before.is_some();
        let origin = &self.client.shared.origin;
        let cursor = want.cursor.as_deref().filter(|_| !filters).and_then(|cursor| std::str::from_utf8(cursor).ok());
        // The folder may be another one of the same name by now.
        let target = cursor.and_then(|cursor| cursor.split_once('\n')).filter(|(id, _)| *id == folder.id).map(|(_, target)| target);
        let mut since = target.and_then(|target| Link::kept(target, origin));
        for _ in 0..=RESYNCS_MAX {
            let place = &self.client.shared.place;
            let (way, target) = match since.take() {
                Some(link) => (Way::Since, link.target().to_owned()),
                // Whoever wants to know all that is there sees for himself what is unread.
                None if filters && !want.complete => (Way::Filtered, place.listing(&folder.id, want.not_before, want.unseen)),
                None => (Way::Whole, place.delta(&folder.id)),
            };
            let mut scan = Scan::new(&want);
            let ended = self.pages(&mut scan, way, target).await?;
            if matches!(ended, Ended::Lost) {
                tracing::info!(event = "listing_begins_anew", collector = %self.client.shared.collector, server = self.client.shared.peer, reason = "the server does not know the cursor any more");
                continue;
            }
            if way == Way::Since && want.complete && scan.remaining() > folder.exists {
                tracing::debug!(event = "listing_begins_anew", collector = %self.client.shared.collector, server = self.client.shared.peer, reason = "fewer messages are there than what changed tells");
                continue;
            }
            return self.finished(&folder, scan, way, ended).await;
        }
        Err(self.client.error(SourceErrorKind::Protocol, "list", "the server loses what it knows of each listing before that ends"))
    }

    async fn pages(&self, scan: &mut Scan<'_>, way: Way, mut target: String) -> Result<Ended, SourceError> {
        for number in 0..PAGES_MAX {
            // Who cannot go on from a kept cursor may say so in any words; and may fail over it for ever.
            let gives_up = way == Way::Since && number == 0;
            let page = match self.page(target.clone(), scan, gives_up).await? {
                Some(page) => page,
                None if way == Way::Filtered => return Err(self.odd("it answers a plain listing as one of changes")),
                None => return Ok(Ended::Lost),
            };
            // What is asked for again comes again.
            if number > 0 && scan.yields() + page.changes.len() > scan.want.limit {
                return Ok(Ended::Cut(target));
            }
            page.changes.into_iter().for_each(|change| scan.take(change));
            match (page.next, page.delta) {
                (Some(next), _) if next.target() == target => return Err(self.odd("a page that leads to itself")),
                (Some(next), _) => target = next.target().to_owned(),
                (None, None) if way != Way::Filtered => return Err(self.odd("a last page that does not tell where to go on later")),
                (None, delta) => return Ok(Ended::All(delta)),
            }
        }
        Err(self.odd("a listing without an end"))
    }

    /// A page, or `None` if the server has lost what it knew of this listing; with `gives_up` also if it answers with anything else that may be about
    /// the cursor. A server that fails over many messages at once is asked for fewer: one of them may be broken, or all of them slow.
    async fn page(&self, target: String, scan: &mut Scan<'_>, gives_up: bool) -> Result<Option<MessagePage>, SourceError> {
        let shared = &self.client.shared;
        loop {
            let ask = Ask::get(target.clone()).pages_of(PAGES_MESSAGES[scan.page]);
            let (can_shrink, told) = (scan.page + 1 < PAGES_MESSAGES.len(), self.client.document("list", &ask).await);
            return match told {
                Ok(Ok(body)) => graph::message_page(&body, &shared.origin).map(Some).map_err(|error| self.odd(&error.to_string())),
                Ok(Err(problem)) => match problem.meaning() {
                    Meaning::Resync => Ok(None),
                    Meaning::Failed if can_shrink => {
                        scan.page += 1;
                        continue;
                    }
                    Meaning::Failed | Meaning::Refused | Meaning::NotFound | Meaning::NoMime if gives_up => Ok(None),
                    Meaning::Failed => Err(refusal::error(shared, "list", &problem).hint(FAILS)),
                    _ => Err(refusal::error(shared, "list", &problem)),
                },
                Err(error) if error.kind == SourceErrorKind::Timeout && !error.dialled && can_shrink => {
                    scan.page += 1;
                    continue;
                }
                Err(error) => Err(error),
            };
        }
    }

    async fn finished(&self, folder: &Open, mut scan: Scan<'_>, way: Way, ended: Ended) -> Result<Listing, SourceError> {
        let (more, target) = match ended {
            Ended::Cut(target) => (true, Some(target)),
            Ended::All(delta) => (false, delta.map(|link| link.target().to_owned())),
            Ended::Lost => (false, None),
        };
        let is_whole = way == Way::Whole && !more;
        let silent: Vec<RemoteUid> = scan.want.also.iter().filter(|uid| !scan.met.contains(uid) && !scan.gone.contains(uid)).cloned().collect();
        self.ask_for(folder, &mut scan, way, is_whole, silent).await?;
        let mut fresh: Vec<_> = scan.fresh.into_iter().collect();
        fresh.sort_unstable_by_key(|(_, place)| *place);
        let mut older: Vec<_> = scan.older.into_iter().collect();
        older.sort_unstable_by_key(|(_, told)| *told);
        let goes_on = way != Way::Filtered && !scan.want.unseen && scan.want.not_before.is_none();
        let cursor = target.filter(|_| goes_on).map(|target| format!("{}\n{target}", folder.id));
        let met_nothing = way == Way::Whole && more && scan.known.unmet() as u64 == scan.known.len();
        Ok(Listing {
            messages: fresh.into_iter().map(|(uid, _)| Listed { uid, size: None }).collect(),
            more,
            older: older.into_iter().map(|(uid, _)| uid).collect(),
            vanished: scan.gone.into_iter().collect(),
            present: is_whole.then_some(Present::Met(scan.known)),
            met_nothing,
            cursor: cursor.filter(|cursor| cursor.len() <= CURSOR_OCTETS_MAX).map(Bytes::from),
        })
    }

    /// Messages that are wanted whatever the listing says, and of which it says nothing. No filter tells whether one is there: all of them are asked
    /// for then. A delta does, and is taken at its word for those above the limit; a message that it wrongly leaves out is forgotten only among these.
    async fn ask_for(&self, folder: &Open, scan: &mut Scan<'_>, way: Way, is_whole: bool, mut silent: Vec<RemoteUid>) -> Result<(), SourceError> {
        let are_all_asked = way == Way::Filtered || scan.want.not_before.is_some();
        let trusted = silent.split_off(if are_all_asked { silent.len() } else { silent.len().min(ASKED_MAX) });
        let seen = self.look(folder, &silent).await?;
        for (uid, seen) in silent.into_iter().zip(seen) {
            match seen {
                Some(seen) => scan.take(Change::There(seen)),
                None => {
                    scan.gone.insert(uid);
                }
            }
        }
        if is_whole {
            scan.gone.extend(trusted);
            return Ok(());
        }
        for uid in trusted {
            scan.told += 1;
            scan.fresh.insert(uid, (i64::MAX, scan.told));
        }
        Ok(())
    }

    /// What the server says of these messages of the folder, one after the other; `None` for one that is not in it any more.
    pub(super) async fn look(&self, folder: &Open, uids: &[RemoteUid]) -> Result<Vec<Option<Seen>>, SourceError> {
        let shared = &self.client.shared;
        let (mut all, mut folders) = (Vec::with_capacity(uids.len()), HashMap::from([(folder.id.clone(), true)]));
        for some in uids.chunks(LOOKS) {
            // What is no id of Graph's is none of a message.
            let ids: Vec<&str> = some.iter().map(|uid| id_of(uid).unwrap_or_default()).collect();
            let asks = ids.iter().map(|id| Ask::get(shared.place.look(&folder.id, id))).collect();
            let answers = self.client.documents("list", asks).await?;
            for (id, answer) in ids.into_iter().zip(answers) {
                let seen = match answer {
                    // Something is there; one answer that nobody understands stands in no other message's way.
                    Ok(body) => graph::message(&body).unwrap_or_else(|_| Seen { id: id.to_owned(), received: None, is_read: None, folder: None }),
                    Err(problem) => match problem.meaning() {
                        Meaning::NotFound => {
                            all.push(None);
                            continue;
                        }
                        // It is there, and something is wrong with it: whoever fetches it hears what.
                        Meaning::Failed | Meaning::Refused | Meaning::Denied | Meaning::NoMime => {
                            Seen { id: id.to_owned(), received: None, is_read: None, folder: None }
                        }
                        Meaning::Token | Meaning::NoMailbox | Meaning::Resync | Meaning::Busy => {
                            return Err(refusal::error(shared, "list", &problem));
                        }
                    },
                };
                // It keeps its id wherever it is moved, and not every server looks whether the folder of the request is the one that it is in.
                let is_here = match &seen.folder {
                    None => true,
                    Some(parent) => match folders.get(parent) {
                        Some(is_here) => *is_here,
                        None => {
                            let is_here = self.is_open(folder, parent).await?;
                            folders.insert(parent.clone(), is_here);
                            is_here
                        }
                    },
                };
                all.push(is_here.then(|| Seen { id: id.to_owned(), ..seen }));
            }
        }
        Ok(all)
    }

    /// Whether this is the open folder by another id: what is taken for moved is forgotten, and nobody promises that a folder has one id only.
    async fn is_open(&self, folder: &Open, id: &str) -> Result<bool, SourceError> {
        let answer = self.client.document("list", &Ask::get(self.client.shared.place.folder(id))).await?;
        Ok(match answer {
            Ok(body) => !graph::folder(&body).is_ok_and(|found| found.id != folder.id),
            // One that is not shown to us is not the one that is.
            Err(problem) => !matches!(problem.meaning(), Meaning::NotFound | Meaning::Denied),
        })
    }

    fn odd(&self, text: &str) -> SourceError {
        self.client.error(SourceErrorKind::Protocol, "list", text)
    }
}

/// The id of a message as Graph has it.
pub(super) fn id_of(uid: &RemoteUid) -> Option<&str> {
    match uid {
        RemoteUid::Opaque(id) => std::str::from_utf8(id).ok(),
        RemoteUid::Number(_) => None,
    }
}

impl<'w> Scan<'w> {
    fn new(want: &'w Want) -> Self {
        let also = want.also.iter().collect();
        let (fresh, older, met, gone) = Default::default();
        Scan { want, known: want.known.clone(), also, fresh, older, met, gone, told: 0, page: 0 }
    }

    /// How many messages the limit counts.
    fn yields(&self) -> usize {
        self.fresh.len() + self.older.len()
    }

    /// How many messages are there at least, if what was remembered and what was told are right.
    fn remaining(&self) -> u64 {
        (self.want.known.len() + self.want.also.len() as u64).saturating_sub(self.gone.len() as u64)
    }

    fn take(&mut self, change: Change) {
        self.told += 1;
        let seen = match change {
            Change::There(seen) => seen,
            Change::Removed(id) => {
                let uid = RemoteUid::Opaque(id.as_bytes().into());
                self.fresh.remove(&uid);
                self.older.remove(&uid);
                self.met.remove(&uid);
                if self.also.contains(&uid) || self.want.known.contains(&uid) {
                    self.gone.insert(uid);
                }
                return;
            }
        };
        let uid = RemoteUid::Opaque(seen.id.as_bytes().into());
        self.gone.remove(&uid);
        let is_known = self.known.meet(&uid);
        let is_due = self.also.contains(&uid);
        if is_due {
            self.met.insert(uid.clone());
        } else if is_known {
            return;
        }
        // A later word counts.
        self.fresh.remove(&uid);
        self.older.remove(&uid);
        let is_before = |limit: Option<i64>| limit.zip(seen.received).is_some_and(|(limit, received)| received < limit);
        match () {
            () if is_before(self.want.not_before) => {}
            () if is_due => drop(self.fresh.insert(uid, (seen.received.unwrap_or(i64::MAX), self.told))),
            () if self.want.unseen && seen.is_read == Some(true) => {}
            () if is_before(self.want.since) => drop(self.older.insert(uid, self.told)),
            () => drop(self.fresh.insert(uid, (seen.received.unwrap_or(i64::MAX), self.told))),
        }
    }
}
