//! The house rule of docs/architecture.md: an import may only point to a lower layer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first; modules of one line do not know each other.
const LAYERS: [&[&str]; 9] = [
    &["mail"],
    &["resolve", "proto", "policy", "import", "disk"],
    &["config"],
    &["net", "spool", "ledger", "observe", "history"],
    &["source", "oauth", "deliver", "held"],
    &["collect"],
    &["service"],
    &["control"],
    &["cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => rust_files(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The modules that a source text names by `crate::`, with the line; inside braces too.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].lines().count().max(1);
        // Docs may name anything: links for the reader are no imports. Neither is `$crate`, the path of a macro's own house.
        let this_line = text[..at].rsplit('\n').next().unwrap_or("").trim_start();
        if this_line.starts_with("//") || text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find("};").unwrap_or(list.len())];
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        found.push((line, name));
                    }
                    depth += part.matches('{').count();
                    depth = depth.saturating_sub(part.matches('}').count());
                }
            }
            None => found.push((line, rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())),
        }
    }
    found
}

#[test]
fn imports_point_to_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 40, "only {} files were looked at", files.len());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files {
        let inside = file.strip_prefix(&src).unwrap().to_path_buf();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} is in no layer: name its place in tests/layers.rs and docs/architecture.md"));
        for (line, target) in imports(&fs::read_to_string(&file).unwrap()) {
            if target == module || target.is_empty() {
                continue;
            }
            seen += 1;
            if layer(&target).is_none_or(|other| other >= own) {
                wrong.push(format!("{}:{line}: {module} imports {target}", inside.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found");
    assert!(wrong.is_empty(), "imports that do not point to a lower layer:\n{}", wrong.join("\n"));
}

#[test]
fn pure_layers_do_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in ["mail", "resolve", "proto", "import"] {
        rust_files(&src.join(module), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in ["std::net::Tcp", "tokio::", "std::fs::read", "File::open", "std::process", "Timestamp::now", "Zoned::now", "SystemTime::now"] {
            assert!(!code.contains(word), "{} is pure and names {word}", file.display());
        }
    }
}

/// What is collected is the same whatever the protocol: what differs is asked of it in words that hold for all ([`mailgather::config::Protocol`]).
#[test]
fn collect_names_no_protocol() {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/collect"), &mut files);
    assert!(files.len() > 20, "only {} files were looked at", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in [
            "Protocol::Imap",
            "Protocol::Pop3",
            "Protocol::Exchange",
            "Protocol::Graph",
            "source::imap",
            "source::pop3",
            "source::ews",
            "source::graph",
        ] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn imports_are_found() {
    let text = "use crate::mail::Address;\nuse crate::{\n    net::{Channel, tcp},\n    spool::Spool,\n};\n// crate::cli is only named here\nfn f() { crate::deliver::open() }\n";
    let names: Vec<String> = imports(text).into_iter().map(|(_, name)| name).filter(|n| !n.is_empty()).collect();
    assert_eq!(names, ["mail", "net", "spool", "deliver"]);
}

/// docs/dependencies.md has the reason of each crate in Cargo.toml, and of none besides.
#[test]
fn each_dependency_has_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let section = |name: &str| -> BTreeSet<String> {
        let (_, rest) = manifest.split_once(&format!("\n[{name}]\n")).unwrap();
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned()).collect()
    };
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    // Names of crates: words of the first column, and of the sentence about tests; what stands in brackets is about features.
    let crates = |text: &str| -> BTreeSet<String> {
        let plain: String = text.split('(').map(|part| part.split_once(')').map_or(part, |(_, behind)| behind)).collect();
        plain.split(',').map(|name| name.trim().trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let (_, table) = page.split_once("|---|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let told: BTreeSet<String> = rows.flat_map(|line| crates(line.split('|').nth(1).unwrap())).collect();
    assert_eq!(told, section("dependencies"));
    let for_tests = page.lines().find_map(|line| line.strip_prefix("For tests only: ")).unwrap();
    let told = crates(for_tests);
    let missing: Vec<String> = section("dev-dependencies").into_iter().filter(|name| !told.contains(name) && name != "tokio").collect();
    assert_eq!(missing, Vec::<String>::new(), "{told:?}");
}
