//! Realistic headers, each with the trail that is written beside it.

use super::*;

fn rules_for(name: &str) -> Rules {
    let mut r = rules();
    match &name[3..] {
        "yandex" | "cyrillic" => {
            r.server_host = if name.ends_with("yandex") { "imap.yandex.ru".into() } else { "imap.почта.рф".into() };
            r.provider_hosts = hosts_of_provider(&r.server_host);
            r.own = Some(a("example@почта.рф"));
            r.domains = BTreeSet::from(["почта.рф".parse().unwrap()]);
            r.map.insert("почта.рф".parse().unwrap(), MapTo::Domain("икс.рф".parse().unwrap()));
            r.default_box = Some(a("postmaster@икс.рф"));
        }
        "gmail" | "gmail_routed" => {
            r.server_host = "imap.gmail.com".into();
            r.provider_hosts = hosts_of_provider(&r.server_host);
            r.own = Some(a("box@gmail.com"));
        }
        "qmail" => {
            let rule = HeaderRule {
                header: "Delivered-To".into(),
                index: None,
                pattern: None,
                strip_prefix: Some("box-".into()),
                take: Take::All,
                trust_any: false,
            };
            r.headers = Headers::List(vec![rule]);
        }
        "alias_and_foreign" => r.aliases = vec![alias("sales@provider.example", &["anna@local.example", "team@local.example"])],
        "no_received" => r.unresolved = Unresolved::Leave,
        _ => {}
    }
    r
}

/// `UPDATE_EXPECTED=1` writes the files anew; read the difference before it is committed.
#[test]
fn each_header_gives_the_written_trail() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resolve");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|ext| ext == "eml"));
    names.sort();
    assert!(names.len() >= 12, "{} headers only", names.len());
    for path in names {
        let header = HeaderBlock::parse(Bytes::from(std::fs::read(&path).unwrap()));
        let rules = rules_for(path.file_stem().unwrap().to_str().unwrap());
        let (resolution, trail) = resolve(&header, &rules);
        let block = TrustedBlock::find(&header, &Trust::from(&rules));
        let (path_, evidence) = sender(&header, &block, &SenderFallback::Default, matches!(resolution, Resolution::DefaultBox(..)));
        let mut text = format!("{}  sender {path_} ({evidence})\n", trail.to_text());
        for edit in edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()) {
            let cut = String::from_utf8_lossy(header.octets().get(edit.cut.clone()).unwrap()).replace("\r\n", "");
            text.push_str(&format!("  edit {cut:?} -> {:?}\n", String::from_utf8_lossy(&edit.with)));
        }
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &text).unwrap();
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(text, want, "trail of {}", path.display());
    }
}
