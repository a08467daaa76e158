//! What differs between two texts, line by line, as `diff -u` prints it.

use std::fmt::Write;

/// Lines around a change that are shown.
const AROUND: usize = 3;
/// Beyond this many pairs of lines the middle is shown as replaced whole: a difference of two files of ours has far fewer.
const PAIRS_MAX: usize = 4_000_000;

/// A line of the difference: its numbers, from 0, in the old text and in the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// In both.
    Same(usize, usize),
    /// In the old one only.
    Old(usize),
    /// In the new one only.
    New(usize),
}

/// The lines of both texts, in order.
pub fn diff(old: &str, new: &str) -> Vec<Line> {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut lines: Vec<Line> = (0..head).map(|n| Line::Same(n, n)).collect();
    if left.len().saturating_mul(right.len()) > PAIRS_MAX {
        lines.extend((0..left.len()).map(|n| Line::Old(head + n)));
        lines.extend((0..right.len()).map(|n| Line::New(head + n)));
    } else {
        middle(left, right, head, &mut lines);
    }
    lines.extend((0..tail).map(|n| Line::Same(a.len() - tail + n, b.len() - tail + n)));
    lines
}

/// By the longest common subsequence.
fn middle(a: &[&str], b: &[&str], offset: usize, lines: &mut Vec<Line>) {
    let width = b.len() + 1;
    let mut lengths = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i * width + j] =
                if a[i] == b[j] { lengths[(i + 1) * width + j + 1] + 1 } else { lengths[(i + 1) * width + j].max(lengths[i * width + j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(Line::Same(offset + i, offset + j));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) {
            lines.push(Line::Old(offset + i));
            i += 1;
        } else {
            lines.push(Line::New(offset + j));
            j += 1;
        }
    }
}

/// As a patch. `old` and `new` are the lines as they may be shown, by their numbers; `None` for a file that is not there before or after.
pub fn unified(name: (&str, &str), lines: &[Line], old: &dyn Fn(usize) -> String, new: &dyn Fn(usize) -> String) -> String {
    let is_change = |line: &Line| !matches!(line, Line::Same(..));
    let mut out = String::new();
    let mut at = 0;
    while let Some(first) = lines[at..].iter().position(is_change).map(|n| at + n) {
        if out.is_empty() {
            let _ = write!(out, "--- {}\n+++ {}\n", name.0, name.1);
        }
        // Changes with few lines between them stand in one piece.
        let mut last = first;
        while let Some(next) = lines[last + 1..].iter().take(2 * AROUND + 1).position(is_change) {
            last += 1 + next;
        }
        let (from, to) = (first.saturating_sub(AROUND).max(at), (last + 1 + AROUND).min(lines.len()));
        let piece = &lines[from..to];
        let olds = piece.iter().filter(|line| !matches!(line, Line::New(_))).count();
        let news = piece.iter().filter(|line| !matches!(line, Line::Old(_))).count();
        let before = |of: fn(&Line) -> bool| lines[..from].iter().filter(|line| of(line)).count();
        let (old_at, new_at) = (before(|line| !matches!(line, Line::New(_))), before(|line| !matches!(line, Line::Old(_))));
        let start = |at: usize, count: usize| if count == 0 { at } else { at + 1 };
        let _ = writeln!(out, "@@ -{},{olds} +{},{news} @@", start(old_at, olds), start(new_at, news));
        for line in piece {
            let (sign, text) = match line {
                Line::Same(n, _) => (' ', old(*n)),
                Line::Old(n) => ('-', old(*n)),
                Line::New(n) => ('+', new(*n)),
            };
            let _ = writeln!(out, "{sign}{text}");
        }
        at = to;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        let line = |text: &str, n: usize| text.lines().nth(n).unwrap_or_default().to_owned();
        unified(("a", "b"), &diff(old, new), &|n| line(old, n), &|n| line(new, n))
    }

    #[test]
    fn as_diff_prints_it() {
        assert_eq!(shown("a\nb\n", "a\nb\n"), "");
        assert_eq!(shown("", "a\n"), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(shown("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nx\n6\n"), "--- a\n+++ b\n@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+x\n 6\n");
        let long: String = (0..30).map(|n| format!("{n}\n")).collect();
        let changed = long.replace("\n3\n", "\nx\n").replace("\n25\n", "\ny\nz\n");
        let patch = shown(&long, &changed);
        assert_eq!(patch.matches("@@ -").count(), 2, "{patch}");
        assert!(patch.contains("@@ -1,7 +1,7 @@") && patch.contains("@@ -23,7 +23,8 @@"), "{patch}");
    }
}
