//! Everything that the POP3 codec reads from a server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::proto::pop3::{Capabilities, Piece, Reply, Unstuff, listing};

fuzz_target!(|input: &[u8]| {
    let mut capabilities = Capabilities::default();
    for line in input.split(|b| *b == b'\n') {
        if let Some(reply) = Reply::parse(line) {
            let _ = (reply.refusal(), reply.octets(), reply.stat());
        }
        capabilities.line(line);
        let _ = (listing::uidl(line, false), listing::list(line));
    }
    // Cut anywhere, the text is the same.
    let cut = usize::from(input.first().copied().unwrap_or(1)).max(1);
    assert_eq!(text(input.chunks(input.len().max(1))), text(input.chunks(cut)));
});

fn text<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let (mut unstuff, mut text) = (Unstuff::new(), Vec::new());
    for mut input in pieces {
        loop {
            match unstuff.next(&mut input) {
                Piece::Text(piece) => text.extend_from_slice(piece),
                Piece::More => break,
                Piece::End => return (text, true),
            }
        }
    }
    (text, false)
}
