//! `mailgather init`: the first collector, or a further one, question by question: address, provider, login, test, recipients, YAML. Nothing is
//! written before the test of the connections, and no password is written into the YAML.

mod answers;
mod ask;
mod keep;

use super::edit::{not_changed, not_written, told};
use super::exit::Exit;
use super::peek::print;
use super::providers::Known;
use super::providers::detect::{Wanted, asked, by_domain};
use super::test::{probed, rendered};
use super::{Common, refused, runtime};
use crate::config::edit::{self, Data, Value};
use crate::config::{Collector, Editor, Loaded, Request, SCHEMA_LINE, SecretSource, TlsMode, create_configuration, parse};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Secret};
use crate::service::probe::Depth;
use answers::Answers;
use ask::Asking;
use clap::Args;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Init {
    /// Answers in YAML: `name`, and keys of a collector, as `email`, `password`, `recipient`, `delivery`. Only what is not in it is asked.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Ask nothing: what is not in the answers is an error, or what it is by default.
    #[arg(long)]
    non_interactive: bool,
    /// Do not try the connections before writing.
    #[arg(long)]
    no_test: bool,
}

pub(super) fn init(arguments: &Init, common: &Common) -> Exit {
    try_init(arguments, common).unwrap_or_else(|exit| exit)
}

/// What the answers are so far.
struct Draft<'c> {
    asking: Asking,
    answers: Answers,
    common: &'c Common,
    /// The configuration that is there already.
    editor: Option<Editor>,
    loaded: Option<Loaded>,
    /// A password that was typed: it goes into a file of its own.
    secret: Option<Secret>,
    state_dir: PathBuf,
}

fn try_init(arguments: &Init, common: &Common) -> Result<Exit, Exit> {
    let asking = Asking::new(arguments.non_interactive)?;
    let answers = match &arguments.answers {
        Some(path) => Answers::read(path)?,
        None => Answers::default(),
    };
    let env = common.environment();
    let (mut editor, mut loaded) = (None, None);
    if common.config.symlink_metadata().is_ok() {
        let found = Editor::open(&common.config, &env).map_err(|report| refused(&report))?;
        loaded = Some(found.load().map_err(|report| {
            let exit = refused(&report);
            eprintln!("hint: mend it first, or name another file with `--config`");
            exit
        })?);
        editor = Some(found);
    }
    let state_dir = loaded.as_ref().map_or_else(|| env.state_dir_without_file(), |loaded| loaded.config.service.state_dir.clone());
    let mut draft = Draft { asking, answers, common, editor, loaded, secret: None, state_dir };
    draft.mailbox()?;
    draft.login()?;
    draft.recipients()?;
    draft.delivery()?;
    draft.write(arguments)
}

impl Draft<'_> {
    /// Address and server.
    fn mailbox(&mut self) -> Result<(), Exit> {
        let address: Address = match self.answers.text("email") {
            Some(text) => text.parse().map_err(|error| said(&format!("email: {error}")))?,
            None => self
                .asking
                .until("email", "Address of the mailbox to collect from", None, |text| text.parse::<Address>().map_err(|error| error.to_string()))?,
        };
        self.answers.set("email", &address.to_string());
        let wanted = Wanted::parse(&address.to_string()).ok_or(Exit::Usage)?;
        if self.answers.text("name").is_none() {
            let taken: Vec<String> = self.loaded.iter().flat_map(|loaded| loaded.config.collectors.keys()).map(|id| id.as_str().to_owned()).collect();
            let id = wanted.id();
            let free = std::iter::once(id.clone()).chain((2..).map(|n| format!("{id}{n}"))).find(|name| !taken.contains(name)).unwrap_or(id);
            let name = self.asking.or_default("A name for the collector", &free, |text| match crate::mail::CollectorId::new(text) {
                None => Err("letters, digits, `_` and `-`, at most 64".to_owned()),
                Some(_) if taken.iter().any(|name| name == text) => Err("there is one of this name already".to_owned()),
                Some(_) => Ok(text.to_owned()),
            })?;
            self.answers.set("name", &name);
        }
        if self.answers.has("server") || self.answers.has("provider") || self.answers.has("use") {
            return Ok(());
        }
        let known = Known::load(self.common);
        let found = match by_domain(&known, &wanted.domain) {
            Some(found) => Some(found),
            // Who cannot be asked has said nothing.
            None => asked(&known, &wanted, false).unwrap_or(None),
        };
        if let Some(found) = &found {
            eprintln!("{}", harmless(&found.why, 1_000));
            let notes = found.provider.map(|provider| provider.quirks.as_slice()).unwrap_or_default();
            notes.iter().for_each(|note| eprintln!("note: {}", harmless(note, 500)));
            if found.by == "domain" {
                // What is configured, or came with the program, needs no question: the configuration finds it too.
                return Ok(());
            }
            if let Some((protocol, access)) = found.servers.first() {
                let shown = format!("{protocol} {}:{}, TLS {}", access.host, access.port, access.tls.word());
                // What a name server says must not decide by itself who gets a password.
                if !self.asking.is_there() {
                    eprintln!("error: no provider is built in for {}; its own records name {shown}", wanted.domain);
                    eprintln!("hint: if that is right, write into the answers: server: {}", access.host);
                    return Err(Exit::Config);
                }
                if self.asking.yes(&format!("Use {shown}?"), true)? {
                    let (protocol, access) = (*protocol, access.clone());
                    self.server(protocol, &access.host, access.tls, Some(access.port));
                    return Ok(());
                }
            }
        }
        if !self.asking.is_there() {
            return Err(said(&format!(
                "no provider is known for {}: the answers must name the server, as `server: imap.{}`",
                wanted.domain, wanted.domain
            )));
        }
        let protocol = self.asking.choice("Protocol", &["imap", "pop3"], "imap")?;
        let host = self.asking.until("server", "Server", Some(&format!("{protocol}.{}", wanted.domain)), |text| Ok(text.to_owned()))?;
        let tls =
            self.asking.choice("TLS: implicit (port 993 or 995), starttls (143 or 110), none", &["implicit", "starttls", "none"], "implicit")?;
        let mode = match tls.as_str() {
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
        let usual = match (protocol.as_str(), mode) {
            ("imap", TlsMode::Implicit) => "993",
            ("imap", _) => "143",
            (_, TlsMode::Implicit) => "995",
            _ => "110",
        };
        let port = self.asking.or_default("Port", usual, |text| text.parse::<u16>().map_err(|_| "a number up to 65535".to_owned()))?;
        self.server(&protocol, &host, mode, Some(port).filter(|port| port.to_string() != usual));
        Ok(())
    }

    fn server(&mut self, protocol: &str, host: &str, tls: TlsMode, port: Option<u16>) {
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
    fn login(&mut self) -> Result<(), Exit> {
        if let Some(secret) = self.answers.take_secret()? {
            self.keep_secret(secret);
        }
        if self.answers.has("password") || self.answers.says_no_password() {
            return Ok(());
        }
        if !self.asking.is_there() {
            return Err(said(
                "the answers have no `password`: the password itself, or where it is, as `{secret: NAME}`, `{file: /path}`, `{credential: name}`, `{env: NAME}`",
            ));
        }
        if !self.answers.has("username") && !self.answers.has("login") {
            let email = self.answers.text("email").unwrap_or_default();
            let name = self.asking.or_default("Login name", &email, |text| Ok(text.to_owned()))?;
            if name != email {
                self.answers.set("username", &name);
            }
        }
        loop {
            self.ask_password()?;
            let collector = self.candidate_for_login()?;
            let report = runtime()?.block_on(probed(&collector, Depth::Login));
            eprint!("{}", rendered(&report, Depth::Login));
            if report.cause.is_none() {
                return Ok(());
            }
            match self.asking.choice("The login failed: another password (p), go on all the same (g), stop (s)?", &["p", "g", "s"], "p")?.as_str() {
                "p" => {}
                "g" => return Ok(()),
                _ => return Err(nothing_written(Exit::TempFail)),
            }
        }
    }

    fn ask_password(&mut self) -> Result<(), Exit> {
        self.answers.remove("password");
        self.secret = None;
        match self.asking.hidden("Password (it is not shown; Enter alone: say where it is)")? {
            Some(secret) => self.keep_secret(secret),
            None => {
                let example =
                    "Where the password is, as {secret: NAME}, {file: /path}, {credential: NAME}, {env: NAME} or {command: [program, argument]}";
                let value = self.asking.until("password", example, None, |text| match Value::parse(text) {
                    Ok(value) if matches!(value.data(), Data::Map(_)) => Ok(value),
                    Ok(_) => Err("in braces, as {file: /path}".to_owned()),
                    Err(refusal) => Err(refusal.why),
                })?;
                self.answers.set_value("password", value);
            }
        }
        Ok(())
    }

    /// A password that was given as itself goes into a file.
    fn keep_secret(&mut self, secret: Secret) {
        let name = self.answers.text("name").unwrap_or_default();
        let path = keep::path(&self.state_dir, &name);
        self.answers.set_value("password.file", Value::text(&path.to_string_lossy()));
        self.secret = Some(secret);
    }

    /// Enough of a collector to log in; what comes later is filled with what changes nothing about that.
    fn candidate_for_login(&self) -> Result<Arc<Collector>, Exit> {
        let mut answers = self.answers.clone();
        if !answers.has("recipient") {
            answers.set("recipient.forward_to", "postmaster@localhost.invalid");
        }
        if !self.is_target_known() {
            answers.set("delivery.smtp", "localhost");
        }
        Ok(self.collector(&answers)?.0)
    }

    /// Somebody says where mail goes: the answers, or what is there already.
    fn is_target_known(&self) -> bool {
        self.answers.has("delivery") || self.answers.has("use") || self.loaded.as_ref().is_some_and(|loaded| has_target(loaded, self.common))
    }

    fn recipients(&mut self) -> Result<(), Exit> {
        if self.answers.has("recipient") || self.answers.has("use") {
            return Ok(());
        }
        if !self.asking.is_there() {
            return Err(said(
                "the answers have no `recipient`: `{forward_to: someone@example.org}`, or `{auto: true, default_box: postmaster@example.org}`",
            ));
        }
        let address = |text: &str| text.parse::<Address>().map(|address| address.to_string()).map_err(|error| error.to_string());
        let to = self.asking.until(
            "recipient",
            "Who gets the mail: an address, or `auto` to find the recipient of each message by its headers",
            None,
            |text| {
                if text == "auto" { Ok(text.to_owned()) } else { address(text) }
            },
        )?;
        if to != "auto" {
            self.answers.set("recipient.forward_to", &to);
            return Ok(());
        }
        let own = self.answers.text("email").and_then(|email| email.rsplit_once('@').map(|(_, domain)| domain.to_owned())).unwrap_or_default();
        let domains = self.asking.or_default("Domains whose addresses are yours, with commas", &own, |text| {
            let each = text.split(',').map(|domain| {
                domain.trim().parse::<crate::mail::Domain>().map(|domain| domain.to_string()).map_err(|_| format!("`{}` is no domain", domain.trim()))
            });
            each.collect::<Result<Vec<String>, String>>()
        })?;
        let list = serde_json::Value::from(domains);
        self.answers.set_value("recipient.auto.domains", Value::json(&list).map_err(|refusal| said(&refusal.why))?);
        let default_box = self.asking.until("default_box", "Who gets what nobody else gets", None, address)?;
        self.answers.set("recipient.default_box", &default_box);
        Ok(())
    }

    fn delivery(&mut self) -> Result<(), Exit> {
        if self.is_target_known() {
            return Ok(());
        }
        if !self.asking.is_there() {
            return Err(said(
                "the answers have no `delivery`: `{lmtp: unix:/run/dovecot/lmtp}`, `{smtp: 127.0.0.1:25}` or `{maildir: \"/srv/mail/{domain}/{local}\"}`",
            ));
        }
        let socket = "/run/dovecot/lmtp";
        let usual = if std::path::Path::new(socket).exists() { format!("lmtp unix:{socket}") } else { "smtp 127.0.0.1:25".to_owned() };
        let question = "Where mail goes: `smtp HOST:PORT`, `lmtp unix:/PATH` or `maildir /PATH/{domain}/{local}`";
        let (kind, place) = self.asking.or_default(question, &usual, |text| match text.split_once(' ') {
            Some((kind @ ("smtp" | "lmtp" | "maildir"), place)) if !place.trim().is_empty() => Ok((kind.to_owned(), place.trim().to_owned())),
            _ => Err("a word and a place, as in `smtp 127.0.0.1:25`".to_owned()),
        })?;
        self.answers.set_value(&format!("delivery.{kind}"), Value::text(&place));
        Ok(())
    }

    /// The collector of these answers with what is there, its password in place of the file that does not hold it yet; and the text of a first file.
    fn collector(&self, answers: &Answers) -> Result<(Arc<Collector>, Written), Exit> {
        let name = answers.text("name").unwrap_or_default();
        let (config, written) = match &self.editor {
            Some(editor) => {
                let change = editor.change(&Request::Add { name: name.clone(), keys: answers.keys() }).map_err(|error| not_changed(&error))?;
                (change.loaded.config.clone(), Written::Change(Box::new(change)))
            }
            None => {
                let text = first_file(answers, &name)?;
                let mut env = self.common.environment();
                env.file_mode = Some(0o640);
                let loaded = parse(&text, &self.common.config, &env).map_err(|report| refused(&report))?;
                (loaded.config.clone(), Written::First(text, Box::new(loaded)))
            }
        };
        let collector = config.collectors.values().find(|collector| collector.id.as_str() == name).ok_or(Exit::Config)?;
        let mut collector = Collector::clone(collector);
        if let Some(secret) = &self.secret {
            collector.server.password = SecretSource::Plain(secret.clone());
        }
        Ok((Arc::new(collector), written))
    }

    fn write(self, arguments: &Init) -> Result<Exit, Exit> {
        let (collector, written) = self.collector(&self.answers)?;
        let warnings = match &written {
            Written::Change(change) => &change.loaded.warnings,
            Written::First(_, loaded) => &loaded.warnings,
        };
        warnings.iter().for_each(|warning| eprintln!("{warning}\n"));
        let file = match &written {
            Written::Change(change) => change.file.clone(),
            Written::First(..) => self.common.config.clone(),
        };
        print(&match &written {
            Written::Change(change) => change.patch(),
            Written::First(text, _) => text.clone(),
        });
        if !arguments.no_test {
            let report = runtime()?.block_on(probed(&collector, Depth::Whole));
            eprint!("{}", rendered(&report, Depth::Whole));
            if let Some(cause) = &report.cause {
                if !self.asking.is_there() {
                    eprintln!("nothing was written; `--no-test` writes without trying");
                    return Err(super::test::exit(cause));
                }
                if !self.asking.yes("The test failed. Write it all the same?", false)? {
                    return Err(nothing_written(Exit::TempFail));
                }
            }
        }
        if self.asking.is_there() && !self.asking.yes(&format!("Write this to {}?", file.display()), true)? {
            return Err(nothing_written(Exit::TempFail));
        }
        let secret_file = match &self.secret {
            Some(secret) => Some(keep::write(&self.state_dir, collector.id.as_str(), secret)?),
            None => None,
        };
        let done = match &written {
            Written::Change(change) => change.write().map_err(|error| not_written(&error)),
            Written::First(text, loaded) => create_configuration(&file, text, &loaded.config.service.state_dir).map_err(|error| not_written(&error)),
        };
        if let Err(exit) = done {
            // A password that nothing names is one too many.
            secret_file.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(exit);
        }
        if let Some(path) = &secret_file {
            eprintln!("the password is in {} (0600)", path.display());
        }
        let mut runs = false;
        match &written {
            Written::Change(change) => runs = !told(change, false, self.common)?.is_null(),
            Written::First(..) => eprintln!("written: {}", file.display()),
        }
        self.next(&collector, runs);
        Ok(Exit::Ok)
    }

    /// What to do now.
    fn next(&self, collector: &Collector, runs: bool) {
        let again = |words: &str| self.common.again(words);
        let own = std::fs::metadata(&self.state_dir).is_ok_and(|state| state.uid() == rustix::process::geteuid().as_raw());
        eprintln!("\nnext:");
        if !runs && own {
            eprintln!("  {}\n      collects once, without a daemon", again(&format!("once {}", collector.id)));
            eprintln!("  {}\n      is the daemon; where systemd has the unit: systemctl start mailgather", again("run"));
        } else if !runs {
            // What this user made there would be in the way of the service's own.
            eprintln!("  systemctl start mailgather\n      starts the service");
        }
        eprintln!("  {}\n      shows how it fares", again("status"));
        eprintln!("  {}\n      shows what it does", again(&format!("logs {}", collector.id)));
    }
}

/// What is to be written.
enum Written {
    /// A further collector.
    Change(Box<crate::config::Change>),
    /// A first file.
    First(String, Box<Loaded>),
}

/// The whole of a first file: where mail goes stands above, for the collectors to come.
fn first_file(answers: &Answers, name: &str) -> Result<String, Exit> {
    let (shared, own): (Vec<_>, Vec<_>) = answers.keys().into_iter().partition(|(path, _)| path.first().is_some_and(|key| key == "delivery"));
    let step = |step: &str| step.to_owned();
    let own: Vec<_> = own.into_iter().map(|(path, value)| ([step("collectors"), step(name)].into_iter().chain(path).collect(), value)).collect();
    let block = |keys: &[(Vec<String>, Value)]| edit::block(&edit::apart(keys.to_vec()), "", "\n").map_err(|refusal| said(&refusal.why));
    Ok(format!("{SCHEMA_LINE}version: 1\n\n{}\n{}", block(&shared)?, block(&own)?))
}

/// Whether a collector without a target of its own has one.
fn has_target(loaded: &Loaded, common: &Common) -> bool {
    // Whoever has collectors without one of their own has a shared one; else the file is asked with a collector in it that has none.
    let editor = Editor::open(&common.config, &common.environment());
    let keys = [
        ("email", "a@mailgather.invalid"),
        ("server", "mailgather.invalid"),
        ("password", "{env: X}"),
        ("recipient", "{forward_to: b@mailgather.invalid}"),
    ];
    let keys: Option<Vec<_>> = keys.iter().map(|(key, value)| Some((edit::path(key).ok()?, Value::parse(value).ok()?))).collect();
    let name = (0..).map(|n| format!("init{n}")).find(|name| !loaded.config.collectors.keys().any(|id| id.as_str() == name)).unwrap_or_default();
    let (Ok(editor), Some(keys)) = (editor, keys) else { return false };
    editor.change(&Request::Add { name, keys }).is_ok()
}

/// Says what is wrong with the answers.
fn said(why: &str) -> Exit {
    eprintln!("error: {}", harmless(why, 1_000));
    Exit::Config
}

fn nothing_written(exit: Exit) -> Exit {
    eprintln!("nothing was written");
    exit
}
