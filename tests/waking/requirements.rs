//! docs/requirements.md and docs/quirks.md are true, and the rows that are about switching on and off and about logging.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::process::{PROGRAM, Signal};

/// How many rows each of the five has.
const ROWS: [(char, usize); 5] = [('i', 14), ('m', 19), ('c', 15), ('k', 9), ('p', 8)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A row of the page: what stands in its cells.
struct Row {
    keys: String,
    tests: String,
}

fn rows(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| Row ") && !line.starts_with("|--")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, _asked, keys, tests] = cells[..] else { panic!("{line}") };
        let former = rows.insert(row.to_lowercase(), Row { keys: keys.into(), tests: tests.into() });
        assert!(former.is_none(), "{row} stands there twice");
    }
    rows
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all test functions.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else { continue };
                // The attribute is above it, with docs or other attributes between them; or a macro makes tests of a list of names.
                let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
                let is_listed = || lines.iter().any(|line| line.strip_suffix(',') == Some(name));
                if above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) || is_listed() {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

/// The rows in front of a test's name: `i5_m8_logins` has i5 and m8.
fn rows_of(test: &str) -> impl Iterator<Item = &str> {
    let is_row = |part: &&str| part.len() > 1 && part.starts_with(|c: char| c.is_ascii_lowercase()) && part[1..].bytes().all(|b| b.is_ascii_digit());
    test.split('_').take_while(is_row)
}

/// The keys of docs/configuration.md, each with the block that it is in.
fn keys(reference: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let (mut block, mut of) = (String::new(), "");
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
            block = heading.split('`').nth(1).map_or(String::new(), |name| format!("{name}."));
            of = "";
        } else if line.starts_with("| Key of `auto` |") {
            of = "auto.";
        } else if line.starts_with("| `") {
            let first = line.trim_start_matches("| ").split(" | ").next().unwrap();
            keys.extend(quoted(first).map(|key| format!("{block}{of}{key}")));
        }
    }
    keys
}

#[test]
fn every_row_of_the_requirements_has_its_keys_and_its_tests() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let rows = rows(&read("docs/requirements.md"));
    let keys = keys(&read("docs/configuration.md"));
    assert!(keys.contains("tls.mode") && keys.contains("collectors") && keys.contains("recipient.auto.map") && keys.len() > 150, "{keys:?}");
    let help = std::process::Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut names = BTreeSet::new();
    ["tests", "src"].iter().for_each(|folder| tests(&root().join(folder), &mut names));
    assert!(names.len() > 500, "{}", names.len());

    let wanted: BTreeSet<String> = ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}"))).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), wanted, "each row once, and no other");
    let mut wrong = Vec::new();
    for (row, cells) in &rows {
        for key in quoted(&cells.keys) {
            let exists = match key.strip_prefix("mailgather ") {
                Some(command) => help.lines().any(|line| line.trim_start().split(' ').next() == Some(command)),
                None => keys.contains(key),
            };
            if !exists {
                wrong.push(format!("{row}: there is no `{key}`"));
            }
        }
        let mut shown = 0;
        for test in quoted(&cells.tests) {
            match test.strip_suffix("_*") {
                Some(row) => shown += names.iter().filter(|name| rows_of(name).any(|of| of == row)).count(),
                None if names.contains(test) => shown += 1,
                None => wrong.push(format!("{row}: there is no test `{test}`")),
            }
        }
        if shown == 0 && !cells.tests.contains("not yet") {
            wrong.push(format!("{row}: no test shows it"));
        }
        let has_tests = names.iter().any(|name| rows_of(name).any(|of| of == row));
        if has_tests && !cells.tests.contains(&format!("`{row}_*`")) {
            wrong.push(format!("{row}: it has tests of its name now: `{row}_*`"));
        }
    }
    // A slip in a test's name would hide the test; P from 20 on are the pains of operators.
    for name in &names {
        for of in rows_of(name) {
            let (letter, number) = (of.chars().next().unwrap(), of[1..].parse::<usize>().unwrap());
            let known =
                ROWS.iter().find(|(row, _)| *row == letter).is_none_or(|(_, last)| (1..=*last).contains(&number) || (letter == 'p' && number > 9));
            if !known {
                wrong.push(format!("`{name}`: there is no row {of}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// docs/quirks.md: each tolerance has a name of its own, a word on what is done, and tests that exist.
#[test]
fn every_quirk_has_its_tests() {
    let mut names = BTreeSet::new();
    ["tests", "src"].iter().for_each(|folder| tests(&root().join(folder), &mut names));
    let page = std::fs::read_to_string(root().join("docs/quirks.md")).unwrap();
    let (mut quirks, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| Name ") && !line.starts_with("|--")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, who, what, shown] = cells[..] else { panic!("{line}") };
        assert!(quirks.insert(name.to_owned()), "{name} stands there twice");
        assert!(!who.is_empty() && !what.is_empty() && shown.contains('`'), "{line}");
        wrong.extend(quoted(shown).filter(|test| !names.contains(*test)).map(|test| format!("{name}: there is no test `{test}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(quirks.len() > 40, "{quirks:?}");
    assert!(page.contains("`every_quirk_has_its_tests`"));
}

/// The whole service, by its switch, while it runs.
#[test]
fn i1_c14_the_whole_service_is_switched_off_and_on() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let yaml = |enabled: &str| {
        let collectors = ["a", "b"].map(|user| imap(&server, user).set("interval", "100ms").set("idle", "on"));
        often(&service(&config(&boxes.delivery(), &collectors), &format!("enabled: {enabled}")))
    };
    put(&server, "a", 0);
    let program = Mailgather::new(&yaml("false"));
    let mut daemon = program.run();
    let said = daemon.wait_for("no_enabled_collector");
    assert!(said.contains("service.enabled is false"), "{said}");
    daemon.signal(Signal::USR1);
    daemon.wait_for("collect_requested");
    program.configure(&yaml("true"));
    daemon.wait_for("config_loaded");
    eventually("it is on", SOON, || boxes.of(BOX).count() == 1);
    eventually("all wait for news", SOON, || daemon.count_log("idle_started") == 2);
    program.configure(&yaml("false"));
    daemon.wait_for("no_enabled_collector");
    let ended = |id: &str| sessions(&daemon, id) == lines(&daemon, "session_finished", id);
    eventually("what was on its way has ended", SOON, || ended("a") && ended("b"));
    let before = ["a", "b"].map(|id| sessions(&daemon, id));
    put(&server, "b", 1);
    daemon.signal(Signal::USR1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(["a", "b"].map(|id| sessions(&daemon, id)), before, "nothing is collected, neither by interval, IDLE nor request");
    program.configure(&yaml("true"));
    eventually("it is on again", SOON, || boxes.of(BOX).count() == 2);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
}

/// Everything, or errors only.
#[test]
fn c5_the_log_tells_everything_or_errors_only() {
    let server = Dovecot::start();
    for (level, tells_of_mail) in [("info", true), ("error", false), ("warn", false)] {
        let boxes = Boxes::new();
        put(&server, level, 0);
        let bad = CollectorYaml::at("imap", "bad", 1).forward_to(BOX);
        let yaml = config(&boxes.delivery(), &[imap(&server, level), bad]).replace("level: debug", &format!("level: {level}"));
        let done = Mailgather::new(&yaml).once(&[]);
        assert_arrived(&boxes, [0]);
        assert_eq!(done.stderr.contains("message_delivered") || done.stderr.contains(" delivered "), tells_of_mail, "{level}: {}", done.stderr);
        assert_eq!(done.stderr.contains(" info "), tells_of_mail, "{level}: {}", done.stderr);
        assert!(done.stderr.contains("MG-211"), "a failure is always said: {}", done.stderr);
    }
}
