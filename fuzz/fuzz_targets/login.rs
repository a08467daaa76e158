//! What servers say while we log in: the challenges of SASL mechanisms, the first octet tells which one, and those of web servers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::mail::Secret;
use mailgather::proto::challenge::{challenges, schemes};
use mailgather::proto::sasl::{Credentials, Exchange, Mechanism};

fuzz_target!(|input: &[u8]| {
    let Some((which, rest)) = input.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(rest) {
        assert!(!schemes(&challenges([text])).contains(char::is_control));
    }
    let mechanisms = [Mechanism::Ntlm, Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::CramMd5, Mechanism::OAuthBearer];
    let mechanism = mechanisms[usize::from(*which) % mechanisms.len()];
    let credentials = Credentials {
        username: "CORP\\tim".into(),
        password: Secret::new("pencil".into()),
        domain: None,
        host: "mail.corp.example".into(),
        port: 993,
        random: [7; 24],
        now: 1_800_000_000,
        service: "IMAP",
        end_point: None,
    };
    let Ok(mut exchange) = Exchange::new(mechanism, &credentials) else { return };
    let _ = exchange.initial();
    for challenge in rest.split(|octet| *octet == b'\n') {
        if exchange.step(challenge).is_err() {
            return;
        }
    }
    let _ = exchange.finish();
});
