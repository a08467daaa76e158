//! The client's side of SMTP (RFC 5321) and LMTP (RFC 2033): commands out, replies in, the content made safe, and what a reply means.

pub mod command;
pub mod extensions;
pub mod reply;
pub mod stuff;
pub mod verdict;

pub use extensions::Extensions;
pub use reply::{FullReply, ReplyError, ReplyReader};
pub use stuff::Stuffer;
pub use verdict::{Verdict, is_bad_sender, is_policy_refusal, is_unknown_recipient, verdict};

/// Which of the two is spoken. They differ in the word of the hello and in who answers to the final dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One answer to the final dot, for all recipients.
    Smtp,
    /// One answer to the final dot for each accepted recipient (RFC 2033 §4.2).
    Lmtp,
}
