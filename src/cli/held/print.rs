//! What `held list` and `held show` print. All that came in a message is made harmless: it cannot steer a terminal or break a line.

use super::super::table;
use super::super::when::shown;
use super::Exit;
use crate::held::HoldError;
use crate::ledger::{AtSource, HeldMail};
use crate::mail::HeaderBlock;
use crate::mail::header::HEADER_OCTETS_MAX;
use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

/// Longest cells of the table, in characters.
const FROM_CHARS: usize = 32;
const SUBJECT_CHARS: usize = 40;
/// Most lines of a header that are shown, and the longest of them in octets.
const HEADER_LINES_MAX: usize = 1_000;
const LINE_OCTETS_MAX: usize = 1_000;

pub(super) fn list(rows: &[(HeldMail, AtSource)], json: bool) -> Result<Exit, Exit> {
    if rows.is_empty() && !json {
        eprintln!("no held mail");
    }
    written(|out| if json { rows.iter().try_for_each(|(mail, copy)| writeln!(out, "{}", to_json(mail, *copy))) } else { table(out, rows) })
}

fn table(out: &mut dyn Write, rows: &[(HeldMail, AtSource)]) -> io::Result<()> {
    // Numbers stand with their units below each other.
    let digits = rows.iter().map(|(mail, _)| size(mail.octets).len()).max().unwrap_or(0);
    let cells = |(mail, _): &(HeldMail, AtSource)| -> [String; 8] {
        [
            mail.id.to_string(),
            time(mail.since),
            mail.key.collector.to_string(),
            mail.why.code().to_owned(),
            format!("{:>width$}", size(mail.octets), width = digits),
            cut(&mail.from, FROM_CHARS),
            cut(&mail.subject, SUBJECT_CHARS),
            recipients(mail),
        ]
    };
    let titles = ["NUMBER", "SINCE", "COLLECTOR", "WHY", "SIZE", "FROM", "SUBJECT", "RECIPIENTS"].map(str::to_owned);
    let lines: Vec<[String; 8]> = if rows.is_empty() { Vec::new() } else { std::iter::once(titles).chain(rows.iter().map(cells)).collect() };
    write!(out, "{}", table::table(&lines))
}

fn recipients(mail: &HeldMail) -> String {
    match mail.recipients.as_slice() {
        [] => "-".into(),
        [only] => harmless(only, 100),
        [first, rest @ ..] => format!("{} and {} more", harmless(first, 100), rest.len()),
    }
}

pub(super) fn show(mail: &HeldMail, copy: AtSource, file: Result<File, HoldError>, json: bool) -> Result<Exit, Exit> {
    let path_error = file.as_ref().err().map(ToString::to_string);
    let header = file.ok().and_then(|file| header(&file, mail.octets).ok()).unwrap_or_default();
    if json {
        let mut object = to_json(mail, copy);
        object["header"] = header.into();
        object["file_error"] = path_error.clone().into();
        written(|out| writeln!(out, "{object}"))?;
    } else {
        written(|out| {
            let mut line = |name: &str, value: &str| writeln!(out, "{name:<13} {value}");
            line("number", &mail.id.to_string())?;
            line("since", &time(mail.since))?;
            line("collector", mail.key.collector.as_str())?;
            line("mailbox", &harmless(&mail.key.mailbox.to_string(), LINE_OCTETS_MAX))?;
            line("key", &harmless(&mail.key.to_string(), LINE_OCTETS_MAX))?;
            line("trace id", &mail.trace_id.to_string())?;
            line("why", mail.why.code())?;
            line("reason", &harmless(&mail.reason, LINE_OCTETS_MAX))?;
            line("reverse-path", &format!("<{}>", harmless(&mail.sender, LINE_OCTETS_MAX)))?;
            let to = if mail.recipients.is_empty() { "nobody was found".into() } else { harmless(&mail.recipients.join(", "), 20 * LINE_OCTETS_MAX) };
            line("recipients", &to)?;
            line("from", &harmless(&mail.from, LINE_OCTETS_MAX))?;
            line("subject", &harmless(&mail.subject, LINE_OCTETS_MAX))?;
            line("size", &format!("{} octets", mail.octets))?;
            line("at the source", at_source(copy))?;
            writeln!(out)?;
            header.iter().try_for_each(|line| writeln!(out, "  {line}"))
        })?;
    }
    match path_error {
        None => Ok(Exit::Ok),
        Some(error) => {
            eprintln!("error: {error}");
            Err(Exit::Io)
        }
    }
}

/// The whole message, as it is.
pub(super) fn raw(mut file: File) -> Result<Exit, Exit> {
    written(|out| io::copy(&mut file, out).map(|_| ()))
}

/// The lines of the header, harmless.
fn header(file: &File, octets: u64) -> io::Result<Vec<String>> {
    let mut start = Vec::new();
    file.take(HEADER_OCTETS_MAX as u64).read_to_end(&mut start)?;
    let block = HeaderBlock::parse_start(start.into(), octets > HEADER_OCTETS_MAX as u64);
    let text = String::from_utf8_lossy(&block.octets()[..block.body_start()]).into_owned();
    let mut lines: Vec<String> = text.trim_end().lines().map(|line| harmless(&line.replace('\t', "    "), LINE_OCTETS_MAX)).collect();
    if lines.len() > HEADER_LINES_MAX {
        let more = lines.len() - HEADER_LINES_MAX;
        lines.truncate(HEADER_LINES_MAX);
        lines.push(format!("… {more} more lines"));
    }
    Ok(lines)
}

fn to_json(mail: &HeldMail, copy: AtSource) -> Value {
    json!({
        "number": mail.id.to_string(),
        "since": jiff::Timestamp::from_second(mail.since).map(stamp).unwrap_or_default(),
        "collector": mail.key.collector.as_str(),
        "mailbox": mail.key.mailbox.to_string(),
        "key": mail.key.to_string(),
        "trace_id": mail.trace_id.to_string(),
        "why": mail.why.code(),
        "reason": mail.reason,
        "reverse_path": mail.sender,
        "recipients": mail.recipients,
        "from": mail.from,
        "subject": mail.subject,
        "octets": mail.octets,
        "at_source": copy.code(),
    })
}

/// What is known about the copy at the source, for people.
pub(super) fn at_source(copy: AtSource) -> &'static str {
    match copy {
        AtSource::Stays => "its copy stays there, and is not collected again",
        AtSource::ToGo => "its copy is about to be removed: what is held is the only one then",
        AtSource::Unknown => "its copy is gone, or nothing is known about it: what is held may be the only one",
    }
}

pub(in crate::cli) fn size(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", octets / 1024),
        _ => format!("{:.1} MiB", octets as f64 / 1_048_576.0),
    }
}

pub(in crate::cli) fn cut(text: &str, chars_max: usize) -> String {
    let text = harmless(text, 4 * chars_max);
    if text.chars().count() <= chars_max { text } else { text.chars().take(chars_max - 1).chain(['…']).collect() }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), shown)
}

/// Writes to the standard output; whoever reads it may stop at any line (`| head`).
fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Exit, Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write: {error}");
            Err(Exit::Io)
        }
        _ => Ok(Exit::Ok),
    }
}
