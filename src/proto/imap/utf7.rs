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

/// The name that a server sent, decoded. `None` if it is not what `encode` would have sent for that name: then the server would not know the
/// name again, and only the octets as they came select the folder.
pub fn decode(raw: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(raw.len());
    let mut rest = std::str::from_utf8(raw).ok()?;
    while let Some((plain, after)) = rest.split_once('&') {
        name.push_str(plain);
        let (inside, after) = after.split_once('-')?;
        match inside {
            "" => name.push('&'),
            _ => name.push_str(&wide(inside)?),
        }
        rest = after;
    }
    name.push_str(rest);
    (encode(&name).as_bytes() == raw).then_some(name)
}

/// What stands between `&` and `-`.
fn wide(inside: &str) -> Option<String> {
    let octets = STANDARD_NO_PAD.decode(inside.replace(',', "/")).ok()?;
    let units = octets.chunks(2).map(|pair| Some(u16::from_be_bytes([*pair.first()?, *pair.get(1)?])));
    String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn f71_broken_encodings_have_no_name() {
        for raw in
            ["a&b", "a&", "&U,BTFw", "&U,BTF-", "&AGE-", "&2D0-", "&AA-", "&U/BTFw-", "&*-", "&AAB-", "Entw\u{fc}rfe", "a\r\n", "a\0", "&APw-&APw-"]
        {
            assert_eq!(decode(raw.as_bytes()), None, "{raw:?}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn both_ways(name in "(\\PC|[\r\n\u{0}&,/-]){0,40}") {
            prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn any_octets(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(name) = decode(&raw) {
                prop_assert_eq!(encode(&name).into_bytes(), raw);
            }
        }
    }
}
