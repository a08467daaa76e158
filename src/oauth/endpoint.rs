//! A token endpoint: one POST for each question, nothing followed, nothing kept open.

use super::answer::{ANSWER_OCTETS_MAX, DeviceCode, Granted, Refused, device_code, granted};
use super::hidden::Hidden;
use crate::config::{Tls, WebPlace};
use crate::mail::Secret;
use crate::net::{self, HttpAnswer, HttpError};
use std::time::Duration;
use tokio::time::timeout;

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

    /// True if nothing was given for sure: the server said so, or was never asked.
    pub fn gave_nothing(&self) -> bool {
        match self {
            AskError::Refused(refused) => refused.gave_nothing(),
            AskError::Http(error) => matches!(error, HttpError::NoSuchHost | HttpError::Dns(_) | HttpError::Dial(_)),
            AskError::Timeout => false,
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
    Ok(granted(status, retry_after, &body, &Hidden::of(form))?)
}

/// Asks for a code that a person types.
pub async fn code(place: &WebPlace, form: &Secret) -> Result<DeviceCode, AskError> {
    let HttpAnswer { status, retry_after, body } = ask(place, form).await?;
    Ok(device_code(status, retry_after, &body, &Hidden::of(form))?)
}

/// Gives a token back (RFC 7009 §2.2).
pub async fn give_back(place: &WebPlace, form: &Secret) -> Result<(), AskError> {
    let HttpAnswer { status, retry_after, body } = ask(place, form).await?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    // What is not a grant says why.
    granted(status, retry_after, &body, &Hidden::of(form)).map(|_| ()).map_err(AskError::from)
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
    fn who_was_never_asked_gave_nothing() {
        for (error, gave_nothing) in [
            (HttpError::NoSuchHost.into(), true),
            (HttpError::Broken("cut off".to_owned()).into(), false),
            (HttpError::TooLong(1).into(), false),
            (AskError::Timeout, false),
            (Refused::SlowDown.into(), true),
        ] {
            assert_eq!(error.gave_nothing(), gave_nothing, "{error}");
        }
    }
}
