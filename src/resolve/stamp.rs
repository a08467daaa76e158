//! The trace fields that we put on top of a message at its delivery.
//!
//! Received goes by RFC 5321 §4.4; the protocol stands in a comment, because IANA has registered neither IMAP nor POP3 for `with`. `for` is
//! there only with exactly one recipient: it would tell the others of a Bcc. Whatever a value holds, it cannot end a line or a field.

use crate::mail::{Address, CollectorId, Recipient, ReversePath, TraceId};
use crate::resolve::loops::MARKER_HEADER;
use crate::resolve::resolver::Resolution;
use crate::resolve::sender::GUESS_STAGE;
use jiff::Zoned;
use std::fmt::Write;
use std::net::IpAddr;

/// Longest line that a server must take, in octets without its end (RFC 5321 §4.5.3.1.6).
pub const LINE_OCTETS_MAX: usize = 998;
/// Longest value taken over from elsewhere, in characters.
pub const VALUE_CHARS_MAX: usize = 800;
/// Most refused addresses that are named.
pub const REFUSED_MAX: usize = 20;

/// Everything that a stamp tells.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Write the Received field (`trace_headers.received`).
    pub received: bool,
    /// Write X-Mailgather-Id, -Collector, -Resolved, -Unresolved and -Refused (`trace_headers.id`).
    pub id: bool,
    /// Write this on top as Return-Path: for a Maildir, where we are the final server.
    pub return_path: Option<&'a ReversePath>,
    /// Our host's name.
    pub hostname: &'a str,
    /// Product and version: `mailgather/0.1.0`.
    pub product: &'a str,
    /// How it was collected: `IMAPS`, `POP3`.
    pub protocol: &'a str,
    /// The host that it was collected from.
    pub source_host: &'a str,
    /// Its address, if known.
    pub source_ip: Option<IpAddr>,
    /// The message's id.
    pub trace_id: TraceId,
    /// The collector's name.
    pub collector: &'a CollectorId,
    /// When it was fetched.
    pub time: &'a Zoned,
    /// The recipients of this transaction.
    pub recipients: &'a [Recipient],
    /// How they were found.
    pub resolution: &'a Resolution,
    /// The addresses that the target refused, when the default box gets the message in their place.
    pub refused: &'a [Address],
    /// The loop marker, which is always written.
    pub marker: &'a str,
}

impl Stamp<'_> {
    /// The fields, each complete with CRLF.
    pub fn to_header(&self) -> Vec<u8> {
        let mut out = String::new();
        if let Some(path) = self.return_path {
            let _ = write!(out, "Return-Path: <{}>\r\n", path.to_smtp());
        }
        if self.received {
            self.write_received(&mut out);
        }
        if self.id {
            let _ = write!(out, "X-Mailgather-Id: {}\r\nX-Mailgather-Collector: {}\r\n", self.trace_id, self.collector);
            match self.resolution {
                // The reader is to know that nobody vouches for a guess.
                Resolution::Recipients(_, evidence) if evidence.stage == GUESS_STAGE => {
                    field(&mut out, "X-Mailgather-Resolved", &format!("guess: {evidence}"));
                }
                Resolution::Recipients(_, evidence) => field(&mut out, "X-Mailgather-Resolved", &evidence.to_string()),
                Resolution::DefaultBox(_, reason) | Resolution::Leave(reason) | Resolution::Hold(reason) | Resolution::Discard(reason) => {
                    field(&mut out, "X-Mailgather-Unresolved", reason.code())
                }
            }
            for address in self.refused.iter().take(REFUSED_MAX) {
                field(&mut out, "X-Mailgather-Refused", &address.to_smtp());
            }
        }
        out.push_str(MARKER_HEADER);
        out.push(':');
        // One line would grow with the number of recipients.
        for (nth, word) in self.marker.split_ascii_whitespace().filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric())).enumerate() {
            out.push_str(if nth > 0 && nth % 4 == 0 { "\r\n\t" } else { " " });
            out.extend(word.chars().take(VALUE_CHARS_MAX / 4));
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    fn write_received(&self, out: &mut String) {
        let _ = write!(out, "Received: from {}", host(self.source_host));
        match self.source_ip {
            Some(IpAddr::V4(ip)) => drop(write!(out, " ([{ip}])")),
            Some(IpAddr::V6(ip)) => drop(write!(out, " ([IPv6:{ip}])")),
            None => {}
        }
        let _ = write!(out, "\r\n\tby {} ({} with {},", host(self.hostname), atom(self.product), atom(self.protocol));
        // Whose mailbox it was: by the collector's name, never the login name, which may be half a secret.
        let _ = write!(out, " collector {})", self.collector);
        let _ = write!(out, "\r\n\tid {}", self.trace_id);
        // RFC 6531 §3.7.3 allows a local part beyond ASCII here only if the message went by SMTPUTF8.
        if let [only] = self.recipients
            && !only.address.needs_smtputf8()
        {
            let _ = write!(out, "\r\n\tfor <{}>", only.address.to_smtp());
        }
        let _ = write!(out, ";\r\n\t{}\r\n", self.time.strftime("%a, %d %b %Y %H:%M:%S %z"));
    }
}

/// One unstructured field. Beyond printable ASCII it is written in encoded words (RFC 2047 §4.2).
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let value: String = value.chars().take(VALUE_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if value.is_ascii() && !value.contains("=?") {
        let _ = write!(out, " {value}\r\n");
        return;
    }
    // An encoded word has at most 75 characters and holds whole characters; five of four octets each make 72.
    for (nth, word) in value.chars().collect::<Vec<_>>().chunks(5).enumerate() {
        out.push_str(if nth > 0 { "\r\n\t=?utf-8?Q?" } else { " =?utf-8?Q?" });
        for octet in word.iter().collect::<String>().bytes() {
            match octet {
                b if b.is_ascii_alphanumeric() => out.push(char::from(b)),
                b => drop(write!(out, "={b:02X}")),
            }
        }
        out.push_str("?=");
    }
    out.push_str("\r\n");
}

/// A host name in A-labels, an address as a literal, and nothing that has a meaning in a header.
fn host(name: &str) -> String {
    match name.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => name.parse::<crate::mail::Domain>().map_or_else(|_| atom(name), |domain| domain.as_ascii().to_owned()),
    }
}

fn atom(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-/+".contains(c) { c } else { '?' };
    let text: String = text.chars().take(200).map(safe).collect();
    if text.is_empty() { "?".into() } else { text }
}
