//! What an access token says of itself, where it is a JWT (RFC 7519): to tell an operator why a server refuses it. Nothing is verified, and nothing is
//! decided by it; Microsoft's are JWTs, Google's are not.

use crate::mail::outcome::harmless;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Longest token that is looked into, in octets.
const TOKEN_OCTETS_MAX: usize = 64 * 1024;
/// Most permissions that are kept.
const PERMISSIONS_MAX: usize = 50;

/// The claims that decide whether a mailbox opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// For which service: `https://outlook.office365.com`.
    pub audience: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// Who signed in; none if the program did itself.
    pub user: Option<String>,
    /// The program.
    pub client: Option<String>,
    /// The program's object in the tenant, which a mailbox is shared with.
    pub object: Option<String>,
    /// What a user allowed it.
    pub scopes: Vec<String>,
    /// What an administrator allowed it.
    pub roles: Vec<String>,
    /// When it ends, in seconds of Unix time.
    pub expires: Option<i64>,
}

impl Claims {
    /// Of a token, if it is a JWT.
    pub fn of(token: &str) -> Option<Claims> {
        if token.len() > TOKEN_OCTETS_MAX {
            return None;
        }
        let mut parts = token.split('.');
        let (Some(_header), Some(payload), Some(_signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return None };
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        claims.as_object()?;
        let text = |name: &str| claims[name].as_str().map(|text| harmless(text, 200));
        let either = |value: &Value| match value {
            Value::Array(items) => items.first().and_then(Value::as_str).map(|text| harmless(text, 200)),
            Value::String(text) => Some(harmless(text, 200)),
            _ => None,
        };
        let scopes = claims["scp"].as_str().unwrap_or_default().split_whitespace().map(|scope| harmless(scope, 100));
        let roles =
            claims["roles"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).map(|role| harmless(role, 100));
        Some(Claims {
            audience: either(&claims["aud"]),
            tenant: text("tid"),
            user: text("upn").or_else(|| text("preferred_username")).or_else(|| text("unique_name")),
            client: text("appid").or_else(|| text("azp")),
            object: text("oid"),
            scopes: scopes.take(PERMISSIONS_MAX).collect(),
            roles: roles.take(PERMISSIONS_MAX).collect(),
            expires: claims["exp"].as_i64(),
        })
    }

    /// True if the program signed in by itself, without a user.
    pub fn is_of_the_program(&self) -> bool {
        self.scopes.is_empty() && self.user.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(payload), "sig")
    }

    #[test]
    fn what_decides_is_read() {
        let user = Claims::of(&token(
            r#"{"aud":"https://outlook.office.com","tid":"t","upn":"a@x.example","appid":"c","scp":"IMAP.AccessAsUser.All offline_access","exp":17}"#,
        ))
        .unwrap();
        assert_eq!(
            (user.audience.as_deref(), user.user.as_deref(), user.expires),
            (Some("https://outlook.office.com"), Some("a@x.example"), Some(17))
        );
        assert_eq!(user.scopes, ["IMAP.AccessAsUser.All", "offline_access"]);
        assert!(!user.is_of_the_program());
        let program = Claims::of(&token(r#"{"aud":["https://graph.microsoft.com"],"oid":"o","roles":["Mail.ReadWrite"]}"#)).unwrap();
        assert_eq!(
            (program.audience.as_deref(), program.roles.as_slice()),
            (Some("https://graph.microsoft.com"), ["Mail.ReadWrite".to_owned()].as_slice())
        );
        assert!(program.is_of_the_program());
    }

    #[test]
    fn other_tokens_say_nothing() {
        for text in ["", "ya29.a0AfH6SMB", "a.b.c", "a.b.c.d", &token("[1]"), &token("x"), &"a".repeat(TOKEN_OCTETS_MAX + 1)] {
            assert_eq!(Claims::of(text), None, "{text}");
        }
    }
}
