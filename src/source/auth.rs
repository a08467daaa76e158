//! What both protocols share of logging in: the one way that is tried, and what a mechanism needs.

use super::{SourceError, SourceErrorKind};
use crate::config::{Auth, AuthMethod, Protocol, Server};
use crate::mail::Secret;
use crate::net::{self, Channel};
use crate::proto::sasl::{Credentials, Exchange, Mechanism, Mechanisms, SaslError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `auto` chooses from, the strongest first.
const AUTO: [Mechanism; 5] = [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];
/// Most answers to challenges in one exchange: SCRAM has three.
pub(super) const STEPS_MAX: usize = 6;

/// How to log in. It is chosen before the first try, and there is no second one: that could lock the account, and a server that refuses
/// the strong way must not get the weak one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// LOGIN (IMAP), USER and PASS (POP3).
    Command,
    /// A SASL mechanism.
    Sasl(Mechanism),
    /// POP3 only.
    Apop,
    /// Nothing.
    None,
}

/// The way for what the server offers; `None` if it does not say. `command` is false where the protocol's own command is switched off. The
/// error says what is missing.
pub(super) fn choose(auth: &Auth, offered: Option<Mechanisms>, command: bool) -> Result<Way, String> {
    let usable = offered.unwrap_or_default().without(&auth.disable);
    let own_command = || if command { Ok(Way::Command) } else { Err("the server has disabled LOGIN".to_owned()) };
    // Of a server that does not say what it offers, the mechanism that was asked for is believed to be there.
    let one_of = |mechanisms: &[Mechanism]| {
        let mut allowed = mechanisms.iter().filter(|mechanism| !auth.disable.iter().any(|name| name.eq_ignore_ascii_case(mechanism.name())));
        let found = allowed.find(|mechanism| offered.is_none() || usable.has(**mechanism));
        found.map(|mechanism| Way::Sasl(*mechanism)).ok_or_else(|| {
            let names: Vec<_> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
            format!("the server does not offer {}; it offers {}", names.join(" or "), offered.unwrap_or_default())
        })
    };
    match auth.method {
        AuthMethod::Auto => match AUTO.into_iter().find(|mechanism| usable.has(*mechanism)) {
            Some(mechanism) => Ok(Way::Sasl(mechanism)),
            None => own_command(),
        },
        AuthMethod::Password => own_command(),
        AuthMethod::Plain => one_of(&[Mechanism::Plain]),
        AuthMethod::Login => one_of(&[Mechanism::Login]),
        AuthMethod::CramMd5 => one_of(&[Mechanism::CramMd5]),
        AuthMethod::Scram => one_of(&[Mechanism::ScramSha256, Mechanism::ScramSha1]),
        AuthMethod::Ntlm => one_of(&[Mechanism::Ntlm]),
        // Most who offer anything offer XOAUTH2.
        AuthMethod::OAuth2 if offered.is_none() => one_of(&[Mechanism::XOAuth2, Mechanism::OAuthBearer]),
        AuthMethod::OAuth2 => one_of(&[Mechanism::OAuthBearer, Mechanism::XOAuth2]),
        AuthMethod::External => one_of(&[Mechanism::External]),
        AuthMethod::Apop => Ok(Way::Apop),
        AuthMethod::None => Ok(Way::None),
    }
}

/// An error if a secret would go over a channel that others can read. Also of a mechanism that only proves that we know it: whoever has
/// recorded the proof can guess at leisure.
pub(super) fn guard(server: &Server, private: bool, peer: &str) -> Result<(), SourceError> {
    guard_channel(&server.auth, private, peer)
}

/// The same, for who has no [`Server`].
pub(super) fn guard_channel(auth: &Auth, private: bool, peer: &str) -> Result<(), SourceError> {
    if private || auth.allow_plaintext || !auth.method.has_secret() {
        return Ok(());
    }
    let error = SourceError::new(SourceErrorKind::Tls, "login", peer, "the password would go over a channel that anybody can read");
    Err(error.hint("use `tls: {mode: implicit}` or `starttls`; if the line is trusted: `auth: {allow_plaintext: true}`"))
}

/// Prepares an exchange with this secret.
pub(super) fn exchange(mechanism: Mechanism, server: &Server, secret: &Secret, channel: &Channel, peer: &str) -> Result<Exchange, SourceError> {
    let credentials = Credentials {
        username: server.username.clone(),
        password: secret.clone(),
        domain: server.auth.domain.clone(),
        host: server.host.clone(),
        port: server.port,
        random: net::random_octets().map_err(|error| SourceError::dial("login", peer, error))?,
        now: seconds_since_1970(),
        service: if server.protocol == Protocol::Pop3 { "POP" } else { "IMAP" },
        end_point: net::end_point_binding(channel),
    };
    Exchange::new(mechanism, &credentials).map_err(|error| failed(peer, mechanism, &error))
}

/// The time, for who must say it.
pub(super) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// One step. PBKDF2 keeps a processor busy, so it has a thread of its own.
pub(super) async fn step(mut exchange: Exchange, challenge: Vec<u8>) -> Result<(Exchange, Secret), SaslError> {
    let is_scram = matches!(exchange.mechanism(), Mechanism::ScramSha256 | Mechanism::ScramSha1);
    let work = move || exchange.step(&challenge).map(|answer| (exchange, answer));
    if !is_scram {
        return work();
    }
    // A task that panicked or was cancelled has no answer.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SaslError::Malformed("the answer could not be worked out")))
}

/// The error of an exchange that we ended.
pub(super) fn failed(peer: &str, mechanism: Mechanism, error: &SaslError) -> SourceError {
    let text = format!("{}: {error}", mechanism.name());
    match error {
        SaslError::Unsendable(_) => SourceError::no_secret(peer, text),
        SaslError::Unproven => SourceError::new(SourceErrorKind::Auth, "login", peer, text),
        SaslError::Malformed(_) | SaslError::Iterations(_) => SourceError::new(SourceErrorKind::Protocol, "login", peer, text),
    }
}

/// Adds to a refused login what the mechanism knows about it.
pub(super) fn refused(error: SourceError, exchange: &Exchange) -> SourceError {
    let name = exchange.mechanism().name();
    let error = match exchange.failure() {
        Some(failure) => {
            let server = error.server.clone().unwrap_or_default();
            error.said(&format!("{server}; {name}: {failure}"))
        }
        None => error,
    };
    if matches!(exchange.mechanism(), Mechanism::XOAuth2 | Mechanism::OAuthBearer) && error.kind == SourceErrorKind::Auth {
        return error.hint(
            "the access token is refused: it has expired, or was made for another service, scope or mailbox: `mailgather test` reads it and says \
             which; look also whether IMAP and POP3 are allowed for the mailbox",
        );
    }
    // Hashed passwords on the server rule these out for good, however right the password is.
    let may_lack_it = matches!(exchange.mechanism(), Mechanism::ScramSha256 | Mechanism::ScramSha1 | Mechanism::CramMd5);
    match &error.hint {
        Some(hint) if may_lack_it && error.kind == SourceErrorKind::Auth => {
            let hint = format!("{hint}; a server that stores passwords in another form refuses {name} for good: `auth: {{disable: [{name}]}}`");
            error.hint(hint)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_strongest_and_nothing_else_is_weakened() {
        use AuthMethod::{Apop, Auto, CramMd5, External, Ntlm, OAuth2, Password, Plain, Scram};
        let sasl = |mechanism| Ok(Way::Sasl(mechanism));
        let all = "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 NTLM XOAUTH2 OAUTHBEARER EXTERNAL";
        for (method, disable, offered, command, wanted) in [
            (Auto, "", Some(all), true, sasl(Mechanism::ScramSha256)),
            (Auto, "SCRAM-SHA-256", Some(all), true, sasl(Mechanism::ScramSha1)),
            (Auto, "scram-sha-256 scram-sha-1", Some(all), true, sasl(Mechanism::CramMd5)),
            (Auto, "", Some("LOGIN PLAIN"), true, sasl(Mechanism::Plain)),
            (Auto, "plain", Some("LOGIN PLAIN"), true, sasl(Mechanism::Login)),
            (Auto, "plain login", Some("LOGIN PLAIN"), true, Ok(Way::Command)),
            (Auto, "plain login", Some("LOGIN PLAIN"), false, Err("disabled LOGIN")),
            (Auto, "", Some("NTLM GSSAPI"), true, Ok(Way::Command)),
            (Auto, "", None, true, Ok(Way::Command)),
            (Password, "", Some(all), true, Ok(Way::Command)),
            (Password, "", Some(all), false, Err("disabled LOGIN")),
            (Plain, "", Some("LOGIN CRAM-MD5"), true, Err("does not offer PLAIN; it offers CRAM-MD5, LOGIN")),
            (CramMd5, "", Some("PLAIN LOGIN"), true, Err("does not offer CRAM-MD5; it offers PLAIN, LOGIN")),
            (Scram, "", Some("SCRAM-SHA-1 PLAIN"), true, sasl(Mechanism::ScramSha1)),
            (Scram, "", Some("PLAIN"), true, Err("does not offer SCRAM-SHA-256 or SCRAM-SHA-1; it offers PLAIN")),
            (Scram, "", None, true, sasl(Mechanism::ScramSha256)),
            (Ntlm, "", Some("PLAIN"), true, Err("does not offer NTLM")),
            (OAuth2, "", Some(all), true, sasl(Mechanism::OAuthBearer)),
            (OAuth2, "OAUTHBEARER", Some(all), true, sasl(Mechanism::XOAuth2)),
            (OAuth2, "", Some("XOAUTH2 PLAIN"), true, sasl(Mechanism::XOAuth2)),
            (OAuth2, "", None, true, sasl(Mechanism::XOAuth2)),
            (External, "", Some("PLAIN"), true, Err("does not offer EXTERNAL")),
            (Apop, "", Some(all), true, Ok(Way::Apop)),
            (AuthMethod::None, "", Some(all), true, Ok(Way::None)),
        ] {
            let auth = Auth { method, disable: disable.split_whitespace().map(str::to_owned).collect(), ..Auth::default() };
            let offered = offered.map(|names| names.split(' ').collect::<Mechanisms>());
            match (choose(&auth, offered, command), wanted) {
                (Ok(way), Ok(wanted)) => assert_eq!(way, wanted, "{method:?} {disable}"),
                (Err(text), Err(words)) => assert!(text.contains(words), "{words}: {text}"),
                (got, wanted) => panic!("{method:?} {disable} {offered:?}: {got:?}, wanted {wanted:?}"),
            }
        }
    }
}
