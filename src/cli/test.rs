//! `mailgather test`: tries the connections of collectors step by step, from the server's name to the destination, and changes nothing.

mod render;

use super::exit::Exit;
use super::peek::{named, names, print};
use super::{Common, runtime};
use crate::collect::PassError;
use crate::config::{Collector, Loaded};
use crate::mail::{Address, Blame, Stage};
use crate::net::Tracer;
use crate::service::probe::{self, Cause, Depth, Order, Report};
use crate::source::SourceErrorKind;
use clap::Args;
use futures_util::StreamExt;
use std::io::Write;
use std::sync::Arc;

/// Collectors that are tried at once, where there are several.
const AT_ONCE: usize = 4;

#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Test {
    /// These collectors, also disabled ones.
    #[arg(required_unless_present = "all")]
    names: Vec<String>,
    /// All enabled collectors.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Stop after the login: no folder is opened, the destination is not asked.
    #[arg(long, conflicts_with_all = ["tls", "deliver"])]
    auth: bool,
    /// Stop after TLS and the greeting: no login is tried.
    #[arg(long, conflicts_with = "deliver")]
    tls: bool,
    /// Really send one small test message to this address, at the collector's target.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    deliver: Option<Address>,
    /// Show each line that is said, on standard error: to the mailbox's server and to the target. Passwords and contents are left out.
    #[arg(long)]
    trace: bool,
    /// Print JSON: an object a line for each collector.
    #[arg(long)]
    json: bool,
}

const TRACE_WARNING: &str = "\
warning: a trace has names, addresses, folders and what servers say in it; only passwords and the contents of messages are left out. Look through \
it before you pass it on";

const EXITS: &str = "\
Exit codes:
   0  everything is as it should be
  64  the command line
  69  a server cannot be reached, or its channel cannot be secured; the target
      refuses
  73  a Maildir is missing or cannot be written
  75  the server has no time now; of several collectors some failed, or for
      different reasons
  76  a server does not speak its protocol
  77  the login was refused
  78  the configuration, a password that cannot be read, a folder that is not there";

pub(super) fn test(arguments: &Test, common: &Common) -> Exit {
    try_test(arguments, common).unwrap_or_else(|exit| exit)
}

/// Tries all enabled collectors of a configuration that was read already.
pub(super) fn all(loaded: &Loaded, common: &Common) -> Exit {
    let arguments = Test { names: Vec::new(), all: true, auth: false, tls: false, deliver: None, trace: false, json: false };
    test_of(&arguments, loaded, common).unwrap_or_else(|exit| exit)
}

fn try_test(arguments: &Test, common: &Common) -> Result<Exit, Exit> {
    test_of(arguments, &common.load()?, common)
}

fn test_of(arguments: &Test, loaded: &Loaded, common: &Common) -> Result<Exit, Exit> {
    let collectors = chosen(arguments, loaded)?;
    if common.verbose > 0 {
        common.start_logging(&loaded.config, false);
    }
    let depth = match (arguments.tls, arguments.auth) {
        (true, _) => Depth::Tls,
        (false, true) => Depth::Login,
        (false, false) => Depth::Whole,
    };
    if arguments.trace {
        eprintln!("{TRACE_WARNING}");
    }
    let shows = !arguments.json && !common.quiet;
    // One is watched as it goes; several are printed one after the other, or their lines would run through each other.
    let live = shows && collectors.len() == 1;
    let exits = runtime()?.block_on(async {
        let tries = collectors.iter().map(|collector| {
            let order = Order { depth, deliver: arguments.deliver.clone(), tracer: tracer(arguments, collector) };
            async move {
                if live {
                    print(&render::head(collector.id.as_str(), &probe::server(collector)));
                }
                probe::run(collector, &order, move |step| {
                    if live {
                        print(&render::step(step));
                    }
                })
                .await
            }
        });
        let mut reports = futures_util::stream::iter(tries).buffered(AT_ONCE);
        let mut exits = Vec::new();
        while let Some(report) = reports.next().await {
            let exit = report.cause.as_ref().map_or(Exit::Ok, exit);
            match (arguments.json, shows) {
                (true, _) => print(&format!("{}\n", render::json(&report, exit as u8))),
                (false, true) => show(&report, depth, live),
                (false, false) => {}
            }
            if let (false, Some(error)) = (arguments.json, render::error(&report)) {
                eprint!("{error}");
            }
            exits.push(exit);
        }
        exits
    });
    Ok(Exit::overall(&exits))
}

/// The lines of several run through each other, so each has its collector's name.
fn tracer(arguments: &Test, collector: &Collector) -> Tracer {
    if !arguments.trace {
        return Tracer::default();
    }
    Tracer::new(collector.id.as_str(), |line| {
        // Nobody may read it any more (`2>&1 | head`): that ends no test.
        let _ = writeln!(std::io::stderr(), "{line}");
    })
}

fn show(report: &Report, depth: Depth, live: bool) {
    if !live {
        print(&render::head(report.collector.as_str(), &report.server));
        report.steps.iter().for_each(|step| print(&render::step(step)));
    }
    print(&render::end(report, depth));
}

fn chosen(arguments: &Test, loaded: &Loaded) -> Result<Vec<Arc<Collector>>, Exit> {
    if arguments.all {
        let enabled: Vec<_> = loaded.config.collectors.values().filter(|collector| collector.enabled).cloned().collect();
        if enabled.is_empty() {
            eprintln!("error: the configuration has no enabled collector");
            return Err(Exit::Config);
        }
        return Ok(enabled);
    }
    let mut chosen: Vec<Arc<Collector>> = Vec::new();
    for name in &arguments.names {
        let Some(collector) = named(loaded, name) else {
            let name = crate::mail::outcome::harmless(name, 200);
            eprintln!("error: no collector is called `{name}`\nhint: the configuration has: {}", names(loaded));
            return Err(Exit::Usage);
        };
        if !chosen.iter().any(|known| known.id == collector.id) {
            chosen.push(collector);
        }
    }
    Ok(chosen)
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Tries one collector for another command.
pub(super) async fn probed(collector: &Collector, depth: Depth) -> Report {
    probe::run(collector, &Order { depth, ..Order::default() }, |_| {}).await
}

/// All of what `mailgather test` says of it.
pub(super) fn rendered(report: &Report, depth: Depth) -> String {
    let steps: String = report.steps.iter().map(render::step).collect();
    let error = render::error(report).unwrap_or_default();
    format!("{}{steps}{}{error}", render::head(report.collector.as_str(), &report.server), render::end(report, depth))
}

/// The code of one failed collector. Whoever tries a connection wants to know which side to look at; `once` wants to know whether to come again.
pub(super) fn exit(cause: &Cause) -> Exit {
    use SourceErrorKind::{Closed, Timeout};
    match cause {
        Cause::Source(error) => match (error.kind, error.stage) {
            (Timeout | Closed, _) => Exit::Unavailable,
            _ => Exit::of(&PassError::Source(error.clone())),
        },
        Cause::Folder(_) => Exit::Config,
        Cause::Target(_, diagnosis) => match (diagnosis.stage, diagnosis.blame) {
            (Stage::Auth, _) => Exit::NoPermission,
            (Stage::File, Blame::Target) => Exit::CantCreate,
            (_, Blame::Recipient | Blame::Message) => Exit::Config,
            _ => Exit::Unavailable,
        },
        Cause::Refused(..) => Exit::Unavailable,
        Cause::Deferred(..) => Exit::TempFail,
        Cause::Ours(_) => Exit::CantCreate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Diagnosis, Reply};
    use crate::source::SourceError;

    #[test]
    fn each_cause_has_its_exit_code() {
        use SourceErrorKind::*;
        for (kind, stage, wanted) in [
            (Dns, "connect", Exit::Unavailable),
            (Connect, "connect", Exit::Unavailable),
            (Timeout, "greeting", Exit::Unavailable),
            (Closed, "login", Exit::Unavailable),
            (Tls, "starttls", Exit::Unavailable),
            (Auth, "login", Exit::NoPermission),
            (Secret, "login", Exit::Config),
            (Throttled, "login", Exit::TempFail),
            (Protocol, "greeting", Exit::Protocol),
            (Mailbox, "select", Exit::Config),
            (Mailbox, "headers", Exit::TempFail),
        ] {
            assert_eq!(exit(&Cause::Source(SourceError::new(kind, stage, "h:1", "x"))), wanted, "{kind:?} {stage}");
        }
        let target = |stage, blame, code: u16| {
            let reply = (code > 0).then(|| Reply::new(code, None, "x"));
            ("smtp h:25".to_owned(), Box::new(Diagnosis { reply, ..Diagnosis::of_text(stage, blame, "x") }))
        };
        let of = |(place, diagnosis)| exit(&Cause::Target(place, diagnosis));
        assert_eq!(of(target(Stage::Connect, Blame::Target, 0)), Exit::Unavailable);
        assert_eq!(of(target(Stage::Auth, Blame::Target, 535)), Exit::NoPermission);
        assert_eq!(of(target(Stage::File, Blame::Target, 0)), Exit::CantCreate);
        assert_eq!(of(target(Stage::File, Blame::Recipient, 0)), Exit::Config);
        let (place, diagnosis) = target(Stage::RcptTo, Blame::Recipient, 550);
        assert_eq!(exit(&Cause::Refused(place, diagnosis)), Exit::Unavailable);
        let (place, diagnosis) = target(Stage::RcptTo, Blame::Recipient, 450);
        assert_eq!(exit(&Cause::Deferred(place, diagnosis)), Exit::TempFail);
        assert_eq!(exit(&Cause::Folder("x".into())), Exit::Config);
    }
}
