//! A mailbox for looking only: folders by EXAMINE, nothing marked, and without the state directory, so that a daemon may run beside it.

use crate::config::{Collector, Protocol, secret};
use crate::net::{Tracer, Witness};
use crate::source::Source;
use crate::source::imap::ImapSource;
use crate::source::pop3::Pop3Source;
use crate::spool::{Spool, SpoolError};
use std::sync::Arc;

/// Octets that the sources' spool may hold; headers never get there.
const SPOOL_OCTETS: u64 = 1024 * 1024;

/// The source of a collector, to be looked at while `witness` watches and `tracer` shows what is said; `by_content` as of [`Pop3Source::by_content`].
pub fn source(collector: &Collector, by_content: bool, witness: Arc<dyn Witness>, tracer: Tracer) -> Result<Box<dyn Source>, SpoolError> {
    // Not that of the state directory, which may belong to another user; it holds unlinked files only, and here none at all.
    let spool = Spool::new(&std::env::temp_dir(), SPOOL_OCTETS, SPOOL_OCTETS)?;
    let (server, id) = (collector.server.clone(), collector.id.clone());
    let password = secret::reader(&server.password);
    Ok(match server.protocol {
        Protocol::Imap => Box::new(ImapSource::new(server, password, spool, id, None).read_only().seen_by(witness).traced_by(tracer)),
        Protocol::Pop3 => Box::new(Pop3Source::new(server, password, spool, id, None).by_content(by_content).seen_by(witness).traced_by(tracer)),
    })
}
