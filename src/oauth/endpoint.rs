//! A token endpoint: one POST for each question, nothing followed, nothing kept open.

use super::answer::{ANSWER_OCTETS_MAX, DeviceCode, Granted, Refused, device_code, granted};
use crate::config::{Tls, WebPlace};
use crate::mail::Secret;
use crate::net::{self, HttpAnswer, HttpError};
use std::time::Duration;
use tokio::time::timeout;

/// Fields of a form that nobody else may see.
const SECRET_FIELDS: [&str; 7] = ["client_secret", "client_assertion", "refresh_token", "assertion", "code", "code_verifier", "device_code"];
/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// The server said no.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// It could not be asked.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// It took too long.
    #[error("no whole answer in {} s", LIMIT.as_secs())]
    Timeout,
}

impl AskError {
    /// True if the same question may have another answer later.
    pub fn is_transient(&self) -> bool {
        match self {
            AskError::Refused(refused) => refused.is_transient(),
            AskError::Http(_) | AskError::Timeout => true,
        }
    }

    /// How long the server wants to be left alone.
    pub fn after(&self) -> Option<Duration> {
        match self {
            AskError::Refused(Refused::Unavailable { after, .. }) => *after,
            _ => None,
        }
    }
}

/// Asks for tokens.
pub async fn tokens(place: &WebPlace, form: &Secret) -> Result<Granted, AskError> {
    let HttpAnswer { status, retry_after, body } = ask(place, form).await?;
    Ok(granted(status, retry_after, &body).map_err(|refused| without_secrets(refused, form))?)
}

/// Asks for a code that a person types.
pub async fn code(place: &WebPlace, form: &Secret) -> Result<DeviceCode, AskError> {
    let HttpAnswer { status, retry_after, body } = ask(place, form).await?;
    Ok(device_code(status, retry_after, &body).map_err(|refused| without_secrets(refused, form))?)
}

/// A server may repeat what it was asked with: what is secret of that is told to nobody.
fn without_secrets(refused: Refused, form: &Secret) -> Refused {
    let secrets: Vec<_> =
        form_urlencoded::parse(form.expose().as_bytes()).filter(|(name, value)| SECRET_FIELDS.contains(&&**name) && !value.is_empty()).collect();
    let clean = |words: String| secrets.iter().fold(words, |words, (_, secret)| words.replace(&**secret, "***"));
    match refused {
        Refused::InvalidGrant(words) => Refused::InvalidGrant(clean(words)),
        Refused::Unavailable { status, words, after } => Refused::Unavailable { status, words: clean(words), after },
        Refused::Denied { error, words } => Refused::Denied { error: clean(error), words: clean(words) },
        Refused::Strange(words) => Refused::Strange(clean(words)),
        Refused::Pending | Refused::SlowDown => refused,
    }
}

/// Gives a token back (RFC 7009 §2.2).
pub async fn give_back(place: &WebPlace, form: &Secret) -> Result<(), AskError> {
    let HttpAnswer { status, retry_after, body } = ask(place, form).await?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    // What is not a grant says why.
    granted(status, retry_after, &body).map(|_| ()).map_err(AskError::from)
}

async fn ask(place: &WebPlace, form: &Secret) -> Result<HttpAnswer, AskError> {
    let asking = async {
        let channel = net::to_place(place, &Tls::default(), LIMIT).await?;
        net::submit(channel, place, form, ANSWER_OCTETS_MAX).await
    };
    Ok(timeout(LIMIT, asking).await.map_err(|_| AskError::Timeout)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_not_told() {
        let form = Secret::new("grant_type=refresh_token&refresh_token=r%2F1&client_id=me&client_secret=s3".to_owned());
        let refused = without_secrets(Refused::InvalidGrant("me: r/1 of s3 has expired".to_owned()), &form);
        assert_eq!(refused, Refused::InvalidGrant("me: *** of *** has expired".to_owned()));
    }
}
