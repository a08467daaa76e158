//! `mailgather explain`: who would get a message, and why, by the functions that deliver; nothing is delivered. Of a file, or of the last
//! messages of a collector's mailbox. And the page of an error: `mailgather explain MG-203`.

use super::exit::Exit;
use super::explain_journal::{self, Opened};
use super::mbox::Mbox;
use super::peek::{self, LAST_MAX, Look, named, names, print};
use super::{Common, pages};
use crate::collect::route;
use crate::config::{CheckLocal, Collector, Loaded};
use crate::mail::outcome::harmless;
use crate::mail::{Canonical, HeaderBlock, Repairs, ReversePath};
use crate::resolve::loops::MARKER_HEADER;
use crate::resolve::{Resolution, Trail, is_internal_message, resolve_journal};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// Octets of a file that are read: the header's limit, and some more to see that it ends.
const FILE_OCTETS_MAX: u64 = 2 * 1024 * 1024;
/// The same where the body counts: a journal report.
const REPORT_OCTETS_MAX: u64 = 256 * 1024 * 1024;
/// Most messages of an mbox that are explained.
const MBOX_MESSAGES_MAX: usize = 100;
/// Messages of a mailbox, if nobody says how many.
const LAST: u16 = 10;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A message as a file, or an mbox of several, `-` for the standard input; or a collector's name: its last messages, by their headers alone; or the number of
    /// an error, `MG-203`. A file that exists wins.
    #[arg(value_name = "FILE|NAME|MG-NNN")]
    subject: String,
    /// A file by the rules of this collector; needed if there are several.
    #[arg(long = "as", value_name = "NAME")]
    collector: Option<String>,
    /// So many of the mailbox's last messages: 10 if nothing is said.
    #[arg(long, value_name = "N", conflicts_with = "uid", value_parser = clap::value_parser!(u16).range(1..=i64::from(LAST_MAX)))]
    last: Option<u16>,
    /// The message of the mailbox with this UID (POP3: UIDL), as the log names it.
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// Print JSON: an object a line for each message.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &Explain, common: &Common) -> Exit {
    try_explain(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_explain(arguments: &Explain, common: &Common) -> Result<Exit, Exit> {
    let subject = arguments.subject.as_str();
    let is_file = subject == "-" || Path::new(subject).exists();
    if let (false, Some(code)) = (is_file, pages::code(subject)) {
        return page(code, arguments.json);
    }
    if is_file && (arguments.last.is_some() || arguments.uid.is_some()) {
        eprintln!("error: `--last` and `--uid` are about a collector's mailbox, and `{subject}` is a file");
        return Err(Exit::Usage);
    }
    if is_file {
        let loaded = common.load()?;
        let collector = peek::complete(chosen(&loaded, arguments.collector.as_deref())?, &loaded)?;
        let limit = if explain_journal::reads_bodies(&collector) { REPORT_OCTETS_MAX } else { FILE_OCTETS_MAX };
        return of_file(subject, limit, &collector, arguments.json);
    }
    of_mailbox(arguments, common)
}

/// One message, or each of an mbox.
fn of_file(file: &str, limit: u64, collector: &Collector, json: bool) -> Result<Exit, Exit> {
    let failed = |error: std::io::Error| {
        eprintln!("error: {file}: {error}");
        if error.kind() == std::io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io }
    };
    let reader: Box<dyn BufRead> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(BufReader::new(std::fs::File::open(file).map_err(failed)?)),
    };
    let mut messages = Mbox::open(reader, limit).map_err(failed)?;
    let mut current = messages.next().map_err(failed)?;
    let mut number = 0;
    while let Some(raw) = current {
        number += 1;
        current = messages.next().map_err(failed)?;
        let (whole, repairs) = canonical(&raw);
        if whole.is_empty() {
            eprintln!("error: {file}: an empty message");
            return Err(Exit::Data);
        }
        let header = HeaderBlock::parse(whole.clone());
        let explained = Explained::of(collector, &header, Some((&whole, repairs)));
        let is_one = number == 1 && current.is_none();
        let subject = if is_one { Subject::File(file) } else { Subject::OfMbox(file, number) };
        show(collector, &header, &explained, &subject, json);
        if number == MBOX_MESSAGES_MAX && current.is_some() {
            eprintln!("note: {file} is an mbox: the first {MBOX_MESSAGES_MAX} messages are explained, and there are more");
            break;
        }
    }
    Ok(Exit::Ok)
}

fn page(code: u16, json: bool) -> Result<Exit, Exit> {
    let Some(page) = pages::page(code) else {
        let known: Vec<String> = pages::codes().map(|code| format!("MG-{code}")).collect();
        eprintln!("error: no error has the number MG-{code}\nhint: there are: {}", known.join(", "));
        return Err(Exit::Usage);
    };
    match json {
        true => print(&format!("{}\n", json!({"code": format!("MG-{code}"), "page": page}))),
        false => print(page),
    }
    Ok(Exit::Ok)
}

fn of_mailbox(arguments: &Explain, common: &Common) -> Result<Exit, Exit> {
    let name = arguments.subject.as_str();
    let loaded =
        common.load().inspect_err(|_| eprintln!("note: no file is called `{name}`, and without a configuration nothing is known of collectors"))?;
    let Some(collector) = named(&loaded, name) else {
        eprintln!("error: `{name}` is neither a file nor a collector\nhint: the configuration has: {}", names(&loaded));
        return Err(Exit::NoInput);
    };
    if let Some(other) = arguments.collector.as_deref().filter(|other| *other != name) {
        eprintln!("error: the messages of `{name}` by the rules of `{other}`?\nhint: `--as` is for files: leave it out");
        return Err(Exit::Usage);
    }
    let look = match &arguments.uid {
        Some(uid) => Look::Uid(uid),
        None => Look::Last(usize::from(arguments.last.unwrap_or(LAST))),
    };
    let collector = peek::complete(collector, &loaded)?;
    let peeked = peek::headers(&collector, look)?;
    for one in &peeked {
        let uid = harmless(&one.uid.to_string(), 100);
        let explained = Explained::of(&collector, &one.header, None);
        show(&collector, &one.header, &explained, &Subject::Uid(name, &uid), arguments.json);
    }
    if peeked.is_empty() && !arguments.json {
        eprintln!("note: the mailbox of {name} is empty");
    }
    Ok(Exit::Ok)
}

/// Where a header comes from.
enum Subject<'a> {
    File(&'a str),
    /// A message of a file of several, by its number from 1.
    OfMbox(&'a str, usize),
    Uid(&'a str, &'a str),
}

/// The decision about one header.
struct Explained {
    resolution: Resolution,
    trail: Trail,
    sender: ReversePath,
    hops: usize,
    markers: usize,
    max_hops: usize,
    internal: bool,
    /// What is in it for which it is held.
    content: Option<String>,
    /// What a journal report has to do with it.
    journal: Option<String>,
    /// The recipients are looked up before they are delivered to.
    checked: bool,
    /// Nobody can tell from the header alone.
    unknown: bool,
}

impl Explained {
    /// By the very functions that deliver.
    fn of(collector: &Collector, header: &HeaderBlock, whole: Option<(&Bytes, Repairs)>) -> Self {
        let opened = explain_journal::open(collector, header, whole.map(|(octets, _)| octets));
        let original = if let Opened::Report(_, _, original) = &opened { original } else { header };
        let (resolution, trail) = match &opened {
            Opened::Report(rules, report, original) => resolve_journal(&report.recipients, original, rules),
            Opened::Unreadable(rules, _) => resolve_journal(&[], header, rules),
            Opened::Ordinary | Opened::Closed => route::resolution(collector, header),
        };
        let sender = match &opened {
            // The report's own envelope is the journal's; the sender's is in it.
            Opened::Report(_, report, _) => report.sender.clone().map_or(ReversePath::Null, ReversePath::Address),
            _ => route::sender(collector, header, &resolution),
        };
        let journal = match &opened {
            Opened::Ordinary => None,
            Opened::Report(..) => Some("a journal report: it names the recipients, and the original in it is delivered".to_owned()),
            Opened::Unreadable(_, why) => Some(format!("a journal report that cannot be read, so that it names nobody: {why}")),
            Opened::Closed => {
                Some("a journal report: it names the recipients in its text, which is not read here; save it for `explain FILE`".to_owned())
            }
        };
        let (unknown, header) = (matches!(opened, Opened::Closed), original);
        Explained {
            journal,
            unknown,
            checked: collector.check_local != CheckLocal::None && matches!(resolution, Resolution::Recipients(..)),
            sender,
            trail,
            hops: header.all("Received").count(),
            markers: header.all(MARKER_HEADER).count(),
            max_hops: collector.delivery.max_hops,
            internal: is_internal_message(header),
            content: whole.and_then(|(_, repairs)| route::content_to_hold(&repairs, &collector.delivery)),
            resolution,
        }
    }

    fn is_loop(&self) -> bool {
        self.max_hops > 0 && self.hops >= self.max_hops
    }

    /// What becomes of the message, in a word.
    fn outcome(&self) -> &'static str {
        match &self.resolution {
            _ if self.internal => "left",
            _ if self.unknown => "unknown",
            Resolution::Leave(_) => "left",
            Resolution::Hold(_) => "held",
            Resolution::Discard(_) => "discarded",
            _ if self.is_loop() => "loop",
            _ if self.content.is_some() => "held",
            Resolution::Recipients(..) | Resolution::DefaultBox(..) => "delivered",
        }
    }

    fn by(&self) -> String {
        match &self.resolution {
            Resolution::Recipients(_, evidence) => evidence.to_string(),
            Resolution::DefaultBox(_, reason) => format!("default box: {reason}"),
            Resolution::Leave(reason) | Resolution::Hold(reason) | Resolution::Discard(reason) => reason.to_string(),
        }
    }

    fn loop_words(&self) -> String {
        let limit = if self.max_hops == 0 { "no limit".to_owned() } else { format!("max_hops {}", self.max_hops) };
        let hops = format!("{} Received fields ({limit})", self.hops);
        match (self.is_loop(), self.markers) {
            (true, _) => format!("{hops}: a loop, it would not be delivered"),
            (false, 0) => format!("{hops}: no loop"),
            (false, n) => format!("{hops}, {n} {MARKER_HEADER}: whether one of them is ours shows at delivery, by the whole message"),
        }
    }

    fn to_text(&self) -> String {
        let mut text = self.journal.as_ref().map_or(String::new(), |journal| format!("  {journal}\n"));
        if self.unknown {
            return text;
        }
        text.push_str(&self.trail.to_text());
        text.push_str(&format!("  reverse-path {}\n", path(&self.sender)));
        if self.internal {
            text.push_str("  the mail server's own folder data, not a message: neither delivered nor deleted\n");
        }
        let recipients = self.resolution.recipients();
        if !recipients.is_empty() {
            let to: Vec<String> = recipients.iter().map(|recipient| format!("<{}>", harmless(&recipient.address.to_string(), 400))).collect();
            text.push_str(&format!("  envelope     MAIL FROM:{}  RCPT TO:{}  by {}\n", path(&self.sender), to.join(" "), harmless(&self.by(), 400)));
        }
        if self.checked {
            text.push_str("  check_local  asked at delivery only: the default box takes the place of who is unknown there\n");
        }
        text.push_str(&format!("  loop check   {}\n", self.loop_words()));
        if let Some(content) = &self.content {
            text.push_str(&format!("  content      {content}: held\n"));
        }
        text
    }

    fn to_json(&self) -> Value {
        let named = if self.unknown { &[] } else { self.resolution.recipients() };
        let recipients: Vec<Value> = named
            .iter()
            .map(|recipient| json!({"address": recipient.address.to_string(), "original": recipient.original.as_ref().map(ToString::to_string)}))
            .collect();
        json!({
            "reverse_path": self.sender.to_smtp(),
            "trail": self.trail.to_json(),
            "outcome": self.outcome(),
            "journal": self.journal,
            "check_local": self.checked,
            "content": self.content,
            "envelope": {"reverse_path": self.sender.to_smtp(), "recipients": recipients, "by": self.by()},
            "loop": {"received": self.hops, "max_hops": self.max_hops, "markers": self.markers, "loop": self.is_loop()},
        })
    }
}

fn path(sender: &ReversePath) -> String {
    if sender.to_smtp().is_empty() { "<>".to_owned() } else { format!("<{}>", harmless(&sender.to_string(), 400)) }
}

fn show(collector: &Collector, header: &HeaderBlock, explained: &Explained, subject: &Subject<'_>, as_json: bool) {
    let field = |name: &str| header.first(name).map(|field| harmless(&header.text(field), 200));
    if as_json {
        let mut value = explained.to_json();
        value["collector"] = json!(collector.id.as_str());
        value["message_id"] = json!(field("Message-ID"));
        match subject {
            Subject::File(file) => value["file"] = json!(file),
            Subject::OfMbox(file, number) => {
                value["file"] = json!(file);
                value["number"] = json!(number);
            }
            Subject::Uid(_, uid) => value["uid"] = json!(uid),
        }
        return print(&format!("{value}\n"));
    }
    let name = match subject {
        Subject::File(file) => (*file).to_owned(),
        Subject::OfMbox(file, number) => format!("{file} message {number}"),
        Subject::Uid(name, uid) => format!("{name} uid {uid}"),
    };
    let (id, from) = (field("Message-ID").unwrap_or_else(|| "-".into()), field("From").unwrap_or_else(|| "-".into()));
    print(&format!("{name}  {id}  from {from}\n{}", explained.to_text()));
}

fn chosen(loaded: &Loaded, name: Option<&str>) -> Result<Arc<Collector>, Exit> {
    let all = &loaded.config.collectors;
    let found = match name {
        Some(name) => named(loaded, name),
        None if all.len() == 1 => all.values().next().cloned(),
        None => None,
    };
    found.ok_or_else(|| {
        eprintln!("error: whose rules? Say `--as NAME`\nhint: the configuration has: {}", names(loaded));
        Exit::Usage
    })
}

/// With one form of line ends.
fn canonical(raw: &[u8]) -> (Bytes, Repairs) {
    let mut octets = Vec::with_capacity(raw.len());
    let mut canonical = Canonical::new();
    canonical.push(raw, &mut octets);
    canonical.finish(&mut octets);
    (Bytes::from(octets), canonical.repairs())
}
