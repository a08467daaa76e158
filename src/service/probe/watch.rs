//! Turns what a witness sees into steps.

use super::step::{Ended, Step, StepName, TEXT_OCTETS_MAX};
use crate::config::{Server, TlsMode, TlsVerify};
use crate::mail::outcome::harmless;
use crate::net::{Handshake, Seen, Tracer, Witness};
use crate::source::{SourceError, SourceErrorKind};
use jiff::Timestamp;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A certificate that ends within so many days is worth a word.
const DAYS_FEW: i64 = 14;
const OPEN: &str = "the channel is open: whoever sits on the line can read the mail, and the password unless the login hides it";

/// Writes down what happens to a connection, and tells each step at once.
pub(super) struct Watch {
    server: Server,
    tracer: Tracer,
    tell: Box<dyn Fn(&Step) + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    steps: Vec<Step>,
    /// When the last step ended.
    since: Instant,
    /// The login that is being tried.
    way: Option<String>,
}

impl Watch {
    pub(super) fn new(server: Server, tracer: Tracer, tell: Box<dyn Fn(&Step) + Send + Sync>) -> Self {
        Watch { server, tracer, tell, state: Mutex::new(State { steps: Vec::new(), since: Instant::now(), way: None }) }
    }

    /// A step that ended well.
    pub(super) fn well(&self, name: StepName, text: impl Into<String>, notes: Vec<String>) {
        self.end(name, Ended::Well, text.into(), notes);
    }

    /// A step that did not.
    pub(super) fn badly(&self, name: StepName, word: &'static str, text: impl Into<String>, notes: Vec<String>) {
        self.end(name, |took| Ended::Badly(word, took), text.into(), notes);
    }

    /// The step at which the source failed.
    pub(super) fn failed(&self, error: &SourceError, mut notes: Vec<String>) {
        let (name, way) = {
            let state = self.state();
            let has = |name| state.steps.iter().any(|step| step.name == name);
            (step_of(error, has(StepName::Dns), has(StepName::Tcp)), state.way.clone())
        };
        let refused = error.kind == SourceErrorKind::Auth;
        let text = match way.filter(|_| name == StepName::Login) {
            Some(way) if refused => self.login(&way),
            Some(way) => format!("{}: {}", self.login(&way), error.text),
            None => error.text.clone(),
        };
        if let Some(server) = &error.server {
            notes.insert(0, format!("server said: {server}"));
        }
        self.badly(name, if refused { "REFUSED" } else { "FAILED" }, harmless(&text, 4 * TEXT_OCTETS_MAX), notes);
    }

    /// The channel is as it is going to be.
    pub(super) fn reached(&self) {
        if self.server.tls.mode == TlsMode::Opportunistic {
            self.open("not offered by the server, and not demanded (opportunistic)");
        }
    }

    /// All steps so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    fn login(&self, way: &str) -> String {
        match self.server.username.as_str() {
            "" => way.to_owned(),
            user => format!("{way} as {}", harmless(user, TEXT_OCTETS_MAX)),
        }
    }

    fn end(&self, name: StepName, ended: impl FnOnce(Duration) -> Ended, text: String, notes: Vec<String>) {
        let step = {
            let mut state = self.state();
            let took = std::mem::replace(&mut state.since, Instant::now()).elapsed();
            let step = Step { name, ended: ended(took), text, notes };
            // A source that connects once more, because the first time a command broke the server, takes the same steps again. What fails then
            // is told all the same.
            if state.steps.iter().any(|step| step.name == name) && !matches!(step.ended, Ended::Badly(..)) {
                return;
            }
            state.steps.push(step.clone());
            step
        };
        (self.tell)(&step);
    }

    /// Says why there is no TLS, where there is none.
    fn open(&self, why: &str) {
        if !self.state().steps.iter().any(|step| step.name == StepName::Tls) {
            self.end(StepName::Tls, |_| Ended::NotNeeded, why.to_owned(), vec![OPEN.to_owned()]);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Watch {
    fn saw(&self, seen: Seen) {
        match seen {
            Seen::Resolved(addresses) => self.well(StepName::Dns, resolved(&self.server.host, &addresses), Vec::new()),
            Seen::Connected(address) => {
                self.tracer.note(|| format!("connected to {address}"));
                self.well(StepName::Tcp, address, Vec::new());
                if self.server.tls.mode == TlsMode::None {
                    self.open("none, as configured");
                }
            }
            Seen::Secured(handshake) => {
                let (text, notes) = secured(&handshake, &self.server.tls.verify, Timestamp::now());
                self.tracer.note(|| text.clone());
                self.well(StepName::Tls, text, notes);
            }
            Seen::Greeted(text) => self.well(StepName::Greeting, said(&text), Vec::new()),
            Seen::LoggingIn(way) => {
                self.reached();
                self.state().way = Some(way);
            }
            Seen::LoggedIn(text) => {
                let way = self.state().way.clone().unwrap_or_default();
                self.well(StepName::Login, format!("{}: {}", self.login(&way), said(&text)), Vec::new());
            }
        }
    }
}

fn said(text: &str) -> String {
    match harmless(text.trim(), TEXT_OCTETS_MAX) {
        text if text.is_empty() => "ok, without a word".to_owned(),
        text => text,
    }
}

fn resolved(host: &str, addresses: &[IpAddr]) -> String {
    if host.parse::<IpAddr>().is_ok() {
        return format!("{host} is an address: nothing to look up");
    }
    let mut all: Vec<String> = Vec::new();
    for address in addresses.iter().map(ToString::to_string) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    format!("{} → {}", harmless(host, TEXT_OCTETS_MAX), all.join(", "))
}

/// Version, whose certificate, whether it was believed and why, how long it lasts.
fn secured(handshake: &Handshake, verify: &TlsVerify, now: Timestamp) -> (String, Vec<String>) {
    let judged = match verify {
        TlsVerify::Full => "chain trusted",
        TlsVerify::Fingerprint(_) => "one of `tls.fingerprint`",
        TlsVerify::Off => "NOT VERIFIED",
    };
    let mut notes = Vec::new();
    if *verify == TlsVerify::Off {
        notes.push("`tls: {verify: off}`: whoever sits on the line can pass for the server, and reads the password and the mail".to_owned());
    }
    let Some(certificate) = &handshake.certificate else {
        return (format!("{}, a certificate that cannot be read, {judged}", handshake.version), notes);
    };
    let days = certificate.days_left(now);
    let left = match days {
        1 => "1 day left".to_owned(),
        days if days < 0 => "EXPIRED".to_owned(),
        days => format!("{days} days left"),
    };
    if days < DAYS_FEW {
        notes.push(format!("the certificate ends on {}: the server's owner has to renew it", certificate.until.strftime("%Y-%m-%d")));
    }
    (format!("{}, {}, {judged}, {left}", handshake.version, certificate.title()), notes)
}

/// The step that a source's error belongs to.
fn step_of(error: &SourceError, has_addresses: bool, is_connected: bool) -> StepName {
    match (error.dialled, error.kind, error.stage) {
        (true, SourceErrorKind::Dns, _) => StepName::Dns,
        (true, SourceErrorKind::Connect, _) => StepName::Tcp,
        (true, _, _) if is_connected => StepName::Tls,
        (true, _, _) if has_addresses => StepName::Tcp,
        (true, ..) => StepName::Dns,
        (_, _, "greeting") => StepName::Greeting,
        (_, _, "starttls") => StepName::Tls,
        (_, _, "login" | "capabilities") => StepName::Login,
        (_, _, "select" | "folders") => StepName::Folder,
        _ => StepName::Count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Certificate;

    #[test]
    fn each_error_has_its_step() {
        use SourceErrorKind::*;
        for (dialled, kind, stage, addresses, connected, wanted) in [
            (true, Dns, "connect", false, false, StepName::Dns),
            (true, Timeout, "connect", false, false, StepName::Dns),
            (true, Connect, "connect", true, false, StepName::Tcp),
            (true, Timeout, "connect", true, false, StepName::Tcp),
            (true, Timeout, "connect", true, true, StepName::Tls),
            (true, Tls, "starttls", true, true, StepName::Tls),
            (false, Tls, "starttls", true, true, StepName::Tls),
            (false, Timeout, "greeting", true, true, StepName::Greeting),
            (false, Tls, "login", true, true, StepName::Login),
            (false, Closed, "capabilities", true, true, StepName::Login),
            (false, Secret, "login", true, true, StepName::Login),
            (false, Mailbox, "select", true, true, StepName::Folder),
            (false, Mailbox, "headers", true, true, StepName::Count),
        ] {
            let error = SourceError { dialled, ..SourceError::new(kind, stage, "h:1", "x") };
            assert_eq!(step_of(&error, addresses, connected), wanted, "{kind:?} {stage}");
        }
    }

    #[test]
    fn what_is_said_of_a_handshake() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let certificate = Certificate {
            subject: "CN=*.mail.ru, O=VK".into(),
            issuer: "CN=x".into(),
            names: vec!["mail.ru".into()],
            from: at("2026-01-01T00:00:00Z"),
            until: at("2026-03-03T12:00:00Z"),
        };
        let handshake = Handshake { version: "TLSv1.3".into(), cipher: String::new(), certificate: Some(certificate) };
        let unread = Handshake { certificate: None, ..handshake.clone() };
        for (handshake, verify, now, text, notes) in [
            (&handshake, TlsVerify::Full, "2026-01-01T12:00:00Z", "TLSv1.3, *.mail.ru, chain trusted, 61 days left", 0),
            (&handshake, TlsVerify::Fingerprint(vec![]), "2026-03-02T12:00:00Z", "TLSv1.3, *.mail.ru, one of `tls.fingerprint`, 1 day left", 1),
            (&handshake, TlsVerify::Off, "2026-03-04T12:00:00Z", "TLSv1.3, *.mail.ru, NOT VERIFIED, EXPIRED", 2),
            (&unread, TlsVerify::Full, "2026-01-01T12:00:00Z", "TLSv1.3, a certificate that cannot be read, chain trusted", 0),
        ] {
            let said = secured(handshake, &verify, at(now));
            assert_eq!((said.0.as_str(), said.1.len()), (text, notes));
        }
    }

    #[test]
    fn steps_that_are_taken_twice_are_told_once_and_failures_always() {
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let tell = std::sync::Arc::clone(&told);
        let server = crate::config::parse(
            "delivery: {lmtp: '127.0.0.1:24'}\ncollectors: {a: {server: mail.example.org, username: u, password: {env: X}, recipient: {forward_to: a@b.example}}}",
            std::path::Path::new("x.yaml"),
            &crate::config::Environment::default(),
        );
        let server = server.unwrap().config.collectors.values().next().unwrap().server.clone();
        let watch = Watch::new(server, Tracer::default(), Box::new(move |step: &Step| tell.lock().unwrap().push((step.name, step.text.clone()))));
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..2 {
            watch.saw(Seen::Resolved(vec![address]));
            watch.saw(Seen::Connected("192.0.2.7:993".into()));
        }
        watch.saw(Seen::LoggingIn("LOGIN".into()));
        watch.saw(Seen::LoggedIn("hello".into()));
        watch.failed(&SourceError::new(SourceErrorKind::Closed, "login", "h:993", "the server closed the connection"), Vec::new());
        let told = told.lock().unwrap().clone();
        let names: Vec<StepName> = told.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [StepName::Dns, StepName::Tcp, StepName::Login, StepName::Login]);
        assert_eq!((told[2].1.as_str(), told[3].1.as_str()), ("LOGIN as u: hello", "LOGIN as u: the server closed the connection"));
        assert_eq!(watch.steps().len(), 4);
    }

    #[test]
    fn names_and_greetings() {
        let addresses = ["192.0.2.74".parse().unwrap(), "2001:db8::74".parse().unwrap(), "192.0.2.74".parse().unwrap()];
        assert_eq!(resolved("pop.mail.ru", &addresses), "pop.mail.ru → 192.0.2.74, 2001:db8::74");
        assert_eq!(resolved("192.0.2.74", &addresses[..1]), "192.0.2.74 is an address: nothing to look up");
        assert_eq!((said(" \u{1b}[31mhi\r\n").as_str(), said("").as_str()), ("?[31mhi", "ok, without a word"));
    }
}
