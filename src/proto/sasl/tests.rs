use super::*;
use proptest::prelude::*;

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.into(),
        password: Secret::new(password.into()),
        domain: None,
        host: "server.example.com".into(),
        port: 143,
        random: *b"0123456789abcdefghijklmn",
        now: 1_700_000_000,
        service: "IMAP",
        end_point: None,
    }
}

fn start(mechanism: Mechanism, username: &str, password: &str) -> Exchange {
    Exchange::new(mechanism, &credentials(username, password)).unwrap()
}

fn decoded(secret: &Secret) -> String {
    String::from_utf8(STANDARD.decode(secret.expose()).unwrap()).unwrap()
}

#[test]
fn plain_is_rfc_4616() {
    assert_eq!(plain("tim", &Secret::new("tanstaaftanstaaf".into())).unwrap().expose(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    assert!(plain("a\0b", &Secret::new("c".into())).is_none());
    assert!(plain("a", &Secret::new("b\0c".into())).is_none());
    // At once, or when asked; never twice.
    let mut exchange = start(Mechanism::Plain, "tim", "tanstaaftanstaaf");
    assert_eq!(exchange.initial().unwrap().expose(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    assert!(exchange.step(b"").is_err());
    let mut exchange = start(Mechanism::Plain, "tim", "tanstaaftanstaaf");
    assert_eq!(exchange.step(b"go ahead").unwrap().expose(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    assert!(exchange.step(b"").is_err());
    assert!(Exchange::new(Mechanism::Plain, &credentials("a", "b\0")).is_err());
}

#[test]
fn cram_md5_is_rfc_2195() {
    let mut exchange = start(Mechanism::CramMd5, "tim", "tanstaaftanstaaf");
    assert!(exchange.initial().is_none());
    let answer = exchange.step(b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+").unwrap();
    assert_eq!(answer.expose(), "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
    assert!(exchange.step(b"PDE4OTY+").is_err());
    // Tabs and NUL are no base 64 (fault 49).
    for bad in [&b"PDE4\tOTY+"[..], b"PDE4\0OTY+", b"PDE4OTY", b"!"] {
        assert!(matches!(start(Mechanism::CramMd5, "u", "p").step(bad), Err(SaslError::Malformed(_))), "{bad:?}");
    }
    assert!(start(Mechanism::CramMd5, "u", "p").step(&vec![b'A'; CHALLENGE_OCTETS_MAX + 4]).is_err());
}

#[test]
fn login_answers_two_prompts_whatever_they_say() {
    for prompts in [["VXNlcm5hbWU6", "UGFzc3dvcmQ6"], ["", ""], ["Username:", "Password:"]] {
        let mut exchange = start(Mechanism::Login, "dom\\user", "pass");
        assert!(exchange.initial().is_none());
        assert_eq!(decoded(&exchange.step(prompts[0].as_bytes()).unwrap()), "dom\\user");
        assert_eq!(decoded(&exchange.step(prompts[1].as_bytes()).unwrap()), "pass");
        assert!(exchange.step(b"").is_err());
    }
}

#[test]
fn bearer_messages() {
    // RFC 7628 §4.1, and Google's example.
    let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
    let mut exchange = start(Mechanism::OAuthBearer, "user@example.com", token);
    assert_eq!(
        exchange.initial().unwrap().expose(),
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    );
    // RFC 7628 §4.3: the error, the dummy answer, and no more.
    assert_eq!(exchange.step(b"eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=").unwrap().expose(), "AQ==");
    assert_eq!(exchange.failure(), Some("{\"status\":\"invalid_token\"}"));
    assert!(exchange.step(b"eyJz").is_err());
    let mut exchange = start(Mechanism::XOAuth2, "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
    assert_eq!(
        exchange.initial().unwrap().expose(),
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    );
    assert_eq!(exchange.step(b"eyJzdGF0dXMiOiI0MDEifQ==").unwrap().expose(), "");
    assert!(exchange.step(b"").is_err());
    // Nothing gets out of its field.
    for (username, token) in [("a\u{1}b", "t"), ("a", "t\u{1}"), ("a", ""), ("a", "two words"), ("a", "line\n")] {
        for mechanism in [Mechanism::XOAuth2, Mechanism::OAuthBearer] {
            assert!(matches!(Exchange::new(mechanism, &credentials(username, token)), Err(SaslError::Unsendable(_))), "{username:?} {token:?}");
        }
    }
    assert!(decoded(&start(Mechanism::OAuthBearer, "a,b=c", "t").initial().unwrap()).starts_with("n,a=a=2Cb=3Dc,\u{1}"));
}

#[test]
fn external_says_nothing() {
    assert_eq!(start(Mechanism::External, "u", "").initial().unwrap().expose(), "=");
    assert_eq!(start(Mechanism::External, "u", "").step(b"").unwrap().expose(), "");
}

#[test]
fn an_ok_without_proof_is_none() {
    let mut exchange = start(Mechanism::ScramSha256, "u", "p");
    assert_eq!(exchange.finish(), Err(SaslError::Unproven));
    let first = decoded(&exchange.initial().unwrap());
    let nonce = first.split_once("r=").unwrap().1.to_owned();
    assert_eq!(nonce, STANDARD.encode(b"0123456789abcdefghijklmn"));
    let server_first = STANDARD.encode(format!("r={nonce}X,s=AAAA,i=4096"));
    assert!(decoded(&exchange.step(server_first.as_bytes()).unwrap()).contains(",p="));
    assert_eq!(exchange.finish(), Err(SaslError::Unproven));
    assert_eq!(exchange.step(STANDARD.encode("v=AAAA").as_bytes()), Err(SaslError::Unproven));
    assert_eq!(exchange.finish(), Err(SaslError::Unproven));
    assert_eq!(start(Mechanism::Plain, "u", "p").finish(), Ok(()));
}

#[test]
fn sets_of_mechanisms() {
    let offered: Mechanisms = ["plain", "SCRAM-SHA-1", "GSSAPI", "Login"].into_iter().collect();
    assert_eq!(offered.to_string(), "SCRAM-SHA-1, PLAIN, LOGIN");
    assert!(offered.has(Mechanism::Plain) && !offered.has(Mechanism::CramMd5));
    assert_eq!(offered.without(&["PLAIN".into(), "X".into()]).to_string(), "SCRAM-SHA-1, LOGIN");
    assert_eq!(Mechanisms::default().to_string(), "none");
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::named(&mechanism.name().to_lowercase()), Some(mechanism));
    }
}

proptest! {
    /// Whatever a server says: no panic, an end after few steps, and never a line break in an answer.
    #[test]
    fn hostile_challenges_are_survived(which in 0usize..9, challenges in proptest::collection::vec(any::<Vec<u8>>(), 0..6), raw in any::<bool>()) {
        let mut exchange = start(Mechanism::ALL[which], "u,=\\ü", "token");
        let mut said = vec![];
        said.extend(exchange.initial());
        for challenge in challenges {
            let challenge = if raw { challenge } else { STANDARD.encode(challenge).into_bytes() };
            match exchange.step(&challenge) {
                Ok(answer) => said.push(answer),
                Err(_) => break,
            }
        }
        prop_assert!(said.len() <= 3);
        prop_assert!(said.iter().all(|answer| answer.expose().bytes().all(|b| b.is_ascii_graphic())));
    }

    /// A server that only wants to be believed is not.
    #[test]
    fn no_server_without_the_password_is_proven(signature in any::<[u8; 32]>(), salt in any::<[u8; 8]>()) {
        let mut exchange = start(Mechanism::ScramSha256, "u", "p");
        exchange.initial();
        let nonce = STANDARD.encode(b"0123456789abcdefghijklmn");
        let first = format!("r={nonce}more,s={},i=4096", STANDARD.encode(salt));
        exchange.step(STANDARD.encode(first).as_bytes()).unwrap();
        let last = format!("v={}", STANDARD.encode(signature));
        prop_assert_eq!(exchange.step(STANDARD.encode(last).as_bytes()), Err(SaslError::Unproven));
        prop_assert!(exchange.finish().is_err());
    }
}
