//! Whatever a server sends: the IMAP reader ends, and does not panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    mailgather::proto::imap::read_anything(octets);
});
