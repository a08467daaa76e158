//! What the other program remembers counts as collected, as far as the server still has it. Everything is read and asked first; the ledger takes
//! each mailbox in one transaction, and taking it once more changes nothing.

use super::super::clear::{ledger_failed, open, server};
use super::super::exit::Exit;
use super::super::peek::named;
use crate::config::{Collect, Collector, Loaded};
use crate::import::draft::{Draft, Past, Protocol};
use crate::import::history::{self, HISTORY_OCTETS_MAX};
use crate::ledger::{Ledger, Mark, Marked};
use crate::mail::{Epoch, FolderName, RemoteUid};
use crate::observe::logging::audit;
use crate::service::command::Requester;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What came of one mailbox.
pub(super) struct Marking {
    collector: String,
    /// How many messages the other program remembers; by \Seen nobody can tell.
    remembered: Option<usize>,
    there: usize,
    marked: Marked,
}

impl Marking {
    pub(super) fn json(&self) -> serde_json::Value {
        let Marked { marked, given_up } = self.marked;
        serde_json::json!({
            "collector": self.collector, "remembered": self.remembered, "there": self.there, "marked": marked,
            "before": (self.there as u64).saturating_sub(marked), "given_up": given_up,
        })
    }

    fn text(&self) -> String {
        let Marking { collector, there, marked, .. } = self;
        let of = match self.remembered {
            Some(remembered) => format!("{remembered} were remembered, {there} of them are on the server"),
            None => format!("{there} on the server are \\Seen"),
        };
        format!("{collector}: {of}: {} marked as collected, {} were so before", marked.marked, (*there as u64).saturating_sub(marked.marked))
    }
}

/// What is remembered of a mailbox.
enum Known {
    /// POP3: UIDLs, as the server writes them, or as getmail does.
    Uidls(HashSet<Vec<u8>>, bool),
    /// IMAP, getmail: for each folder and its UIDVALIDITY the UIDs, from its file. A folder without a file has never been collected from.
    Numbers { folder: PathBuf, server: String, port: u16, user: String },
    /// IMAP, fetchmail: what is \Seen.
    Seen,
}

/// Marks what is remembered. Nothing is marked unless every file could be read.
pub(super) async fn mark(
    loaded: &Loaded,
    drafts: &[Draft],
    origins: &[(PathBuf, Option<String>)],
    place: Option<&Path>,
    quiet: bool,
) -> Result<Vec<Marking>, Exit> {
    let mut known = Vec::new();
    for (draft, (path, said)) in drafts.iter().zip(origins) {
        let Some(collector) = named(loaded, &draft.name) else { continue };
        if collector.collect == Collect::All {
            eprintln!("{}: it takes whatever is there (`collect: all`), as before: nothing is marked", draft.name);
            continue;
        }
        match remembered(draft, path, said.as_deref(), place) {
            Ok(remembered) => known.push((draft, collector, remembered)),
            Err(_) if draft.skipped => left_out(draft),
            Err(exit) => return Err(exit),
        }
    }
    let installation = open(loaded).await?;
    let mut done = Vec::new();
    for (draft, collector, known) in known {
        let marking = match one(installation.ledger().as_ref(), &collector, &known).await {
            Ok(marking) => marking,
            Err(_) if draft.skipped => {
                left_out(draft);
                continue;
            }
            Err(exit) => return Err(exit),
        };
        tracing::warn!(target: audit::TARGET, event = "history_imported", by = %Requester::cli(), collector = %collector.id, there = marking.there, marked = marking.marked.marked, given_up = marking.marked.given_up);
        if !quiet {
            eprintln!("{}", marking.text());
        }
        done.push(marking);
    }
    Ok(done)
}

/// A mailbox that nobody collects from must not stand in the way of the others: its server may be gone for years.
fn left_out(draft: &Draft) {
    eprintln!("warning: {} is skipped there and disabled here; its history was not taken over: import it once more before it is enabled", draft.name);
}

/// Reads the history of a mailbox.
fn remembered(draft: &Draft, path: &Path, said: Option<&str>, place: Option<&Path>) -> Result<Known, Exit> {
    let beside = path.parent().unwrap_or(Path::new(""));
    match (&draft.past, draft.protocol) {
        (Past::Fetchmail(_), Protocol::Imap) => Ok(Known::Seen),
        (Past::Fetchmail(hosts), Protocol::Pop3) => {
            let file = match (place, said) {
                (Some(place), _) if place.is_dir() => place.join(".fetchids"),
                (Some(place), _) => place.to_owned(),
                (None, Some(said)) => PathBuf::from(said),
                (None, None) => {
                    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default().join(".fetchids");
                    Some(beside.join(".fetchids")).filter(|file| file.exists()).unwrap_or(home)
                }
            };
            let octets = content(draft, &file)?;
            let lines = history::fetchids(&octets);
            let ids = lines.into_iter().filter_map(|line| history::fetchid(line, &draft.username, hosts));
            Ok(Known::Uidls(ids.map(<[u8]>::to_vec).collect(), false))
        }
        (Past::Getmail(server, port), protocol) => {
            let folder = place.unwrap_or(beside);
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if protocol == Protocol::Imap {
                let prefix = history::oldmail_file(server, *port, &draft.username, Some(""));
                let any = std::fs::read_dir(folder)
                    .is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| one.file_name().to_string_lossy().starts_with(&prefix))));
                if !any {
                    return Err(missing(draft, &folder.join(format!("{prefix}FOLDER")), "no such file"));
                }
                return Ok(Known::Numbers { folder: folder.to_owned(), server: server.clone(), port: *port, user: draft.username.clone() });
            }
            let file = if folder.is_file() { folder.to_owned() } else { folder.join(history::oldmail_file(server, *port, &draft.username, None)) };
            let octets = content(draft, &file)?;
            Ok(Known::Uidls(history::oldmail(&octets).into_iter().map(<[u8]>::to_vec).collect(), true))
        }
        (Past::Mpop(file), _) => {
            let file = match place {
                Some(place) if place.is_dir() => place.join(format!("{}_at_{}", draft.username, draft.server)),
                Some(place) => place.to_owned(),
                None => PathBuf::from(file),
            };
            let octets = content(draft, &file)?;
            let of_us = |one: &history::OfMailbox<'_>| one.host == draft.server.as_bytes() && one.user == draft.username.as_bytes();
            let ids = history::uidls(&octets).into_iter().filter(of_us).flat_map(|one| one.uidls);
            Ok(Known::Uidls(ids.map(<[u8]>::to_vec).collect(), false))
        }
    }
}

fn content(draft: &Draft, file: &Path) -> Result<Vec<u8>, Exit> {
    read(file).map_err(|error| missing(draft, file, &error.to_string()))
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let read = std::fs::File::open(file)?.take(HISTORY_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    if read as u64 > HISTORY_OCTETS_MAX { Err(std::io::Error::other(format!("more than {HISTORY_OCTETS_MAX} octets"))) } else { Ok(octets) }
}

fn missing(draft: &Draft, file: &Path, why: &str) -> Exit {
    eprintln!("error: the history of {} cannot be read: {}: {why}; nothing was marked or written", draft.name, file.display());
    eprintln!("hint: `--history=PATH` names another place; if nothing was collected from this mailbox yet, make an empty file there");
    Exit::NoInput
}

async fn one(ledger: &dyn Ledger, collector: &Arc<Collector>, known: &Known) -> Result<Marking, Exit> {
    let mut count = 0;
    let mut broken = None;
    let mut choose = |folder: &FolderName, epoch: Epoch, there: Vec<RemoteUid>| -> Vec<RemoteUid> {
        match known {
            Known::Seen => there,
            Known::Uidls(ids, mangled) => {
                count = ids.len();
                let is_known = |uid: &RemoteUid| match uid {
                    RemoteUid::Opaque(uidl) if *mangled => ids.contains(&history::as_getmail_writes(uidl)),
                    RemoteUid::Opaque(uidl) => ids.contains(&uidl[..]),
                    RemoteUid::Number(_) => false,
                };
                there.into_iter().filter(is_known).collect()
            }
            Known::Numbers { folder: place, server, port, user } => {
                let file = place.join(history::oldmail_file(server, *port, user, Some(folder.as_str())));
                let octets = match read(&file) {
                    Ok(octets) => octets,
                    Err(error) => {
                        // A folder that was never collected from has none.
                        if error.kind() != std::io::ErrorKind::NotFound {
                            broken = Some(format!("{}: {error}", file.display()));
                        }
                        return Vec::new();
                    }
                };
                let mut by_epoch: HashMap<u32, HashSet<u32>> = HashMap::new();
                for (validity, uid) in history::oldmail(&octets).into_iter().filter_map(history::imap_name) {
                    by_epoch.entry(validity).or_default().insert(uid);
                }
                count += by_epoch.values().map(HashSet::len).sum::<usize>();
                let Some(uids) = by_epoch.get(&epoch.0) else { return Vec::new() };
                there.into_iter().filter(|uid| uid.number().is_some_and(|uid| uids.contains(&uid))).collect()
            }
        }
    };
    let marks: Vec<Mark> = server::to_mark_by(collector, matches!(known, Known::Seen), &mut choose).await?;
    if let Some(error) = broken {
        eprintln!("error: the history of {} cannot be read: {error}; nothing of it was marked", collector.id);
        return Err(Exit::Io);
    }
    let there = marks.iter().map(|mark| mark.uids.len()).sum();
    let marked = ledger.mark_collected(&collector.server.mailbox(), &marks).await.map_err(|error| ledger_failed(&error))?;
    let remembered = (!matches!(known, Known::Seen)).then_some(count);
    Ok(Marking { collector: collector.id.as_str().to_owned(), remembered, there, marked })
}
