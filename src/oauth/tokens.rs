//! The tokens of one collector: what is kept of a grant, and when the next one is due.

use super::answer::Granted;
use crate::mail::Secret;
use serde_json::{Value, json};
use std::time::Duration;

/// Of its life a token has this share left when it is renewed ahead of time: servers throttle and fail, and a session wants to outlive its login.
const RENEWED_AT_SHARE: u32 = 4;
/// But not earlier than this before its end.
const RENEWED_BEFORE_MAX: Duration = Duration::from_secs(10 * 60);
/// The form of the file.
const FORM: u64 = 1;

/// What is kept. All times in seconds of Unix time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Logs in.
    pub access: Secret,
    /// When it was granted.
    pub granted: i64,
    /// When it ends.
    pub expires: i64,
    /// Gets the next one.
    pub refresh: Option<Secret>,
    /// When this one was given.
    pub refresh_since: Option<i64>,
    /// For what.
    pub scope: Option<String>,
    /// For which client, endpoint and scopes: tokens of another configuration are not used.
    pub made_for: String,
    /// Until when the refresh token is good, if the server says so (Google: for programs that it has not verified, 7 days).
    pub refresh_until: Option<i64>,
    /// When the server was last asked for more, and had not answered yet: an answer may have been lost since.
    pub asked: Option<i64>,
    /// What the server said when it refused the refresh token for good: it is asked no more until somebody signs in anew.
    pub refused: Option<String>,
}

impl Tokens {
    /// What is kept of an answer; `before` is what was kept until then: a refresh token goes on until there is another (RFC 6749 §6).
    pub fn of(granted: Granted, now: i64, made_for: &str, before: Option<&Tokens>) -> Self {
        let old = before.and_then(|tokens| Some((tokens.refresh.clone()?, tokens.refresh_since)));
        let (refresh, refresh_since) = match (granted.refresh, old) {
            // Some servers send the same one with each answer: it grows old all the same.
            (Some(new), Some((old, since))) if new == old => (Some(old), since),
            (Some(new), _) => (Some(new), Some(now)),
            (None, Some((old, since))) => (Some(old), since),
            (None, None) => (None, None),
        };
        let life = i64::try_from(granted.life.as_secs()).unwrap_or(i64::MAX);
        Tokens {
            access: granted.access,
            granted: now,
            expires: now.saturating_add(life),
            refresh,
            refresh_since,
            scope: granted.scope.or_else(|| before.and_then(|tokens| tokens.scope.clone())),
            made_for: made_for.to_owned(),
            refresh_until: match granted.refresh_life {
                Some(life) => Some(now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX))),
                None => before.and_then(|tokens| tokens.refresh_until),
            },
            asked: None,
            refused: None,
        }
    }

    /// True while the access token can be used.
    pub fn is_good(&self, now: i64) -> bool {
        // A clock that was set back must not make a token eternal.
        now < self.expires && now >= self.granted.saturating_sub(24 * 3600)
    }

    /// True when it should be renewed, although it may still be good.
    pub fn is_due(&self, now: i64) -> bool {
        let life = self.expires.saturating_sub(self.granted).max(0);
        let ahead = (life / i64::from(RENEWED_AT_SHARE)).min(RENEWED_BEFORE_MAX.as_secs() as i64);
        !self.is_good(now) || now >= self.expires - ahead
    }

    /// As it is kept.
    pub fn written(&self) -> Secret {
        let text = json!({
            "form": FORM,
            "access_token": self.access.expose(),
            "granted": self.granted,
            "expires": self.expires,
            "refresh_token": self.refresh.as_ref().map(|token| token.expose()),
            "refresh_since": self.refresh_since,
            "scope": self.scope,
            "made_for": self.made_for,
            "refresh_until": self.refresh_until,
            "asked": self.asked,
            "refused": self.refused,
        });
        Secret::new(text.to_string())
    }

    /// As it was kept; the error says what is wrong and holds nothing of it.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
        if value["form"].as_u64() != Some(FORM) {
            return Err("it is of another version of mailgather");
        }
        let text = |name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let time = |name: &str| value[name].as_i64();
        Ok(Tokens {
            access: Secret::new(text("access_token").ok_or("it has no access token")?),
            granted: time("granted").ok_or("it does not say when its token was granted")?,
            expires: time("expires").ok_or("it does not say when its token ends")?,
            refresh: text("refresh_token").map(Secret::new),
            refresh_since: time("refresh_since"),
            scope: text("scope"),
            made_for: text("made_for").unwrap_or_default(),
            refresh_until: time("refresh_until"),
            asked: time("asked"),
            refused: text("refused"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(access: &str, refresh: Option<&str>) -> Granted {
        let secret = |text: &str| Secret::new(text.to_owned());
        Granted { access: secret(access), life: Duration::from_secs(3600), refresh: refresh.map(secret), refresh_life: None, scope: None }
    }

    #[test]
    fn a_refresh_token_goes_on_until_there_is_another() {
        let first = Tokens::of(granted("a1", Some("r1")), 1_000, "c", None);
        let second = Tokens::of(granted("a2", None), 4_000, "c", Some(&first));
        assert_eq!((second.refresh.as_ref().map(|token| token.expose()), second.refresh_since), (Some("r1"), Some(1_000)));
        let same = Tokens::of(granted("a3", Some("r1")), 5_000, "c", Some(&second));
        assert_eq!(same.refresh_since, Some(1_000));
        let rotated = Tokens::of(granted("a4", Some("r2")), 6_000, "c", Some(&same));
        assert_eq!((rotated.refresh.as_ref().map(|token| token.expose()), rotated.refresh_since), (Some("r2"), Some(6_000)));
    }

    #[test]
    fn renewed_ahead_of_its_end() {
        let tokens = Tokens::of(granted("a", None), 10_000, "c", None);
        assert!(tokens.is_good(10_000) && !tokens.is_due(10_000 + 2_999));
        assert!(tokens.is_due(10_000 + 3_000) && tokens.is_good(10_000 + 3_599));
        assert!(!tokens.is_good(13_600) && tokens.is_due(13_600));
        // The clock was set back by a year.
        assert!(!tokens.is_good(10_000 - 366 * 24 * 3600));
        let short = Tokens { expires: 10_004, ..tokens };
        assert!(!short.is_due(10_002) && short.is_due(10_003));
    }

    #[test]
    fn kept_and_read_again() {
        let tokens = Tokens::of(granted("a", Some("r")), 1, "microsoft/id/scopes", None);
        let tokens = Tokens { asked: Some(7), refused: Some("no".into()), refresh_until: Some(9), ..tokens };
        assert_eq!(Tokens::read(tokens.written().expose()), Ok(tokens));
        for (text, error) in [("", "it is no JSON"), ("{}", "it is of another version of mailgather"), (r#"{"form":1}"#, "it has no access token")] {
            assert_eq!(Tokens::read(text), Err(error));
        }
    }
}
