//! Autodiscover in a small world: one server with TLS and one without play all hosts, each connection proves that it is the host that was meant.

use crate::support::certificates::{Authority, for_names};
use crate::support::web::{self, Request, Response, WebServer, header};
use async_trait::async_trait;
use mailgather::config::{Auth, AuthMethod, Tls, TlsMode, WebPlace};
use mailgather::mail::{Address, Domain, Secret};
use mailgather::net::{ServiceHost, TlsClient, Tracer, Web, WebError, WebErrorKind, WebLimits, tcp};
use mailgather::source::autodiscover::{Autodiscover, Doors, Look, Who};
use mailgather::source::{SourceError, SourceErrorKind as Kind};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PASSWORD: &str = "tanstaaftanstaaf";
const PATH: &str = "/autodiscover/autodiscover.xml";
const EWS: &str = "https://mail.corp.example/EWS/Exchange.asmx";

/// What a host answers to who has shown the right password, and to who has not.
#[derive(Clone)]
enum Host {
    /// A document for those with the password, 401 for others.
    Mailbox(String),
    /// 401 with NTLM beside Basic, whatever comes.
    TakesNtlm,
    /// 401 with NTLM for a question, and with Basic for one without a body.
    Baits,
    /// This, to anybody.
    Says(u16, &'static str, String),
    Leads(u16, String),
    HangsUp,
}

struct World {
    secure: WebServer,
    plain: WebServer,
    tls: TlsClient,
    hosts: Arc<Mutex<HashMap<String, Host>>>,
    /// `METHOD scheme://host/path, login` of each request.
    asked: Arc<Mutex<Vec<String>>>,
    services: Mutex<Vec<ServiceHost>>,
    _authority: Authority,
}

impl World {
    /// With these hosts: `https://corp.example`, `http://autodiscover.corp.example`.
    fn new(hosts: &[(&str, Host)]) -> Arc<World> {
        let authority = Authority::new();
        let names = [
            "corp.example",
            "www.corp.example",
            "autodiscover.corp.example",
            "mail.corp.example",
            "autodiscover.other.example",
            "other.example",
            "in.corp.example",
        ];
        let hosts: HashMap<String, Host> = hosts.iter().map(|(place, host)| ((*place).to_owned(), host.clone())).collect();
        let (hosts, asked) = (Arc::new(Mutex::new(hosts)), Arc::new(Mutex::new(Vec::new())));
        let handler = |scheme: &'static str| {
            let (hosts, asked) = (Arc::clone(&hosts), Arc::clone(&asked));
            move |request: Request| {
                let response = answer(scheme, &request, &hosts.lock().unwrap(), &mut asked.lock().unwrap());
                async move { response }
            }
        };
        let secure = WebServer::tls(authority.sign(for_names(&names)).server(), handler("https"));
        let plain = WebServer::plain(handler("http"));
        let tls = TlsClient::new(&Tls { ca_file: Some(authority.file()), ..Tls::mode(TlsMode::Implicit) }).unwrap();
        Arc::new(World { secure, plain, tls, hosts, asked, services: Mutex::default(), _authority: authority })
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(scheme: &str, request: &Request, hosts: &HashMap<String, Host>, asked: &mut Vec<String>) -> Response {
    let field = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (host, login) = (field(header::HOST).unwrap(), field(header::AUTHORIZATION));
    asked.push(format!("{} {scheme}://{host}{}{}", request.method(), request.uri(), if login.is_some() { ", login" } else { "" }));
    if request.method() == "POST" {
        let body = String::from_utf8_lossy(request.body());
        assert!(
            body.contains("<EMailAddress>tim@") || (body.is_empty() && login.as_ref().is_none_or(|login| login.starts_with("NTLM "))),
            "{request:?}"
        );
    }
    match hosts.get(&format!("{scheme}://{}", host.split(':').next().unwrap())) {
        // tim:tanstaaftanstaaf
        Some(Host::Mailbox(document)) if login.as_deref() == Some("Basic dGltOnRhbnN0YWFmdGFuc3RhYWY=") => {
            web::answer(200, "text/xml", document.clone())
        }
        Some(Host::Mailbox(_)) => web::with(web::answer(401, "text/html", "<html>who are you?"), "www-authenticate", "Basic realm=x"),
        Some(Host::Baits) => {
            assert!(login.is_none_or(|login| login.starts_with("NTLM ")));
            web::with(web::empty(401), "www-authenticate", if request.body().is_empty() { "Basic realm=x" } else { "NTLM" })
        }
        Some(Host::TakesNtlm) => {
            assert!(login.is_none_or(|login| login.starts_with("NTLM ")));
            web::with(web::with(web::empty(401), "www-authenticate", "NTLM"), "www-authenticate", "Basic realm=x")
        }
        Some(Host::Says(status, kind, body)) => web::answer(*status, kind, body.clone()),
        Some(Host::Leads(status, place)) => web::with(web::empty(*status), "location", place),
        Some(Host::HangsUp) => web::hang_up(),
        None => web::empty(404),
    }
}

#[async_trait]
impl Doors for World {
    async fn connect(&self, place: &WebPlace) -> Result<Web, WebError> {
        let scheme = if place.is_secure { "https" } else { "http" };
        let known = self.hosts.lock().unwrap().contains_key(&format!("{scheme}://{}", place.host));
        if !known {
            return Err(WebError { kind: WebErrorKind::Dns, text: "there is no such host".into(), hint: None, dialled: true, sent: false });
        }
        let limits = WebLimits { connect: Some(Duration::from_secs(10)), idle: Some(Duration::from_secs(10)) };
        let mut channel = tcp("127.0.0.1", if place.is_secure { self.secure.port() } else { self.plain.port() }, None).await?;
        if place.is_secure {
            channel = self.tls.secure(channel, &place.host, None).await?;
        }
        Web::over(channel, &place.host, place.port, limits, &Tracer::default()).await
    }

    async fn services(&self, _: &Domain) -> Result<Vec<ServiceHost>, String> {
        Ok(self.services.lock().unwrap().clone())
    }
}

async fn look(world: &Arc<World>, password: &str) -> Look {
    let address: Address = "tim@corp.example".parse().unwrap();
    let (auth, secret) = (Auth { method: AuthMethod::Password, ..Auth::default() }, Secret::new(password.to_owned()));
    Autodiscover::new(world.clone()).look(&Who { address: &address, auth: &auth, username: "tim", secret: &secret }).await
}

async fn found(world: &Arc<World>) -> Result<String, SourceError> {
    let look = look(world, PASSWORD).await;
    let shown = format!("{:?} {:?}", look.tried, look.found);
    assert!(!shown.contains(PASSWORD) && !shown.contains("dGltOn"), "{shown}");
    look.found.map(|place| format!("{}://{}{}", if place.is_secure { "https" } else { "http" }, place.host, place.target))
}

fn document(inside: &str) -> String {
    format!("<?xml version=\"1.0\"?><Autodiscover xmlns=\"a\"><Response xmlns=\"b\">{inside}</Response></Autodiscover>")
}

fn services(places: &[(&str, &str)]) -> Host {
    let protocols: String = places.iter().map(|(kind, place)| format!("<Protocol><Type>{kind}</Type><EwsUrl>{place}</EwsUrl></Protocol>")).collect();
    Host::Mailbox(document(&format!("<Account><Action>settings</Action>{protocols}</Account>")))
}

fn says_moved() -> Host {
    Host::Says(200, "text/xml", document("<Account><Action>redirectAddr</Action><RedirectAddr>tim@other.example</RedirectAddr></Account>"))
}

fn leads(place: &str) -> Host {
    Host::Leads(302, place.to_owned())
}

#[tokio::test]
async fn each_way_leads_to_the_web_services() {
    let here = services(&[("EXCH", EWS)]);
    let shop = || Host::Says(200, "text/html", "<html><body>Our shop</body></html>".into());
    let other = Host::Mailbox(document("<Account><Action>redirectAddr</Action><RedirectAddr>tim@other.example</RedirectAddr></Account>"));
    let place = format!("<Account><Action>redirectUrl</Action><RedirectUrl>https://mail.corp.example{PATH}</RedirectUrl></Account>");
    for (what, hosts, requests) in [
        ("its host", vec![("https://corp.example", shop()), ("https://autodiscover.corp.example", here.clone())], 3),
        ("the domain has no host", vec![("https://autodiscover.corp.example", here.clone())], 2),
        ("the web site hangs up", vec![("https://corp.example", Host::HangsUp), ("https://autodiscover.corp.example", here.clone())], 3),
        (
            "it leads on, by HTTP",
            vec![("https://corp.example", leads(&format!("HTTPS://Mail.corp.example{PATH}"))), ("https://mail.corp.example", here.clone())],
            3,
        ),
        (
            "it leads on, by a document",
            vec![("https://autodiscover.corp.example", Host::Mailbox(document(&place))), ("https://mail.corp.example", here.clone())],
            4,
        ),
        ("to another address", vec![("https://autodiscover.corp.example", other), ("https://autodiscover.other.example", here.clone())], 4),
        (
            "a redirect in clear, inside the domain",
            vec![
                ("http://autodiscover.corp.example", leads(&format!("https://mail.corp.example{PATH}"))),
                ("https://mail.corp.example", here.clone()),
            ],
            3,
        ),
    ] {
        let world = World::new(&hosts);
        assert_eq!(found(&world).await.unwrap_or_else(|error| panic!("{what}: {error:?}")), EWS, "{what}");
        let asked = world.asked();
        assert_eq!(asked.len(), requests, "{what}: {asked:?}");
        // The password goes nowhere but to who asked for it, and never in clear.
        assert!(asked.iter().all(|line| !line.ends_with("login") || line.starts_with("POST https://")), "{what}: {asked:?}");
        for (host, _) in hosts.iter().filter(|(_, host)| !matches!(host, Host::Mailbox(_))) {
            assert!(!asked.iter().any(|line| line.contains(&format!("{host}/")) && line.ends_with("login")), "{what}: {asked:?}");
        }
    }
    let world = World::new(&[("https://mail.corp.example", here)]);
    world.services.lock().unwrap().push(ServiceHost { host: "Mail.corp.example.".into(), port: 443 });
    assert_eq!(found(&world).await.unwrap(), EWS);
}

/// What stands at the bare domain is its web site as a rule, and a redirect from elsewhere makes it nothing else. NTLM shows nobody the password.
#[tokio::test]
async fn the_host_of_the_bare_domain_gets_no_password() {
    let (here, bare) = (services(&[("EXPR", EWS)]), format!("https://corp.example{PATH}"));
    let world = World::new(&[("https://corp.example", here.clone()), ("https://autodiscover.corp.example", here.clone())]);
    assert_eq!(found(&world).await.unwrap(), EWS);
    let host = format!("POST https://autodiscover.corp.example{PATH}");
    assert_eq!(world.asked(), [format!("POST {bare}"), host.clone(), format!("{host}, login")]);
    for more in [vec![], vec![("https://autodiscover.corp.example", leads(&bare))]] {
        let world = World::new(&[vec![("https://corp.example", here.clone())], more].concat());
        let error = found(&world).await.unwrap_err();
        assert!(error.text.contains("asks for the password or token itself"), "{error:?}");
        assert!(error.hint.as_ref().unwrap().contains("set `url: https://corp.example/EWS/Exchange.asmx`"), "{error:?}");
        assert!(!world.asked().iter().any(|line| line.ends_with("login")), "{error:?}");
    }
    // Nor does one that it names, whether it asks who we are, or lets anybody in.
    let says = |place: &str| {
        let protocol = format!("<Protocol><Type>EXPR</Type><EwsUrl>{place}/EWS/Exchange.asmx</EwsUrl></Protocol>");
        Host::Says(200, "text/xml", document(&format!("<Account><Action>settings</Action>{protocol}</Account>")))
    };
    for (host, named) in [
        ("https://corp.example", "https://other.example"),
        ("https://corp.example", "https://corp.example"),
        ("https://autodiscover.corp.example", "https://other.example"),
        ("https://other.example", "https://mail.corp.example"),
        ("https://corp.example", "https://www.corp.example"),
    ] {
        let world = World::new(&[
            (host, says(named)),
            ("http://autodiscover.corp.example", leads(&bare)),
            ("https://in.corp.example", leads(&format!("https://other.example{PATH}"))),
        ]);
        world.services.lock().unwrap().push(ServiceHost { host: "in.corp.example".into(), port: 443 });
        let error = found(&world).await.unwrap_err();
        assert!(error.text.contains("to anybody who asks"), "{host} {named}: {error:?}");
        assert!(error.hint.as_ref().unwrap().contains(&format!("set `url: {named}/EWS/Exchange.asmx`")), "{error:?}");
    }
    // What the domain's own hosts say of the domain's own hosts is believed.
    let world = World::new(&[("https://corp.example", says("https://mail.corp.example"))]);
    assert_eq!(found(&world).await.unwrap(), EWS);
    // One that knows us may send us there.
    let led = Host::Mailbox(document(&format!("<Account><Action>redirectUrl</Action><RedirectUrl>{bare}</RedirectUrl></Account>")));
    let world = World::new(&[("https://corp.example", here), ("https://autodiscover.corp.example", led)]);
    assert_eq!(found(&world).await.unwrap(), EWS);
    // The other name of a web site is the web site.
    let www = format!("https://www.corp.example{PATH}");
    let world = World::new(&[("https://corp.example", leads(&www)), ("https://www.corp.example", services(&[("EXPR", EWS)]))]);
    let error = found(&world).await.unwrap_err();
    assert!(error.hint.as_ref().unwrap().contains("set `url: https://www.corp.example/EWS/Exchange.asmx`"), "{error:?}");
    assert_eq!(world.asked(), [format!("POST {bare}"), format!("POST {www}")]);
    // An address that it leads to, which anybody could have said, is asked when the domain's own hosts know nothing.
    let moved = says_moved();
    let world = World::new(&[("https://corp.example", moved.clone()), ("https://autodiscover.corp.example", services(&[("EXPR", EWS)]))]);
    assert_eq!(found(&world).await.unwrap(), EWS);
    let world = World::new(&[("https://corp.example", moved), ("https://autodiscover.other.example", services(&[("EXPR", EWS)]))]);
    let error = found(&world).await.unwrap_err();
    assert!(error.hint.as_ref().unwrap().contains("`url: https://autodiscover.other.example/EWS/Exchange.asmx`"), "{error:?}");
    assert!(!world.asked().iter().any(|line| line.ends_with("login")), "{error:?}");
    // What is offered first need not be what is offered next.
    let world = World::new(&[("https://corp.example", Host::Baits)]);
    let address: Address = "tim@corp.example".parse().unwrap();
    let (auth, secret) = (Auth::default(), Secret::new(PASSWORD.to_owned()));
    let look = Autodiscover::new(world.clone()).look(&Who { address: &address, auth: &auth, username: "tim", secret: &secret }).await;
    assert!(look.found.is_err_and(|error| error.text.contains("does not offer NTLM")));
    // NTLM begins.
    let world = World::new(&[("https://corp.example", Host::TakesNtlm)]);
    let look = Autodiscover::new(world.clone()).look(&Who { address: &address, auth: &auth, username: "tim", secret: &secret }).await;
    assert!(look.found.is_err_and(|error| error.text.contains("answers its first message with no challenge")));
    assert!(world.asked().contains(&format!("POST {bare}, login")));
}

/// A redirect in clear, and a record of DNS, can come from anybody on the way.
#[tokio::test]
async fn what_anybody_can_have_written_is_told_and_not_followed() {
    let evil = || ("https://other.example", services(&[("EXPR", "https://other.example/EWS/Exchange.asmx")]));
    let world = World::new(&[("http://autodiscover.corp.example", leads(&format!("https://other.example{PATH}"))), evil()]);
    let error = found(&world).await.unwrap_err();
    assert!(error.text.contains("leads to https://other.example/autodiscover/autodiscover.xml, outside of the domain: not followed"), "{error:?}");
    assert!(error.hint.unwrap().contains("set `url: https://other.example/EWS/Exchange.asmx`"));
    assert_eq!(world.asked(), [format!("GET http://autodiscover.corp.example{PATH}")]);
    let world = World::new(&[evil()]);
    world.services.lock().unwrap().push(ServiceHost { host: "other.example".into(), port: 443 });
    let error = found(&world).await.unwrap_err();
    assert!(error.text.contains("SRV _autodiscover._tcp.corp.example: leads to https://other.example"), "{error:?}");
    assert_eq!(world.asked(), Vec::<String>::new());
    // In clear there is no way on but to https, and no document.
    for host in
        [leads("http://mail.corp.example/x"), leads("ftp://x"), leads(""), services(&[("EXPR", EWS)]), Host::Says(200, "text/xml", document(""))]
    {
        let world = World::new(&[("http://autodiscover.corp.example", host), ("http://mail.corp.example", services(&[("EXPR", EWS)]))]);
        let error = found(&world).await.unwrap_err();
        assert!(error.text.contains("no web services for corp.example"), "{error:?}");
        assert_eq!(world.asked(), [format!("GET http://autodiscover.corp.example{PATH}")]);
    }
}

#[tokio::test]
async fn refusals_and_documents_that_are_not_believed() {
    let says = |body: &str| Host::Says(200, "text/xml", body.to_owned());
    let looped = leads(&format!("https://autodiscover.corp.example{PATH}"));
    let to = |place: &str| Host::Mailbox(document(&format!("<Account><Action>redirectUrl</Action><RedirectUrl>{place}</RedirectUrl></Account>")));
    let around = Host::Mailbox(document("<Account><Action>redirectAddr</Action><RedirectAddr>tim@corp.example</RedirectAddr></Account>"));
    for (host, kind, words) in [
        (
            says("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><Autodiscover><Response>&x;</Response></Autodiscover>"),
            Kind::Protocol,
            "document type",
        ),
        (says(&" ".repeat(300_000)), Kind::Protocol, "more than 262144 octets"),
        (says("<Autodiscover"), Kind::Protocol, "it is no"),
        (
            says(&document("<Error><ErrorCode>500</ErrorCode><Message>no such mailbox</Message></Error>")),
            Kind::Mailbox,
            "refuses with 500 (no such mailbox)",
        ),
        (says(&document("<Account><Action>settings</Action></Account>")), Kind::Protocol, "names no web services"),
        (services(&[("EXPR", "http://mail.corp.example/EWS/Exchange.asmx")]), Kind::Protocol, "no places of https"),
        (Host::Says(503, "text/html", "busy".into()), Kind::Throttled, "it answers 503"),
        (Host::Says(403, "text/html", "no".into()), Kind::Protocol, "it answers 403"),
        (leads("http://corp.example/x"), Kind::Protocol, "no place of https"),
        (leads("https://corp.example@evil.example/x"), Kind::Protocol, "a user or a password"),
        (looped, Kind::Protocol, "leads on more than 10 times"),
        (around, Kind::Protocol, "leads on more than 10 times"),
        (to("http://mail.corp.example/x"), Kind::Protocol, "no place of https"),
        (Host::HangsUp, Kind::Closed, "closed the connection"),
    ] {
        let world = World::new(&[("https://autodiscover.corp.example", host)]);
        let error = found(&world).await.unwrap_err();
        assert!(error.kind == kind && error.text.contains(words), "{words}: {error:?}");
        assert!(world.asked().len() <= 24, "{words}");
    }
    // A wrong password ends the search: no other place hears it.
    let world =
        World::new(&[("https://autodiscover.corp.example", services(&[("EXPR", EWS)])), ("https://mail.corp.example", services(&[("EXPR", EWS)]))]);
    world.services.lock().unwrap().push(ServiceHost { host: "mail.corp.example".into(), port: 443 });
    let look = look(&world, "wrong-horse").await;
    assert_eq!((look.found.unwrap_err().kind, world.asked().len(), look.tried.len()), (Kind::Auth, 2, 2));
    // The web site of a domain may be somebody else's: where it leads outside, nobody's password goes, neither by a redirect nor by a document that it
    // gives to anybody.
    let elsewhere = |host: &str| (format!("https://{host}"), services(&[("EXPR", "https://other.example/EWS/Exchange.asmx")]));
    for site in [
        leads(&format!("https://other.example{PATH}")),
        says(&document(&format!("<Account><Action>redirectUrl</Action><RedirectUrl>https://other.example{PATH}</RedirectUrl></Account>"))),
        says_moved(),
    ] {
        let (bare, host) = (elsewhere("other.example"), elsewhere("autodiscover.other.example"));
        let world = World::new(&[("https://corp.example", site), (&bare.0, bare.1.clone()), (&host.0, host.1.clone())]);
        let error = found(&world).await.unwrap_err();
        assert!(error.text.contains("outside of") && error.hint.as_ref().is_some_and(|hint| hint.contains("`url: https://")), "{error:?}");
        assert!(!world.asked().iter().any(|line| line.ends_with("login")), "{error:?}");
    }
    // A host whose certificate is another one's is told nothing.
    let world = World::new(&[
        ("https://autodiscover.corp.example", leads("https://evil.corp.example/x")),
        ("https://evil.corp.example", services(&[("EXPR", EWS)])),
    ]);
    let error = found(&world).await.unwrap_err();
    assert!(error.kind == Kind::Tls && error.text.contains("not valid for this name"), "{error:?}");
    assert_eq!(world.asked(), [format!("POST https://autodiscover.corp.example{PATH}")]);
}

#[tokio::test]
async fn the_place_that_answers_is_kept_until_it_fails() {
    let places = [("EXCH", "https://in.corp.example/EWS/Exchange.asmx"), ("EXPR", EWS)];
    let world = World::new(&[("https://autodiscover.corp.example", services(&places)), ("https://in.corp.example", Host::HangsUp)]);
    let search = Autodiscover::new(world.clone());
    let address: Address = "tim@corp.example".parse().unwrap();
    let (auth, secret) = (Auth { method: AuthMethod::Auto, ..Auth::default() }, Secret::new(PASSWORD.to_owned()));
    let who = Who { address: &address, auth: &auth, username: "tim", secret: &secret };
    // EXPR comes first, but its host is not to be reached from here.
    assert_eq!(search.place(&who).await.unwrap().host, "in.corp.example");
    let first = world.asked().len();
    assert_eq!((search.place(&who).await.unwrap().host.as_str(), world.asked().len()), ("in.corp.example", 0));
    world.hosts.lock().unwrap().insert("https://mail.corp.example".into(), Host::HangsUp);
    assert_eq!(search.place(&who).await.unwrap().host, "in.corp.example");
    search.forget();
    assert_eq!((search.place(&who).await.unwrap().host.as_str(), world.asked().len()), ("mail.corp.example", first));
}
