//! Layer 1: codecs, pure: octets in, values out, and back. No I/O, no clock.

pub mod smtp;
