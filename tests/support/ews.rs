//! An Exchange server as far as its web services for mail go: folders, items with MIME, sync states, shared mailboxes, logins, and scripts of what goes
//! wrong. It is as strict as the real one: requests are compared with the schema, and what stands in the wrong place is a SOAP fault.
//!
//! That it is one is shown by `exchangelib`, a client that others wrote (`tests/exchange/independent.rs`).

mod answer;
mod judge;
mod schema;
mod store;

pub use judge::Judge;
pub use store::{Item, Kind, Trouble};

use super::web::{self, Connection, Request, Response, WebServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use judge::Verdict;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;

/// Where it is.
pub const PATH: &str = "/EWS/Exchange.asmx";

/// Where it tells of that place.
pub const AUTODISCOVER: &str = "/autodiscover/autodiscover.xml";

/// The schemas that it can know, the oldest first.
pub const VERSIONS: [&str; 7] =
    ["Exchange2007_SP1", "Exchange2010", "Exchange2010_SP1", "Exchange2010_SP2", "Exchange2013", "Exchange2013_SP1", "Exchange2016"];

/// A server that runs.
pub struct Ews {
    web: WebServer,
    world: Arc<Mutex<World>>,
}

/// How one gets in.
pub enum Login {
    /// Names and passwords, by Basic.
    Basic(Vec<(String, String)>),
    /// Tokens, and whose they are.
    Bearer(Vec<(String, String)>),
    /// By NTLM; which connections are let in, and as whom.
    Ntlm(Judge, HashMap<u64, String>),
}

/// Something that goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A SOAP fault with this code, and how many milliseconds it wants to be left alone.
    Soap(&'static str, Option<u64>),
    /// Each response message refuses with this code.
    Each(&'static str, Option<u64>),
    /// An answer of HTTP without SOAP, with these fields.
    Status(u16, Vec<(&'static str, String)>),
    /// This document in place of the answer.
    Document(String),
    /// So many octets of the answer, and then the connection breaks.
    Cut(usize),
    /// So many octets of the answer, and then a well-ended HTTP body.
    Short(usize),
    /// No answer at all.
    HangUp,
    /// The answer comes this much later.
    Late(Duration),
}

/// What the server knows and what was asked of it.
pub struct World {
    pub store: Store,
    /// The newest schema that it knows.
    pub version: &'static str,
    pub login: Login,
    /// The connection ends behind each answer that asks for a login, and none was tried.
    pub closes: bool,
    /// Who may open whose mailbox, as a delegate.
    pub delegates: Vec<(String, String)>,
    /// Who may speak as anybody.
    pub impersonators: Vec<String>,
    /// What goes wrong: with which operation, how many of them it lets pass before, how often.
    troubles: Vec<(String, usize, usize, Fault)>,
    /// Each operation, and of how many things it was.
    pub operations: Vec<(String, usize)>,
    /// Faults of the client: requests that no Exchange takes.
    pub violations: Vec<String>,
    /// Marks and deletions that would have sent a receipt.
    pub receipts: usize,
    /// Where autodiscover says that the web services are.
    pub found_at: String,
}

impl Ews {
    /// A server with the mailbox `u@corp.example`, whose owner logs in by Basic as `CORP\u` or by that address; the password is `pw`.
    pub fn start() -> Ews {
        Ews::with(None)
    }

    /// The same with TLS.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Ews {
        Ews::with(Some(config))
    }

    fn with(tls: Option<Arc<rustls::ServerConfig>>) -> Ews {
        let accounts = ["u@corp.example", "CORP\\u", "svc@corp.example"].map(|name| (name.to_owned(), "pw".to_owned()));
        let world = World {
            store: Store::new("u@corp.example"),
            version: "Exchange2013_SP1",
            login: Login::Basic(accounts.to_vec()),
            closes: false,
            delegates: Vec::new(),
            impersonators: Vec::new(),
            troubles: Vec::new(),
            operations: Vec::new(),
            violations: Vec::new(),
            receipts: 0,
            found_at: String::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let known = Arc::clone(&world);
        let handler = move |request: Request| {
            let known = Arc::clone(&known);
            async move {
                let (response, late) = respond(&known, &request);
                tokio::time::sleep(late).await;
                response
            }
        };
        let web = match tls {
            Some(config) => WebServer::tls(config, handler),
            None => WebServer::plain(handler),
        };
        Ews { web, world }
    }

    /// The web server below.
    pub fn web(&self) -> &WebServer {
        &self.web
    }

    /// The place of the web services.
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.web.url())
    }

    /// Reads or changes what the server knows.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }

    /// Logs in by these names and this password, each by Basic.
    pub fn accounts(&self, names: &[&str], password: &str) {
        let accounts = names.iter().map(|name| ((*name).to_owned(), password.to_owned())).collect();
        self.world(|world| world.login = Login::Basic(accounts));
    }

    /// Puts a message into a folder of `u@corp.example` (a path; INBOX); its id.
    pub fn put(&self, folder: &str, mime: &[u8]) -> String {
        self.world(|world| world.store.put("u@corp.example", folder, Item::new(mime)))
    }

    /// The same for any kind of item in any mailbox.
    pub fn put_item(&self, mailbox: &str, folder: &str, item: Item) -> String {
        self.world(|world| world.store.put(mailbox, folder, item))
    }

    /// The items of a folder, oldest first.
    pub fn items(&self, mailbox: &str, folder: &str) -> Vec<Item> {
        self.world(|world| world.store.items(mailbox, folder))
    }

    /// After `passed` requests of this operation (`*`: any) the next `times` of them go wrong.
    pub fn trouble(&self, operation: &str, passed: usize, times: usize, fault: Fault) {
        self.world(|world| world.troubles.push((operation.to_owned(), passed, times, fault)));
    }

    /// How often an operation was asked.
    pub fn count(&self, operation: &str) -> usize {
        self.world(|world| world.operations.iter().filter(|(name, _)| name == operation).count())
    }

    /// Panics if a request was none that Exchange takes.
    #[track_caller]
    pub fn assert_no_violations(&self) {
        let violations = self.world(|world| world.violations.clone());
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

fn respond(world: &Mutex<World>, request: &Request) -> (Response, Duration) {
    let now = Duration::ZERO;
    let path = request.uri().path();
    if path != PATH && path != AUTODISCOVER {
        return (web::answer(404, "text/html", "<html>404</html>"), now);
    }
    let mut world = world.lock().unwrap();
    let user = match world.user(request) {
        Ok(user) => user,
        Err(refused) if world.closes && !request.headers().contains_key("authorization") => return (web::with(*refused, "connection", "close"), now),
        Err(refused) => return (*refused, now),
    };
    if path == AUTODISCOVER {
        let document = format!(
            "<?xml version=\"1.0\"?><Autodiscover xmlns=\"a\"><Response xmlns=\"b\"><Account><Action>settings</Action><Protocol><Type>EXCH</Type>\
             <EwsUrl>{}</EwsUrl></Protocol></Account></Response></Autodiscover>",
            world.found_at
        );
        return (web::answer(200, "text/xml; charset=utf-8", document), now);
    }
    if request.method() != web::Method::POST {
        return (web::answer(200, "text/html", "<!DOCTYPE html><html>You have created a service.</html>"), now);
    }
    if !request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/xml")) {
        return (web::empty(415), now);
    }
    let text = String::from_utf8_lossy(request.body()).into_owned();
    let (name, count) = schema::operation(&text);
    world.operations.push((name.clone(), count));
    let fault = world.trouble(&name);
    match fault {
        Some(Fault::Soap(code, back_off)) => return (web::answer(500, "text/xml; charset=utf-8", answer::fault(code, "Scripted.", back_off)), now),
        Some(Fault::Status(status, fields)) => {
            let plain = web::answer(status, "text/html", "<html><body>no</body></html>");
            return (fields.into_iter().fold(plain, |answer, (name, value)| web::with(answer, name, &value)), now);
        }
        Some(Fault::Document(document)) => return (web::answer(200, "text/xml; charset=utf-8", document), now),
        Some(Fault::HangUp) => return (web::hang_up(), now),
        _ => {}
    }
    let document = match &fault {
        Some(Fault::Each(code, back_off)) => answer::each(&name, count, code, *back_off),
        _ => match answer::answer(&mut world, &user, &text) {
            Ok(document) => document,
            Err((answer::HANG_UP, _)) => return (web::hang_up(), now),
            Err((code, text)) => {
                if let Ok(status) = code.parse() {
                    return (web::answer(status, "text/html", "<html><body>no</body></html>"), now);
                }
                if matches!(code, "ErrorSchemaValidation" | "ErrorInvalidRequest") {
                    world.violations.push(format!("{name}: {text}"));
                }
                return (web::answer(500, "text/xml; charset=utf-8", answer::fault(code, &text, None)), now);
            }
        },
    };
    match fault {
        Some(Fault::Cut(octets)) => {
            let cut = document.as_bytes()[..octets.min(document.len())].to_vec();
            let mut response = web::answer(200, "text/xml; charset=utf-8", "");
            *response.body_mut() = web::broken_off(cut);
            (response, now)
        }
        Some(Fault::Short(octets)) => (web::answer(200, "text/xml; charset=utf-8", document.as_bytes()[..octets.min(document.len())].to_vec()), now),
        Some(Fault::Late(late)) => (web::answer(200, "text/xml; charset=utf-8", document), late),
        _ => (web::answer(200, "text/xml; charset=utf-8", document), now),
    }
}

impl World {
    /// Who is asking, or the refusal.
    fn user(&mut self, request: &Request) -> Result<String, Box<Response>> {
        let field = request.headers().get("authorization").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
        let (scheme, secret) = field.split_once(' ').unwrap_or_default();
        let page = || web::answer(401, "text/html", "<html>401</html>");
        match &mut self.login {
            Login::Basic(accounts) => {
                let plain = STANDARD.decode(secret).unwrap_or_default();
                let plain = String::from_utf8_lossy(&plain).into_owned();
                let known = plain.split_once(':').filter(|_| scheme == "Basic");
                let found = known.and_then(|(name, password)| accounts.iter().find(|account| account.0 == name && account.1 == password));
                let refused = || Box::new(web::with(page(), "www-authenticate", "Basic realm=\"corp.example\""));
                found.map(|(name, _)| address_of(name)).ok_or_else(refused)
            }
            Login::Bearer(tokens) => {
                let found = tokens.iter().find(|(token, _)| scheme == "Bearer" && token == secret);
                let refused = || Box::new(web::with(page(), "www-authenticate", "Bearer error=\"invalid_token\""));
                found.map(|(_, name)| name.clone()).ok_or_else(refused)
            }
            Login::Ntlm(judge, inside) => {
                let connection = request.extensions().get::<Connection>().expect("each request has one").number;
                if let Some(name) = inside.get(&connection) {
                    return Ok(name.clone());
                }
                let offered = |offer: &str| Box::new(web::with(page(), "www-authenticate", offer));
                if scheme != "NTLM" {
                    return Err(offered("NTLM"));
                }
                match judge.judge(connection, secret) {
                    Verdict::Challenge(token) => Err(offered(&format!("NTLM {token}"))),
                    Verdict::Refused(why) => {
                        eprintln!("NTLM: {why}");
                        Err(offered("NTLM"))
                    }
                    Verdict::In(name) => {
                        let name = address_of(&name).to_lowercase();
                        inside.insert(connection, name.clone());
                        Ok(name)
                    }
                }
            }
        }
    }

    fn trouble(&mut self, operation: &str) -> Option<Fault> {
        let mut happens = None;
        for (of, passed, times, fault) in &mut self.troubles {
            if (of == "*" || of == operation) && *times > 0 {
                if *passed > 0 {
                    *passed -= 1;
                } else if happens.is_none() {
                    *times -= 1;
                    happens = Some(fault.clone());
                }
            }
        }
        happens
    }

    /// Nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.troubles.clear();
    }

    /// Whether somebody may look into a mailbox.
    fn may(&self, user: &str, mailbox: &str) -> bool {
        user == mailbox || self.delegates.iter().any(|(who, whose)| who == user && whose == mailbox)
    }
}

fn address_of(login: &str) -> String {
    match login.split_once('\\') {
        Some((_, name)) => format!("{name}@corp.example"),
        None => login.to_owned(),
    }
}
