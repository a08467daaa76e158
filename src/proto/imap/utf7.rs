//! Folder names as RFC 3501 §5.1.3 wants them: printable ASCII as it is, `&` as `&-`, everything else as UTF-16 in a base 64 of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The modified UTF-7 form of a folder name: printable ASCII only, whatever the name holds.
pub fn encode(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut wide: Vec<u8> = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            end_wide(&mut wide, &mut out);
            out.push(c as u8);
            if c == '&' {
                out.push(b'-');
            }
        } else {
            let mut units = [0; 2];
            wide.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    end_wide(&mut wide, &mut out);
    // Only ASCII was pushed.
    String::from_utf8_lossy(&out).into_owned()
}

fn end_wide(wide: &mut Vec<u8>, out: &mut Vec<u8>) {
    if wide.is_empty() {
        return;
    }
    out.push(b'&');
    // "," stands for "/", which is a hierarchy separator.
    out.extend(STANDARD_NO_PAD.encode(&*wide).bytes().map(|octet| if octet == b'/' { b',' } else { octet }));
    out.push(b'-');
    wide.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_rfc_3501_shows_them() {
        for (name, encoded) in [
            ("INBOX", "INBOX"),
            ("a&b", "a&-b"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("😀", "&2D3eAA-"),
            ("a\r\nb\0", "a&AA0ACg-b&AAA-"),
            ("", ""),
        ] {
            assert_eq!(encode(name), encoded);
        }
    }
}
