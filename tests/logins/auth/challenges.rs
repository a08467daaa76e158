//! SASL at scripted peers: servers that do not know the password, and challenges that are hostile or odd.

use super::*;
use hmac::{Hmac, Mac};
use md5::Md5;
use std::time::{Duration, Instant};

/// A SCRAM-SHA-256 server for the password "pencil" that can do each step wrong.
struct ScramServer {
    step: usize,
    iterations: &'static str,
    foreign_nonce: bool,
    right: bool,
    early_ok: bool,
    key: Vec<u8>,
    message: String,
}

impl ScramServer {
    fn new() -> ScramServer {
        ScramServer { step: 0, iterations: "4096", foreign_nonce: false, right: true, early_ok: false, key: vec![], message: String::new() }
    }

    fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    /// The answer to a client's message: a challenge, or `None` for OK.
    fn answer(&mut self, message: &[u8]) -> Option<String> {
        self.step += 1;
        let text = String::from_utf8(message.to_vec()).unwrap();
        match self.step {
            1 => {
                let bare = text.strip_prefix("n,,").unwrap();
                let nonce = bare.split_once("r=").unwrap().1;
                let nonce = if self.foreign_nonce { "somebody-elses" } else { nonce };
                let first = format!("r={nonce}SERVER,s={},i={}", STANDARD.encode("salt"), self.iterations);
                self.message = format!("{bare},{first}");
                Some(first)
            }
            2 => {
                let (without_proof, proof) = text.rsplit_once(",p=").unwrap();
                let mut salted = [0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", b"salt", 4096, &mut salted);
                let message = format!("{},{without_proof}", self.message);
                let client_key = Self::keyed(&salted, b"Client Key");
                let signature = Self::keyed(&Sha256::digest(&client_key), message.as_bytes());
                let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
                assert_eq!(STANDARD.decode(proof).unwrap(), expected, "our proof is right");
                if self.early_ok {
                    return None;
                }
                self.key = Self::keyed(&salted, b"Server Key");
                let mut signature = Self::keyed(&self.key, message.as_bytes());
                if !self.right {
                    signature[0] ^= 1;
                }
                Some(format!("v={}", STANDARD.encode(signature)))
            }
            _ => None,
        }
    }
}

/// A login at a scripted server: `respond` gets the decoded messages of the client, and says the next challenge or OK.
async fn scripted(
    protocol: Protocol,
    method: AuthMethod,
    mechanism: &'static str,
    secret: &'static str,
    mut respond: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> (Attempt, Heard) {
    let mut busy = false;
    let answer = move |command: &str| {
        let begins = command.starts_with("AUTHENTICATE ") || command.starts_with("AUTH ");
        if !begins && !busy {
            return match command {
                "CAPA" => format!("+OK\r\nUIDL\r\nSASL {mechanism}\r\n.\r\n"),
                _ if protocol == Protocol::Imap => imap_answer(command),
                _ => pop3_answer(command),
            };
        }
        busy = command != "*";
        if !busy {
            return cancelled(protocol);
        }
        let message = match (begins, command.split(' ').nth(2)) {
            (true, None) => return "+ \r\n".into(),
            (true, Some(initial)) => STANDARD.decode(initial).unwrap(),
            (false, _) => STANDARD.decode(command).unwrap_or_else(|_| panic!("{command}")),
        };
        match respond(&message) {
            Some(challenge) => format!("+ {}\r\n", STANDARD.encode(challenge)),
            None => {
                busy = false;
                if protocol == Protocol::Imap { "@ OK in\r\n".into() } else { "+OK in\r\n".into() }
            }
        }
    };
    let (channel, heard) = peer(&greeting(protocol, "IMAP4rev1 SASL-IR", mechanism), answer);
    let mut server = server(protocol, 1, TlsMode::Implicit, method);
    server.auth.domain = Some("Domain".into());
    server.username = "User".into();
    (attempt_over(channel, &server, secret).await, heard)
}

fn cancelled(protocol: Protocol) -> String {
    if protocol == Protocol::Imap { "@ BAD cancelled\r\n".into() } else { "-ERR cancelled\r\n".into() }
}

#[tokio::test]
async fn f49_scram_servers_that_do_not_know_the_password_are_not_believed() {
    for protocol in BOTH {
        for (change, kind, words) in [
            ("none", None, ""),
            ("signature", Some(Kind::Auth), "did not prove"),
            ("early ok", Some(Kind::Auth), "did not prove"),
            ("iterations", Some(Kind::Protocol), "1000000000 iterations"),
            ("few iterations", Some(Kind::Protocol), "1 iterations"),
            ("nonce", Some(Kind::Protocol), "does not extend ours"),
        ] {
            let mut scram = ScramServer::new();
            match change {
                "signature" => scram.right = false,
                "early ok" => scram.early_ok = true,
                "iterations" => scram.iterations = "1000000000",
                "few iterations" => scram.iterations = "1",
                "nonce" => scram.foreign_nonce = true,
                _ => {}
            }
            let begun = Instant::now();
            let respond = move |message: &[u8]| scram.answer(message).map(String::into_bytes);
            let (attempt, heard) = scripted(protocol, AuthMethod::Scram, "SCRAM-SHA-256", "pencil", respond).await;
            assert!(begun.elapsed() < Duration::from_secs(10), "{change}: no CPU bomb");
            match kind {
                None => attempt.result.unwrap(),
                Some(kind) => {
                    let error = attempt.error();
                    assert_eq!((error.kind, error.stage), (kind, "login"), "{change}: {error}");
                    assert!(error.to_string().contains(words), "{change}: {error}");
                    let said = heard.lines();
                    assert_eq!(said.iter().any(|line| line == "*"), change != "early ok", "{change}: {said:?}");
                    // No second mechanism, no second try, and no mail.
                    assert_eq!(said.iter().filter(|line| line.starts_with("AUTH")).count(), 1);
                    assert!(!said.iter().any(|line| line.starts_with("SELECT") || line.starts_with("STAT")), "{said:?}");
                }
            }
        }
    }
}

/// A CHALLENGE_MESSAGE with a target name pair, and a time if asked for.
fn ntlm_challenge(with_time: bool) -> Vec<u8> {
    let mut info = vec![2, 0, 2, 0, b'D', 0];
    if with_time {
        info.extend([7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    info.extend([0; 4]);
    let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
    message.extend([0; 8]);
    message.extend(0x0080_0201u32.to_le_bytes());
    message.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    message.extend([0; 8]);
    message.extend((info.len() as u16).to_le_bytes());
    message.extend((info.len() as u16).to_le_bytes());
    message.extend(56u32.to_le_bytes());
    message.extend([0; 8]);
    message.extend(info);
    message
}

/// The user, domain and password of MS-NLMP §4.2.1, whose NTOWFv2 stands in §4.2.4.1.1.
#[tokio::test]
async fn c9_ntlm_with_the_key_of_ms_nlmp() {
    const KEY: [u8; 16] = [0x0c, 0x86, 0x8a, 0x40, 0x3b, 0xfd, 0x7a, 0x93, 0xa3, 0x00, 0x1e, 0xf2, 0x2e, 0xf0, 0x2e, 0x3f];
    for protocol in BOTH {
        for with_time in [false, true] {
            let mut step = 0;
            let respond = move |message: &[u8]| {
                step += 1;
                assert_eq!(&message[..8], b"NTLMSSP\0");
                if step == 1 {
                    assert_eq!(message[8], 1);
                    return Some(ntlm_challenge(with_time));
                }
                let field = |at: usize| {
                    let number = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap()) as usize;
                    message[number(at + 4)..number(at + 4) + (number(at) & 0xffff)].to_vec()
                };
                let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
                assert_eq!((message[8], field(28), field(36)), (3, utf16("Domain"), utf16("User")));
                let nt = field(20);
                let mut mac = Hmac::<Md5>::new_from_slice(&KEY).unwrap();
                mac.update(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
                mac.update(&nt[16..]);
                assert_eq!(nt[..16], mac.finalize().into_bytes()[..], "NTProofStr");
                None
            };
            let (attempt, _) = scripted(protocol, AuthMethod::Ntlm, "NTLM", "Password", respond).await;
            attempt.result.unwrap();
        }
    }
}

#[tokio::test]
async fn f49_hostile_ntlm_challenges_end_the_login() {
    let good = ntlm_challenge(true);
    let mut far = good.clone();
    far[44..48].fill(0xff);
    for bad in [b"".to_vec(), b"NTLMSSP\0".to_vec(), good[..40].to_vec(), far, vec![0xff; 4096], b"NTLM error 42".to_vec()] {
        for protocol in BOTH {
            let (bad, mut step) = (bad.clone(), 0);
            let respond = move |_: &[u8]| {
                step += 1;
                (step == 1).then(|| bad.clone())
            };
            let (attempt, heard) = scripted(protocol, AuthMethod::Ntlm, "NTLM", "Password", respond).await;
            let error = attempt.error();
            // POP3 has shorter lines.
            assert!(error.kind == Kind::Protocol, "{error}");
            let lines = heard.lines();
            assert!(lines.last().is_some_and(|line| line == "*") || error.to_string().contains("no answer of a POP3 server"), "{lines:?} {error}");
        }
    }
}

#[tokio::test]
async fn f49_odd_challenges_are_cancelled_and_nothing_weaker_follows() {
    for (method, mechanism, challenges) in [
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ PDE4\tOTY+\r\n"][..]),
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ \0\r\n"]),
        (AuthMethod::CramMd5, "CRAM-MD5 PLAIN", &["+ PDE4OTY+\r\n", "+ PDE4OTY+\r\n"]),
        (AuthMethod::Login, "LOGIN PLAIN", &["+ \r\n", "+ \r\n", "+ \r\n"]),
        (AuthMethod::Scram, "SCRAM-SHA-1 PLAIN", &["+ \r\n", "+ !!!\r\n"]),
        (AuthMethod::Plain, "PLAIN LOGIN", &["+ \r\n", "+ more\r\n"]),
        (AuthMethod::OAuth2, "XOAUTH2 PLAIN", &["+ \r\n", "+ e30=\r\n", "+ e30=\r\n"]),
    ] {
        for protocol in BOTH {
            let mut left = challenges.iter();
            let answer = move |command: &str| match command {
                "CAPA" => format!("+OK\r\nUIDL\r\nSASL {mechanism}\r\n.\r\n"),
                "*" => cancelled(protocol),
                _ => left.next().map_or_else(|| "@ OK in\r\n".into(), ToString::to_string),
            };
            let (channel, heard) = peer(&greeting(protocol, "IMAP4rev1", mechanism), answer);
            let mut server = server(protocol, 1, TlsMode::Implicit, method);
            server.username = "u".into();
            let error = attempt_over(channel, &server, "token").await.error();
            assert_eq!((error.kind, error.stage), (Kind::Protocol, "login"), "{protocol:?} {method:?}: {error}");
            let lines = heard.lines();
            assert_eq!(lines.iter().filter(|line| line.starts_with("AUTH") || line.starts_with("LOGIN") || line.starts_with("USER")).count(), 1);
            assert_eq!(lines.last().map(String::as_str), Some("*"), "{method:?} {lines:?}");
        }
    }
}
