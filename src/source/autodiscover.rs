//! Finding the web services of an Exchange server by autodiscover (MS-OXDISCO §3.1.5, the questions in POX), where a collector has no `url`.
//!
//! | asked | believed |
//! |---|---|
//! | `https://DOMAIN/autodiscover/autodiscover.xml` | the certificate is the domain's own |
//! | `https://autodiscover.DOMAIN/…` | the same |
//! | `http://autodiscover.DOMAIN/…`, for a redirect | if it leads to https inside the domain; else it is only told |
//! | SRV `_autodiscover._tcp.DOMAIN` | the same: a record of DNS can be forged as easily |
//!
//! Whoever is believed may lead on, also to another domain. Credentials go over verified TLS only, whatever `tls.verify` says, and only to who asks for
//! them; who refuses them ends the search, because the same password at the next place would be one more try towards a locked account. The host of the bare
//! domain gets no password or token itself, only what proves that we know it (NTLM): there stands the web site, at somebody else's as a rule.

use super::web::Dialer;
use super::web_login::{Account, Chosen, WebLogin, hands_over_secret};
use super::{SourceError, SourceErrorKind};
use crate::config::{Auth, Server, Tls, TlsVerify, WebPlace};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Domain, Secret};
use crate::net::{Answer, Dns, Nobody, Question, ServiceHost, Tracer, Web, WebError, WebLimits};
use crate::proto::autodiscover::{CONTENT_TYPE, OCTETS_MAX, PATH, Pox, SERVICE, question, read};
use async_trait::async_trait;
use hyper::header::LOCATION;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// For one host: many domains have a host that drops what comes to the port of HTTPS.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// For an answer.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// For all of it.
const LIMIT: Duration = Duration::from_secs(120);
/// Most redirects of all kinds together.
const HOPS_MAX: usize = 10;
/// What is read of an answer that is no document.
const PAGE_OCTETS_MAX: u64 = 256 * 1024;

/// Finds the web services of one mailbox, and remembers them.
pub struct Autodiscover {
    doors: Arc<dyn Doors>,
    known: Mutex<Option<(Address, WebPlace)>>,
}

/// Who asks.
pub struct Who<'a> {
    /// Whose mailbox.
    pub address: &'a Address,
    /// How to log in where that is asked for.
    pub auth: &'a Auth,
    /// As whom.
    pub username: &'a str,
    /// With what.
    pub secret: &'a Secret,
}

/// What a search came to, for people.
pub struct Look {
    /// Each place that was asked.
    pub tried: Vec<Tried>,
    /// Where the web services are.
    pub found: Result<WebPlace, SourceError>,
}

/// One place that was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// `https://corp.example/autodiscover/autodiscover.xml`
    pub place: String,
    /// In words; harmless.
    pub came: String,
}

/// How the search gets to the world. Tests have a small one of their own.
#[async_trait]
pub trait Doors: Send + Sync {
    /// Connects to a host; the certificate is verified.
    async fn connect(&self, place: &WebPlace) -> Result<Web, WebError>;

    /// The hosts that a domain names for the service.
    async fn services(&self, domain: &Domain) -> Result<Vec<ServiceHost>, String>;
}

impl Autodiscover {
    /// Nothing is known yet.
    pub fn new(doors: Arc<dyn Doors>) -> Self {
        Autodiscover { doors, known: Mutex::default() }
    }

    /// Where the web services are; asked for once, and again after [`Autodiscover::forget`].
    pub async fn place(&self, who: &Who<'_>) -> Result<WebPlace, SourceError> {
        if let Some((address, place)) = &*self.known.lock().unwrap_or_else(PoisonError::into_inner)
            && address == who.address
        {
            return Ok(place.clone());
        }
        let place = self.look(who).await.found?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((who.address.clone(), place.clone()));
        Ok(place)
    }

    /// What was found does not work: the next one who wants it searches anew.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Searches, and tells what was tried.
    pub async fn look(&self, who: &Who<'_>) -> Look {
        let trusted = vec![who.address.domain().clone()];
        let mut search = Search { doors: &*self.doors, who, trusted, hops: 0, tried: Vec::new(), worst: None, suspicious: None };
        let found = match timeout(LIMIT, search.run()).await {
            Ok(found) => found,
            Err(_) => {
                let text = format!("autodiscover came to no end in {} s", LIMIT.as_secs());
                Err(SourceError::new(SourceErrorKind::Timeout, "connect", who.address.domain().as_ascii(), text))
            }
        };
        Look { tried: search.tried, found }
    }
}

struct Search<'a> {
    doors: &'a dyn Doors,
    who: &'a Who<'a>,
    /// The hosts below these may be told who we are: the mailbox's own domain, and where one of them led that had taken our login. Anything else, a
    /// redirect of the web site for example, may come from whoever runs that.
    trusted: Vec<Domain>,
    hops: usize,
    tried: Vec<Tried>,
    /// The failure that says most about what is wrong.
    worst: Option<SourceError>,
    /// Where an answer leads that anybody can have written.
    suspicious: Option<String>,
}

/// What one place came to.
enum Came {
    Found(Vec<WebPlace>),
    Place(WebPlace),
    Address(Address),
    /// Nothing, for this reason.
    Nothing(SourceError),
    /// There is no sense in asking anybody else.
    Over(SourceError),
}

impl Search<'_> {
    async fn run(&mut self) -> Result<WebPlace, SourceError> {
        let mut address = self.who.address.clone();
        // Where the host of a bare domain leads: the domain's other hosts are asked before.
        let mut elsewhere: Option<Address> = None;
        'address: loop {
            for way in [Way::Domain, Way::Host, Way::Redirect, Way::Service] {
                let mut next = self.first(way, address.domain()).await;
                while let Some(place) = next.take() {
                    let came = match self.ask(&place, &address).await {
                        Ok(came) => came,
                        Err(error) => Came::Nothing(error),
                    };
                    let hops = self.hops;
                    let text = match &came {
                        Came::Found(places) => format!("the web services are at {}", places.iter().map(shown).collect::<Vec<_>>().join(", ")),
                        Came::Place(place) => format!("leads to {}", shown(place)),
                        Came::Address(address) => format!("leads to the address {address}"),
                        Came::Nothing(error) | Came::Over(error) => words(error),
                    };
                    self.note(shown(&place), text);
                    match came {
                        Came::Found(places) => return self.reachable(places).await,
                        Came::Place(_) | Came::Address(_) if hops == HOPS_MAX => {
                            return Err(self.error(SourceErrorKind::Protocol, format!("autodiscover leads on more than {HOPS_MAX} times")));
                        }
                        Came::Place(place) => {
                            self.hops += 1;
                            next = Some(place);
                        }
                        Came::Address(other) if self.is_bare(&place.host, &address) => drop(elsewhere.get_or_insert(other)),
                        Came::Address(other) => {
                            self.hops += 1;
                            address = other;
                            continue 'address;
                        }
                        Came::Nothing(error) => self.failed(error),
                        Came::Over(error) => return Err(error),
                    }
                }
            }
            let Some(other) = elsewhere.take().filter(|_| self.hops < HOPS_MAX) else { return Err(self.nothing(&address)) };
            self.hops += 1;
            address = other;
        }
    }

    /// The place with which a way begins, if it has one that is believed.
    async fn first(&mut self, way: Way, domain: &Domain) -> Option<WebPlace> {
        let host = |host: String| WebPlace { is_secure: true, host, port: 443, target: PATH.to_owned() };
        match way {
            Way::Domain => Some(host(domain.as_ascii().to_owned())),
            Way::Host => Some(host(format!("autodiscover.{}", domain.as_ascii()))),
            Way::Redirect => {
                let place = WebPlace { is_secure: false, host: format!("autodiscover.{}", domain.as_ascii()), port: 80, target: PATH.to_owned() };
                match self.redirect(&place).await {
                    Ok(to) => self.inside(shown(&place), to, domain),
                    Err(why) => {
                        self.note(shown(&place), why);
                        None
                    }
                }
            }
            Way::Service => {
                let name = format!("SRV {SERVICE}.{}", domain.as_ascii());
                match self.doors.services(domain).await {
                    Ok(hosts) => match hosts.into_iter().next() {
                        Some(service) => self.inside(
                            name,
                            WebPlace { port: service.port, ..host(service.host.trim_end_matches('.').to_ascii_lowercase()) },
                            domain,
                        ),
                        None => {
                            self.note(name, "no such record".to_owned());
                            None
                        }
                    },
                    Err(why) => {
                        self.note(name, harmless(&why, 200));
                        None
                    }
                }
            }
        }
    }

    /// Where an answer in clear leads. Nothing of ours is told.
    async fn redirect(&self, place: &WebPlace) -> Result<WebPlace, String> {
        let mut web = self.doors.connect(place).await.map_err(|error| error.text)?;
        let answer = web.ask(Question::get(&place.target)).await.map_err(|error| error.text)?;
        if !is_redirect(answer.status) {
            return Err(format!("it answers {}, and leads nowhere", answer.status));
        }
        led(&answer, place).map_err(|error| error.text)
    }

    /// What was learnt in clear is believed if it stays inside the domain: the host there has to prove by its certificate that it is the domain's.
    fn inside(&mut self, from: String, to: WebPlace, domain: &Domain) -> Option<WebPlace> {
        if to.host.parse::<Domain>().is_ok_and(|host| host.is_within(domain)) {
            self.note(from, format!("leads to {}", shown(&to)));
            return Some(to);
        }
        self.note(
            from.clone(),
            format!("leads to {}, outside of the domain: not followed, because anybody on the way could have written it", shown(&to)),
        );
        self.suspicious.get_or_insert(format!(
            "{from} leads to {}, and anybody on the way could have written that: if the host is yours, set `url: https://{}/EWS/Exchange.asmx`",
            shown(&to),
            to.host
        ));
        None
    }

    async fn ask(&mut self, place: &WebPlace, address: &Address) -> Result<Came, SourceError> {
        let question = || Question::post(&place.target, CONTENT_TYPE, question(address));
        let mut web = self.connect(place).await?;
        // Without credentials first: a domain's web site is often somebody else's, and does not ask for them.
        let answer = self.asked(&mut web, question(), place).await?;
        if answer.status != 401 {
            let came = self.came(answer, place).await?;
            return self.vouched(came, place, address);
        }
        let hands_over = hands_over_secret(self.who.auth, &answer);
        let _ = answer.finish(PAGE_OCTETS_MAX).await;
        if !self.is_trusted(&place.host) {
            let text = format!("{} asks for a login, and is outside of {}: it is told nothing", place.host, address.domain());
            let hint = format!("if {} is yours, set `url: https://{}/EWS/Exchange.asmx`", place.host, place.host);
            self.suspicious.get_or_insert(hint);
            return Err(SourceError::new(SourceErrorKind::Protocol, "connect", &peer(place), text));
        }
        // What a bare domain leads to is its web site as a rule, and whoever runs that would like to read passwords too.
        if hands_over && self.is_bare(&place.host, address) {
            let text = format!(
                "{} asks for the password or token itself, and the bare domain's host may be its web site only: it is told nothing",
                place.host
            );
            self.suspicious.get_or_insert(format!(
                "{} asks for the password or token itself, and was told nothing: if that host is your Exchange server, set `url: https://{}/EWS/Exchange.asmx`",
                place.host, place.host
            ));
            return Err(SourceError::new(SourceErrorKind::Protocol, "connect", &peer(place), text));
        }
        if !web.can_ask() {
            web = self.connect(place).await?;
        }
        let account = Account {
            auth: self.who.auth.clone(),
            username: self.who.username.to_owned(),
            secret: self.who.secret.clone(),
            host: place.host.clone(),
            port: place.port,
        };
        // What was offered before may not be what is offered next.
        let only_proof = self.is_bare(&place.host, address).then_some(Chosen::Ntlm(None));
        let answer = match WebLogin::new(account.clone(), &web).and_then(|login| login.knowing(only_proof)) {
            Ok(mut login) => match login.ask(&mut web, question(), "connect").await {
                // It closes the connection behind each answer that asks for a login.
                Err(error) if error.kind == SourceErrorKind::Closed && login.may_move() => {
                    web = self.connect(place).await?;
                    match WebLogin::new(account, &web).and_then(|again| again.knowing(login.chosen())) {
                        Ok(mut login) => login.ask(&mut web, question(), "connect").await,
                        Err(error) => Err(error),
                    }
                }
                answer => answer,
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => {
                let came = self.came(answer, place).await?;
                // Whoever runs the web site of a bare domain can act as if he had let us in.
                if self.is_bare(&place.host, address) {
                    return self.vouched(came, place, address);
                }
                match &came {
                    Came::Address(other) => self.trusted.push(other.domain().clone()),
                    Came::Place(other) => self.trusted.extend(other.host.parse::<Domain>()),
                    Came::Found(_) | Came::Nothing(_) | Came::Over(_) => {}
                }
                Ok(came)
            }
            // Whatever became of it: a password that is wrong is not shown to the next one too. Some hang up on it.
            Err(error) => Ok(Came::Over(error)),
        }
    }

    fn is_trusted(&self, host: &str) -> bool {
        host.parse::<Domain>().is_ok_and(|host| self.trusted.iter().any(|domain| host.is_within(domain)))
    }

    /// What anybody could have said, without knowing us: it may lead on, as who asks for a login is looked at then. But web services that it names get our
    /// login, so they are believed only inside the domain, and from there.
    fn vouched(&mut self, came: Came, place: &WebPlace, address: &Address) -> Result<Came, SourceError> {
        let Came::Found(places) = came else { return Ok(came) };
        let is_inside = |host: &str| self.is_trusted(host) && !self.is_bare(host, address);
        let from_inside = self.is_trusted(&place.host);
        let (inside, outside): (Vec<WebPlace>, Vec<WebPlace>) = places.into_iter().partition(|named| from_inside && is_inside(&named.host));
        if !inside.is_empty() {
            return Ok(Came::Found(inside));
        }
        let Some(named) = outside.first() else { return Ok(Came::Found(Vec::new())) };
        let text = format!("{} names {} to anybody who asks, and nothing shows that it may: not followed", place.host, shown(named));
        self.suspicious.get_or_insert(format!("{text}; if that host is yours, set `url: {}`", shown(named)));
        Err(SourceError::new(SourceErrorKind::Protocol, "connect", &peer(place), text))
    }

    /// True for the domain of the address itself, and for the other name that its web site has; unless one that had taken our login led there.
    fn is_bare(&self, host: &str, address: &Address) -> bool {
        let is_led_to = host.parse::<Domain>().is_ok_and(|host| self.trusted[1..].contains(&host));
        let bare = host.strip_prefix("www.").unwrap_or(host).parse::<Domain>();
        !is_led_to && bare.is_ok_and(|bare| [self.who.address.domain(), address.domain()].contains(&&bare))
    }

    async fn connect(&self, place: &WebPlace) -> Result<Web, SourceError> {
        self.doors.connect(place).await.map_err(|error| SourceError::web("connect", &peer(place), error))
    }

    async fn asked(&self, web: &mut Web, question: Question, place: &WebPlace) -> Result<Answer, SourceError> {
        web.ask(question).await.map_err(|error| SourceError::web("connect", &peer(place), error))
    }

    async fn came(&self, answer: Answer, place: &WebPlace) -> Result<Came, SourceError> {
        let error = |kind, text: String| SourceError::new(kind, "connect", &peer(place), text);
        match answer.status {
            status if is_redirect(status) => return Ok(Came::Place(led(&answer, place)?)),
            200 => {}
            status @ (429 | 503) => {
                let wait = answer.retry_after();
                let error = error(SourceErrorKind::Throttled, format!("it answers {status}"));
                return Err(if let Some(wait) = wait { error.after(wait) } else { error });
            }
            status => return Err(error(SourceErrorKind::Protocol, format!("it answers {status}"))),
        }
        let document = answer.whole(OCTETS_MAX).await.map_err(|error| SourceError::web("connect", &peer(place), error))?;
        let protocol = |text: String| error(SourceErrorKind::Protocol, text);
        match read(&document).map_err(|error| protocol(format!("its answer is not believed: {error}")))? {
            Pox::Services(places) => {
                let usable: Vec<WebPlace> = places.iter().filter_map(|place| https(place).ok()).collect();
                match (usable.is_empty(), places.is_empty()) {
                    (false, _) => Ok(Came::Found(usable)),
                    (true, true) => {
                        Err(protocol("it knows the mailbox, and names no web services: are they switched off, or is the mailbox elsewhere?".into()))
                    }
                    (true, false) => Err(protocol(format!("the web services that it names are no places of https: {}", harmless(&places[0], 200)))),
                }
            }
            Pox::Address(text) => match text.parse::<Address>() {
                Ok(address) => Ok(Came::Address(address)),
                Err(_) => Err(protocol(format!("it leads to {}, which is no address", harmless(&text, 200)))),
            },
            Pox::Place(text) => https(&text).map(Came::Place).map_err(|why| protocol(format!("it leads to {}: {why}", harmless(&text, 200)))),
            Pox::Refused(code, said) => Err(error(SourceErrorKind::Mailbox, format!("it refuses with {code}")).said(&said)),
        }
    }

    /// The first that answers: which of them can be reached depends on where we are.
    async fn reachable(&mut self, mut places: Vec<WebPlace>) -> Result<WebPlace, SourceError> {
        if let [place] = places.as_slice() {
            return Ok(place.clone());
        }
        let mut failed = None;
        for place in places.drain(..) {
            match self.connect(&place).await {
                Ok(_) => return Ok(place),
                Err(error) => {
                    self.note(shown(&place), words(&error));
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.error(SourceErrorKind::Protocol, "autodiscover found no web services".to_owned())))
    }

    fn note(&mut self, place: String, came: String) {
        self.tried.push(Tried { place, came });
    }

    fn failed(&mut self, error: SourceError) {
        let rank = |kind| match kind {
            SourceErrorKind::Throttled => 6,
            SourceErrorKind::Mailbox => 5,
            SourceErrorKind::Timeout => 4,
            SourceErrorKind::Closed => 3,
            SourceErrorKind::Tls => 2,
            SourceErrorKind::Protocol => 1,
            _ => 0,
        };
        if self.worst.as_ref().is_none_or(|worst| rank(worst.kind) < rank(error.kind)) {
            self.worst = Some(error);
        }
    }

    fn error(&self, kind: SourceErrorKind, text: String) -> SourceError {
        SourceError::new(kind, "connect", self.who.address.domain().as_ascii(), text)
    }

    fn nothing(&self, address: &Address) -> SourceError {
        let (kind, wait) = self.worst.as_ref().map_or((SourceErrorKind::Protocol, None), |worst| (worst.kind, worst.retry_after));
        // A name that does not resolve is but one of several.
        let kind = if kind == SourceErrorKind::Dns { SourceErrorKind::Connect } else { kind };
        let tried: Vec<String> = self.tried.iter().map(|tried| format!("{}: {}", tried.place, tried.came)).collect();
        let text = format!("autodiscover found no web services for {}; {}", address.domain(), tried.join("; "));
        let error = self.error(kind, harmless(&text, 1_500));
        let error = if let Some(wait) = wait { error.after(wait) } else { error };
        error.hint(
            self.suspicious
                .clone()
                .unwrap_or_else(|| "set `url: https://mail.corp.example/EWS/Exchange.asmx`, with the server's own name".to_owned()),
        )
    }
}

/// How a place is come by.
#[derive(Clone, Copy)]
enum Way {
    Domain,
    Host,
    Redirect,
    Service,
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads.
fn led(answer: &Answer, from: &WebPlace) -> Result<WebPlace, SourceError> {
    let location = answer.field(&LOCATION).unwrap_or_default();
    // A path on the same host, which must be one of https then.
    let place = if location.starts_with('/') && !location.starts_with("//") { format!("{}{location}", origin(from)) } else { location.clone() };
    https(&place).map_err(|why| {
        let text = format!("it leads to {}: {why}", harmless(location.split('?').next().unwrap_or_default(), 200));
        SourceError::new(SourceErrorKind::Protocol, "connect", &peer(from), text)
    })
}

/// A place that passwords may go to.
fn https(text: &str) -> Result<WebPlace, &'static str> {
    let scheme = text.get(..8).filter(|start| start.eq_ignore_ascii_case("https://")).ok_or("that is no place of https")?;
    let place = WebPlace::parse(&format!("https://{}", &text[scheme.len()..]))?;
    Ok(WebPlace { host: place.host.to_ascii_lowercase(), ..place })
}

fn origin(place: &WebPlace) -> String {
    let (scheme, usual) = if place.is_secure { ("https", 443) } else { ("http", 80) };
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    if place.port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", place.port) }
}

/// Without a query, which may hold a ticket.
fn shown(place: &WebPlace) -> String {
    format!("{}{}", origin(place), place.target.split('?').next().unwrap_or_default())
}

fn peer(place: &WebPlace) -> String {
    format!("{}:{}", place.host, place.port)
}

fn words(error: &SourceError) -> String {
    match &error.server {
        Some(said) => format!("{} ({said})", error.text),
        None => error.text.clone(),
    }
}

/// The world as it is.
pub struct Network {
    dialer: Dialer,
    dns: Dns,
}

impl Network {
    /// As a server is configured; but a certificate is always verified, since it tells who the password goes to.
    pub fn new(server: &Server, tracer: Tracer) -> Self {
        let verify = match &server.tls.verify {
            TlsVerify::Off => TlsVerify::Full,
            other => other.clone(),
        };
        let least = |configured: Option<Duration>, limit: Duration| Some(configured.map_or(limit, |configured| configured.min(limit)));
        let limits = WebLimits { connect: least(server.connect_timeout, CONNECT_MAX), idle: least(server.idle_timeout, IDLE_MAX) };
        Network { dialer: Dialer::with(Tls { verify, ..server.tls.clone() }, limits, tracer), dns: Dns::new(&[]) }
    }
}

#[async_trait]
impl Doors for Network {
    async fn connect(&self, place: &WebPlace) -> Result<Web, WebError> {
        self.dialer.dial(place, &Nobody).await
    }

    async fn services(&self, domain: &Domain) -> Result<Vec<ServiceHost>, String> {
        self.dns.srv(SERVICE, domain).await.map_err(|error| error.reason)
    }
}
