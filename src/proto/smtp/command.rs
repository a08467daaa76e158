//! Commands as they go over the wire. Each function appends exactly one line, whatever it is given: addresses cannot hold a line break by
//! their type ([`Address`]), and the one free text, the name in EHLO, is checked here.

use crate::mail::{Address, ReversePath, Secret};
use crate::proto::sasl;
use crate::proto::smtp::Protocol;

/// DATA (RFC 5321 §4.1.1.4).
pub const DATA: &[u8] = b"DATA\r\n";
/// RSET (RFC 5321 §4.1.1.5).
pub const RSET: &[u8] = b"RSET\r\n";
/// QUIT (RFC 5321 §4.1.1.10).
pub const QUIT: &[u8] = b"QUIT\r\n";
/// STARTTLS (RFC 3207 §4).
pub const STARTTLS: &[u8] = b"STARTTLS\r\n";
/// A message of no octets, to end a DATA that has nobody to go to (RFC 2920 §3.1).
pub const LONE_DOT: &[u8] = b".\r\n";

/// Parameters of MAIL FROM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=` (RFC 1870 §6), if the server offers it.
    pub size: Option<u64>,
    /// `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub smtputf8: bool,
}

/// MAIL FROM (RFC 5321 §4.1.1.2).
pub fn mail_from(sender: &ReversePath, parameters: MailParameters) -> Vec<u8> {
    let mut line = format!("MAIL FROM:<{}>", sender.to_smtp());
    if let Some(octets) = parameters.size {
        line.push_str(&format!(" SIZE={octets}"));
    }
    if parameters.eight_bit {
        line.push_str(" BODY=8BITMIME");
    }
    if parameters.smtputf8 {
        line.push_str(" SMTPUTF8");
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// RCPT TO (RFC 5321 §4.1.1.3).
pub fn rcpt_to(recipient: &Address) -> Vec<u8> {
    format!("RCPT TO:<{}>\r\n", recipient.to_smtp()).into_bytes()
}

/// EHLO or LHLO with our name; a name that is not one is replaced by `localhost`.
pub fn hello(protocol: Protocol, name: &str) -> Vec<u8> {
    let word = match protocol {
        Protocol::Smtp => "EHLO",
        Protocol::Lmtp => "LHLO",
    };
    format!("{word} {}\r\n", hello_name(name)).into_bytes()
}

/// HELO, for servers of before 1995.
pub fn helo(name: &str) -> Vec<u8> {
    format!("HELO {}\r\n", hello_name(name)).into_bytes()
}

/// A domain or an address literal (RFC 5321 §4.1.3), by its characters.
fn hello_name(name: &str) -> &str {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if (1..=255).contains(&name.len()) && name.bytes().all(safe) { name } else { "localhost" }
}

/// AUTH PLAIN with its initial response (RFC 4954 §4), or `None` if name or password hold a NUL, which PLAIN cannot carry.
pub fn auth_plain(username: &str, password: &Secret) -> Option<Secret> {
    sasl::plain(username, password).map(|response| Secret::new(format!("AUTH PLAIN {}\r\n", response.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines() {
        let sender = ReversePath::Address("anna@икс.рф".parse().unwrap());
        assert_eq!(text(mail_from(&ReversePath::Null, MailParameters::default())), "MAIL FROM:<>\r\n");
        let all = MailParameters { size: Some(12), eight_bit: true, smtputf8: true };
        assert_eq!(text(mail_from(&sender, all)), "MAIL FROM:<anna@xn--h1aev.xn--p1ai> SIZE=12 BODY=8BITMIME SMTPUTF8\r\n");
        assert_eq!(text(rcpt_to(&"\"a b>\"@c.example".parse().unwrap())), "RCPT TO:<\"a b>\"@c.example>\r\n");
        assert_eq!(text(hello(Protocol::Lmtp, "[127.0.0.1]")), "LHLO [127.0.0.1]\r\n");
        assert_eq!(text(hello(Protocol::Smtp, "a\r\nRSET")), "EHLO localhost\r\n");
        assert_eq!(text(helo("")), "HELO localhost\r\n");
    }

    #[test]
    fn auth_plain_is_one_line() {
        let line = auth_plain("tim", &Secret::new("tanstaaftanstaaf".into())).unwrap();
        assert_eq!(line.expose(), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
        assert!(auth_plain("a", &Secret::new("b\0c".into())).is_none());
    }

    proptest! {
        #[test]
        fn nothing_injects(local in any::<String>(), name in any::<String>()) {
            let lines = |line: Vec<u8>| line.iter().filter(|&&b| b == b'\n' || b == b'\r').count();
            prop_assert_eq!(lines(hello(Protocol::Smtp, &name)), 2);
            if let Ok(address) = format!("\"{}\"@example.org", local.replace('\\', "\\\\").replace('"', "\\\"")).parse::<Address>() {
                prop_assert_eq!(lines(rcpt_to(&address)), 2);
                prop_assert_eq!(lines(mail_from(&ReversePath::Address(address), MailParameters::default())), 2);
            }
        }
    }
}
