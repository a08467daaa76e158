//! Whether a server refuses everybody: a relay that does not relay for us refuses each recipient by policy, and no message is to blame.
//!
//! Pure. A single message that nobody wants is refused for each of its recipients, too; so the refusals must be of two messages at least.

use crate::mail::{Address, TraceId};

/// Different recipients in a row whose refusal is taken for an answer about them; at the next one the target is at fault.
const RECIPIENTS_MAX: usize = 3;

/// The recipients that were refused by policy since the last one was accepted.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    recipients: Vec<Address>,
    message: Option<TraceId>,
    of_several_messages: bool,
}

impl Refusals {
    /// A recipient was refused by policy. True if it is the target's fault.
    pub(super) fn refused(&mut self, recipient: &Address, message: TraceId) -> bool {
        let first = *self.message.get_or_insert(message);
        self.of_several_messages |= first != message;
        if self.recipients.len() <= RECIPIENTS_MAX && !self.recipients.contains(recipient) {
            self.recipients.push(recipient.clone());
        }
        self.of_several_messages && self.recipients.len() > RECIPIENTS_MAX
    }

    /// One was accepted, or the time is over: the count starts anew.
    pub(super) fn forget(&mut self) {
        *self = Refusals::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_three_in_a_row_of_two_messages() {
        let address = |n: usize| format!("r{n}@x.example").parse::<Address>().unwrap();
        let (first, second) = (TraceId([1; 16]), TraceId([2; 16]));
        let mut refusals = Refusals::default();
        assert!((0..10).all(|n| !refusals.refused(&address(n), first)), "one bad message");
        assert!(refusals.refused(&address(0), second), "another one");
        refusals.forget();
        assert!((0..9).all(|n| !refusals.refused(&address(n % 3), TraceId([n as u8; 16]))), "three recipients, whatever the messages");
        assert!(refusals.refused(&address(3), first) && refusals.refused(&address(4), second));
        refusals.forget();
        assert!(!refusals.refused(&address(4), second));
    }
}
