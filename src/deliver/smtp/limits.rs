//! How long each step may take.

use crate::deliver::breaker;
use std::time::Duration;

/// Time limits of a connection: the least that RFC 5321 §4.5.3.2 asks a client to wait. Each covers the whole step, so that a peer that
/// sends an octet a second is late like one that sends none.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names, connecting and the TLS handshake, each.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// EHLO, STARTTLS, AUTH, MAIL, RCPT and RSET, each.
    pub command: Duration,
    /// 354 after DATA.
    pub data: Duration,
    /// One block of the content to be taken by the peer.
    pub block: Duration,
    /// The answer to the final dot; impatience here makes duplicates (RFC 1047).
    pub final_dot: Duration,
    /// The answer to QUIT, on which nothing depends.
    pub quit: Duration,
    /// How long a connection that nobody uses is kept.
    pub idle: Duration,
    /// How long a failure to connect answers for others who want to.
    pub failure_memory: Duration,
    /// How long a server that failed three times in a row is left alone at first (see [`crate::deliver::breaker`]).
    pub breaker_wait: Duration,
}

impl Limits {
    /// The limits of every installation.
    pub const DEFAULT: Limits = Limits {
        connect: Duration::from_secs(60),
        greeting: Duration::from_secs(5 * 60),
        command: Duration::from_secs(5 * 60),
        data: Duration::from_secs(2 * 60),
        block: Duration::from_secs(3 * 60),
        final_dot: Duration::from_secs(10 * 60),
        quit: Duration::from_secs(2),
        idle: Duration::from_secs(30),
        failure_memory: Duration::from_secs(1),
        breaker_wait: breaker::FIRST_WAIT,
    };
}
