//! Where Exchange says that a mailbox is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::proto::autodiscover::{Pox, read};

fuzz_target!(|input: &[u8]| {
    if let Ok(Pox::Refused(_, words)) = read(input) {
        assert!(!words.contains(char::is_control), "{words:?}");
    }
});
