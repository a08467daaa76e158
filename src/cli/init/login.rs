//! Server, login and password, tried step by step: what fails is mended where it failed, before a password is asked for.

use super::super::exit::Exit;
use super::super::runtime;
use super::super::test::{probed, rendered};
use super::{Draft, keep, nothing_written};
use crate::config::edit::{Data, Value};
use crate::config::store::Store;
use crate::config::{Collector, Protocol, TlsMode, WebPlace, server_place};
use crate::mail::{Secret, code};
use crate::service::probe::{Cause, Depth, Ended, Report};
use crate::source::SourceErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Digits of a SHA-256.
const FINGERPRINT_DIGITS: usize = 64;

/// What somebody does about a step that failed.
enum Mended {
    /// It is tried again.
    Again,
    /// It is left as it is.
    Left,
}

impl Draft<'_> {
    /// Protocol, host, TLS and port.
    pub(super) fn ask_server(&mut self, usual: &str, place: impl Fn(&str) -> String) -> Result<(), Exit> {
        let protocol = self.asking.choice("Protocol (exchange: a server of one's own, by its web services)", &["imap", "pop3", "exchange"], usual)?;
        if protocol == Protocol::Exchange.word() {
            return self.ask_url();
        }
        let (host, port) = self.asking.until("server", "Server, as HOST or HOST:PORT", Some(&place(&protocol)), server_place)?;
        let words = ["implicit", "starttls", "none"];
        let likely = if matches!(port, Some(143 | 110)) { "starttls" } else { "implicit" };
        let mode = match self.asking.choice("TLS: implicit (port 993 or 995), starttls (143 or 110), none", &words, likely)?.as_str() {
            "starttls" => TlsMode::StartTls,
            "none" => TlsMode::None,
            _ => TlsMode::Implicit,
        };
        if mode == TlsMode::None {
            if !self.asking.yes("Without TLS whoever sits on the line reads password and mail. Is this line trusted?", false)? {
                return Err(nothing_written(Exit::TempFail));
            }
            self.answers.set("auth.allow_plaintext", "true");
        }
        let usual: u16 = match (protocol.as_str(), mode) {
            ("imap", TlsMode::Implicit) => 993,
            ("imap", _) => 143,
            (_, TlsMode::Implicit) => 995,
            _ => 110,
        };
        let port = match port {
            Some(port) => port,
            None => self.asking.or_default("Port", &usual.to_string(), |text| match text.parse::<u16>() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err("a number from 1 to 65535".to_owned()),
            })?,
        };
        self.server(&protocol, &host, mode, Some(port).filter(|port| *port != usual));
        Ok(())
    }

    /// Where the web services are.
    fn ask_url(&mut self) -> Result<(), Exit> {
        self.answers.set("protocol", Protocol::Exchange.word());
        let question = "Address of its web services, as https://mail.corp.example/EWS/Exchange.asmx (auto: the domain is asked)";
        let url = self.asking.until("url", question, Some("auto"), |text| match text {
            "auto" => Ok(None),
            text => WebPlace::parse(text).map(|_| Some(text.to_owned())).map_err(str::to_owned),
        })?;
        if let Some(url) = url {
            if url.starts_with("http://") {
                self.answers.set("auth.allow_plaintext", "true");
            }
            self.answers.set("url", &url);
        }
        Ok(())
    }

    pub(super) fn server(&mut self, protocol: &str, host: &str, tls: TlsMode, port: Option<u16>) {
        if protocol != "imap" {
            self.answers.set("protocol", protocol);
        }
        self.answers.set("server", host);
        if let Some(port) = port {
            self.answers.set("port", &port.to_string());
        }
        if tls != TlsMode::Implicit {
            self.answers.set("tls.mode", tls.word());
        }
    }

    /// Login and password, and whether the server takes them.
    pub(super) fn login(&mut self) -> Result<(), Exit> {
        if let Some(secret) = self.answers.take_secret() {
            self.keep_secret(secret)?;
        }
        if self.answers.has("password") || self.answers.says_no_password() {
            return Ok(());
        }
        if !self.asking.is_there() {
            let hint = "the password itself, or where it is, as `{secret: NAME}`, `{file: /path}`, `{credential: name}`, `{env: NAME}`";
            return Err(self.answers.lacks("password", hint));
        }
        if !self.answers.has("username") && !self.answers.has("login") {
            self.ask_username()?;
        }
        self.reach()?;
        loop {
            self.ask_password()?;
            if self.no_test {
                return Ok(());
            }
            let collector = self.candidate_for_login()?;
            let report = runtime()?.block_on(probed(&collector, Depth::Login));
            eprint!("{}", rendered(&report, Depth::Login));
            let Some(cause) = &report.cause else { return Ok(()) };
            let why = match cause.code() {
                code::LOGIN => "The login failed",
                code::SECRET => "The password cannot be read",
                // It is not the password: asking for another one would lead astray.
                _ => match self.mend(&report, &collector)? {
                    Mended::Again => continue,
                    Mended::Left => return Ok(()),
                },
            };
            let question = format!("{why}: another password (p), another login name (l), go on all the same (g), stop (s)?");
            match self.asking.choice(&question, &["p", "l", "g", "s"], "p")?.as_str() {
                "p" => {}
                "l" => self.ask_username()?,
                "g" => return Ok(()),
                _ => return Err(nothing_written(Exit::TempFail)),
            }
        }
    }

    /// The server can be reached, and its channel secured: before somebody types a password.
    fn reach(&mut self) -> Result<(), Exit> {
        while !self.no_test {
            let collector = self.candidate_for_login()?;
            let report = runtime()?.block_on(probed(&collector, Depth::Tls));
            eprint!("{}", rendered(&report, Depth::Tls));
            if report.cause.is_none() {
                return Ok(());
            }
            if let Mended::Left = self.mend(&report, &collector)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A step failed that is no matter of the password: says which, and asks what to do.
    fn mend(&mut self, report: &Report, collector: &Collector) -> Result<Mended, Exit> {
        let failed = report.steps.iter().rev().find(|step| matches!(step.ended, Ended::Badly(..)));
        let step = failed.map_or("connection", |step| step.name.word());
        let certificate = match &report.cause {
            Some(Cause::Source(error)) if error.kind == SourceErrorKind::Tls && error.text.contains("certificate") => Some(error.text.as_str()),
            _ => None,
        };
        let of_certificate = [("c", "name the file of the authority that signed it"), ("f", "take this certificate by its fingerprint")];
        let usual = [("n", "another server, or other TLS"), ("t", "try again"), ("g", "go on all the same"), ("s", "stop")];
        let all: Vec<(&str, &str)> = of_certificate.into_iter().filter(|_| certificate.is_some()).chain(usual).collect();
        eprintln!("Step `{step}` of {} failed. What now?", report.server);
        all.iter().for_each(|(letter, words)| eprintln!("  {letter}  {words}"));
        let letters: Vec<&str> = all.iter().map(|(letter, _)| *letter).collect();
        match self.asking.choice(&letters.join(", "), &letters, letters[0])?.as_str() {
            "c" => self.ask_authority()?,
            "f" => self.ask_fingerprint(certificate.unwrap_or_default())?,
            "n" => {
                let server = &collector.server;
                let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
                ["server", "port", "url", "protocol", "tls", "provider", "auth.allow_plaintext"].iter().for_each(|key| self.answers.remove(key));
                self.ask_server(server.protocol.word(), |_| format!("{host}:{}", server.port))?;
            }
            "t" => {}
            "g" => return Ok(Mended::Left),
            _ => return Err(nothing_written(Exit::TempFail)),
        }
        Ok(Mended::Again)
    }

    fn ask_authority(&mut self) -> Result<(), Exit> {
        let path = self.asking.until("tls.ca_file", "File of the authority's certificate (PEM)", None, |text| {
            let path = std::path::absolute(Path::new(text)).map_err(|error| error.to_string())?;
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            match text.contains("-----BEGIN CERTIFICATE-----") {
                true => Ok(path),
                false => Err(format!("{} has no certificate in PEM form in it", path.display())),
            }
        })?;
        self.answers.remove("tls.fingerprint");
        self.answers.set_value("tls.ca_file", Value::text(&path.to_string_lossy()));
        Ok(())
    }

    fn ask_fingerprint(&mut self, said: &str) -> Result<(), Exit> {
        eprintln!("Only its owner can tell whether this certificate is the server's: ask, and compare. Whoever sits on the line has one too.");
        let seen = fingerprint(said);
        let fingerprint = self.asking.until("tls.fingerprint", "SHA-256 of the certificate", seen.as_deref(), |text| {
            fingerprint(&format!("SHA-256 is {text}")).ok_or_else(|| "64 hexadecimal digits, with colons or without".to_owned())
        })?;
        self.answers.remove("tls.ca_file");
        self.answers.set_value("tls.fingerprint", Value::text(&fingerprint));
        Ok(())
    }

    fn ask_username(&mut self) -> Result<(), Exit> {
        let email = self.answers.text("email").unwrap_or_default();
        let usual = self.answers.text("username").unwrap_or_else(|| email.clone());
        let name = self.asking.or_default("Login name", &usual, |text| Ok(text.to_owned()))?;
        self.answers.remove("username");
        if name != email {
            self.answers.set("username", &name);
        }
        Ok(())
    }

    fn ask_password(&mut self) -> Result<(), Exit> {
        self.answers.remove("password");
        self.secret = None;
        match self.asking.hidden("Password (it is not shown; Enter alone: say where it is)")? {
            Some(secret) => self.keep_secret(secret)?,
            None => {
                let example =
                    "Where the password is, as {secret: NAME}, {file: /path}, {credential: NAME}, {env: NAME} or {command: [program, argument]}";
                let value = self.asking.until("password", example, None, |text| match Value::parse(text) {
                    Ok(value) if matches!(value.data(), Data::Map(_)) => Ok(value),
                    Ok(_) => Err("in braces, as {secret: NAME}".to_owned()),
                    Err(refusal) => Err(refusal.why),
                })?;
                self.answers.set_value("password", value);
            }
        }
        Ok(())
    }

    /// A password that was given as itself goes into the store.
    fn keep_secret(&mut self, secret: Secret) -> Result<(), Exit> {
        let text = secret.expose();
        if text.is_empty() || text.contains(['\n', '\r', '\0']) {
            return Err(self.answers.wrong("password", "the password is empty, or has more than one line: no login can send it"));
        }
        let collector = self.answers.text("name").unwrap_or_default();
        let name = keep::name(&Store::new(&self.state_dir), &collector, &secret);
        let value = Value::parse(&format!("{{secret: {name}}}")).map_err(|refusal| super::said(&refusal.why))?;
        self.answers.set_value("password", value);
        self.secret = Some((name, secret));
        Ok(())
    }

    /// Enough of a collector to log in; what comes later is filled with what changes nothing about that.
    fn candidate_for_login(&self) -> Result<Arc<Collector>, Exit> {
        let mut answers = self.answers.clone();
        if !answers.has("recipient") {
            answers.set("recipient.forward_to", "postmaster@localhost.invalid");
        }
        if !answers.has("password") && !answers.says_no_password() {
            answers.set_value("password", Value::parse("{env: NOT_ASKED_YET}").map_err(|refusal| super::said(&refusal.why))?);
        }
        if !self.is_target_known() {
            answers.set("delivery.smtp", "localhost");
        }
        Ok(self.collector(&answers)?.0)
    }
}

/// The fingerprint in what was said of a certificate.
fn fingerprint(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("SHA-256 is ")?;
    let found: String = rest.trim().chars().take_while(|c| c.is_ascii_hexdigit() || *c == ':').collect();
    (found.chars().filter(char::is_ascii_hexdigit).count() == FINGERPRINT_DIGITS).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_found_in_what_is_said() {
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(fingerprint(&format!("the certificate is not trusted: unknown issuer; its SHA-256 is {colons}; for x")), Some(colons.clone()));
        assert_eq!(fingerprint(&format!("SHA-256 is {}", "0f".repeat(32))), Some("0f".repeat(32)));
        assert_eq!((fingerprint("the certificate has expired"), fingerprint(&format!("SHA-256 is {}", &colons[2..]))), (None, None));
    }
}
