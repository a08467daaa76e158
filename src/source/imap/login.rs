//! From the greeting to the login: the part in which nothing may be believed and nothing secret said too early.

use super::connection::{Connection, Input, Tag};
use crate::config::secret::SecretReader;
use crate::config::{AuthMethod, Server};
use crate::mail::FolderName;
use crate::net::Channel;
use crate::proto::imap::{Command, State};
use crate::source::{SourceError, SourceErrorKind};

/// Reads the greeting; true if it says that we are logged in already.
pub(super) async fn greeting(connection: &mut Connection) -> Result<bool, SourceError> {
    connection.enter("greeting");
    match connection.next().await? {
        Input::PreAuth => Ok(true),
        Input::Note(status) if status.state == State::Ok => Ok(false),
        Input::Note(status) => Err(connection.refused("the connection", &status)),
        Input::Code(_) => Ok(false),
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
    if connection.capabilities.is_none() {
        let tag = connection.send(&Command::Capability).await?;
        connection.finish(tag, "CAPABILITY", |_| ()).await?;
    }
    if !connection.has("STARTTLS") {
        return Err(connection.error(SourceErrorKind::Tls, "the server does not offer STARTTLS").hint("use `tls.mode: implicit` and port 993"));
    }
    let tag = connection.send(&Command::StartTls).await?;
    connection.finish(tag, "STARTTLS", |_| ()).await?;
    connection.into_channel()
}

/// Logs in, by the one way that was chosen before: a second try could lock the account. Sends SELECT INBOX along if `select` and it is safe;
/// its answer is then still to come.
pub(super) async fn log_in(
    connection: &mut Connection,
    server: &Server,
    password: &SecretReader,
    preauth: bool,
    select: bool,
) -> Result<Option<Tag>, SourceError> {
    connection.enter("login");
    if preauth {
        return Ok(None);
    }
    if !connection.channel().is_private() && !server.auth.allow_plaintext {
        let error = connection.error(SourceErrorKind::Tls, "the password would go over a channel that anybody can read");
        return Err(error.hint("use `tls.mode: implicit` or `starttls`, or allow it by `auth.allow_plaintext: true`"));
    }
    if connection.capabilities.is_none() {
        let tag = connection.send(&Command::Capability).await?;
        connection.finish(tag, "CAPABILITY", |_| ()).await?;
    }
    let plain = choose_plain(connection, server.auth.method)?;
    let initial = connection.has("SASL-IR") || connection.has("IMAP4REV2");
    let secret = password().await.map_err(|why| SourceError::no_secret(connection.peer(), why))?;
    let login = match plain {
        true => Command::AuthenticatePlain { username: &server.username, password: &secret, initial },
        false => Command::Login(&server.username, &secret),
    };
    let inbox = FolderName::inbox();
    let mut commands = vec![login];
    if select && connection.goes_at_once(&login) {
        commands.push(Command::Select(&inbox));
    }
    let tags = connection.send_all(&commands).await?;
    // What is offered after the login may be something else (RFC 9051 §6.2.2).
    connection.capabilities = None;
    loop {
        match connection.next().await? {
            Input::Answer(tag, status) if tag == tags[0] && status.state == State::Ok => break,
            Input::Answer(_, status) => return Err(connection.refused("the login", &status)),
            // An error of a mechanism that has no second step, or a server that forgot what came with the command.
            Input::Continue => return Err(connection.error(SourceErrorKind::Protocol, "the server asks for more than a login")),
            _ => {}
        }
    }
    Ok(tags.get(1).copied())
}

fn choose_plain(connection: &Connection, method: AuthMethod) -> Result<bool, SourceError> {
    let offered = connection.has("AUTH=PLAIN");
    let plain = match method {
        AuthMethod::Plain => true,
        AuthMethod::Password => false,
        AuthMethod::Auto => offered,
        _ => return Err(connection.error(SourceErrorKind::Auth, "this `auth.method` is not spoken yet")),
    };
    let missing = match plain {
        true if !offered => "the server does not offer AUTH=PLAIN",
        false if connection.has("LOGINDISABLED") => "the server has disabled LOGIN",
        _ => return Ok(plain),
    };
    let error = connection.error(SourceErrorKind::Tls, missing);
    Err(if connection.channel().is_tls() { error } else { error.hint("most servers offer a login only over TLS") })
}
