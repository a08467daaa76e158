//! How often the recipients of a collector's mail had to be guessed, or were not found: a mailbox whose envelope headers tell too little is
//! no good multidrop mailbox, and the operator should hear about it once, not at each message.

use crate::resolve::resolution::Resolution;
use std::collections::VecDeque;

/// How many decisions are looked back on.
pub const DECISIONS_MAX: usize = 200;
/// How many there must be before anything is said.
pub const DECISIONS_MIN: usize = 40;
/// The share of guesses and of messages without a recipient above which it is said.
pub const SHARE_MAX: f64 = 0.05;

/// The last [`DECISIONS_MAX`] decisions of one collector.
#[derive(Clone, Debug, Default)]
pub struct Reliability {
    /// True for each that no envelope header made.
    last: VecDeque<bool>,
    unsure: usize,
    told: bool,
}

impl Reliability {
    /// Counts a decision. Gives the share of stage 4 and 5 when it rises above [`SHARE_MAX`]: once, and again only after it fell to it or
    /// below. `forward_to` decides nothing and is not counted.
    pub fn note(&mut self, resolution: &Resolution) -> Option<f64> {
        let unsure = match resolution {
            Resolution::Recipients(_, evidence) if evidence.is_forward() => return None,
            Resolution::Recipients(_, evidence) => evidence.is_guess(),
            Resolution::DefaultBox(..) | Resolution::Leave(_) | Resolution::Hold(_) | Resolution::Discard(_) => true,
        };
        if self.last.len() == DECISIONS_MAX {
            self.unsure -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(unsure);
        self.unsure += usize::from(unsure);
        let share = self.share().filter(|share| *share > SHARE_MAX);
        let news = share.filter(|_| !self.told);
        self.told = share.is_some();
        news
    }

    /// The share of stage 4 and 5 among the last decisions, from 0 to 1; `None` while there are fewer than [`DECISIONS_MIN`].
    pub fn share(&self) -> Option<f64> {
        // Both are at most 200.
        (self.last.len() >= DECISIONS_MIN).then(|| self.unsure as f64 / self.last.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Recipient;
    use crate::resolve::resolution::{Evidence, Reason};

    const NOTHING: [f64; 0] = [];

    fn found(stage: u8, header: &str) -> Resolution {
        Resolution::Recipients(vec![Recipient::new("a@b.example".parse().unwrap())], Evidence::without_field(stage, header))
    }

    fn notes(reliability: &mut Reliability, resolution: &Resolution, times: usize) -> Vec<f64> {
        (0..times).filter_map(|_| reliability.note(resolution)).collect()
    }

    #[test]
    fn it_is_said_once_and_again_after_it_got_better() {
        let (sure, unsure) = (found(2, "Delivered-To"), Resolution::Leave(Reason::NoEnvelopeHeader));
        let mut r = Reliability::default();
        assert_eq!(notes(&mut r, &unsure, 39), NOTHING, "too few to tell");
        assert_eq!(r.share(), None);
        assert_eq!(notes(&mut r, &unsure, 10), [1.0], "once");
        assert_eq!(notes(&mut r, &sure, 150), NOTHING);
        assert_eq!((r.share(), notes(&mut r, &sure, 50)), (Some(49.0 / 199.0), vec![]));
        assert_eq!(r.share(), Some(0.0), "only the last 200 count");
        assert_eq!(notes(&mut r, &unsure, 10), NOTHING, "ten of two hundred are not above 5 %");
        assert_eq!(notes(&mut r, &unsure, 10), [11.0 / 200.0], "again");
    }

    #[test]
    fn what_counts() {
        for (resolution, counts) in [
            (found(1, "X-To"), false),
            (found(3, "Received:for"), false),
            (found(0, "journal"), false),
            (found(4, "To/Cc"), true),
            (found(4, "list team@b.example"), true),
            (Resolution::DefaultBox(Recipient::new("a@b.example".parse().unwrap()), Reason::ListMail), true),
            (Resolution::Hold(Reason::ListMail), true),
            (Resolution::Discard(Reason::ListMail), true),
        ] {
            let mut r = Reliability::default();
            assert_eq!(!notes(&mut r, &resolution, 200).is_empty(), counts, "{resolution:?}");
        }
        let mut r = Reliability::default();
        assert_eq!((notes(&mut r, &found(0, "forward_to"), 200), r.share()), (vec![], None));
    }
}
