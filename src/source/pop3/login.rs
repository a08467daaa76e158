//! From the greeting to the TRANSACTION state: capabilities, and one try to log in.

use super::super::{SourceError, SourceErrorKind};
use super::wire::Wire;
use crate::config::{AuthMethod, Server};
use crate::mail::Secret;
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Capabilities, Command, Reply, Status, capa};

/// How the session starts.
pub(super) struct Login {
    /// What the server can do; nothing if it does not say.
    pub(super) capabilities: Capabilities,
    /// STAT and UIDL went out with the password, and their answers are still to be read.
    pub(super) asked_ahead: bool,
}

/// Reads the greeting.
pub(super) async fn greeting(wire: &mut Wire) -> Result<(), SourceError> {
    wire.stage = "greeting";
    let reply = wire.final_reply().await?;
    if reply.status == Status::Ok {
        return Ok(());
    }
    let kind = if reply.refusal() == Refusal::Mailbox { SourceErrorKind::Mailbox } else { SourceErrorKind::Throttled };
    Err(wire.error(kind, "the server does not serve us now").said(&reply.text))
}

/// Asks for STLS: with +OK the handshake follows; with anything else nothing more may be said (no login in the clear, no second way).
pub(super) async fn starttls(wire: &mut Wire) -> Result<(), SourceError> {
    wire.stage = "starttls";
    let reply = wire.ask(Command::Stls).await?;
    match reply.status {
        Status::Ok => Ok(()),
        _ => Err(wire
            .error(SourceErrorKind::Tls, "the server does not offer STLS")
            .said(&reply.text)
            .hint("use `tls: implicit` with port 995 if the provider offers it; the password is not sent in the clear")),
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

/// Logs in, once. `ahead` sends STAT and UIDL along with it.
pub(super) async fn login(
    wire: &mut Wire,
    server: &Server,
    known: Option<Capabilities>,
    password: &Secret,
    ahead: bool,
) -> Result<Login, SourceError> {
    wire.stage = "login";
    if !wire.channel().is_private() && !server.auth.allow_plaintext {
        return Err(wire
            .error(SourceErrorKind::Tls, "the password is not sent over an open connection")
            .hint("set `tls: implicit` or `tls: starttls`, or `allow_plaintext: true` if the line is trusted"));
    }
    let capabilities = known.unwrap_or_default();
    let plain = match server.auth.method {
        AuthMethod::Plain => true,
        AuthMethod::Password => false,
        AuthMethod::Auto => !capabilities.user && capabilities.sasl_plain,
        _ => return Err(wire.error(SourceErrorKind::Auth, "this `auth.method` is not spoken yet")),
    };
    // In an AUTH exchange the server may still ask for the response (`+`), and what went ahead would be taken for it.
    let ahead = ahead && capabilities.pipelining && !plain;
    let (user, password) = (server.username.as_str(), password.expose());
    if plain {
        plain_login(wire, capabilities, user, password).await?;
    } else {
        wire.push(Command::User(user))?;
        if ahead {
            wire.push(Command::Pass(password))?;
            wire.push(Command::Stat)?;
            wire.push(Command::Uidl)?;
        }
        wire.flush().await?;
        let reply = wire.final_reply().await?;
        if reply.status != Status::Ok {
            return Err(refused(wire, &reply));
        }
        if !ahead {
            wire.push(Command::Pass(password))?;
            wire.flush().await?;
        }
        let reply = wire.final_reply().await?;
        if reply.status != Status::Ok {
            return Err(refused(wire, &reply));
        }
    }
    Ok(Login { capabilities, asked_ahead: ahead })
}

/// RFC 5034 §4. The initial response is used only where the server names PLAIN in CAPA, for older servers do not know it.
async fn plain_login(wire: &mut Wire, capabilities: Capabilities, user: &str, password: &str) -> Result<(), SourceError> {
    let initial = capabilities.sasl_plain && Command::plain_fits_initial(user, password);
    let mut reply = wire.ask(if initial { Command::AuthPlainInitial(user, password) } else { Command::AuthPlain }).await?;
    if reply.status == Status::Continue {
        reply = wire.ask(Command::PlainResponse(user, password)).await?;
    }
    match reply.status {
        Status::Ok => Ok(()),
        Status::Err => Err(refused(wire, &reply)),
        Status::Continue => Err(wire.error(SourceErrorKind::Protocol, "the server asks for more than PLAIN has")),
    }
}

fn refused(wire: &Wire, reply: &Reply) -> SourceError {
    let (kind, text) = match reply.refusal() {
        Refusal::NotNow => (SourceErrorKind::Throttled, "the server does not let us in now"),
        Refusal::Mailbox => (SourceErrorKind::Mailbox, "the server cannot open the mailbox"),
        Refusal::Credentials | Refusal::Plain => (SourceErrorKind::Auth, "the server refuses the login"),
    };
    let error = wire.error(kind, text).said(&reply.text);
    if kind == SourceErrorKind::Auth {
        return error.hint("check username and password; many providers want an app password, or POP3 switched on in their settings");
    }
    error
}
