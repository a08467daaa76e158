//! SASL as a client (RFC 4422), as far as the protocols share it: who says what next, without any I/O.
//!
//! ```text
//! Exchange::new ─ initial() ─▶ … step(challenge) ─▶ … the server's OK ─ finish()
//! ```
//!
//! Everything that comes from the server is hostile: challenges are bounded, work is bounded (PBKDF2 iterations), and an OK that comes before the
//! server has proved what its mechanism lets it prove is no success.

mod apop;
mod bearer;
mod cram;
mod mechanism;
mod ntlm;
mod scram;

pub use apop::{apop, timestamp};
pub use mechanism::{Mechanism, Mechanisms};

use crate::mail::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest challenge that is read, in base 64.
pub const CHALLENGE_OCTETS_MAX: usize = 16 * 1024;

/// What a login needs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The login name; for NTLM it may be `DOMAIN\name`.
    pub username: String,
    /// The password, or the access token.
    pub password: Secret,
    /// The Windows domain, for NTLM.
    pub domain: Option<String>,
    /// The server, which OAUTHBEARER names.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Random octets from a generator that nobody can predict.
    pub random: [u8; 24],
    /// Seconds since 1970, for NTLM.
    pub now: u64,
    /// The class of service that NTLM names together with `host`: `HTTP`, `IMAP`, `POP`.
    pub service: &'static str,
    /// What NTLM binds its proof to: the TLS channel's `tls-server-end-point` (RFC 5929 §4), a hash of the server's certificate.
    pub end_point: Option<Vec<u8>>,
}

/// Why an exchange cannot go on. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Name, password or token hold something that the mechanism cannot carry.
    #[error("{0}, which this mechanism cannot send")]
    Unsendable(&'static str),
    /// The server said something that the mechanism does not allow.
    #[error("{0}")]
    Malformed(&'static str),
    /// The server wants more work than any honest server does.
    #[error("the server wants {0} iterations of PBKDF2; from {min} to {max} are taken", min = scram::ITERATIONS_MIN, max = scram::ITERATIONS_MAX)]
    Iterations(u64),
    /// The server did not prove that it knows the password itself.
    #[error("the server did not prove that it knows the password: it may be somebody else's")]
    Unproven,
}

/// One login by one mechanism.
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
    started: bool,
    failure: Option<String>,
}

enum State {
    Plain(Secret),
    Login {
        username: String,
        password: Secret,
        asked: u8,
    },
    Cram {
        username: String,
        password: Secret,
    },
    Scram(scram::Scram),
    Ntlm(ntlm::Ntlm),
    Bearer(Secret),
    External,
    /// Nothing is left to say.
    Spent,
}

impl Exchange {
    /// Prepares a login.
    pub fn new(mechanism: Mechanism, credentials: &Credentials) -> Result<Exchange, SaslError> {
        let Credentials { username, password, .. } = credentials;
        let state = match mechanism {
            Mechanism::Plain => {
                State::Plain(plain_message(username, password).ok_or(SaslError::Unsendable("the login name or the password has a NUL in it"))?)
            }
            Mechanism::Login => State::Login { username: username.clone(), password: password.clone(), asked: 0 },
            Mechanism::CramMd5 => State::Cram { username: username.clone(), password: password.clone() },
            Mechanism::ScramSha256 => State::Scram(scram::Scram::new(scram::Hash::Sha256, credentials)),
            Mechanism::ScramSha1 => State::Scram(scram::Scram::new(scram::Hash::Sha1, credentials)),
            Mechanism::Ntlm => State::Ntlm(ntlm::Ntlm::new(credentials)?),
            Mechanism::XOAuth2 => State::Bearer(bearer::xoauth2(username, password)?),
            Mechanism::OAuthBearer => State::Bearer(bearer::oauthbearer(credentials)?),
            Mechanism::External => State::External,
        };
        Ok(Exchange { mechanism, state, started: false, failure: None })
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What may go along with the command (RFC 4959, RFC 5034 §4), in base 64; `=` stands for nothing. `None` if the server speaks first.
    pub fn initial(&mut self) -> Option<Secret> {
        let first = self.first()?;
        Some(if first.expose().is_empty() { Secret::new("=".into()) } else { first })
    }

    /// The answer to a challenge, both in base 64 (RFC 4422 §3).
    pub fn step(&mut self, challenge: &[u8]) -> Result<Secret, SaslError> {
        if challenge.len() > CHALLENGE_OCTETS_MAX {
            return Err(SaslError::Malformed("the server's challenge is too long"));
        }
        // The challenge that only asks for the first message ought to be empty; what some servers write there means nothing.
        if !self.started
            && let Some(first) = self.first()
        {
            return Ok(first);
        }
        self.started = true;
        // The prompts of LOGIN are in base 64, in plain text or empty, as each server likes; only their order counts.
        if let State::Login { username, password, asked } = &mut self.state {
            *asked += 1;
            return match asked {
                1 => Ok(encode(username.as_bytes())),
                2 => Ok(encode(password.expose().as_bytes())),
                _ => Err(SaslError::Malformed("the server asks for more than a name and a password")),
            };
        }
        let challenge = STANDARD.decode(challenge.trim_ascii()).map_err(|_| SaslError::Malformed("the server's challenge is not base 64"))?;
        match std::mem::replace(&mut self.state, State::Spent) {
            State::Cram { username, password } => Ok(encode(cram::response(&username, &password, &challenge).as_bytes())),
            State::Scram(mut scram) => {
                let answer = scram.step(&challenge)?;
                self.failure = scram.failure();
                self.state = State::Scram(scram);
                Ok(encode(&answer))
            }
            State::Ntlm(ntlm) => Ok(encode(&ntlm.authenticate(&challenge)?)),
            // The error of a token: one dummy answer, and the server says NO (RFC 7628 §3.2.3; XOAUTH2 wants an empty line).
            State::Bearer(_) => {
                self.failure = Some(String::from_utf8_lossy(&challenge).into_owned());
                Ok(if self.mechanism == Mechanism::OAuthBearer { encode(b"\x01") } else { encode(b"") })
            }
            State::Plain(_) | State::Login { .. } | State::External | State::Spent => {
                Err(SaslError::Malformed("the server asks for more than the mechanism has"))
            }
        }
    }

    /// The server says OK: is it one?
    pub fn finish(&self) -> Result<(), SaslError> {
        let proves = matches!(self.mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha1);
        match &self.state {
            State::Scram(scram) if scram.is_proven() => Ok(()),
            _ if proves => Err(SaslError::Unproven),
            _ => Ok(()),
        }
    }

    /// What the server gave as the reason of a failure, inside the mechanism.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The first message of a mechanism in which the client speaks first; once.
    fn first(&mut self) -> Option<Secret> {
        if std::mem::replace(&mut self.started, true) {
            return None;
        }
        let first = match &self.state {
            State::Plain(message) | State::Bearer(message) => encode(message.expose().as_bytes()),
            State::Scram(scram) => encode(scram.first().as_bytes()),
            State::Ntlm(_) => encode(&ntlm::NEGOTIATE),
            // Who we are is in the certificate (RFC 4422 appendix A).
            State::External => encode(b""),
            State::Login { .. } | State::Cram { .. } | State::Spent => {
                self.started = false;
                return None;
            }
        };
        if !matches!(self.state, State::Scram(_) | State::Ntlm(_) | State::Bearer(_)) {
            self.state = State::Spent;
        }
        Some(first)
    }
}

fn encode(octets: &[u8]) -> Secret {
    Secret::new(STANDARD.encode(octets))
}

/// The one message of PLAIN (RFC 4616 §2) in base 64: no authorisation identity, login name, password. `None` if one of them holds a NUL,
/// which PLAIN cannot carry.
pub fn plain(username: &str, password: &Secret) -> Option<Secret> {
    plain_message(username, password).map(|message| encode(message.expose().as_bytes()))
}

fn plain_message(username: &str, password: &Secret) -> Option<Secret> {
    if username.contains('\0') || password.expose().contains('\0') {
        return None;
    }
    Some(Secret::new(format!("\0{username}\0{}", password.expose())))
}

#[cfg(test)]
mod tests;
