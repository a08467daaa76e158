//! The pages of docs/errors, in the program: `mailgather explain MG-203` needs no files and no network.

/// The page of a code, by its number.
pub(super) fn page(code: u16) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| *page)
}

/// The number of `MG-203`, in any case.
pub(super) fn code(text: &str) -> Option<u16> {
    let (start, digits) = text.split_at_checked(3)?;
    let is_code = start.eq_ignore_ascii_case("MG-") && digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
    is_code.then(|| digits.parse().ok()).flatten()
}

/// All codes that have a page, in order.
pub(super) fn codes() -> impl Iterator<Item = u16> {
    PAGES.iter().map(|(code, _)| *code)
}

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        &[$(($code, include_str!(concat!("../../docs/errors/MG-", $code, ".md")))),*]
    };
}

const PAGES: &[(u16, &str)] = pages![
    101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 112, 115, 118, 119, 120, 202, 203, 204, 210, 211, 212, 213, 221, 222, 231, 241, 242, 243, 244,
    301, 302, 303, 401, 402, 411, 412, 421, 422, 423, 431, 501, 502
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The numbers of the configuration's codes, from the text of the enum: it has no list of its own.
    fn of_configuration() -> BTreeSet<u16> {
        let text = include_str!("../config/error.rs");
        let body = text.split("pub enum Code {").nth(1).unwrap().split('}').next().unwrap();
        body.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = ")?.1.parse().ok()).collect()
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let configuration = of_configuration();
        assert!(configuration.len() >= 15, "{configuration:?}");
        let all: BTreeSet<u16> = configuration.into_iter().chain(crate::mail::code::ALL.iter().copied()).collect();
        assert_eq!(codes().collect::<BTreeSet<u16>>(), all);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<u16> = files.map(|name| code(name.strip_suffix(".md").unwrap()).unwrap()).collect();
        assert_eq!(files, all);
    }

    #[test]
    fn a_page_says_what_why_and_what_to_do() {
        for number in codes() {
            let text = page(number).unwrap();
            assert!(text.starts_with(&format!("# MG-{number}: ")), "{text}");
            for part in ["\n## Why\n", "\n## What to do\n", "\n## What it looks like\n\n```\n"] {
                assert!(text.contains(part), "MG-{number} has no {part:?}");
            }
        }
    }

    #[test]
    fn codes_are_read_in_any_case() {
        for (text, wanted) in
            [("MG-203", Some(203)), ("mg-101", Some(101)), ("MG-20", None), ("MG-2033", None), ("MG-+03", None), ("яMG", None), ("", None)]
        {
            assert_eq!(code(text), wanted, "{text}");
        }
    }
}
