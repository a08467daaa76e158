//! `mailgather init`: the first collector, or a further one, question by question: address, provider, login, test, recipients, YAML. Nothing is
//! written before the test of the connections, and no password is written into the YAML.

mod answers;
mod ask;
mod keep;
mod login;
mod target;

use super::edit::{missing_outside, not_changed, not_written, told};
use super::exit::Exit;
use super::peek::print;
use super::providers::Known;
use super::providers::detect::{Wanted, asked, by_domain};
use super::test::{probed, rendered};
use super::{Common, refused, runtime};
use crate::config::edit::{self, Value};
use crate::config::store::Store;
use crate::config::{
    COLLECTORS, Collector, EditError, Editor, Loaded, Problem, Protocol, Report, Request, SCHEMA_LINE, SecretSource, create_configuration, parse,
};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Secret};
use crate::service::probe::Depth;
use answers::Answers;
use ask::Asking;
use clap::Args;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
    /// A password that was typed: it goes into the store, under this name.
    secret: Option<(String, Secret)>,
    state_dir: PathBuf,
    /// The connections are not tried.
    no_test: bool,
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
    // Before anybody answers a dozen questions in vain.
    let config = loaded.is_none().then_some(common.config.as_path());
    for path in [Some(state_dir.as_path()), config].into_iter().flatten() {
        may_write(path)?;
    }
    let mut draft = Draft { asking, answers, common, editor, loaded, secret: None, state_dir, no_test: arguments.no_test };
    draft.mailbox()?;
    draft.login()?;
    draft.recipients()?;
    draft.delivery()?;
    draft.write()
}

impl Draft<'_> {
    /// Address and server.
    fn mailbox(&mut self) -> Result<(), Exit> {
        let address: Address = match self.answers.word("email")? {
            Some(text) => text.parse().map_err(|error| self.answers.wrong("email", &format!("email: {error}")))?,
            None => self
                .asking
                .until("email", "Address of the mailbox to collect from", None, |text| text.parse::<Address>().map_err(|error| error.to_string()))?,
        };
        self.answers.set("email", &address.to_string());
        let wanted = Wanted::parse(&address.to_string()).ok_or(Exit::Usage)?;
        self.name(&wanted)?;
        // Graph is where it always is.
        let is_graph = self.answers.text("protocol").as_deref() == Some(Protocol::Graph.word());
        if is_graph || ["server", "url", "provider", "use"].iter().any(|key| self.answers.has(key)) {
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
        self.ask_server("imap", |protocol| format!("{protocol}.{}", wanted.domain))
    }

    /// The collector's name: one that is free.
    fn name(&mut self, wanted: &Wanted) -> Result<(), Exit> {
        let refused = |name: &str| match crate::mail::CollectorId::new(name) {
            None => Some(format!("`{name}` is no name for a collector: letters, digits, `_` and `-`, at most 64")),
            Some(_) => self.taken(name),
        };
        let id = wanted.id();
        let free = std::iter::once(id.clone()).chain((2..).map(|n| format!("{id}{n}"))).find(|name| self.taken(name).is_none()).unwrap_or(id);
        if let Some(name) = self.answers.word("name")? {
            return match refused(&name) {
                Some(why) if self.taken(&name).is_some() => Err(self.answers.wrong("name", &format!("{why}; `{free}` is free"))),
                Some(why) => Err(self.answers.wrong("name", &why)),
                None => Ok(()),
            };
        }
        let name = self.asking.or_default("A name for the collector", &free, |text| match refused(text) {
            Some(why) => Err(why),
            None => Ok(text.to_owned()),
        })?;
        self.answers.set("name", &name);
        Ok(())
    }

    /// Who has a name already.
    fn taken(&self, name: &str) -> Option<String> {
        let loaded = self.loaded.as_ref()?;
        if let Some(known) = loaded.config.collectors.values().find(|collector| collector.id.as_str() == name) {
            let server = &known.server;
            return Some(format!("there is a collector `{name}` already, of {} at {}", harmless(&server.username, 200), server.host));
        }
        let file = self.state_dir.join(COLLECTORS).join(format!("{name}.yaml"));
        file.symlink_metadata().is_ok().then(|| format!("{} is there already, and holds no collector of this name", file.display()))
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
            return Err(self
                .answers
                .lacks("recipient", "`{forward_to: someone@example.org}`, or `{auto: true, default_box: postmaster@example.org}`"));
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

    /// The collector of these answers with what is there, its password in place of the file that does not hold it yet; and the text of a first file.
    fn collector(&self, answers: &Answers) -> Result<(Arc<Collector>, Written), Exit> {
        let name = answers.text("name").unwrap_or_default();
        let (config, written) = match &self.editor {
            Some(editor) => {
                let change = editor.change(&Request::Add { name: name.clone(), keys: answers.keys() }).map_err(|error| match &error {
                    EditError::Wrong(report) => {
                        let exit = self.wrong(report, answers, &self.made(&name), &made_text(answers, &name));
                        eprintln!("nothing was written");
                        exit
                    }
                    error => not_changed(error),
                })?;
                (change.loaded.config.clone(), Written::Change(Box::new(change)))
            }
            None => {
                let text = first_file(answers, &name)?;
                let mut env = self.common.environment();
                env.file_mode = Some(0o640);
                let file = &self.common.config;
                let loaded = parse(&text, file, &env).map_err(|report| self.wrong(&report, answers, file, &text))?;
                (loaded.config.clone(), Written::First(text, Box::new(loaded)))
            }
        };
        let collector = config.collectors.values().find(|collector| collector.id.as_str() == name).ok_or(Exit::Config)?;
        let mut collector = Collector::clone(collector);
        if let Some((_, secret)) = &self.secret {
            collector.server.password = SecretSource::Plain(secret.clone());
        }
        Ok((Arc::new(collector), written))
    }

    /// The file of a further collector.
    fn made(&self, name: &str) -> PathBuf {
        self.state_dir.join(COLLECTORS).join(format!("{name}.yaml"))
    }

    /// Prints what is wrong, where it was answered: the file that it would be in is not there.
    fn wrong(&self, report: &Report, answers: &Answers, file: &Path, text: &str) -> Exit {
        let traced = |problems: &[Problem]| self.traced(problems, answers, file, text);
        refused(&Report { errors: traced(&report.errors), warnings: traced(&report.warnings) })
    }

    fn traced(&self, problems: &[Problem], answers: &Answers, file: &Path, text: &str) -> Vec<Problem> {
        let name = answers.text("name").unwrap_or_default();
        let mut traced: Vec<Problem> = problems.iter().map(|problem| answers.traced(problem, file, text, &["collectors", &name])).collect();
        traced.sort_by_key(|problem| problem.place.as_ref().map_or((1, 0, 0), |place| (0, place.line, place.column)));
        traced
    }

    fn write(self) -> Result<Exit, Exit> {
        let (collector, written) = self.collector(&self.answers)?;
        let name = collector.id.as_str();
        let warnings = match &written {
            Written::Change(change) => self.traced(&change.loaded.warnings, &self.answers, &change.file, &made_text(&self.answers, name)),
            Written::First(text, loaded) => self.traced(&loaded.warnings, &self.answers, &self.common.config, text),
        };
        warnings.iter().for_each(|warning| eprintln!("{warning}\n"));
        let file = match &written {
            Written::Change(change) => change.file.clone(),
            Written::First(..) => self.common.config.clone(),
        };
        print(&match &written {
            Written::Change(change) => change.patch(),
            // The address of a webhook is often a secret.
            Written::First(text, _) => edit::shown_lines(text).join("\n") + "\n",
        });
        let signs_in = needs_a_person(&collector);
        if signs_in && !self.no_test {
            eprintln!("the mailbox is not tried yet: somebody has to sign in first");
        }
        if !self.no_test && !signs_in {
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
        let store = Store::new(&self.state_dir);
        let kept = match &self.secret {
            Some((name, secret)) => keep::write(&store, name, secret)?.then_some(name),
            None => None,
        };
        let done = match &written {
            Written::Change(change) => change.write().map_err(|error| not_written(&error)),
            Written::First(text, loaded) => create_configuration(&file, text, &loaded.config.service.state_dir).map_err(|error| not_written(&error)),
        };
        if let Err(exit) = done {
            // A password that nothing names is one too many.
            kept.iter().for_each(|name| drop(store.remove(name)));
            return Err(exit);
        }
        if let Some((name, _)) = &self.secret {
            let again = self.common.again(&format!("secret set {name}"));
            eprintln!("the password is in the store of secrets as `{name}`, in {}; `{again}` changes it", store.folder().display());
        }
        let mut runs = false;
        match &written {
            Written::Change(change) => runs = !told(change, false, self.common)?.is_null(),
            Written::First(..) => eprintln!("written: {}", file.display()),
        }
        missing_outside(&file, self.common).iter().for_each(|problem| eprintln!("{problem}"));
        self.next(&collector, runs);
        Ok(Exit::Ok)
    }

    /// What to do now.
    fn next(&self, collector: &Collector, runs: bool) {
        let again = |words: &str| self.common.again(words);
        let own = std::fs::metadata(&self.state_dir).is_ok_and(|state| state.uid() == rustix::process::geteuid().as_raw());
        eprintln!("\nnext:");
        if needs_a_person(collector) {
            eprintln!("  {}\n      signs in with the provider, and tries the mailbox", again(&format!("oauth login {}", collector.id)));
        }
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

/// True if its tokens begin with somebody's signing in.
fn needs_a_person(collector: &Collector) -> bool {
    collector.server.auth.oauth.as_ref().is_some_and(|oauth| oauth.flow.needs_a_person())
}

/// Whether this user can make a file or folder there.
fn may_write(path: &Path) -> Result<(), Exit> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_there = whole.is_dir();
    let Some(folder) = whole.ancestors().skip(usize::from(!is_there)).find(|folder| folder.symlink_metadata().is_ok()) else { return Ok(()) };
    let may = match rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        _ if !folder.is_dir() => Err("it is no folder".to_owned()),
        Err(error @ (Errno::ACCESS | Errno::ROFS)) => Err(error.to_string()),
        // An old kernel, or a container's filter, does not answer the question: the writing itself does.
        _ => Ok(()),
    };
    may.map_err(|why| {
        let made = if is_there { String::new() } else { format!(", for {}", whole.display()) };
        eprintln!("error: nothing can be written in {}{made}: {why}", folder.display());
        eprintln!("hint: run it as root, or as the user of the service; or name places of your own: `--config FILE --state-dir DIR`");
        Exit::CantCreate
    })
}

/// What is to be written.
enum Written {
    /// A further collector.
    Change(Box<crate::config::Change>),
    /// A first file.
    First(String, Box<Loaded>),
}

/// The text of a further collector's file, as the editor makes it.
fn made_text(answers: &Answers, name: &str) -> String {
    let keys = answers.keys().into_iter().map(|(path, value)| (["collectors".to_owned(), name.to_owned()].into_iter().chain(path).collect(), value));
    format!("{SCHEMA_LINE}{}", edit::block(&edit::apart(keys.collect()), "", "\n").unwrap_or_default())
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
