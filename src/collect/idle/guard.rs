//! Beside the connections that wait, passes go on by the interval. What they find and nobody told of was missed, or the connection is dead; that is asked
//! of the connection, once the server had until the end of the next pass for its word. Pure, but for the asking.

use super::{Passed, Seen};
use crate::mail::FolderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The folders with a connection that waits for news.
#[derive(Default)]
pub(super) struct Guard(BTreeMap<FolderName, Watch>);

/// A connection that waits.
struct Watch {
    trust: Trust,
    /// The last pass found mail here of which nothing was said until it ended.
    is_suspect: bool,
    ask: Arc<Notify>,
}

/// How far it is known that what comes into a folder comes under the eyes of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The connection was just made.
    New,
    /// A pass began since.
    Begun,
    /// That pass left no new mail: all that is found from now on has to be told.
    Armed,
}

impl Guard {
    /// A connection waits from now on; it is asked whether it lives when this is notified.
    pub fn add(&mut self, folder: &FolderName) -> Arc<Notify> {
        let ask = Arc::new(Notify::new());
        self.0.insert(folder.clone(), Watch { trust: Trust::New, is_suspect: false, ask: Arc::clone(&ask) });
        ask
    }

    /// Its connection is gone. Whatever it did not tell, nobody can know whether the server would have.
    pub fn remove(&mut self, folder: &FolderName) {
        self.0.remove(folder);
    }

    /// How many connections wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A pass begins; `was_told` since the last one began.
    pub fn pass_begins(&mut self, was_told: bool) {
        for watch in self.0.values_mut() {
            if was_told {
                // The word may have come just behind the pass. And whatever this one finds was told of.
                watch.is_suspect = false;
            }
            if watch.trust == Trust::New || was_told {
                watch.trust = Trust::Begun;
            }
        }
    }

    /// A pass ended; `before` is what the last whole pass saw, and `was_told` since this one began. Returns those to be asked.
    pub fn pass_ended(&mut self, passed: &Passed<'_>, before: &[Seen], was_told: bool) -> Vec<Arc<Notify>> {
        let mut asked = Vec::new();
        for (name, watch) in &mut self.0 {
            if watch.is_suspect && !was_told {
                asked.push(Arc::clone(&watch.ask));
            }
            let is_unsaid = watch.trust == Trust::Armed && passed.by_interval && !was_told;
            watch.is_suspect = is_unsaid && has_grown(name, before, passed.folders);
            if watch.trust != Trust::New {
                watch.trust = if passed.is_whole { Trust::Armed } else { Trust::Begun };
            }
        }
        asked
    }
}

/// True if new mail has come into the folder. What is new to a pass has not always just come: a message that somebody marked as unread, or all of them
/// under a new UIDVALIDITY. No server tells of these.
fn has_grown(name: &FolderName, before: &[Seen], now: &[Seen]) -> bool {
    let (Some(before), Some(now)) = (in_pass(before, name), in_pass(now, name)) else { return false };
    let (was, is) = (&before.selected, &now.selected);
    let is_higher = was.uid_next.zip(is.uid_next).is_none_or(|(was, is)| is > was);
    now.found > 0 && was.epoch == is.epoch && is_higher
}

fn in_pass<'a>(seen: &'a [Seen], name: &FolderName) -> Option<&'a Seen> {
    seen.iter().find(|seen| seen.name == *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Epoch;
    use crate::source::Selected;
    use futures_util::FutureExt;

    /// Passes over INBOX, each with what it finds.
    struct Story {
        guard: Guard,
        ask: Arc<Notify>,
        seen: Vec<Seen>,
        told: bool,
    }

    fn story_of(folder: &str) -> Story {
        let mut guard = Guard::default();
        let ask = guard.add(&FolderName::new(folder));
        let selected = Selected { epoch: Epoch(1), exists: 0, uid_next: Some(7), can_delete: true };
        let seen = vec![Seen { name: FolderName::inbox(), selected, found: 0 }];
        Story { guard, ask, seen, told: false }
    }

    fn story() -> Story {
        story_of("INBOX")
    }

    impl Story {
        fn tell(&mut self) {
            self.told = true;
        }

        fn pass(&mut self, found: u64, is_whole: bool, by_interval: bool) {
            let before = self.seen[0].selected.uid_next.unwrap();
            self.pass_that_sees(found, before + found as u32, 1, is_whole, by_interval);
        }

        fn pass_that_sees(&mut self, found: u64, uid_next: u32, epoch: u32, is_whole: bool, by_interval: bool) {
            let was_told = std::mem::take(&mut self.told);
            self.guard.pass_begins(was_told);
            let mut seen = self.seen.clone();
            seen[0].found = found;
            seen[0].selected.uid_next = Some(uid_next);
            seen[0].selected.epoch = Epoch(epoch);
            let passed = Passed { folders: &seen, is_whole, by_interval, by_word: !by_interval };
            for ask in self.guard.pass_ended(&passed, &self.seen, false) {
                ask.notify_one();
            }
            if is_whole {
                self.seen = seen;
            }
        }

        /// True if the connection is asked, at the end of one pass more.
        fn is_asked(&mut self) -> bool {
            assert!(self.ask.notified().now_or_never().is_none(), "the server had no time for its word");
            self.pass(0, true, true);
            self.ask.notified().now_or_never().is_some()
        }
    }

    #[test]
    fn what_the_interval_finds_without_a_word_is_asked_about() {
        let mut story = story();
        story.pass(0, true, true);
        for _ in 0..3 {
            story.pass(1, true, true);
            assert!(story.is_asked());
        }
        assert!(!story.is_asked(), "once for each");
        story.pass(1, true, true);
        story.guard.remove(&FolderName::inbox());
        assert!(!story.is_asked(), "nobody is there to be asked");
    }

    #[test]
    fn what_was_there_before_the_connection_was_not_missed() {
        let mut story = story();
        story.pass(5, true, true);
        assert!(!story.is_asked());
        // The same in a backlog of several passes.
        let mut story = super::tests::story();
        for more in [true, true, true, true, false] {
            story.pass(100, !more, true);
        }
        assert!(!story.is_asked());
    }

    #[test]
    fn what_was_told_in_time_or_just_behind_the_pass_was_not_missed() {
        let mut story = story();
        story.pass(0, true, true);
        story.tell();
        story.pass(1, true, true);
        assert!(!story.is_asked());
        story.pass(1, true, true);
        story.tell();
        assert!(!story.is_asked());
        // Asked for by an operator, or mail in another folder.
        story.pass(0, true, true);
        story.pass(1, true, false);
        assert!(!story.is_asked());
        let mut elsewhere = story_of("Other");
        elsewhere.pass(0, true, true);
        elsewhere.pass(1, true, true);
        assert!(!elsewhere.is_asked());
    }

    #[test]
    fn what_is_new_to_us_alone_was_not_missed() {
        let mut story = story();
        story.pass(0, true, true);
        // Somebody marked a message as unread, with `collect: unseen`.
        story.pass_that_sees(1, 7, 1, true, true);
        assert!(!story.is_asked());
        // The server gives all messages other UIDs.
        story.pass_that_sees(50, 60, 2, true, true);
        assert!(!story.is_asked());
    }
}
