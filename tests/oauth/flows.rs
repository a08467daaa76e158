//! Each way to a first token, and how the next ones are got.

use crate::kit::{Kit, person, signed_in};
use crate::token_server::{CLIENT, Instead, SECRET};
use mailgather::oauth::login::{LoginError, Polled};
use mailgather::oauth::{Found, Tokens};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn kept(kit: &Kit) -> Tokens {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(kit.keeper().kept()).unwrap() {
        Found::Tokens(tokens) => *tokens,
        other => panic!("{other:?}"),
    }
}

#[test]
fn k7_a_person_signs_in_by_a_browser_and_refresh_tokens_are_rotated() {
    let (kit, _files) = signed_in("");
    kit.tokens.state().rotates = true;
    kit.tokens.state().life = 1;
    assert_eq!(kit.tokens.state().asked[0]["redirect_uri"], "http://127.0.0.1:7/");
    kit.collects();
    let mut last = kept(&kit).refresh.unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1_100));
        // The first answer was good for an hour, the next ones are not.
        kit.tokens.withdraw();
        kit.collects();
        let now = kept(&kit);
        let refresh = now.refresh.unwrap();
        assert!(refresh != last && now.asked.is_none() && now.refused.is_none());
        last = refresh;
    }
}

#[test]
fn k7_a_person_signs_in_with_a_code_for_devices() {
    let folder = tempfile::tempdir().unwrap();
    let keys = person(folder.path()).replace("auth_url: 'https://login.example/auth'", "device_url: '{tokens}/device'");
    let kit = Kit::new(&keys);
    let said = kit.fails();
    assert!(said.contains("MG-203") && said.contains("nobody has signed in") && said.contains("mailgather oauth login tim"), "{said}");
    kit.tokens.sign_in_after(2);
    let (keeper, runtime) = (kit.keeper(), tokio::runtime::Runtime::new().unwrap());
    let code = runtime.block_on(keeper.begin_device()).unwrap();
    assert_eq!((code.user_code.as_str(), code.verification_uri.as_str()), ("F7KQ-2XNB", "https://example.org/device"));
    let begun = std::time::Instant::now();
    let tokens = runtime.block_on(keeper.wait_for_device(&code)).unwrap();
    assert!(tokens.refresh.is_some());
    // The first question finds that it was asked too often, the second that nobody has signed in.
    assert!(begun.elapsed() >= Duration::from_secs(1 + 6), "{:?}", begun.elapsed());
    assert_eq!(kit.tokens.questions(), 3);
    kit.collects();
    assert!(runtime.block_on(keeper.forget()).unwrap());
    assert!(kit.fails().contains("nobody has signed in"));
}

#[test]
fn k7_a_certificate_and_a_service_account_in_place_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let pem = write("key.pem", &key.serialize_pem());
    let certificate = write("cert.pem", &rcgen::CertificateParams::default().self_signed(&key).unwrap().pem());
    let kit =
        Kit::new(&format!("client_id: {CLIENT}, certificate: '{certificate}', certificate_key: {{file: '{pem}'}}, token_url: '{{tokens}}/token'"));
    kit.collects();
    let asked = kit.tokens.state().asked[0].clone();
    assert_eq!(asked["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(asked["client_assertion"].split('.').count() == 3 && !asked.contains_key("client_secret"));
    let account =
        json!({"type": "service_account", "client_email": "svc@project.example", "private_key": key.serialize_pem(), "private_key_id": "k1"});
    let account = write("google.json", &account.to_string());
    let kit = Kit::new(&format!("service_account: {{file: '{account}'}}, token_url: '{{tokens}}/token', scopes: ['https://mail.google.com/']"));
    kit.collects();
    assert!(!kit.tokens.state().asked[0].contains_key("client_id"));
    assert_ne!(SECRET, "");
}

#[test]
fn k7_a_code_for_devices_that_ends_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let kit = Kit::new(&person(folder.path()).replace("auth_url: 'https://login.example/auth'", "device_url: '{tokens}/device'"));
    let (keeper, runtime) = (kit.keeper(), tokio::runtime::Runtime::new().unwrap());
    let code = runtime.block_on(keeper.begin_device()).unwrap();
    let seconds = Duration::from_secs;
    let poll = |instead: Instead, poll: u64| {
        kit.tokens.next(&[instead]);
        runtime.block_on(keeper.poll_device(&code, seconds(poll)))
    };
    // Never more often than it was, whatever the server says of later.
    for (instead, before, wait) in [
        (Instead::Status(503, Some(0)), 5, 5),
        (Instead::Status(429, Some(7)), 5, 7),
        (Instead::Status(503, None), 5, 10),
        (Instead::Status(503, None), 300, 300),
        (Instead::Status(429, Some(900)), 5, 60),
        (Instead::HangUp, 40, 60),
    ] {
        let polled = poll(instead.clone(), before).unwrap();
        assert!(matches!(polled, Polled::NotYet(next) if next == seconds(wait)), "{instead:?} {before}: {polled:?}");
    }
    // What the provider forbids has its words; only the end of the code's time is the end of its time.
    for word in ["invalid_grant", "interaction_required", "login_required", "consent_required"] {
        let error = poll(Instead::Error(word), 5).unwrap_err();
        assert!(matches!(error, LoginError::Ask(_)), "{word}: {error}");
        assert!(error.to_string().contains(word) && error.to_string().contains("as the test says"), "{word}: {error}");
    }
    assert!(matches!(poll(Instead::Error("expired_token"), 5), Err(LoginError::TooLate)));
}
