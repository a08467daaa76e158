//! The files of a configuration: the one that is named, what it includes, `conf.d` beside it, and `collectors.d` in the state directory.
//!
//! Each list is taken in the order of names. A file that two lists name is read once.

use super::build::{First, Part, first};
use super::error::{Code, Problem, Report};
use super::load::Environment;
use super::text::{Span, Text};
use super::yaml::{Entry, Node, Value};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest file that is read: twenty thousand collectors fit.
pub const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;
/// Most files: one for each collector.
pub const FILES_MAX: usize = 20_000;
/// Octets of all files together.
pub const ALL_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// The folder beside the main file whose files are always read.
const BESIDE: &str = "conf.d";
/// The folder in the state directory for collectors that programs write.
pub const COLLECTORS: &str = "collectors.d";

/// What was read.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<Source>,
    /// Files that could not be read.
    pub(super) problems: Vec<Problem>,
    folders: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    text: String,
    mode: Option<u32>,
    part: Part,
}

impl Sources {
    /// Reads all files. Blocks on the disk.
    ///
    /// # Errors
    /// If there is no main file to begin with; what is wrong with another one is said when they are loaded.
    pub fn read(path: &Path, env: &Environment) -> Result<Self, Report> {
        let main = read(path, Part::Main).map_err(|problem| Report { errors: vec![problem], warnings: Vec::new() })?;
        let mut sources = Sources { files: vec![main], problems: Vec::new(), folders: folders_of(path) };
        let (listed, problems) = sources.named(path, env);
        sources.problems = problems;
        let mut seen: HashSet<PathBuf> = path.canonicalize().into_iter().collect();
        let mut octets = sources.files[0].text.len() as u64;
        for (path, part) in listed {
            if path.canonicalize().is_ok_and(|whole| !seen.insert(whole)) {
                continue;
            }
            sources.folders.extend(folders_of(&path));
            match read(&path, part) {
                Ok(file) => {
                    octets += file.text.len() as u64;
                    sources.files.push(file);
                }
                Err(problem) => sources.problems.push(problem),
            }
            if sources.files.len() > FILES_MAX || octets > ALL_OCTETS_MAX {
                let limit = format!("{FILES_MAX} files or {} MiB", ALL_OCTETS_MAX >> 20);
                sources.problems.push(Problem::error(Code::Unreadable, format!("the configuration has more than {limit}")));
                break;
            }
        }
        sources.folders.sort();
        sources.folders.dedup();
        Ok(sources)
    }

    /// A text that came from nowhere; its path is for messages.
    pub(super) fn of_text(text: &str, path: &Path, env: &Environment) -> Self {
        let file = Source { path: path.to_owned(), text: text.to_owned(), mode: env.file_mode, part: Part::Main };
        Sources { files: vec![file], problems: Vec::new(), folders: Vec::new() }
    }

    /// All texts as one.
    pub(super) fn text(&self) -> Text<'_> {
        let mut text = Text::default();
        self.files.iter().for_each(|file| text.push(&file.path, &file.text, file.mode));
        text
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        self.files.iter().map(|file| file.part).collect()
    }

    /// The file with this path, and what it may hold.
    pub(super) fn file(&self, path: &Path) -> Option<(&str, Part)> {
        self.files.iter().find(|file| file.path == path).map(|file| (file.text.as_str(), file.part))
    }

    /// The same with another text in a file, with a further file, or with `None` without it.
    pub(super) fn with(&self, path: &Path, text: Option<&str>, part: Part) -> Self {
        let mut sources = self.clone();
        let at = sources.files.iter().position(|file| file.path == path);
        match (at, text) {
            (Some(at), Some(text)) => sources.files[at].text = text.to_owned(),
            (Some(at), None) => drop(sources.files.remove(at)),
            // As it is written: nobody but its owner and group may read it.
            (None, Some(text)) => sources.files.push(Source { path: path.to_owned(), text: text.to_owned(), mode: Some(0o640), part }),
            (None, None) => {}
        }
        sources
    }

    /// The files, the main one first.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    /// The folders in which a change may be one of the configuration.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.folders.clone()
    }

    /// SHA-256 of names and contents.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for file in &self.files {
            let path = file.path.as_os_str().as_encoded_bytes();
            for part in [path, file.text.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        // A file that cannot be read is another configuration than one that is not there.
        self.problems.iter().for_each(|problem| hash.update(problem.to_string()));
        hash.finalize().into()
    }

    /// The files that belong to the main one, in their order.
    fn named(&mut self, main: &Path, env: &Environment) -> (Vec<(PathBuf, Part)>, Vec<Problem>) {
        let base = main.parent().unwrap_or(Path::new(""));
        let (mut listed, mut problems) = (Vec::new(), Vec::new());
        let text = Text::new(main, &self.files[0].text);
        let (root, _): First = first(&text);
        let top = match &root {
            Some(root) => entries(&root.value),
            None => &[],
        };
        let mut folders = vec![(base.join(BESIDE), Part::Beside)];
        for (pattern, span) in top.iter().find(|entry| entry.key == "include").map(words).unwrap_or_default() {
            match included(base, pattern) {
                Ok((files, folder)) => {
                    listed.extend(files.into_iter().map(|file| (file, Part::Beside)));
                    self.folders.push(folder);
                }
                Err(error) => problems.push(text.error(Code::NoSuchFile, span, format!("`include`: {error}"))),
            }
        }
        let state_dir = env.state_dir.clone().or_else(|| {
            let service = top.iter().find(|entry| entry.key == "service")?;
            let entry = entries(&service.value.value).iter().find(|entry| entry.key == "state_dir")?;
            words(entry).first().map(|(dir, _)| base.join(dir))
        });
        let state_dir = state_dir.unwrap_or_else(|| env.state_dir_without_file());
        folders.push((state_dir.join(COLLECTORS), Part::Collectors));
        for (folder, part) in folders {
            match yaml_files(&folder) {
                Ok(files) => {
                    listed.extend(files.into_iter().map(|file| (file, part)));
                    self.folders.push(folder);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => problems.push(Problem::error(Code::Unreadable, format!("{}: {error}", folder.display()))),
            }
        }
        (listed, problems)
    }
}

fn entries(value: &Value) -> &[Entry] {
    match value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

/// The word of an entry, or those of its list; what is none of both, its reader reports.
fn words(entry: &Entry) -> Vec<(&str, Span)> {
    let nodes = match &entry.value.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![&entry.value],
    };
    nodes
        .into_iter()
        .filter_map(|node: &Node| match &node.value {
            Value::Scalar { text, .. } => Some((text.as_str(), node.span)),
            _ => None,
        })
        .collect()
}

/// The files that a pattern names, in the order of their names, and their folder. A `*` may stand in the last part of the path.
fn included(base: &Path, pattern: &str) -> Result<(Vec<PathBuf>, PathBuf), String> {
    let path = base.join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(format!("{pattern} is no file"));
    };
    if folder.to_string_lossy().contains('*') {
        return Err("a `*` may stand in the last part of the path only".to_owned());
    }
    if !name.contains('*') {
        return if path.is_file() { Ok((vec![path.clone()], folder.to_owned())) } else { Err(format!("{}: no such file", path.display())) };
    }
    let found = names(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = found.into_iter().filter(|file| !file.starts_with('.') && fits(name, file)).map(|file| folder.join(file));
    Ok((files.collect(), folder.to_owned()))
}

/// The YAML files of a folder; what editors leave beside them is none.
fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_one = |name: &String| !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
    Ok(names(folder)?.into_iter().filter(is_one).map(|name| folder.join(name)).collect())
}

fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a name fits a pattern in which each `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let [start, middle @ .., end] = parts.as_slice() else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// The folder of a path, and that of the file it leads to: a Kubernetes ConfigMap swaps a symbolic link.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => PathBuf::from("/"),
    };
    let mut folders = vec![parent(file)];
    folders.extend(file.canonicalize().ok().map(|target| parent(&target)));
    folders.dedup();
    folders
}

fn read(path: &Path, part: Part) -> Result<Source, Problem> {
    let name = path.display();
    let fail = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound if part == Part::Main => {
            Problem::error(Code::NoSuchFile, format!("{name}: no such file")).hint("`--config FILE` names another one")
        }
        _ => Problem::error(Code::Unreadable, format!("{name}: {error}")),
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(Problem::error(Code::Unreadable, format!("{name} is a folder")));
    }
    let mut octets = Vec::new();
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets).map_err(fail)?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Err(Problem::error(Code::Unreadable, format!("{name} is larger than {} MiB", FILE_OCTETS_MAX >> 20)));
    }
    let text = String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() + 1;
        Problem::error(Code::Syntax, format!("{name}: line {line} is not UTF-8")).hint("save the file as UTF-8")
    })?;
    Ok(Source { path: path.to_owned(), text, mode: Some(meta.permissions().mode()), part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, wanted) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
