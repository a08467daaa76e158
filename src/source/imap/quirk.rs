//! What single providers want. Everything else that servers do in their own way is tolerated from every server, where it happens; docs/imap.md
//! lists it by name.

use crate::proto::imap::Status;

/// Hosts that refuse every folder with "Unsafe Login" until a client has said by ID (RFC 2971) who it is: NetEase and Tencent, and what they run
/// for others.
const ID_BEFORE_SELECT: [&str; 8] = ["163.com", "126.com", "yeah.net", "188.com", "vip.163.com", "netease.com", "qq.com", "foxmail.com"];

/// True for a host that wants ID before SELECT.
pub(super) fn wants_id(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    ID_BEFORE_SELECT.iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// True for the greeting of Coremail, which NetEase and many companies and universities run: it may want ID before SELECT under any host name.
pub(super) fn greets_like_coremail(greeting: &str) -> bool {
    greeting.to_ascii_lowercase().contains("coremail")
}

/// True for the refusal of a folder that means: tell me by ID who you are.
pub(super) fn is_unsafe_login(status: &Status) -> bool {
    status.text.to_ascii_lowercase().contains("unsafe login")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (host, wanted) in [
            ("imap.163.com", true),
            ("IMAP.QQ.com.", true),
            ("163.com", true),
            ("imap.exmail.qq.com", true),
            ("imap.x163.com", false),
            ("163.com.example.org", false),
            ("imap.gmail.com", false),
        ] {
            assert_eq!(wants_id(host), wanted, "{host}");
        }
        assert!(greets_like_coremail("Coremail System IMap Server Ready(163com)") && !greets_like_coremail("Dovecot ready."));
    }
}
