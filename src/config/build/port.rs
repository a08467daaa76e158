//! Ports that belong to another service, or to another way of TLS: slips that would end in an answer nobody understands.

use super::Ctx;
use crate::config::TlsMode;
use crate::config::error::Code;
use crate::config::text::Span;

/// What is behind well-known ports (RFC 8314 §7.3, RFC 6409 §3.1): TLS from the first octet, or an open greeting.
const WELL_KNOWN: [(u16, &str, bool); 7] = [
    (143, "IMAP", false),
    (993, "IMAP", true),
    (110, "POP3", false),
    (995, "POP3", true),
    (25, "SMTP", false),
    (587, "SMTP", false),
    (465, "SMTP", true),
];

/// Warns of a port that is known for something else; it may be right all the same.
pub(super) fn doubt_port(ctx: &mut Ctx<'_>, span: Span, port: u16, service: &str, mode: TlsMode) {
    let Some((_, other, implicit)) = WELL_KNOWN.into_iter().find(|(known, ..)| *known == port) else { return };
    let is_implicit = mode == TlsMode::Implicit;
    let (what, hint) = match (other == service, implicit) {
        (true, _) if implicit == is_implicit => return,
        (true, true) => ("`tls: {mode: implicit}`", "TLS from the first octet is spoken there: write that mode, or another port"),
        (true, false) => ("`tls: {mode: starttls}`", "TLS begins there by a command: write that mode, or another port"),
        (false, _) if other != "SMTP" && service != "SMTP" => (other, "write its `protocol:`, or leave `port` out"),
        (false, _) => (other, "leave the port out, or write that of the service"),
    };
    ctx.add(ctx.warning(Code::Doubtful, span, format!("port {port} is that of {what}")).hint(hint));
}
