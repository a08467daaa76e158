//! What a token endpoint answers (RFC 6749 §5.1 and §5.2, RFC 8628 §3.2 and §3.5): pure. No error holds anything of a token.

use super::hidden::Hidden;
use crate::mail::Secret;
use crate::mail::outcome::harmless;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest answer that is read, in octets.
pub const ANSWER_OCTETS_MAX: usize = 64 * 1024;
/// Longest token; two of them are kept in one file, which is read no further than any secret.
const TOKEN_OCTETS_MAX: usize = 20 * 1024;
/// How long an access token lives whose answer does not say (RFC 6749 §5.1 only recommends to say): what most servers grant.
const LIFE_UNSAID: Duration = Duration::from_secs(3600);
/// Longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest life of a code for a person that is believed: somebody waits for its end, and nobody types for longer.
const CODE_LIFE_MAX: Duration = Duration::from_secs(3600);
/// How much of what a server says in words is kept, in characters.
const WORDS_MAX: usize = 400;
/// Shortest time between two questions whether somebody has signed in (RFC 8628 §3.5).
const POLL_UNSAID: Duration = Duration::from_secs(5);
/// Longest time between two of them that a server may ask for.
const POLL_MAX: Duration = Duration::from_secs(300);

/// What was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Logs in.
    pub access: Secret,
    /// How long it does.
    pub life: Duration,
    /// Gets the next one. Where an answer has none, the former one goes on (RFC 6749 §6).
    pub refresh: Option<Secret>,
    /// How long that one is good, if the server says so: Google and Microsoft do, where it is not for good.
    pub refresh_life: Option<Duration>,
    /// For what, as far as the server says.
    pub scope: Option<String>,
}

/// Where somebody has to sign in with which code (RFC 8628 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    /// What the endpoint is asked with meanwhile.
    pub device_code: Secret,
    /// What a person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// How long the code is good for.
    pub life: Duration,
    /// How often the endpoint may be asked.
    pub poll: Duration,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The grant is no good any more: expired, revoked, or its password was changed. Nobody but a person can mend that.
    #[error("invalid_grant: {0}")]
    InvalidGrant(String),
    /// The same of a code for a person, whose time is over (RFC 8628 §3.5).
    #[error("expired_token: {0}")]
    Expired(String),
    /// Nobody has signed in yet (RFC 8628 §3.5).
    #[error("nobody has signed in yet")]
    Pending,
    /// The same, and the endpoint is asked too often.
    #[error("nobody has signed in yet, and the server wants to be asked less often")]
    SlowDown,
    /// The server is busy or out of order: the same question may be asked again, after this time if it says so.
    #[error("the server answers {status}: {words}")]
    Unavailable {
        /// Its HTTP status.
        status: u16,
        /// What it said.
        words: String,
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// It will say no for as long as the configuration is what it is.
    #[error("{error}: {words}")]
    Denied {
        /// Its word: `invalid_client`.
        error: String,
        /// What it said.
        words: String,
    },
    /// No answer of a token endpoint.
    #[error("the answer is none of a token endpoint: {0}")]
    Strange(String),
}

impl Refused {
    /// True if the same question may have another answer later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Refused::Unavailable { .. } | Refused::Pending | Refused::SlowDown | Refused::Strange(_))
    }

    /// True if it gave nothing for sure. Behind 500, 502 and 504 there may be an answer that did not come through, and what nobody understands may
    /// have been one.
    pub fn gave_nothing(&self) -> bool {
        match self {
            Refused::Unavailable { status, .. } => *status < 500 || *status == 503,
            Refused::Strange(_) => false,
            Refused::InvalidGrant(_) | Refused::Expired(_) | Refused::Pending | Refused::SlowDown | Refused::Denied { .. } => true,
        }
    }
}

/// The tokens of an answer to a question that held these secrets.
pub fn granted(status: u16, after: Option<Duration>, body: &[u8], hidden: &Hidden) -> Result<Granted, Refused> {
    let fields = document(status, after, body, hidden)?;
    let access = secret(&fields, "access_token").ok_or_else(|| Refused::Strange("it has no access_token".into()))?;
    if !is_printable(access.expose()) {
        return Err(Refused::Strange("its access_token holds what no token holds".into()));
    }
    let kind = fields.get("token_type").and_then(Value::as_str).unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(Refused::Strange(format!("its tokens are of the kind {}", hidden.words(kind, 40))));
    }
    let life = seconds(&fields, "expires_in").unwrap_or(LIFE_UNSAID).min(LIFE_MAX);
    let refresh = secret(&fields, "refresh_token").filter(|token| is_printable(token.expose()));
    let refresh_life = seconds(&fields, "refresh_token_expires_in").filter(|life| !life.is_zero()).map(|life| life.min(LIFE_MAX));
    let scope = fields.get("scope").and_then(Value::as_str).map(|scope| hidden.words(scope, WORDS_MAX));
    Ok(Granted { access, life, refresh, refresh_life, scope })
}

/// The code of an answer.
pub fn device_code(status: u16, after: Option<Duration>, body: &[u8], hidden: &Hidden) -> Result<DeviceCode, Refused> {
    let fields = document(status, after, body, hidden)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let missing = |name: &str| Refused::Strange(format!("it has no {name}"));
    // Google says verification_url.
    let place = text("verification_uri").or_else(|| text("verification_url")).ok_or_else(|| missing("verification_uri"))?;
    // It is shown to a person, who is to go there.
    if !place.starts_with("https://") {
        return Err(Refused::Strange("its verification_uri is no https place".into()));
    }
    Ok(DeviceCode {
        device_code: secret(&fields, "device_code").ok_or_else(|| missing("device_code"))?,
        user_code: harmless(text("user_code").ok_or_else(|| missing("user_code"))?, 60),
        verification_uri: harmless(place, WORDS_MAX),
        life: seconds(&fields, "expires_in").unwrap_or(Duration::from_secs(900)).min(CODE_LIFE_MAX),
        poll: seconds(&fields, "interval").unwrap_or(POLL_UNSAID).clamp(Duration::from_secs(1), POLL_MAX),
    })
}

/// The object of an answer, or why it is a refusal.
fn document(status: u16, after: Option<Duration>, body: &[u8], hidden: &Hidden) -> Result<Map<String, Value>, Refused> {
    let parsed = serde_json::from_slice(body).ok();
    let fields = match parsed {
        Some(Value::Object(fields)) => fields,
        _ if status == 429 || status >= 500 => {
            return Err(Refused::Unavailable { status, words: hidden.words(&String::from_utf8_lossy(body), 80), after });
        }
        // A proxy's page, a page to sign in.
        _ => return Err(Refused::Strange(format!("status {status}, no JSON object"))),
    };
    if let Some(error) = fields.get("error").and_then(Value::as_str) {
        let words = fields.get("error_description").and_then(Value::as_str).unwrap_or("the server says no more");
        // Only the first line: Microsoft's have trace ids below.
        let words = harmless(hidden.without(words).lines().next().unwrap_or_default(), WORDS_MAX);
        return Err(match error {
            "invalid_grant" => Refused::InvalidGrant(words),
            // Somebody has to sign in again (OpenID Connect Core §3.1.2.6, as Microsoft's token endpoint has them).
            "interaction_required" | "login_required" | "consent_required" => Refused::InvalidGrant(format!("{error}: {words}")),
            "expired_token" => Refused::Expired(words),
            "authorization_pending" => Refused::Pending,
            "slow_down" => Refused::SlowDown,
            "temporarily_unavailable" | "server_error" => Refused::Unavailable { status, words: format!("{error}: {words}"), after },
            _ if status == 429 || status >= 500 => Refused::Unavailable { status, words: format!("{}: {words}", hidden.words(error, 60)), after },
            _ => Refused::Denied { error: hidden.words(error, 60), words },
        });
    }
    match status {
        200 => Ok(fields),
        429 | 500.. => Err(Refused::Unavailable { status, words: "it says no more".into(), after }),
        _ => Err(Refused::Strange(format!("status {status} without an error"))),
    }
}

fn secret(fields: &Map<String, Value>, name: &str) -> Option<Secret> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()))
}

/// Some servers write numbers as texts.
fn seconds(fields: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = fields.get(name)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}

/// A token goes into a header of HTTP and into a SASL message between octets of its own (RFC 6750 §2.1).
fn is_printable(token: &str) -> bool {
    token.len() <= TOKEN_OCTETS_MAX && token.bytes().all(|octet| (0x21..0x7f).contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_with_their_life() {
        let body = br#"{"token_type":"Bearer","scope":"a b","expires_in":"3599","access_token":"at","refresh_token":"rt"}"#;
        let granted = granted(200, None, body, &Hidden::default()).unwrap();
        assert_eq!((granted.access.expose(), granted.refresh.as_ref().map(|token| token.expose())), ("at", Some("rt")));
        assert_eq!((granted.life, granted.scope.as_deref()), (Duration::from_secs(3599), Some("a b")));
        let bare = super::granted(200, None, br#"{"access_token":"at"}"#, &Hidden::default()).unwrap();
        assert_eq!((bare.life, bare.refresh), (LIFE_UNSAID, None));
    }

    #[test]
    fn each_refusal_says_who_can_mend_it() {
        let after = Some(Duration::from_secs(7));
        let of = |status, body: &str| granted(status, after, body.as_bytes(), &Hidden::default()).unwrap_err();
        assert_eq!(
            of(400, r#"{"error":"invalid_grant","error_description":"AADSTS700082: expired.\r\nTrace ID: 1"}"#),
            Refused::InvalidGrant("AADSTS700082: expired.".into())
        );
        assert_eq!(
            of(400, r#"{"error":"consent_required","error_description":"AADSTS65001: no"}"#),
            Refused::InvalidGrant("consent_required: AADSTS65001: no".into())
        );
        assert_eq!(of(400, r#"{"error":"expired_token","error_description":"over"}"#), Refused::Expired("over".into()));
        assert_eq!(of(400, r#"{"error":"authorization_pending"}"#), Refused::Pending);
        assert_eq!(of(400, r#"{"error":"slow_down"}"#), Refused::SlowDown);
        let denied = of(401, r#"{"error":"invalid_client","error_description":"no such secret"}"#);
        assert_eq!(denied, Refused::Denied { error: "invalid_client".into(), words: "no such secret".into() });
        assert!(!denied.is_transient());
        for (status, body) in [(503, "<html>"), (503, "{}"), (429, r#"{"error":"too_many"}"#), (200, r#"{"error":"temporarily_unavailable"}"#)] {
            let refused = of(status, body);
            assert!(matches!(refused, Refused::Unavailable { after: Some(_), .. }) && refused.is_transient(), "{status} {body}: {refused:?}");
        }
        for (status, body) in [
            (200, "<html>sign in</html>"),
            (200, "[]"),
            (200, "{}"),
            (302, "{}"),
            (200, r#"{"access_token":"a\nb"}"#),
            (200, r#"{"access_token":"a","token_type":"mac"}"#),
        ] {
            let refused = of(status, body);
            assert!(matches!(refused, Refused::Strange(_)), "{status} {body}: {refused:?}");
        }
    }

    #[test]
    fn what_was_asked_with_is_in_no_refusal() {
        let token = "1//0abc~".repeat(200);
        let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("refresh_token", &token).finish();
        let hidden = Hidden::of(&Secret::new(form.clone()));
        let said = |words: &str| serde_json::json!({"error": "invalid_grant", "error_description": words}).to_string();
        for (status, body) in [
            (503, format!("<p>cannot serve {form}")),
            (502, token.clone()),
            (400, said(&format!("{token} is over"))),
            (400, said(&form)),
            (400, serde_json::json!({"error": token}).to_string()),
            (200, serde_json::json!({"access_token": "a", "token_type": token}).to_string()),
        ] {
            let refused = granted(status, None, body.as_bytes(), &hidden).unwrap_err().to_string();
            assert!(refused.contains("***") && !refused.contains("0abc"), "{status} {body}: {refused}");
        }
        // Some servers send the same token again: that is none of their words.
        let body = serde_json::json!({"access_token": "a", "refresh_token": token}).to_string();
        assert_eq!(granted(200, None, body.as_bytes(), &hidden).unwrap().refresh, Some(Secret::new(token)));
    }

    #[test]
    fn a_code_for_a_person() {
        let body =
            br#"{"device_code":"dc","user_code":"F7KQ-2XNB","verification_url":"https://microsoft.com/devicelogin","expires_in":900,"interval":0}"#;
        let code = device_code(200, None, body, &Hidden::default()).unwrap();
        assert_eq!((code.user_code.as_str(), code.verification_uri.as_str()), ("F7KQ-2XNB", "https://microsoft.com/devicelogin"));
        assert_eq!((code.life, code.poll), (Duration::from_secs(900), Duration::from_secs(1)));
        let eternal = br#"{"device_code":"dc","user_code":"x","verification_uri":"https://x.example/","expires_in":31622400}"#;
        assert_eq!(device_code(200, None, eternal, &Hidden::default()).unwrap().life, CODE_LIFE_MAX);
        let elsewhere = br#"{"device_code":"dc","user_code":"x","verification_uri":"http://evil.example/"}"#;
        assert!(device_code(200, None, elsewhere, &Hidden::default()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_no_token_is_told(status in 100u16..600, body: Vec<u8>, text in "[ -~]{0,200}") {
            let _ = granted(status, None, &body, &Hidden::default());
            let _ = device_code(status, None, text.as_bytes(), &Hidden::default());
        }
    }
}
