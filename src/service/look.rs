//! A mailbox for looking only: folders by EXAMINE, nothing marked, and without the state directory, so that a daemon may run beside it.

use super::mailbox::{self, Opening};
use crate::config::Collector;
use crate::net::{Tracer, Witness};
use crate::source::Source;
use crate::spool::{Spool, SpoolError};
use std::sync::Arc;

/// Octets that the sources' spool may hold; headers never get there.
const SPOOL_OCTETS: u64 = 1024 * 1024;

/// The source of a collector, to be looked at while `witness` watches and `tracer` shows what is said; `by_content` as of [`crate::source::pop3::Pop3Source::by_content`].
pub fn source(collector: &Collector, by_content: bool, witness: Arc<dyn Witness>, tracer: Tracer) -> Result<Box<dyn Source>, SpoolError> {
    // Not that of the state directory, which may belong to another user; it holds unlinked files only, and here none at all.
    let spool = Spool::new(&std::env::temp_dir(), SPOOL_OCTETS, SPOOL_OCTETS)?;
    Ok(mailbox::source(Opening {
        server: collector.server.clone(),
        spool,
        collector: collector.id.clone(),
        max_message_size: None,
        by_content,
        read_only: true,
        witness,
        tracer,
        counters: None,
    }))
}
