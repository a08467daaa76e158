//! Where mail goes: what listens on this machine is looked for, and what is answered is tried.

use super::super::exit::Exit;
use super::Draft;
use crate::config::edit::Value;
use crate::config::{Endpoint, Target, TlsMode, maildir_base, server_place};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where the servers of a mail store usually listen on their own machine: Dovecot, Cyrus, LMTP and SMTP by TCP.
const USUAL: [(&str, &str); 4] =
    [("lmtp", "unix:/run/dovecot/lmtp"), ("lmtp", "unix:/run/cyrus/socket/lmtp"), ("lmtp", "127.0.0.1:24"), ("smtp", "127.0.0.1:25")];
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const EXAMPLE: &str = "a word and a place: `smtp HOST:PORT`, `lmtp HOST:PORT`, `lmtp unix:/PATH` or `maildir /PATH/{domain}/{local}`";

impl Draft<'_> {
    pub(super) fn delivery(&mut self) -> Result<(), Exit> {
        if self.is_target_known() {
            return Ok(());
        }
        let found: Vec<String> = USUAL.iter().filter(|(_, place)| listens(place).is_ok()).map(|(kind, place)| format!("{kind} {place}")).collect();
        if !self.asking.is_there() {
            let here = if found.is_empty() { String::new() } else { format!("; on this machine there is {}", found.join(", ")) };
            let forms = "`{lmtp: unix:/run/dovecot/lmtp}`, `{smtp: 127.0.0.1:25}` or `{maildir: \"/srv/mail/{domain}/{local}\"}`";
            return Err(self.answers.lacks("delivery", &format!("{forms}{here}")));
        }
        // Where the others deliver, unless they ask for more than a word and a place.
        let of_others = self.loaded.iter().flat_map(|loaded| loaded.config.collectors.values());
        let other = of_others.rev().find_map(|other| Some((other.id.as_str(), plain(&other.delivery.target)?)));
        match (&other, found.is_empty()) {
            (Some((name, place)), _) => eprintln!("collector `{name}` delivers to {place}"),
            (None, true) => eprintln!(
                "no mail server of this machine was found ({}): start it, or name another, or a folder for Maildirs",
                USUAL.map(|(_, place)| place).join(", ")
            ),
            (None, false) => eprintln!("found on this machine: {}", found.join(", ")),
        }
        let usual = other.map(|(_, place)| place).or(found.first().cloned());
        loop {
            let question = "Where mail goes: `smtp HOST:PORT`, `lmtp HOST:PORT`, `lmtp unix:/PATH` or `maildir /PATH/{domain}/{local}`";
            let (kind, place) = self.asking.until("delivery", question, usual.as_deref(), target)?;
            if let Err(why) = usable(&kind, &place) {
                eprintln!("  {}", crate::mail::outcome::harmless(&why, 1_000));
                if !self.asking.yes("Nothing can be delivered there now. Take it all the same?", false)? {
                    continue;
                }
            }
            self.answers.set_value(&format!("delivery.{kind}"), Value::text(&place));
            return Ok(());
        }
    }
}

/// A target that a word and a place say whole.
fn plain(target: &Target) -> Option<String> {
    let (kind, relay) = match target {
        Target::Maildir { path, create: false } => return Some(format!("maildir {path}")),
        Target::Maildir { .. } => return None,
        Target::Smtp(relay) => ("smtp", relay),
        Target::Lmtp(relay) => ("lmtp", relay),
    };
    if relay.tls.mode != TlsMode::None || relay.auth.is_some() {
        return None;
    }
    match &relay.endpoints[..] {
        [Endpoint::Unix(path)] => Some(format!("{kind} unix:{}", path.display())),
        [Endpoint::Tcp { host, port }] if host.contains(':') => Some(format!("{kind} [{host}]:{port}")),
        [Endpoint::Tcp { host, port }] => Some(format!("{kind} {host}:{port}")),
        _ => None,
    }
}

/// Kind and place, as they are typed.
fn target(text: &str) -> Result<(String, String), String> {
    let (kind, place) = text.split_once(' ').map(|(kind, place)| (kind, place.trim())).ok_or(EXAMPLE)?;
    match (kind, place) {
        (_, "") => return Err(EXAMPLE.to_owned()),
        ("maildir", path) if path.starts_with('/') => {}
        ("maildir", _) => return Err("a whole path, as in `maildir /srv/mail/{domain}/{local}`".to_owned()),
        ("smtp" | "lmtp", place) if place.starts_with("unix:/") => {}
        ("smtp" | "lmtp", place) if place.starts_with('/') => return Err(format!("a socket has `unix:` in front: `{kind} unix:{place}`")),
        ("smtp" | "lmtp", place) => drop(server_place(place)?),
        _ => return Err(EXAMPLE.to_owned()),
    }
    Ok((kind.to_owned(), place.to_owned()))
}

/// Why mail would not be delivered there.
fn usable(kind: &str, place: &str) -> Result<(), String> {
    if kind != "maildir" {
        // Without a port the usual one counts.
        let port = if kind == "lmtp" { 24 } else { 25 };
        let whole = match server_place(place) {
            Ok((host, None)) if host.contains(':') => format!("[{host}]:{port}"),
            Ok((host, None)) => format!("{host}:{port}"),
            _ => place.to_owned(),
        };
        return listens(&whole).map_err(|error| format!("nothing takes mail at {whole}: {error}"));
    }
    let base = maildir_base(place).0;
    match base.metadata() {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is no folder", base.display())),
        Err(error) => Err(format!(
            "{}, in which the Maildirs are to be: {error}. It is never made by itself, as a disk that is not mounted must not look like a new one: \
             `mkdir -p {}` as root, owned by the service's user",
            base.display(),
            base.display()
        )),
    }
}

/// Whether somebody listens at `unix:/path` or `host:port`.
fn listens(place: &str) -> io::Result<()> {
    if let Some(path) = place.strip_prefix("unix:") {
        return UnixStream::connect(Path::new(path)).map(drop);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "this name has no address");
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_they_are_typed() {
        for (text, wanted) in [
            ("smtp 127.0.0.1:25", Some(("smtp", "127.0.0.1:25"))),
            ("lmtp  unix:/run/x ", Some(("lmtp", "unix:/run/x"))),
            ("lmtp [::1]:24", Some(("lmtp", "[::1]:24"))),
            ("smtp mx.example.org", Some(("smtp", "mx.example.org"))),
            ("maildir /srv/{local}", Some(("maildir", "/srv/{local}"))),
            ("maildir srv/{local}", None),
            ("smtp", None),
            ("smtp ", None),
            ("smtp a:b", None),
            ("lmtp /run/x", None),
            ("mbox /x", None),
        ] {
            assert_eq!(target(text).ok(), wanted.map(|(kind, place)| (kind.to_owned(), place.to_owned())), "{text}");
        }
        assert!(target("lmtp /run/x").unwrap_err().contains("`lmtp unix:/run/x`"));
    }

    #[test]
    fn what_listens_and_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", dir.path().join("lmtp").display());
        assert!(usable("lmtp", &socket).unwrap_err().contains("No such file"));
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("lmtp")).unwrap();
        assert_eq!(usable("lmtp", &socket), Ok(()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        assert_eq!(usable("smtp", &place), Ok(()));
        drop(listener);
        assert!(usable("smtp", &place).unwrap_err().contains("nothing takes mail at 127.0.0.1:"));
        let maildirs = |base: &str| usable("maildir", &format!("{}/{base}{{domain}}/{{local}}", dir.path().display()));
        assert_eq!(maildirs(""), Ok(()));
        let why = maildirs("none/").unwrap_err();
        assert!(why.contains(&format!("mkdir -p {}", dir.path().join("none").display())), "{why}");
    }
}
