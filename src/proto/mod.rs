//! Layer 1, pure: the codecs of the protocols: octets in, values out, and the other way round. No module here does any I/O.

pub mod autoconfig;
pub mod autodiscover;
pub mod challenge;
pub mod document;
pub mod ews;
pub mod graph;
pub mod imap;
pub mod pop3;
pub mod sasl;
pub mod smtp;
