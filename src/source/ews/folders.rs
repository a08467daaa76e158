//! The folders of a mailbox: Exchange has ids and parents, and we have paths.

use super::session::EwsSession;
use crate::mail::FolderName;
use crate::proto::ews::{Event, FolderInfo, FolderRef, Page};
use crate::source::{RemoteFolder, SourceError, SourceErrorKind};
use std::collections::HashMap;

/// Folders of one page.
const PAGE: usize = 500;
/// Most folders of a mailbox.
const FOLDERS_MAX: usize = 20_000;
/// Deepest folder; a ring of parents would be deeper.
const DEPTH_MAX: usize = 64;
/// What stands between the levels of names.
const SEPARATOR: char = '/';

/// Folders that each mailbox has, whatever they are called in its language, and what RFC 6154 calls them. The first two are the root and INBOX.
const WELL_KNOWN: [(&str, &str); 6] =
    [("msgfolderroot", ""), ("inbox", ""), ("junkemail", "\\Junk"), ("deleteditems", "\\Trash"), ("sentitems", "\\Sent"), ("drafts", "\\Drafts")];
/// Others that an operator can name by what Exchange calls them, where no folder has the name.
const OTHERS: [&str; 4] = ["outbox", "recoverableitemsdeletions", "archivemsgfolderroot", "archiveinbox"];

/// A folder, with its path.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: FolderName,
    pub(super) id: String,
    attribute: &'static str,
}

impl EwsSession {
    /// All folders that can have mail in them.
    pub(super) async fn known_folders(&mut self) -> Result<&[Known], SourceError> {
        if self.folders.is_none() {
            let wire = &mut self.wire;
            let names: Vec<FolderRef> = WELL_KNOWN.iter().map(|(name, _)| FolderRef::WellKnown((*name).to_owned())).collect();
            // Some may be missing: each answer stands where its name stands. The root must be there.
            let mut well_known: Vec<Option<FolderInfo>> = Vec::new();
            let request = wire.requests.get_folders(&names);
            let refused = wire
                .read(request, |event| match event {
                    Event::Begins => well_known.push(None),
                    Event::Folder(folder) => {
                        if let Some(last) = well_known.last_mut() {
                            *last = Some(folder);
                        }
                    }
                    _ => {}
                })
                .await?;
            let Some(root) = well_known.first().cloned().flatten() else {
                return Err(refused.map_or_else(
                    || wire.error(SourceErrorKind::Protocol, "the server's answer has no folder in it"),
                    |outcome| wire.refused(&outcome),
                ));
            };
            let mut all = Vec::new();
            let below = FolderRef::Id(root.id.clone());
            let mut offset = 0;
            loop {
                let (before, mut page) = (all.len(), None::<Page>);
                let request = wire.requests.find_folders(&below, offset, PAGE);
                wire.read_all(request, |event| match event {
                    Event::Folder(folder) => all.push(folder),
                    Event::Page(read) => page = Some(read),
                    _ => {}
                })
                .await?;
                let Some(page) = page else {
                    return Err(wire.error(SourceErrorKind::Protocol, "the server's answer has no list of folders in it"));
                };
                if page.is_last || all.len() >= FOLDERS_MAX {
                    break;
                }
                let next = page.next.unwrap_or(offset + (all.len() - before) as u64);
                if next <= offset {
                    return Err(wire.error(SourceErrorKind::Protocol, "the server's list of folders has no end"));
                }
                offset = next;
            }
            self.folders = Some(paths(&root.id, &all, &well_known));
        }
        Ok(self.folders.as_deref().unwrap_or_default())
    }

    /// The folder of this name: a path, INBOX, or what Exchange calls it.
    pub(super) async fn resolve(&mut self, name: &FolderName) -> Result<FolderRef, SourceError> {
        if *name == FolderName::inbox() {
            return Ok(FolderRef::WellKnown("inbox".to_owned()));
        }
        if let Some(known) = self.known_folders().await?.iter().find(|known| known.name == *name) {
            return Ok(FolderRef::Id(known.id.clone()));
        }
        let word = name.as_str().to_ascii_lowercase();
        if WELL_KNOWN.iter().map(|(name, _)| *name).chain(OTHERS).any(|known| known == word) {
            return Ok(FolderRef::WellKnown(word));
        }
        let text = format!("the mailbox has no folder `{}`", name.as_str());
        Err(self.wire.error(SourceErrorKind::Mailbox, text).hint("`mailgather test NAME` shows those that there are"))
    }

    pub(super) async fn list_folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        let known = self.known_folders().await?;
        Ok(known
            .iter()
            .map(|folder| RemoteFolder {
                name: folder.name.clone(),
                attributes: if folder.attribute.is_empty() { Vec::new() } else { vec![folder.attribute.to_owned()] },
                separator: Some(SEPARATOR),
            })
            .collect())
    }
}

/// Names and parents, made into paths.
fn paths(root: &str, all: &[FolderInfo], well_known: &[Option<FolderInfo>]) -> Vec<Known> {
    let by_id: HashMap<&str, &FolderInfo> = all.iter().map(|folder| (folder.id.as_str(), folder)).collect();
    let special: HashMap<&str, (&str, &'static str)> = WELL_KNOWN
        .iter()
        .zip(well_known)
        .filter_map(|((name, attribute), folder)| folder.as_ref().map(|folder| (folder.id.as_str(), (*name, *attribute))))
        .collect();
    let is_inbox = |folder: &FolderInfo| special.get(folder.id.as_str()).is_some_and(|(name, _)| *name == "inbox");
    // Mail stands in folders of IPF.Note and its kinds; some have no class at all.
    let has_mail = |folder: &&FolderInfo| folder.class.is_empty() || folder.class == "IPF.Note" || folder.class.starts_with("IPF.Note.");
    let mut known: Vec<Known> = all
        .iter()
        .filter(has_mail)
        .filter_map(|folder| {
            let (mut names, mut at) = (Vec::new(), folder);
            loop {
                if is_inbox(at) {
                    names.push("INBOX");
                    break;
                }
                names.push(&at.name);
                if at.parent == root {
                    break;
                }
                at = by_id.get(at.parent.as_str()).filter(|_| names.len() < DEPTH_MAX)?;
            }
            names.reverse();
            let attribute = special.get(folder.id.as_str()).map_or("", |(_, attribute)| *attribute);
            let name = FolderName::new(&names.join(&SEPARATOR.to_string()));
            Some(Known { name, id: folder.id.clone(), attribute })
        })
        .collect();
    known.sort_by_key(|folder| folder.name != FolderName::inbox());
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_parents_become_paths() {
        let folder = |id: &str, parent: &str, name: &str, class: &str| FolderInfo {
            id: id.into(),
            parent: parent.into(),
            name: name.into(),
            class: class.into(),
            ..FolderInfo::default()
        };
        let all = [
            folder("L", "R", "Lists", "IPF.Note"),
            folder("LR", "L", "Rust", "IPF.Note"),
            folder("I", "R", "Posteingang", "IPF.Note"),
            folder("IS", "I", "Sub", ""),
            folder("J", "R", "Junk-E-Mail", "IPF.Note"),
            folder("C", "R", "Kalender", "IPF.Appointment"),
            folder("X", "Y", "Lost", "IPF.Note"),
            // A ring.
            folder("A", "B", "a", "IPF.Note"),
            folder("B", "A", "b", "IPF.Note"),
        ];
        let of = |id: &str| Some(FolderInfo { id: id.into(), ..FolderInfo::default() });
        let known = paths("R", &all, &[of("R"), of("I"), of("J"), None, None, None]);
        let told: Vec<String> = known.iter().map(|known| format!("{} {}", known.name.as_str(), known.attribute)).collect();
        assert_eq!(told, ["INBOX ", "Lists ", "Lists/Rust ", "INBOX/Sub ", "Junk-E-Mail \\Junk"]);
    }
}
