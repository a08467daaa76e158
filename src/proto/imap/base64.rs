//! Base 64 without line breaks (RFC 4648 §4), for SASL and for folder names.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the encoding of `octets`, with `=` at its end if `padded`.
pub fn encode(octets: &[u8], padded: bool, out: &mut Vec<u8>) {
    for group in octets.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (n, octet)| bits | u32::from(*octet) << (16 - 8 * n));
        for digit in 0..4 {
            if digit <= group.len() {
                out.push(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]);
            } else if padded {
                out.push(b'=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            let (mut padded, mut bare) = (Vec::new(), Vec::new());
            encode(plain.as_bytes(), true, &mut padded);
            encode(plain.as_bytes(), false, &mut bare);
            assert_eq!(padded, encoded.as_bytes());
            assert_eq!(bare, encoded.trim_end_matches('=').as_bytes());
        }
    }
}
