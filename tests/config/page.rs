//! A page of the documents taken apart: headings, tables, code and links.

use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read_page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The pages of a folder, by their paths from the root, in order.
pub fn pages_of(folder: &str) -> Vec<String> {
    let of = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let of = of.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let name = |path: PathBuf| Path::new(folder).join(path.file_name().unwrap()).to_str().unwrap().to_owned();
    let mut pages: Vec<String> = of.map(name).collect();
    pages.sort();
    pages
}

/// What stands under one heading; the first has none.
#[derive(Default)]
pub struct Section {
    pub level: usize,
    pub heading: String,
    pub rows: Vec<Vec<String>>,
    pub code: Vec<String>,
    pub text: String,
}

impl Section {
    /// Where its links point to, with those in its tables.
    pub fn links(&self) -> Vec<String> {
        let prose = self.rows.iter().flatten().fold(self.text.clone(), |all, cell| all + "\n" + cell);
        let prose = without_spans(&prose);
        let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        targets.filter(|target| !target.contains(char::is_whitespace)).collect()
    }
}

pub fn sections(page: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut fenced = false;
    for line in page.lines() {
        let section = sections.last_mut().unwrap();
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            section.code.push(line.trim().to_owned());
        } else if fenced || line.starts_with("    ") {
            section.code.push(line.to_owned());
        } else if line.starts_with('|') {
            section.rows.push(cells(line));
        } else if line.starts_with('#') {
            let heading = line.trim_start_matches('#');
            sections.push(Section { level: line.len() - heading.len(), heading: heading.trim().to_owned(), ..Section::default() });
        } else {
            section.text += line;
            section.text.push('\n');
        }
    }
    sections
}

fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// What stands between backticks, sorted.
pub fn spans(text: &str) -> Vec<String> {
    let mut spans: Vec<String> = text.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    spans.sort();
    spans
}

pub fn without_spans(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The numbers in prose, sorted: not those in code or in the targets of links. `20,000` and `20 000` are one number.
pub fn numbers(text: &str) -> Vec<String> {
    let plain = without_spans(text);
    let prose: String =
        plain.split("](").enumerate().map(|(n, part)| if n == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) }).collect();
    let chars: Vec<char> = prose.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut numbers: Vec<String> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let mut number = String::new();
        while digit(at) {
            number.push(chars[at]);
            at += 1;
            let joins = chars.get(at).is_some_and(|c| ['.', ':'].contains(c)) && digit(at + 1);
            let thousands = chars.get(at).is_some_and(|c| [',', ' ', '\u{a0}'].contains(c)) && (1..4).all(|n| digit(at + n)) && !digit(at + 4);
            if joins {
                number.push(chars[at]);
            }
            at += usize::from(joins || thousands);
        }
        if !number.is_empty() {
            numbers.push(number);
        }
        at += 1;
    }
    numbers.sort();
    numbers
}

/// The anchors of a page, as the usual renderers make them of its headings.
pub fn anchors(page: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for section in sections(page).iter().skip(1) {
        let kept = section.heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c)).collect::<String>();
        let anchor = kept.replace(' ', "-");
        let again = anchors.iter().filter(|known| **known == anchor).count();
        anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
    }
    anchors
}
