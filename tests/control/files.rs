//! Collectors in files of their own, beside the hand-written one.

use crate::kit::{imap, letter, running, socket};
use crate::support::*;
use serde_json::Value;

/// The part of a configuration that a file in `collectors.d` holds.
fn collectors_of(config: &str) -> String {
    config[config.find("collectors:").unwrap()..].to_owned()
}

/// A file that a program puts beside the hand-written one is a collector at once, in the lists too; a broken one changes nothing; and neither file
/// is touched by the other.
#[test]
fn p1_p8_a_file_in_collectors_d_is_a_collector_at_once() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let main = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&main);
    let folder = program.state_dir().join("collectors.d");
    std::fs::create_dir_all(&folder).unwrap();
    let daemon = running(&program, 1);
    socket(&program);
    let put = |name: &str, text: &str| {
        // As a program writes it: whole or not at all.
        std::fs::write(folder.join("new~"), text).unwrap();
        std::fs::rename(folder.join("new~"), folder.join(name)).unwrap();
    };
    server.put("two", &letter(2));
    let two = collectors_of(&config(&sink.delivery(), &[imap(&server, "two").set("title", "Second")]));
    put("two.yaml", &two);
    sink.wait_for(1);
    let listed = program.run_to_end("list", &["--json"]).expect_success().stdout;
    let ids: Vec<String> = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["one", "two"]);
    assert!(program.run_to_end("list", &["second"]).expect_success().stdout.contains("two "), "found by its title");
    assert!(program.run_to_end("status", &[]).expect_success().stdout.contains("two "));
    // A second file with the same name in it is an error, and nothing stops.
    put("three.yaml", &two);
    let failed = program.run_to_end("reload", &[]).expect_code(78);
    assert!(failed.stderr.contains("`two` is there twice") && failed.stderr.contains("collectors.d/two.yaml"), "{}", failed.stderr);
    server.put("two", &letter(3));
    std::fs::remove_file(folder.join("three.yaml")).unwrap();
    program.run_to_end("reload", &[]).expect_success();
    assert_eq!(program.run_to_end("collect", &["two"]).expect_success().stdout, "two: 1 delivered\n");
    // It goes as it came; the hand-written file is as it was.
    std::fs::remove_file(folder.join("two.yaml")).unwrap();
    eventually("the collector is gone", SOON, || !program.run_to_end("status", &[]).stdout.contains("two "));
    assert_eq!(std::fs::read_to_string(program.config_file()).unwrap(), main);
    daemon.stop().expect_success();
}
