//! What is said: one notice, and several of them as a text, as JSON, as the variables of a program. Pure.

use super::judge::in_utc;
use crate::config::{LogRedact, NoticeEvent};
use crate::mail::CollectorId;
use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use crate::observe::logging::redacted;
use crate::observe::version;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Longest message and hint of a notice, in octets.
const TEXT_OCTETS_MAX: usize = 800;
/// Longest line of a text, in characters: what a mail server must take is more.
const LINE_CHARS: usize = 100;

/// Why it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Something is wrong.
    Raised,
    /// It still is.
    Repeated,
    /// It is over.
    Recovered,
    /// Somebody wants to see whether notices arrive.
    Test,
}

impl Stage {
    pub fn word(self) -> &'static str {
        match self {
            Stage::Raised => "raised",
            Stage::Repeated => "repeated",
            Stage::Recovered => "recovered",
            Stage::Test => "test",
        }
    }
}

/// One notice. Its texts come from outside: control characters are out of them, and what `log.redact` hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub stage: Stage,
    pub event: Option<NoticeEvent>,
    pub collector: Option<CollectorId>,
    pub server: String,
    pub code: u16,
    pub message: String,
    pub hint: String,
    pub since: Timestamp,
    pub at: Timestamp,
    /// The channel that was to say it, and could not.
    pub instead_of: Option<String>,
}

impl Notice {
    /// One of a trial.
    pub fn test(by: &str, now: Timestamp) -> Notice {
        let message = format!("this is a test: {} asked whether notices arrive", harmless(by, TEXT_OCTETS_MAX));
        let (event, collector, hint) = (None, None, "nothing has to be done about it".to_owned());
        Notice { stage: Stage::Test, event, collector, server: String::new(), code: 0, message, hint, since: now, at: now, instead_of: None }
    }

    /// With texts that may leave this machine.
    pub fn made_harmless(mut self, redact: LogRedact) -> Notice {
        for text in [&mut self.message, &mut self.hint] {
            *text = redacted(&harmless(text, TEXT_OCTETS_MAX), redact);
        }
        self
    }

    fn event_word(&self) -> &'static str {
        self.event.map_or("test", NoticeEvent::word)
    }

    fn collector_word(&self) -> &str {
        self.collector.as_ref().map_or("", CollectorId::as_str)
    }

    /// What it is about in a few words; nothing in it comes from a server.
    fn title(&self) -> String {
        let page = if self.code == 0 { String::new() } else { format!(" (MG-{})", self.code) };
        let event = match self.event {
            None => return "a test".to_owned(),
            Some(NoticeEvent::Failing) => "its sessions fail",
            Some(NoticeEvent::AuthFailed) => "its login is refused",
            Some(NoticeEvent::Stale) => "no session goes well",
            Some(NoticeEvent::Held) => "mail is held",
            Some(NoticeEvent::Loop) => "mail goes in a circle",
            Some(NoticeEvent::Certificate) => "the certificate of its server ends",
            Some(NoticeEvent::OAuth) => "somebody has to sign in anew",
        };
        match self.stage {
            Stage::Recovered => format!("{}: over: {event}", self.collector_word()),
            Stage::Repeated => format!("{}: still: {event}{page}", self.collector_word()),
            Stage::Raised | Stage::Test => format!("{}: {event}{page}", self.collector_word()),
        }
    }

    fn json(&self) -> Value {
        let page = (self.code != 0).then(|| format!("MG-{}", self.code));
        json!({
            "stage": self.stage.word(), "event": self.event_word(), "collector": self.collector.as_ref().map(CollectorId::as_str),
            "server": self.server, "code": page, "message": self.message, "hint": self.hint, "since": stamp(self.since),
            "at": stamp(self.at), "instead_of": self.instead_of,
        })
    }
}

/// The line that stands for all of them: at most so many characters, from a small alphabet.
pub(super) fn subject(notices: &[Notice], host: &str) -> String {
    match notices {
        [one] => format!("mailgather on {host}: {}", one.title()),
        _ => {
            let over = notices.iter().filter(|notice| notice.stage == Stage::Recovered).count();
            match (notices.len() - over, over) {
                (wrong, 0) => format!("mailgather on {host}: {wrong} notices"),
                (0, over) => format!("mailgather on {host}: {over} troubles are over"),
                (wrong, over) => format!("mailgather on {host}: {wrong} notices, {over} troubles are over"),
            }
        }
    }
}

/// All of them as people read them; lines end with LF.
pub(super) fn text(notices: &[Notice]) -> String {
    let mut out = String::new();
    for notice in notices {
        let mut lines = vec![("said", notice.message.clone()), ("do", notice.hint.clone())];
        if notice.stage == Stage::Recovered {
            lines.clear();
        }
        if notice.stage != Stage::Test {
            lines.push(("server", notice.server.clone()));
            lines.push(("since", in_utc(notice.since)));
        }
        if notice.code != 0 && notice.stage != Stage::Recovered {
            lines.push(("page", format!("mailgather explain MG-{}", notice.code)));
        }
        if let Some(channel) = &notice.instead_of {
            lines.push(("note", format!("{channel} was to tell this, and could not be reached")));
        }
        let title = notice.title();
        out.push_str(&format!("{title}\n"));
        for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            out.push_str(&wrapped(&format!("  {name:<8}{text}")));
        }
        out.push('\n');
    }
    out
}

/// All of them as programs read them.
pub(super) fn json(notices: &[Notice], host: &str) -> Value {
    let all: Vec<Value> = notices.iter().map(Notice::json).collect();
    // Chat programs show a field of this name.
    let text = format!("{}\n\n{}", subject(notices, host), text(notices).trim_end());
    json!({"product": format!("mailgather/{}", version::NUMBER), "host": host, "text": text, "notices": all})
}

/// The variables of a program: those of the first of them, which is all of them but in a flood.
pub(super) fn variables(notices: &[Notice], host: &str) -> Vec<(&'static str, String)> {
    let Some(first) = notices.first() else { return Vec::new() };
    let page = if first.code == 0 { String::new() } else { format!("MG-{}", first.code) };
    vec![
        ("MAILGATHER_COUNT", notices.len().to_string()),
        ("MAILGATHER_HOST", host.to_owned()),
        ("MAILGATHER_SUBJECT", subject(notices, host)),
        ("MAILGATHER_STAGE", first.stage.word().to_owned()),
        ("MAILGATHER_EVENT", first.event_word().to_owned()),
        ("MAILGATHER_COLLECTOR", first.collector_word().to_owned()),
        ("MAILGATHER_CODE", page),
        ("MAILGATHER_MESSAGE", first.message.clone()),
        ("MAILGATHER_HINT", first.hint.clone()),
    ]
}

/// A line, broken at blanks where it is long; what follows stands below the text.
fn wrapped(line: &str) -> String {
    let (mut out, mut length) = (String::new(), 0);
    for (n, word) in line.split(' ').enumerate() {
        let chars = word.chars().count();
        if n > 0 && length + 1 + chars > LINE_CHARS && length > 10 {
            out.push_str("\n          ");
            length = 10;
        } else if n > 0 {
            out.push(' ');
            length += 1;
        }
        // One word alone may be as long as a server likes.
        for c in word.chars() {
            if length >= 4 * LINE_CHARS {
                out.push_str("\n          ");
                length = 10;
            }
            out.push(c);
            length += 1;
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(stage: Stage, message: &str) -> Notice {
        let at = |second| Timestamp::from_second(second).unwrap();
        Notice {
            stage,
            event: Some(NoticeEvent::Failing),
            collector: CollectorId::new("sales"),
            server: "imap.example:993".into(),
            code: 211,
            message: message.into(),
            hint: "look".into(),
            since: at(0),
            at: at(60),
            instead_of: None,
        }
    }

    #[test]
    fn one_is_told_in_full_and_many_are_counted() {
        let (raised, over) = (notice(Stage::Raised, "nobody answers"), notice(Stage::Recovered, ""));
        assert_eq!(subject(std::slice::from_ref(&raised), "h"), "mailgather on h: sales: its sessions fail (MG-211)");
        assert_eq!(subject(std::slice::from_ref(&over), "h"), "mailgather on h: sales: over: its sessions fail");
        assert_eq!(subject(&[raised.clone(), raised.clone(), over.clone()], "h"), "mailgather on h: 2 notices, 1 troubles are over");
        let wanted = "sales: its sessions fail (MG-211)\n  said    nobody answers\n  do      look\n  server  imap.example:993\n  since   1970-01-01 00:00:00 UTC\n  page    mailgather explain MG-211\n\n";
        assert_eq!(text(std::slice::from_ref(&raised)), wanted);
        let document = json(&[raised, over], "h");
        assert_eq!((&document["notices"][0]["code"], &document["notices"][1]["stage"]), (&"MG-211".into(), &"recovered".into()));
    }

    #[test]
    fn what_a_server_says_stays_in_its_place() {
        let evil = notice(Stage::Raised, "no\r\nBcc: everybody@x.example\r\n\r\n\u{202e}\u{0}anna@x.example").made_harmless(LogRedact::Addresses);
        assert!(!evil.message.contains(['\r', '\n', '\0', '\u{202e}']) && !evil.message.contains("anna") && !evil.message.contains("everybody"));
        assert!(!subject(std::slice::from_ref(&evil), "h").contains("Bcc"));
        assert!(variables(std::slice::from_ref(&evil), "h").iter().all(|(_, value)| !value.contains(['\n', '\0'])));
        let long = notice(Stage::Raised, &"x".repeat(5_000)).made_harmless(LogRedact::None);
        assert!(text(&[long]).lines().all(|line| line.chars().count() <= 4 * LINE_CHARS + 1));
        let words = notice(Stage::Raised, &"word ".repeat(100));
        assert!(text(&[words]).lines().all(|line| line.chars().count() <= LINE_CHARS));
    }
}
