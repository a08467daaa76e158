//! From the greeting to the login: the part in which nothing may be believed and nothing secret said too early.

use super::connection::{Connection, Input, Tag};
use crate::config::Server;
use crate::config::secret::SecretReader;
use crate::mail::{FolderName, Secret};
use crate::net::{Channel, Seen, Witness};
use crate::proto::imap::{Command, State};
use crate::proto::sasl::{Exchange, Mechanism};
use crate::source::auth::{self, Way};
use crate::source::{SourceError, SourceErrorKind};
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may take to hear that we give a login up.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);
const NO_STARTTLS: &str = "use `tls: {mode: implicit}` with port 993; the password is not sent in the clear. A server that offered STARTTLS before may \
                           have somebody on the line who takes it out";

/// How the server greets.
pub(super) struct Greeting {
    /// We are logged in already, it says.
    pub(super) preauth: bool,
    pub(super) text: String,
}

/// Reads the greeting.
pub(super) async fn greeting(connection: &mut Connection) -> Result<Greeting, SourceError> {
    connection.enter("greeting");
    match connection.next().await? {
        Input::PreAuth(text) => Ok(Greeting { preauth: true, text }),
        Input::Note(status) if status.state == State::Ok => Ok(Greeting { preauth: false, text: status.text }),
        Input::Note(status) => Err(connection.refused("the connection", &status)),
        Input::Code(_) => Ok(Greeting { preauth: false, text: String::new() }),
        _ => Err(connection.error(SourceErrorKind::Protocol, "the server does not greet as an IMAP server does")),
    }
}

/// Asks for TLS and gives the bare channel back. It is TLS or an error: a server that refuses, or that says that we are logged in before
/// there can be TLS (RFC 9051 §7.1.4), gets no login.
pub(super) async fn start_tls(mut connection: Connection, preauth: bool) -> Result<Channel, SourceError> {
    connection.enter("starttls");
    if preauth {
        return Err(connection.error(SourceErrorKind::Tls, "the server is logged in before TLS (PREAUTH), as an attacker would have it"));
    }
    know_capabilities(&mut connection).await?;
    if !connection.has("STARTTLS") {
        return Err(connection.error(SourceErrorKind::Tls, "the server does not offer STARTTLS").hint(NO_STARTTLS));
    }
    let tag = connection.send(&Command::StartTls).await?;
    loop {
        match connection.next().await? {
            Input::Answer(answered, status) if answered == tag && status.state == State::Ok => return connection.into_channel(),
            Input::Answer(_, status) => return Err(connection.refused("STARTTLS", &status).hint(NO_STARTTLS)),
            Input::Continue => return Err(connection.error(SourceErrorKind::Tls, "the server answers STARTTLS with a question")),
            // Nothing of it is believed: what TLS does not cover, anybody may have written.
            _ => {}
        }
    }
}

/// True if the server offers TLS: the question of `tls: {mode: opportunistic}`.
pub(super) async fn offers_tls(connection: &mut Connection, preauth: bool) -> Result<bool, SourceError> {
    connection.enter("starttls");
    if preauth {
        return Ok(false);
    }
    know_capabilities(connection).await?;
    Ok(connection.has("STARTTLS"))
}

/// Logs in, by the one way that was chosen before: a second try could lock the account. Sends SELECT INBOX along if `select` and it is safe;
/// its answer is then still to come.
pub(super) async fn log_in(
    connection: &mut Connection,
    server: &Server,
    password: &SecretReader,
    preauth: bool,
    select: bool,
    witness: &dyn Witness,
) -> Result<Option<Tag>, SourceError> {
    connection.enter("login");
    if preauth {
        if !server.auth.method.has_secret() {
            witness.saw(Seen::LoggingIn("PREAUTH".to_owned()));
            witness.saw(Seen::LoggedIn("logged in before a login (PREAUTH)".to_owned()));
            return Ok(None);
        }
        // Whose mailbox would it be? (CVE-2020-12398 and its like; RFC 9051 §7.1.4)
        let error = connection.error(SourceErrorKind::Auth, "the server says that we are logged in before we said who we are (PREAUTH)");
        return Err(error.hint("if it is meant so: `auth: {method: none}`"));
    }
    let private = connection.channel().is_private();
    auth::guard(server, private, connection.peer())?;
    know_capabilities(connection).await?;
    let offered = Mechanism::ALL.into_iter().map(Mechanism::name).filter(|name| connection.has(&format!("AUTH={name}"))).collect();
    let way = auth::choose(&server.auth, Some(offered), !connection.has("LOGINDISABLED")).map_err(|missing| no_way(connection, missing))?;
    let trying = |way: String| witness.saw(Seen::LoggingIn(way));
    let (said, selecting) = match way {
        Way::Command => {
            let secret = password().await.map_err(|why| SourceError::no_secret(connection.peer(), why))?;
            trying("LOGIN".to_owned());
            connection.trace.login_begins(secret.expose());
            by_command(connection, &Command::Login(&server.username, &secret), select).await?
        }
        Way::Sasl(Mechanism::External) => {
            if !private {
                return Err(connection.error(SourceErrorKind::Tls, "a login by client certificate needs TLS"));
            }
            let exchange = auth::exchange(Mechanism::External, server, &Secret::new(String::new()), connection.channel(), connection.peer())?;
            trying("AUTHENTICATE EXTERNAL".to_owned());
            connection.trace.login_begins("");
            (by_mechanism(connection, exchange).await?, None)
        }
        Way::Sasl(mechanism) => {
            let secret = password().await.map_err(|why| SourceError::no_secret(connection.peer(), why))?;
            let exchange = auth::exchange(mechanism, server, &secret, connection.channel(), connection.peer())?;
            trying(format!("AUTHENTICATE {}", mechanism.name()));
            connection.trace.login_begins(secret.expose());
            (by_mechanism(connection, exchange).await?, None)
        }
        Way::None => {
            let error = connection.error(SourceErrorKind::Auth, "the server wants a login, and `auth.method` is none");
            return Err(error.hint("`none` is for servers that know us otherwise and greet with PREAUTH"));
        }
        Way::Apop => return Err(connection.error(SourceErrorKind::Auth, "APOP is a login of POP3")),
    };
    connection.trace.login_ended();
    witness.saw(Seen::LoggedIn(said));
    Ok(selecting)
}

async fn know_capabilities(connection: &mut Connection) -> Result<(), SourceError> {
    if connection.capabilities.is_none() {
        let tag = connection.send(&Command::Capability).await?;
        connection.finish(tag, "CAPABILITY", |_| ()).await?;
    }
    Ok(())
}

/// The way that is configured is not offered.
fn no_way(connection: &Connection, missing: String) -> SourceError {
    if connection.channel().is_tls() {
        return connection.error(SourceErrorKind::Auth, missing).hint("choose another `auth: {method: …}`, or ask the provider which one it takes");
    }
    connection.error(SourceErrorKind::Tls, missing).hint("most servers offer a login only over TLS: `tls: {mode: implicit}` or `starttls`")
}

/// What the server said to it, and the SELECT that went along.
async fn by_command(connection: &mut Connection, login: &Command<'_>, select: bool) -> Result<(String, Option<Tag>), SourceError> {
    let inbox = FolderName::inbox();
    let mut commands = vec![*login];
    if select && connection.goes_at_once(login) {
        commands.push(Command::Select(&inbox));
    }
    let tags = connection.send_all(&commands).await?;
    // What is offered after the login may be something else (RFC 9051 §6.2.2).
    connection.capabilities = None;
    let said = loop {
        match connection.next().await? {
            Input::Answer(tag, status) if tag == tags[0] && status.state == State::Ok => break status.text,
            Input::Answer(_, status) => return Err(connection.refused("the login", &status)),
            // A server that forgot what came with the command.
            Input::Continue => return Err(connection.error(SourceErrorKind::Protocol, "the server asks for more than a login")),
            _ => {}
        }
    };
    Ok((said, tags.get(1).copied()))
}

/// RFC 9051 §6.2.2; what the server said to it.
async fn by_mechanism(connection: &mut Connection, mut exchange: Exchange) -> Result<String, SourceError> {
    let mechanism = exchange.mechanism();
    let goes_along = connection.has("SASL-IR") || connection.has("IMAP4REV2");
    let initial = if goes_along { exchange.initial() } else { None };
    // Nothing may follow at once: there may be a security layer behind it, and Cyrus throws away what it has read.
    let tag = connection.send(&Command::Authenticate(mechanism.name(), initial.as_ref())).await?;
    connection.capabilities = None;
    for _ in 0..=auth::STEPS_MAX {
        let status = loop {
            match connection.next().await? {
                Input::Answer(_, status) => break Some(status),
                Input::Continue => break None,
                _ => {}
            }
        };
        match status {
            Some(status) if status.state == State::Ok => {
                return match exchange.finish() {
                    Ok(()) => Ok(status.text),
                    Err(error) => Err(auth::failed(connection.peer(), mechanism, &error)),
                };
            }
            Some(status) => return Err(auth::refused(connection.refused("the login", &status), &exchange)),
            None => {
                let answer;
                match auth::step(exchange, connection.take_challenge()).await {
                    Ok(stepped) => (exchange, answer) = stepped,
                    Err(error) => {
                        cancel(connection, tag).await;
                        return Err(auth::failed(connection.peer(), mechanism, &error));
                    }
                }
                connection.respond(answer.expose()).await?;
            }
        }
    }
    Err(connection.error(SourceErrorKind::Protocol, format!("{}: the server does not stop asking", mechanism.name())))
}

/// Ends an exchange as RFC 9051 §6.2.2 wants it, so that the server does not count a login that hangs. What it says to that changes nothing.
async fn cancel(connection: &mut Connection, tag: Tag) {
    let farewell = async {
        connection.respond("*").await?;
        connection.finish(tag, "the end of the login", |_| ()).await
    };
    let _ = timeout(CANCEL_PATIENCE, farewell).await;
}
