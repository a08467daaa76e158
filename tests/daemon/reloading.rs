//! Another configuration while the daemon runs, however it is saved.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Each way to save a file is noticed; then SIGHUP, with nothing to be noticed.
#[test]
fn a_changed_file_is_applied_however_it_is_saved() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let with = |names: &[&str]| {
        let collectors: Vec<_> = names.iter().map(|name| imap(&server, name)).collect();
        config(&sink.delivery(), &collectors)
    };
    let program = Mailgather::new(&with(&["a"]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    first_pass(&mut daemon);

    program.configure(&with(&["a", "b"]));
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=1"));
    first_pass(&mut daemon);

    std::fs::write(program.config_file(), with(&["a", "b", "c"])).unwrap();
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=2"));
    first_pass(&mut daemon);

    daemon.signal(Signal::HUP);
    daemon.wait_for("config_unchanged");
    assert_eq!(["a", "b", "c"].map(|id| sessions(&daemon, id)), [1, 1, 1], "a reload touches no unchanged collector");
    daemon.stop().expect_success();
}

/// Kubernetes swaps a symbolic link to the folder in which the file is.
#[test]
fn a_swapped_symbolic_link_is_noticed() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new("");
    for (folder, names) in [("..2026_1", &["a"][..]), ("..2026_2", &["a", "b"])] {
        let collectors: Vec<_> = names.iter().map(|name| imap(&server, name)).collect();
        std::fs::create_dir(program.path().join(folder)).unwrap();
        std::fs::write(program.path().join(folder).join("mailgather.yaml"), config(&sink.delivery(), &collectors)).unwrap();
    }
    std::fs::remove_file(program.config_file()).unwrap();
    symlink("..2026_1", program.path().join("..data")).unwrap();
    symlink("..data/mailgather.yaml", program.config_file()).unwrap();
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    symlink("..2026_2", program.path().join("..data_tmp")).unwrap();
    std::fs::rename(program.path().join("..data_tmp"), program.path().join("..data")).unwrap();
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=1"));
    daemon.stop().expect_success();
}

#[test]
fn a_bad_file_is_reported_and_the_old_one_stays() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let mut daemon = program.run();
    first_pass(&mut daemon);
    let line = good.lines().position(|line| line.contains("collect: new")).unwrap() + 1;
    program.configure(&good.replace("collect: new", "collect: never"));
    let problem = daemon.wait_for("config_error");
    assert!(problem.contains(&format!("mailgather.yaml:{line}:")), "the place is named: {problem}");
    daemon.wait_for("config_rejected");
    // Half a file, as an editor without a temporary file leaves it for a moment.
    program.configure(&good[..good.len() / 2]);
    daemon.wait_for("config_rejected");
    std::fs::remove_file(program.config_file()).unwrap();
    daemon.wait_for("config_rejected");
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    // Back to what is in force: nothing to do.
    program.configure(&good);
    daemon.wait_for("config_unchanged");
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
}

#[test]
fn removed_changed_and_renamed_collectors() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    for user in ["gone", "changed", "renamed", "same"] {
        server.put(user, &letter(1));
    }
    let collectors = |renamed: &str, interval: &str| {
        vec![imap(&server, "same"), imap(&server, "changed").set("interval", interval), imap(&server, "renamed").id(renamed)]
    };
    let before = [collectors("old", "24h"), vec![imap(&server, "gone")]].concat();
    let program = Mailgather::new(&config(&sink.delivery(), &before));
    let mut daemon = program.run();
    for _ in &before {
        first_pass(&mut daemon);
    }
    program.configure(&config(&sink.delivery(), &collectors("young", "12h")));
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=1 removed=2 unchanged=1"));
    // Both that are new start a session; the renamed one collects nothing twice, as state belongs to the mailbox.
    first_pass(&mut daemon);
    first_pass(&mut daemon);
    assert_eq!(["same", "changed", "old", "young", "gone"].map(|id| sessions(&daemon, id)), [1, 2, 1, 1, 1]);
    ["gone", "changed", "renamed", "same"].iter().for_each(|user| server.put(user, &letter(2)));
    daemon.signal(Signal::USR1);
    sink.wait_for(7);
    daemon.stop().expect_success();
    assert_eq!(books(&sink), BTreeMap::from([("letter 1".to_owned(), 4), ("letter 2".to_owned(), 3)]), "the removed one collects no more");
}

#[test]
fn a_changed_password_file_is_used_at_the_next_login() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(1));
    let program = Mailgather::new("");
    let secret = program.path().join("secret");
    let write = |password: &str| {
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("wrong-canary");
    let text = config(&sink.delivery(), &[imap(&server, "one")]);
    program.configure(&text.replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), &format!("{{file: {}}}", secret.display())));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    assert_eq!(sink.count(), 0);
    write(dovecot::PASSWORD);
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    let log = daemon.stop().expect_success().stderr;
    assert_eq!(log.matches("config_loaded").count(), 1, "no reload");
    assert!(!log.contains("wrong-canary") && !log.contains(dovecot::PASSWORD), "a password is in the log");
}

/// The job that runs ends with the old configuration, the next one has the new.
#[test]
fn f54_a_reload_in_mid_delivery() {
    let server = Dovecot::start();
    let old = Sink::lmtp_builder().delay("DOT", 1, Duration::from_secs(2)).start();
    let new = Sink::lmtp();
    server.put("one", &letter(1));
    let with = |sink: &Sink| config(&sink.delivery(), &[imap(&server, "one").after("delete")]);
    let program = Mailgather::new(&with(&old));
    let mut daemon = program.run();
    eventually("the content is sent", SOON, || old.commands().iter().any(|line| line.ends_with("DATA")));
    program.configure(&with(&new));
    daemon.signal(Signal::HUP);
    assert!(daemon.wait_for("config_loaded").contains("added=1"), "the start");
    assert!(daemon.wait_for("config_loaded").contains("changed=1"), "the reload");
    daemon.wait_for("message_delivered");
    server.put("one", &letter(2));
    daemon.signal(Signal::USR1);
    new.wait_for(1);
    daemon.stop().expect_success();
    assert_eq!(books(&old), BTreeMap::from([("letter 1".to_owned(), 1)]));
    assert_eq!(books(&new), BTreeMap::from([("letter 2".to_owned(), 1)]));
    assert_eq!(server.count("one"), 0);
}

/// Reloads at several moments of a large collection: the collector changes, goes, comes back, gets another name. Nothing is lost, nothing
/// comes twice.
#[test]
fn f54_reloads_in_a_large_collection() {
    const LETTERS: usize = 600;
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 0, Duration::from_millis(10)).start());
    (0..LETTERS).for_each(|n| server.put("one", &letter(n)));
    let one = || imap(&server, "one").after("delete");
    let with = |collectors: &[CollectorYaml]| config(&sink.delivery(), &[collectors, &[imap(&server, "idle")]].concat());
    let program = Mailgather::new(&with(&[one()]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let steps = [
        (20, with(&[one().set("interval", "12h")])),
        (80, with(&[one().set("interval", "12h").id("renamed")])),
        (160, with(&[])),
        (160, with(&[one()])),
        (300, with(&[one().after("keep")])),
        (420, with(&[one()])),
    ];
    for (moment, text) in steps {
        sink.wait_for(moment);
        program.configure(&text);
        daemon.signal(Signal::HUP);
        daemon.wait_for("config_loaded");
    }
    sink.wait_for(LETTERS);
    eventually("the pass ends", SOON, || daemon.count_log("session_started") == daemon.count_log("session_finished"));
    daemon.signal(Signal::USR1);
    daemon.wait_for("collect_requested");
    daemon.wait_for("session_finished");
    daemon.stop().expect_success();
    assert_each_once(&sink, LETTERS);
}
