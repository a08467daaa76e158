//! The configuration over the socket: with tags, dry runs and positions.

use crate::kit::{imap, letter, raw, request, running, socket};
use crate::support::*;
use serde_json::{Value, json};
use std::path::Path;

/// Status, tag and document of one request.
fn ask(socket: &Path, method: &str, place: &str, tag: Option<&str>, body: &Value) -> (u16, String, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let tag = tag.map(|tag| format!("If-Match: {tag}\r\n")).unwrap_or_default();
    let answer =
        raw(socket, &format!("{method} {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{tag}Content-Length: {}\r\n\r\n{body}", body.len()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
    (status, tag, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// The daemon has taken it; the watcher of the files may have been faster, which leaves nothing to tell.
fn has(done: &Value, key: &str, name: &str) -> bool {
    done["written"] == true && (done["reload"][key] == json!([name]) || done["reload"]["unchanged"].as_u64().is_some_and(|n| n > 0))
}

#[test]
fn i13_p8_a_collector_is_shown_changed_made_and_removed_over_the_socket() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let text = config(&sink.delivery(), &[imap(&server, "one").set("title", "First   # by hand")]);
    let program = Mailgather::new(&text);
    let daemon = running(&program, 1);
    let path = socket(&program);
    let one = "/v1/config/collectors/one";
    let (status, tag, shown) = ask(&path, "GET", one, None, &Value::Null);
    assert_eq!((status, &shown["keys"]["title"], shown["keys"]["password"]["env"].is_string()), (200, &json!("First"), true), "{shown}");
    // Without a tag, and with another one, nothing happens.
    assert_eq!(ask(&path, "PATCH", one, None, &json!({"title": "x"})).0, 428);
    assert_eq!(ask(&path, "PATCH", one, Some("\"0123\""), &json!({"title": "x"})).0, 409);
    let (status, _, dry) = ask(&path, "PATCH", &format!("{one}?dry_run=1"), Some(&tag), &json!({"title": "Second"}));
    assert!(status == 200 && dry["written"] == false && dry["diff"].as_str().unwrap().contains("+    title: Second   # by hand\n"), "{dry}");
    assert_eq!(std::fs::read_to_string(program.config_file()).unwrap(), text);
    let (status, next, done) = ask(&path, "PATCH", one, Some(&tag), &json!({"title": "Second", "interval": "2h"}));
    assert!(status == 200 && has(&done, "changed", "one"), "{status} {done}");
    let now = std::fs::read_to_string(program.config_file()).unwrap();
    assert_eq!(now, text.replace("title: First   #", "title: Second   #").replace("interval: 1h", "interval: 2h"));
    assert_ne!(next, tag);
    // Somebody edits by hand: the tag is another one.
    program.configure(&format!("# by hand\n{now}"));
    assert_eq!(ask(&path, "PATCH", one, Some(&next), &json!({"title": "x"})).0, 409);
    let (_, tag, shown) = ask(&path, "GET", one, None, &Value::Null);
    // What comes back as it was changes nothing.
    let (status, same, unchanged) = ask(&path, "PUT", one, Some(&tag), &shown["keys"]);
    assert_eq!((status, &same, &unchanged["written"]), (200, &tag, &json!(false)), "{unchanged}");
    // Errors have their places, secrets are refused.
    let (status, _, wrong) = ask(&path, "PATCH", one, Some(&tag), &json!({"intervall": "5m"}));
    let error = &wrong["errors"][0];
    assert!(status == 422 && error["code"] == "MG-101" && error["line"].as_u64().unwrap() > 5 && error["column"] == 5, "{wrong}");
    let (status, _, secret) = ask(&path, "PATCH", one, Some(&tag), &json!({"password": "hunter2"}));
    assert!(status == 422 && !secret.to_string().contains("hunter2"), "{secret}");
    // The address of a webhook is often a secret, and comes back as it was.
    let told = json!({"notify": [{"webhook": "https://hooks.example/hunter2", "token": {"env": "TOKEN"}}]});
    let (status, tag, _) = ask(&path, "PATCH", one, Some(&tag), &told);
    let (_, _, shown_again) = ask(&path, "GET", one, None, &Value::Null);
    assert_eq!((status, &shown_again["keys"]["notify"]), (200, &json!([{"webhook": "***", "token": {"env": "TOKEN"}}])), "{shown_again}");
    let (status, _, unchanged) = ask(&path, "PUT", one, Some(&tag), &shown_again["keys"]);
    assert_eq!((status, &unchanged["written"]), (200, &json!(false)), "{unchanged}");
    // A new one, collected at once; then gone.
    let mut keys = shown["keys"].clone();
    keys["username"] = "two".into();
    keys["title"] = "Две".into();
    server.add_user("two");
    server.put("two", &letter(1));
    let two = "/v1/config/collectors/two";
    let (status, tag, made) = ask(&path, "PUT", two, None, &keys);
    assert!(status == 201 && has(&made, "added", "two"), "{status} {made}");
    assert!(program.state_dir().join("collectors.d/two.yaml").exists());
    sink.wait_for(1);
    let (status, _, removed) = ask(&path, "DELETE", two, Some(&tag), &Value::Null);
    assert!(status == 200 && has(&removed, "removed", "two"), "{status} {removed}");
    assert!(!program.state_dir().join("collectors.d/two.yaml").exists());
    assert_eq!(ask(&path, "DELETE", two, Some("*"), &Value::Null).0, 404);
    let uid = rustix::process::getuid().as_raw();
    for (change, collector, times) in [("edit", "one", 2), ("add", "two", 1), ("remove", "two", 1)] {
        assert_eq!(daemon.counted(&format!("config_written by=\"api uid={uid}\" change={change} collector={collector} "), times), times, "{change}");
    }
    daemon.stop().expect_success();
}

#[test]
fn a_text_is_checked_and_what_is_in_force_is_shown() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let text = config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two")]);
    let program = Mailgather::new(&text);
    let daemon = running(&program, 2);
    let path = socket(&program);
    let (status, body) = request(&path, "POST", "/v1/config/check", "");
    assert!(status == 200 && body.contains("\"collectors\":2"), "{status} {body}");
    let (status, body) = request(&path, "POST", "/v1/config/check", "collectors:\n  a:\n    pasword: hunter2\n");
    let wrong: Value = serde_json::from_str(&body).unwrap();
    let unknown = wrong["errors"].as_array().unwrap().iter().find(|error| error["code"] == "MG-101").unwrap();
    assert_eq!((status, &unknown["line"], &unknown["column"]), (422, &json!(3), &json!(5)), "{body}");
    assert!(!body.contains("hunter2"), "a secret got out");
    let (status, body) = request(&path, "GET", "/v1/config/effective", "");
    let all: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, all["collectors"].as_array().unwrap().len()), (200, 2));
    let (_, body) = request(&path, "GET", "/v1/config/effective?collector=two", "");
    let two: Value = serde_json::from_str(&body).unwrap();
    let of = |key: &str| two["collectors"][0]["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    assert_eq!((&of("username")["value"], &of("log")["origin"]["kind"]), (&json!("two"), &json!("default")));
    assert!(of("username")["origin"]["line"].as_u64().is_some_and(|line| line > 5));
    assert_eq!(request(&path, "GET", "/v1/config/effective?collector=nobody", "").0, 404);
    daemon.stop().expect_success();
}
