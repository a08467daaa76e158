//! SCRAM (RFC 5802, RFC 7677), without channel binding: both sides prove that they know the password, and neither sends it.

use super::{Credentials, SaslError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Fewer make the password cheap to guess for whoever records the login (RFC 7677 §4).
pub(super) const ITERATIONS_MIN: u64 = 4096;
/// More are no protection but an attack: a second of one processor is far above what servers ask for.
pub(super) const ITERATIONS_MAX: u64 = 1_000_000;
/// "n,,": no channel binding, no other identity.
const GS2_HEADER: &str = "n,,";
/// The same in base 64.
const CHANNEL_BINDING: &str = "biws";

/// The hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

pub(super) struct Scram {
    hash: Hash,
    password: crate::mail::Secret,
    nonce: String,
    first_bare: String,
    state: State,
    failure: Option<String>,
}

#[derive(PartialEq, Eq)]
enum State {
    /// The server's nonce, salt and iterations are to come.
    First,
    /// The server's proof is to come; what it is over, and the key it is made with.
    Final {
        key: Vec<u8>,
        message: Vec<u8>,
    },
    Proven,
    Failed,
}

impl Scram {
    pub(super) fn new(hash: Hash, credentials: &Credentials) -> Scram {
        Scram::with_nonce(hash, credentials, STANDARD.encode(credentials.random))
    }

    fn with_nonce(hash: Hash, credentials: &Credentials, nonce: String) -> Scram {
        let first_bare = format!("n={},r={nonce}", saslname(&prepared(&credentials.username)));
        let password = crate::mail::Secret::new(prepared(credentials.password.expose()));
        Scram { hash, password, nonce, first_bare, state: State::First, failure: None }
    }

    /// client-first-message
    pub(super) fn first(&self) -> String {
        format!("{GS2_HEADER}{}", self.first_bare)
    }

    pub(super) fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let text = std::str::from_utf8(challenge).map_err(|_| SaslError::Malformed("the server's SCRAM message is not UTF-8"))?;
        match std::mem::replace(&mut self.state, State::Failed) {
            State::First => self.prove(text),
            State::Final { key, message } => self.check(text, &key, &message),
            State::Proven | State::Failed => Err(SaslError::Malformed("the server asks for more than SCRAM has")),
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.state == State::Proven
    }

    /// The server's error, if it named one.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// client-final-message, for this server-first-message.
    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, SaslError> {
        let malformed = SaslError::Malformed("the server's first SCRAM message is malformed");
        let mut parts = server_first.split(',');
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(malformed.clone())?;
        let salt = parts.next().and_then(|part| part.strip_prefix("s=")).and_then(|salt| STANDARD.decode(salt).ok()).ok_or(malformed.clone())?;
        let iterations = parts.next().and_then(|part| part.strip_prefix("i=")).ok_or(malformed.clone())?;
        // RFC 5802 §5.1: one that does not go on from ours is an answer to somebody else.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) || !nonce.bytes().all(|octet| matches!(octet, b'!'..=b'~')) {
            return Err(SaslError::Malformed("the server's SCRAM nonce does not extend ours"));
        }
        if salt.is_empty() || iterations.is_empty() || !iterations.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(malformed);
        }
        let iterations = iterations.parse::<u64>().unwrap_or(u64::MAX);
        let rounds = match u32::try_from(iterations) {
            Ok(rounds) if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) => rounds,
            _ => return Err(SaslError::Iterations(iterations)),
        };
        let hash = self.hash;
        let without_proof = format!("c={CHANNEL_BINDING},r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare).into_bytes();
        let salted = hash.salted(self.password.expose().as_bytes(), &salt, rounds);
        let client_key = hash.keyed(&salted, b"Client Key");
        let signature = hash.keyed(&hash.plain(&client_key), &message);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.state = State::Final { key: hash.keyed(&salted, b"Server Key"), message };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// The server's proof; the answer is empty.
    fn check(&mut self, server_final: &str, key: &[u8], message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let part = server_final.split(',').next().unwrap_or_default();
        if let Some(error) = part.strip_prefix("e=") {
            // A refusal: an empty answer lets the server say it in the protocol's own words.
            self.failure = Some(error.to_owned());
            return Ok(Vec::new());
        }
        let signature = part.strip_prefix("v=").and_then(|signature| STANDARD.decode(signature).ok());
        let signature = signature.ok_or(SaslError::Malformed("the server's last SCRAM message is malformed"))?;
        if !self.hash.verifies(key, message, &signature) {
            return Err(SaslError::Unproven);
        }
        self.state = State::Proven;
        Ok(Vec::new())
    }
}

impl Hash {
    fn salted(self, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
        match self {
            Hash::Sha1 => {
                let mut out = vec![0; 20];
                pbkdf2_hmac::<Sha1>(password, salt, rounds, &mut out);
                out
            }
            Hash::Sha256 => {
                let mut out = vec![0; 32];
                pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut out);
                out
            }
        }
    }

    fn plain(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(octets).to_vec(),
            Hash::Sha256 => Sha256::digest(octets).to_vec(),
        }
    }

    fn keyed(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        fn of<M: Mac>(mac: Result<M, hmac::digest::InvalidLength>, message: &[u8]) -> Vec<u8> {
            // HMAC takes keys of any length.
            let Ok(mut mac) = mac else { return Vec::new() };
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Hash::Sha1 => of(<Hmac<Sha1> as Mac>::new_from_slice(key), message),
            Hash::Sha256 => of(<Hmac<Sha256> as Mac>::new_from_slice(key), message),
        }
    }

    /// In a time that says nothing about where they differ.
    fn verifies(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        fn of<M: Mac>(mac: Result<M, hmac::digest::InvalidLength>, message: &[u8], signature: &[u8]) -> bool {
            mac.is_ok_and(|mut mac| {
                mac.update(message);
                mac.verify_slice(signature).is_ok()
            })
        }
        match self {
            Hash::Sha1 => of(<Hmac<Sha1> as Mac>::new_from_slice(key), message, signature),
            Hash::Sha256 => of(<Hmac<Sha256> as Mac>::new_from_slice(key), message, signature),
        }
    }
}

/// By SASLprep (RFC 4013). What it forbids, or did not know in 2002, goes as it is: servers that prepare nothing have it that way too.
fn prepared(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// A name inside a SASL message (RFC 5802 §5.1).
pub(super) fn saslname(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Secret;

    fn scram(hash: Hash, username: &str, password: &str, nonce: &str) -> Scram {
        let credentials = Credentials {
            username: username.into(),
            password: Secret::new(password.into()),
            domain: None,
            host: "h".into(),
            port: 993,
            random: [0; 24],
            now: 0,
            service: "IMAP",
            end_point: None,
        };
        Scram::with_nonce(hash, &credentials, nonce.into())
    }

    /// RFC 5802 §5 and RFC 7677 §3.
    #[test]
    fn vectors_of_the_rfcs() {
        for (hash, nonce, first, answer, last) in [
            (
                Hash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Hash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let mut scram = scram(hash, "user", "pencil", nonce);
            assert_eq!(scram.first(), format!("n,,n=user,r={nonce}"));
            assert_eq!(String::from_utf8(scram.step(first.as_bytes()).unwrap()).unwrap(), answer);
            assert!(!scram.is_proven());
            assert_eq!(scram.step(last.as_bytes()).unwrap(), b"");
            assert!(scram.is_proven());
            assert!(scram.step(b"").is_err());
        }
    }

    #[test]
    fn f49_hostile_servers() {
        use SaslError::*;
        let malformed = |error: &SaslError| matches!(error, Malformed(_));
        for first in
            ["", "r=", "m=x,r=abcd,s=AAAA,i=4096", "r=abc,s=AAAA,i=4096", "r=xabcd,s=AAAA,i=4096", "r=abcd", "r=abcd,s=AAAA", "r=abcd,s=?,i=4096"]
                .iter()
                .chain(&[
                    "r=abcd,s=,i=4096",
                    "r=abcd,s=AAAA,i=",
                    "r=abcd,s=AAAA,i=-1",
                    "r=abcd,s=AAAA,i=+4096",
                    "r=ab\u{7f}cd,s=AAAA,i=4096",
                    "r=abcd,i=4096,s=AAAA",
                ])
        {
            let error = scram(Hash::Sha256, "u", "p", "abc").step(first.as_bytes()).unwrap_err();
            assert!(malformed(&error), "{first}: {error}");
        }
        for (iterations, number) in
            [("1", 1), ("4095", 4095), ("1000001", 1_000_001), ("1000000000", 1_000_000_000), ("99999999999999999999999", u64::MAX)]
        {
            let begun = std::time::Instant::now();
            let error = scram(Hash::Sha1, "u", "p", "abc").step(format!("r=abcd,s=AAAA,i={iterations}").as_bytes()).unwrap_err();
            assert_eq!(error, Iterations(number));
            assert!(begun.elapsed().as_secs() < 1);
        }
        for (last, error) in [
            ("v=AAAA", Unproven),
            ("v=", Unproven),
            ("v=?", Malformed("the server's last SCRAM message is malformed")),
            ("", Malformed("the server's last SCRAM message is malformed")),
        ] {
            let mut scram = scram(Hash::Sha256, "u", "p", "abc");
            scram.step(b"r=abcd,s=AAAA,i=4096").unwrap();
            assert_eq!(scram.step(last.as_bytes()), Err(error), "{last}");
            assert!(!scram.is_proven());
        }
        let mut scram = scram(Hash::Sha256, "u", "p", "abc");
        scram.step(b"r=abcd,s=AAAA,i=4096").unwrap();
        assert_eq!(scram.step(b"e=invalid-proof").unwrap(), b"");
        assert_eq!((scram.failure().as_deref(), scram.is_proven()), (Some("invalid-proof"), false));
    }

    #[test]
    fn names_are_prepared_and_escaped() {
        // RFC 4013 §3: I, a soft hyphen, X; the feminine ordinal.
        for (name, sent) in
            [("I\u{ad}X", "IX"), ("\u{aa}", "a"), ("a=b,c", "a=3Db=2Cc"), ("DOM\\user", "DOM\\user"), ("e\u{301}", "é"), ("a\u{7}", "a\u{7}")]
        {
            assert_eq!(scram(Hash::Sha1, name, "p", "abc").first(), format!("n,,n={sent},r=abc"), "{name}");
        }
    }
}
