//! A token that the mail server refuses before its time; tokens that live for seconds; several who want one at once.

use crate::kit::{Kit, no_secret_in, own, signed_in};
use crate::support::{SOON, eventually};
use crate::token_server::Instead;
use std::time::Duration;

#[test]
fn f48_a_token_that_should_be_good_is_renewed_once() {
    let kit = Kit::new(&own());
    kit.collects();
    kit.tokens.withdraw();
    kit.collects();
    assert_eq!(kit.tokens.questions(), 2);
    // Whatever token: the server refuses them all. One more is asked for in each pass, not in a loop.
    kit.tokens.state().takes_none = true;
    let said = kit.fails();
    assert!(said.contains("MG-203"), "{said}");
    assert_eq!(kit.tokens.questions(), 3);
    // One that cannot be renewed stays refused.
    kit.tokens.state().takes_none = false;
    kit.collects();
    kit.tokens.withdraw();
    kit.tokens.next(&[Instead::Status(503, None)]);
    assert!(kit.fails().contains("MG-203"));
}

#[test]
fn f48_tokens_of_two_seconds_are_renewed_ahead_of_their_end() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    kit.tokens.state().life = 2;
    kit.tokens.withdraw();
    let daemon = kit.program.run();
    for n in 1..=3 {
        kit.letter();
        eventually("the letter arrives", SOON, || kit.arrived() == n);
        std::thread::sleep(Duration::from_millis(2_100));
    }
    let done = daemon.stop();
    no_secret_in(&done);
    assert!(done.stderr.is_empty() || !done.stderr.contains("MG-203"), "{}", done.stderr);
    assert!(kit.tokens.questions() >= 3, "{}", kit.tokens.questions());
}

#[test]
fn f48_an_answer_that_cannot_be_kept_is_kept_later() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    kept["expires"] = kept["granted"].clone();
    std::fs::write(kit.file(), kept.to_string()).unwrap();
    let before = kit.tokens.questions();
    kit.tokens.next(&[Instead::Late(Duration::from_millis(800))]);
    let (keeper, runtime) = (kit.keeper(), tokio::runtime::Runtime::new().unwrap());
    let folder = kit.file().parent().unwrap().to_owned();
    let away = folder.with_file_name("away");
    let asking = runtime.spawn({
        let keeper = std::sync::Arc::clone(&keeper);
        async move { keeper.token().await }
    });
    eventually("the question is asked", SOON, || kit.tokens.questions() == before + 1);
    // A file in the folder's place: nothing can be written there.
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "").unwrap();
    let error = runtime.block_on(asking).unwrap().unwrap_err();
    assert!(error.text.contains("tokens cannot be kept"), "{error}");
    assert!(runtime.block_on(keeper.token()).is_err());
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    // The new refresh token was not lost, and nobody was asked again.
    runtime.block_on(keeper.token()).unwrap();
    assert_eq!(kit.tokens.questions(), before + 1);
    kit.collects();
    assert_eq!(kit.tokens.questions(), before + 1);
}

#[test]
fn f48_many_who_want_a_token_ask_once() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    kit.tokens.state().life = 3600;
    // It is over for all of them at the same time, and the answer takes a while.
    let tokens = kit.keeper();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = std::fs::read_to_string(kit.file()).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["expires"] = kept["granted"].clone();
    std::fs::write(kit.file(), kept.to_string()).unwrap();
    let before = kit.tokens.questions();
    kit.tokens.next(&[Instead::Late(Duration::from_millis(500))]);
    // Four processes, each of which only looks, and four tasks of this one.
    let mut processes: Vec<_> = (0..4)
        .map(|_| kit.program.command("test", &["tim"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    let got = runtime.block_on(async {
        let all = (0..4).map(|_| tokens.token());
        futures_util::future::join_all(all).await
    });
    let first = got[0].as_ref().unwrap().expose().to_owned();
    assert!(got.iter().all(|token| token.as_ref().unwrap().expose() == first));
    for process in processes.drain(..) {
        let done = crate::support::process::Finished::from(process.wait_with_output().unwrap());
        no_secret_in(&done);
        done.expect_success();
    }
    assert_eq!(kit.tokens.questions(), before + 1);
}
