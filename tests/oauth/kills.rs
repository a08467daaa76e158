//! SIGKILL at each system call around a refresh: whatever was lost, the next start knows a refresh token, and a server that takes the former one for a
//! while never sends anybody to a browser.

use crate::kit::{Kit, signed_in};
use crate::support::strace::once_with_fault;
use std::time::{Duration, Instant};

/// The end of a sweep that is wrong.
const K_MAX: usize = 200;
/// So often a sweep may miss the one call that it is about.
const SWEEPS_MAX: usize = 8;

/// The token is over.
fn age(kit: &Kit) {
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    kept["expires"] = kept["granted"].clone();
    std::fs::write(kit.file(), kept.to_string()).unwrap();
}

#[test]
fn f48_a_kill_between_the_answer_and_its_file_loses_nothing_that_could_be_kept() {
    let (kit, _files) = signed_in("");
    {
        let mut state = kit.tokens.state();
        (state.rotates, state.takes_former) = (true, true);
    }
    kit.collects();
    let mut met = 0;
    for call in ["renameat", "fsync", "recvfrom", "writev", "connect"] {
        for k in 1..K_MAX {
            age(&kit);
            if once_with_fault(&kit.program, call, "signal=KILL", k).is_none() {
                break;
            }
            met += 1;
            // The file is whole, and nobody has to sign in.
            kit.collects();
            assert!(std::fs::read_to_string(kit.file()).unwrap().contains("\"refused\":null"), "{call} {k}");
        }
    }
    assert!(met > 8, "{met}");
}

#[test]
fn f48_a_server_that_takes_each_refresh_token_once_is_told_of_in_words() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    kit.collects();
    let mut lost = 0;
    // Calls are counted for each thread, and which one reads the answer is the scheduler's choice.
    for _ in 0..SWEEPS_MAX {
        for k in 1..K_MAX {
            age(&kit);
            let before = kit.tokens.questions();
            if once_with_fault(&kit.program, "recvfrom", "signal=KILL", k).is_none() {
                break;
            }
            // The mark tells that an answer is not in the file.
            let is_marked = !std::fs::read_to_string(kit.file()).unwrap().contains("\"asked\":null");
            // A question that was sent is heard soon, though nobody waits for its answer any more.
            let asked = Instant::now();
            while is_marked && kit.tokens.questions() == before && asked.elapsed() < Duration::from_millis(500) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if kit.tokens.questions() == before || !is_marked {
                continue;
            }
            // The answer was given, and died with the process.
            let said = kit.fails();
            assert!(said.contains("an answer to an earlier question was lost"), "{said}");
            lost += 1;
            kit.signs_in();
        }
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0);
}

#[test]
fn f48_a_disk_that_cannot_keep_tokens_is_met_before_the_question() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    kit.collects();
    age(&kit);
    let before = kit.tokens.questions();
    let done = once_with_fault(&kit.program, "renameat", "error=ENOSPC", 1).expect("it fails");
    assert!(!done.status.success() && done.stderr.contains("tokens cannot be kept"), "{}", done.stderr);
    assert_eq!(kit.tokens.questions(), before);
    kit.collects();
}
