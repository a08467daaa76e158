//! Faults of the machine: files that go away, secrets that could get out, a umask that opens everything, limits, memory.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::process::{Finished, finish};

const LIMIT: Duration = Duration::from_secs(120);

/// A command inside another one: `sh -c SCRIPT PROGRAM …`.
fn inside(script: &str, plain: &Command) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Every file and folder below one, in any order.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(all_below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

/// The ledger is removed under a daemon that runs: nothing that it has not recorded is disposed of, and after a restart nothing is lost.
#[test]
fn f43_a_ledger_that_is_removed_while_the_daemon_runs() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(program.state_dir().join(format!("ledger.db{end}")));
    }
    (0..20).for_each(|n| server.put("one", &letter(n)));
    daemon.signal(Signal::USR1);
    daemon.wait_for("session_");
    daemon.stop();
    program.once(&[]).expect_success();
    let books = books(&sink);
    assert_eq!((books.len(), server.count("one")), (20, 0), "{books:?}");
}

/// A state directory that cannot be written: it says so, and touches no mail.
#[test]
fn f43_a_read_only_file_system() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    program.once(&[]).expect_success();
    server.put("one", &letter(2));
    let plain = program.command("once", &[]);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]).arg(program.state_dir());
    command.arg(plain.get_program()).args(plain.get_args()).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = finish(command, LIMIT);
    assert!([Some(73), Some(74)].contains(&done.status.code()) && done.stderr.contains("Read-only file system"), "{}\n{}", done.status, done.stderr);
    assert_eq!((sink.count(), server.count("one")), (1, 1));
    program.once(&[]).expect_success();
    assert_each_once(&sink, 2);
}

/// A disk that is really full, under everything the program writes: it stops taking, says why, and goes on by itself when there is room.
#[test]
fn f39_a_file_system_that_is_full() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let collectors = [imap(&server, "one").after("delete").set("interval", "200ms")];
    let program = Mailgather::new(&often(&config(&sink.delivery(), &collectors)).replace("service: {", "service: {min_free_space: 0, "));
    // The daemon's own mount; this process looks into it by its /proc/PID/root.
    let plain = program.command("run", &[]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]).arg(program.state_dir());
    command.arg(plain.get_program()).args(plain.get_args()).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = support::process::Daemon::start(command);
    first_pass(&mut daemon);
    server.put("one", &letter(0));
    sink.wait_for(1);
    let ballast = PathBuf::from(format!("/proc/{}/root{}/ballast", daemon.pid(), program.state_dir().display()));
    // To the last octet: the write that fails has filled it.
    assert!(std::fs::write(&ballast, vec![b'x'; 8 << 20]).is_err());
    let large = |n: usize| [letter(n), vec![b'x'; 2 << 20], b"\r\n".to_vec()].concat();
    (1..4).for_each(|n| server.put("one", &large(n)));
    (4..60).for_each(|n| server.put("one", &letter(n)));
    let failed = daemon.wait_for("session_failed");
    assert!(failed.contains("code=MG-30"), "{failed}");
    // Which file system it is, and what is left there.
    let place = format!(" free on {}, the file system of {}/", program.state_dir().display(), program.state_dir().display());
    assert!(failed.contains("the disk is full: ") && failed.contains(&place) && failed.contains("make room"), "{failed}");
    // Only what was delivered is gone.
    eventually("one that is not delivered stays", SOON, || books(&sink).len() + server.count("one") >= 60);
    assert!(daemon.is_alive());
    std::fs::remove_file(&ballast).unwrap();
    daemon.signal(Signal::USR1);
    eventually("all have come", Duration::from_secs(60), || books(&sink).len() == 60 && server.count("one") == 0);
    daemon.stop().expect_success();
}

/// Every way to give a secret, used and refused: none is in the log, in the collectors' own logs, in the state, in what commands and the socket say, in the
/// arguments of any process, or in the mail.
#[test]
fn f75_no_secret_gets_out() {
    const WRONG: &str = "Zq7canaryXw";
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let sources = [
        ("stored", "{secret: one}"),
        ("filed", "{file: right}"),
        ("asked", "{command: [cat, RIGHT]}"),
        ("wrong", "{file: wrong}"),
        ("refused", "{secret: two}"),
    ];
    let collectors: Vec<CollectorYaml> = sources.iter().map(|(name, _)| imap(&server, name).set("log", "full")).collect();
    let program = Mailgather::new("");
    let put = |name: &str, secret: &str| {
        let path = program.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let (right, _) = (put("right", dovecot::PASSWORD), put("wrong", WRONG));
    let mut text = config(&sink.delivery(), &collectors);
    for (name, source) in sources {
        let at = text.find(&format!("  {name}:\n")).unwrap();
        let source = source.replace("RIGHT", &right.display().to_string());
        text = format!("{}{}", &text[..at], text[at..].replacen("{env: MAILGATHER_TEST_PASSWORD}", &source, 1));
    }
    program.configure(&text);
    // The store belongs to the daemon; what a test writes there is what `secret set` writes.
    let store = program.state_dir().join("secrets");
    std::fs::create_dir(&store).unwrap();
    for (name, secret) in [("one", dovecot::PASSWORD), ("two", WRONG)] {
        std::fs::write(store.join(name), secret).unwrap();
        std::fs::set_permissions(store.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    ["stored", "filed", "asked"].iter().enumerate().for_each(|(n, user)| server.put(user, &letter(n)));
    let mut plain = program.command("run", &["-vv"]);
    plain.env_remove("MAILGATHER_TEST_PASSWORD");
    let daemon = support::process::Daemon::start(plain);
    sink.wait_for(3);
    eventually("the wrong ones are refused", SOON, || daemon.count_log("session_failed") >= 2);
    let mut said = Vec::new();
    for (command, more) in [
        ("check", &[][..]),
        ("check", &["--connect"]),
        ("status", &[]),
        ("status", &["--json"]),
        ("status", &["wrong"]),
        ("list", &["--json"]),
        ("doctor", &[]),
        ("secret", &["list"]),
        ("collect", &["wrong"]),
        ("logs", &["wrong"]),
        ("test", &["--all", "--trace"]),
        ("reload", &[]),
    ] {
        let Finished { stdout, stderr, .. } = program.run_to_end(command, more);
        said.push((format!("{command} {more:?}"), format!("{stdout}{stderr}")));
    }
    program.configure(&text.replace("collect: new", "collect: never"));
    let Finished { stderr, .. } = program.run_to_end("reload", &[]);
    said.push(("a broken file".to_owned(), stderr));
    for name in ["cmdline", "environ"] {
        let octets = std::fs::read(format!("/proc/{}/{name}", daemon.pid())).unwrap();
        said.push((name.to_owned(), String::from_utf8_lossy(&octets).into_owned()));
    }
    for path in all_below(&program.state_dir()).into_iter().filter(|path| path.is_file() && !path.starts_with(&store)) {
        said.push((path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()));
    }
    assert!(
        said.iter().any(|(what, _)| what.contains("ledger.db")) && said.iter().any(|(what, _)| what.contains("wrong.log")),
        "all of it was looked at"
    );
    said.push(("the log".to_owned(), daemon.stop().expect_success().stderr));
    said.extend(sink.taken().iter().map(|taken| ("mail".to_owned(), String::from_utf8_lossy(&taken.content).into_owned())));
    for (what, text) in &said {
        assert!(!text.contains(WRONG) && !text.contains(dovecot::PASSWORD), "a secret is in {what}");
    }
}

/// A umask that opens everything: all that the daemon makes is for its owner alone all the same.
#[test]
fn f76_umask_000_opens_nothing() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    (0..3).for_each(|n| server.put("one", &letter(n)));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("log", "full")]));
    std::fs::set_permissions(program.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();
    let mut daemon = support::process::Daemon::start(inside("umask 000; exec \"$0\" \"$@\"", &program.command("run", &[])));
    first_pass(&mut daemon);
    sink.wait_for(3);
    let input = program.path().join("input");
    std::fs::write(&input, "hunter2").unwrap();
    let mut set = inside("umask 000; exec \"$0\" \"$@\"", &program.command("secret", &["set", "x", "--stdin"]));
    set.stdin(std::fs::File::open(&input).unwrap());
    finish(set, LIMIT).expect_success();
    let disable = inside("umask 000; exec \"$0\" \"$@\"", &program.command("disable", &["one"]));
    finish(disable, LIMIT).expect_success();
    let open: Vec<String> = all_below(&program.state_dir())
        .into_iter()
        .filter(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    let names: Vec<PathBuf> = all_below(&program.state_dir());
    for name in ["ledger.db", "lock", "switches.json", "secrets/x", "control.sock"] {
        assert!(names.contains(&program.state_dir().join(name)), "{name}: {names:?}");
    }
    assert_eq!(open, [""; 0]);
    daemon.stop().expect_success();
}

/// A secret in a file that others read, and sources that fail or hang: refused, with the reason, in its time; nobody else waits.
#[test]
fn f76_open_files_and_sources_that_fail_or_hang() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let with = |source: &str| {
        let both = config(&sink.delivery(), &[imap(&server, "bad"), imap(&server, "good")]);
        let at = both.find("  bad:\n").unwrap();
        format!("{}{}", &both[..at], both[at..].replacen("{env: MAILGATHER_TEST_PASSWORD}", source, 1))
    };
    let program = Mailgather::new(&with("hunter2"));
    // The configuration itself: a secret in it, and everybody may read it.
    std::fs::set_permissions(program.config_file(), PermissionsExt::from_mode(0o644)).unwrap();
    let refused = program.once(&[]).expect_code(78);
    assert!(refused.stderr.contains("MG-107") && !refused.stderr.contains("hunter2"), "{}", refused.stderr);
    let open = program.path().join("open");
    std::fs::write(&open, "hunter2").unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let (fifo, link) = (program.path().join("fifo"), program.path().join("link"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    symlink("/nonexistent", &link).unwrap();
    for (n, (source, words)) in [
        (format!("{{file: {}}}", open.display()), "mode 0644"),
        (format!("{{file: {}}}", fifo.display()), "not a regular file"),
        (format!("{{file: {}}}", link.display()), "No such file"),
        ("{secret: nobody}".to_owned(), "mailgather secret set nobody"),
        ("{env: MAILGATHER_NO_SUCH}".to_owned(), "is not set"),
        ("{command: ['false']}".to_owned(), "exit status: 1"),
        ("{command: [sleep, '600'], timeout: 1s}".to_owned(), "did not end within 1s"),
    ]
    .into_iter()
    .enumerate()
    {
        program.configure(&with(&source));
        server.put("good", &letter(n));
        let done = program.once(&[]).expect_code(75);
        assert!(done.stderr.contains("error[MG-202]") && done.stderr.contains(words) && !done.stderr.contains("hunter2"), "{words}: {}", done.stderr);
        assert!(done.took < Duration::from_secs(30), "{words}: {:?}", done.took);
        assert_eq!(sink.count(), n + 1, "{words}");
    }
    // A configuration that is a symbolic link is what it leads to.
    let real = program.path().join("real.yaml");
    std::fs::rename(program.config_file(), &real).unwrap();
    symlink("real.yaml", program.config_file()).unwrap();
    std::fs::write(&real, with("{env: MAILGATHER_TEST_PASSWORD}")).unwrap();
    program.once(&[]).expect_success();
}

/// A Maildir whose `cur` leads elsewhere, that is another user's, that has no room for a file (RLIMIT_FSIZE, which a quota looks like): the mail stays at its
/// source, the error says why, and when it is mended each letter comes once.
#[test]
fn f77_maildirs_that_cannot_be_written() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let to = "anna@example.org";
    let collector = imap(&server, "one").after("delete").set("max_messages_per_session", "0");
    let text = config(&boxes.delivery(), &[collector]).replace("service: {", "service: {spool_above: 8MiB, ");
    let program = Mailgather::new(&text);
    server.put("one", &letter(0));
    program.once(&[]).expect_success();
    let folder = boxes.of(to).0;
    let clean = |n: usize| {
        assert_eq!((boxes.of(to).count(), boxes.of(to).unfinished(), server.count("one")), (n, 0, 0));
        assert!(boxes.subjects(to).len() == n);
    };
    clean(1);
    // A link in the place of a folder is not followed.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::rename(folder.join("cur"), folder.join("aside")).unwrap();
    symlink(elsewhere.path(), folder.join("cur")).unwrap();
    server.put("one", &letter(1));
    let done = program.once(&[]).expect_code(75);
    assert!(done.stderr.contains("symbolic link"), "{}", done.stderr);
    assert_eq!((server.count("one"), std::fs::read_dir(elsewhere.path()).unwrap().count()), (1, 0));
    std::fs::remove_file(folder.join("cur")).unwrap();
    std::fs::rename(folder.join("aside"), folder.join("cur")).unwrap();
    program.once(&[]).expect_success();
    clean(2);
    // A file that may not be so large: no half of it is there, and the process lives.
    server.put("one", &[letter(2), vec![b'x'; 3 << 20], b"\r\n".to_vec()].concat());
    let limited = inside("ulimit -c 0; exec prlimit --fsize=1500000 \"$0\" \"$@\"", &program.command("once", &[]));
    let done = finish(limited, LIMIT).expect_code(75);
    assert!(done.stderr.contains("File too large"), "{}", done.stderr);
    assert_eq!((boxes.of(to).unfinished(), server.count("one") > 0), (0, true));
    program.once(&[]).expect_success();
    clean(3);
}

/// Twenty mailboxes with large mail, all at once, while memory is short: it streams, and nothing is lost.
#[test]
fn f81_large_mail_from_twenty_mailboxes_in_little_memory() {
    const OCTETS: usize = 12 << 20;
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    let collectors: Vec<CollectorYaml> = (0..20)
        .map(|n| {
            let user = format!("u{n}");
            server.put(&user, &[letter(n), line.repeat(OCTETS / line.len())].concat());
            CollectorYaml::imap(&server, &user).forward_to(&format!("{user}@example.org")).after("delete")
        })
        .collect();
    let text = config(&boxes.delivery(), &collectors).replace("service: {", "service: {max_sessions_per_host: 20, memory: 16MiB, ");
    let program = Mailgather::new(&text);
    // All that is not a file counts (RLIMIT_DATA), threads' stacks too.
    let mut daemon =
        support::process::Daemon::start(inside("ulimit -c 0; exec prlimit --data=536870912 \"$0\" \"$@\"", &program.command("run", &[])));
    eventually("all have come", LIMIT, || (0..20).all(|n| server.count(&format!("u{n}")) == 0));
    let peak = daemon.peak_memory();
    assert!(peak < 128 << 20, "{} MiB of {} MiB of mail", peak >> 20, (20 * OCTETS) >> 20);
    assert!(daemon.is_alive());
    daemon.stop().expect_success();
    assert!((0..20).all(|n| boxes.of(&format!("u{n}@example.org")).count() == 1));
}
