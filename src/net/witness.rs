//! Watching a connection come about, for those who want to see each step: `mailgather test`. What is told is what happened, in the one way in
//! which connections are made; nobody connects differently because somebody watches.

use super::tls::Handshake;
use std::net::IpAddr;

/// Something that came about on the way to a session.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The name has these addresses.
    Resolved(Vec<IpAddr>),
    /// There is a connection: with this address, or this socket.
    Connected(String),
    /// It is secured.
    Secured(Box<Handshake>),
    /// The server's greeting; not made harmless yet.
    Greeted(String),
    /// A login is about to be tried, the only one: by this command or mechanism.
    LoggingIn(String),
    /// It was accepted, with these words; not made harmless yet.
    LoggedIn(String),
}

/// Somebody who watches.
pub trait Witness: Send + Sync {
    /// This has just come about.
    fn saw(&self, seen: Seen);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {
    fn saw(&self, _: Seen) {}
}
