//! COMPRESS=DEFLATE (RFC 4978): what the server sends is inflated within limits; what we send goes as stored blocks (RFC 1951 §3.2.4), which
//! every inflater reads, cost no memory, and cannot tell an observer anything about a secret by their length (CRIME).

use bytes::{Buf, BytesMut};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// Inflated octets that one octet on the wire may stand for, beyond [`GRACE_OCTETS`]. Text has 3 to 10, and DEFLATE's own limit is 1032: only a
/// bomb stays near it for long.
pub const RATIO_MAX: u64 = 200;
/// Inflated octets before the ratio is looked at: a mail may well hold some megabytes of the same letter.
pub const GRACE_OCTETS: u64 = 64 * 1024 * 1024;
/// What is inflated at once: whatever comes, the buffer grows by no more.
pub const STEP_OCTETS: usize = 64 * 1024;
/// Longest stored block.
const STORED_OCTETS_MAX: usize = u16::MAX as usize;

/// Why a compressed stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is no DEFLATE, or it ended, which a session's stream never does.
    #[error("what is not DEFLATE")]
    Broken,
    /// It inflates to far more than mail does.
    #[error("a few octets that inflate to very many")]
    Bomb,
}

/// The server's side of the stream.
pub struct Inflater {
    state: Box<InflateState>,
    packed: BytesMut,
    taken: u64,
    given: u64,
    /// The last step filled its room: there may be more without new input.
    more: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater { state: InflateState::new_boxed(DataFormat::Raw), packed: BytesMut::new(), taken: 0, given: 0, more: false }
    }
}

impl Inflater {
    /// Where octets of the wire go.
    pub fn packed(&mut self) -> &mut BytesMut {
        &mut self.packed
    }

    /// Inflates the next step into `out`; nothing if octets of the wire are wanting. Call it before each read.
    pub fn step(&mut self, out: &mut BytesMut) -> Result<usize, InflateError> {
        if self.packed.is_empty() && !self.more {
            return Ok(0);
        }
        let start = out.len();
        out.resize(start + STEP_OCTETS, 0);
        let result = inflate(&mut self.state, &self.packed, &mut out[start..], MZFlush::None);
        out.truncate(start + result.bytes_written);
        self.packed.advance(result.bytes_consumed);
        self.taken += result.bytes_consumed as u64;
        self.given += result.bytes_written as u64;
        self.more = result.bytes_written == STEP_OCTETS;
        match result.status {
            // Nothing more to make of what is there.
            Ok(MZStatus::Ok) | Err(MZError::Buf) => {}
            Ok(_) | Err(_) => return Err(InflateError::Broken),
        }
        if result.bytes_consumed == 0 && result.bytes_written == 0 && !self.packed.is_empty() {
            return Err(InflateError::Broken);
        }
        match self.given > GRACE_OCTETS && self.given / RATIO_MAX > self.taken {
            true => Err(InflateError::Bomb),
            false => Ok(result.bytes_written),
        }
    }
}

/// Octets as stored blocks, to be sent.
pub fn stored(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 5 * octets.len().div_ceil(STORED_OCTETS_MAX));
    for block in octets.chunks(STORED_OCTETS_MAX) {
        // Chunks are no longer than this number can say.
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;
    use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params};
    use proptest::prelude::*;

    /// Everything that comes of `packed`, given in pieces.
    fn inflated(packed: &[u8], piece: usize) -> Result<Vec<u8>, InflateError> {
        let (mut inflater, mut all, mut out) = (Inflater::default(), Vec::new(), BytesMut::new());
        for piece in packed.chunks(piece.max(1)) {
            inflater.packed().extend_from_slice(piece);
            while inflater.step(&mut out)? > 0 {
                assert!(out.len() <= STEP_OCTETS);
                all.extend_from_slice(&out.split());
            }
        }
        Ok(all)
    }

    /// As a server sends it: flushed, and without an end.
    fn endless(octets: &[u8]) -> Vec<u8> {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(9, -15, 0));
        let (mut all, mut out, mut at) = (Vec::new(), vec![0; 1 << 16], 0);
        loop {
            let (_, used, made) = compress(&mut state, &octets[at..], &mut out, TDEFLFlush::Sync);
            at += used;
            all.extend_from_slice(&out[..made]);
            if at == octets.len() && made < out.len() {
                return all;
            }
        }
    }

    #[test]
    fn f69_garbage_and_bombs() {
        assert_eq!(inflated(b"\xff\xff this is no DEFLATE\r\n", 100), Err(InflateError::Broken));
        assert_eq!(inflated(&compress_to_vec(b"the end", 6), 100), Err(InflateError::Broken), "a stream that ends");
        // A message of zeros below the grace is one.
        let zeros = endless(&vec![b'0'; 32 << 20]);
        assert_eq!(inflated(&zeros, 4096).map(|octets| octets.len()), Ok(32 << 20));
        let bomb = endless(&vec![0; 65 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflated(&bomb, 1 << 20), Err(InflateError::Bomb));
    }

    proptest! {
        #[test]
        fn what_is_stored_is_inflated(octets in proptest::collection::vec(any::<u8>(), 0..3000), times in 0usize..60, piece in 1usize..2000) {
            let octets = octets.repeat(times);
            prop_assert_eq!(inflated(&stored(&octets), piece), Ok(octets));
        }

        #[test]
        fn any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..600), piece in 1usize..40) {
            let _ = inflated(&octets, piece);
        }
    }
}
