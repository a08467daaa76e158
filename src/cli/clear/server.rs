//! What the server has, for those who forget: folders are opened by EXAMINE, and nothing is fetched.

use super::super::exit::Exit;
use super::super::peek::{said, source_of};
use crate::collect::folders;
use crate::config::Collector;
use crate::ledger::{Mark, Remembered};
use crate::mail::{Epoch, FolderName, KnownUids, Present, RemoteUid, UidSet, by_content};
use crate::service::installation::may_read_all;
use crate::source::{Session, SourceError, SourceErrorKind, Want};
use std::collections::HashSet;

/// How many messages are still there.
pub(super) enum Found {
    /// So many.
    These(u64),
    /// That cannot be told, for this reason.
    Unknown(String),
}

impl Found {
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Found::These(count) => Some(*count),
            Found::Unknown(_) => None,
        }
    }

    pub(super) fn word(&self) -> String {
        self.count().map_or_else(|| "unknown".into(), |count| count.to_string())
    }
}

/// How many of the remembered messages the server still has.
pub(super) async fn still_there(collector: &Collector, remembered: &[Remembered]) -> Found {
    let unknown = |error: SourceError| Found::Unknown(format!("the server was asked, and {error}"));
    let source = match source_of(collector, may_read_all(collector)) {
        Ok(source) => source,
        Err(_) => return Found::Unknown("there is no temporary folder to work in".into()),
    };
    let mut session = match source.open().await {
        Ok(session) => session,
        Err(error) => return unknown(error),
    };
    let mut there = 0;
    for folder in remembered.iter().filter(|folder| folder.forgets() > 0) {
        match count(&mut *session, folder).await {
            Ok(Found::These(count)) => there += count,
            Ok(unknown) => {
                let _ = session.close().await;
                return unknown;
            }
            Err(error) => {
                session.abandon().await;
                return unknown(error);
            }
        }
    }
    // What was read is read: a good-bye that fails changes nothing.
    let _ = session.close().await;
    Found::These(there)
}

async fn count(session: &mut dyn Session, folder: &Remembered) -> Result<Found, SourceError> {
    let selected = session.select(&folder.folder).await?;
    let renumbered = || Found::Unknown(format!("the server gives the messages of `{}` other UIDs by now", folder.folder));
    if selected.epoch != folder.epoch || folder.former > 0 {
        return Ok(renumbered());
    }
    let mut known = KnownUids::new();
    folder.uids.iter().for_each(|uid| known.insert(uid));
    let listing = session.list(everything(known)).await?;
    Ok(match listing.present {
        Some(Present::Numbers(there)) => {
            Found::These(folder.uids.iter().filter(|uid| uid.number().is_some_and(|uid| there.contains(uid))).count() as u64)
        }
        // None of the ids is there, and others are: the server may have given new ones, as some do in each session.
        Some(Present::Met(known)) if known.unmet() == folder.uids.len() && selected.exists > 0 => renumbered(),
        Some(Present::Met(known)) => Found::These((folder.uids.len() - known.unmet()) as u64),
        None => Found::Unknown("the server's list has gaps".into()),
    })
}

/// What is to count as collected: what is there, of these folders and UIDs, and arrived before this time.
pub(super) async fn to_mark(collector: &Collector, only: Option<&FolderName>, uids: &[RemoteUid], before: Option<i64>) -> Result<Vec<Mark>, Exit> {
    let source = source_of(collector, may_read_all(collector))?;
    let mut session = source.open().await.map_err(|error| said(collector, error))?;
    match marks(&mut *session, collector, only, uids, before).await {
        Ok(marks) => {
            let _ = session.close().await;
            marks
        }
        Err(error) => {
            session.abandon().await;
            Err(said(collector, error))
        }
    }
}

/// What is to count as collected of what is there: `choose` says it for each folder. With `seen` only what has \Seen is there.
pub(in super::super) async fn to_mark_by(
    collector: &Collector,
    seen: bool,
    choose: &mut (dyn FnMut(&FolderName, Epoch, Vec<RemoteUid>) -> Vec<RemoteUid> + Send),
) -> Result<Vec<Mark>, Exit> {
    let source = source_of(collector, may_read_all(collector))?;
    let mut session = source.open().await.map_err(|error| said(collector, error))?;
    match marks_by(&mut *session, collector, seen, choose).await {
        Ok(marks) => {
            let _ = session.close().await;
            Ok(marks)
        }
        Err(error) => {
            session.abandon().await;
            Err(said(collector, error))
        }
    }
}

async fn marks_by(
    session: &mut dyn Session,
    collector: &Collector,
    seen: bool,
    choose: &mut (dyn FnMut(&FolderName, Epoch, Vec<RemoteUid>) -> Vec<RemoteUid> + Send),
) -> Result<Vec<Mark>, SourceError> {
    let mut marks = Vec::new();
    for folder in folder_names(session, collector).await? {
        let selected = session.select(&folder).await?;
        let there = if seen { read(session).await? } else { present(session, None).await? };
        let uids = choose(&folder, selected.epoch, there);
        // What is not remembered is new, and is still to come: this is no first run.
        marks.push(Mark { folder, epoch: selected.epoch, uids, whole: false });
    }
    Ok(marks)
}

async fn folder_names(session: &mut dyn Session, collector: &Collector) -> Result<Vec<FolderName>, SourceError> {
    let chosen = if folders::needs_list(collector) { folders::choose(collector, &session.folders().await?) } else { folders::as_named(collector) };
    Ok(chosen.folders.into_iter().map(|(name, _)| name).collect())
}

/// The messages of the open folder that have \Seen (IMAP). All are listed before those without it, so that one that arrives in between, which has
/// none, is not taken for one that was read.
async fn read(session: &mut dyn Session) -> Result<Vec<RemoteUid>, SourceError> {
    let all = present(session, None).await?;
    let listing = session.list(Want { unseen: true, ..everything(KnownUids::new()) }).await?;
    let unseen: UidSet = listing.messages.iter().filter_map(|message| message.uid.number()).collect();
    Ok(all.into_iter().filter(|uid| uid.number().is_some_and(|uid| !unseen.contains(uid))).collect())
}

async fn marks(
    session: &mut dyn Session,
    collector: &Collector,
    only: Option<&FolderName>,
    uids: &[RemoteUid],
    before: Option<i64>,
) -> Result<Result<Vec<Mark>, Exit>, SourceError> {
    let mut names = folder_names(session, collector).await?;
    names.retain(|name| only.is_none_or(|only| only == name));
    if names.is_empty() {
        eprintln!("error: the collector has no such folder\nhint: `folders` of the configuration says which are collected");
        return Ok(Err(Exit::NoInput));
    }
    if !uids.is_empty() && names.len() > 1 {
        eprintln!("error: each folder has UIDs of its own: say `--folder` too");
        return Ok(Err(Exit::Usage));
    }
    let mut marks = Vec::new();
    for folder in names {
        let selected = session.select(&folder).await?;
        let mut there = present(session, before).await?;
        if !uids.is_empty() {
            let wanted: HashSet<&RemoteUid> = uids.iter().collect();
            there.retain(|uid| wanted.contains(uid));
            if let Some(missing) = uids.iter().find(|uid| !there.contains(uid)) {
                eprintln!("error: no message with the UID `{missing}` is in `{folder}`");
                return Ok(Err(Exit::NoInput));
            }
        }
        marks.push(Mark { folder, epoch: selected.epoch, uids: there, whole: uids.is_empty() && before.is_none() });
    }
    Ok(Ok(marks))
}

/// The messages of the folder that is open, or those that arrived before this time. By IMAP that goes by the day, and a message of the border is
/// left out.
async fn present(session: &mut dyn Session, before: Option<i64>) -> Result<Vec<RemoteUid>, SourceError> {
    let listing = session.list(Want { since: before, ..everything(KnownUids::new()) }).await?;
    let listed = listing.messages.into_iter().map(|message| message.uid);
    match listing.present {
        Some(Present::Numbers(all)) => {
            let young: UidSet = if before.is_some() { listed.filter_map(|uid| uid.number()).collect() } else { UidSet::new() };
            Ok(all.iter().filter(|uid| !young.contains(*uid)).map(RemoteUid::Number).collect())
        }
        Some(Present::Met(_)) => {
            let there: Vec<RemoteUid> = if before.is_some() { listing.older } else { listed.collect() };
            // A name for this session only says nothing in the next one.
            let lasts = |uid: &RemoteUid| !matches!(uid, RemoteUid::Opaque(name) if name.first() == Some(&0)) || by_content::is_name(uid);
            Ok(there.into_iter().filter(lasts).collect())
        }
        None => Err(SourceError::new(SourceErrorKind::Protocol, "list", "", "the server does not say for sure what is there; nothing was marked")),
    }
}

/// A listing of all that is there, but for what is known.
fn everything(known: KnownUids) -> Want {
    Want { complete: true, known, ..Want::all() }
}
