//! The numbers of what goes wrong at run time: `MG-203`. Each has a page in docs/errors, which `mailgather explain MG-203` prints. Those of the
//! configuration (MG-1xx) are in its own module.

/// Our password cannot be read.
pub const SECRET: u16 = 202;
/// The login was refused.
pub const LOGIN: u16 = 203;
/// The server has no time.
pub const THROTTLED: u16 = 204;
/// The name does not resolve.
pub const DNS: u16 = 210;
/// No connection.
pub const UNREACHABLE: u16 = 211;
/// No answer in time.
pub const TIMEOUT: u16 = 212;
/// The connection ended.
pub const CLOSED: u16 = 213;
/// Certificate or handshake.
pub const CERTIFICATE: u16 = 221;
/// No STARTTLS, or a password over an open channel.
pub const OPEN_CHANNEL: u16 = 222;
/// The service is switched off by whoever runs it.
pub const SWITCHED_OFF: u16 = 231;
/// Not the protocol.
pub const PROTOCOL: u16 = 241;
/// A folder, or an operation on it, was refused.
pub const MAILBOX: u16 = 242;
/// One message could not be fetched.
pub const NOT_FETCHED: u16 = 243;
/// UIDs were given out again.
pub const UIDS_WENT_BACK: u16 = 244;
/// No room for the spool.
pub const DISK: u16 = 301;
/// The ledger.
pub const LEDGER: u16 = 302;
/// The state directory.
pub const STATE_DIR: u16 = 303;
/// No recipient here.
pub const NO_RECIPIENT: u16 = 401;
/// Larger than the limit.
pub const TOO_LARGE: u16 = 402;
/// A loop.
pub const LOOP: u16 = 411;
/// Its content is what the configuration holds.
pub const CONTENT: u16 = 412;
/// The target refused a recipient or a message.
pub const REFUSED: u16 = 421;
/// No answer to the final dot.
pub const IN_DOUBT: u16 = 422;
/// Deferred for too long.
pub const GIVEN_UP: u16 = 423;
/// The target as a whole.
pub const TARGET_DOWN: u16 = 431;
/// The daemon cannot be asked.
pub const DAEMON: u16 = 501;
/// The daemon keeps its configuration, because the file is wrong.
pub const CONFIG_REJECTED: u16 = 502;

/// All of them, in order.
pub const ALL: &[u16] = &[
    SECRET,
    LOGIN,
    THROTTLED,
    DNS,
    UNREACHABLE,
    TIMEOUT,
    CLOSED,
    CERTIFICATE,
    OPEN_CHANNEL,
    SWITCHED_OFF,
    PROTOCOL,
    MAILBOX,
    NOT_FETCHED,
    UIDS_WENT_BACK,
    DISK,
    LEDGER,
    STATE_DIR,
    NO_RECIPIENT,
    TOO_LARGE,
    LOOP,
    CONTENT,
    REFUSED,
    IN_DOUBT,
    GIVEN_UP,
    TARGET_DOWN,
    DAEMON,
    CONFIG_REJECTED,
];

/// The kind of what ends a session, in one word of a fixed set: for metrics.
pub fn kind(code: u16) -> &'static str {
    match code {
        SECRET | LOGIN => "auth",
        THROTTLED => "throttled",
        DNS => "dns",
        UNREACHABLE | CLOSED => "connect",
        TIMEOUT => "timeout",
        CERTIFICATE | OPEN_CHANNEL => "tls",
        PROTOCOL | SWITCHED_OFF => "protocol",
        MAILBOX | NOT_FETCHED | UIDS_WENT_BACK => "mailbox",
        DISK | LEDGER | STATE_DIR => "disk",
        TARGET_DOWN => "delivery",
        _ => "internal",
    }
}

/// The number of an event of the mail log, if the event is about something that went wrong.
pub fn of_event(event: &str) -> Option<u16> {
    Some(match event {
        "recipient_unresolved" => NO_RECIPIENT,
        "message_loop" => LOOP,
        "message_content" => CONTENT,
        "message_too_large" => TOO_LARGE,
        "message_refused" => REFUSED,
        "message_in_doubt" => IN_DOUBT,
        "message_skipped" => TOO_LARGE,
        "message_not_fetched" => NOT_FETCHED,
        "message_unreadable" => NOT_FETCHED,
        "folder_missing" => MAILBOX,
        "uids_went_back" => UIDS_WENT_BACK,
        "config_rejected" => CONFIG_REJECTED,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_in_the_list() {
        let text = include_str!("code.rs").split("pub const ALL").next().unwrap();
        let numbers: Vec<u16> =
            text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once("u16 = ")?.1.strip_suffix(';')?.parse().ok()).collect();
        assert_eq!(numbers, ALL);
        assert!(ALL.is_sorted() && ALL.len() > 20);
        assert_eq!((of_event("message_loop"), of_event("message_delivered")), (Some(LOOP), None));
    }
}
