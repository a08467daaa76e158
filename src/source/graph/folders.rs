//! Folders: by path, `/` between the levels, the inbox as INBOX. A name is text from outside: it is bounded, and never becomes a path of ours.

use super::super::{RemoteFolder, SourceError, SourceErrorKind};
use super::client::Ask;
use super::refusal;
use super::session::GraphSession;
use crate::mail::FolderName;
use crate::mail::outcome::harmless;
use crate::proto::graph::{self, Meaning, Problem, RemoteMailFolder, WELL_KNOWN};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use std::collections::{HashMap, HashSet};

/// Most folders that a mailbox may have; what is beyond them is left out and reported.
const FOLDERS_MAX: usize = 10_000;
/// Most levels.
const DEPTH_MAX: usize = 100;
/// Most pages of the folders in one folder.
const PAGES_MAX: usize = 100;
/// Longest name in the log.
const LOGGED_OCTETS_MAX: usize = 100;

/// The folders that are known by name.
#[derive(Default)]
pub(super) struct Directory {
    ids: HashMap<FolderName, String>,
}

impl GraphSession {
    /// The folder with this name.
    pub(super) async fn open_folder(&mut self, name: &FolderName) -> Result<RemoteMailFolder, SourceError> {
        let found = self.find(name).await?;
        found.ok_or_else(|| {
            let text = format!("there is no folder `{}`", harmless(name.as_str(), LOGGED_OCTETS_MAX));
            self.client.error(SourceErrorKind::Mailbox, "select", text).hint("`mailgather test` shows the folders that are there")
        })
    }

    /// All folders.
    pub(super) async fn list_folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        let special = self.well_known().await?;
        let mut folders = Vec::new();
        let (mut names, mut ids) = (HashSet::new(), HashMap::new());
        let (mut unreadable, mut too_many, mut example) = (0, 0, String::new());
        // Level by level: folder, and the path before its name.
        let mut level: Vec<(Option<String>, String)> = vec![(None, String::new())];
        for _ in 0..DEPTH_MAX {
            let this = &*self;
            let one = |(parent, path): (Option<String>, String)| -> BoxFuture<'_, Result<_, SourceError>> {
                async move { this.children(parent.as_deref(), None).await.map(|(folders, left_out)| (path, folders, left_out)) }.boxed()
            };
            let answers: Vec<_> = stream::iter(std::mem::take(&mut level)).map(one).buffered(self.client.shared.at_once).try_collect().await?;
            for (path, children, left_out) in answers {
                unreadable += left_out;
                for folder in children {
                    let is_inbox = special.get("inbox") == Some(&folder.id);
                    let name = if is_inbox { "INBOX".to_owned() } else { format!("{path}{}", folder.name) };
                    if !is_inbox && (name.eq_ignore_ascii_case("INBOX") || names.contains(&name)) {
                        // What SELECT would open is another one.
                        (unreadable, example) = (unreadable + 1, harmless(&name, LOGGED_OCTETS_MAX));
                        continue;
                    }
                    if folders.len() == FOLDERS_MAX {
                        too_many += 1;
                        continue;
                    }
                    names.insert(name.clone());
                    if folder.children > 0 {
                        level.push((Some(folder.id.clone()), format!("{name}/")));
                    }
                    let attributes = WELL_KNOWN.iter().filter(|(known, _)| special.get(known) == Some(&folder.id));
                    let attributes = attributes.filter_map(|(_, attribute)| attribute.map(str::to_owned)).collect();
                    let name = FolderName::new(&name);
                    ids.insert(name.clone(), folder.id);
                    folders.push(RemoteFolder { name, attributes, separator: Some('/') });
                }
            }
            if level.is_empty() {
                break;
            }
        }
        too_many += level.len();
        if unreadable + too_many > 0 {
            let shared = &self.client.shared;
            tracing::warn!(event = "folders_left_out", collector = %shared.collector, server = shared.peer, unreadable, too_many, example, limit = FOLDERS_MAX);
        }
        self.directory.ids = ids;
        Ok(folders)
    }

    /// The id of the folder that mail is moved to; it is made if it is not there.
    pub(super) async fn destination(&mut self, name: &FolderName) -> Result<String, SourceError> {
        if let Some(id) = self.directory.ids.get(name) {
            return Ok(id.clone());
        }
        let id = match self.find(name).await? {
            Some(folder) => folder.id,
            None => self.make(name).await?,
        };
        self.directory.ids.insert(name.clone(), id.clone());
        Ok(id)
    }

    /// What was known of this folder is wrong.
    pub(super) fn forget(&mut self, name: &FolderName) {
        self.directory.ids.remove(name);
    }

    async fn find(&mut self, name: &FolderName) -> Result<Option<RemoteMailFolder>, SourceError> {
        if let Some(id) = self.directory.ids.get(name).cloned() {
            return self.by_id(&id).await;
        }
        let mut parts = name.as_str().split('/');
        let first = parts.next().unwrap_or_default();
        let mut found = match first {
            inbox if inbox.eq_ignore_ascii_case("INBOX") => self.by_id("inbox").await?,
            name => self.child(None, name).await?,
        };
        for part in parts {
            let Some(parent) = found else { break };
            found = self.child(Some(&parent.id), part).await?;
        }
        if found.is_some() || !name.as_str().contains('/') {
            return Ok(found);
        }
        // A folder's own name may hold what stands between the levels.
        self.list_folders().await?;
        match self.directory.ids.get(name).cloned() {
            Some(id) => self.by_id(&id).await,
            None => Ok(None),
        }
    }

    async fn by_id(&self, id: &str) -> Result<Option<RemoteMailFolder>, SourceError> {
        self.folder_of(self.client.document("folders", &Ask::get(self.client.shared.place.folder(id))).await?)
    }

    /// The folder that an answer tells of, or `None` if it says that there is none.
    fn folder_of(&self, answer: Result<Vec<u8>, Problem>) -> Result<Option<RemoteMailFolder>, SourceError> {
        match answer {
            Ok(body) => Ok(Some(graph::folder(&body).map_err(|error| self.unreadable(&error))?)),
            Err(problem) if problem.meaning() == Meaning::NotFound => Ok(None),
            Err(problem) => Err(self.refused(&problem)),
        }
    }

    /// The folder of this name in a folder. The server compares names without case; one that is the same to the letter comes first.
    async fn child(&self, parent: Option<&str>, name: &str) -> Result<Option<RemoteMailFolder>, SourceError> {
        if name.is_empty() {
            return Ok(None);
        }
        let (folders, _) = self.children(parent, Some(name)).await?;
        let same = folders.iter().position(|folder| folder.name == name);
        let alike = || folders.iter().position(|folder| folder.name.to_lowercase() == name.to_lowercase());
        Ok(same.or_else(alike).map(|at| folders[at].clone()))
    }

    /// The folders in a folder, and how many have no name that can be used.
    async fn children(&self, parent: Option<&str>, name: Option<&str>) -> Result<(Vec<RemoteMailFolder>, usize), SourceError> {
        let shared = &self.client.shared;
        let (mut all, mut left_out) = (Vec::new(), 0);
        let mut target = shared.place.folders(parent, name);
        for _ in 0..PAGES_MAX {
            let body = match self.client.document("folders", &Ask::get(target)).await? {
                Ok(body) => body,
                // It went away while we looked.
                Err(problem) if parent.is_some() && problem.meaning() == Meaning::NotFound => break,
                Err(problem) => return Err(self.refused(&problem)),
            };
            let page = graph::folder_page(&body, &shared.origin).map_err(|error| self.unreadable(&error))?;
            all.extend(page.folders);
            left_out += page.unreadable;
            match page.next {
                Some(next) if all.len() <= FOLDERS_MAX => target = next.target().to_owned(),
                _ => break,
            }
        }
        Ok((all, left_out))
    }

    /// The ids of the folders that every mailbox has, as far as this one has them.
    async fn well_known(&self) -> Result<HashMap<&'static str, String>, SourceError> {
        let asks = WELL_KNOWN.map(|(known, _)| Ask::get(self.client.shared.place.folder(known))).into();
        let mut found = HashMap::new();
        for ((known, _), answer) in WELL_KNOWN.into_iter().zip(self.client.documents("folders", asks).await?) {
            if let Some(folder) = self.folder_of(answer)? {
                found.insert(known, folder.id);
            }
        }
        Ok(found)
    }

    /// Makes a folder, and those above it that are missing.
    async fn make(&self, name: &FolderName) -> Result<String, SourceError> {
        let shared = &self.client.shared;
        let mut parent: Option<String> = None;
        for (n, part) in name.as_str().split('/').enumerate() {
            if n == 0 && part.eq_ignore_ascii_case("INBOX") {
                parent = self.by_id("inbox").await?.map(|inbox| inbox.id);
                continue;
            }
            let there = self.child(parent.as_deref(), part).await?;
            let folder = match there {
                Some(folder) => folder,
                None => {
                    let ask = Ask::post(shared.place.children(parent.as_deref()), graph::named(part));
                    let made = self.client.document("dispose", &ask).await?;
                    let shown = harmless(name.as_str(), LOGGED_OCTETS_MAX);
                    tracing::info!(event = "folder_created", collector = %shared.collector, server = shared.peer, folder = shown, ok = made.is_ok());
                    match made {
                        Ok(body) => graph::folder(&body).map_err(|error| self.unreadable(&error))?,
                        // Somebody else may have made it meanwhile.
                        Err(problem) => match self.child(parent.as_deref(), part).await? {
                            Some(folder) => folder,
                            None => return Err(refusal::error(shared, "dispose", &problem)),
                        },
                    }
                }
            };
            parent = Some(folder.id);
        }
        parent.ok_or_else(|| self.client.error(SourceErrorKind::Mailbox, "dispose", "the folder that mail is moved to has no name"))
    }

    fn refused(&self, problem: &Problem) -> SourceError {
        refusal::error(&self.client.shared, "folders", problem)
    }

    fn unreadable(&self, error: &graph::UnreadablePage) -> SourceError {
        self.client.error(SourceErrorKind::Protocol, "folders", error.to_string())
    }
}
