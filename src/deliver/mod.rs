//! Layer 4: where mail goes. A [`Destination`] takes one message for an envelope and answers for each recipient.

pub mod breaker;
pub mod local_check;
pub mod maildir;
pub mod smtp;

use crate::mail::{Address, Diagnosis, Envelope, Message, Outcome};
use async_trait::async_trait;
use std::time::Duration;

/// A place to deliver to. It is shared by all collectors that name it, and keeps its own connections and limits.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Delivers the message, with the envelope's prefix and edits applied, and answers once per recipient, in the envelope's order.
    ///
    /// There is no error: a broken connection is [`Outcome::Deferred`] for each recipient, no answer to the final dot is [`Outcome::Unknown`].
    /// The call ends by itself; if its future is dropped all the same, nothing is known about the outcome.
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome>;

    /// The target in words, for logs: `lmtp unix:/run/dovecot/lmtp`.
    fn name(&self) -> String;

    /// Why nothing can be delivered now, if the target has been failing and is not to be asked yet: a pass need not begin.
    fn down(&self) -> Option<String> {
        None
    }

    /// When a target that failed is asked again, if it is watched for that: a pass need not wait any longer.
    fn asked_again_in(&self) -> Option<Duration> {
        None
    }

    /// Looks whether mail for these recipients could be delivered, as far as that shows without delivering: no MAIL is sent, and nothing is made.
    /// One finding for each server or folder. For those who only want to see that.
    async fn inspect(&self, recipients: &[Address]) -> Vec<Inspection> {
        let _ = recipients;
        Vec::new()
    }

    /// Closes connections that nobody uses.
    async fn rest(&self);
}

/// What was found at one place that mail goes to.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The place in words: `lmtp unix:/run/dovecot/lmtp`.
    pub place: String,
    /// What it is like, in words; or why nothing can be delivered there.
    pub found: Result<String, Diagnosis>,
    /// What is doubtful about it.
    pub doubts: Vec<String>,
}
