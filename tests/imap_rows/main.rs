//! IMAP against scripted servers: folders, moving, expunging, IDLE, pieces, compression, and the quirks and faults that a server can have. Tests are named
//! after their row in the list of faults (`f70_…`), quirks after their name in docs/imap.md (`quirk_…`).

mod disposal;
mod faults;
mod folders;
mod idle;
mod kit;
mod listing;
mod pieces;
mod quirks;
mod wire;

/// Each tolerance of docs/imap.md has its test, and each such test its line there.
#[test]
fn the_tolerances_are_those_of_the_docs() {
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let word = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        text.match_indices("quirk_").map(|(at, _)| word(at)).filter(|name: &String| name != "quirk_").collect()
    };
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for entry in std::fs::read_dir(root.join("tests/imap_rows")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        text.lines().filter(|line| line.starts_with("async fn quirk_")).for_each(|line| tests += &format!("{line}\n"));
    }
    let documented = names(&std::fs::read_to_string(root.join("docs/imap.md")).unwrap());
    assert_eq!(names(&tests), documented);
    assert!(documented.len() >= 15);
}
