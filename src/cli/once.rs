//! `mailgather once`: collect until each mailbox is empty of new mail, for cron, for trying things out, and for tests.

use super::collect::{Purge, deleted};
use super::exit::Exit;
use super::run::open_failed;
use super::{Common, runtime};
use crate::collect::Stop;
use crate::collect::pass::Scope;
use crate::collect::task::{Session, Worker};
use crate::config::{Collector, Loaded, STATE_DIR_OF_ROOT};
use crate::ledger::Forget;
use crate::mail::code;
use crate::mail::outcome::harmless;
use crate::observe::Counters;
use crate::observe::logging::audit;
use crate::service::command::Requester;
use crate::service::refetch;
use crate::service::switches::Switches;
use crate::service::{Command, Installation, signals};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest title in the summary.
const TITLE_OCTETS_MAX: usize = 200;
/// How often the progress bar looks at the counters.
const PROGRESS_TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Once {
    /// Only these collectors, also disabled ones; all enabled ones by default, and none if `service.enabled` is false.
    names: Vec<String>,
    /// One session each, which takes so many new messages at most; what is to be tried again comes beside them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// Only mail that arrived since then, by the server's own clock: so long ago (`2h`, `7d`), a date (midnight, local time), or a time
    /// (`2026-11-01T12:00:00Z`). Of older mail nothing is noted, and it comes with the next session. IMAP only.
    #[arg(long, value_name = "TIME", value_parser = super::history::moment)]
    since: Option<i64>,
    /// Deliver this message once more, on purpose: the one with this UID or UIDL, as the log has it; may be given several times. It must have been
    /// collected from the one collector that is named, and still be on its server.
    #[arg(long, value_name = "UID", conflicts_with = "limit", requires = "names")]
    refetch: Vec<String>,
    /// The folder of that message, where the collector has several.
    #[arg(long, value_name = "NAME", requires = "refetch")]
    folder: Option<String>,
    /// Take nothing: delete on the server what the one collector that is named has delivered and kept there. What was never delivered (new, waiting,
    /// left, held, too large) stays. Says how much it is, and asks for the collector's name.
    #[arg(long, requires = "names", conflicts_with_all = ["limit", "since", "refetch"])]
    purge_collected: bool,
    /// Do not ask for the collector's name.
    #[arg(long, requires = "purge_collected")]
    yes: bool,
}

pub(super) fn once(arguments: &Once, common: &Common) -> Exit {
    try_once(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_once(arguments: &Once, common: &Common) -> Result<Exit, Exit> {
    let mut loaded = common.load()?;
    // What was switched by a command stands here too.
    let switches = Switches::read(&loaded.config.service.state_dir).map_err(|error| {
        eprintln!("error[MG-{}]: {error}", code::STATE_DIR);
        Exit::Io
    })?;
    loaded.config = switches.over(&loaded.config, jiff::Timestamp::now());
    if arguments.names.is_empty() && !loaded.config.service.enabled {
        if !common.quiet {
            eprintln!(
                "note: `service: {{enabled: false}}`: nothing is collected\nhint: a collector that is named on the command line is collected all the same"
            );
        }
        return Ok(Exit::Ok);
    }
    let collectors = chosen(&loaded, &arguments.names)?;
    check(arguments, &collectors)?;
    // On a terminal the progress bar tells how it goes; each message's line would run through it. `-v` shows them all the same.
    common.start_logging(&loaded.config, true);
    let runtime = runtime()?;
    let state_dir = &loaded.config.service.state_dir;
    let was_there = state_dir.exists();
    let results = runtime.block_on(async {
        let stop = Stop::new();
        stop_on_signal(stop.clone()).map_err(|error| {
            eprintln!("error: cannot listen for signals: {error}");
            Exit::Os
        })?;
        let installation = Installation::open(&loaded.config).await.map_err(|error| open_failed(&error))?;
        if !arguments.refetch.is_empty() {
            again(arguments, &collectors, &installation, &stop, common).await?;
        }
        let purges = if arguments.purge_collected { Some(purge(arguments, &collectors, &installation).await?) } else { None };
        let scope = match (purges, arguments.since) {
            (Some(_), _) => Scope::Purge,
            (None, Some(since)) => Scope::Since(since),
            (None, None) => Scope::Whole,
        };
        // Beside the passes, as in the daemon: no mail waits for it.
        let held = Arc::clone(installation.held());
        let sweep = tokio::spawn(async move { held.sweep(jiff::Timestamp::now().as_second()).await });
        let workers: Vec<Worker> = collectors.iter().map(|collector| installation.worker(collector)).collect();
        let progress = tokio::spawn(show_progress(workers.iter().map(|worker| Arc::clone(&worker.counters)).collect()));
        let started = Instant::now();
        let sessions = workers.into_iter().map(|worker| {
            let (stop, limit) = (stop.clone(), arguments.limit);
            // A task of its own each: one that panics must not take the others along.
            let name = name_of(&worker.collector);
            let task = tokio::spawn(async move {
                match limit {
                    None => worker.drain(scope, &stop).await,
                    Some(limit) => worker.some(limit as usize, scope, &stop).await,
                }
            });
            async move { (name, task.await.ok()) }
        });
        let results = futures_util::future::join_all(sessions).await;
        progress.abort();
        let _ = progress.await;
        if let Ok(Err(error)) = sweep.await {
            eprintln!("warning: held mail was not put in order: {error}");
        }
        Ok((results, started.elapsed(), purges))
    })?;
    // Nothing runs in it any more, and its threads need not be waited for one by one.
    runtime.shutdown_background();
    let (results, took, purges) = results;
    let list = common.again("held list");
    let exits: Vec<Exit> = results.iter().map(|(name, session)| summarise(name, session.as_ref(), &list, purges, common.quiet)).collect();
    let delivered: u64 = results.iter().filter_map(|(_, session)| session.as_ref()).map(|session| session.report.delivered).sum();
    // From cron, whoever says `-q` wants a letter about failures only.
    if !common.quiet && purges.is_none() {
        say(&format!("{delivered} delivered in {:.2} s", took.as_secs_f64()));
        if let Some(note) = new_state_dir(state_dir, was_there) {
            eprintln!("{note}");
        }
    }
    Ok(Exit::overall(&exits))
}

/// Forgets the messages that are to come once more.
async fn again(arguments: &Once, collectors: &[Arc<Collector>], installation: &Installation, stop: &Stop, common: &Common) -> Result<(), Exit> {
    let refused = |why: String| {
        eprintln!("error: {why}\nhint: nothing was changed; the log names each message by COLLECTOR/FOLDER/UIDVALIDITY/UID");
        Exit::Usage
    };
    let [collector] = collectors else { return Err(refused("messages are named of one collector at a time".to_owned())) };
    let ledger = &**installation.ledger();
    let which = refetch::which(collector, &arguments.refetch, arguments.folder.as_deref(), ledger).await.map_err(refused)?;
    let which = match arguments.since {
        None => Some(which),
        Some(since) => installation.worker(collector).young(which, since, stop).await.map_err(|error| {
            eprintln!("{}: FAILED: error[MG-{}]: {error}\nhint: nothing was changed", collector.id, error.code());
            Exit::of(&error)
        })?,
    };
    let Some(which) = which else {
        if !common.quiet {
            eprintln!("note: none of what is named arrived since then, and none of it comes again");
        }
        return Ok(());
    };
    let forgotten = ledger.forget(&collector.server.mailbox(), &which, jiff::Timestamp::now().as_second()).await;
    let forgotten = forgotten.map_err(|error| super::clear::ledger_failed(&error))?;
    tracing::info!(event = "collector_refetches", collector = %collector.id, mailbox = %collector.server.mailbox(), forgotten);
    if !common.quiet {
        eprintln!("{}", super::collect::AGAIN);
    }
    Ok(())
}

/// Says what would be deleted, and asks. Returns how many messages.
async fn purge(arguments: &Once, collectors: &[Arc<Collector>], installation: &Installation) -> Result<u64, Exit> {
    let Some(collector) = collectors.first() else { return Ok(0) };
    let remembered = installation.ledger().remembered(&collector.server.mailbox(), &Forget::default()).await;
    let folders = remembered.map_err(|error| super::clear::ledger_failed(&error))?;
    let counts = Purge {
        server: collector.server.host.clone(),
        login: collector.server.username.clone(),
        folders: folders.iter().filter(|of| of.delivered > 0).map(|of| (of.folder.as_str().to_owned(), of.delivered)).collect(),
    };
    counts.describe(collector.id.as_str());
    if counts.all() > 0 {
        super::clear::confirm(collector.id.as_str(), arguments.yes)?;
    }
    let by = Requester::cli();
    tracing::info!(target: audit::TARGET, event = "collect_requested", by = %by, collectors = 1, names = collector.id.as_str(), purge = true);
    Ok(counts.all())
}

/// What goes with what.
fn check(arguments: &Once, collectors: &[Arc<Collector>]) -> Result<(), Exit> {
    let timeless = collectors.iter().find(|collector| !collector.server.protocol.tells_arrival());
    if let (Some(_), Some(collector)) = (arguments.since, timeless) {
        eprintln!("error: `{}` collects by POP3, which does not tell when a message arrived", collector.id);
        eprintln!("hint: `--since` is for collectors that use IMAP, EWS or Graph; nothing was collected");
        return Err(Exit::Usage);
    }
    if arguments.purge_collected {
        if collectors.len() != 1 {
            eprintln!("error: this is done for one collector at a time\nhint: nothing was deleted");
            return Err(Exit::Usage);
        }
        super::clear::can_ask(arguments.yes)?;
    }
    Ok(())
}

/// The collectors that were named, or all that are enabled.
fn chosen(loaded: &Loaded, names: &[String]) -> Result<Vec<Arc<Collector>>, Exit> {
    let all = &loaded.config.collectors;
    if names.is_empty() {
        let enabled: Vec<_> = all.values().filter(|collector| collector.enabled).cloned().collect();
        if enabled.is_empty() {
            eprintln!("error: the configuration has no enabled collector");
            return Err(Exit::Config);
        }
        return Ok(enabled);
    }
    let find = |name: &String| all.values().find(|collector| collector.id.as_str() == name).cloned().ok_or_else(|| name.clone());
    names.iter().map(find).collect::<Result<_, _>>().map_err(|name| {
        let known: Vec<&str> = all.keys().map(|id| id.as_str()).collect();
        eprintln!("error: no collector is called `{name}`\nhint: the configuration has: {}", known.join(", "));
        Exit::Usage
    })
}

fn stop_on_signal(stop: Stop) -> std::io::Result<()> {
    let (sender, mut commands) = tokio::sync::mpsc::channel(1);
    signals::listen(sender)?;
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Stop(_) => {
                    eprintln!("stopping at the next message's border; once more to stop at once");
                    stop.request();
                }
                Command::StopNow => std::process::exit(i32::from(Exit::TempFail as u8)),
                Command::Collect(_) | Command::Reload(_) | Command::FileChanged | Command::Switch(_) => {}
            }
        }
    });
    Ok(())
}

/// The collector's id, and its title if it has one.
fn name_of(collector: &Collector) -> String {
    let id = collector.id.as_str();
    if collector.title == id { id.to_owned() } else { format!("{id} ({})", harmless(&collector.title, TITLE_OCTETS_MAX)) }
}

/// One line per collector: data for scripts, so on stdout. What failed, and what to do about it, is on stderr, in one piece.
fn summarise(id: &str, session: Option<&Session>, list: &str, purges: Option<u64>, quiet: bool) -> Exit {
    let Some(session) = session else {
        eprintln!("{id}: FAILED: an internal error, see above");
        return Exit::Os;
    };
    let report = &session.report;
    let held = format!("held ({list})");
    let mut line = format!("{id}: {} delivered", report.delivered);
    // A wrong set-up must not look like success.
    match (report.unresolved, report.refused) {
        (0, 0) => {}
        (nobody, refused) => line.push_str(&format!(" ({} to the default box: {nobody} nobody was found, {refused} refused)", nobody + refused)),
    }
    for (count, words) in [
        (report.duplicates, "known duplicates"),
        (report.discarded, "thrown away by the configuration"),
        (report.deferred, "to be tried again"),
        (report.left, "left on the server"),
        (report.headers, "of these delivered as headers only"),
        (report.held, held.as_str()),
        (report.disposed, "removed or marked at the source"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {words}"));
        }
    }
    if let Some(purges) = purges {
        line = format!("{id}: {}", deleted(report.disposed, purges));
    }
    if report.stopped {
        line.push_str(", stopped early");
    }
    let exit = match &session.error {
        Some(error) => Exit::of(error),
        None if report.stopped || report.deferred > 0 => Exit::TempFail,
        None => Exit::Ok,
    };
    // Who failed before anything happened says why, and nothing else.
    let is_news = session.error.is_none() || line != format!("{id}: 0 delivered");
    if is_news && (exit != Exit::Ok || !quiet) {
        say(&line);
    }
    if let Some(error) = &session.error {
        let hint = if error.hint().is_empty() { String::new() } else { format!("\nhint: {id}: {}", error.hint()) };
        eprintln!("{id}: FAILED: error[MG-{}]: {error}{hint}", error.code());
    }
    exit
}

/// A reader that went away (`| head`) is no error, and must not look like one of ours.
fn say(line: &str) {
    super::peek::print(&format!("{line}\n"));
}

/// Whoever tries the program as root should know that the system's folder was made and used.
fn new_state_dir(dir: &Path, was_there: bool) -> Option<String> {
    let is_new = !was_there && dir == Path::new(STATE_DIR_OF_ROOT);
    is_new.then(|| format!("note: the state directory {STATE_DIR_OF_ROOT} was made, and remembers what was collected; `--state-dir` names another"))
}

/// A bar on a terminal, nothing elsewhere.
async fn show_progress(counters: Vec<Arc<Counters>>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} messages, {msg}, {elapsed}") {
        bar.set_style(style);
    }
    loop {
        let (listed, taken, octets) =
            counters.iter().map(|counters| counters.read()).fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
        bar.set_length(listed);
        bar.set_position(taken);
        bar.set_message(format!("{:.1} MB", octets as f64 / 1e6));
        tokio::time::sleep(PROGRESS_TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_state_directory_of_root_is_named() {
        for (dir, was_there, named) in [(STATE_DIR_OF_ROOT, false, true), (STATE_DIR_OF_ROOT, true, false), ("/tmp/state", false, false)] {
            assert_eq!(new_state_dir(Path::new(dir), was_there).is_some_and(|note| note.contains(dir)), named, "{dir} {was_there}");
        }
    }
}
