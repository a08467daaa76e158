//! `add`, `edit`, `remove`, `rename`, `show`: the configuration on disk, changed by commands, with and without a daemon.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::process::PASSWORD_VARIABLE;
use crate::support::*;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A hand-written file: comments, odd spacing, an own order.
fn by_hand(sink: &Sink, server: &Dovecot) -> String {
    format!(
        "# Ours, by hand\nservice: {{start_jitter: 0s}}\nlog: {{level: debug}}\ndelivery: {}\n\ncollectors:\n    # the first\n    one:     # of the shop\n        email: one@example.org   # theirs\n        server: 127.0.0.1\n        \
         port:   {}\n        tls: {{mode: none}}\n        auth: {{allow_plaintext: true}}\n        username: 'one'\n        password: {{env: {PASSWORD_VARIABLE}}}\n        interval: 1h\n\n        \
         recipient: {{forward_to: anna@example.org}}\n# the end\n",
        sink.delivery(),
        server.imap()
    )
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The arguments of `add` for the mailbox `two` of a server, with further settings.
fn two(server: &Dovecot, more: &[&str]) -> Vec<String> {
    let (port, password) = (format!("port={}", server.imap()), format!("password={{env: {PASSWORD_VARIABLE}}}"));
    let sets = [
        "email=two@example.org",
        "server=127.0.0.1",
        &port,
        "tls.mode=none",
        "auth.allow_plaintext=true",
        "username=two",
        &password,
        "interval=1h",
        "recipient.forward_to=bert@example.org",
    ];
    let sets = sets.iter().chain(more).flat_map(|set| ["--set".to_owned(), (*set).to_owned()]);
    std::iter::once("two".to_owned()).chain(sets).collect()
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A mailbox is set up by the file or by a command, and receives or only stands there; the one by the other's side hears of it at once.
#[test]
fn k9_a_mailbox_is_set_up_by_file_or_command_and_receives_when_it_is_enabled() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let by_file = imap(&server, "one").set("enabled", "false").set("idle", "on").set("interval", "1h").forward_to("anna@example.org");
    let program = Mailgather::new(&config(&sink.delivery(), &[by_file]));
    let daemon = program.run();
    socket(&program);
    // By a command, and not to receive yet either.
    let add = two(&server, &["idle=on", "enabled=false"]);
    program.run_to_end("add", &[&strs(&add)[..], &["--yes"]].concat()).expect_success();
    ["one", "two"].iter().for_each(|user| server.put(user, &letter(1)));
    let states = || {
        let status: Value = serde_json::from_str(&program.run_to_end("status", &["--json"]).expect_success().stdout).unwrap();
        let state = |one: &Value| format!("{} {}", one["id"].as_str().unwrap(), one["state"].as_str().unwrap());
        status["collectors"].as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["one off", "two off"]);
    assert_eq!((sink.count(), daemon.count_log("session_started")), (0, 0), "{:?}", daemon.log());
    // They receive: what was there, and what comes while the server is listened to.
    for id in ["one", "two"] {
        program.run_to_end("edit", &[id, "--set", "enabled=true", "--yes"]).expect_success();
    }
    sink.wait_for(2);
    eventually("both are listened to", SOON, || {
        let text = request(&socket(&program), "GET", "/metrics", "").1;
        ["one", "two"].iter().all(|id| text.contains(&format!("mailgather_idle_connected{{collector=\"{id}\"}} 1")))
    });
    ["one", "two"].iter().for_each(|user| server.put(user, &letter(2)));
    sink.wait_for(4);
    // And one does not any more.
    program.run_to_end("edit", &["two", "--set", "enabled=false", "--yes"]).expect_success();
    assert_eq!(states(), ["one ok", "two off"]);
    daemon.stop().expect_success();
}

#[test]
fn p1_p8_a_collector_is_added_edited_renamed_and_removed_beside_a_daemon() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let hand = by_hand(&sink, &server);
    let program = Mailgather::new(&hand);
    std::fs::set_permissions(program.config_file(), std::fs::Permissions::from_mode(0o604)).unwrap();
    let daemon = running(&program, 1);
    socket(&program);
    let arguments = two(&server, &["title=Отдел: два"]);
    let arguments = strs(&arguments);
    // Looking changes nothing, and nobody is asked behind their back.
    let looked = program.run_to_end("add", &[&arguments[..], &["--dry-run"]].concat()).expect_success();
    let file = program.state_dir().join("collectors.d/two.yaml");
    assert!(looked.stdout.contains("+++ ") && looked.stdout.contains("+    title: 'Отдел: два'\n") && !file.exists(), "{}", looked.stdout);
    let asked = program.run_to_end("add", &arguments).expect_code(64);
    assert!(asked.stderr.contains("say `--yes`") && !file.exists(), "{}", asked.stderr);
    server.put("two", &letter(2));
    let added = program.run_to_end("add", &[&arguments[..], &["--yes"]].concat()).expect_success();
    assert!(added.stderr.contains("the daemon has taken it"), "{}", added.stderr);
    let written = text(&file);
    assert!(written.starts_with("# yaml-language-server: $schema=") && written.contains("\n  two:\n    email: two@example.org\n"), "{written}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    sink.wait_for(1);
    // The hand-written file: one line changes, whatever stands around it.
    let edited = program.run_to_end("edit", &["one", "--set", "interval=2h", "--yes"]).expect_success();
    assert!(edited.stdout.contains("-        interval: 1h\n+        interval: 2h\n"), "{}", edited.stdout);
    assert_eq!(text(&program.config_file()), hand.replace("interval: 1h", "interval: 2h"));
    assert_eq!(std::fs::metadata(program.config_file()).unwrap().permissions().mode() & 0o777, 0o604, "the mode stays");
    let status: Value = serde_json::from_str(&program.run_to_end("status", &["--json"]).expect_success().stdout).unwrap();
    assert_eq!(status["collectors"][0]["interval_seconds"], 7200.0, "{status}");
    let again = program.run_to_end("edit", &["one", "--set", "interval=2h", "--yes"]).expect_success();
    assert!(again.stderr.contains("nothing changes"), "{}", again.stderr);
    // What it held before is kept.
    let versions: Vec<_> = std::fs::read_dir(program.state_dir().join("config-versions")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let kept: Vec<_> = std::fs::read_dir(&versions[0]).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((versions.len(), kept.len()), (1, 1));
    assert_eq!(text(&kept[0]), hand);
    // Another name: its file goes with it, and nothing comes twice.
    let renamed = program.run_to_end("rename", &["two", "zwei", "--yes"]).expect_success();
    assert!(renamed.stderr.contains("nothing comes twice"), "{}", renamed.stderr);
    assert!(!file.exists() && file.with_file_name("zwei.yaml").exists());
    assert_eq!(program.run_to_end("collect", &["zwei"]).expect_success().stdout, "zwei: 0 delivered\n");
    server.put("two", &letter(3));
    assert_eq!(program.run_to_end("collect", &["zwei"]).expect_success().stdout, "zwei: 1 delivered\n");
    // Gone, and remembered.
    let removed = program.run_to_end("remove", &["zwei", "--yes"]).expect_success();
    assert!(removed.stderr.contains("2 messages of imap:") && removed.stderr.contains("do not come again"), "{}", removed.stderr);
    assert!(!file.with_file_name("zwei.yaml").exists());
    assert!(!program.run_to_end("status", &[]).expect_success().stdout.contains("zwei"));
    program.run_to_end("add", &[&["three"], &arguments[1..], &["--yes"]].concat()).expect_success();
    assert_eq!(program.run_to_end("collect", &["three"]).expect_success().stdout, "three: 0 delivered\n", "the mailbox is known");
    assert_eq!(sink.taken().len(), 2);
    let uid = rustix::process::getuid().as_raw();
    for (change, collector) in [("add", "two"), ("edit", "one"), ("rename", "zwei"), ("remove", "zwei"), ("add", "three")] {
        let line = format!("config_written by=\"cli uid={uid}\" change={change} collector={collector} file=");
        assert_eq!(daemon.counted(&line, 1), 1, "{line}: {:?}", daemon.log());
    }
    daemon.stop().expect_success();
}

#[test]
fn p8_what_is_refused_leaves_everything_as_it_is() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let hand = by_hand(&sink, &server).replace(
        "# the end\n",
        "    braces: {email: b@example.org, server: b.example, password: hunter2, recipient: {forward_to: b@example.org}}\n    alias:\n        <<: {enabled: false}\n        email: c@example.org\n        server: c.example\n        password: {env: X}\n        recipient: {forward_to: b@example.org}\n",
    );
    let program = Mailgather::new(&hand);
    std::fs::set_permissions(program.config_file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = |command: &str, arguments: &[&str], code: i32, words: &str| {
        let done = program.run_to_end(command, arguments).expect_code(code);
        assert!(done.stderr.contains(words), "{command} {arguments:?}: {}", done.stderr);
        assert_eq!(text(&program.config_file()), hand, "{command} {arguments:?}");
        assert!(!format!("{}{}", done.stdout, done.stderr).contains("hunter2"), "a secret got out");
        done.stdout
    };
    let patch = refused("edit", &["braces", "--set", "interval=1m", "--yes"], 78, "collector `braces` is written in braces");
    assert!(patch.contains("--- ") && patch.contains("+    braces: {email: b@example.org"), "{patch}");
    refused("edit", &["alias", "--set", "interval=1m", "--yes"], 78, "takes keys from elsewhere by `<<`");
    refused("edit", &["one", "--set", "intervall=1m", "--yes"], 78, "unknown key `intervall`");
    refused("edit", &["one", "--set", "interval=1", "--yes"], 78, "no unit");
    refused("edit", &["one", "--set", "password=hunter2", "--yes"], 64, "belongs neither on a command line nor");
    refused("edit", &["one", "--set", "auth={token: hunter2}", "--yes"], 64, "the secret of `token`");
    refused("edit", &["one", "--unset", "log", "--yes"], 78, "`log` of collector `one` is not set in this file");
    refused("edit", &["nobody", "--unset", "log", "--yes"], 64, "no collector is called `nobody`");
    refused("edit", &["one", "--set", "interval", "--yes"], 64, "is no KEY=VALUE");
    refused("edit", &["one", "--unset", "recipient", "--yes"], 78, "has no `recipient`");
    refused("rename", &["one", "alias", "--yes"], 64, "there is a collector `alias` already");
    refused("rename", &["one", "a b", "--yes"], 64, "is no name for a collector");
    refused("add", &["one", "--set", "email=x@example.org", "--yes"], 64, "there is a collector `one` already");
    refused("add", &["two", "--set", "email=x@example.org", "--yes"], 78, "has no `recipient`");
    refused("remove", &["nobody", "--yes"], 64, "no collector is called");
    // A file that cannot be written.
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
        refused("edit", &["one", "--set", "interval=3h", "--yes"], 73, "cannot write");
        std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    // A symbolic link stays one.
    let real = program.path().join("real.yaml");
    std::fs::rename(program.config_file(), &real).unwrap();
    std::os::unix::fs::symlink("real.yaml", program.config_file()).unwrap();
    let inode = std::fs::metadata(&real).unwrap().ino();
    let done = program.run_to_end("edit", &["one", "--set", "interval=3h", "--yes", "--json"]).expect_success();
    assert!(program.config_file().symlink_metadata().unwrap().is_symlink());
    assert_eq!(text(&real), hand.replace("interval: 1h", "interval: 3h"));
    assert_ne!(std::fs::metadata(&real).unwrap().ino(), inode, "a new file in its place");
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&json["written"], &json["reload"]), (&true.into(), &Value::Null), "no daemon runs: {json}");
    assert!(done.stderr.contains("config_written by=\"cli uid="), "{}", done.stderr);
}

#[test]
fn a_switch_does_not_get_lost_by_a_new_name() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    socket(&program);
    program.run_to_end("disable", &["one"]).expect_success();
    let refused = program.run_to_end("rename", &["one", "two", "--yes"]).expect_code(78);
    assert!(
        refused.stderr.contains("is switched off by a command") && refused.stderr.contains("mailgather edit one --set enabled=false"),
        "{}",
        refused.stderr
    );
    daemon.stop().expect_success();
}

#[test]
fn show_tells_where_each_value_comes_from() {
    let text = "defaults: {interval: 10m, tls: {verify: full}}\ntemplates:\n  t:\n    collect: all\n    after: delete\n    tls: {min_version: '1.3'}\n\
                delivery:\n  lmtp: unix:/run/lmtp\n  max_hops: 20\ncollectors:\n  boss:\n    use: t\n    email: boss@mail.ru\n    password: hunter2\n    recipient:\n      forward_to: anna@example.org\n    \
                delivery: {max_passes: 2}\n  own:\n    provider: corp\n    email: a@corp.example\n    password: {command: [pass, hunter2]}\n    recipient: {auto: {domains: [corp.example]}, default_box: d@corp.example}\n  \
                stored: {server: mail.example, username: s, password: {secret: the-one}, recipient: {forward_to: anna@example.org}}\n\
                providers:\n  corp:\n    server: imap.corp.example\n    login: local_part\n";
    let program = Mailgather::new(text);
    std::fs::set_permissions(program.config_file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let shown = program.run_to_end("show", &["boss", "--origin"]).expect_success().stdout;
    let file = program.config_file().display().to_string();
    let line = |shown: &str, key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(&format!("{key}: ")))
            .unwrap_or_else(|| panic!("{key} in {shown}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (key, wanted) in [
        ("email", format!("email: boss@mail.ru # {file}:13")),
        ("interval", format!("interval: 10m # defaults, {file}:1")),
        ("collect", format!("collect: all # template t, {file}:4")),
        ("tls.min_version", format!("tls.min_version: '1.3' # template t, {file}:6")),
        ("tls.mode", "tls.mode: implicit # provider mailru".to_owned()),
        ("server", "server: imap.mail.ru # provider mailru".to_owned()),
        ("port", "port: 993 # provider mailru".to_owned()),
        ("log", "log: full # default".to_owned()),
        ("password", format!("password: *** # {file}:14")),
        ("recipient.forward_to", format!("recipient.forward_to: anna@example.org # {file}:16")),
        ("delivery.max_passes", format!("delivery.max_passes: 2 # {file}:17")),
        ("delivery.max_hops", format!("delivery.max_hops: 20 # delivery, {file}:9")),
        ("delivery.lmtp", format!("delivery.lmtp: unix:/run/lmtp # delivery, {file}:8")),
    ] {
        assert_eq!(line(&shown, key), wanted);
    }
    let own = program.run_to_end("show", &["own", "--origin"]).expect_success().stdout;
    assert_eq!(line(&own, "server"), format!("server: imap.corp.example # provider corp, {file}:26"));
    assert_eq!(line(&own, "username"), "username: a # default");
    assert_eq!(line(&own, "password"), format!("password: {{command: [pass, ***]}} # {file}:21"));
    // The name of a stored secret is none.
    let stored = program.run_to_end("show", &["stored", "--origin"]).expect_success().stdout;
    assert_eq!(line(&stored, "password"), format!("password: {{secret: the-one}} # {file}:23"));
    let redacted = program.run_to_end("show", &["boss", "--redacted"]).expect_success().stdout;
    assert_eq!(
        (line(&redacted, "email"), line(&redacted, "recipient.forward_to"), line(&redacted, "interval")),
        ("email: ***@mail.ru".into(), "recipient.forward_to: ***@example.org".into(), "interval: 10m".into())
    );
    assert!(!redacted.contains("boss@") && !redacted.contains("anna"), "{redacted}");
    let json: Value = serde_json::from_str(&program.run_to_end("show", &["boss", "--origin", "--json"]).expect_success().stdout).unwrap();
    let interval = json["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "interval").unwrap();
    assert_eq!((&interval["value"], &interval["origin"]["kind"], &interval["origin"]["line"]), (&"10m".into(), &"defaults".into(), &1.into()));
    assert!(!format!("{shown}{own}{redacted}{json}").contains("hunter2"), "a secret got out");
    program.run_to_end("show", &["nobody"]).expect_code(64);
}

#[test]
fn a_file_that_was_broken_before_is_shown_as_it_is_on_the_disk() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let broken = good.replace("interval:", "intervall:");
    program.configure(&broken);
    let found = program.check().expect_code(78).stderr;
    let two = ["two", "--set", "email=b@example.org", "--set", "froward=x", "--yes"];
    for (command, arguments, new) in [
        ("edit", &["one", "--set", "title=x", "--yes"][..], None),
        ("edit", &["one", "--set", "prot=7", "--yes"], Some("unknown key `prot`")),
        ("remove", &["one", "--yes"], None),
        ("add", &two, None),
    ] {
        let done = program.run_to_end(command, arguments);
        if command == "remove" {
            // What is wrong goes with it.
            done.expect_success();
            program.configure(&broken);
            continue;
        }
        let said = done.expect_code(78).stderr;
        // As `check` has it: the line and its number are those of the file.
        assert!(said.contains(found.trim_end()), "{said}\n---\n{found}");
        assert!(said.contains("was broken before this change") && said.contains("nothing was written"), "{said}");
        assert_eq!(said.contains("and with this change:"), new.is_some(), "{said}");
        assert!(said.contains(new.unwrap_or_default()), "{said}");
        assert_eq!(text(&program.config_file()), broken);
    }
    // Of a file that was right before, the lines are those that would be written.
    program.configure(&good);
    let said = program.run_to_end("edit", &["one", "--set", "prot=7", "--yes"]).expect_code(78).stderr;
    assert!(said.contains("did you mean `port`?") && said.contains("as it would be with this change"), "{said}");
    // What mends it is taken.
    program.configure(&broken);
    program.run_to_end("edit", &["one", "--unset", "intervall", "--yes"]).expect_success();
    program.check().expect_success();
}

#[test]
fn what_is_missing_on_the_command_line_is_explained() {
    let program = Mailgather::new(&config("{smtp: h}", &[CollectorYaml::at("imap", "one", 1).forward_to("a@b.example")]));
    let said = program.run_to_end("edit", &["one", "--yes"]).expect_code(64).stderr;
    for words in ["nothing says what is to change in `one`", "--set interval=10m", "--unset KEY", "mailgather show one --origin"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = program.run_to_end("add", &["two", "--yes"]).expect_code(64).stderr;
    for words in ["nothing is said of the new collector `two`", "--set email=", "mailgather init"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_secret_that_is_not_in_the_store_yet_is_told() {
    let program = Mailgather::new(&config("{smtp: h}", &[CollectorYaml::at("imap", "one", 1).forward_to("a@b.example")]));
    let sets = ["email=two@example.org", "server=imap.example.org", "password={secret: later}", "recipient.forward_to=bert@example.org"];
    let mut arguments = vec!["two"];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    arguments.push("--yes");
    let said = program.run_to_end("add", &arguments).expect_success().stderr;
    let file = program.state_dir().join("collectors.d/two.yaml").display().to_string();
    let line = "there is no secret `later` in ";
    for words in ["warning[MG-107]: ", line, "mailgather secret set later", &file, "{secret: later}"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(program.check().expect_code(78).stderr.contains(line));
    let done = program.run_to_end("edit", &["two", "--set", "interval=1h", "--yes", "--json"]).expect_success();
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(json["notes"][0].as_str().unwrap().contains(line), "{json}");
    // What another collector misses is not told here.
    let said = program.run_to_end("edit", &["one", "--set", "interval=1h", "--yes"]).expect_success().stderr;
    assert!(!said.contains("later"), "{said}");
}
