//! What kind of failure a refusal of the server is. Pure.

use crate::proto::imap::{Code, State, Status};
use crate::source::{SourceError, SourceErrorKind};

/// Response codes that mean: not now (RFC 5530, RFC 9051 §7.1, and what Yahoo and Gmail say).
const NOT_NOW: [&str; 6] = ["UNAVAILABLE", "LIMIT", "INUSE", "OVERQUOTA", "THROTTLED", "IN-USE"];
/// Words that mean the same where there is no code: Exchange ("Suggested Backoff Time", "User is authenticated but not connected"), Yahoo.
const NOT_NOW_TEXTS: [&str; 8] =
    ["throttl", "backoff time", "authenticated but not connected", "rate limit", "too many", "try again later", "temporar", "server busy"];

/// The error for a status that is not the OK that was hoped for.
pub(super) fn refusal(stage: &'static str, peer: &str, what: &str, status: &Status) -> SourceError {
    let verb = match status.state {
        State::Bad => "does not understand",
        State::Ok | State::No => "refuses",
    };
    let error = SourceError::new(kind(stage, status), stage, peer, format!("the server {verb} {what}")).said(&said(status));
    match error.kind {
        SourceErrorKind::Auth => error.hint("check username and password; some providers want an app password or have to allow IMAP first"),
        SourceErrorKind::Throttled => error.hint("the server has no time for this account now; it is tried again later"),
        _ => error,
    }
}

/// True if the server is at its limit, so that asking on is of no use.
pub(super) fn is_not_now(status: &Status) -> bool {
    let text = status.text.to_ascii_lowercase();
    let named = matches!(&status.code, Some(Code::Named(name)) if NOT_NOW.contains(&name.as_str()));
    named || NOT_NOW_TEXTS.iter().any(|words| text.contains(words))
}

fn kind(stage: &'static str, status: &Status) -> SourceErrorKind {
    let code = match &status.code {
        Some(Code::Named(name)) => name.as_str(),
        _ => "",
    };
    match (stage, code, status.state) {
        ("starttls", _, _) | (_, "PRIVACYREQUIRED", _) => SourceErrorKind::Tls,
        (_, "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED", _) => SourceErrorKind::Auth,
        _ if is_not_now(status) => SourceErrorKind::Throttled,
        // Also a BAD: whatever the reason, the same login again and again is what locks accounts.
        ("login", _, _) => SourceErrorKind::Auth,
        (_, _, State::Bad) => SourceErrorKind::Protocol,
        _ => SourceErrorKind::Mailbox,
    }
}

/// Code and text as the server sent them.
pub(super) fn said(status: &Status) -> String {
    match &status.code {
        Some(Code::Named(name)) => format!("[{name}] {}", status.text),
        _ => status.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::imap::{Line, Response};

    #[test]
    fn kinds() {
        use SourceErrorKind::*;
        for (stage, line, wanted) in [
            ("login", "a1 NO [AUTHENTICATIONFAILED] Authentication failed.", Auth),
            ("login", "a1 NO Invalid credentials (Failure)", Auth),
            ("login", "a1 BAD command", Auth),
            ("login", "a1 NO [EXPIRED] change it", Auth),
            ("login", "a1 NO [UNAVAILABLE] Temporary authentication failure.", Throttled),
            ("login", "a1 NO [ALERT] Too many simultaneous connections. (Failure)", Throttled),
            ("login", "a1 NO [PRIVACYREQUIRED] Plaintext authentication disallowed", Tls),
            ("select", "a2 BAD User is authenticated but not connected.", Throttled),
            ("fetch", "a2 NO Request is throttled. Suggested Backoff Time: 281961 milliseconds", Throttled),
            ("fetch", "a2 NO [LIMIT] UID FETCH Rate limit hit.", Throttled),
            ("select", "a2 NO [INUSE] locked", Throttled),
            ("select", "a2 NO [NONEXISTENT] no such folder", Mailbox),
            ("dispose", "a2 NO [READ-ONLY] no", Mailbox),
            ("list", "a2 BAD syntax", Protocol),
            ("starttls", "a2 NO later", Tls),
        ] {
            let Response::Tagged { status, .. } = Response::parse(&Line::from(line.as_bytes())) else { panic!("{line}") };
            assert_eq!(refusal(stage, "h:1", "this", &status).kind, wanted, "{line}");
        }
    }
}
