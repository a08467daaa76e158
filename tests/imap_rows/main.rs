//! IMAP against scripted servers: folders, moving, expunging, IDLE, pieces, compression, and the quirks and faults that a server can have. Tests are named
//! after their row in the list of faults (`f70_…`), quirks after their name in docs/imap.md (`quirk_…`).

mod disposal;
mod faults;
mod folders;
mod idle;
mod kit;
mod listing;
mod pieces;
mod quirks;
mod wire;
