//! Asking a domain, or Mozilla's database of providers, for the file that tells mail programs where the mailboxes are.

use super::Known;
use super::detect::{Found, Wanted, whose};
use crate::config::{Access, TlsMode};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Domain};
use crate::net::{Dns, HttpError, Https};
use crate::proto::autoconfig::{ClientConfig, Incoming, IncomingProtocol, OCTETS_MAX};
use futures_util::future::join_all;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The domain itself.
    OfTheDomain,
    /// `autoconfig.thunderbird.net`: a third party, that learns the domain.
    Ispdb,
}

/// Where Mozilla's database is.
const ISPDB_HOST: &str = "autoconfig.thunderbird.net";

/// Asks at once wherever the file may be; the first place that has one with a server that can be used counts. What is odd about an answer is
/// noted; a host or a file that is not there is the rule and no news.
pub(super) async fn ask<'k>(known: &'k Known, dns: &Dns, wanted: &Wanted, source: Source) -> Option<Found<'k>> {
    let https = Https::new(dns).map_err(|error| eprintln!("note: no autoconfig: {error}")).ok()?;
    let places = places(wanted, source);
    let answers = join_all(places.iter().map(|(host, target)| https.get(host, target, OCTETS_MAX))).await;
    for ((host, _), answer) in places.iter().zip(answers) {
        match suggested(answer, wanted) {
            Ok(Some((title, servers))) => return Some(found(known, wanted, source, &format!("{host}{title}"), servers)),
            Ok(None) => {}
            Err(reason) => eprintln!("note: autoconfig at {host}: {}", harmless(&reason, 500)),
        }
    }
    None
}

/// Host, and path with query. The address itself goes only where its owner's provider asks for it.
fn places(wanted: &Wanted, source: Source) -> Vec<(Domain, String)> {
    let domain = wanted.domain.as_ascii();
    let query = wanted.address.as_ref().map_or(String::new(), |address| format!("?emailaddress={}%40{domain}", escaped(address.local())));
    let places = match source {
        Source::OfTheDomain => vec![
            (format!("autoconfig.{domain}"), format!("/mail/config-v1.1.xml{query}")),
            (domain.to_owned(), "/.well-known/autoconfig/mail/config-v1.1.xml".to_owned()),
        ],
        Source::Ispdb => vec![(ISPDB_HOST.to_owned(), format!("/v1.1/{domain}"))],
    };
    places.into_iter().filter_map(|(host, target)| Some((host.parse().ok()?, target))).collect()
}

/// Octets that have a meaning in a query (RFC 3986 §2.3) as `%` and two digits.
fn escaped(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(octet).collect()
}

/// What the provider calls itself, in brackets, and the servers of an answer; `Err` says what is odd about it.
fn suggested(answer: Result<Vec<u8>, HttpError>, wanted: &Wanted) -> Result<Option<(String, Vec<Incoming>)>, String> {
    let octets = match answer {
        Ok(octets) => octets,
        Err(HttpError::NoSuchHost | HttpError::Status(404 | 410)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let config = ClientConfig::read(&octets).map_err(|error| error.to_string())?;
    // Of a domain alone the name is not known: as the suggestion shows it.
    let address = wanted.address.clone().or_else(|| Address::new("you", wanted.domain.clone()).ok()).ok_or("no address")?;
    match config.best(&address) {
        best if best.is_empty() => {
            Err(format!("it names {} servers, and none for IMAP or POP3 by TLS with a login that works here", config.servers()))
        }
        best => {
            let title = harmless(config.display_name.trim(), 100);
            Ok(Some((if title.is_empty() { title } else { format!(" ({title})") }, best)))
        }
    }
}

fn found<'k>(known: &'k Known, wanted: &Wanted, source: Source, place: &str, best: Vec<Incoming>) -> Found<'k> {
    let login = best.first().map(|first| (first.login.clone(), first.authentication));
    let servers: Vec<(&'static str, Access)> = best
        .into_iter()
        .map(|server| {
            let protocol = match server.protocol {
                IncomingProtocol::Imap => "imap",
                IncomingProtocol::Pop3 => "pop3",
            };
            let tls = if server.implicit_tls { TlsMode::Implicit } else { TlsMode::StartTls };
            (protocol, Access { host: server.host, port: server.port, tls })
        })
        .collect();
    let (provider, named) = whose(known, &servers);
    let (by, says) = match source {
        Source::OfTheDomain => ("autoconfig", format!("the autoconfig of {} at {place} names", wanted.domain)),
        Source::Ispdb => ("ispdb", format!("for {} Mozilla's database at {place} names", wanted.domain)),
    };
    Found { by, provider, servers, login, why: format!("{says} {named}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_what() {
        let wanted = |text: &str| {
            let address: Address = text.parse().unwrap();
            Wanted { domain: address.domain().clone(), address: Some(address) }
        };
        let of = |wanted: &Wanted, source| {
            places(wanted, source).into_iter().map(|(host, target)| format!("{}{target}", host.as_ascii())).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&wanted("раз+x&y@почта.рф"), Source::OfTheDomain),
            [
                "autoconfig.xn--80a1acny.xn--p1ai/mail/config-v1.1.xml?emailaddress=%D1%80%D0%B0%D0%B7%2Bx%26y%40xn--80a1acny.xn--p1ai",
                "xn--80a1acny.xn--p1ai/.well-known/autoconfig/mail/config-v1.1.xml",
            ]
        );
        assert_eq!(of(&wanted("anna@corp.example"), Source::Ispdb), ["autoconfig.thunderbird.net/v1.1/corp.example"]);
        let domain = Wanted { address: None, domain: "corp.example".parse().unwrap() };
        assert_eq!(of(&domain, Source::OfTheDomain)[0], "autoconfig.corp.example/mail/config-v1.1.xml");
    }
}
