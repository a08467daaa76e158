//! What an operator hears of tokens: metrics, notices, the dialogue of `test`; nothing of it holds a secret.

use crate::kit::{Kit, no_secret_in, signed_in};
use crate::support::ports::Port;
use crate::support::{SOON, eventually};
use crate::token_server::{CANARY, SECRET};
use std::io::{Read, Write};
use std::net::TcpStream;

fn metrics(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// A token that is due, and good for some minutes.
fn make_due(kit: &Kit) {
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    let now = kept["granted"].as_i64().unwrap();
    (kept["granted"], kept["expires"]) = ((now - 3_400).into(), (now + 200).into());
    std::fs::write(kit.file(), kept.to_string()).unwrap();
}

#[test]
fn k7_somebody_is_told_before_the_last_token_ends() {
    let (kit, _files) = signed_in("");
    let port = Port::reserve();
    let (script, told) = (kit.program.path().join("tell.sh"), kit.program.path().join("told"));
    std::fs::write(&script, format!("echo \"$MAILGATHER_STAGE $MAILGATHER_EVENT $MAILGATHER_CODE $MAILGATHER_HINT\" >> '{}'\n", told.display()))
        .unwrap();
    let text = std::fs::read_to_string(kit.program.config_file()).unwrap();
    let tell = format!("metrics: {{listen: '127.0.0.1:{}'}}\nnotify: [{{command: [sh, '{}']}}]\n", port.number(), script.display());
    kit.program.configure(&format!("{tell}{text}"));
    make_due(&kit);
    kit.tokens.withdraw_grants();
    kit.letter();
    let daemon = kit.program.run();
    // The mail comes all the same, by the token that is good yet.
    eventually("the letter arrives", SOON, || kit.arrived() == 1);
    let said = || std::fs::read_to_string(&told).unwrap_or_default();
    eventually("somebody is told", SOON, || said().contains("raised oauth MG-203"));
    assert!(said().contains("mailgather oauth login tim"), "{}", said());
    let figures = metrics(port.number());
    for line in [
        "mailgather_oauth_refreshes_total{collector=\"tim\",result=\"refused\"} 1",
        "mailgather_oauth_token_expiry_timestamp_seconds{collector=\"tim\"} ",
    ] {
        assert!(figures.contains(line), "{figures}");
    }
    kit.signs_in();
    eventually("the end of it is told", SOON, || said().contains("recovered oauth"));
    let done = daemon.stop();
    no_secret_in(&done);
    for text in [&figures, &said()] {
        assert!(!text.contains(CANARY) && !text.contains(SECRET), "{text}");
    }
    // The whole dialogue, as an operator lets it be shown.
    let done = kit.program.run_to_end("test", &["tim", "--trace"]);
    no_secret_in(&done);
    done.expect_success();
}
