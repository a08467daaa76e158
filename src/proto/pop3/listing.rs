//! Lines of UIDL and LIST (RFC 1939 §5 and §7), one at a time: a number, and an id or a size.

/// Longest id that is taken. RFC 1939 §7 allows 70 octets; servers in the wild send file names of any length.
pub const ID_OCTETS_MAX: usize = 1024;
/// Highest message number: what fits into the signed 32 bits of most servers.
pub const NUMBER_MAX: u32 = i32::MAX as u32;

/// One line of a UIDL listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UidlLine<'a> {
    /// The message number in this session.
    pub number: u32,
    /// The id, or `None` if there is none that can name a message: empty, too long, or with a NUL.
    pub id: Option<&'a [u8]>,
}

/// Reads a line of UIDL (without its line end), or `None` if it does not start with a message number. `cut` says that the line was longer
/// than what is here.
///
/// An id is taken as it is, any octets but NUL and with blanks inside: it is only ever compared. NUL is left out so that a caller can make
/// names that no server can send.
pub fn uidl(line: &[u8], cut: bool) -> Option<UidlLine<'_>> {
    let (number, rest) = number(line)?;
    let id = rest.trim_ascii();
    let usable = !cut && (1..=ID_OCTETS_MAX).contains(&id.len()) && !id.contains(&0);
    Some(UidlLine { number, id: usable.then_some(id) })
}

/// Reads a line of LIST: message number and octets. What follows the size belongs to the server (RFC 1939 §5).
pub fn list(line: &[u8]) -> Option<(u32, u64)> {
    let (number, rest) = number(line)?;
    let size = rest.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
    Some((number, digits(size)?))
}

/// The message number at the start of a line, and what follows the blank.
fn number(line: &[u8]) -> Option<(u32, &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let number = u32::try_from(digits(&line[..end])?).ok().filter(|n| (1..=NUMBER_MAX).contains(n))?;
    Some((number, &line[end..]))
}

fn digits(text: &[u8]) -> Option<u64> {
    // `parse` alone would take a leading `+`.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_uidl_lines() {
        let long = [b"7 ".as_slice(), &[b'x'; 1024]].concat();
        let too_long = [b"7 ".as_slice(), &[b'x'; 1025]].concat();
        let table: [(&[u8], Option<(u32, Option<&[u8]>)>); 18] = [
            (b"1 whqtswO00WBw418f9t5JxYwZ", Some((1, Some(b"whqtswO00WBw418f9t5JxYwZ")))),
            (b"2  two words ", Some((2, Some(b"two words")))),
            (b" 3\tid", Some((3, Some(b"id")))),
            (b"2147483647 a", Some((2147483647, Some(b"a")))),
            ("4 ../ж'; DROP".as_bytes(), Some((4, Some("../ж'; DROP".as_bytes())))),
            (b"5 \xff\x80", Some((5, Some(b"\xff\x80")))),
            (b"6", Some((6, None))),
            (b"6 ", Some((6, None))),
            (b"6 a\0b", Some((6, None))),
            (&long, Some((7, Some(&long[2..])))),
            (&too_long, Some((7, None))),
            (b"0 a", None),
            (b"-1 a", None),
            (b"+1 a", None),
            (b"2147483648 a", None),
            (b"99999999999999999999 a", None),
            (b"x a", None),
            (b"", None),
        ];
        for (line, expect) in table {
            assert_eq!(uidl(line, false).map(|l| (l.number, l.id)), expect, "{}", line.escape_ascii());
        }
        assert_eq!(uidl(b"8 abc", true), Some(UidlLine { number: 8, id: None }));
    }

    #[test]
    fn reads_list_lines() {
        let table: [(&[u8], Option<(u32, u64)>); 7] = [
            (b"1 120", Some((1, 120))),
            (b"1 120 whatever", Some((1, 120))),
            (b"1  18446744073709551615", Some((1, u64::MAX))),
            (b"1 18446744073709551616", None),
            (b"1 -5", None),
            (b"1", None),
            (b"0 5", None),
        ];
        for (line, expect) in table {
            assert_eq!(list(line), expect, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..60), n in any::<u64>(), cut: bool) {
            let _ = list(&line);
            let numbered = [n.to_string().as_bytes(), b" ", &line].concat();
            for line in [&line, &numbered] {
                if let Some(read) = uidl(line, cut) {
                    prop_assert!((1..=NUMBER_MAX).contains(&read.number));
                    prop_assert!(read.id.is_none_or(|id| !cut && !id.is_empty() && id.len() <= ID_OCTETS_MAX && !id.contains(&0)));
                }
            }
        }
    }
}
