//! Where the next pass's listing may go on: the cursor of a listing, once every message up to there has a recorded state. What a watermark is for
//! numbers that rise (IMAP), it is for servers that tell what changed since (EWS sync states, Graph delta links).

use super::pass::Scope;
use crate::config::{Collect, Collector};
use crate::mail::RemoteUid;
use crate::source::Listing;
use bytes::Bytes;
use std::collections::HashSet;

/// Cursors of this pass that wait for their messages.
#[derive(Debug)]
pub struct Bookmark {
    open: HashSet<RemoteUid>,
    cursor: Option<Bytes>,
    applies: bool,
}

impl Bookmark {
    /// True if this collector's listings go on where the last one ended. `all` takes what is listed, whatever was done with it before; and `unseen`
    /// has to look at what was read and may be unread again.
    pub fn applies(collector: &Collector, scope: Scope) -> bool {
        collector.collect == Collect::New && scope == Scope::Whole
    }

    /// None yet.
    pub fn new(collector: &Collector, scope: Scope) -> Self {
        Bookmark { open: HashSet::new(), cursor: None, applies: Self::applies(collector, scope) }
    }

    /// This was listed. What an earlier pass has recorded something of is settled: it comes again whatever the cursor says.
    pub fn listed(&mut self, listing: &Listing, is_recorded: impl Fn(&RemoteUid) -> bool) {
        if self.applies && listing.cursor.is_some() {
            self.open.extend(listing.messages.iter().map(|message| &message.uid).filter(|uid| !is_recorded(uid)).cloned());
            self.cursor.clone_from(&listing.cursor);
        }
    }

    /// This message has a recorded state.
    pub fn settled(&mut self, uid: &RemoteUid) {
        self.open.remove(uid);
    }

    /// The cursor behind which nothing is open, once.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.open.is_empty() { self.cursor.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Listed;

    fn uid(text: &str) -> RemoteUid {
        RemoteUid::Opaque(text.as_bytes().into())
    }

    fn listing(uids: &[&str], cursor: &'static str) -> Listing {
        let messages = uids.iter().map(|text| Listed { uid: uid(text), size: None }).collect();
        Listing { messages, cursor: Some(Bytes::from(cursor)), ..Listing::default() }
    }

    #[test]
    fn a_cursor_waits_for_all_that_was_listed_up_to_it() {
        let mut bookmark = Bookmark { open: HashSet::new(), cursor: None, applies: true };
        assert_eq!(bookmark.take(), None);
        bookmark.listed(&listing(&[], "1"), |_| false);
        assert_eq!((bookmark.take(), bookmark.take()), (Some("1".into()), None));
        bookmark.listed(&listing(&["a", "b", "c"], "2"), |of| *of == uid("b"));
        bookmark.settled(&uid("a"));
        assert_eq!(bookmark.take(), None, "of c nothing is known");
        bookmark.listed(&listing(&["d"], "3"), |_| false);
        bookmark.settled(&uid("d"));
        assert_eq!(bookmark.take(), None, "the second listing lies behind the first");
        bookmark.settled(&uid("c"));
        assert_eq!(bookmark.take(), Some("3".into()));
    }

    #[test]
    fn none_for_those_who_look_at_everything() {
        let mut bookmark = Bookmark { open: HashSet::new(), cursor: None, applies: false };
        bookmark.listed(&listing(&[], "1"), |_| false);
        assert_eq!(bookmark.take(), None);
    }
}
