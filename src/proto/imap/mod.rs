//! IMAP as a client reads and writes it (RFC 3501, RFC 9051), without any I/O.
//!
//! ```text
//! octets ─Framer─▶ Event (whole lines, pieces of bodies, SEARCH results) ─Response::parse─▶ what the server said
//! Command ─write─▶ octets, with the places where a literal has to wait for the server's `+`
//! ```
//!
//! Reading is tolerant: what we do not know is skipped, never an error. What could make us believe that mail is gone or complete when it is
//! not (SEARCH results, literals) is read strictly.

mod command;
mod deflate;
mod framer;
mod response;
mod search;
mod token;
mod utf7;

pub use command::{Command, DONE, ListKind, Literals, Search, UnwritableCommand, Wire};
pub use deflate::{InflateError, Inflater, stored};
pub use framer::{Event, Framer, FramerError, Line};
pub use response::{Body, Capabilities, Code, Fetch, ListedFolder, Response, State, Status};
pub use utf7::decode as decode_folder_name;

/// Reads any octets as a server's, for fuzzing: must end, and must not panic.
pub fn read_anything(octets: &[u8]) -> usize {
    let (mut framer, mut buffer, mut events) = (Framer::new(), bytes::BytesMut::from(octets), 0);
    while let Ok(Some(event)) = framer.next(&mut buffer) {
        events += 1;
        if let Event::Line(line) | Event::BodyStart { line, .. } = event {
            std::hint::black_box(Response::parse(&line));
        }
    }
    events
}
