//! Logging in at a web server, over a connection that belongs to one mailbox: Basic, Bearer, and NTLM, whose login is the connection's own.
//!
//! As with IMAP and POP3 one way is chosen before the first try, and there is no second one: that could lock the account, and a server that refuses the
//! strong way must not get the weak one.

use super::auth;
use super::{SourceError, SourceErrorKind};
use crate::config::{Auth, AuthMethod};
use crate::mail::Secret;
use crate::net::{self, Answer, Question, Web};
use crate::proto::challenge::{Challenge, challenges, schemes};
use crate::proto::sasl::{Credentials, Exchange, Mechanism};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::WWW_AUTHENTICATE;

/// What is read of an answer that only says no: IIS has a page for it.
const PAGE_OCTETS_MAX: u64 = 256 * 1024;
const UNAUTHORIZED: u16 = 401;

/// The login of one connection. A new connection needs a new one.
pub struct WebLogin {
    account: Account,
    way: Way,
    /// `auto` has chosen on this very connection, by an answer 401 behind which servers like to close it.
    chosen_here: bool,
    /// A try went out that a server can count as a wrong one without saying so.
    tried: bool,
}

/// What `auto` has chosen, for a connection that comes after. The secret is not in it: it may be another one by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// RFC 7617.
    Basic,
    /// By this scheme, if it is known yet.
    Ntlm(Option<&'static str>),
}

/// Who wants to get in, and where.
#[derive(Clone, Debug)]
pub struct Account {
    /// How.
    pub auth: Auth,
    /// The login name; for NTLM `CORP\name` or `name@corp.example`.
    pub username: String,
    /// The password or the token.
    pub secret: Secret,
    /// The server's name, for which its certificate is.
    pub host: String,
    /// Its port.
    pub port: u16,
}

enum Way {
    /// Nothing is needed, or nothing was asked for.
    Open,
    /// `auto`, before the server has said what it takes.
    Unknown,
    /// The same field goes along with each request.
    Field(Secret, &'static str),
    Ntlm(Ntlm),
}

/// NTLM over HTTP (MS-NTHT): two requests that end with 401, and then the connection is let in.
struct Ntlm {
    /// `NTLM`, or `Negotiate`, which takes the same messages (MS-N2HT is about SPNEGO; IIS takes bare ones).
    scheme: Option<&'static str>,
    /// Requests on this connection need no field any more.
    is_in: bool,
    /// The server forgets it after each answer.
    forgets: bool,
}

impl WebLogin {
    /// Prepares the login. An error if a secret would go over a channel that others can read.
    pub fn new(account: Account, web: &Web) -> Result<WebLogin, SourceError> {
        let mut login = WebLogin { account, way: Way::Open, chosen_here: false, tried: false };
        auth::guard_channel(&login.account.auth, web.is_private(), &login.peer())?;
        login.way = match login.account.auth.method {
            AuthMethod::Auto => Way::Unknown,
            AuthMethod::Password | AuthMethod::Plain | AuthMethod::Login => login.basic()?,
            AuthMethod::OAuth2 => login.bearer()?,
            AuthMethod::Ntlm => Way::Ntlm(Ntlm::new(None)),
            // Who we are is in the client certificate.
            AuthMethod::None | AuthMethod::External => Way::Open,
            AuthMethod::CramMd5 | AuthMethod::Scram | AuthMethod::Apop => {
                let text = format!("{} is no login of the web", format!("{:?}", login.account.auth.method).to_lowercase());
                return Err(login.error(SourceErrorKind::Auth, text).hint("`auth.method` may be auto, password, ntlm, oauth2 or none"));
            }
        };
        Ok(login)
    }

    /// With what `auto` has chosen on a connection before, so that it is not asked for again. Where a way is configured, that one stays.
    pub fn knowing(mut self, chosen: Option<Chosen>) -> Result<WebLogin, SourceError> {
        let way = std::mem::replace(&mut self.way, Way::Unknown);
        self.way = match (way, chosen) {
            (Way::Unknown, Some(Chosen::Basic)) => self.basic()?,
            (Way::Unknown, Some(Chosen::Ntlm(scheme))) => Way::Ntlm(Ntlm::new(scheme)),
            (way, _) => way,
        };
        Ok(self)
    }

    /// What `auto` has chosen; `None` before, and for all others.
    pub fn chosen(&self) -> Option<Chosen> {
        match &self.way {
            _ if self.account.auth.method != AuthMethod::Auto => None,
            Way::Field(..) => Some(Chosen::Basic),
            Way::Ntlm(ntlm) => Some(Chosen::Ntlm(ntlm.scheme)),
            Way::Open | Way::Unknown => None,
        }
    }

    /// True if the login may go on over another connection where this one has ended: it ended behind the answer that tells what there is to choose from,
    /// and no try went out that could count as one with a wrong password.
    pub fn may_move(&self) -> bool {
        self.chosen_here && !self.tried
    }

    /// The password or the token that it is about.
    pub fn secret(&self) -> &Secret {
        &self.account.secret
    }

    /// Asks this, after having logged in where that is needed. The answer is never 401: that is an error here. `stage` is what is being done, for the
    /// errors of a connection that is let in.
    pub async fn ask(&mut self, web: &mut Web, question: Question, stage: &'static str) -> Result<Answer, SourceError> {
        if matches!(self.way, Way::Unknown) {
            let answer = self.asked(web, question.without_body(), "login").await?;
            if answer.status == UNAUTHORIZED {
                self.choose(answer).await?;
            } else {
                // The real question shows what this answer means.
                finished(answer).await;
                self.way = Way::Open;
            }
        }
        let mut answer = self.asked_as_chosen(web, &question, stage).await?;
        if answer.status == UNAUTHORIZED && matches!(self.way, Way::Open) && self.account.auth.method == AuthMethod::Auto {
            // What it had against a question without a body came before the login.
            self.choose(answer).await?;
            answer = self.asked_as_chosen(web, &question, stage).await?;
        }
        if answer.status == UNAUTHORIZED { Err(self.refused(answer).await) } else { Ok(answer) }
    }

    async fn asked_as_chosen(&mut self, web: &mut Web, question: &Question, stage: &'static str) -> Result<Answer, SourceError> {
        let question = question.clone();
        Ok(match &mut self.way {
            Way::Open | Way::Unknown => self.asked(web, question, stage).await?,
            Way::Field(value, _) => {
                let question = question.authorization(value.expose()).map_err(|error| SourceError::no_secret(&self.peer(), error.text))?;
                self.asked(web, question, stage).await?
            }
            Way::Ntlm(ntlm) if ntlm.is_in && !ntlm.forgets => {
                let answer = self.asked(web, question.clone(), stage).await?;
                if answer.status != UNAUTHORIZED {
                    return Ok(answer);
                }
                // Once more for this request, and for each from now on.
                finished(answer).await;
                if let Way::Ntlm(ntlm) = &mut self.way {
                    ntlm.forgets = true;
                }
                self.handshake(web, question).await?
            }
            Way::Ntlm(_) => self.handshake(web, question).await?,
        })
    }

    /// What is shown of the way: `Basic`, `NTLM`; `None` without a login, or before the first answer if it is `auto`.
    pub fn way(&self) -> Option<&'static str> {
        match &self.way {
            Way::Open | Way::Unknown => None,
            Way::Field(_, name) => Some(name),
            Way::Ntlm(_) => Some("NTLM"),
        }
    }

    /// What `auto` takes of what an answer 401 offers.
    async fn choose(&mut self, answer: Answer) -> Result<(), SourceError> {
        let offered = offered(&answer);
        finished(answer).await;
        self.way = self.best(&offered)?;
        self.chosen_here = true;
        Ok(())
    }

    /// NTLM, else Basic, as far as the server offers them and `disable` leaves them.
    fn best(&self, offered: &[Challenge]) -> Result<Way, SourceError> {
        let has = |scheme: &str| offered.iter().any(|challenge| challenge.is(scheme));
        let may = |name: &str| may(&self.account.auth, name);
        if takes_ntlm(&self.account.auth, offered) {
            return Ok(Way::Ntlm(Ntlm::new((!has("NTLM")).then_some("Negotiate"))));
        }
        if has("Basic") && may("PLAIN") {
            return self.basic();
        }
        let error = self.error(SourceErrorKind::Auth, format!("no way to log in is left: the server offers {}", schemes(offered)));
        let bearer = offered.iter().any(|challenge| challenge.is("Bearer"));
        Err(if bearer { error.hint("the server takes tokens: `auth: {method: oauth2}`") } else { error })
    }

    /// RFC 7617.
    fn basic(&self) -> Result<Way, SourceError> {
        let Account { auth, username, secret, .. } = &self.account;
        let name = match &auth.domain {
            Some(domain) if !username.contains(['\\', '@']) => format!("{domain}\\{username}"),
            _ => username.clone(),
        };
        if name.contains(':') || name.chars().chain(secret.expose().chars()).any(char::is_control) {
            let why = "Basic can carry neither a login name with a colon nor control characters";
            return Err(SourceError::no_secret(&self.peer(), why));
        }
        Ok(Way::Field(Secret::new(format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret.expose())))), "Basic"))
    }

    /// RFC 6750 §2.1.
    fn bearer(&self) -> Result<Way, SourceError> {
        let token = self.account.secret.expose();
        if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(SourceError::no_secret(&self.peer(), "the access token is empty, or holds something that no token has"));
        }
        Ok(Way::Field(Secret::new(format!("Bearer {token}")), "Bearer"))
    }

    /// The three messages of NTLM. The first goes without the request's body: its answer is no answer to it.
    async fn handshake(&mut self, web: &mut Web, question: Question) -> Result<Answer, SourceError> {
        let known = if let Way::Ntlm(ntlm) = &self.way { ntlm.scheme } else { None };
        let mut scheme = known.unwrap_or("NTLM");
        loop {
            let mut exchange = self.exchange(web)?;
            let first = exchange.initial().unwrap_or_else(|| Secret::new(String::new()));
            let answer = self.said(web, question.without_body(), scheme, &first).await?;
            if answer.status != UNAUTHORIZED {
                // Nobody asked for a login, or the server has other worries.
                finished(answer).await;
                return self.asked(web, question, "login").await;
            }
            let offered = offered(&answer);
            finished(answer).await;
            let token = offered.iter().find(|challenge| challenge.is(scheme)).and_then(|challenge| challenge.token.clone());
            let has = |scheme: &str| offered.iter().any(|challenge| challenge.is(scheme));
            let Some(token) = token else {
                if scheme == "NTLM" && known.is_none() && has("Negotiate") && !has("NTLM") && web.can_ask() {
                    scheme = "Negotiate";
                    continue;
                }
                return Err(self.no_challenge(scheme, &offered));
            };
            if !web.can_ask() {
                let error =
                    self.error(SourceErrorKind::Protocol, "the server closed the connection between the messages of NTLM, which must share one");
                return Err(error.hint("a proxy or load balancer in between does not keep connections: let it, or use another `auth.method`"));
            }
            let answer = exchange.step(token.as_bytes()).map_err(|error| auth::failed(&self.peer(), Mechanism::Ntlm, &error))?;
            self.tried = true;
            let answer = self.said(web, question, scheme, &answer).await?;
            if let Way::Ntlm(ntlm) = &mut self.way {
                ntlm.scheme = Some(scheme);
                ntlm.is_in = answer.status != UNAUTHORIZED;
            }
            return Ok(answer);
        }
    }

    fn exchange(&self, web: &Web) -> Result<Exchange, SourceError> {
        let peer = self.peer();
        let credentials = Credentials {
            username: self.account.username.clone(),
            password: self.account.secret.clone(),
            domain: self.account.auth.domain.clone(),
            host: self.account.host.clone(),
            port: self.account.port,
            random: net::random_octets().map_err(|error| SourceError::dial("login", &peer, error))?,
            now: auth::seconds_since_1970(),
            service: "HTTP",
            end_point: web.end_point_binding().map(<[u8]>::to_vec),
        };
        Exchange::new(Mechanism::Ntlm, &credentials).map_err(|error| auth::failed(&peer, Mechanism::Ntlm, &error))
    }

    async fn said(&self, web: &mut Web, question: Question, scheme: &str, message: &Secret) -> Result<Answer, SourceError> {
        let value = Secret::new(format!("{scheme} {}", message.expose()));
        let question = question.authorization(value.expose()).map_err(|error| SourceError::web("login", &self.peer(), error))?;
        self.asked(web, question, "login").await
    }

    async fn asked(&self, web: &mut Web, question: Question, stage: &'static str) -> Result<Answer, SourceError> {
        web.ask(question).await.map_err(|error| SourceError::web(stage, &self.peer(), error))
    }

    fn no_challenge(&self, scheme: &str, offered: &[Challenge]) -> SourceError {
        let names = schemes(offered);
        if scheme == "Negotiate" {
            let text = format!("the server offers {names}, and takes no NTLM by Negotiate: it wants Kerberos");
            let hint = "Kerberos is not supported: let the server take NTLM for this path (in IIS: Windows Authentication, Providers), or Basic with \
                        `auth: {method: password}`";
            return self.error(SourceErrorKind::Auth, text).hint(hint);
        }
        if offered.iter().any(|challenge| challenge.is(scheme)) {
            return self.error(SourceErrorKind::Protocol, "the server offers NTLM, and answers its first message with no challenge");
        }
        let error = self.error(SourceErrorKind::Auth, format!("the server does not offer NTLM; it offers {names}"));
        let has = |scheme: &str| offered.iter().any(|challenge| challenge.is(scheme));
        match () {
            () if has("Basic") => error.hint("`auth: {method: password}` logs in by Basic"),
            () if has("Bearer") => error.hint("the server takes tokens: `auth: {method: oauth2}`"),
            () => error,
        }
    }

    /// The error of a 401 behind our credentials, or without any.
    async fn refused(&self, answer: Answer) -> SourceError {
        let offered = offered(&answer);
        finished(answer).await;
        let names = schemes(&offered);
        let has = |scheme: &str| offered.iter().any(|challenge| challenge.is(scheme));
        let error = self.error(SourceErrorKind::Auth, "the server refuses the login").said(&format!("401; it offers {names}"));
        match &self.way {
            Way::Open | Way::Unknown => {
                self.error(SourceErrorKind::Auth, "the server wants a login").said(&format!("401; it offers {names}")).hint("set `auth: {method: …}`")
            }
            Way::Ntlm(_) => error.hint(
                "name, domain or password is wrong, or the account is locked; where something in between ends TLS, a server with Extended Protection \
                 refuses NTLM whatever the password is",
            ),
            Way::Field(_, "Basic") if !has("Basic") && (has("NTLM") || has("Negotiate")) => {
                error.hint("the server takes no Basic here: `auth: {method: ntlm}`")
            }
            Way::Field(_, "Basic") if !has("Basic") && has("Bearer") => error.hint("the server takes tokens only: `auth: {method: oauth2}`"),
            Way::Field(_, "Basic") => error.hint("name or password is wrong, or the server wants `DOMAIN\\name`: `auth: {domain: …}`"),
            Way::Field(..) => {
                let bearer = offered.iter().find(|challenge| challenge.is("Bearer"));
                let parameter = |name: &str| bearer.and_then(|challenge| challenge.parameter(name)).unwrap_or_default();
                let said = format!("401 {} {}", parameter("error"), parameter("error_description"));
                let hint = "the access token is refused: it has expired, or was made for another service, scope or mailbox: `mailgather test` reads it and says which";
                error.said(said.trim()).hint(hint)
            }
        }
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.account.host, self.account.port)
    }

    fn error(&self, kind: SourceErrorKind, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, "login", &self.peer(), text)
    }
}

impl Ntlm {
    fn new(scheme: Option<&'static str>) -> Ntlm {
        Ntlm { scheme, is_in: false, forgets: false }
    }
}

/// True if a login would hand the password or the token itself to the server that asks for one by this answer.
pub(super) fn hands_over_secret(auth: &Auth, answer: &Answer) -> bool {
    match auth.method {
        AuthMethod::None | AuthMethod::External | AuthMethod::Ntlm => false,
        AuthMethod::Auto => !takes_ntlm(auth, &offered(answer)),
        _ => true,
    }
}

/// What `auto` thinks of NTLM, which shows nobody the password.
fn takes_ntlm(auth: &Auth, offered: &[Challenge]) -> bool {
    let has = |scheme: &str| offered.iter().any(|challenge| challenge.is(scheme));
    (has("NTLM") || has("Negotiate") && !(has("Basic") && may(auth, "PLAIN"))) && may(auth, "NTLM")
}

fn may(auth: &Auth, name: &str) -> bool {
    !auth.disable.iter().any(|disabled| disabled.eq_ignore_ascii_case(name))
}

fn offered(answer: &Answer) -> Vec<Challenge> {
    let fields = answer.all(&WWW_AUTHENTICATE);
    challenges(fields.iter().map(String::as_str))
}

/// Reads an answer to its end, so that the connection can go on. If that fails, the next request says so.
async fn finished(answer: Answer) {
    let _ = answer.finish(PAGE_OCTETS_MAX).await;
}
