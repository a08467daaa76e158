//! An answer of Exchange, in pieces: what is told of a content is what was handed on, and nothing comes behind an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::proto::ews::{Event, MimeEnd, Reader};

fuzz_target!(|input: &[u8]| {
    let Some((size, document)) = input.split_first() else { return };
    let (mut reader, mut octets) = (Reader::default(), 0);
    for mut piece in document.chunks(usize::from(*size).max(1)) {
        loop {
            match reader.next(&mut piece) {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Event::Mime(more))) => octets += more.len() as u64,
                Ok(Some(Event::MimeEnds(MimeEnd::Whole(told)))) => assert!(told <= octets),
                Ok(Some(_)) => {}
            }
        }
    }
    let _ = reader.finish();
});
