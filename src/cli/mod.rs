//! Layer 8: the command line. Data goes to stdout, talk to stderr; exit codes are those of sysexits(3).

mod audit;
mod check;
mod clear;
mod collect;
mod completions;
mod daemon;
mod doctor;
mod edit;
mod exit;
mod explain;
mod explain_journal;
mod healthcheck;
mod held;
mod hidden;
mod history;
mod import;
mod init;
mod list;
mod logs;
mod man;
mod mbox;
mod notify;
mod oauth;
mod once;
mod pages;
mod peek;
mod policy;
mod providers;
mod reload;
mod run;
mod schema;
mod secret;
mod show;
mod status;
mod switch;
mod table;
mod test;
mod version;
mod when;

use crate::mail::outcome::harmless;
use clap::{Args, Parser, Subcommand};
use exit::Exit;
use std::path::{Path, PathBuf};

/// The configuration file, if nobody names another.
const CONFIG: &str = "/etc/mailgather/mailgather.yaml";
/// The socket of the daemon that systemd runs (`RuntimeDirectory=` of the unit), which a shell has no `$RUNTIME_DIRECTORY` for.
const SOCKET_OF_SYSTEM: &str = "/run/mailgather/control.sock";

/// Collects mail from remote mailboxes, finds the local recipient of each message, and delivers it by SMTP, LMTP or into Maildirs.
#[derive(Debug, Parser)]
#[command(name = "mailgather", version = crate::observe::version::FULL, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run as a daemon, in the foreground.
    Run,
    /// Show what the daemon does, and how each collector fares.
    Status(status::Status),
    /// Show the collectors of the configuration.
    List(list::List),
    /// Collect now, by the daemon, and wait for the end; a collector that is disabled is collected once.
    Collect(collect::Collect),
    /// Switch collectors on, whatever the configuration says, and keep it so.
    Enable(switch::Switch),
    /// Switch collectors off, whatever the configuration says, and keep it so.
    Disable(switch::Switch),
    /// Stop collecting, all of it; the daemon goes on running.
    Pause(switch::Pause),
    /// Collect again.
    Resume(switch::Pause),
    /// Show what became of messages: when, from whom, for whom, how that was found, and what the target said.
    History(history::History),
    /// Show what is in force for a collector, and where each value comes from; secrets are never shown.
    Show(show::Show),
    /// Print the JSON Schema of the configuration, for editors and programs.
    Schema,
    /// Add a collector, in a file of its own in `collectors.d`; what is written is shown first.
    Add(edit::Add),
    /// Change keys of a collector where it stands; only these lines change, and they are shown first.
    Edit(edit::Edit),
    /// Take a collector out of the configuration; what was collected stays remembered.
    Remove(edit::Remove),
    /// Give a collector another name; what was collected stays remembered, and nothing comes twice.
    Rename(edit::Rename),
    /// Show what was logged of a collector, from its own file; or what operators did.
    Logs(logs::Logs),
    /// Show who is told of trouble and what was told, or try it.
    Notify(notify::Notify),
    /// Let the daemon read its configuration again.
    Reload(reload::Reload),
    /// End the daemon at the next message's border.
    Stop(reload::Stop),
    /// Collect until each mailbox is empty of new mail, then end.
    Once(once::Once),
    /// Check the configuration, and whether its secrets can be read.
    Check(check::Check),
    /// Look at everything around the program that has to be right: rights, secrets, disk, clock, names, unit, target; and say what to do.
    Doctor(doctor::Doctor),
    /// Try the connections of collectors step by step, from the name of the server to the destination; nothing is changed.
    Test(test::Test),
    /// Say who would get a message, and why; nothing is delivered. Or print the page of an error.
    Explain(explain::Explain),
    /// Look which header of a mailbox tells the recipient, and propose the `recipient:` block; nothing is touched.
    Audit(audit::Audit),
    /// Try the rules about refusals of the target.
    Policy(policy::PolicyArguments),
    /// Show the mail providers that are known, or find that of an address.
    Providers(providers::ProvidersArguments),
    /// Look at mail that could not be placed, deliver it, or drop it.
    Held(held::Held),
    /// Forget what was collected, so that it is collected and delivered again; or mark what is there as collected.
    Clear(clear::Clear),
    /// Keep passwords in the program's own store, for `{secret: NAME}` in the configuration.
    Secret(secret::SecretArguments),
    /// Sign in for a collector whose tokens the program gets itself, and see how they fare.
    #[command(name = "oauth")]
    OAuth(oauth::OAuthArguments),
    /// Make a first configuration, or a further collector, question by question; the connections are tried before anything is written.
    Init(init::Init),
    /// Make a configuration of that of fetchmail, getmail or mpop, and take over what they have collected.
    Import(import::Import),
    /// Ask whether the daemon answers: for containers and monitoring.
    Healthcheck(healthcheck::Healthcheck),
    /// Print what a shell needs to complete commands and options.
    Completions(completions::Completions),
    /// Print the manual page, or write all of them.
    Man(man::Man),
    /// Print the version, and the commit that it was built from.
    Version(version::Version),
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Where the ledger and the spool are; wins over the file.
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The daemon's control socket; wins over the file.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Log more; twice for all.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// The form of the log; wins over the file.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<LogWord>,
    /// Log errors only, and say nothing about what went well: for cron.
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// `log.format` as a word of the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogWord {
    /// journald where stderr is its own, else text.
    Auto,
    /// Lines for people.
    Text,
    /// Objects of JSON, a line each.
    Json,
    /// journald's own protocol.
    Journald,
}

impl LogWord {
    fn format(self) -> crate::config::LogFormat {
        use crate::config::LogFormat;
        match self {
            LogWord::Auto => LogFormat::Auto,
            LogWord::Text => LogFormat::Text,
            LogWord::Json => LogFormat::Json,
            LogWord::Journald => LogFormat::Journald,
        }
    }
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    crate::net::install_crypto_provider();
    let common = &arguments.common;
    let exit = match &arguments.command {
        Subcommands::Run => run::run(common),
        Subcommands::Status(arguments) => status::status(arguments, common),
        Subcommands::List(arguments) => list::list(arguments, common),
        Subcommands::Collect(arguments) => collect::collect(arguments, common),
        Subcommands::Enable(arguments) => switch::switch(arguments, common, "enable"),
        Subcommands::Disable(arguments) => switch::switch(arguments, common, "disable"),
        Subcommands::Pause(arguments) => switch::pause(arguments, common, "pause"),
        Subcommands::Resume(arguments) => switch::pause(arguments, common, "resume"),
        Subcommands::History(arguments) => history::history(arguments, common),
        Subcommands::Show(arguments) => show::show(arguments, common),
        Subcommands::Schema => schema::schema(),
        Subcommands::Add(arguments) => edit::add(arguments, common),
        Subcommands::Edit(arguments) => edit::edit(arguments, common),
        Subcommands::Remove(arguments) => edit::remove(arguments, common),
        Subcommands::Rename(arguments) => edit::rename(arguments, common),
        Subcommands::Logs(arguments) => logs::logs(arguments, common),
        Subcommands::Notify(arguments) => notify::notify(arguments, common),
        Subcommands::Reload(arguments) => reload::reload(arguments, common),
        Subcommands::Stop(arguments) => reload::stop(arguments, common),
        Subcommands::Once(arguments) => once::once(arguments, common),
        Subcommands::Check(arguments) => check::check(arguments, common),
        Subcommands::Doctor(arguments) => doctor::doctor(arguments, common),
        Subcommands::Test(arguments) => test::test(arguments, common),
        Subcommands::Explain(arguments) => explain::explain(arguments, common),
        Subcommands::Audit(arguments) => audit::audit(arguments, common),
        Subcommands::Policy(arguments) => policy::policy(arguments, common),
        Subcommands::Providers(arguments) => providers::providers(arguments, common),
        Subcommands::Held(arguments) => held::held(arguments, common),
        Subcommands::Clear(arguments) => clear::clear(arguments, common),
        Subcommands::Secret(arguments) => secret::secret(arguments, common),
        Subcommands::OAuth(arguments) => oauth::oauth(arguments, common),
        Subcommands::Init(arguments) => init::init(arguments, common),
        Subcommands::Import(arguments) => import::import(arguments, common),
        Subcommands::Healthcheck(arguments) => healthcheck::healthcheck(arguments, common),
        Subcommands::Completions(arguments) => completions::completions(arguments),
        Subcommands::Man(arguments) => man::man(arguments),
        Subcommands::Version(arguments) => version::version(arguments),
    };
    crate::observe::logging::finish();
    exit.into()
}

impl Common {
    fn environment(&self) -> crate::config::Environment {
        crate::config::Environment::of_process(self.state_dir.clone())
    }

    /// Reads the configuration; prints what is wrong with it, and what is doubtful.
    fn load(&self) -> Result<crate::config::Loaded, Exit> {
        match crate::config::load(&self.config, &self.environment()) {
            Ok(loaded) => {
                if !self.quiet {
                    loaded.warnings.iter().for_each(|warning| eprintln!("{warning}\n"));
                }
                Ok(loaded)
            }
            Err(report) => Err(refused(&report)),
        }
    }

    /// A command of ours, about the same configuration and state directory.
    fn again(&self, subcommand: &str) -> String {
        let mut words = vec!["mailgather".to_owned(), subcommand.to_owned()];
        if self.config != Path::new(CONFIG) {
            words.extend(["--config".to_owned(), shell_word(&self.config)]);
        }
        if let Some(dir) = &self.state_dir {
            words.extend(["--state-dir".to_owned(), shell_word(dir)]);
        }
        words.join(" ")
    }

    /// Logs from now on. On a terminal that shows something else (`is_beside`) only what needs the operator, unless more is asked for.
    fn start_logging(&self, config: &crate::config::Config, is_beside: bool) {
        use crate::config::LogLevel::{self, Debug, Error, Info, Warn};
        use std::io::IsTerminal;
        let (quiet, verbose, is_beside) = (self.quiet, self.verbose, is_beside && std::io::stderr().is_terminal());
        let loudness = move |configured: LogLevel| match (quiet, verbose) {
            (true, _) => Error,
            (_, 0) if is_beside => Warn.min(configured),
            (_, 0) => configured,
            (_, 1) if configured != Debug || is_beside => Info,
            _ => Debug,
        };
        crate::observe::logging::start(config, Box::new(loudness), self.log_format.map(LogWord::format));
    }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = harmless(&path.to_string_lossy(), 4096);
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// What to do where there is no room, which rights would not mend.
fn no_room(error: &std::io::Error) -> Option<&'static str> {
    match error.kind() {
        std::io::ErrorKind::StorageFull => {
            Some("the disk is full, or has no inodes left: make room there (`df -h`, `df -i`; `mailgather held list` shows what is held)")
        }
        std::io::ErrorKind::QuotaExceeded => Some("the disk quota of this user or folder is used up: raise it, or make room there"),
        _ => None,
    }
}

/// Prints what is wrong with a configuration.
fn refused(report: &crate::config::Report) -> Exit {
    eprint!("{report}");
    if report.is_missing_file() { Exit::NoInput } else { Exit::Config }
}

/// A runtime with all cores, or as many workers as `TOKIO_WORKER_THREADS` says.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        eprintln!("error: cannot start: {error}");
        Exit::Os
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_no_matter_of_rights() {
        let hint = |number| no_room(&std::io::Error::from_raw_os_error(number));
        assert!(hint(28).unwrap().contains("disk is full") && hint(122).unwrap().contains("quota"));
        assert!(hint(13).is_none() && hint(30).is_none());
    }

    #[test]
    fn a_hint_names_the_same_files() {
        for (arguments, wanted) in [
            (&["mailgather", "once"][..], "mailgather held list"),
            (&["mailgather", "once", "--config", "me.yaml"], "mailgather held list --config me.yaml"),
            (
                &["mailgather", "once", "--config", "/a b/c.yaml", "--state-dir", "/s'x"],
                "mailgather held list --config '/a b/c.yaml' --state-dir '/s'\\''x'",
            ),
        ] {
            assert_eq!(Arguments::try_parse_from(arguments).unwrap().common.again("held list"), wanted);
        }
    }
}
