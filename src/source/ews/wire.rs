//! Requests and answers over the pinned connection, which is made anew where the server has closed it.

use super::{Inner, refusal};
use crate::config::{AuthMethod, WebPlace, is_exchange_online};
use crate::mail::Secret;
use crate::net::{Answer, Question, Seen, Web};
use crate::proto::ews::xml::XmlError;
use crate::proto::ews::{Class, CodeKind, Event, Fault, FolderInfo, FolderRef, Outcome, Reader, Requests};
use crate::source::web_login::{Account, Chosen, WebLogin};
use crate::source::{SourceError, SourceErrorKind};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use std::net::IpAddr;
use std::sync::Arc;

/// Most octets of an answer that has no contents in it.
const ANSWER_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Most octets of an answer that only refuses.
const REFUSAL_OCTETS_MAX: usize = 256 * 1024;
const CONTENT_TYPE_SOAP: &str = "text/xml; charset=utf-8";
/// The server that has the mailbox's database is asked at once, and the next request finds it (MS-OXWSCORE §3.1.4, Exchange 2013).
const ANCHOR: HeaderName = HeaderName::from_static("x-anchormailbox");

/// The way to one mailbox.
pub(super) struct Wire {
    pub(super) inner: Arc<Inner>,
    pub(super) requests: Requests,
    pub(super) stage: &'static str,
    peer: String,
    /// Where the last connection led.
    place: Option<WebPlace>,
    link: Option<Link>,
    peer_ip: Option<IpAddr>,
    /// What `auth: auto` has chosen: it is asked for once in a session.
    chosen: Option<Chosen>,
}

struct Link {
    web: Web,
    login: WebLogin,
    /// Something was answered over it: what fails next may fail because the server has closed it meanwhile.
    used: bool,
}

impl Wire {
    /// Connects, logs in, and finds out what the server knows.
    pub(super) async fn open(inner: Arc<Inner>) -> Result<Wire, SourceError> {
        let (version, may_be_older) = inner.version();
        let web = &inner.server.web;
        let requests = Requests { version, mailbox: web.address.as_ref().map(ToString::to_string), impersonate: web.impersonate };
        let peer = format!("{}:{}", inner.server.host, inner.server.port);
        let mut wire = Wire { inner, requests, stage: "login", peer, place: None, link: None, peer_ip: None, chosen: None };
        loop {
            let request = wire.requests.get_folders(&[FolderRef::WellKnown("inbox".to_owned())]);
            match wire.asked(request, |_| {}).await? {
                Asked::Fault(fault) => {
                    let unknown = matches!(fault.code.kind(), CodeKind::Version | CodeKind::Schema) && may_be_older;
                    match wire.requests.version.older().filter(|_| unknown) {
                        Some(older) => wire.requests.version = older,
                        None => return Err(refusal::of_fault(wire.stage, &wire.peer, &fault)),
                    }
                }
                Asked::Answered(refused) => {
                    // A folder that is not there, or is closed to us, need not be the one that is wanted.
                    let of_all = |kind| !matches!(kind, CodeKind::NoFolder | CodeKind::Denied | CodeKind::NoItem);
                    if let Some(outcome) = refused.filter(|outcome| of_all(outcome.code.kind())) {
                        return Err(refusal::of_outcome(wire.stage, &wire.peer, &outcome));
                    }
                    break;
                }
            }
        }
        wire.inner.note_version(wire.requests.version);
        let way = wire.link.as_ref().and_then(|link| link.login.way()).unwrap_or("no login");
        wire.inner.witness.saw(Seen::LoggedIn(format!("{way}, {}", wire.requests.version.word())));
        Ok(wire)
    }

    /// An error at the present stage.
    pub(super) fn error(&self, kind: SourceErrorKind, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, self.stage, &self.peer, text)
    }

    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        self.peer_ip
    }

    /// Asks, and hands on what the answer says. What was refused of it comes as its outcome; a refusal of the whole is the error.
    pub(super) async fn read(&mut self, request: String, take: impl FnMut(Event<'_>)) -> Result<Option<Outcome>, SourceError> {
        match self.asked(request, take).await? {
            Asked::Fault(fault) => Err(refusal::of_fault(self.stage, &self.peer, &fault)),
            Asked::Answered(refused) => Ok(refused),
        }
    }

    /// The same where any refusal is an error.
    pub(super) async fn read_all(&mut self, request: String, take: impl FnMut(Event<'_>)) -> Result<(), SourceError> {
        match self.read(request, take).await? {
            Some(outcome) => Err(self.refused(&outcome)),
            None => Ok(()),
        }
    }

    pub(super) fn refused(&self, outcome: &Outcome) -> SourceError {
        refusal::of_outcome(self.stage, &self.peer, outcome)
    }

    pub(super) fn faulted(&self, fault: &Fault) -> SourceError {
        refusal::of_fault(self.stage, &self.peer, fault)
    }

    async fn asked(&mut self, request: String, mut take: impl FnMut(Event<'_>)) -> Result<Asked, SourceError> {
        let mut incoming = self.ask(request).await?;
        let (mut refused, mut fault, mut octets) = (None, None, 0u64);
        while let Some(piece) = incoming.piece(self).await? {
            octets += piece.len() as u64;
            if octets > ANSWER_OCTETS_MAX {
                return Err(self.error(SourceErrorKind::Protocol, "the server's answer has no end"));
            }
            let mut rest = &piece[..];
            loop {
                match incoming.reader.next(&mut rest) {
                    Err(error) => return Err(self.no_answer(&error)),
                    Ok(None) => break,
                    Ok(Some(Event::Fault(said))) => fault = Some(said),
                    Ok(Some(event)) => {
                        if let Event::Ends(outcome) = &event
                            && outcome.class != Class::Success
                            && refused.is_none()
                        {
                            refused = Some(outcome.clone());
                        }
                        take(event);
                    }
                }
            }
        }
        Ok(fault.map_or(Asked::Answered(refused), Asked::Fault))
    }

    /// Asks. The answer is SOAP, or the error tells what it is.
    pub(super) async fn ask(&mut self, request: String) -> Result<Incoming, SourceError> {
        let answer = self.send(request).await?;
        let status = answer.status;
        if status == 200 || (status == 500 && is_xml(&answer)) {
            return Ok(Incoming { answer, reader: Reader::default(), status });
        }
        Err(self.of_status(answer).await)
    }

    async fn send(&mut self, request: String) -> Result<Answer, SourceError> {
        let mut repeated = false;
        loop {
            if self.link.as_ref().is_none_or(|link| !link.web.can_ask()) {
                // Read before anything else: a command that asks a vault may take longer than the server waits.
                let secret = self.inner.secret().await?;
                self.link = Some(self.connect(secret).await?);
            }
            let target = self.place.as_ref().map_or("/", |place| place.target.as_str());
            let mut question = Question::post(target, CONTENT_TYPE_SOAP, request.clone());
            if let Some(mailbox) = &self.requests.mailbox {
                question = question.field(ANCHOR, mailbox).map_err(|error| SourceError::web(self.stage, &self.peer, error))?;
            }
            // Always: it was made just now, if it was not there.
            let Some(link) = &mut self.link else { return Err(self.error(SourceErrorKind::Closed, "there is no connection")) };
            let was_used = link.used;
            let asked = link.login.ask(&mut link.web, question, self.stage).await;
            self.chosen = link.login.chosen().or(self.chosen);
            match asked {
                Ok(answer) => {
                    link.used = true;
                    return Ok(answer);
                }
                // Closed between two requests, or behind the answer that says what logins there are, as web servers do: everything that we ask can be
                // asked twice.
                Err(error) if error.kind == SourceErrorKind::Closed && (was_used || link.login.may_move()) && !repeated => {
                    self.link = None;
                    repeated = true;
                }
                // A token ends while the session goes on: there may be another one by now. The same one would be refused again, and so is one that never
                // worked.
                Err(error) if error.kind == SourceErrorKind::Auth && was_used && self.inner.server.auth.method == AuthMethod::OAuth2 => {
                    let refused = link.login.secret().clone();
                    self.link = None;
                    let secret = self.inner.secret().await?;
                    if secret == refused {
                        return Err(error);
                    }
                    self.link = Some(self.connect(secret).await?);
                }
                Err(error) => {
                    self.link = None;
                    return Err(error);
                }
            }
        }
    }

    async fn connect(&mut self, secret: Secret) -> Result<Link, SourceError> {
        let inner = &self.inner;
        let server = &inner.server;
        let place = inner.place(&secret).await?;
        self.peer = format!("{}:{}", place.host, place.port);
        let web = inner.dialer.dial(&place, &*inner.witness).await.map_err(|error| SourceError::web("connect", &self.peer, error))?;
        web.hide(secret.expose());
        self.peer_ip = web.peer_ip();
        let account = Account { auth: server.auth.clone(), username: server.username.clone(), secret, host: place.host.clone(), port: place.port };
        self.place = Some(place);
        let login = WebLogin::new(account, &web)?.knowing(self.chosen)?;
        inner.witness.saw(Seen::LoggingIn(
            match server.auth.method {
                AuthMethod::Auto => "NTLM or Basic, as the server offers",
                AuthMethod::Ntlm => "NTLM",
                AuthMethod::OAuth2 => "Bearer",
                AuthMethod::None | AuthMethod::External => "nothing",
                _ => "Basic",
            }
            .to_owned(),
        ));
        Ok(Link { web, login, used: false })
    }

    /// What an answer that is no SOAP means.
    async fn of_status(&mut self, answer: Answer) -> SourceError {
        use SourceErrorKind::{Auth, Protocol, SwitchedOff, Throttled};
        let host = self.place.as_ref().map_or("", |place| &place.host);
        let (status, wait, location) = (answer.status, answer.retry_after(), answer.field(&LOCATION));
        let stage_error = |kind, text: String| SourceError::new(kind, self.stage, &self.peer, text).said(&format!("HTTP {status}"));
        // The connection may go on; if it cannot, the next request makes another one.
        let _ = answer.finish(REFUSAL_OCTETS_MAX as u64).await;
        match status {
            429 | 502 | 503 | 504 => {
                let error = stage_error(Throttled, "the server has no time now".to_owned())
                    .hint("Exchange, or what stands in front of it, is overloaded or being restarted; it is tried again later");
                match wait {
                    Some(wait) => error.after(wait),
                    None => error,
                }
            }
            301 | 302 | 303 | 307 | 308 | 440 => {
                let to = location.map(|to| format!(" ({})", to.split('?').next().unwrap_or_default())).unwrap_or_default();
                stage_error(Protocol, format!("the server leads to a form to log in{to}")).hint(
                    "`url` must lead to /EWS/Exchange.asmx itself: Outlook on the web (/owa) and proxies with a login form of their own (ADFS) take no \
                     programs; let the proxy pass /EWS through",
                )
            }
            403 if is_exchange_online(host) => {
                let text = format!("EWS at {host} is switched off by Microsoft (2026-10-01; for good 2027-04-01)");
                stage_error(SwitchedOff, text).hint(
                    "`protocol: graph` (docs/microsoft365.md), or `protocol: imap` with `auth: {method: oauth2}`; until 2027-04-01 an administrator of the \
                     tenant may still allow it: Set-OrganizationConfig -EwsEnabled $true, with this program's id in EwsAllowList",
                )
            }
            403 => stage_error(Auth, "the server takes the login, and refuses the web services".to_owned()).hint(
                "EWS is switched off for this mailbox or for programs like this one: Get-CASMailbox (EwsEnabled), Get-OrganizationConfig \
                 (EwsApplicationAccessPolicy)",
            ),
            404 | 405 => stage_error(Protocol, "the server has no web services of Exchange there".to_owned())
                .hint("check `url`: https://HOST/EWS/Exchange.asmx"),
            413 => stage_error(Protocol, "the request is too long for what stands in front of the server".to_owned()),
            _ => stage_error(Protocol, format!("the server answers {status}, and says nothing of Exchange")),
        }
    }

    /// The answer is no SOAP, or it was cut.
    pub(super) fn no_answer(&self, error: &XmlError) -> SourceError {
        let kind = if *error == XmlError::Cut { SourceErrorKind::Closed } else { SourceErrorKind::Protocol };
        let made = self.error(kind, format!("the answer is none of Exchange: {error}"));
        match error {
            XmlError::Doctype | XmlError::Broken(_) => {
                made.hint("`url` must lead to /EWS/Exchange.asmx itself; what answers there is a web page, or a proxy's")
            }
            _ => made,
        }
    }

    /// The folder of an answer to a request for one.
    pub(super) async fn folder(&mut self, folder: &FolderRef) -> Result<FolderInfo, SourceError> {
        let request = self.requests.get_folders(std::slice::from_ref(folder));
        let mut found = None;
        self.read_all(request, |event| {
            if let Event::Folder(folder) = event {
                found = Some(folder);
            }
        })
        .await?;
        found.ok_or_else(|| self.error(SourceErrorKind::Protocol, "the server's answer has no folder in it"))
    }
}

enum Asked {
    Fault(Fault),
    /// With the first refusal in it.
    Answered(Option<Outcome>),
}

/// An answer on its way.
pub(super) struct Incoming {
    answer: Answer,
    pub(super) reader: Reader,
    status: u16,
}

impl Incoming {
    /// The next octets; `None` at the end, if that is one.
    pub(super) async fn piece(&mut self, wire: &Wire) -> Result<Option<Bytes>, SourceError> {
        match self.answer.piece().await {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => match self.reader.finish() {
                Ok(()) => Ok(None),
                Err(_) if self.status != 200 => {
                    Err(wire.error(SourceErrorKind::Protocol, format!("the server answers {}, and says nothing of Exchange", self.status)))
                }
                Err(error) => Err(wire.no_answer(&error)),
            },
            Err(error) => Err(SourceError::web(wire.stage, &wire.peer, error)),
        }
    }
}

fn is_xml(answer: &Answer) -> bool {
    answer.fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes).is_some_and(|kind| String::from_utf8_lossy(kind).contains("xml"))
}
