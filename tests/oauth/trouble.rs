//! Faults 48 of the catalogue: a server of tokens that refuses, fails, or talks nonsense.

use crate::kit::{Kit, no_secret_in, own, signed_in};
use crate::support::{SOON, eventually};
use crate::token_server::Instead;

#[test]
fn f48_what_is_wrong_with_an_answer_is_told_and_tried_again() {
    let kit = Kit::new(&own());
    for (instead, code, words) in [
        (Instead::Status(503, None), "MG-204", "503"),
        (Instead::Status(429, Some(7)), "MG-204", "429"),
        (Instead::Html, "MG-204", "none of a token endpoint"),
        (Instead::Huge, "MG-204", "more than 65536 octets"),
        (Instead::HangUp, "MG-204", "its answer is broken"),
        (Instead::Error("temporarily_unavailable"), "MG-204", "temporarily_unavailable"),
        (Instead::Error("invalid_client"), "MG-203", "a secret may have expired there"),
        (Instead::Error("invalid_scope"), "MG-203", "`scopes`"),
    ] {
        kit.tokens.next(std::slice::from_ref(&instead));
        let before = kit.tokens.questions();
        let said = kit.fails();
        assert!(said.contains(code) && said.contains(words), "{instead:?}: {said}");
        assert_eq!(kit.tokens.questions(), before + 1, "{instead:?}: {said}");
        assert!(!kit.file().exists());
    }
    kit.collects();
}

#[test]
fn f48_while_the_server_is_down_a_token_that_is_good_goes_on() {
    let (kit, _files) = signed_in("");
    // Due, and good for some minutes.
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    let now = kept["granted"].as_i64().unwrap();
    (kept["granted"], kept["expires"]) = ((now - 3_400).into(), (now + 200).into());
    std::fs::write(kit.file(), kept.to_string()).unwrap();
    kit.tokens.next(&[Instead::Status(503, None), Instead::Html, Instead::Error("invalid_grant")]);
    kit.collects();
    kit.collects();
    assert_eq!(kit.tokens.questions(), 3);
    // Even the end of the grant leaves the token what it is; and nobody is asked again.
    kit.collects();
    kit.collects();
    assert_eq!(kit.tokens.questions(), 4);
}

#[test]
fn f48_a_grant_that_is_refused_is_not_asked_with_again_until_somebody_signs_in() {
    let (kit, _files) = signed_in("");
    kit.tokens.withdraw_grants();
    kit.tokens.withdraw();
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    kept["expires"] = kept["granted"].clone();
    std::fs::write(kit.file(), kept.to_string()).unwrap();
    let before = kit.tokens.questions();
    for _ in 0..3 {
        let said = kit.fails();
        assert!(said.contains("MG-203") && said.contains("invalid_grant") && said.contains("mailgather oauth login tim"), "{said}");
    }
    assert_eq!(kit.tokens.questions(), before + 1);
    // A daemon that waits for hours after a refused login goes on at once when somebody has signed in.
    kit.letter();
    let mut daemon = kit.program.run();
    daemon.wait_for("MG-203");
    assert_eq!(kit.tokens.questions(), before + 1);
    kit.signs_in();
    eventually("the letter arrives", SOON, || kit.arrived() == 1);
    let done = daemon.stop();
    no_secret_in(&done);
}

#[test]
fn f48_how_long_a_server_wants_to_be_left_alone_is_kept_to() {
    let kit = Kit::new(&own());
    kit.letter();
    kit.tokens.next(&[Instead::Status(429, Some(8)), Instead::Status(503, None), Instead::Status(503, None)]);
    let begun = std::time::Instant::now();
    let mut daemon = kit.program.run();
    daemon.wait_for("429");
    eventually("it is asked again", SOON, || kit.tokens.questions() >= 2);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
    no_secret_in(&daemon.stop());
}

#[test]
fn f48_an_answer_is_said_to_be_lost_only_if_one_may_have_been() {
    let (kit, _files) = signed_in("");
    let age = || {
        let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
        kept["expires"] = kept["granted"].clone();
        std::fs::write(kit.file(), kept.to_string()).unwrap();
    };
    let is_marked = || !std::fs::read_to_string(kit.file()).unwrap().contains("\"asked\":null");
    let refused = Instead::Error("invalid_grant");
    let told = [Instead::Status(503, None), Instead::Status(429, Some(7)), Instead::Error("invalid_client")];
    for (answers, is_lost) in [
        (&told[..], false),
        (&[Instead::HangUp], true),
        (&[Instead::Status(502, None)], true),
        (&[Instead::Html], true),
        // A plain refusal after it brings the answer no more.
        (&[Instead::HangUp, Instead::Status(503, None)], true),
    ] {
        age();
        for answer in answers {
            kit.tokens.next(std::slice::from_ref(answer));
            kit.fails();
        }
        assert_eq!(is_marked(), is_lost, "{answers:?}");
        kit.tokens.next(std::slice::from_ref(&refused));
        let said = kit.fails();
        assert!(said.contains("invalid_grant"), "{answers:?}: {said}");
        assert_eq!(said.contains("an answer to an earlier question was lost"), is_lost, "{answers:?}: {said}");
        kit.signs_in();
    }
    kit.collects();
}
