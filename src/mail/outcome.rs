//! What became of one recipient of one delivery. Only a positive answer is final; anything unknown means "not delivered".

use std::fmt;
use std::sync::Arc;

/// The outcome for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target took responsibility for this recipient (a 2xx after the final dot, or a durable file).
    Delivered(Reply),
    /// Not now; the copy at the source stays, and it is tried again.
    Deferred(Diagnosis),
    /// Never, says the target (a 5xx).
    Rejected(Diagnosis),
    /// No answer to the final dot: it may have been delivered (RFC 1047). Counted, tried again, never guessed.
    Unknown(Diagnosis),
}

impl Outcome {
    /// True if nothing more is to be done for this recipient.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Outcome::Delivered(_))
    }

    /// The target's reply, if it gave one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Outcome::Delivered(reply) => Some(reply),
            Outcome::Deferred(diagnosis) | Outcome::Rejected(diagnosis) | Outcome::Unknown(diagnosis) => diagnosis.reply.as_ref(),
        }
    }

    /// Notes which server of several said it.
    pub fn said_by(&mut self, server: &Arc<str>) {
        match self {
            Outcome::Delivered(reply) => reply.by = Some(Arc::clone(server)),
            Outcome::Deferred(diagnosis) | Outcome::Rejected(diagnosis) | Outcome::Unknown(diagnosis) => {
                if let Some(reply) = &mut diagnosis.reply {
                    reply.by = Some(Arc::clone(server));
                }
            }
        }
    }
}

/// A reply of an SMTP or LMTP server, with control characters replaced and cut to a length fit for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits (RFC 5321 §4.2); 0 where the target has no codes (Maildir).
    pub code: u16,
    /// The enhanced status code (RFC 3463), e.g. (5, 1, 1).
    pub enhanced: Option<(u8, u16, u16)>,
    /// The text, lines joined by a blank.
    pub text: String,
    /// Which server said it, where a target is several.
    pub by: Option<Arc<str>>,
}

impl Reply {
    /// Longest text that is kept, in octets.
    pub const TEXT_OCTETS_MAX: usize = 500;

    /// A reply with its text made harmless: control characters become `?`, what is too long is cut.
    pub fn new(code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) -> Self {
        Reply { code, enhanced, text: harmless(text, Self::TEXT_OCTETS_MAX), by: None }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if self.code != 0 {
            write!(f, "{}", self.code)?;
            gap = " ";
        }
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, "{gap}{class}.{subject}.{detail}")?;
            gap = " ";
        }
        if !self.text.is_empty() {
            write!(f, "{gap}{}", self.text)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text from outside, fit for a log line: control characters replaced by `?`, cut at `octets_max` on a character's border.
pub fn harmless(text: &str, octets_max: usize) -> String {
    // Nearly all of them: several are made for each message.
    if text.len() <= octets_max && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(octets_max));
    for c in text.chars() {
        let c = if c.is_control() || turns_lines(c) { '?' } else { c };
        if out.len() + c.len_utf8() > octets_max {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// True for what ends a line or turns the direction of writing, though Unicode counts it as text.
fn turns_lines(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Why a delivery did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The step that failed.
    pub stage: Stage,
    /// Who is to blame, which decides what stands still because of it.
    pub blame: Blame,
    /// The target's reply, if it gave one.
    pub reply: Option<Reply>,
    /// What happened, in words, when there was no reply: "connection refused", "timed out after 30 s".
    pub text: String,
    /// What the operator can do about it, where the failure tells.
    pub hint: Option<String>,
}

impl Diagnosis {
    /// A failure that a reply tells of.
    pub fn of_reply(stage: Stage, blame: Blame, reply: Reply) -> Self {
        Diagnosis { stage, blame, reply: Some(reply), text: String::new(), hint: None }
    }

    /// A failure without a reply.
    pub fn of_text(stage: Stage, blame: Blame, text: impl Into<String>) -> Self {
        Diagnosis { stage, blame, reply: None, text: text.into(), hint: None }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.stage)?;
        match &self.reply {
            Some(reply) if self.text.is_empty() => write!(f, "{reply}"),
            Some(reply) => write!(f, "{} ({reply})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Why a target takes nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDown {
    /// What happened, the step first.
    pub reason: String,
    /// What the operator can do about it, where the failure tells.
    pub hint: Option<String>,
}

impl From<&Diagnosis> for TargetDown {
    fn from(diagnosis: &Diagnosis) -> Self {
        TargetDown { reason: diagnosis.to_string(), hint: diagnosis.hint.clone() }
    }
}

/// Who a failure is about (resolution rules, section 7: replies).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The target as a whole: unreachable, refuses to serve, misconfigured. No message is to blame; the pass stops.
    Target,
    /// This message: its content, size or sender.
    Message,
    /// This recipient only: unknown, full, greylisted.
    Recipient,
}

/// The step of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding and reaching the target.
    Connect,
    /// The greeting.
    Greeting,
    /// EHLO or LHLO.
    Hello,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    MailFrom,
    /// RCPT TO.
    RcptTo,
    /// DATA.
    Data,
    /// The content, up to the answer to the final dot.
    Content,
    /// Writing a file of a Maildir.
    File,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Hello => "hello",
            Stage::Tls => "tls",
            Stage::Auth => "auth",
            Stage::MailFrom => "mail from",
            Stage::RcptTo => "rcpt to",
            Stage::Data => "data",
            Stage::Content => "content",
            Stage::File => "file",
        })
    }
}
