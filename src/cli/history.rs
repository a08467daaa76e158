//! `mailgather history`: what became of messages. By the daemon if one runs, else from the state directory, read only.

mod csv;
mod print;

use super::Common;
use super::daemon::{encoded, failed};
use super::exit::Exit;
use crate::control::{Client, ClientError};
use crate::history::{self, Wanted, Word};
use crate::ledger::HeldWhy;
use crate::mail::code;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{BufWriter, ErrorKind, Write};

/// Rows that are shown, unless somebody asks for more.
const LIMIT: u64 = 100;
/// Rows of one question.
const PAGE: u64 = 500;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct History {
    /// Only of this collector.
    name: Option<String>,
    /// Only since then: so long ago (`2h`, `7d`), a date (midnight, local time), or a time (`2026-11-01T12:00:00Z`).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Only before then, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// Only what was for an address in which this stands, also the one that it was made of; whatever the case.
    #[arg(long, value_name = "ADDR")]
    recipient: Option<String>,
    /// Only what has this in its reverse-path or in From.
    #[arg(long, value_name = "ADDR")]
    from: Option<String>,
    /// Only with this result, or held, left or sent to the default box for this reason.
    #[arg(long, value_name = "WORD", value_parser = word)]
    result: Option<String>,
    /// Only the letter with this Message-ID.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// At most so many, the newest: 100, and with `--export` all.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print each as a JSON object on a line of its own.
    #[arg(long, conflicts_with = "export")]
    json: bool,
    /// Print them for a spreadsheet.
    #[arg(long, value_name = "FORMAT")]
    export: Option<Format>,
}

/// For programs that show tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Values with commas in between (RFC 4180), in UTF-8.
    Csv,
}

pub(super) fn history(arguments: &History, common: &Common) -> Exit {
    try_history(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_history(arguments: &History, common: &Common) -> Result<Exit, Exit> {
    if arguments.wanted(None, 0).is_empty_span() {
        eprintln!("error: `--until` is not later than `--since`: nothing can lie between them");
        eprintln!("hint: `--since 2h --until 1h` is from two hours ago to one hour ago");
        return Err(Exit::Usage);
    }
    let mut limit = arguments.limit.unwrap_or(if arguments.export.is_some() { u64::MAX } else { LIMIT });
    let mut out = Out::new(arguments);
    let mut source = Source::find(common)?;
    let mut before = None;
    let mut rows = 0;
    loop {
        let page = source.page(arguments, common, before, limit.min(PAGE))?;
        let found = page["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows += found.len();
        limit = limit.saturating_sub(found.len() as u64);
        before = page["next"].as_i64();
        // Nobody reads on (`| head`).
        if !out.take(found)? || before.is_none() || limit == 0 {
            break;
        }
    }
    out.finish()?;
    if rows == 0 && !common.quiet && !arguments.json && arguments.export.is_none() {
        eprintln!(
            "note: no such message is in the history; `--since`, `--recipient` and the others may be too narrow, or `service.history.keep` is over"
        );
    }
    if before.is_some() && arguments.limit.is_none() && arguments.export.is_none() && !common.quiet {
        eprintln!("note: these are the newest {rows}; `--limit` shows more");
    }
    Ok(Exit::Ok)
}

/// Where the rows come from.
enum Source {
    Daemon(Client, tokio::runtime::Runtime),
    File(std::path::PathBuf),
}

impl Source {
    fn find(common: &Common) -> Result<Self, Exit> {
        let client = common.client()?;
        let runtime = super::runtime()?;
        Ok(Source::Daemon(client, runtime))
    }

    fn page(&mut self, arguments: &History, common: &Common, before: Option<i64>, limit: u64) -> Result<Value, Exit> {
        if let Source::Daemon(client, runtime) = self {
            match runtime.block_on(client.get(&arguments.place(before, limit))) {
                Ok(page) => return Ok(page),
                // Nobody listens: whoever may read the state directory finds it there.
                Err(ClientError::Connect { error, .. }) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(failed(&error, arguments.json, client, common)),
            }
            let loaded = crate::config::load(&common.config, &common.environment());
            let state_dir = loaded.map_or_else(|_| common.environment().state_dir_without_file(), |loaded| loaded.config.service.state_dir);
            if common.state_dir.is_some() && !state_dir.is_dir() {
                eprintln!("error: the state directory {} does not exist", state_dir.display());
                return Err(Exit::NoInput);
            }
            *self = Source::File(state_dir.join(history::FILE));
        }
        let Source::File(path) = self else { return Ok(Value::Null) };
        let page = history::look(path, &arguments.wanted(before, limit)).map_err(|error| {
            eprintln!("error[MG-{}]: {error}", code::STATE_DIR);
            Exit::Io
        })?;
        let rows: Vec<Value> = page.rows.iter().map(|(number, row)| row.json(Some(*number))).collect();
        Ok(serde_json::json!({"history": rows, "next": page.next}))
    }
}

impl History {
    fn wanted(&self, before: Option<i64>, limit: u64) -> Wanted {
        let History { name, since, until, recipient, from, result, message_id, .. } = self;
        Wanted {
            collector: name.clone(),
            since: *since,
            until: *until,
            recipient: recipient.clone(),
            from: from.clone(),
            result: result.clone(),
            message_id: message_id.clone(),
            before,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    fn place(&self, before: Option<i64>, limit: u64) -> String {
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let pairs = [
            ("collector", self.name.clone()),
            ("since", number(self.since)),
            ("until", number(self.until)),
            ("recipient", self.recipient.clone()),
            ("from", self.from.clone()),
            ("result", self.result.clone()),
            ("message_id", self.message_id.clone()),
            ("before", number(before)),
        ];
        let mut place = format!("/v1/history?limit={limit}");
        for (key, value) in pairs {
            if let Some(value) = value {
                place.push_str(&format!("&{key}={}", encoded(&value)));
            }
        }
        place
    }
}

/// Where they go.
struct Out<'a> {
    arguments: &'a History,
    /// Of the table, whose columns are as wide as the widest.
    kept: Vec<Value>,
    to: BufWriter<std::io::Stdout>,
    is_begun: bool,
}

impl<'a> Out<'a> {
    fn new(arguments: &'a History) -> Self {
        Out { arguments, kept: Vec::new(), to: BufWriter::new(std::io::stdout()), is_begun: false }
    }

    /// False: nobody reads on.
    fn take(&mut self, rows: &[Value]) -> Result<bool, Exit> {
        let mut text = String::new();
        match self.arguments.export {
            Some(Format::Csv) => {
                if !std::mem::replace(&mut self.is_begun, true) {
                    text.push_str(&csv::head());
                }
                rows.iter().for_each(|row| text.push_str(&csv::line(row)));
            }
            None if self.arguments.json => rows.iter().for_each(|row| text.push_str(&format!("{row}\n"))),
            None => self.kept.extend_from_slice(rows),
        }
        self.write(&text)
    }

    fn finish(mut self) -> Result<(), Exit> {
        let text = print::table(&self.kept);
        self.write(&text).map(drop)
    }

    fn write(&mut self, text: &str) -> Result<bool, Exit> {
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => {
                eprintln!("error: cannot write: {error}");
                Err(Exit::Io)
            }
        }
    }
}

/// So long ago, a date, or a time.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    if let Ok(ago) = super::switch::seconds(text) {
        return Ok(jiff::Timestamp::now().as_second().saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX)));
    }
    super::clear::before(text)
        .map_err(|_| format!("`{text}` is neither a time ago, as 2h or 7d, nor a date, as 2026-11-01, nor a time, as 2026-11-01T12:00:00Z"))
}

/// A result, or a reason of one.
fn word(text: &str) -> Result<String, String> {
    let results = Word::ALL.map(Word::as_str);
    let reasons = HeldWhy::ALL.map(HeldWhy::code);
    match results.iter().chain(&reasons).chain(&["old"]).any(|known| *known == text) {
        true => Ok(text.to_owned()),
        false => Err(format!("it is one of {}; or of the reasons {}, old", results.join(", "), reasons.join(", "))),
    }
}
