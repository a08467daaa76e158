//! Finds the word that was meant.

/// How many letters must be put in, taken out, replaced or swapped with their neighbour to get from one word to the other.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A word much longer than any key of ours is near to none: no quadratic work on hostile keys.
    if a.len().abs_diff(b.len()) > 8 {
        return a.len().max(b.len());
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The nearest of some words, if it is near enough to be meant.
pub fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase().replace('-', "_");
    let near = words.into_iter().map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1)).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_slips() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("pasword", "password", 1), ("prot", "port", 1), ("пяро", "перо", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
        assert!(distance("x", &"y".repeat(100_000)) > 8);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let words = ["port", "password", "max_message_size"];
        assert_eq!(nearest("prot", words), Some("port"));
        assert_eq!(nearest("Max-Message-Sise", words), Some("max_message_size"));
        assert_eq!(nearest("Emty", ["INBOX", "Empty"]), Some("Empty"));
        assert_eq!(nearest("colour", words), None);
    }
}
