//! From the greeting to the TRANSACTION state: capabilities, and one try to log in.

use super::super::auth::{self, Way};
use super::super::{SourceError, SourceErrorKind, hints};
use super::wire::Wire;
use crate::config::Server;
use crate::mail::Secret;
use crate::net::{Seen, Witness};
use crate::proto::pop3::command::Unsendable;
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Capabilities, Command, Reply, Status, capa};
use crate::proto::sasl::{self, Mechanism};
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may take to hear that we give a login up.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);

/// How the session starts.
pub(super) struct Login {
    /// What the server can do; nothing if it does not say.
    pub(super) capabilities: Capabilities,
    /// STAT and UIDL went out with the password, and their answers are still to be read.
    pub(super) asked_ahead: bool,
}

/// Reads the greeting, and gives it back: APOP needs its timestamp.
pub(super) async fn greeting(wire: &mut Wire) -> Result<String, SourceError> {
    wire.stage = "greeting";
    let reply = wire.final_reply().await?;
    if reply.status == Status::Ok {
        return Ok(reply.text);
    }
    let kind = if reply.refusal() == Refusal::Mailbox { SourceErrorKind::Mailbox } else { SourceErrorKind::Throttled };
    Err(as_told(wire.error(kind, "the server does not serve us now").said(&reply.text), &reply))
}

/// Asks for STLS: with +OK the handshake follows; with anything else nothing more may be said (no login in the clear, no second way).
pub(super) async fn starttls(wire: &mut Wire) -> Result<(), SourceError> {
    wire.stage = "starttls";
    let reply = wire.ask(Command::Stls).await?;
    match reply.status {
        Status::Ok => Ok(()),
        _ => Err(wire.error(SourceErrorKind::Tls, "the server does not offer STLS").said(&reply.text).hint(
            "use `tls: {mode: implicit}` with port 995 if the provider offers it; the password is not sent in the clear. A server that \
                 offered STLS before may have somebody on the line who takes it out",
        )),
    }
}

/// Asks what the server can do. One that does not know CAPA is asked for nothing beyond RFC 1939.
pub(super) async fn capabilities(wire: &mut Wire) -> Result<Option<Capabilities>, SourceError> {
    wire.stage = "capabilities";
    let reply = wire.ask(Command::Capa).await?;
    if reply.status != Status::Ok {
        return Ok(None);
    }
    let mut capabilities = Capabilities::default();
    for _ in 0..capa::LINES_MAX {
        match wire.listed_line().await? {
            Some(line) => capabilities.line(line.octets),
            None => return Ok(Some(capabilities)),
        }
    }
    Err(wire.error(SourceErrorKind::Protocol, "the server's list of capabilities has no end"))
}

/// Asks for messages as they are, also with 8-bit headers (RFC 6856 §2.1). A server that offers it and then refuses is asked no further.
pub(super) async fn utf8(wire: &mut Wire) -> Result<(), SourceError> {
    wire.stage = "capabilities";
    wire.ask(Command::Utf8).await.map(|_| ())
}

/// Logs in, once. `ahead` sends STAT and UIDL along with it; `password` is there if the method has one.
pub(super) async fn login(
    wire: &mut Wire,
    server: &Server,
    known: Option<Capabilities>,
    greeting: &str,
    password: &Secret,
    ahead: bool,
    witness: &dyn Witness,
) -> Result<Login, SourceError> {
    wire.stage = "login";
    let private = wire.channel().is_private();
    auth::guard(server, private, &wire.peer)?;
    let capabilities = known.unwrap_or_default();
    let way = auth::choose(&server.auth, capabilities.sasl, true).map_err(|missing| {
        wire.error(SourceErrorKind::Auth, missing).hint("choose another `auth: {method: …}`, or ask the provider which one it takes")
    })?;
    let user = server.username.as_str();
    witness.saw(Seen::LoggingIn(match way {
        Way::Command => "USER/PASS".to_owned(),
        Way::Apop => "APOP".to_owned(),
        Way::Sasl(mechanism) => format!("AUTH {}", mechanism.name()),
        Way::None => "no login".to_owned(),
    }));
    wire.trace.login_begins(password.expose());
    let ahead = ahead && way == Way::Command && capabilities.pipelining && !capabilities.login_ends_pipeline;
    let said = match way {
        Way::Command => by_command(wire, user, password, ahead).await?,
        Way::Apop => by_apop(wire, greeting, user, password).await?,
        Way::Sasl(Mechanism::External) if !private => {
            return Err(wire.error(SourceErrorKind::Tls, "a login by client certificate needs TLS"));
        }
        // In an AUTH exchange the server may still ask for something, and what went ahead would be taken for it.
        Way::Sasl(mechanism) => by_mechanism(wire, server, mechanism, password, capabilities).await?,
        Way::None => String::new(),
    };
    wire.trace.login_ended();
    witness.saw(Seen::LoggedIn(said));
    Ok(Login { capabilities, asked_ahead: ahead })
}

/// USER and PASS (RFC 1939 §7); what the server said to it, as of each other way.
async fn by_command(wire: &mut Wire, user: &str, password: &Secret, ahead: bool) -> Result<String, SourceError> {
    wire.push(Command::User(user))?;
    if ahead {
        wire.push(Command::Pass(password.expose()))?;
        wire.push(Command::Stat)?;
        wire.push(Command::Uidl)?;
    }
    wire.flush().await?;
    let reply = wire.final_reply().await?;
    if reply.status != Status::Ok {
        return Err(refused(wire, &reply));
    }
    if !ahead {
        wire.push(Command::Pass(password.expose()))?;
        wire.flush().await?;
    }
    let reply = wire.final_reply().await?;
    if reply.status == Status::Ok { Ok(reply.text) } else { Err(refused(wire, &reply)) }
}

/// RFC 1939 §7.
async fn by_apop(wire: &mut Wire, greeting: &str, user: &str, password: &Secret) -> Result<String, SourceError> {
    let Some(timestamp) = sasl::timestamp(greeting) else {
        let error = wire.error(SourceErrorKind::Auth, "the greeting has no timestamp that APOP could use").said(greeting);
        return Err(error.hint("the server offers no APOP, or what stands in the greeting is no message id and may be an attack (CVE-2007-1558)"));
    };
    let digest = sasl::apop(timestamp, password);
    let reply = wire.ask(Command::Apop(user, &digest)).await?;
    if reply.status == Status::Ok { Ok(reply.text) } else { Err(refused(wire, &reply)) }
}

/// RFC 5034 §4.
async fn by_mechanism(
    wire: &mut Wire,
    server: &Server,
    mechanism: Mechanism,
    password: &Secret,
    capabilities: Capabilities,
) -> Result<String, SourceError> {
    // Some servers decode first and split lines then.
    for (what, text) in [("login name", server.username.as_str()), ("password", password.expose())] {
        if text.contains(['\r', '\n', '\0']) {
            return Err(SourceError::no_secret(&wire.peer, Unsendable(what).to_string()));
        }
    }
    let mut exchange = auth::exchange(mechanism, server, password, wire.channel(), &wire.peer)?;
    // PLAIN alone goes along with the command, and only where CAPA names it, for older servers do not know that; a token is too long for
    // many (Exchange Online wants its XOAUTH2 in two lines even when it is short).
    let names_it = capabilities.sasl.is_some_and(|sasl| sasl.has(mechanism));
    let plain = if mechanism == Mechanism::Plain { sasl::plain(&server.username, password) } else { None };
    let initial = plain.filter(|plain| names_it && Command::fits_initial(mechanism.name(), plain.expose()));
    if initial.is_some() {
        // It is the exchange's first message, and its only one.
        exchange.initial();
    }
    let mut reply = wire.ask(Command::Auth(mechanism.name(), initial.as_ref().map(Secret::expose))).await?;
    for _ in 0..auth::STEPS_MAX {
        match reply.status {
            Status::Ok => {
                return match exchange.finish() {
                    Ok(()) => Ok(reply.text),
                    Err(error) => Err(auth::failed(&wire.peer, mechanism, &error)),
                };
            }
            Status::Err => return Err(auth::refused(refused(wire, &reply), &exchange)),
            Status::Continue => {}
        }
        let answer;
        match auth::step(exchange, std::mem::take(&mut reply.text).into_bytes()).await {
            Ok(stepped) => (exchange, answer) = stepped,
            Err(error) => {
                // RFC 5034 §4: the server answers -ERR, whatever it is; nothing depends on it.
                let _ = timeout(CANCEL_PATIENCE, wire.ask(Command::Response("*"))).await;
                return Err(auth::failed(&wire.peer, mechanism, &error));
            }
        }
        reply = wire.ask(Command::Response(answer.expose())).await?;
    }
    Err(wire.error(SourceErrorKind::Protocol, format!("{}: the server does not stop asking", mechanism.name())))
}

fn refused(wire: &Wire, reply: &Reply) -> SourceError {
    if reply.status == Status::Continue {
        return wire.error(SourceErrorKind::Protocol, "the server asks for more where nothing follows");
    }
    let (kind, text) = match reply.refusal() {
        Refusal::NotNow => (SourceErrorKind::Throttled, "the server does not let us in now"),
        Refusal::Mailbox => (SourceErrorKind::Mailbox, "the server cannot open the mailbox"),
        Refusal::Credentials | Refusal::Plain => (SourceErrorKind::Auth, "the server refuses the login"),
    };
    let error = wire.error(kind, text).said(&reply.text);
    match kind {
        SourceErrorKind::Auth => {
            let code = if reply.refusal() == Refusal::Credentials { "AUTH" } else { "" };
            error.hint(hints::login(&wire.peer, code, &reply.text))
        }
        SourceErrorKind::Throttled => as_told(error.hint(hints::not_now(&reply.text)), reply),
        _ => error.hint("the server says that somebody has to repair the mailbox: ask its operator"),
    }
}

/// Adds the wait that the server suggests, if it does.
fn as_told(error: SourceError, reply: &Reply) -> SourceError {
    match hints::suggested_wait(&reply.text) {
        Some(wait) => error.after(wait),
        None => error,
    }
}
