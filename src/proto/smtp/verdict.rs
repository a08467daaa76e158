//! What a reply means, by stage: the table of the resolution rules, section 7, as one function.

use super::Protocol;
use crate::mail::{Blame, Reply, Stage};

/// The meaning of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes: go on; at the final dot: the target has taken responsibility.
    Accepted,
    /// Not now.
    Deferred(Blame),
    /// Never.
    Rejected(Blame),
    /// A reply that has no place here: 354 to MAIL, 250 to DATA. Whoever talks like that cannot be followed any further.
    Unexpected,
}

/// What `reply` means at `stage`.
pub fn verdict(protocol: Protocol, stage: Stage, reply: &Reply) -> Verdict {
    use Verdict::*;
    // RFC 5321 §3.8: 421 may come at any time and means that the server goes away, not that it judged the message.
    // Behind the content it may be the message all the same (a filter that died of it): it is set back, and the next one finds out whether the
    // server is there.
    if reply.code == 421 {
        return Deferred(if stage == Stage::Content { Blame::Message } else { Blame::Target });
    }
    match (stage, reply.code / 100) {
        (Stage::Greeting | Stage::Hello | Stage::Tls | Stage::Auth | Stage::MailFrom | Stage::RcptTo | Stage::Content, 2) => Accepted,
        (Stage::Data, 3) => Accepted,
        (_, 2 | 3) => Unexpected,
        (Stage::MailFrom | Stage::RcptTo | Stage::Data | Stage::Content, 5) if is_about_the_session(stage, reply) => Deferred(Blame::Target),
        (Stage::MailFrom | Stage::Data, 4) => Deferred(Blame::Message),
        (Stage::MailFrom | Stage::Data, _) => Rejected(Blame::Message),
        (Stage::RcptTo, 4) => Deferred(Blame::Recipient),
        // A full mailbox becomes empty some day, whatever the class of the code says.
        (Stage::RcptTo, _) if is_mailbox_full(reply) => Deferred(Blame::Recipient),
        // Not about who gets it: another recipient, the default box say, would fare no better.
        (Stage::RcptTo, _) if is_policy_refusal(reply) || is_too_big(reply) || is_bad_sender(reply) => Rejected(Blame::Message),
        (Stage::RcptTo, _) => Rejected(Blame::Recipient),
        (Stage::Content, class) => final_dot(protocol, class, reply),
        // Connect, greeting, hello, TLS, login: never the message's fault.
        _ => Deferred(Blame::Target),
    }
}

/// 530 asks for a login or for TLS first; 503 and 502 say that this client and this server disagree about the dialogue. No sender, recipient
/// or content would fare better.
fn is_about_the_session(stage: Stage, reply: &Reply) -> bool {
    let at_mail = stage == Stage::MailFrom && reply.enhanced == Some((5, 7, 0));
    matches!(reply.code, 530 | 538) || (stage != Stage::Content && matches!(reply.code, 502 | 503)) || at_mail
}

/// A refusal at RCPT by policy: relaying denied, a block list, the sender or this client not wanted (RFC 3463 §3.8). 554 says so too, unless
/// its enhanced code is about the mailbox; Exim, which sends no enhanced codes, says `550 relay not permitted`.
pub fn is_policy_refusal(reply: &Reply) -> bool {
    match reply.enhanced {
        Some((5, 7, _)) => true,
        Some((_, 1 | 2, _)) => false,
        Some(_) => reply.code == 554,
        None if reply.code == 550 => {
            let text = reply.text.to_ascii_lowercase();
            text.contains("relay") && !text.contains("unknown")
        }
        None => reply.code == 554,
    }
}

/// A refusal at RCPT that says that there is no such mailbox, and nothing else (RFC 3463 §3.2, §3.3).
pub fn is_unknown_recipient(reply: &Reply) -> bool {
    let about_the_mailbox = match reply.enhanced {
        Some((5, 1, 7 | 8)) => false,
        Some((5, 1, _) | (5, 2, 1)) => true,
        Some(_) => false,
        None => matches!(reply.code, 550 | 551 | 553) && !is_policy_refusal(reply),
    };
    reply.code / 100 == 5 && about_the_mailbox
}

/// The reverse-path is not wanted (RFC 3463 §3.2), whichever command is answered.
pub fn is_bad_sender(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some((_, 1, 7 | 8)))
}

fn is_mailbox_full(reply: &Reply) -> bool {
    match reply.enhanced {
        Some((_, 2, 2)) => true,
        _ if is_too_big(reply) => false,
        _ => reply.code == 552,
    }
}

/// 552 5.3.4 and 552 5.2.3 are about the size of the message.
fn is_too_big(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some((_, 3, 4) | (_, 2, 3)))
}

/// The answer to the final dot. In LMTP it is about one recipient, so what would be said at RCPT may be said here.
fn final_dot(protocol: Protocol, class: u16, reply: &Reply) -> Verdict {
    let subject = reply.enhanced.map(|(_, subject, _)| subject);
    match (protocol, class) {
        (Protocol::Smtp, 4) => Verdict::Deferred(Blame::Message),
        (Protocol::Smtp, _) if reply.enhanced.is_some() && is_mailbox_full(reply) => Verdict::Deferred(Blame::Message),
        (Protocol::Smtp, _) => Verdict::Rejected(Blame::Message),
        (Protocol::Lmtp, 4) => Verdict::Deferred(Blame::Recipient),
        (Protocol::Lmtp, _) if is_mailbox_full(reply) => Verdict::Deferred(Blame::Recipient),
        (Protocol::Lmtp, _) if subject == Some(1) || reply.enhanced.is_some_and(|code| matches!(code, (5, 2, 0 | 1))) => {
            Verdict::Rejected(Blame::Recipient)
        }
        (Protocol::Lmtp, _) => Verdict::Rejected(Blame::Message),
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol::{Lmtp, Smtp};
    use super::Verdict::*;
    use super::*;

    #[test]
    fn the_reply_table_of_resolution_7() {
        use Blame::*;
        use Stage::*;
        let table = [
            (Smtp, Greeting, "220", Accepted),
            (Smtp, Greeting, "554", Deferred(Target)),
            (Smtp, Greeting, "421", Deferred(Target)),
            (Smtp, Greeting, "354", Unexpected),
            (Smtp, Hello, "550", Deferred(Target)),
            (Smtp, Tls, "454 4.7.0", Deferred(Target)),
            (Smtp, Tls, "501", Deferred(Target)),
            (Smtp, Auth, "235", Accepted),
            (Smtp, Auth, "334", Unexpected),
            (Smtp, Auth, "535 5.7.8", Deferred(Target)),
            (Smtp, Auth, "454 4.7.0", Deferred(Target)),
            (Smtp, MailFrom, "250", Accepted),
            (Smtp, MailFrom, "451", Deferred(Message)),
            (Smtp, MailFrom, "421 4.3.2", Deferred(Target)),
            (Smtp, MailFrom, "530", Deferred(Target)),
            (Smtp, MailFrom, "550 5.7.0", Deferred(Target)),
            (Smtp, MailFrom, "503 5.5.1", Deferred(Target)),
            (Smtp, MailFrom, "501 5.1.7", Rejected(Message)),
            (Smtp, MailFrom, "550 5.7.1", Rejected(Message)),
            (Smtp, MailFrom, "552 5.3.4", Rejected(Message)),
            (Smtp, MailFrom, "354", Unexpected),
            (Smtp, RcptTo, "250", Accepted),
            (Smtp, RcptTo, "251", Accepted),
            (Smtp, RcptTo, "252", Accepted),
            (Smtp, RcptTo, "450 4.2.0", Deferred(Recipient)),
            (Smtp, RcptTo, "451 4.7.1", Deferred(Recipient)),
            (Smtp, RcptTo, "452 4.5.3", Deferred(Recipient)),
            (Smtp, RcptTo, "421", Deferred(Target)),
            (Smtp, RcptTo, "550 5.1.1", Rejected(Recipient)),
            (Smtp, RcptTo, "550 5.1.8", Rejected(Message)),
            (Smtp, RcptTo, "551", Rejected(Recipient)),
            (Smtp, RcptTo, "553 5.1.3", Rejected(Recipient)),
            (Lmtp, RcptTo, "552 5.2.2", Deferred(Recipient)),
            (Lmtp, RcptTo, "552", Deferred(Recipient)),
            (Lmtp, RcptTo, "550 5.2.2", Deferred(Recipient)),
            (Smtp, RcptTo, "550", Rejected(Recipient)),
            (Smtp, RcptTo, "550 User unknown in relay recipient table", Rejected(Recipient)),
            (Smtp, RcptTo, "550 5.2.1", Rejected(Recipient)),
            (Smtp, RcptTo, "554 5.1.1", Rejected(Recipient)),
            (Smtp, RcptTo, "552 5.3.4", Rejected(Message)),
            (Lmtp, RcptTo, "552 5.2.3", Rejected(Message)),
            (Smtp, RcptTo, "554", Rejected(Message)),
            (Smtp, RcptTo, "554 5.7.1", Rejected(Message)),
            (Smtp, RcptTo, "550 5.7.1", Rejected(Message)),
            (Smtp, RcptTo, "550 5.7.26", Rejected(Message)),
            (Smtp, RcptTo, "550 relay not permitted", Rejected(Message)),
            (Smtp, RcptTo, "530 5.7.0", Deferred(Target)),
            (Smtp, Data, "354", Accepted),
            (Smtp, Data, "250", Unexpected),
            (Smtp, Data, "451", Deferred(Message)),
            (Smtp, Data, "554", Rejected(Message)),
            (Smtp, Content, "250", Accepted),
            (Smtp, Content, "354", Unexpected),
            (Smtp, Content, "451", Deferred(Message)),
            (Smtp, Content, "421", Deferred(Message)),
            (Smtp, Content, "550 5.7.1", Rejected(Message)),
            (Smtp, Content, "552 5.3.4", Rejected(Message)),
            (Smtp, Content, "552", Rejected(Message)),
            (Smtp, Content, "552 5.2.2", Deferred(Message)),
            (Smtp, Content, "554 5.6.0", Rejected(Message)),
            (Lmtp, Content, "250", Accepted),
            (Lmtp, Content, "451 4.2.0", Deferred(Recipient)),
            (Lmtp, Content, "552 5.2.2", Deferred(Recipient)),
            (Lmtp, Content, "552 5.3.4", Rejected(Message)),
            (Lmtp, Content, "550 5.1.1", Rejected(Recipient)),
            (Lmtp, Content, "554 5.6.0", Rejected(Message)),
        ];
        for (said, unknown) in [
            ("550", true),
            ("550 5.1.1", true),
            ("551", true),
            ("553 5.1.3", true),
            ("550 5.2.1", true),
            ("554 5.1.1", true),
            ("450 5.1.1", false),
            ("550 5.7.1", false),
            ("550 relay not permitted", false),
            ("554", false),
            ("552 5.2.2", false),
            ("501 5.5.4", false),
            ("500", false),
        ] {
            let (_, reply) = crate::proto::smtp::ReplyReader::new().push(format!("{said}\r\n").as_bytes()).unwrap();
            assert_eq!(is_unknown_recipient(&reply.unwrap().reply), unknown, "{said}");
        }
        for (protocol, stage, said, expected) in table {
            let (_, reply) = crate::proto::smtp::ReplyReader::new().push(format!("{said}\r\n").as_bytes()).unwrap();
            assert_eq!(verdict(protocol, stage, &reply.unwrap().reply), expected, "{protocol:?} {stage}: {said}");
        }
    }
}
