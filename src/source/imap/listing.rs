//! What is in the folder. The server's answer to a search is the one thing that can make us believe that mail is gone: what is not a whole answer is
//! an error, and an answer that is missing under an OK is no answer.

use super::connection::{Input, Tag};
use super::session::ImapSession;
use crate::mail::{Present, RemoteUid, UidSet};
use crate::proto::imap::{Command, Search, State};
use crate::source::{Listed, Listing, SourceError, SourceErrorKind, Want};
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// From so many messages on, ESEARCH is used where it is offered: its answer for 200,000 messages has 20 octets, that of SEARCH 1.3 million.
const COMPACT_FROM: u32 = 1000;
/// Without ESEARCH, a folder of more messages is searched in windows of so many UIDs (more, if that made too many windows).
const WINDOW_UIDS: u32 = 50_000;
/// Most windows: UIDs may be sparse.
const WINDOWS_MAX: u32 = 64;
/// INTERNALDATE is compared by the day, in a time zone that the server does not tell (RFC 9051 §6.4.4): one day more is asked for.
const ZONES_SECONDS: i64 = 24 * 3600;

/// Messages whose INTERNALDATE is asked for at once.
const DATES_AT_ONCE: usize = 1000;

/// What searches found.
#[derive(Default)]
struct Found {
    uids: UidSet,
    /// True if one of them was answered by OK alone: then a UID that is not in the set may be there all the same.
    uncertain: bool,
}

impl ImapSession {
    pub(super) async fn list_messages(&mut self, want: Want) -> Result<Listing, SourceError> {
        let also: UidSet = want.also.iter().filter_map(RemoteUid::number).collect();
        let is_empty = self.folder.as_ref().is_some_and(|folder| folder.exists == 0);
        let none_above = self.folder.as_ref().is_some_and(|folder| folder.has_none_above(want.above));
        self.folder.iter_mut().for_each(|folder| folder.has_news = false);
        let above = if none_above { Vec::new() } else { self.windows_above(want.above) };
        let filter = Search { unseen: want.unseen, since: want.since.max(want.not_before).map(day), ..Search::default() };
        let is_filtered = filter.unseen || filter.since.is_some();

        // What is there of `also`, what is new, and everything if that was asked for.
        let mut all = None;
        let mut fresh = UidSet::new();
        let mut there = UidSet::new();
        let mut uncertain = false;
        if want.complete {
            let found = if is_empty { Found::default() } else { self.search_all().await? };
            there = found.uids.clone();
            uncertain = found.uncertain;
            all = (!uncertain).then_some(found.uids);
        } else if !is_empty {
            let mut sets = Command::sets(&also);
            if !is_filtered {
                match (sets.last_mut(), above.as_slice()) {
                    (Some(set), [above]) => *set = format!("{set},{above}"),
                    _ => sets.extend(above.iter().cloned()),
                }
            }
            let found = self.search(&sets, Search::default()).await?;
            (there, uncertain) = (found.uids, found.uncertain);
        }
        if !is_filtered {
            fresh = there.clone();
        } else if !above.is_empty() {
            fresh = self.search(&above, filter).await?.uids;
        }

        // `9:*` yields the last message even if its UID is below 9 (RFC 9051 §9, seq-range): hence the look at `above`.
        let is_new = |uid: u32| fresh.contains(uid) && !want.known.contains(&RemoteUid::Number(uid));
        let is_due = |uid: u32| also.contains(uid) && there.contains(uid);
        let mut candidates = also.clone();
        for range in fresh.ranges() {
            candidates.insert_range((*range.start()).max(want.above.saturating_add(1))..=*range.end());
        }
        let is_wanted = |uid: &u32| (*uid > want.above && is_new(*uid)) || is_due(*uid);
        let most = want.limit.saturating_add(1);
        let mut wanted = candidates.iter().filter(is_wanted);
        let mut uids: Vec<u32> = match want.not_before {
            None => wanted.take(most).collect(),
            Some(not_before) => {
                let mut young = Vec::new();
                while young.len() < most {
                    let some: UidSet = wanted.by_ref().take(DATES_AT_ONCE).collect();
                    if some.is_empty() {
                        break;
                    }
                    let dates = self.dates(&some).await?;
                    // Of which nobody says when it came, is not known to be young.
                    young.extend(some.iter().filter(|uid| dates.get(uid).is_some_and(|date| *date >= not_before)));
                }
                young
            }
        };
        let more = uids.len() > want.limit;
        uids.truncate(want.limit);
        let sizes = if want.sizes && !uids.is_empty() { self.sizes(&uids.iter().copied().collect()).await? } else { BTreeMap::new() };
        let vanished = also.iter().filter(|uid| !uncertain && !there.contains(*uid)).map(RemoteUid::Number).collect();
        Ok(Listing {
            cursor: None,
            messages: uids.iter().map(|uid| Listed { uid: RemoteUid::Number(*uid), size: sizes.get(uid).copied() }).collect(),
            more,
            older: Vec::new(),
            vanished,
            present: all.map(Present::Numbers),
            met_nothing: false,
        })
    }

    /// The UIDs of all that is flagged \Deleted, by whomever. `None` if the server does not say.
    pub(super) async fn search_deleted(&mut self) -> Result<Option<UidSet>, SourceError> {
        // NOOP first: what another client did must be seen by the search. They do not go together, because Dovecot answers the second before the first.
        let noop = self.connection.send(&Command::Noop).await?;
        self.finish(noop, "NOOP", |_| ()).await?;
        let search = self.connection.send(&Command::Search(Search { deleted: true, ..Search::default() })).await?;
        self.found(search).await
    }

    /// Those of a set that are flagged \Deleted. `None` if the server refuses to say; an OK alone means none, as many a server leaves out what is empty.
    pub(super) async fn search_deleted_of(&mut self, set: &str) -> Result<Option<UidSet>, SourceError> {
        let tag = self.connection.send(&Command::Search(Search { set: Some(set), deleted: true, ..Search::default() })).await?;
        let mut found = None;
        let status = self.answer(tag, |input| merge(&mut found, input)).await?;
        if status.state != State::Ok {
            return Ok(None);
        }
        Ok(Some(self.plausible(found)?.unwrap_or_default()))
    }

    /// RFC822.SIZE of these.
    pub(super) async fn sizes(&mut self, uids: &UidSet) -> Result<BTreeMap<u32, u64>, SourceError> {
        let mut sizes = BTreeMap::new();
        for set in Command::sets(uids) {
            let tag = self.connection.send(&Command::FetchSizes(&set)).await?;
            let take = |input| {
                if let Input::Fetch(fetch) = input
                    && let (Some(uid), Some(size), false) = (fetch.uid, fetch.size, fetch.broken)
                    && uids.contains(uid)
                {
                    sizes.insert(uid, size);
                }
            };
            self.finish(tag, "UID FETCH", take).await?;
        }
        Ok(sizes)
    }

    /// INTERNALDATE of these, in seconds since the epoch.
    async fn dates(&mut self, uids: &UidSet) -> Result<BTreeMap<u32, i64>, SourceError> {
        let mut dates = BTreeMap::new();
        for set in Command::sets(uids) {
            let tag = self.connection.send(&Command::FetchDates(&set)).await?;
            let take = |input| {
                if let Input::Fetch(fetch) = input
                    && let (Some(uid), Some(date), false) = (fetch.uid, fetch.date, fetch.broken)
                    && uids.contains(uid)
                {
                    dates.insert(uid, date);
                }
            };
            self.finish(tag, "UID FETCH", take).await?;
        }
        Ok(dates)
    }

    async fn search_all(&mut self) -> Result<Found, SourceError> {
        let windows = self.windows_above(0);
        let found = match windows.as_slice() {
            [_] => {
                let uids = self.search_one(Search::default()).await?;
                Found { uncertain: uids.is_none(), uids: uids.unwrap_or_default() }
            }
            windows => self.search(windows, Search::default()).await?,
        };
        let exists = self.folder.as_ref().map_or(0, |folder| folder.exists);
        // Whoever prunes by this listing would forget the whole mailbox.
        if found.uids.is_empty() && exists > 0 {
            return Err(self.connection.error(SourceErrorKind::Protocol, format!("the server finds no message in a folder of {exists}")));
        }
        Ok(found)
    }

    /// Searches among each of `sets`.
    async fn search(&mut self, sets: &[String], what: Search<'_>) -> Result<Found, SourceError> {
        let mut all = Found::default();
        for set in sets {
            match self.search_one(Search { set: Some(set), ..what }).await? {
                Some(found) => found.ranges().iter().for_each(|range| all.uids.insert_range(range.clone())),
                None => all.uncertain = true,
            }
        }
        Ok(all)
    }

    /// One search, by ESEARCH if that pays. `None` if the server said OK and gave no result.
    async fn search_one(&mut self, search: Search<'_>) -> Result<Option<UidSet>, SourceError> {
        if !self.uses_esearch() {
            let tag = self.connection.send(&Command::Search(search)).await?;
            return self.found(tag).await;
        }
        let tag = self.connection.send(&Command::Search(Search { compact: true, ..search })).await?;
        let mut found = None;
        let answered = self.answer(tag, |input| merge(&mut found, input)).await;
        match answered {
            Ok(status) if status.state == State::Ok => self.plausible(found),
            // Offered and not understood: as without it.
            Ok(status) if status.state == State::Bad => {
                self.can_esearch = false;
                let tag = self.connection.send(&Command::Search(search)).await?;
                self.found(tag).await
            }
            Ok(status) => Err(self.connection.refused("UID SEARCH", &status)),
            Err(error) => {
                // A result that makes no sense has ended this session; the next one asks as of old.
                self.shared.esearch_failed.fetch_or(error.kind == SourceErrorKind::Protocol, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// The UIDs that a search found. `None` if the server said OK and no result.
    async fn found(&mut self, tag: Tag) -> Result<Option<UidSet>, SourceError> {
        let mut found = None;
        self.finish(tag, "UID SEARCH", |input| merge(&mut found, input)).await?;
        self.plausible(found)
    }

    /// An error if more was found than the folder holds: `1:4294967295` is 20 octets, and would keep us busy for minutes.
    fn plausible(&self, found: Option<UidSet>) -> Result<Option<UidSet>, SourceError> {
        let most = self.folder.as_ref().map_or(0, |folder| u64::from(folder.exists)) + EXPUNGED_MEANWHILE_MAX;
        match found.as_ref().map_or(0, UidSet::len) {
            many if many > most => {
                Err(self.connection.error(SourceErrorKind::Protocol, format!("the server finds {many} messages, more than there are")))
            }
            _ => Ok(found),
        }
    }

    fn uses_esearch(&self) -> bool {
        let large = self.folder.as_ref().is_some_and(|folder| folder.exists >= COMPACT_FROM);
        large && self.can_esearch && self.offers("ESEARCH") && !self.shared.esearch_failed.load(Ordering::Relaxed)
    }

    /// `n:*`, or where the answer would be long and ESEARCH is not there, windows of UIDs; the last is open.
    fn windows_above(&self, above: u32) -> Vec<String> {
        let from = u64::from(above) + 1;
        let open = vec![format!("{from}:*")];
        let Some(folder) = &self.folder else { return open };
        let (true, Some(next)) = (folder.exists > WINDOW_UIDS && !self.uses_esearch(), folder.uid_next_once) else { return open };
        windows(from, u64::from(next))
    }
}

/// Messages that may have been there when a search was answered and were gone when its answer was complete.
const EXPUNGED_MEANWHILE_MAX: u64 = 100_000;

/// The UIDs from `from` up in windows; those at `next` and above are in the last one.
fn windows(from: u64, next: u64) -> Vec<String> {
    let span = next.saturating_sub(from);
    let width = u64::from(WINDOW_UIDS).max(span.div_ceil(u64::from(WINDOWS_MAX)));
    let mut windows = Vec::new();
    let mut start = from;
    while start + width < next {
        windows.push(format!("{start}:{}", start + width - 1));
        start += width;
    }
    windows.push(format!("{start}:*"));
    windows
}

fn merge(found: &mut Option<UidSet>, input: Input) {
    if let Input::Search(set) = input {
        match found {
            None => *found = Some(set),
            Some(found) => set.ranges().iter().for_each(|range| found.insert_range(range.clone())),
        }
    }
}

/// The day to ask for, so that nothing that arrived at this time or later is left out in any time zone.
fn day(since: i64) -> Date {
    let then = jiff::Timestamp::from_second(since.saturating_sub(ZONES_SECONDS).max(0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    then.to_zoned(jiff::tz::TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_uids() {
        for (from, next, wanted) in [
            (1, 1, vec!["1:*"]),
            (1, 50_001, vec!["1:*"]),
            (1, 50_002, vec!["1:50000", "50001:*"]),
            (7, 120_000, vec!["7:50006", "50007:100006", "100007:*"]),
            (4_294_967_296, 9, vec!["4294967296:*"]),
        ] {
            assert_eq!(windows(from, next), wanted, "{from} {next}");
        }
        let sparse = windows(1, u64::from(u32::MAX));
        assert!(sparse.len() as u32 <= WINDOWS_MAX && sparse[0] == "1:67108864", "{sparse:?}");
    }

    #[test]
    fn a_day_earlier_for_the_zones() {
        for (since, wanted) in
            [(1_767_225_600, "2025-12-31"), (1_767_225_599, "2025-12-30"), (0, "1970-01-01"), (-9, "1970-01-01"), (i64::MIN, "1970-01-01")]
        {
            assert_eq!(day(since).to_string(), wanted);
        }
        let _ = day(i64::MAX);
    }
}
