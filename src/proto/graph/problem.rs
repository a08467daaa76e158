//! Error answers: `{"error": {"code": …, "message": …, "innerError": {…}}}`, and what they mean for us.

use serde_json::Value;
use std::fmt;

/// Longest code, message or id that is kept.
const TEXT_CHARS_MAX: usize = 300;
/// Errors may hold more precise ones, one inside the other.
const DEPTH_MAX: usize = 5;

/// An answer that is none of success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The status of HTTP.
    pub status: u16,
    /// The code, and the more precise ones within it; empty if the answer has none.
    pub codes: Vec<String>,
    /// What it says.
    pub message: String,
    /// By this Microsoft's support finds the request.
    pub request_id: Option<String>,
}

/// What an error means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The token: expired, made for another service, revoked.
    Token,
    /// The token is good, and may not do this: a role or the mailbox's permission is missing.
    Denied,
    /// There is no such mailbox, or none that Graph can open.
    NoMailbox,
    /// The message or folder is not there any more.
    NotFound,
    /// The delta token is too old: all has to be listed anew.
    Resync,
    /// Too many requests, or the server has no time.
    Busy,
    /// The message cannot be had as MIME.
    NoMime,
    /// The server failed, or had no time for this one thing, and nobody knows whether for others; or something in between says 404, which is no word
    /// about a message.
    Failed,
    /// Anything else: what we asked is refused.
    Refused,
}

impl Problem {
    /// From a status and a body, which may be anything.
    pub fn of(status: u16, body: &[u8]) -> Self {
        let mut problem = Problem { status, ..Problem::default() };
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut error = &document["error"];
        if error.is_string() {
            // The form of RFC 6749, which gateways answer with.
            problem.codes.extend(text(error));
            problem.message = text(&document["error_description"]).unwrap_or_default();
            return problem;
        }
        problem.message = text(&error["message"]).unwrap_or_default();
        for _ in 0..DEPTH_MAX {
            problem.codes.extend(text(&error["code"]).filter(|code| !code.is_empty()));
            let inner = ["innerError", "innererror"].map(|name| &error[name]);
            let Some(inner) = inner.into_iter().find(|inner| inner.is_object()) else { break };
            problem.request_id = problem.request_id.take().or_else(|| text(&inner["request-id"]));
            error = inner;
        }
        problem
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning {
        let has = |names: &[&str]| self.codes.iter().any(|code| names.iter().any(|name| code.eq_ignore_ascii_case(name)));
        // The code says more than the status, which differs between the parts of Graph.
        if has(&["SyncStateNotFound", "SyncStateInvalid", "ErrorInvalidSyncStateData", "ErrorSyncStateNotFound", "resyncRequired"])
            || self.status == 410
        {
            return Meaning::Resync;
        }
        if has(&[
            "ErrorMimeContentConversionFailed",
            "ErrorMimeContentInvalid",
            "ErrorMimeContentInvalidBase64String",
            "ErrorMimeContentNotReadable",
            "ErrorUnsupportedMimeConversion",
            "ErrorContentConversionFailed",
            "ErrorItemCorrupt",
            "ErrorCorruptData",
        ]) {
            return Meaning::NoMime;
        }
        if has(&[
            "TooManyRequests",
            "ApplicationThrottled",
            "activityLimitReached",
            "ErrorServerBusy",
            "ErrorTooManyObjectsOpened",
            "MailboxConcurrency",
            "ErrorMailboxStoreUnavailable",
            "ErrorMailboxMoveInProgress",
            "ErrorConnectionFailed",
            "ServiceUnavailable",
        ]) {
            return Meaning::Busy;
        }
        if has(&[
            "MailboxNotEnabledForRESTAPI",
            "MailboxNotSupportedForRESTAPI",
            "ErrorInvalidUser",
            "ErrorNonExistentMailbox",
            "ErrorNoMailbox",
            "Request_ResourceNotFound",
            "ResourceNotFound",
        ]) {
            return Meaning::NoMailbox;
        }
        match self.status {
            401 => Meaning::Token,
            403 => Meaning::Denied,
            // What is gone is forgotten, and what was to be deleted counts as deleted: only a code of Graph's own says so, no proxy, no empty answer.
            404 if has(&["ErrorItemNotFound", "itemNotFound", "ErrorFolderNotFound"]) => Meaning::NotFound,
            404 => Meaning::Failed,
            429 | 503 | 509 => Meaning::Busy,
            500.. => Meaning::Failed,
            _ => Meaning::Refused,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.codes.is_empty() {
            write!(f, " {}", self.codes.join("/"))?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " [request-id {id}]")?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(|text| text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_errors_mean() {
        use Meaning::*;
        for (status, body, meaning, shown) in [
            (
                401,
                r#"{"error":{"code":"InvalidAuthenticationToken","message":"Access token has expired.","innerError":{"date":"x","request-id":"77-a"}}}"#,
                Token,
                "401 InvalidAuthenticationToken: Access token has expired. [request-id 77-a]",
            ),
            (403, r#"{"error":{"code":"ErrorAccessDenied","message":"Access is denied."}}"#, Denied, "403 ErrorAccessDenied: Access is denied."),
            (404, r#"{"error":{"code":"ErrorItemNotFound","message":"x"}}"#, NotFound, "404 ErrorItemNotFound: x"),
            (404, r#"{"error":{"code":"badRequest","innerError":{"code":"itemNotFound"}}}"#, NotFound, "404 badRequest/itemNotFound"),
            (404, r#"{"error":{"code":"ErrorFolderNotFound"}}"#, NotFound, "404 ErrorFolderNotFound"),
            (404, "", Failed, "404"),
            (404, "<html><body>Not found</body></html>", Failed, "404"),
            (404, r#"{"error":{"code":"","message":"x"}}"#, Failed, "404: x"),
            (404, r#"{"error":{"code":"UnknownError","message":""}}"#, Failed, "404 UnknownError"),
            (404, r#"{"error":{"code":"MailboxNotEnabledForRESTAPI","message":"x"}}"#, NoMailbox, "404 MailboxNotEnabledForRESTAPI: x"),
            (404, r#"{"error":{"code":"ErrorInvalidUser","message":"x"}}"#, NoMailbox, "404 ErrorInvalidUser: x"),
            (404, r#"{"error":{"code":"Request_ResourceNotFound","message":"x"}}"#, NoMailbox, "404 Request_ResourceNotFound: x"),
            (410, r#"{"error":{"code":"syncStateNotFound","message":"x"}}"#, Resync, "410 syncStateNotFound: x"),
            (400, r#"{"error":{"code":"badRequest","innererror":{"code":"resyncRequired"}}}"#, Resync, "400 badRequest/resyncRequired"),
            (410, "", Resync, "410"),
            (
                429,
                r#"{"error":{"code":"ApplicationThrottled","message":"Application is over its MailboxConcurrency limit."}}"#,
                Busy,
                "429 ApplicationThrottled: Application is over its MailboxConcurrency limit.",
            ),
            (400, r#"{"error":{"code":"ErrorServerBusy"}}"#, Busy, "400 ErrorServerBusy"),
            (503, "<html>", Busy, "503"),
            (500, r#"{"error":{"code":"ErrorMimeContentConversionFailed","message":"x"}}"#, NoMime, "500 ErrorMimeContentConversionFailed: x"),
            (500, r#"{"error":{"code":"ErrorContentConversionFailed"}}"#, NoMime, "500 ErrorContentConversionFailed"),
            (500, r#"{"error":{"code":"ErrorItemCorrupt"}}"#, NoMime, "500 ErrorItemCorrupt"),
            (500, r#"{"error":{"code":"InternalServerError"}}"#, Failed, "500 InternalServerError"),
            (500, "", Failed, "500"),
            (504, r#"{"error":{"code":"UnknownError"}}"#, Failed, "504 UnknownError"),
            (502, r#"{"error":{"code":"ErrorServerBusy"}}"#, Busy, "502 ErrorServerBusy"),
            (400, r#"{"error":"invalid_request","error_description":"a\r\nb"}"#, Refused, "400 invalid_request: a??b"),
            (418, "[]", Refused, "418"),
        ] {
            let problem = Problem::of(status, body.as_bytes());
            assert_eq!((problem.meaning(), problem.to_string().as_str()), (meaning, shown), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_taken(status in 300u16..600, body in any::<Vec<u8>>()) {
            let _ = Problem::of(status, &body).meaning();
        }

        /// What a server writes stays short and harmless, however deep it is.
        #[test]
        fn nothing_odd_is_shown(message in any::<String>(), depth in 0usize..40) {
            let mut error = serde_json::json!({"code": message, "message": message});
            for _ in 0..depth {
                error = serde_json::json!({"code": message, "message": message, "innerError": error});
            }
            let shown = Problem::of(500, serde_json::json!({"error": error}).to_string().as_bytes()).to_string();
            prop_assert!(!shown.chars().any(char::is_control) && shown.chars().count() < (DEPTH_MAX + 3) * TEXT_CHARS_MAX);
        }
    }
}
