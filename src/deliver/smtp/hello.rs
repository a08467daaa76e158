//! How a connection comes to be: dialled, greeted, secured, logged in.

use super::connection::{Connection, failed};
use super::limits::Limits;
use crate::config::secret::SecretReader;
use crate::config::{Endpoint, Relay, TlsMode};
use crate::mail::{Diagnosis, Reply, Stage};
use crate::net::{self, Channel, TlsClient};
use crate::proto::smtp::{Extensions, Protocol, ReplyReader, Verdict, command, verdict};
use tokio::time::timeout;

struct Login<'a> {
    username: &'a str,
    password: &'a SecretReader,
}

impl Connection {
    /// Reaches the relay and introduces us. A failure is never the fault of a message.
    pub(super) async fn open(
        relay: &Relay,
        protocol: Protocol,
        limits: Limits,
        tls: Option<&TlsClient>,
        password: &SecretReader,
    ) -> Result<Self, Diagnosis> {
        let endpoint = relay.endpoints.first().ok_or_else(|| failed(Stage::Connect, "no target"))?;
        let host = match endpoint {
            Endpoint::Tcp { host, .. } => host.as_str(),
            Endpoint::Unix(_) => "",
        };
        let mut channel = match endpoint {
            Endpoint::Tcp { host, port } => net::tcp(host, *port, Some(limits.connect)).await.map_err(|e| failed(Stage::Connect, e.text))?,
            Endpoint::Unix(path) => match timeout(limits.connect, net::unix(path)).await {
                Ok(dialled) => dialled.map_err(|e| failed(Stage::Connect, e.text))?,
                Err(_) => return Err(failed(Stage::Connect, format!("no connection in {} s", limits.connect.as_secs_f32()))),
            },
        };
        if relay.tls.mode == TlsMode::Implicit {
            channel = secure(tls, channel, host, limits).await?;
        }
        let mut connection = Connection::new(channel, protocol, limits);
        let greeting = connection.reply(limits.greeting).await.map_err(|e| failed(Stage::Greeting, e))?.reply;
        connection.expect(Stage::Greeting, greeting)?;
        let name = relay.hello.clone().unwrap_or_else(crate::net::hostname);
        connection.hello(&name).await?;
        if relay.tls.mode == TlsMode::StartTls {
            connection = connection.start_tls(tls, host).await?;
            connection.hello(&name).await?;
        }
        if let Some(login) = &relay.auth {
            connection.login(&Login { username: &login.username, password }).await?;
        }
        Ok(connection)
    }

    /// EHLO or LHLO; HELO where EHLO is not known (RFC 5321 §3.2).
    async fn hello(&mut self, name: &str) -> Result<(), Diagnosis> {
        let line = command::hello(self.protocol, name);
        let answer = self.ask(&line, self.limits.command).await.map_err(|e| failed(Stage::Hello, e))?;
        let refused = answer.reply.code / 100 == 5;
        if !refused {
            self.expect(Stage::Hello, answer.reply)?;
            self.extensions = Extensions::from_lines(&answer.lines);
            return Ok(());
        }
        if self.protocol == Protocol::Lmtp {
            let text = "the server refused LHLO: it does not speak LMTP; if this is an SMTP port, deliver by smtp";
            return Err(Diagnosis { reply: Some(answer.reply), ..failed(Stage::Hello, text) });
        }
        let answer = self.ask(&command::helo(name), self.limits.command).await.map_err(|e| failed(Stage::Hello, e))?;
        if answer.reply.code / 100 == 5 {
            let text = "the server refused EHLO and HELO: it does not speak SMTP; if this is an LMTP port, deliver by lmtp";
            return Err(Diagnosis { reply: Some(answer.reply), ..failed(Stage::Hello, text) });
        }
        self.extensions = Extensions::default();
        self.expect(Stage::Hello, answer.reply)
    }

    /// STARTTLS (RFC 3207). What was learnt in the clear is forgotten, and octets sent ahead of the handshake are an attack, not a reply.
    async fn start_tls(mut self, tls: Option<&TlsClient>, host: &str) -> Result<Self, Diagnosis> {
        if !self.extensions.starttls {
            return Err(failed(Stage::Tls, "the server does not offer STARTTLS, which the configuration requires"));
        }
        let answer = self.ask(command::STARTTLS, self.limits.command).await.map_err(|e| failed(Stage::Tls, e))?;
        self.expect(Stage::Tls, answer.reply)?;
        if self.has_spoken().await {
            return Err(failed(Stage::Tls, "the server sent text in the clear behind its answer to STARTTLS; this may be an attack"));
        }
        self.channel = secure(tls, self.channel, host, self.limits).await?;
        self.reader = ReplyReader::new();
        self.extensions = Extensions::default();
        Ok(self)
    }

    /// AUTH PLAIN (RFC 4954), over TLS only, tried once.
    async fn login(&mut self, login: &Login<'_>) -> Result<(), Diagnosis> {
        if !self.channel.is_tls() {
            return Err(failed(Stage::Auth, "a password is not sent without TLS"));
        }
        if !self.extensions.has_auth("PLAIN") {
            return Err(failed(Stage::Auth, "the server does not offer AUTH PLAIN"));
        }
        let password = (login.password)().await.map_err(|text| failed(Stage::Auth, text))?;
        let line = command::auth_plain(login.username, &password).ok_or_else(|| failed(Stage::Auth, "user name or password holds a NUL"))?;
        let answer = self.ask(line.expose().as_bytes(), self.limits.command).await.map_err(|e| failed(Stage::Auth, e))?;
        self.expect(Stage::Auth, answer.reply)
    }

    /// A reply before the first MAIL: yes, or the target is at fault.
    fn expect(&self, stage: Stage, reply: Reply) -> Result<(), Diagnosis> {
        let exact = match stage {
            Stage::Greeting | Stage::Tls => reply.code == 220,
            Stage::Hello => reply.code == 250,
            Stage::Auth => reply.code == 235,
            _ => true,
        };
        match verdict(self.protocol, stage, &reply) {
            Verdict::Accepted if exact => Ok(()),
            Verdict::Accepted | Verdict::Unexpected => Err(Diagnosis { reply: Some(reply), ..failed(stage, "unexpected reply") }),
            _ => Err(Diagnosis { reply: Some(reply), ..failed(stage, "") }),
        }
    }
}

async fn secure(tls: Option<&TlsClient>, channel: Channel, host: &str, limits: Limits) -> Result<Channel, Diagnosis> {
    let tls = tls.ok_or_else(|| failed(Stage::Tls, "TLS is not set up"))?;
    tls.secure(channel, host, Some(limits.connect)).await.map_err(|error| failed(Stage::Tls, error.text))
}
