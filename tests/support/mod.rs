//! What integration tests stand on: real servers that a test starts for itself (Dovecot, Cyrus, Courier, Postfix, Exim), a scripted SMTP/LMTP server, a corpus of
//! hostile messages, and the program itself as a process. The `main.rs` of a test crate takes it in by `#[path = "../support/mod.rs"] mod support;`.
//!
//! Every server listens on loopback ports of its own, keeps its files in a temporary directory and ends with the test, also when the test
//! panics or the test process is killed. `docs/testing.md` has examples.

// Each test binary compiles this library and uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod certificates;
pub mod corpus;
pub mod courier;
pub mod cyrus;
pub mod dovecot;
pub mod ews;
pub mod exim;
pub mod faults;
pub mod graph;
pub mod maildir;
pub mod other_client;
pub mod ports;
pub mod postfix;
pub mod private;
pub mod process;
pub mod public_corpus;
pub mod python;
pub mod raw_imap;
pub mod raw_pop3;
pub mod script;
pub mod server;
pub mod sink;
pub mod strace;
pub mod web;

pub use courier::Courier;
pub use cyrus::Cyrus;
pub use dovecot::Dovecot;
pub use ews::Ews;
pub use exim::Exim;
pub use faults::{BlackHole, Fault, FaultProxy, Towards};
pub use graph::Graph;
pub use maildir::{Boxes, Maildir};
pub use other_client::OtherClient;
pub use ports::LoopbackAddress;
pub use postfix::Postfix;
pub use process::{CollectorYaml, Mailgather, config};
pub use raw_imap::{RawImap, Trouble};
pub use raw_pop3::{RawPop3, Ways};
pub use script::{Say, Script};
pub use server::{MailServer, families};
pub use sink::Sink;
pub use web::WebServer;

use std::time::{Duration, Instant};

/// How long a test waits for what must happen soon: generous, because it is only used up when the test fails.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until `condition` holds; panics with `what` after `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
