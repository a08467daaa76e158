//! Folding of header lines that are too long, for the one more try after a server refused the content.
//!
//! RFC 5322 §2.1.1: a line has at most 998 characters. Folding puts a line end before white space that is there (§2.2.3), so that the field
//! says the same; a line without white space stays as it is, as there is no place to fold. The body is never touched.

use crate::mail::HeaderBlock;
use crate::mail::header::Edit;
use crate::resolve::stamp::LINE_OCTETS_MAX;

/// The edits that fold what can be folded: line ends put in, ascending.
pub fn fold(header: &HeaderBlock) -> Vec<Edit> {
    let mut edits = Vec::new();
    let octets = header.octets();
    for field in header.fields() {
        if field.whole.len() <= LINE_OCTETS_MAX {
            continue;
        }
        let mut start = field.whole.start;
        while start < field.whole.end {
            let end = memchr::memmem::find(&octets[start..field.whole.end], b"\r\n").map_or(field.whole.end, |at| start + at);
            // White space before the colon belongs to the name.
            fold_line(octets, start, end, field.value.start, &mut edits);
            start = end + 2;
        }
    }
    edits
}

/// Folds one line as late as it can be, at white space from `from` on. The white space at the end of a line is no place: nothing but white
/// space would stand on the next one (RFC 5322 §3.2.2).
fn fold_line(octets: &[u8], mut start: usize, end: usize, from: usize, edits: &mut Vec<Edit>) {
    if end - start <= LINE_OCTETS_MAX {
        return;
    }
    let blank = |at: usize| matches!(octets[at], b' ' | b'\t');
    let text_end = (start..end).rev().find(|&at| !blank(at)).map_or(start, |last| last + 1);
    let mut last = None;
    for at in (start + 1).max(from)..text_end {
        if !blank(at) || blank(at - 1) {
            continue;
        }
        if at - start > LINE_OCTETS_MAX
            && let Some(place) = last.replace(at)
        {
            edits.push(Edit { cut: place..place, with: b"\r\n".to_vec() });
            start = place;
        }
        last = Some(at);
    }
    if end - start > LINE_OCTETS_MAX
        && let Some(place) = last
    {
        edits.push(Edit { cut: place..place, with: b"\r\n".to_vec() });
    }
}

/// Both lists as one, ascending and not overlapping: what `edits` cuts, it has decided about, and `folds` inside of that are dropped.
pub fn merge(edits: Vec<Edit>, folds: Vec<Edit>) -> Vec<Edit> {
    let mut merged = Vec::with_capacity(edits.len() + folds.len());
    let mut folds = folds.into_iter().peekable();
    for edit in edits {
        while let Some(fold) = folds.next_if(|fold| fold.cut.start < edit.cut.end) {
            if fold.cut.end <= edit.cut.start {
                merged.push(fold);
            }
        }
        merged.push(edit);
    }
    merged.extend(folds);
    merged
}
