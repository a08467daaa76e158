//! `mailgather logs NAME`: what was logged of a collector; `mailgather logs --audit`: what operators did. By the daemon if one runs, else from the state directory: after a crash it is wanted most.

use super::daemon::failed;
use super::exit::Exit;
use super::{Common, runtime};
use crate::config::{Loaded, Report};
use crate::control::ClientError;
use crate::mail::CollectorId;
use crate::observe::logging::{self, audit, read};
use clap::Args;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest line that is put together from pieces.
const LINE_OCTETS_MAX: usize = 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Logs {
    /// The collector.
    #[arg(required_unless_present = "audit")]
    name: Option<String>,
    /// What operators did, in the last year: collecting by hand, switches, configurations, what was forgotten; by whom, and by which way.
    #[arg(long, conflicts_with_all = ["name", "errors"])]
    audit: bool,
    /// Go on with what is still to come, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Warnings and errors only.
    #[arg(long)]
    errors: bool,
    /// So many of the last lines.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(0..=read::LINES_MAX as i64))]
    lines: u16,
    /// Write all that is kept into this file; `-` for the standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "lines"])]
    download: Option<PathBuf>,
    /// Print each line as a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn logs(arguments: &Logs, common: &Common) -> Exit {
    try_logs(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_logs(arguments: &Logs, common: &Common) -> Result<Exit, Exit> {
    let name = arguments.name.as_deref().unwrap_or_default();
    let id = match (CollectorId::new(name), arguments.audit) {
        (_, true) => None,
        (Some(id), false) => Some(id),
        (None, false) => {
            eprintln!("error: no collector can be called `{}`", crate::mail::outcome::harmless(name, 200));
            return Err(Exit::Usage);
        }
    };
    let client = common.client()?;
    let which = match arguments.download {
        Some(_) => "download=1".to_owned(),
        None => format!("lines={}&follow={}", arguments.lines, u8::from(arguments.follow)),
    };
    let place = match &id {
        Some(id) => format!("/v1/collectors/{id}/log?level={}&{which}", if arguments.errors { "errors" } else { "all" }),
        None => format!("/v1/audit?{which}"),
    };
    let mut out = Out {
        to: None,
        file: arguments.download.clone().filter(|path| path != Path::new("-")),
        json: arguments.json,
        torn: Vec::new(),
        lines: 0,
        error: None,
    };
    let asked = runtime()?.block_on(client.text(&place, |piece| out.take(piece)));
    match asked {
        Ok(()) => {}
        Err(ClientError::Connect { .. }) => match &id {
            Some(id) => of_files(arguments, common, id, &mut out)?,
            None => audit_of_files(arguments, common, &mut out)?,
        },
        Err(ClientError::Broken(_)) if arguments.follow => {}
        Err(error) => return Err(failed(&error, false, &client, common)),
    }
    let (lines, was_open) = (out.lines, out.error.is_none());
    out.finish().inspect_err(|_| eprintln!("hint: name another file with `--download`"))?;
    if arguments.follow && was_open {
        eprintln!("note: the daemon has ended");
        return Ok(Exit::Unavailable);
    }
    if lines == 0 && !common.quiet {
        match &id {
            Some(id) => eprintln!("note: nothing is in the log of `{id}`: nothing happened, or its `log` is `off`"),
            None => eprintln!("note: nothing is in the audit log"),
        }
    }
    Ok(Exit::Ok)
}

/// Without a daemon.
fn of_files(arguments: &Logs, common: &Common, id: &CollectorId, out: &mut Out) -> Result<(), Exit> {
    let loaded = crate::config::load(&common.config, &common.environment());
    let is_known = loaded.as_ref().is_ok_and(|loaded| loaded.config.collectors.contains_key(id));
    let state_dir = state_dir(common, loaded);
    let folder = logging::folder(&state_dir);
    if !is_known && !read::is_there(&folder, id) {
        eprintln!("error: no collector is called `{id}`, and {} has no log of one", folder.display());
        eprintln!("hint: no daemon runs; `--config` or `--state-dir` names where its log is");
        return Err(Exit::Usage);
    }
    let last = arguments.download.is_none().then_some(usize::from(arguments.lines));
    let wanted = read::Wanted { errors: arguments.errors, last, follow: arguments.follow };
    read::read(&folder, id, wanted, |piece| out.take(&piece)).map_err(|error| {
        eprintln!("error: cannot read the log of `{id}` in {}: {error}", folder.display());
        Exit::Io
    })
}

/// What operators did, without a daemon.
fn audit_of_files(arguments: &Logs, common: &Common, out: &mut Out) -> Result<(), Exit> {
    let folder = audit::folder(&state_dir(common, crate::config::load(&common.config, &common.environment())));
    if !audit::is_there(&folder) {
        eprintln!("note: there is no audit log in {}; `--config` or `--state-dir` names where it is", folder.display());
    }
    let last = arguments.download.is_none().then_some(usize::from(arguments.lines));
    audit::read(&folder, last, arguments.follow, |piece| out.take(&piece)).map_err(|error| {
        eprintln!("error: cannot read the audit log in {}: {error}", folder.display());
        Exit::Io
    })
}

fn state_dir(common: &Common, loaded: Result<Loaded, Report>) -> PathBuf {
    loaded.map_or_else(|_| common.environment().state_dir_without_file(), |loaded| loaded.config.service.state_dir)
}

/// Where the lines go.
struct Out {
    to: Option<Box<dyn Write>>,
    /// `--download`; made when there is something to write, so that an error leaves what is there.
    file: Option<PathBuf>,
    json: bool,
    /// The begin of a line whose end is still to come.
    torn: Vec<u8>,
    lines: u64,
    error: Option<std::io::Error>,
}

impl Out {
    /// False: nobody reads on, or it cannot be written.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.torn.extend_from_slice(piece);
        let whole = match memchr::memrchr(b'\n', &self.torn) {
            Some(end) => end + 1,
            None if self.torn.len() > LINE_OCTETS_MAX => self.torn.len(),
            None => return true,
        };
        let rest = self.torn.split_off(whole);
        let lines = std::mem::replace(&mut self.torn, rest);
        let text = String::from_utf8_lossy(&lines);
        self.lines += text.lines().count() as u64;
        let written = match self.json {
            // A line that is none of ours is no JSON.
            true => text.lines().filter_map(logging::json_of_line).try_for_each(|line| self.write(format!("{line}\n").as_bytes())),
            false => self.write(text.as_bytes()),
        };
        self.error = written.and_then(|()| self.to.as_mut().map_or(Ok(()), |to| to.flush())).err();
        self.error.is_none()
    }

    fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        if self.to.is_none() {
            self.to = Some(match &self.file {
                None => Box::new(std::io::stdout()),
                // For its owner alone: it tells who writes to whom.
                Some(path) => Box::new(std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?),
            });
        }
        self.to.as_mut().map_or(Ok(()), |to| to.write_all(octets))
    }

    /// A reader that went away (`| head`) is no error; a file that cannot be written is.
    fn finish(mut self) -> Result<(), Exit> {
        // An empty log is an empty file.
        if self.error.is_none() && self.file.is_some() {
            self.error = self.write(b"").err();
        }
        match (&self.error, &self.file) {
            (Some(error), Some(path)) => {
                eprintln!("error: cannot write {}: {error}", path.display());
                Err(Exit::CantCreate)
            }
            _ => Ok(()),
        }
    }
}
