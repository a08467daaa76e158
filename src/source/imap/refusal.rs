//! What kind of failure a refusal of the server is. Pure.

use crate::proto::imap::{Code, State, Status};
use crate::source::{SourceError, SourceErrorKind, hints};

/// Response codes that mean: not now (RFC 5530, RFC 9051 §7.1, and what Yahoo and Gmail say).
const NOT_NOW: [&str; 7] = ["UNAVAILABLE", "LIMIT", "INUSE", "OVERQUOTA", "THROTTLED", "IN-USE", "SERVERBUG"];
/// Response codes that mean: not with these credentials.
const CREDENTIALS: [&str; 6] = ["AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "CONTACTADMIN", "WEBALERT", "AUTH"];
/// Words that mean the same, though they sound like "not now": tries go on counting.
const CREDENTIALS_TEXTS: [&str; 3] = ["login failures", "failed login", "failed attempts"];
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
        SourceErrorKind::Auth => error.hint(hints::login(peer, name_of(status), &status.text)),
        SourceErrorKind::Throttled => wait_as_told(error, status).hint(hints::not_now(&status.text)),
        SourceErrorKind::Tls if stage == "login" => error.hint("the server wants TLS before the login: `tls: {mode: implicit}` or `starttls`"),
        _ => error,
    }
}

/// Adds the wait that the server suggests, if it does.
pub(super) fn wait_as_told(error: SourceError, status: &Status) -> SourceError {
    match hints::suggested_wait(&status.text) {
        Some(wait) => error.after(wait),
        None => error,
    }
}

/// True if the server is at its limit, so that asking on is of no use.
pub(super) fn is_not_now(status: &Status) -> bool {
    let text = status.text.to_ascii_lowercase();
    let named = matches!(&status.code, Some(Code::Named(name)) if NOT_NOW.contains(&name.as_str()));
    named || NOT_NOW_TEXTS.iter().any(|words| text.contains(words))
}

fn kind(stage: &'static str, status: &Status) -> SourceErrorKind {
    let code = name_of(status);
    let text = status.text.to_ascii_lowercase();
    match (stage, code, status.state) {
        ("starttls", _, _) | (_, "PRIVACYREQUIRED", _) => SourceErrorKind::Tls,
        ("login", code, _) if CREDENTIALS.contains(&code) => SourceErrorKind::Auth,
        (_, "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED", _) => SourceErrorKind::Auth,
        ("login", "", _) if CREDENTIALS_TEXTS.iter().any(|words| text.contains(words)) => SourceErrorKind::Auth,
        _ if is_not_now(status) => SourceErrorKind::Throttled,
        // Also a BAD: whatever the reason, the same login again and again is what locks accounts.
        ("login", _, _) => SourceErrorKind::Auth,
        (_, _, State::Bad) => SourceErrorKind::Protocol,
        _ => SourceErrorKind::Mailbox,
    }
}

fn name_of(status: &Status) -> &str {
    match &status.code {
        Some(Code::Named(name)) => name,
        _ => "",
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
    use std::time::Duration;

    #[test]
    fn exchange_says_when_to_come_back() {
        use crate::source::Retry;
        let seconds = |n| Retry::After(Duration::from_secs(n));
        for (stage, line, wanted) in [
            ("fetch", "a2 NO Request is throttled. Suggested Backoff Time: 281000 milliseconds", seconds(281)),
            ("login", "a2 NO Request is throttled. suggested backoff time:  5000 Milliseconds.", seconds(5)),
            ("list", "a2 BAD Request is throttled. Suggested Backoff Time: 7200000 milliseconds", seconds(3600)),
            ("list", "a2 NO Suggested Backoff Time: 99999999999999999999999 milliseconds", seconds(3600)),
            ("list", "a2 NO Suggested Backoff Time: 0 milliseconds", Retry::Backoff),
            ("list", "a2 NO Suggested Backoff Time: 5 minutes", Retry::Backoff),
            ("list", "a2 NO Suggested Backoff Time: -5 milliseconds", Retry::Backoff),
            ("list", "a2 NO Request is throttled. Suggested Backoff Time:", Retry::Backoff),
            ("login", "a2 NO [AUTHENTICATIONFAILED] Suggested Backoff Time: 5000 milliseconds", Retry::Credentials),
        ] {
            let Response::Tagged { status, .. } = Response::parse(&Line::from(line.as_bytes())) else { panic!("{line}") };
            assert_eq!(refusal(stage, "h:1", "this", &status).retry(), wanted, "{line}");
        }
    }

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
            ("login", "a1 NO [AUTHORIZATIONFAILED] no such identity", Auth),
            ("login", "a1 NO [CONTACTADMIN] try again later", Auth),
            ("login", "a1 NO [WEBALERT https://x] Web login required.", Auth),
            ("login", "a1 NO [ALERT] Application-specific password required", Auth),
            ("login", "a1 NO Too many login failures", Auth),
            ("login", "a1 NO [SERVERBUG] oops", Throttled),
            ("login", "a1 NO [INUSE] Mailbox is in use", Throttled),
            ("login", "a1 NO LOGIN Server error - Please try again later", Throttled),
            ("login", "a1 NO Request is throttled. Suggested Backoff Time: 1000 milliseconds", Throttled),
            ("login", "a1 NO NEOBHODIM parol prilozheniya", Auth),
            ("login", "a1 NO LOGIN failed.", Auth),
        ] {
            let Response::Tagged { status, .. } = Response::parse(&Line::from(line.as_bytes())) else { panic!("{line}") };
            assert_eq!(refusal(stage, "h:1", "this", &status).kind, wanted, "{line}");
        }
    }
}
