//! The file in which a domain tells mail programs where its mailboxes are: the format of Mozilla's ISPDB, version 1.1
//! (draft-bucksch-autoconfig), as it stands at `https://autoconfig.DOMAIN/mail/config-v1.1.xml`.
//!
//! What is read comes from outside and ends in a suggestion to an operator: a document type declaration is refused (so no entity is ever
//! expanded but the five of XML itself), depth, number and length have limits, host names are domains or addresses, and a server
//! that is only reached in clear is none.

use crate::mail::{Address, Domain};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use std::net::IpAddr;

/// Longest document.
pub const OCTETS_MAX: usize = 64 * 1024;
/// Deepest element.
const DEPTH_MAX: usize = 16;
/// Most incoming servers that are read; what follows is left out.
const SERVERS_MAX: usize = 20;
/// Most kinds of authentication of one server that are read.
const AUTHENTICATIONS_MAX: usize = 8;
/// Longest text of an element that counts.
const TEXT_OCTETS_MAX: usize = 500;
/// Most attributes of an element that are looked at.
const ATTRIBUTES_MAX: usize = 16;

/// The document, as far as it speaks of collecting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the provider calls itself.
    pub display_name: String,
    servers: Vec<IncomingServer>,
}

/// Why a document is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoconfigError {
    /// Beyond [`OCTETS_MAX`].
    #[error("it has more than {OCTETS_MAX} octets")]
    TooLong,
    /// Another encoding, or none.
    #[error("it is not in UTF-8")]
    NotUtf8,
    /// It is not well-formed.
    #[error("it is no XML: {0}")]
    NotXml(String),
    /// `<!DOCTYPE …>`, which could define entities.
    #[error("it has a document type declaration, which is refused")]
    Doctype,
    /// An entity that is not one of XML itself.
    #[error("it has an entity of its own, which is refused")]
    Entity,
    /// Nobody nests so deep on purpose.
    #[error("its elements are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// Some other XML; a web page, as a rule.
    #[error("it is XML, but no clientConfig")]
    NotClientConfig,
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
    pub fn read(octets: &[u8]) -> Result<ClientConfig, AutoconfigError> {
        if octets.len() > OCTETS_MAX {
            return Err(AutoconfigError::TooLong);
        }
        let text = std::str::from_utf8(octets).map_err(|_| AutoconfigError::NotUtf8)?;
        let mut reader = Reader::from_str(text);
        let mut reading = Reading::default();
        loop {
            let event = reader.read_event().map_err(|error| AutoconfigError::NotXml(error.to_string()))?;
            match event {
                Event::Start(start) => reading.open(&start)?,
                Event::Empty(start) => {
                    reading.open(&start)?;
                    reading.close();
                }
                Event::End(_) => reading.close(),
                Event::Text(text) => reading.text(&text.xml10_content()),
                Event::CData(text) => reading.text(&text.xml10_content()),
                Event::GeneralRef(name) => {
                    let broken = |error: quick_xml::Error| AutoconfigError::NotXml(error.to_string());
                    match name.resolve_char_ref().map_err(broken)? {
                        Some(char) => reading.text(char.encode_utf8(&mut [0; 4])),
                        None => reading.text(resolve_predefined_entity(&name).ok_or(AutoconfigError::Entity)?),
                    }
                }
                Event::DocType(_) => return Err(AutoconfigError::Doctype),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        // The parser takes an end in the middle of an element for an end.
        match (reading.is_client_config, reading.path.is_empty()) {
            (false, _) => Err(AutoconfigError::NotClientConfig),
            (true, false) => Err(AutoconfigError::NotXml("it ends in the middle".into())),
            (true, true) => Ok(reading.config),
        }
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

/// Where in a document we are, and what was found.
#[derive(Default)]
struct Reading {
    /// Names of the open elements.
    path: Vec<String>,
    /// The text of the innermost one.
    text: String,
    is_client_config: bool,
    config: ClientConfig,
}

impl Reading {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), AutoconfigError> {
        if self.path.len() == DEPTH_MAX {
            return Err(AutoconfigError::TooDeep);
        }
        self.path.push(start.local_name().as_ref().to_owned());
        self.text.clear();
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["clientConfig"] => self.is_client_config = true,
            [_] => return Err(AutoconfigError::NotClientConfig),
            ["clientConfig", "emailProvider", "incomingServer"] if self.config.servers.len() < SERVERS_MAX => {
                // Checks for attributes that stand twice take time by the square of their number.
                let mut attributes = start.attributes();
                let mut all = attributes.with_checks(false).take(ATTRIBUTES_MAX).flatten();
                let kind = all.find(|attribute| attribute.key.as_ref() == "type").map(|attribute| attribute.value.as_ref().to_owned());
                self.config.servers.push(IncomingServer { kind: kind.unwrap_or_default(), ..IncomingServer::default() });
            }
            // Beyond the limit its elements must not be taken for those of the one before.
            ["clientConfig", "emailProvider", "incomingServer"] => {
                self.path.pop();
                self.path.push("(left out)".into());
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if self.text.len() <= TEXT_OCTETS_MAX {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        // One that is too long is something that is good for nothing, not nothing: a login name that is not said is the address.
        let text = if text.len() > TEXT_OCTETS_MAX { "\0".to_owned() } else { text };
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["clientConfig", "emailProvider", "displayName"] if self.config.display_name.is_empty() => self.config.display_name = text,
            ["clientConfig", "emailProvider", "incomingServer", name] => {
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
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn anna() -> Address {
        "anna@corp.example".parse().unwrap()
    }

    fn best(servers: &str) -> Vec<Incoming> {
        let text = format!("<?xml version=\"1.0\"?>\n<clientConfig version=\"1.1\"><emailProvider id=\"x\">{servers}</emailProvider></clientConfig>");
        ClientConfig::read(text.as_bytes()).unwrap().best(&anna())
    }

    fn server(kind: &str, host: &str, port: &str, socket: &str, rest: &str) -> String {
        format!(
            "<incomingServer type=\"{kind}\"><hostname>{host}</hostname><port>{port}</port><socketType>{socket}</socketType>{rest}</incomingServer>"
        )
    }

    #[test]
    fn a_whole_document() {
        let text = include_str!("autoconfig_sample.xml");
        let config = ClientConfig::read(text.as_bytes()).unwrap();
        assert_eq!((config.display_name.as_str(), config.servers()), ("Corp & Söhne", 5));
        let imap = Incoming {
            protocol: IncomingProtocol::Imap,
            host: "imap.corp.example".into(),
            port: 993,
            implicit_tls: true,
            login: Login::LocalPart,
            authentication: Authentication::Password,
        };
        let pop3 = Incoming {
            protocol: IncomingProtocol::Pop3,
            host: "pop.corp.example".into(),
            port: 110,
            implicit_tls: false,
            login: Login::Email,
            ..imap.clone()
        };
        assert_eq!(config.best(&anna()), [imap, pop3]);
    }

    #[test]
    fn imap_before_pop3_and_tls_before_starttls_and_nothing_in_clear() {
        let hosts = |servers: &str| best(servers).into_iter().map(|server| server.host).collect::<Vec<_>>();
        let (clear, by_command) = (server("imap", "clear.x", "143", "plain", ""), server("imap", "command.x", "143", "STARTTLS", ""));
        let (tls, second) = (server("imap", "tls.x", "993", "SSL", ""), server("imap", "second.x", "993", "ssl", ""));
        let pop = server("pop3", "pop.x", "995", "SSL", "");
        assert_eq!(hosts(&[pop.as_str(), &clear, &by_command, &tls, &second].concat()), ["tls.x", "pop.x"]);
        assert_eq!(hosts(&[clear.as_str(), &by_command].concat()), ["command.x"]);
        assert!(hosts(&clear).is_empty());
        for odd in [
            server("smtp", "a.x", "993", "SSL", ""),
            server("exchange", "a.x", "993", "SSL", ""),
            server("imap", "a", "993", "SSL", ""),
            server("imap", "a.x:993", "993", "SSL", ""),
            server("imap", "a.x/b", "993", "SSL", ""),
            server("imap", "", "993", "SSL", ""),
            server("imap", "a.x", "0", "SSL", ""),
            server("imap", "a.x", "66000", "SSL", ""),
            server("imap", "a.x", "", "SSL", ""),
            server("imap", "a.x", "993", "", ""),
            server("imap", "a.x", "993", "SSL", "<authentication>GSSAPI</authentication>"),
            server("imap", "a.x", "993", "SSL", "<username>a&#10;b</username>"),
            server("imap", "a.x", "993", "SSL", &format!("<username>{}</username>", "x".repeat(600))),
        ] {
            assert_eq!(hosts(&odd), Vec::<String>::new(), "{odd}");
        }
        assert_eq!(hosts(&server("imap", "почта.рф", "993", "SSL", "")), ["xn--80a1acny.xn--p1ai"]);
        assert_eq!(hosts(&server("imap", "192.0.2.7", "993", "SSL", "")), ["192.0.2.7"]);
    }

    #[test]
    fn logins_and_placeholders() {
        for (name, login) in [
            ("%EMAILADDRESS%", Login::Email),
            (" %EMAILLOCALPART% ", Login::LocalPart),
            ("%EMAILLOCALPART%@%EMAILDOMAIN%", Login::Email),
            ("", Login::Email),
            ("CORP\\%EMAILLOCALPART%", Login::Name("CORP\\anna".into())),
            ("%EMAILLOCALPART%.corp%x%", Login::Name("anna.corp%x%".into())),
            ("&lt;%EMAILLOCALPART%&gt;", Login::Name("<anna>".into())),
        ] {
            let found = best(&server("imap", "imap.%EMAILDOMAIN%", "993", "SSL", &format!("<username>{name}</username>")));
            assert_eq!((found[0].host.as_str(), &found[0].login), ("imap.corp.example", &login), "{name}");
        }
        // What is filled in is not filled in again.
        let odd: Address = "%EMAILDOMAIN%@corp.example".parse().unwrap();
        assert_eq!(filled_in("%EMAILLOCALPART%", &odd), "%EMAILDOMAIN%");
    }

    #[test]
    fn ways_to_log_in() {
        for (kinds, expected) in [
            (&["password-cleartext"][..], Some(Authentication::Password)),
            (&["password-encrypted"], Some(Authentication::Password)),
            (&["OAuth2", "password-cleartext"], Some(Authentication::Password)),
            (&["GSSAPI", "OAuth2"], Some(Authentication::OAuth2)),
            (&["NTLM", "OAuth2"], Some(Authentication::Ntlm)),
            (&["TLS-client-cert", "client-IP-address", "none"], None),
            (&[], Some(Authentication::Password)),
        ] {
            let kinds: String = kinds.iter().map(|kind| format!("<authentication>{kind}</authentication>")).collect();
            assert_eq!(best(&server("imap", "a.x", "993", "SSL", &kinds)).first().map(|found| found.authentication), expected, "{kinds}");
        }
    }

    #[test]
    fn hostile_documents() {
        let read = |text: &str| ClientConfig::read(text.as_bytes());
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><clientConfig><emailProvider><displayName>&b;</displayName></emailProvider></clientConfig>";
        assert_eq!(read(bomb), Err(AutoconfigError::Doctype));
        let outside = "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><clientConfig/>";
        assert_eq!(read(outside), Err(AutoconfigError::Doctype));
        assert_eq!(read("<clientConfig><emailProvider>&xxe;</emailProvider></clientConfig>"), Err(AutoconfigError::Entity));
        assert_eq!(read(&format!("<clientConfig>{}", "<a>".repeat(16))), Err(AutoconfigError::TooDeep));
        assert_eq!(read("<html><body>404</body></html>"), Err(AutoconfigError::NotClientConfig));
        assert_eq!(read("not found"), Err(AutoconfigError::NotClientConfig));
        assert_eq!(read(""), Err(AutoconfigError::NotClientConfig));
        assert!(matches!(read("<clientConfig><emailProvider>"), Err(AutoconfigError::NotXml(_))));
        assert!(matches!(read("<clientConfig></emailProvider>"), Err(AutoconfigError::NotXml(_))));
        assert_eq!(read(&" ".repeat(OCTETS_MAX + 1)), Err(AutoconfigError::TooLong));
        assert_eq!(ClientConfig::read(b"<clientConfig>\xff</clientConfig>"), Err(AutoconfigError::NotUtf8));
        // The servers behind the last that is read change nothing of it, and attributes without end take no time.
        let many = [server("imap", "a.x", "143", "STARTTLS", "").repeat(SERVERS_MAX), server("imap", "evil.x", "993", "SSL", "")].concat();
        assert_eq!(best(&many)[0].host, "a.x");
        let attributes: String = (0..5_000).map(|n| format!(" a{n}='1'")).collect();
        assert_eq!(best(&server("imap", "a.x", "993", "SSL", "").replace(" type", &format!("{attributes} type"))), []);
    }

    /// Pieces of documents, so that garbage gets deep into the reader.
    fn pieces() -> impl Strategy<Value = String> {
        let whole = prop::sample::select(vec![
            "<clientConfig>",
            "</clientConfig>",
            "<emailProvider>",
            "</emailProvider>",
            "<incomingServer type='imap'>",
            "<incomingServer type=\"pop3\"/>",
            "</incomingServer>",
            "<hostname>",
            "</hostname>",
            "<port>",
            "</port>",
            "<socketType>SSL</socketType>",
            "<socketType>plain</socketType>",
            "<username>",
            "</username>",
            "993",
            "a.example",
            "%EMAILADDRESS%",
            "%EMAIL",
            "&amp;",
            "&#0;",
            "&#x0a;",
            "&x;",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "<?x",
            "?>",
            "<!DOCTYPE",
            "\0",
            "\u{202e}",
            "почта.рф",
        ]);
        prop::collection::vec(prop_oneof![8 => whole.prop_map(str::to_owned), 1 => ".{0,8}"], 0..40).prop_map(|parts| parts.concat())
    }

    /// What is suggested is fit to be written into a configuration, whatever the document says.
    fn assert_fit(octets: &[u8]) {
        let Ok(config) = ClientConfig::read(octets) else { return };
        assert!(config.servers() <= SERVERS_MAX && config.display_name.len() <= TEXT_OCTETS_MAX);
        let found = config.best(&anna());
        assert!(found.len() <= 2);
        for server in found {
            assert!(server.port > 0);
            assert!(
                server.host.parse::<IpAddr>().is_ok() || server.host.parse::<Domain>().is_ok_and(|host| host.as_ascii() == server.host),
                "{server:?}"
            );
            if let Login::Name(name) = &server.login {
                assert!(!name.is_empty() && name.len() <= TEXT_OCTETS_MAX && !name.contains(char::is_control), "{server:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..2_000)) {
            assert_fit(&octets);
        }

        #[test]
        fn any_pieces(text in pieces()) {
            assert_fit(text.as_bytes());
        }

        #[test]
        fn any_text_in_each_element(host in ".{0,40}", port in ".{0,6}", name in "(%[A-Z]{1,15}%|.){0,20}", kind in "[a-zA-Z0-9-]{0,20}") {
            let escaped = |text: &str| quick_xml::escape::escape(text).into_owned();
            let rest = format!("<username>{}</username><authentication>{kind}</authentication>", escaped(&name));
            let text = server("imap", &escaped(&host), &escaped(&port), "SSL", &rest);
            assert_fit(format!("<clientConfig><emailProvider>{text}</emailProvider></clientConfig>").as_bytes());
        }

        #[test]
        fn a_document_that_is_cut_is_refused(at in 1_usize..1_000) {
            let text = include_str!("autoconfig_sample.xml");
            let cut = &text.as_bytes()[..text.trim_end().len() - at.min(text.len() / 2)];
            prop_assert!(ClientConfig::read(cut).is_err());
        }
    }
}
