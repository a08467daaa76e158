//! **mailgather** collects mail from remote mailboxes, finds the local recipient of each message and delivers it, and never loses one.
//!
//! The idea in one sentence: *the remote mailbox is the queue*. One task per collector walks its mailbox in passes; pure code decides, thin
//! shells do the I/O, and the ledger remembers what was delivered to whom. Mail is never ours: a message stays with its source until the
//! ledger durably says that every recipient is settled.
//!
//! The life of a message, in reading order:
//!
//! 1. [`config`] reads the YAML, reports every error with its place, and yields a [`config::Config`].
//! 2. [`service`] starts one task per collector, and stops or replaces it when the file changes.
//! 3. [`collect`] runs a pass: list, plan, then batches of fetch, resolve, deliver, record, dispose.
//! 4. [`source`] speaks to the mailbox ([`proto`] has the codecs, [`net`] the connections); each message arrives through [`spool`].
//! 5. [`resolve`] finds the recipients from the envelope traces in the header, and says why.
//! 6. [`deliver`] hands the message over by SMTP, LMTP or into a Maildir: one outcome per recipient.
//! 7. [`ledger`] records the outcomes durably; only then is the copy at the source disposed of.
//! 8. [`observe`] tells the operator; [`control`] lets programs ask, by a socket; [`cli`] is the command line.
//!
//! [`import`] reads the files of fetchmail, getmail and mpop, for who comes over from them.
//!
//! [`mail`] holds the words that all of them share. An import may only point to a lower layer: `tests/layers.rs` checks it.

pub mod cli;
pub mod collect;
pub mod config;
pub mod control;
pub mod deliver;
pub mod disk;
pub mod held;
pub mod history;
pub mod import;
pub mod ledger;
pub mod mail;
pub mod net;
pub mod oauth;
pub mod observe;
pub mod policy;
pub mod proto;
pub mod resolve;
pub mod service;
pub mod source;
pub mod spool;
