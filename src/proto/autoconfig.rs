//! The file in which a domain tells mail programs where its mailboxes are: the format of Mozilla's ISPDB, version 1.1
//! (draft-bucksch-autoconfig), as it stands at `https://autoconfig.DOMAIN/mail/config-v1.1.xml`.
//!
//! What is read comes from outside and ends in a suggestion to an operator: host names are domains or addresses, and a server that is only reached in
//! clear is none.

use super::document::{self, Attributes, DocumentError, Kind, Visitor};
use crate::mail::{Address, Domain};
use std::net::IpAddr;

/// Longest document.
pub const OCTETS_MAX: usize = 64 * 1024;
const KIND: Kind = Kind { what: "clientConfig", root: "clientConfig", octets_max: OCTETS_MAX, depth_max: 16, text_octets_max: TEXT_OCTETS_MAX };
/// Most incoming servers that are read; what follows is left out.
const SERVERS_MAX: usize = 20;
/// Most kinds of authentication of one server that are read.
const AUTHENTICATIONS_MAX: usize = 8;
/// Longest text of an element that counts.
const TEXT_OCTETS_MAX: usize = 500;

/// The document, as far as it speaks of collecting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the provider calls itself.
    pub display_name: String,
    servers: Vec<IncomingServer>,
}

/// One `incomingServer`, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct IncomingServer {
    kind: String,
    hostname: String,
    port: String,
    socket_type: String,
    username: String,
    authentication: Vec<String>,
}

/// What is collected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingProtocol {
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
}

/// A server that can be suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// What it speaks.
    pub protocol: IncomingProtocol,
    /// Its name in A-labels, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS from the first octet (`SSL`); otherwise by STARTTLS or STLS.
    pub implicit_tls: bool,
    /// The login name.
    pub login: Login,
    /// How one logs in.
    pub authentication: Authentication,
}

/// The login name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The address.
    Email,
    /// What stands before its `@`.
    LocalPart,
    /// Another one: printable, not empty.
    Name(String),
}

/// How one logs in, of those that we can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// By a password, in whichever way; `password-cleartext` and `password-encrypted` leave the choice to us.
    Password,
    /// By an access token.
    OAuth2,
    /// By a Windows account.
    Ntlm,
}

impl ClientConfig {
    /// Reads a document.
    pub fn read(octets: &[u8]) -> Result<ClientConfig, DocumentError> {
        let mut reading = Reading::default();
        document::read(&KIND, octets, &mut reading)?;
        Ok(reading.config)
    }

    /// The best server of each protocol, IMAP first: TLS from the first octet before STARTTLS, then as the document orders them. Those that are reached in
    /// clear only, and those that take no login of ours, are left out.
    pub fn best(&self, address: &Address) -> Vec<Incoming> {
        let mut all: Vec<Incoming> = self.servers.iter().filter_map(|server| server.usable(address)).collect();
        all.sort_by_key(|server| (server.protocol == IncomingProtocol::Pop3, !server.implicit_tls));
        all.dedup_by_key(|server| server.protocol);
        all
    }

    /// How many incoming servers the document names, usable or not.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }
}

impl IncomingServer {
    fn usable(&self, address: &Address) -> Option<Incoming> {
        let word = |text: &str| text.trim().to_ascii_lowercase();
        let protocol = match word(&self.kind).as_str() {
            "imap" => IncomingProtocol::Imap,
            "pop3" => IncomingProtocol::Pop3,
            _ => return None,
        };
        let implicit_tls = match word(&self.socket_type).as_str() {
            "ssl" => true,
            "starttls" => false,
            // "plain": whoever sits on the line reads the password.
            _ => return None,
        };
        let host = filled_in(self.hostname.trim(), address);
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) => host.parse::<Domain>().ok().filter(|host| host.as_ascii().contains('.'))?.as_ascii().to_owned(),
        };
        let port = self.port.trim().parse().ok().filter(|port| *port != 0)?;
        Some(Incoming { protocol, host, port, implicit_tls, login: self.login(address)?, authentication: self.authentication()? })
    }

    fn login(&self, address: &Address) -> Option<Login> {
        let name = filled_in(self.username.trim(), address);
        let is_email = name.parse::<Address>().is_ok_and(|name| name == *address);
        match () {
            // Nothing said is the address, as everywhere.
            () if name.is_empty() || is_email => Some(Login::Email),
            () if name == address.local() => Some(Login::LocalPart),
            () if name.len() > TEXT_OCTETS_MAX || crate::mail::outcome::harmless(&name, usize::MAX) != name => None,
            () => Some(Login::Name(name)),
        }
    }

    /// A password where one is taken, else the first kind that is known.
    fn authentication(&self) -> Option<Authentication> {
        let known = |word: &String| match word.trim().to_ascii_lowercase().as_str() {
            // The last two are those of old documents.
            "password-cleartext" | "password-encrypted" | "plain" | "secure" => Some(Authentication::Password),
            "oauth2" => Some(Authentication::OAuth2),
            "ntlm" => Some(Authentication::Ntlm),
            _ => None,
        };
        let kinds: Vec<Authentication> = self.authentication.iter().filter_map(known).collect();
        match self.authentication.is_empty() || kinds.contains(&Authentication::Password) {
            true => Some(Authentication::Password),
            false => kinds.first().copied(),
        }
    }
}

/// Text with its placeholders filled in, once: what is filled in is not looked at again.
fn filled_in(text: &str, address: &Address) -> String {
    let (whole, domain) = (address.to_string(), address.domain().to_string());
    let places = [("%EMAILADDRESS%", whole.as_str()), ("%EMAILLOCALPART%", address.local()), ("%EMAILDOMAIN%", domain.as_str())];
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        match places.iter().find_map(|(place, value)| rest.strip_prefix(place).map(|behind| (behind, value))) {
            Some((behind, value)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push('%');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

/// What was found.
#[derive(Default)]
struct Reading {
    config: ClientConfig,
    /// The open server is beyond the limit: its elements must not be taken for those of the one before.
    is_left_out: bool,
}

impl Visitor for Reading {
    fn open(&mut self, path: &[&str], attributes: Attributes<'_>) {
        if path == ["clientConfig", "emailProvider", "incomingServer"] {
            self.is_left_out = self.config.servers.len() >= SERVERS_MAX;
            if !self.is_left_out {
                self.config.servers.push(IncomingServer { kind: attributes.get("type").unwrap_or_default(), ..IncomingServer::default() });
            }
        }
    }

    fn close(&mut self, path: &[&str], text: Option<&str>) {
        // One that is too long is something that is good for nothing, not nothing: a login name that is not said is the address.
        let text = text.unwrap_or("\0").to_owned();
        match path {
            ["clientConfig", "emailProvider", "displayName"] if self.config.display_name.is_empty() => self.config.display_name = text,
            ["clientConfig", "emailProvider", "incomingServer", name] if !self.is_left_out => {
                if let Some(server) = self.config.servers.last_mut() {
                    match *name {
                        "hostname" => server.hostname = text,
                        "port" => server.port = text,
                        "socketType" => server.socket_type = text,
                        "username" => server.username = text,
                        "authentication" if server.authentication.len() < AUTHENTICATIONS_MAX => server.authentication.push(text),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "autoconfig_tests.rs"]
mod tests;
