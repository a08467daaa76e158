//! Whole files: the broken ones with the words they are answered with, the shipped samples, the examples of the documentation.

use super::*;
use std::path::PathBuf;

/// Every `tests/config/NAME.yaml` is answered with `NAME.expected`. `UPDATE_EXPECTED=1` writes them anew: read the difference.
#[test]
fn broken_files_are_answered_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 20, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let said = match parse(&text, Path::new(name), &env()) {
            Ok(loaded) => Report { errors: vec![], warnings: loaded.warnings }.to_string(),
            Err(report) => report.to_string(),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("=== {name}\n{said}"));
        }
        assert!(!said.is_empty() && !said.contains("hunter2"), "{name}: {said}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sample(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name);
    load(&path, &env()).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn the_small_sample_loads_without_a_warning() {
    let loaded = sample("mailgather.small.yaml");
    assert_eq!(loaded.warnings, []);
    let ids: Vec<_> = loaded.config.collectors.keys().map(|id| id.as_str()).collect();
    assert_eq!(ids, ["boss", "office"]);
    let office = loaded.config.collectors.values().last().unwrap();
    assert_eq!(office.server.username, "example@почта.рф");
    assert_eq!((office.server.host.as_str(), office.server.port), ("imap.xn--80a1acny.xn--p1ai", 993));
    let RecipientMode::Auto(rules, SenderFallback::Default) = &office.recipient else { panic!("{:?}", office.recipient) };
    let domains: Vec<_> = rules.domains.iter().map(ToString::to_string).collect();
    assert_eq!(domains, ["почта.рф", "икс.рф"]);
    assert_eq!(rules.default_box.as_ref().unwrap().to_string(), "postmaster@икс.рф");
}

#[test]
fn the_example_of_the_readme_loads_without_a_warning() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("README.md has an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let loaded = read(example).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.collectors.len(), 1);
    // The same into a server could come back.
    let loaded = read(&example.replace("{maildir: /home/me/Maildir}", "{smtp: 127.0.0.1:25}")).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.iter().any(|warning| warning.to_string().contains("a loop")), "{:?}", loaded.warnings);
}

#[test]
fn the_full_sample_holds_the_defaults() {
    let full = sample("mailgather.full.yaml");
    assert_eq!(full.warnings, []);
    // The same file, cut down to what has no default: the result must be the same.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/mailgather.full.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let collectors = &text[text.find("\ncollectors:").unwrap()..];
    let defaults = [
        "domains: [почта.рф",
        "headers: auto",
        "trusted_hosts: auto",
        "envelope_below",
        "max_recipients: 20",
        "unresolved:",
        "port: 993",
        "rewrite: []",
        "exclude: []",
        "keep_tag: true",
        "guess: off",
        "check_local: none",
        "journal: off",
    ];
    let kept: Vec<_> = collectors.lines().filter(|line| !defaults.iter().any(|key| line.trim_start().starts_with(key))).collect();
    assert_eq!(collectors.lines().count() - kept.len(), defaults.len());
    let bare = format!("delivery: {{lmtp: unix:/run/dovecot/lmtp}}\n{}", kept.join("\n"));
    let bare = parse(&bare, &path, &env()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(full.config.service, bare.config.service);
    assert_eq!(full.config.log_level, bare.config.log_level);
    let comparable = |config: &Config| -> Vec<Collector> {
        let plain = |c: &std::sync::Arc<Collector>| {
            let mut c = Collector::clone(c);
            // `null` is written in the sample to show its place; the default knows one case more.
            if let RecipientMode::Auto(_, sender) = &mut c.recipient {
                *sender = SenderFallback::Default;
            }
            Collector { recipient_hash: 0, ..c }
        };
        config.collectors.values().map(plain).collect()
    };
    assert_eq!(comparable(&full.config), comparable(&bare.config));
}

#[test]
fn the_full_sample_shows_every_key() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/mailgather.full.yaml")).unwrap();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    // The report of a wrong type lists the keys of a block.
    for block in ["service: 1", "limits: 1", "log: 1", "defaults: 1", "delivery: 1", "collectors: {a: 1}", "templates: {a: 1}", "providers: {a: 1}"] {
        let report = read(block).unwrap_err();
        let keys = report.errors.iter().flat_map(|p| &p.hints).find_map(|hint| hint.strip_prefix("its keys: ")).unwrap();
        for key in keys.split(", ") {
            assert!(text.contains(&format!("{key}:")), "`{key}` of {block} is not in the full sample");
            assert!(docs.contains(&format!("`{key}`")), "`{key}` of {block} is not in docs/configuration.md");
        }
    }
}

#[test]
fn the_examples_of_the_reference_load() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let examples: Vec<_> = docs.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").expect("an example ends").0).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        if example.contains("collectors:") {
            let loaded = read(example).unwrap_or_else(|report| panic!("{example}\n{report}"));
            assert_eq!(loaded.warnings, [], "{example}");
            continue;
        }
        // A piece of a collector.
        let beside = if example.starts_with("recipient:") { "" } else { "recipient: {auto: true, default_box: d@икс.рф}\n" };
        let loaded = read(&with(&format!("{beside}{example}"))).unwrap_or_else(|report| panic!("{example}\n{report}"));
        assert_eq!(loaded.warnings, [], "{example}");
    }
}
