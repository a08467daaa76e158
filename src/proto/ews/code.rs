//! What Exchange calls its errors (`ResponseCode`), sorted by what is to be done about them.

use std::fmt;

/// Most characters of a code that are kept.
const CHARS_MAX: usize = 80;

/// A `ResponseCode`, as the server wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code(Box<str>);

/// What a code means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// It was done.
    Done,
    /// Throttled, or out of order for a while: later, as told.
    Busy,
    /// It took too long, or something else came between: over this item, or over everything.
    Stuck,
    /// Too many connections or open objects of ours.
    TooMany,
    /// The mailbox is being moved to another database or server.
    Moving,
    /// The sync state is of no use any more.
    SyncState,
    /// The item is not there.
    NoItem,
    /// The folder is not there.
    NoFolder,
    /// The mailbox is not there, or is none.
    NoMailbox,
    /// We may not.
    Denied,
    /// We may not speak as somebody else.
    Impersonation,
    /// The item cannot be had as MIME.
    NoMime,
    /// The mailbox is full.
    Full,
    /// The server knows no such schema version.
    Version,
    /// The request does not fit the schema: a version that does not fit the server, or a fault of ours.
    Schema,
    /// The login counts for nothing.
    Login,
    /// Anything else.
    Other,
}

impl Code {
    /// The code in this text.
    pub fn new(text: &str) -> Self {
        // Codes of faults have a prefix: `a:ErrorSchemaValidation`.
        let text = text.trim().rsplit(':').next().unwrap_or_default();
        Code(text.chars().filter(|char| char.is_ascii_alphanumeric()).take(CHARS_MAX).collect())
    }

    /// As the server wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it means.
    pub fn kind(&self) -> CodeKind {
        match &*self.0 {
            "NoError" => CodeKind::Done,
            "ErrorTimeoutExpired" | "ErrorInternalServerTransientError" => CodeKind::Stuck,
            "ErrorServerBusy"
            | "ErrorMailboxStoreUnavailable"
            | "ErrorADUnavailable"
            | "ErrorADOperation"
            | "ErrorNoRespondingCASInDestinationSite"
            | "ErrorConnectionFailed"
            | "ErrorInsufficientResources"
            | "ErrorMailboxFailover"
            | "ErrorProxyCallFailed"
            | "ErrorProxyServiceDiscoveryFailed"
            | "ErrorBatchProcessingStopped" => CodeKind::Busy,
            "ErrorTooManyObjectsOpened" | "ErrorExceededConnectionCount" | "ErrorExceededFindCountLimit" => CodeKind::TooMany,
            "ErrorMailboxMoveInProgress" => CodeKind::Moving,
            "ErrorInvalidSyncStateData" | "ErrorSyncFolderNotFound" => CodeKind::SyncState,
            "ErrorItemNotFound" | "ErrorInvalidIdMalformed" | "ErrorInvalidIdNotAnItemAttachmentId" => CodeKind::NoItem,
            "ErrorFolderNotFound" | "ErrorParentFolderNotFound" | "ErrorToFolderNotFound" => CodeKind::NoFolder,
            "ErrorNonExistentMailbox" | "ErrorNonExistentMailboxGuid" | "ErrorMailboxConfiguration" | "ErrorMissingEmailAddress" => {
                CodeKind::NoMailbox
            }
            "ErrorAccessDenied" | "ErrorNotDelegate" | "ErrorDelegateNoUser" => CodeKind::Denied,
            "ErrorImpersonationDenied"
            | "ErrorImpersonateUserDenied"
            | "ErrorImpersonationFailed"
            | "ErrorImpersonationRequired"
            | "ErrorCannotSetSendAsRights" => CodeKind::Impersonation,
            "ErrorQuotaExceeded" => CodeKind::Full,
            "ErrorInvalidServerVersion" | "ErrorIncorrectSchemaVersion" => CodeKind::Version,
            "ErrorSchemaValidation" | "ErrorInvalidRequest" => CodeKind::Schema,
            "ErrorAccountDisabled" | "ErrorPasswordExpired" | "ErrorPasswordChangeRequired" | "ErrorTokenSerializationDenied" => CodeKind::Login,
            // ErrorMimeContentConversionFailed, ErrorMimeContentInvalid, ErrorMimeContentInvalidBase64String, ErrorMimeContentNotReadable …
            code if code.starts_with("ErrorMimeContent") || code == "ErrorUnsupportedMimeConversion" => CodeKind::NoMime,
            "ErrorContentConversionFailed" | "ErrorItemCorrupt" | "ErrorCorruptData" | "ErrorMessageSizeExceeded" => CodeKind::NoMime,
            _ => CodeKind::Other,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_by_what_is_to_be_done() {
        for (text, kind) in [
            ("NoError", CodeKind::Done),
            ("a:ErrorSchemaValidation", CodeKind::Schema),
            (" ErrorServerBusy\n", CodeKind::Busy),
            ("ErrorTimeoutExpired", CodeKind::Stuck),
            ("ErrorMimeContentConversionFailed", CodeKind::NoMime),
            ("ErrorInvalidSyncStateData", CodeKind::SyncState),
            ("ErrorItemNotFound", CodeKind::NoItem),
            ("ErrorWhatever", CodeKind::Other),
            ("", CodeKind::Other),
        ] {
            assert_eq!(Code::new(text).kind(), kind, "{text}");
        }
        assert_eq!(Code::new("<b>\u{1b}[31m").as_str(), "b31m");
        assert_eq!(Code::new(&"x".repeat(500)).as_str().len(), CHARS_MAX);
    }
}
