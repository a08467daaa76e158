//! Several files: what they include, `conf.d`, `collectors.d`.

use super::*;
use mailgather::config::{Loaded, Report, load};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A folder with these files, and its state directory.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let made = Files(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| made.put(name, text));
        made
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn load(&self) -> Result<Loaded, Report> {
        load(&self.0.path().join("main.yaml"), &Environment { state_dir: Some(self.0.path().join("state")), ..env() })
    }

    fn refused(&self) -> String {
        self.load().expect_err("a wrong configuration").to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

const MAIN: &str = "delivery: {lmtp: 'unix:/run/lmtp'}\n";

/// A collector, in the form of a whole file.
fn one(id: &str) -> String {
    format!(
        "collectors:\n  {id}:\n    server: imap.example.org\n    email: {id}@example.org\n    password: {{file: secret}}\n    recipient: {{forward_to: a@example.org}}\n"
    )
}

#[test]
fn all_files_are_one_configuration() {
    let files = Files::new(&[
        ("main.yaml", &format!("include: [extra/*.yaml, alone.conf]\n{MAIN}{}", one("main"))),
        ("extra/b.yaml", &one("extra_b")),
        ("extra/a.yaml", "templates: {fast: {interval: 10s}}\ndefaults: {interval: 7m}\n"),
        ("alone.conf", &one("alone")),
        ("conf.d/20.yaml", &format!("version: 1\n{}    use: fast\n", one("beside"))),
        ("conf.d/10.yml", ""),
        ("conf.d/.hidden.yaml", "nonsense: 1\n"),
        ("conf.d/20.yaml~", "nonsense: 1\n"),
        ("conf.d/README", "nonsense: 1\n"),
        ("state/collectors.d/ui.yaml", &one("ui")),
    ]);
    let loaded = files.load().unwrap_or_else(|report| panic!("{report}"));
    let intervals: Vec<(&str, u64)> = loaded.config.collectors.values().map(|one| (one.id.as_str(), one.interval.as_secs())).collect();
    assert_eq!(intervals, [("alone", 420), ("beside", 10), ("extra_b", 420), ("main", 420), ("ui", 420)]);
    let names: Vec<_> = loaded.files.iter().map(|path| path.strip_prefix(files.0.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["main.yaml", "extra/a.yaml", "extra/b.yaml", "alone.conf", "conf.d/10.yml", "conf.d/20.yaml", "state/collectors.d/ui.yaml"]);
    // Relative paths count from the file in which they stand.
    let secret = |id: &str| match &loaded.config.collectors.values().find(|one| one.id.as_str() == id).unwrap().server.password {
        SecretSource::File(path) => path.strip_prefix(files.0.path()).unwrap().to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(["main", "extra_b", "ui"].map(secret), ["secret", "extra/secret", "state/collectors.d/secret"]);
    // Any file that changes, comes or goes makes another configuration.
    let digest = || files.load().map(|loaded| loaded.digest).unwrap();
    assert_eq!(digest(), loaded.digest);
    files.put("conf.d/30.yaml", "");
    let more = digest();
    assert_ne!(more, loaded.digest);
    files.put("conf.d/30.yaml", "# nothing\n");
    assert_ne!(digest(), more);
    assert!(loaded.folders.iter().any(|folder| folder.ends_with("conf.d")) && loaded.folders.iter().any(|folder| folder.ends_with("collectors.d")));
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    for (name, text, wanted) in [
        ("conf.d/a.yaml", one("main"), "error[MG-103]: `main` is there twice\n  --> conf.d/a.yaml:2:3\n"),
        ("conf.d/a.yaml", one("main"), "note: first at main.yaml:3:3"),
        ("conf.d/a.yaml", "delivery: {lmtp: 'unix:/x'}\n".into(), "error[MG-103]: `delivery` is there twice\n  --> conf.d/a.yaml:1:1\n"),
        ("conf.d/a.yaml", "include: x.yaml\n".into(), "`include` stands in the main file only"),
        ("conf.d/a.yaml", "- a\n".into(), "a file of the configuration is a block of keys"),
        ("conf.d/a.yaml", "collectors: [a]\n".into(), "error[MG-106]: `collectors` takes a block of keys\n  --> conf.d/a.yaml:1:1\n"),
        (
            "conf.d/a.yaml",
            one("b").replace("server", "servr"),
            "error[MG-101]: unknown key `servr` in collector `b`\n  --> conf.d/a.yaml:3:5\n3 |     servr: ***\n",
        ),
        ("conf.d/a.yaml", "a: [1\nb: 2\n".into(), "--> conf.d/a.yaml:2:2\n"),
        ("conf.d/a.yaml", "x:\n  b: 1\n   c: 2\n".into(), "error[MG-102]: bad indentation\n  --> conf.d/a.yaml:3:4\n2 | "),
        ("conf.d/a.yaml", "a\u{0}".into(), "conf.d/a.yaml"),
        ("state/collectors.d/a.yaml", "service: {enabled: false}\n".into(), "`service` does not belong into collectors.d"),
    ] {
        let files = Files::new(&[("main.yaml", &format!("{MAIN}{}", one("main"))), (name, &text)]);
        let report = files.refused();
        assert!(report.contains(wanted), "{text}: {report}");
    }
}

#[test]
fn errors_of_all_files_are_said_at_once_and_in_their_order() {
    let wrong = |id: &str| one(id).replace("email", "emial");
    let files = Files::new(&[("main.yaml", &format!("{MAIN}{}", wrong("a"))), ("conf.d/1.yaml", &wrong("b")), ("conf.d/2.yaml", &wrong("c"))]);
    let report = files.refused();
    let at = |place: &str| report.find(&format!("--> {place}\n")).unwrap_or_else(|| panic!("{place}: {report}"));
    // The same line and column in two files are two places.
    assert!(at("main.yaml:5:5") < at("conf.d/1.yaml:4:5") && at("conf.d/1.yaml:4:5") < at("conf.d/2.yaml:4:5"), "{report}");
}

#[test]
fn files_that_are_not_there_or_cannot_be_read() {
    let with = |include: &str| Files::new(&[("main.yaml", &format!("include: {include}\n{MAIN}{}", one("main")))]);
    assert!(with("none.yaml").refused().contains("error[MG-109]: `include`: none.yaml: no such file\n  --> main.yaml:1:10\n"));
    assert!(with("[none/*.yaml]").refused().contains("none: No such file"));
    assert!(with("'*/a.yaml'").refused().contains("in the last part of the path only"));
    assert!(with("{a: b}").refused().contains("include"));
    assert!(with("'no*.yaml'").load().is_ok(), "a pattern may fit nothing");
    let files = with("'*.yaml'");
    files.load().unwrap_or_else(|report| panic!("the main file includes itself: {report}"));
    let latin = Files::new(&[("main.yaml", &format!("{MAIN}{}", one("main")))]);
    fs::create_dir_all(latin.0.path().join("conf.d")).unwrap();
    fs::write(latin.0.path().join("conf.d/a.yaml"), b"# \xe9\n").unwrap();
    assert!(latin.refused().contains("conf.d/a.yaml: line 1 is not UTF-8"));
    std::os::unix::fs::symlink("nowhere", latin.0.path().join("conf.d/b.yaml")).unwrap();
    assert!(latin.refused().contains("conf.d/b.yaml: No such file"));
}

#[test]
fn a_secret_in_a_file_that_all_may_read_is_refused_there() {
    let plain = one("b").replace("{file: secret}", "canary-word");
    let files = Files::new(&[("main.yaml", &format!("{MAIN}{}", one("main"))), ("conf.d/a.yaml", &plain)]);
    assert!(files.load().is_ok());
    fs::set_permissions(files.0.path().join("main.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(files.load().is_ok(), "there is none in this one");
    fs::set_permissions(files.0.path().join("conf.d/a.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    let report = files.refused();
    assert!(report.contains("--> conf.d/a.yaml:5:5") && !report.contains("canary-word"), "{report}");
}
