//! How a connection comes to be: dialled, greeted, secured, logged in.

use super::connection::{Connection, failed};
use super::limits::Limits;
use crate::config::secret::SecretReader;
use crate::config::{Endpoint, Relay, TlsMode};
use crate::mail::{Blame, Client, Diagnosis, Reply, Stage};
use crate::net::{self, Channel, Dialect, Handshake, Seen, TlsClient, Tracer, Witness};
use crate::proto::smtp::{Extensions, Protocol, ReplyReader, Verdict, command, verdict};
use tokio::time::timeout;

/// What became of XCLIENT.
pub(super) enum Introduced {
    /// The server takes us for the client.
    Done,
    /// It does not offer XCLIENT to us.
    NotOffered,
    /// It said no (5xx).
    Refused {
        /// What it said.
        reply: Reply,
        /// It said so about XCLIENT itself, not about this client.
        for_good: bool,
        /// The connection is as it was before.
        usable: bool,
    },
}

impl Connection {
    /// Reaches the relay and introduces us. A failure is never the fault of a message.
    pub(super) async fn open(
        relay: &Relay,
        protocol: Protocol,
        limits: Limits,
        tls: Option<&TlsClient>,
        password: &SecretReader,
        witness: &dyn Witness,
        tracer: &Tracer,
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
        let secured = |channel: &Channel| {
            if let Some(handshake) = Handshake::of(channel) {
                tracer.note(|| format!("target: {}", handshake.version));
                witness.saw(Seen::Secured(Box::new(handshake)));
            }
        };
        if relay.tls.mode == TlsMode::Implicit {
            channel = secure(tls, channel, host, limits).await?;
            secured(&channel);
        }
        let mut connection = Connection::new(channel, protocol, limits);
        connection.trace = tracer.start(Dialect::Smtp);
        let greeting = connection.reply(limits.greeting).await.map_err(|e| failed(Stage::Greeting, e))?.reply;
        witness.saw(Seen::Greeted(greeting.to_string()));
        connection.expect(Stage::Greeting, greeting)?;
        let name = relay.hello.clone().unwrap_or_else(crate::net::hostname);
        connection.hello(&name).await?;
        if relay.tls.mode == TlsMode::StartTls {
            connection = connection.start_tls(tls, host).await?;
            secured(&connection.channel);
            connection.hello(&name).await?;
        }
        if let Some(login) = &relay.auth {
            connection.login(&login.username, password).await?;
        }
        Ok(connection)
    }

    /// XCLIENT and, as the session begins anew behind it, the hello (Postfix, XCLIENT_README). The name in that is the client's: it is the one that
    /// the server judges and writes into its Received field.
    ///
    /// A 4xx may be about this client: it defers this message only.
    pub(super) async fn introduce(&mut self, client: &Client, relay: &Relay, password: &SecretReader) -> Result<Introduced, Diagnosis> {
        let Some(line) = self.extensions.xclient.as_deref().and_then(|offered| command::xclient(offered, client)) else {
            return Ok(Introduced::NotOffered);
        };
        let before = self.client.replace(client.clone());
        let reply = self.ask(&line, self.limits.command).await.map_err(|e| failed(Stage::Hello, e))?.reply;
        match reply.code {
            220 => {}
            // 554 stands where a greeting does: it is this client that the server does not want. 501 is about an attribute's value.
            500..=599 => {
                let usable = before.is_none() && reply.code != 554;
                self.client = before;
                return Ok(Introduced::Refused { for_good: !matches!(reply.code, 501 | 554), usable, reply });
            }
            _ => return Err(about_the_client("XCLIENT", reply)),
        }
        self.clean = true;
        self.extensions = Extensions::default();
        let own_name = relay.hello.clone().unwrap_or_else(net::hostname);
        let name = client.helo.as_ref().map_or(own_name.as_str(), |name| name.as_ascii());
        let answer = self.ask(&command::hello(self.protocol, name), self.limits.command).await.map_err(|e| failed(Stage::Hello, e))?;
        match answer.reply.code {
            250 => self.extensions = Extensions::from_lines(&answer.lines),
            500..=599 => return Ok(Introduced::Refused { reply: answer.reply, for_good: false, usable: false }),
            _ => return Err(about_the_client("the hello behind XCLIENT", answer.reply)),
        }
        // A login belongs to the session that XCLIENT ended.
        if let Some(login) = relay.auth.as_ref().filter(|_| self.extensions.has_auth("PLAIN")) {
            self.login(&login.username, password).await?;
        }
        Ok(Introduced::Done)
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
    async fn login(&mut self, username: &str, password: &SecretReader) -> Result<(), Diagnosis> {
        if !self.channel.is_tls() {
            return Err(failed(Stage::Auth, "a password is not sent without TLS"));
        }
        if !self.extensions.has_auth("PLAIN") {
            return Err(failed(Stage::Auth, "the server does not offer AUTH PLAIN"));
        }
        let password = password().await.map_err(|error| failed(Stage::Auth, error.text))?;
        let line = command::auth_plain(username, &password).ok_or_else(|| failed(Stage::Auth, "user name or password holds a NUL"))?;
        self.trace.login_begins(password.expose());
        let answer = self.ask(line.expose().as_bytes(), self.limits.command).await.map_err(|e| failed(Stage::Auth, e))?;
        self.trace.login_ended();
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

fn about_the_client(what: &str, reply: Reply) -> Diagnosis {
    let blame = if reply.code / 100 == 4 { Blame::Message } else { Blame::Target };
    Diagnosis { blame, reply: Some(reply), ..failed(Stage::Hello, format!("unexpected reply to {what}")) }
}

async fn secure(tls: Option<&TlsClient>, channel: Channel, host: &str, limits: Limits) -> Result<Channel, Diagnosis> {
    let tls = tls.ok_or_else(|| failed(Stage::Tls, "TLS is not set up"))?;
    tls.secure(channel, host, Some(limits.connect)).await.map_err(|error| failed(Stage::Tls, error.text))
}
