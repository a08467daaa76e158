//! Every link of the documents leads to a file that is there, and to a heading that is in it.

use super::page::*;
use std::path::{Component, Path, PathBuf};

/// The path without its `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the folder", path.display()),
            part => plain.push(part),
        }
        plain
    })
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut pages = vec!["README.md".to_owned(), "README.ru.md".to_owned(), "contrib/bench/README.md".to_owned()];
    pages.extend(["docs", "docs/errors", "docs/ru"].into_iter().flat_map(pages_of));
    let mut wrong = Vec::new();
    let mut links = 0;
    for page in &pages {
        for link in sections(&read_page(page)).iter().flat_map(Section::links) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { PathBuf::from(page) } else { plain(&Path::new(page).parent().unwrap().join(file)) };
            if !root().join(&target).exists() {
                wrong.push(format!("{page}: {link}: no such file"));
            } else if anchor.is_some_and(|anchor| !anchors(&read_page(target.to_str().unwrap())).iter().any(|known| known == anchor)) {
                wrong.push(format!("{page}: {link}: no such heading"));
            }
        }
    }
    assert!(links > 200, "{links}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_names_every_page() {
    let named = |readme: &str| -> Vec<String> { sections(&read_page(readme)).iter().flat_map(Section::links).collect() };
    let english = named("README.md");
    let russian = named("README.ru.md");
    let has = |links: &[String], page: &str| links.iter().any(|link| link.split('#').next() == Some(page));
    for page in pages_of("docs") {
        assert!(has(&english, &page), "README.md does not name {page}");
        let translated = page.replace("docs/", "docs/ru/");
        let page = if root().join(&translated).exists() { translated } else { page };
        assert!(has(&russian, &page), "README.ru.md does not name {page}");
    }
}
