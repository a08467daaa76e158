//! `mailgather oauth`, as an operator has it: signing in by each flow, how the tokens fare, and their end.

use crate::kit::{Kit, no_secret_in, own, person, secret_file, signed_in};
use crate::support::process::Finished;
use crate::token_server::{CANARY, Instead, SECRET};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

/// Runs `mailgather oauth …`; nothing it prints holds a secret.
#[track_caller]
fn oauth(kit: &Kit, arguments: &[&str]) -> Finished {
    let done = kit.program.run_to_end("oauth", arguments);
    no_secret_in(&done);
    done
}

fn status(kit: &Kit) -> Value {
    let done = oauth(kit, &["status", "tim", "--json"]);
    serde_json::from_str(done.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {}{}", done.stdout, done.stderr))
}

/// A login by browser that waits: what it has printed so far, and its address.
struct Waiting {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Waiting {
    fn start(kit: &Kit, arguments: &[&str]) -> Waiting {
        let mut command = kit.program.command("oauth", &[&["login", "tim"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        while !address.trim_start().starts_with("https://login.example/auth?") {
            address.clear();
            assert!(out.read_line(&mut address).unwrap() > 0, "it ended");
        }
        Waiting { child, out, address: address.trim().to_owned() }
    }

    fn ends(mut self, code: i32) -> String {
        drop(self.child.stdin.take());
        let (mut said, mut error) = (String::new(), String::new());
        self.out.read_to_string(&mut said).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{said}{error}");
        assert!(!said.contains(CANARY) && !error.contains(CANARY) && !said.contains(SECRET) && !error.contains(SECRET), "{said}{error}");
        said + &error
    }
}

/// What the browser does with the address that it is sent back to.
fn goes_to(address: &str) -> String {
    let rest = address.strip_prefix("http://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn k7_a_code_is_shown_and_the_mailbox_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let keys =
        person(folder.path()).replace("auth_url: 'https://login.example/auth'", "device_url: '{tokens}/device', revoke_url: '{tokens}/revoke'");
    let kit = Kit::new(&keys);
    kit.letter();
    kit.letter();
    assert_eq!((status(&kit)["state"].as_str(), status(&kit)["account"].as_str()), (Some("missing"), None));
    let done = oauth(&kit, &["login", "tim"]).expect_success();
    assert!(done.stdout.starts_with("Open  https://example.org/device  and enter  F7KQ-2XNB   (valid 1:00)\n"), "{}", done.stdout);
    assert!(done.stdout.contains("signed in, scopes ok, refresh token stored.\nTest: 2 messages in INBOX.\n"), "{}", done.stdout);
    let now = status(&kit);
    assert_eq!((now["state"].as_str(), now["refresh_token"].as_bool(), now["flow"].as_str()), (Some("good"), Some(true), Some("device")), "{now}");
    let shown = oauth(&kit, &["status"]).expect_success().stdout;
    assert!(shown.starts_with("NAME  FLOW") && shown.contains("tim   other, device") && shown.contains("good") && shown.contains("old"), "{shown}");
    // Another one, though the one that is there is good.
    let before = kit.tokens.questions();
    let done = oauth(&kit, &["refresh", "tim"]).expect_success();
    assert!(done.stderr.contains("a new access token for `tim`, good until") && kit.tokens.questions() == before + 1, "{}", done.stderr);
    kit.tokens.next(&[Instead::Error("invalid_client")]);
    let done = oauth(&kit, &["refresh", "tim"]).expect_code(77);
    assert!(done.stderr.contains("invalid_client") && done.stderr.contains("a secret may have expired"), "{}", done.stderr);
    // The end: asked for, told in words, and nothing is left of it.
    let done = oauth(&kit, &["revoke", "tim"]).expect_code(64);
    assert!(done.stderr.contains("say `--yes`"), "{}", done.stderr);
    kit.tokens.next(&[Instead::Status(503, None)]);
    let done = oauth(&kit, &["revoke", "tim", "--yes"]).expect_code(75);
    assert!(done.stderr.contains("nothing was removed") && kit.file().exists(), "{}", done.stderr);
    let done = oauth(&kit, &["revoke", "tim", "--yes"]).expect_success();
    assert!(done.stderr.contains("given back to the provider, and removed") && !kit.file().exists(), "{}", done.stderr);
    assert_eq!(kit.tokens.grants(), 0);
    let audit = kit.program.run_to_end("logs", &["--audit"]).expect_success().stdout;
    assert!(audit.contains("oauth_signed_in collector=tim by=\"cli uid=") && audit.contains("oauth_revoked collector=tim by=\"cli uid="), "{audit}");
    assert!(audit.contains("told=true") && !audit.contains(CANARY), "{audit}");
    assert!(oauth(&kit, &["revoke", "tim", "--yes"]).expect_success().stderr.contains("no tokens are kept"));
    let done = oauth(&kit, &["refresh", "tim"]).expect_code(77);
    assert!(
        done.stderr.contains("nobody has signed in for this collector yet") && done.stderr.contains("mailgather oauth login tim"),
        "{}",
        done.stderr
    );
}

#[test]
fn k7_a_browser_comes_back_to_this_machine_or_its_address_is_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let kit = Kit::new(&person(folder.path()));
    let waiting = Waiting::start(&kit, &[]);
    let back = kit.tokens.browse(&waiting.address);
    assert!(back.starts_with("http://127.0.0.1:"), "{back}");
    let page = goes_to(&back);
    assert!(page.contains("Signed in") && page.contains("Cache-Control: no-store"), "{page}");
    assert!(waiting.ends(0).contains("refresh token stored.\nTest: 0 messages in INBOX."));
    assert_eq!(status(&kit)["state"], "good");
    assert!(oauth(&kit, &["revoke", "tim", "--yes"]).expect_success().stderr.contains("what was granted still stands at the provider"));
    // The answer to another question, or a refusal, as any page may bring it: it is sent away, and ends nothing.
    let waiting = Waiting::start(&kit, &[]);
    let back = kit.tokens.browse(&waiting.address);
    let asked = kit.tokens.questions();
    let (here, query) = back.split_once('?').unwrap();
    for foreign in [back.replace("state=", "state=x"), format!("{here}?error=access_denied"), format!("{here}?error=access_denied&state=x")] {
        assert!(goes_to(&foreign).starts_with("HTTP/1.1 404"), "{foreign}");
    }
    assert_eq!((kit.tokens.questions(), status(&kit)["state"].as_str()), (asked, Some("missing")));
    // He says no.
    let state = query.split('&').find(|field| field.starts_with("state=")).unwrap();
    goes_to(&format!("{here}?error=access_denied&{state}"));
    assert!(waiting.ends(77).contains("access_denied"));
    // What is pasted may belong to another attempt too: one try.
    let mut waiting = Waiting::start(&kit, &["--no-browser"]);
    let back = kit.tokens.browse(&waiting.address);
    writeln!(waiting.child.stdin.as_mut().unwrap(), "{}", back.replace("state=", "state=x")).unwrap();
    assert!(waiting.ends(76).contains("belongs to another attempt"));
    assert_eq!((kit.tokens.questions(), status(&kit)["state"].as_str()), (asked, Some("missing")));
    // Without a browser here nothing listens: what the browser elsewhere ended at is pasted.
    let mut waiting = Waiting::start(&kit, &["--no-browser"]);
    let back = kit.tokens.browse(&waiting.address);
    assert!(TcpStream::connect(back.strip_prefix("http://").unwrap().split('/').next().unwrap()).is_err(), "{back}");
    writeln!(waiting.child.stdin.as_mut().unwrap(), "{back}").unwrap();
    assert!(waiting.ends(0).contains("refresh token stored."));
    assert!(Waiting::start(&kit, &["--no-browser"]).ends(76).contains("nothing came back"));
    let mut waiting = Waiting::start(&kit, &["--redirect", "https://own.example/back"]);
    let back = kit.tokens.browse(&waiting.address);
    assert!(back.starts_with("https://own.example/back?code="), "{back}");
    writeln!(waiting.child.stdin.as_mut().unwrap(), "{back}").unwrap();
    waiting.ends(0);
    kit.collects();
}

#[test]
fn k7_what_has_no_sense_is_said() {
    let kit = Kit::new(&own());
    let done = oauth(&kit, &["login", "tim"]).expect_code(64);
    assert!(
        done.stderr.contains("nobody has to sign in for `tim`: with `flow: client_credentials`") && done.stderr.contains("oauth refresh tim"),
        "{}",
        done.stderr
    );
    assert_eq!(status(&kit)["state"], "missing");
    oauth(&kit, &["refresh", "tim"]).expect_success();
    assert_eq!((status(&kit)["state"].as_str(), status(&kit)["refresh_token"].as_bool()), (Some("good"), Some(false)));
    assert!(oauth(&kit, &["login", "tom"]).expect_code(64).stderr.contains("no collector is called `tom`"));
    let folder = tempfile::tempdir().unwrap();
    let (kit, _files) = signed_in(&format!("token_key: {}, ", secret_file(folder.path())));
    assert_eq!((status(&kit)["encrypted"].as_bool(), status(&kit)["state"].as_str()), (Some(true), Some("good")));
    let (kit, _files) = signed_in("");
    let done = oauth(&kit, &["login", "tim", "--flow", "device"]).expect_code(78);
    assert!(done.stderr.contains("the configuration has no `device_url`") && done.stderr.contains("--flow code"), "{}", done.stderr);
    // What the provider has ended is told, with what to do.
    kit.tokens.withdraw_grants();
    oauth(&kit, &["refresh", "tim"]).expect_code(77);
    let now = status(&kit);
    assert!(now["state"] == "refused" && !now["reason"].as_str().unwrap().is_empty(), "{now}");
    let done = oauth(&kit, &["status", "tim"]).expect_code(77);
    assert!(done.stderr.contains("oauth login tim"), "{}", done.stderr);
}

/// The same by the daemon's socket, as a panel does it; the daemon takes the tokens by itself.
#[test]
fn k7_somebody_signs_in_by_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let keys = person(folder.path()).replace("auth_url: 'https://login.example/auth'", "device_url: '{tokens}/device'");
    let kit = Kit::new(&keys);
    kit.letter();
    kit.tokens.sign_in_after(1);
    let mut daemon = kit.program.run();
    daemon.wait_for("nobody has signed in");
    let socket = kit.program.state_dir().join("control.sock");
    let ask = |method: &str, place: &str| -> (u16, Value) {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        write!(stream, "{method} {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(!said.contains(CANARY) && !said.contains(SECRET), "{said}");
        (said[9..12].parse().unwrap(), serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap())
    };
    assert_eq!(ask("GET", "/v1/oauth/tom").0, 404);
    let (status, now) = ask("GET", "/v1/oauth/tim");
    assert_eq!((status, now["state"].as_str(), now["login"].is_null()), (200, Some("missing"), true), "{now}");
    let (status, begun) = ask("POST", "/v1/oauth/tim/start");
    assert_eq!(
        (status, begun["user_code"].as_str(), begun["verification_uri"].as_str()),
        (202, Some("F7KQ-2XNB"), Some("https://example.org/device"))
    );
    // Somebody else gets the same code, as long as it is good.
    assert_eq!(ask("POST", "/v1/oauth/tim/start"), (202, begun));
    crate::support::eventually("he has signed in", crate::support::SOON, || {
        let (_, now) = ask("GET", "/v1/oauth/tim");
        now["login"]["state"] == "signed_in" && now["state"] == "good"
    });
    // Whose token it is, as far as it tells: an opaque one says nothing.
    let (_, now) = ask("GET", "/v1/oauth/tim");
    assert_eq!((&now["login"]["account"], now["login"].get("warning")), (&now["account"], Some(&serde_json::Value::Null)), "{now}");
    let audit = kit.program.run_to_end("logs", &["--audit"]).expect_success().stdout;
    assert!(audit.contains("oauth_signed_in collector=tim by=\"api uid="), "{audit}");
    crate::support::eventually("the letter is collected", crate::support::SOON, || kit.arrived() == 1);
    daemon.stop().expect_success();
}

/// What Microsoft's tokens tell, where the mailbox does not open: by `test` with tokens of one's own and of the program's, and by `doctor`.
#[test]
fn k7_a_refused_token_tells_what_is_wrong_with_it() {
    let jwt = |claims: &Value| format!("e30.{}.{CANARY}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let of_program =
        |aud: &str, roles: &[&str]| jwt(&json!({"tid": "t", "aud": aud, "appid": "app", "oid": "obj", "roles": roles, "exp": 4_000_000_000u64}));
    let kit = Kit::new(&own());
    for (token, words, hint) in [
        (
            of_program("https://graph.microsoft.com", &[]),
            "audience: the token is for https://graph.microsoft.com",
            "https://outlook.office365.com/.default",
        ),
        (
            of_program("https://outlook.office365.com", &["Mail.Read"]),
            "role: IMAP.AccessAsApp is missing; the token has Mail.Read",
            "API permissions",
        ),
        (
            of_program("https://outlook.office365.com", &["IMAP.AccessAsApp"]),
            "so tim@example.org does not let the program app in",
            "Add-MailboxPermission",
        ),
    ] {
        kit.tokens.state().access = Some(token.clone());
        oauth(&kit, &["refresh", "tim"]).expect_success();
        let done = kit.program.run_to_end("test", &["tim"]).expect_code(77);
        no_secret_in(&done);
        let said = done.stdout + &done.stderr;
        assert!(said.contains(words) && said.contains(hint), "{said}");
        let done = kit.program.run_to_end("doctor", &["--offline"]);
        no_secret_in(&done);
        let is_seen = !words.contains("does not let");
        assert_eq!(done.stdout.contains(words), is_seen, "{}", done.stdout);
        assert!(is_seen || done.stdout.contains("1 of the collectors have access tokens"), "{}", done.stdout);
    }
    // A token that another program got.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, jwt(&json!({"tid": "t", "aud": "https://outlook.office.com", "upn": "anna@example.org", "scp": "IMAP.AccessAsUser.All", "exp": 4_000_000_000u64}))).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    kit.configure("imap", "", &format!("token: {{file: '{}'}}", file.display()));
    let done = kit.program.run_to_end("test", &["tim"]).expect_code(77);
    no_secret_in(&done);
    let said = done.stdout + &done.stderr;
    assert!(
        said.contains("anna@example.org has signed in, and may not open tim@example.org") && said.contains("sign in as tim@example.org"),
        "{said}"
    );
}

/// Tokens of one provider, and the configuration of another: nothing of the one is shown to the other.
#[test]
fn k7_tokens_of_another_configuration_are_removed_and_nobody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let keys = format!("{}, revoke_url: '{{tokens}}/revoke'", person(folder.path()));
    let kit = Kit::new(&keys);
    kit.signs_in();
    kit.configure("imap", "", &keys.replace("{tokens}/token", "{tokens}/other"));
    assert_eq!(status(&kit)["state"], "other");
    let done = oauth(&kit, &["revoke", "tim", "--yes"]).expect_success();
    assert!(done.stderr.contains("`tim`: removed") && done.stderr.contains("what was granted still stands at the provider"), "{}", done.stderr);
    assert_eq!((kit.tokens.grants(), kit.file().exists()), (1, false));
    let audit = kit.program.run_to_end("logs", &["--audit"]).expect_success().stdout;
    assert!(audit.contains("told=false"), "{audit}");
}

/// A server that repeats what it was asked with; what is printed holds no secret.
#[test]
fn k7_what_a_server_repeats_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let kit = Kit::new(&format!("{}, revoke_url: '{{tokens}}/revoke'", person(folder.path())));
    kit.signs_in();
    for (status, code) in [(400, 77), (503, 75)] {
        for command in [&["revoke", "tim", "--yes"][..], &["refresh", "tim"]] {
            kit.tokens.next(&[Instead::Repeats(status)]);
            let done = oauth(&kit, command).expect_code(code);
            assert!(done.stderr.contains("token=***"), "{}", done.stderr);
        }
    }
}
