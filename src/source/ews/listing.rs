//! Which messages there are: by what has changed since the last listing, or by a search.

use super::session::{EwsSession, id_of};
use crate::mail::{Present, RemoteUid};
use crate::proto::ews::{CodeKind, Event, Filter, FolderRef, ItemInfo, Page};
use crate::source::{CURSOR_OCTETS_MAX, Listed, Listing, SourceError, SourceErrorKind, Want};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Changes of one SyncFolderItems: the most that Exchange gives.
const CHANGES_MAX: usize = 512;
/// Items of one page of FindItem: half of what a throttling policy allows by default.
const PAGE: usize = 500;
/// Items of one GetItem that asks for no contents.
const LOOK_UPS: usize = 200;
/// Most pages of one listing: a server without an end would be asked for ever.
const PAGES_MAX: usize = 20_000;

/// A listing in the making.
struct Survey {
    want: Want,
    also: HashSet<RemoteUid>,
    /// Those to be listed, by id.
    found: HashMap<Arc<[u8]>, ItemInfo>,
    vanished: HashSet<RemoteUid>,
    /// Everything is looked at, from the folder's start.
    from_start: bool,
}

impl EwsSession {
    pub(super) async fn survey(&mut self, want: Want) -> Result<Listing, SourceError> {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.at.clone()) else {
            return Err(self.wire.error(SourceErrorKind::Protocol, "nothing is selected"));
        };
        let also = want.also.iter().cloned().collect();
        let mut survey = Survey { want, also, found: HashMap::new(), vanished: HashSet::new(), from_start: false };
        self.look_up(&mut survey).await?;
        if survey.want.above == u32::MAX {
            return Ok(survey.listing(false, None));
        }
        // Whoever has to know what is still there asks for the unread ones of all.
        let is_search = survey.want.not_before.is_some() || (survey.want.unseen && !survey.want.complete);
        if survey.found.len() >= survey.want.limit {
            let cursor = survey.want.cursor.clone();
            return Ok(survey.listing(true, cursor));
        }
        if is_search {
            let more = self.search(&mut survey, &folder).await?;
            return Ok(survey.listing(more, None));
        }
        let (more, cursor) = self.changes(&mut survey, &folder).await?;
        Ok(survey.listing(more, cursor))
    }

    /// Asks after those that are wanted in any case.
    async fn look_up(&mut self, survey: &mut Survey) -> Result<(), SourceError> {
        let also = survey.want.also.clone();
        for some in also.chunks(LOOK_UPS) {
            let request = self.wire.requests.get_items(some.iter().map(id_of), false);
            let (mut answers, mut found) = (Vec::new(), Vec::new());
            self.wire
                .read(request, |event| match event {
                    Event::Item(item) => found.push(item),
                    Event::Ends(outcome) => answers.push(outcome),
                    _ => {}
                })
                .await?;
            for (uid, outcome) in some.iter().zip(&answers) {
                match outcome.code.kind() {
                    CodeKind::Done => {}
                    CodeKind::NoItem => {
                        survey.vanished.insert(uid.clone());
                    }
                    CodeKind::Busy | CodeKind::TooMany | CodeKind::Moving => return Err(self.wire.refused(outcome)),
                    // How old it is, nobody says.
                    CodeKind::Stuck if survey.want.not_before.is_some() => return Err(self.wire.refused(outcome)),
                    // It is there, and something is wrong with it: who fetches it hears what.
                    _ => survey.keep(ItemInfo { id: id_of(uid).to_owned(), ..ItemInfo::default() }),
                }
            }
            for item in found {
                let early = survey.want.not_before.is_some_and(|least| item.received.as_deref().and_then(seconds).is_some_and(|at| at < least));
                if survey.also.contains(&uid_of(&item.id)) && !early {
                    survey.keep(item);
                }
            }
        }
        Ok(())
    }

    /// By SyncFolderItems, from the cursor if there is one. Whether more has changed, and where that begins.
    async fn changes(&mut self, survey: &mut Survey, folder: &FolderRef) -> Result<(bool, Option<Bytes>), SourceError> {
        let cursor = survey.want.cursor.clone().filter(|_| !survey.want.unseen);
        let cursor = cursor.and_then(|cursor| state_of(&cursor, folder));
        let (also, vanished) = (survey.found.clone(), survey.vanished.clone());
        let since = match cursor {
            None => None,
            Some(cursor) => match self.sync(survey, folder, Some(cursor)).await {
                Ok(done) => done,
                // A state that is refused in other words than it should be must not be asked with for ever: from the start it shows what is wrong.
                Err(error) if matches!(error.kind, SourceErrorKind::Mailbox | SourceErrorKind::Protocol) => {
                    let inner = &self.wire.inner;
                    tracing::info!(event = "listing_begins_anew", collector = %inner.collector, server = error.peer, reason = %error);
                    None
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(done) = since {
            let gone = survey.vanished.len() as u64;
            let unknown_also = survey.also.iter().filter(|uid| !survey.want.known.contains(uid)).count() as u64;
            let left = (survey.want.known.len() + unknown_also).saturating_sub(gone);
            let exists = self.folder.as_ref().map_or(u64::MAX, |folder| folder.exists);
            if !survey.want.complete || done.0 || left <= exists {
                return Ok(done);
            }
        }
        // From the start: the server takes the cursor no more, or the numbers tell that we remember what is gone.
        (survey.found, survey.vanished) = (also, vanished);
        survey.from_start = true;
        match self.sync(survey, folder, None).await? {
            Some((more, cursor)) => Ok((more, cursor.filter(|_| !survey.want.unseen))),
            None => Err(self.wire.error(SourceErrorKind::Protocol, "the server takes no state to synchronise from, not even none")),
        }
    }

    /// Pages of changes, until there are no more or the limit is reached; `None` if the server does not take the state.
    async fn sync(&mut self, survey: &mut Survey, folder: &FolderRef, from: Option<String>) -> Result<Option<(bool, Option<Bytes>)>, SourceError> {
        let mut state = from;
        for _ in 0..PAGES_MAX {
            let most = survey.want.limit.saturating_sub(survey.found.len()).clamp(1, CHANGES_MAX);
            let request = self.wire.requests.sync(folder, state.as_deref(), most);
            let (mut next, mut is_last, mut changed) = (None, None, 0usize);
            let refused = self
                .wire
                .read(request, |event| match event {
                    Event::SyncState(new) => next = Some(new),
                    Event::IncludesLast(last) => is_last = Some(last),
                    Event::Item(item) => {
                        changed += 1;
                        survey.meet(item);
                    }
                    Event::Gone(id) => {
                        changed += 1;
                        survey.gone(&id);
                    }
                    _ => {}
                })
                .await?;
            if let Some(outcome) = refused {
                if outcome.code.kind() == CodeKind::SyncState && state.is_some() {
                    return Ok(None);
                }
                return Err(self.wire.refused(&outcome));
            }
            let (Some(next), Some(is_last)) = (next, is_last) else {
                return Err(self.wire.error(SourceErrorKind::Protocol, "the server's answer has no sync state in it"));
            };
            let stuck = changed == 0 && state.as_ref() == Some(&next);
            state = Some(next);
            let cursor = || state.as_deref().and_then(|state| cursor_of(folder, state));
            if is_last {
                return Ok(Some((false, cursor())));
            }
            if stuck {
                break;
            }
            if survey.found.len() >= survey.want.limit {
                return Ok(Some((true, cursor())));
            }
        }
        Err(self.wire.error(SourceErrorKind::Protocol, "the server's list of changes has no end"))
    }

    /// By FindItem. Whether there are more than the limit.
    async fn search(&mut self, survey: &mut Survey, folder: &FolderRef) -> Result<bool, SourceError> {
        let filter = Filter { unread: survey.want.unseen, not_before: survey.want.not_before };
        let mut offset = 0u64;
        for _ in 0..PAGES_MAX {
            let request = self.wire.requests.find_items(folder, filter, false, offset, PAGE);
            let (mut page, mut items) = (None::<Page>, Vec::new());
            self.wire
                .read_all(request, |event| match event {
                    Event::Item(item) => items.push(item),
                    Event::Page(read) => page = Some(read),
                    _ => {}
                })
                .await?;
            let count = items.len() as u64;
            for item in items {
                let uid = uid_of(&item.id);
                if is_mail(&item.kind) && !survey.want.known.contains(&uid) && !survey.also.contains(&uid) {
                    if survey.found.len() >= survey.want.limit {
                        return Ok(true);
                    }
                    survey.keep(item);
                }
            }
            let page = page.ok_or_else(|| self.no_page())?;
            if page.is_last {
                return Ok(false);
            }
            let next = page.next.unwrap_or(offset + count);
            if next <= offset {
                break;
            }
            offset = next;
        }
        Err(self.wire.error(SourceErrorKind::Protocol, "the server's answer to a search has no end"))
    }

    /// The last messages of the folder, oldest first.
    pub(super) async fn last(&mut self, last: usize) -> Result<Vec<RemoteUid>, SourceError> {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.at.clone()) else {
            return Err(self.wire.error(SourceErrorKind::Protocol, "nothing is selected"));
        };
        let mut uids = Vec::new();
        let mut offset = 0;
        while uids.len() < last {
            let request = self.wire.requests.find_items(&folder, Filter::default(), true, offset, PAGE.min(last));
            let (mut page, mut count) = (None::<Page>, 0u64);
            self.wire
                .read_all(request, |event| match event {
                    Event::Item(item) => {
                        count += 1;
                        if is_mail(&item.kind) {
                            uids.push(uid_of(&item.id));
                        }
                    }
                    Event::Page(read) => page = Some(read),
                    _ => {}
                })
                .await?;
            if page.ok_or_else(|| self.no_page())?.is_last || count == 0 {
                break;
            }
            offset += count;
        }
        uids.truncate(last);
        uids.reverse();
        Ok(uids)
    }

    /// An answer that has no list in it is no empty list.
    fn no_page(&self) -> SourceError {
        self.wire.error(SourceErrorKind::Protocol, "the server's answer to a search has no list in it")
    }
}

impl Survey {
    /// An item of a list of changes.
    fn meet(&mut self, item: ItemInfo) {
        if !is_mail(&item.kind) || item.id.is_empty() {
            return;
        }
        let uid = uid_of(&item.id);
        let is_known = if self.from_start { self.want.known.meet(&uid) } else { self.want.known.contains(&uid) };
        let is_read = self.want.unseen && item.is_read == Some(true);
        if self.also.contains(&uid) {
            // It was looked for, and is what it was found to be; one that was missing then has come back.
            if self.vanished.remove(&uid) {
                self.keep(item);
            }
        } else if !is_known && !is_read {
            self.keep(item);
        }
    }

    /// An item that is gone.
    fn gone(&mut self, id: &str) {
        let uid = uid_of(id);
        self.found.remove(id.as_bytes());
        let concerns = self.also.contains(&uid) || (!self.from_start && self.want.known.contains(&uid));
        if concerns {
            self.vanished.insert(uid);
        }
    }

    fn keep(&mut self, item: ItemInfo) {
        self.found.insert(item.id.as_bytes().into(), item);
    }

    /// Ends the listing: in the order of receipt.
    fn listing(self, more: bool, cursor: Option<Bytes>) -> Listing {
        let Survey { want, also, found, vanished, from_start } = self;
        let mut found: Vec<(Arc<[u8]>, ItemInfo)> = found.into_iter().collect();
        // One that has no time is in nobody's way at the end; the id keeps the order the same each time.
        found.sort_by(|(left_id, left), (right_id, right)| {
            let time = |item: &ItemInfo| (item.received.is_none(), item.received.clone());
            (time(left), left_id).cmp(&(time(right), right_id))
        });
        // What stands before a cursor is not listed again, and what was asked for by name is wanted whatever its number: a server may give more changes
        // than it was asked for, and none of them may be dropped.
        let is_cut = cursor.is_none() && want.above != u32::MAX && found.len() > want.limit;
        if is_cut {
            found.truncate(want.limit);
        }
        let more = more || is_cut;
        let mut listing = Listing { more, vanished: vanished.into_iter().collect(), cursor, ..Listing::default() };
        for (id, item) in found {
            let uid = RemoteUid::Opaque(id);
            let is_old = want.since.is_some_and(|since| item.received.as_deref().and_then(seconds).is_some_and(|at| at < since));
            if is_old && !also.contains(&uid) {
                listing.older.push(uid);
            } else {
                listing.messages.push(Listed { uid, size: item.size });
            }
        }
        listing.met_nothing = from_start && more && want.known.unmet() as u64 == want.known.len();
        listing.present = (from_start && !more).then_some(Present::Met(want.known));
        listing
    }
}

/// A sync state, with the folder that it is of: a name may come to lead to another folder.
fn cursor_of(folder: &FolderRef, state: &str) -> Option<Bytes> {
    let FolderRef::Id(id) = folder else { return None };
    let cursor = format!("{id}\n{state}");
    (cursor.len() <= CURSOR_OCTETS_MAX).then(|| cursor.into())
}

/// The state in a cursor of this folder.
fn state_of(cursor: &[u8], folder: &FolderRef) -> Option<String> {
    let FolderRef::Id(id) = folder else { return None };
    let (of, state) = std::str::from_utf8(cursor).ok()?.split_once('\n')?;
    (of == id && !state.is_empty()).then(|| state.to_owned())
}

pub(super) fn uid_of(id: &str) -> RemoteUid {
    RemoteUid::Opaque(id.as_bytes().into())
}

/// `2026-11-22T08:00:00Z`
fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(|time| time.as_second())
}

/// Contacts, appointments and tasks can stand in a folder of mail, and are none. A kind that we do not know is taken for mail.
pub(super) fn is_mail(kind: &str) -> bool {
    !matches!(kind, "CalendarItem" | "Contact" | "DistributionList" | "Task" | "AbchPerson" | "Booking" | "Network" | "Person" | "RoleMember")
}
