//! POP3 as a client reads and writes it (RFC 1939, RFC 2449, RFC 2595 §4, RFC 3206, RFC 5034): pure, without any I/O.
//!
//! A reader here takes one line, or octets cut anywhere, and never more than it is given: limits on lines and on their number are the
//! caller's, who reads them off the wire. What a server says is tolerated where nothing depends on it, and refused where something does.

pub mod capa;
pub mod command;
pub mod listing;
pub mod reply;
pub mod unstuff;

pub use capa::Capabilities;
pub use command::{Command, Unsendable};
pub use reply::{Code, Reply, Status};
pub use unstuff::{Piece, Unstuff};
