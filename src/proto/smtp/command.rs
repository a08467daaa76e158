//! Commands as they go over the wire. Each function appends exactly one line, whatever it is given: addresses cannot hold a line break by
//! their type ([`Address`]), and the one free text, the name in EHLO, is checked here.

use crate::mail::{Address, Client, ReversePath, Secret};
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
    /// `RET=HDRS` (RFC 3461 §4.3): should anybody report on it after all, then without the content.
    pub return_headers: bool,
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
    if parameters.return_headers {
        line.push_str(" RET=HDRS");
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// RCPT TO (RFC 5321 §4.1.1.3), with `NOTIFY=NEVER` (RFC 3461 §4.1) if nobody is to be told what becomes of it.
pub fn rcpt_to(recipient: &Address, notify_never: bool) -> Vec<u8> {
    let parameter = if notify_never { " NOTIFY=NEVER" } else { "" };
    format!("RCPT TO:<{}>{parameter}\r\n", recipient.to_smtp()).into_bytes()
}

/// Longest command line, with its line end (RFC 5321 §4.5.3.1.4).
const COMMAND_OCTETS_MAX: usize = 512;

/// XCLIENT (Postfix, XCLIENT_README) with those of our four attributes that the server takes; `None` if the address is not among them, without
/// which there is no client.
pub fn xclient(offered: &[String], client: &Client) -> Option<Vec<u8>> {
    let ip = client.ip.to_canonical();
    let name = |domain: &Option<crate::mail::Domain>| domain.as_ref().map_or("[UNAVAILABLE]".to_owned(), |name| name.as_ascii().to_owned());
    let attributes = [
        ("ADDR", if ip.is_ipv6() { format!("IPV6:{ip}") } else { ip.to_string() }),
        ("NAME", name(&client.name)),
        ("PROTO", if client.esmtp { "ESMTP" } else { "SMTP" }.to_owned()),
        // Last: it is what the next command, EHLO, says too, and may be left out of a line that would be too long.
        ("HELO", name(&client.helo)),
    ];
    let mut line = "XCLIENT".to_owned();
    for (attribute, value) in attributes {
        let word = format!(" {attribute}={}", xtext(&value));
        let is_offered = offered.iter().any(|offered| offered == attribute);
        if attribute == "ADDR" && !is_offered {
            return None;
        }
        if is_offered && line.len() + word.len() + 2 <= COMMAND_OCTETS_MAX {
            line.push_str(&word);
        }
    }
    line.push_str("\r\n");
    Some(line.into_bytes())
}

/// RFC 3461 §4: printable ASCII but for `+` and `=`; everything else as `+` and two upper-case hexadecimal digits.
fn xtext(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for octet in value.bytes() {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => out.push(char::from(octet)),
            _ => out.push_str(&format!("+{octet:02X}")),
        }
    }
    out
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
        let all = MailParameters { size: Some(12), eight_bit: true, smtputf8: true, return_headers: true };
        assert_eq!(text(mail_from(&sender, all)), "MAIL FROM:<anna@xn--h1aev.xn--p1ai> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=HDRS\r\n");
        assert_eq!(text(rcpt_to(&"\"a b>\"@c.example".parse().unwrap(), false)), "RCPT TO:<\"a b>\"@c.example>\r\n");
        assert_eq!(text(rcpt_to(&"a@c.example".parse().unwrap(), true)), "RCPT TO:<a@c.example> NOTIFY=NEVER\r\n");
        assert_eq!(text(hello(Protocol::Lmtp, "[127.0.0.1]")), "LHLO [127.0.0.1]\r\n");
        assert_eq!(text(hello(Protocol::Smtp, "a\r\nRSET")), "EHLO localhost\r\n");
        assert_eq!(text(helo("")), "HELO localhost\r\n");
    }

    #[test]
    fn xclient_says_what_the_server_takes() {
        let offered: Vec<String> = ["NAME", "ADDR", "PROTO", "HELO", "PORT"].map(String::from).to_vec();
        let full = Client {
            ip: "192.0.2.1".parse().unwrap(),
            name: Some("mail.икс.рф".parse().unwrap()),
            helo: Some("a_b.example".parse().unwrap()),
            esmtp: true,
        };
        let line = |offered: &[String], client: &Client| xclient(offered, client).map(text);
        let expected = "XCLIENT ADDR=192.0.2.1 NAME=mail.xn--h1aev.xn--p1ai PROTO=ESMTP HELO=a_b.example\r\n";
        assert_eq!(line(&offered, &full).unwrap(), expected);
        let bare = Client { ip: "2001:db8::1".parse().unwrap(), name: None, helo: None, esmtp: false };
        let expected = "XCLIENT ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE] PROTO=SMTP HELO=[UNAVAILABLE]\r\n";
        assert_eq!(line(&offered, &bare).unwrap(), expected);
        assert_eq!(line(&offered[1..2], &bare).unwrap(), "XCLIENT ADDR=IPV6:2001:db8::1\r\n");
        assert_eq!((line(&offered[..1], &full), line(&[], &full)), (None, None));
        let mapped = Client { ip: "::ffff:192.0.2.7".parse().unwrap(), ..bare };
        assert_eq!(line(&offered[1..2], &mapped).unwrap(), "XCLIENT ADDR=192.0.2.7\r\n");
        let long: crate::mail::Domain = [["a"; 61].concat(), ["b"; 61].concat(), ["c"; 61].concat(), ["d"; 61].concat()].join(".").parse().unwrap();
        let long = Client { name: Some(long.clone()), helo: Some(long), ..full };
        assert!(xclient(&offered, &long).unwrap().len() <= COMMAND_OCTETS_MAX);
        assert_eq!(xtext("a+b=c d\u{e9}\r"), "a+2Bb+3Dc+20d+C3+A9+0D");
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
                prop_assert_eq!(lines(rcpt_to(&address, false)), 2);
                prop_assert_eq!(lines(mail_from(&ReversePath::Address(address), MailParameters::default())), 2);
            }
        }
    }
}
