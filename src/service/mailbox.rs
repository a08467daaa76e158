//! The one place that knows which protocol is which source.

use crate::config::{Protocol, Server, secret};
use crate::mail::CollectorId;
use crate::net::{Tracer, Witness};
use crate::oauth::Keeper;
use crate::observe::Counters;
use crate::source::ews::EwsSource;
use crate::source::graph::GraphSource;
use crate::source::imap::ImapSource;
use crate::source::pop3::Pop3Source;
use crate::source::{Renew, Renewing, Source};
use crate::spool::Spool;
use async_trait::async_trait;
use std::sync::Arc;

/// How a mailbox is to be opened.
pub(super) struct Opening {
    /// Where it is, and how to log in.
    pub server: Server,
    /// Where large messages are.
    pub spool: Spool,
    /// Whose it is.
    pub collector: CollectorId,
    /// Messages above this are read and thrown away.
    pub max_message_size: Option<u64>,
    /// As of [`Pop3Source::by_content`].
    pub by_content: bool,
    /// Nothing is ever changed in it: folders by EXAMINE.
    pub read_only: bool,
    /// Watches how sessions come about.
    pub witness: Arc<dyn Witness>,
    /// Shows the dialogue.
    pub tracer: Tracer,
    /// Where is noted how its tokens fare.
    pub counters: Option<Arc<Counters>>,
}

/// The source for it.
pub(super) fn source(opening: Opening) -> Box<dyn Source> {
    let Opening { server, spool, collector, max_message_size, by_content, read_only, witness, tracer, counters } = opening;
    // Tokens of its own lie in the state directory, whoever opens the mailbox: the daemon and those who only look share them.
    let keeper = server.auth.oauth.as_ref().map(|oauth| {
        let keeper = Keeper::new(&collector, oauth);
        Arc::new(counters.iter().fold(keeper, Keeper::counted))
    });
    let password = keeper.as_ref().map_or_else(|| secret::reader(&server.password), Keeper::reader);
    let source: Box<dyn Source> = match server.protocol {
        Protocol::Imap => {
            let source = ImapSource::new(server, password, spool, collector, max_message_size).seen_by(witness).traced_by(tracer);
            Box::new(if read_only { source.read_only() } else { source })
        }
        Protocol::Pop3 => {
            let source = Pop3Source::new(server, password, spool, collector, max_message_size).seen_by(witness).traced_by(tracer);
            Box::new(source.by_content(by_content))
        }
        Protocol::Exchange => Box::new(EwsSource::new(server, password, spool, collector, max_message_size).seen_by(witness).traced_by(tracer)),
        Protocol::Graph => Box::new(GraphSource::new(server, password, spool, collector, max_message_size).seen_by(witness).traced_by(tracer)),
    };
    match keeper {
        Some(keeper) => Box::new(Renewing::new(source, keeper)),
        None => source,
    }
}

/// A collector's tokens, for a source that knows nothing of where they come from.
#[async_trait]
impl Renew for Arc<Keeper> {
    fn questions(&self) -> u64 {
        Keeper::questions(self)
    }

    async fn renew(&self) -> bool {
        Keeper::renew(self).await
    }
}
