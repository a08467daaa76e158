//! The results of SEARCH (RFC 3501 §7.2.5) and ESEARCH (RFC 4731 §3.1), read as they arrive: such a line can be megabytes long, and must be
//! neither held nor read twice. Read strictly: a result that is not understood must not look like an empty one.

use crate::mail::UidSet;

/// Longest word and deepest parentheses in such a line.
const WORD_OCTETS_MAX: usize = 64;
const DEPTH_MAX: usize = 16;

/// Why a line is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Something that is neither a number nor known.
    #[error("a SEARCH result that makes no sense")]
    Malformed,
    /// More ranges than a set holds.
    #[error("a SEARCH result of too many messages")]
    TooMany,
}

/// Reads one line, without the words `* SEARCH` that it starts with.
#[derive(Debug)]
pub struct SearchReader {
    extended: bool,
    word: Vec<u8>,
    /// Before the colon of a range.
    low: Option<u32>,
    number: Option<u32>,
    /// Inside the set that follows ALL.
    in_set: bool,
    next_value: Next,
    by_uid: bool,
    depth: usize,
    quoted: bool,
    ranges: Vec<(u32, u32)>,
}

/// What the next word of an ESEARCH line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Name,
    Skipped,
}

impl SearchReader {
    /// A reader for SEARCH, or for ESEARCH if `extended`.
    pub fn new(extended: bool) -> Self {
        SearchReader {
            extended,
            word: Vec::new(),
            low: None,
            number: None,
            in_set: !extended,
            next_value: Next::Name,
            by_uid: !extended,
            depth: 0,
            quoted: false,
            ranges: Vec::new(),
        }
    }

    /// Takes the next octets of the line.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), SearchError> {
        octets.iter().try_for_each(|octet| self.take(*octet))
    }

    /// The result, at the line's end.
    pub fn finish(mut self) -> Result<UidSet, SearchError> {
        self.take(b' ')?;
        if self.depth > 0
            || self.quoted
            || self.next_value != Next::Name
            || (self.extended && self.in_set)
            || (!self.by_uid && !self.ranges.is_empty())
        {
            return Err(SearchError::Malformed);
        }
        // A set takes ascending ranges at its end, which is cheap; a server may send any order.
        if !self.ranges.is_sorted() {
            self.ranges.sort_unstable();
        }
        let mut set = UidSet::new();
        self.ranges.into_iter().for_each(|(low, high)| set.insert_range(low..=high));
        Ok(set)
    }

    fn take(&mut self, octet: u8) -> Result<(), SearchError> {
        // (TAG "a1") and (MODSEQ 9) are of no interest.
        if self.quoted {
            self.quoted = octet != b'"';
            return Ok(());
        }
        match octet {
            b'(' if self.depth < DEPTH_MAX => {
                self.end_word()?;
                self.depth += 1;
            }
            b')' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.next_value = Next::Name;
                }
            }
            b'"' if self.depth > 0 => self.quoted = true,
            _ if self.depth > 0 => {}
            b' ' | b'\r' | b'\t' => self.end_word()?,
            b'0'..=b'9' if self.in_set => {
                let number = self.number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u32::from(octet - b'0')));
                self.number = Some(number.ok_or(SearchError::Malformed)?);
            }
            b':' if self.in_set && self.extended && self.low.is_none() => self.low = Some(self.number.take().ok_or(SearchError::Malformed)?),
            b',' if self.in_set && self.extended => self.end_number()?,
            _ if self.in_set || self.word.len() == WORD_OCTETS_MAX => return Err(SearchError::Malformed),
            _ => self.word.push(octet.to_ascii_uppercase()),
        }
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), SearchError> {
        if !self.extended {
            return if self.number.is_some() { self.end_number() } else { Ok(()) };
        }
        if self.in_set {
            if self.number.is_some() || self.low.is_some() {
                self.end_number()?;
                self.in_set = false;
            }
            return Ok(());
        }
        let word = std::mem::take(&mut self.word);
        match (self.next_value, word.as_slice()) {
            (_, b"") => {}
            (Next::Skipped, _) => self.next_value = Next::Name,
            (Next::Name, b"UID") => self.by_uid = true,
            (Next::Name, b"ALL") => self.in_set = true,
            // MIN, MAX, COUNT, MODSEQ and whatever comes: a name and one value (RFC 4466 §2.6.2).
            (Next::Name, _) => self.next_value = Next::Skipped,
        }
        Ok(())
    }

    fn end_number(&mut self) -> Result<(), SearchError> {
        let number = self.number.take().filter(|n| *n > 0).ok_or(SearchError::Malformed)?;
        let low = self.low.take().unwrap_or(number);
        let (low, high) = (low.min(number), low.max(number));
        if low == 0 {
            return Err(SearchError::Malformed);
        }
        let full = self.ranges.len() == UidSet::RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(low) => last.1 = high,
            _ if full => return Err(SearchError::TooMany),
            _ => self.ranges.push((low, high)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(extended: bool, text: &str) -> Result<String, SearchError> {
        let mut reader = SearchReader::new(extended);
        // One octet at a time and whole must be the same.
        for octet in text.as_bytes() {
            reader.push(&[*octet])?;
        }
        let mut whole = SearchReader::new(extended);
        whole.push(text.as_bytes())?;
        let set = reader.finish()?;
        assert_eq!(set, whole.finish()?);
        Ok(set.to_string())
    }

    #[test]
    fn results() {
        for (extended, text, set) in [
            (false, "", ""),
            (false, " ", ""),
            (false, " 2 5 (MODSEQ 917162500)", "2,5"),
            (false, " 3 1 2 2 9\r", "1:3,9"),
            (false, " 4294967295 ", "4294967295"),
            (true, r#" (TAG "A282") UID MIN 2 COUNT 3 ALL 2,10:12"#, "2,10:12"),
            (true, r#" (TAG "A)2") UID ALL 12:10,5 MODSEQ 917162500"#, "5,10:12"),
            (true, r#" (TAG "A2") UID"#, ""),
            (true, r#" UID X-NEW (1 2 (3)) COUNT 0"#, ""),
        ] {
            assert_eq!(read(extended, text).as_deref(), Ok(set), "{text}");
        }
    }

    #[test]
    fn nonsense_is_not_an_empty_result() {
        for (extended, text) in [
            (false, " 1 two"),
            (false, " 4294967296"),
            (false, " 0"),
            (false, " -1"),
            (false, " 1:3"),
            (false, " 1 (MODSEQ 3"),
            (true, r#" (TAG "A2") ALL 1:3"#),
            (true, r#" (TAG "A2") UID ALL"#),
            (true, r#" (TAG "A2") UID ALL *"#),
            (true, r#" (TAG "A2") UID ALL 1:2:3"#),
            (true, r#" (TAG "A2") UID ALL 1:"#),
            (true, r#" UID COUNT"#),
            (true, " UID ALL ,1"),
        ] {
            assert_eq!(read(extended, text), Err(SearchError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_result_in_falling_order_is_not_quadratic() {
        let mut reader = SearchReader::new(false);
        for uid in (1..400_000u32).rev() {
            reader.push(format!(" {}", 2 * uid).as_bytes()).unwrap();
        }
        reader.push(b" ").unwrap();
        // One entry for each number: no insertion in the middle happened before the sort.
        assert_eq!(reader.ranges.len(), 399_999);
        assert_eq!(reader.finish().unwrap().len(), 399_999);
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut reader = SearchReader::new(false);
        let many = (0..=UidSet::RANGES_MAX as u32).try_for_each(|n| reader.push(format!(" {}", 2 * n + 1).as_bytes()));
        assert_eq!(many, Ok(()));
        assert_eq!(reader.finish(), Err(SearchError::TooMany));
    }
}
