//! Changes of the configuration on disk: which file holds a collector, what its text becomes, whether the whole configuration is right with it, and
//! the writing, which a crash at any moment leaves at the old text or the new one.

mod json;
mod versions;
mod write;

pub use versions::Versions;
pub use write::{WriteError, create_configuration, log_written};

use super::build::Part;
use super::edit::{self, Op, Refusal, Value};
use super::error::{Report, harmless};
use super::harmless::HARMLESS;
use super::load::{Environment, Loaded};
use super::mask::{names_a_secret, says_where};
use super::sources::{COLLECTORS, Sources};
use super::text::Text;
use super::yaml::{self, Value as Tree};
use crate::mail::CollectorId;
use edit::Data;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// First line of a file that is written new, for editors; the name is that of the schema where the package puts it.
pub const SCHEMA_LINE: &str = "# yaml-language-server: $schema=/usr/share/mailgather/mailgather.schema.json\n";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new collector, in a file of its own.
    Add {
        /// Its name.
        name: String,
        /// Its keys.
        keys: Vec<(Vec<String>, Value)>,
    },
    /// Other values for keys of a collector.
    Edit {
        /// Its name.
        name: String,
        /// What is done.
        ops: Vec<Op>,
    },
    /// One less.
    Remove {
        /// Its name.
        name: String,
    },
    /// Another name.
    Rename {
        /// The name that it has.
        name: String,
        /// The one that it gets.
        to: String,
    },
}

/// Why there is no change.
#[derive(Debug)]
pub enum EditError {
    /// Nobody has this name; those that there are.
    Unknown(String, Vec<String>),
    /// The name is taken, or none.
    Name(String),
    /// A secret would get into the file.
    Secret(String),
    /// What was asked for is no edit of ours.
    Request(String),
    /// The text cannot be edited with certainty. The patch, where there is one, is to be made by hand.
    Refused {
        /// The file.
        file: PathBuf,
        /// Why.
        refusal: Box<Refusal>,
        /// What to change by hand.
        patch: Option<String>,
    },
    /// The configuration would be wrong, or is and stays so.
    Wrong(Report),
}

/// A change that is right, and not written yet.
#[derive(Debug)]
pub struct Change {
    /// The file.
    pub file: PathBuf,
    /// What it holds; `None`: it is new.
    pub before: Option<String>,
    /// What it will hold; `None`: it goes.
    pub after: Option<String>,
    /// The name that it gets behind that.
    pub moved: Option<PathBuf>,
    /// The configuration with it.
    pub loaded: Box<Loaded>,
    /// Whose.
    pub collector: String,
    /// One word for what is done.
    pub word: &'static str,
}

/// A collector as it stands in its file.
#[derive(Debug)]
pub struct Own {
    /// The file.
    pub file: PathBuf,
    /// Its keys: secrets are among them.
    keys: BTreeMap<String, Data>,
    /// Another one when anything in the file changes.
    pub tag: String,
}

impl Own {
    /// As JSON, secrets hidden.
    pub fn json(&self) -> serde_json::Value {
        json::shown(&self.keys)
    }

    /// What makes these keys of it, and nothing else; a hidden secret that comes back stays as it is.
    pub fn to_become(&self, wanted: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<Op>, EditError> {
        json::replaced(&self.keys, wanted).map_err(|refusal| EditError::Request(refusal.why))
    }

    /// What a patch does (RFC 7396).
    pub fn to_patch(&self, patch: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<Op>, EditError> {
        json::patched(&self.keys, patch).map_err(|refusal| EditError::Request(refusal.why))
    }
}

/// The files of a configuration, read to be changed.
#[derive(Debug)]
pub struct Editor {
    sources: Sources,
    env: Environment,
}

impl Editor {
    /// Reads them. Blocks on the disk.
    pub fn open(path: &Path, env: &Environment) -> Result<Self, Report> {
        Ok(Editor { sources: Sources::read(path, env)?, env: env.clone() })
    }

    /// The configuration as it is.
    pub fn load(&self) -> Result<Loaded, Report> {
        self.sources.load(&self.env)
    }

    /// The collectors, each with its file and what that may hold.
    fn collectors(&self) -> Vec<(String, PathBuf, Part)> {
        let mut found = Vec::new();
        for (path, part) in self.sources.paths().into_iter().zip(self.sources.parts()) {
            let Some((text, _)) = self.sources.file(&path) else { continue };
            let text = Text::new(&path, text);
            let Some(yaml::Node { value: Tree::Map(entries), .. }) = yaml::parse(&text, 0, &mut Vec::new()) else { continue };
            for entry in entries.iter().filter(|entry| entry.key == "collectors") {
                if let Tree::Map(collectors) = &entry.value.value {
                    found.extend(collectors.iter().map(|collector| (collector.key.clone(), path.clone(), part)));
                }
            }
        }
        found
    }

    /// The file that holds a collector.
    pub fn file_of(&self, name: &str) -> Option<PathBuf> {
        self.collectors().into_iter().find(|(known, ..)| known == name).map(|(_, path, _)| path)
    }

    /// A collector as it stands in its file.
    pub fn own(&self, name: &str) -> Result<Own, EditError> {
        let Some(file) = self.file_of(name) else {
            self.load().map_err(EditError::Wrong)?;
            return Err(EditError::Unknown(name.to_owned(), self.collectors().into_iter().map(|(name, ..)| name).collect()));
        };
        let text = self.sources.file(&file).map(|(text, _)| text).unwrap_or_default();
        let keys = edit::keys(text, name);
        let keys = keys.map_err(|refusal| EditError::Refused { file: file.clone(), refusal: Box::new(refusal), patch: None })?;
        Ok(Own { tag: tag_of(text), file, keys })
    }

    /// What a request makes of the files, if the whole configuration is right with it.
    pub fn change(&self, request: &Request) -> Result<Change, EditError> {
        match request {
            Request::Add { name, keys } => self.add(name, keys),
            Request::Edit { name, ops } => {
                for op in ops {
                    if let Op::Set(path, value) = op {
                        check_secret(path, value)?;
                    }
                }
                if ops.is_empty() {
                    return Err(EditError::Request("nothing is to be changed: `--set KEY=VALUE` or `--unset KEY`".to_owned()));
                }
                self.edit(name, ops, "edit")
            }
            Request::Remove { name } => self.edit(name, &[Op::Remove], "remove"),
            Request::Rename { name, to } => {
                self.free(to)?;
                self.edit(name, &[Op::Rename(to.clone())], "rename")
            }
        }
    }

    /// A name that a collector may get.
    fn free(&self, name: &str) -> Result<(), EditError> {
        if CollectorId::new(name).is_none() {
            let shown = harmless(name);
            return Err(EditError::Name(format!("`{shown}` is no name for a collector: letters, digits, `_` and `-`, at most 64")));
        }
        match self.file_of(name) {
            Some(file) => Err(EditError::Name(format!("there is a collector `{name}` already, in {}", file.display()))),
            None => Ok(()),
        }
    }

    fn add(&self, name: &str, keys: &[(Vec<String>, Value)]) -> Result<Change, EditError> {
        self.free(name)?;
        for (path, value) in keys {
            check_secret(path, value)?;
        }
        // Where programs write is in the state directory, which the configuration names.
        let state_dir = self.load().map_err(EditError::Wrong)?.config.service.state_dir;
        let file = state_dir.join(COLLECTORS).join(format!("{name}.yaml"));
        if file.symlink_metadata().is_ok() {
            return Err(EditError::Name(format!("{} is there already, and holds no collector of this name", file.display())));
        }
        let keys: Vec<(Vec<String>, Value)> = keys
            .iter()
            .map(|(path, value)| (["collectors", name].iter().map(|step| (*step).to_owned()).chain(path.iter().cloned()).collect(), value.clone()))
            .collect();
        let block = edit::block(&edit::apart(keys), "", "\n").map_err(|refusal| EditError::Request(refusal.why))?;
        if block.is_empty() {
            return Err(EditError::Request("a collector has keys: `--set email=… --set recipient.forward_to=…`".to_owned()));
        }
        let text = format!("{SCHEMA_LINE}{block}");
        let loaded = self.sources.with(&file, Some(&text), Part::Collectors).load(&self.env).map_err(EditError::Wrong)?;
        Ok(Change { file, before: None, after: Some(text), moved: None, loaded: Box::new(loaded), collector: name.to_owned(), word: "add" })
    }

    fn edit(&self, name: &str, ops: &[Op], word: &'static str) -> Result<Change, EditError> {
        let all = self.collectors();
        let Some((_, file, part)) = all.iter().find(|(known, ..)| known == name) else {
            // Of a file that is no YAML nobody knows what it holds.
            self.load().map_err(EditError::Wrong)?;
            return Err(EditError::Unknown(name.to_owned(), all.into_iter().map(|(name, ..)| name).collect()));
        };
        let Some((before, _)) = self.sources.file(file) else { return Err(EditError::Unknown(name.to_owned(), Vec::new())) };
        let alone = *part == Part::Collectors && all.iter().filter(|(_, path, _)| path == file).count() == 1;
        // A file that a program wrote for this collector alone goes with it.
        let after = if alone && word == "remove" {
            None
        } else {
            Some(edit::edit(before, name, ops).map_err(|refusal| EditError::Refused {
                file: file.clone(),
                patch: refusal.proposal.as_ref().map(|proposal| patch(file, Some(before), Some(proposal))),
                refusal: Box::new(refusal),
            })?)
        };
        let moved = match ops {
            [Op::Rename(to)] if alone && file.file_stem().is_some_and(|stem| stem == name) => {
                Some(file.with_file_name(format!("{to}.yaml"))).filter(|to| to.symlink_metadata().is_err())
            }
            _ => None,
        };
        let loaded = self.sources.with(file, after.as_deref(), *part).load(&self.env).map_err(EditError::Wrong)?;
        let collector = match ops {
            [Op::Rename(to)] => to.clone(),
            _ => name.to_owned(),
        };
        Ok(Change { file: file.clone(), before: Some(before.to_owned()), after, moved, loaded: Box::new(loaded), collector, word })
    }
}

/// The tag of a text: another one for any other text.
pub fn tag_of(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..16].iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Change {
    /// What changes, line by line, secrets hidden.
    pub fn patch(&self) -> String {
        let mut text = patch(&self.file, self.before.as_deref(), self.after.as_deref());
        if let Some(moved) = &self.moved {
            text += &format!("rename {} to {}\n", self.file.display(), moved.display());
        }
        text
    }

    /// True if nothing changes.
    pub fn is_nothing(&self) -> bool {
        self.before == self.after && self.moved.is_none()
    }
}

/// A patch of one file, secrets hidden.
fn patch(file: &Path, before: Option<&str>, after: Option<&str>) -> String {
    let name = harmless(&file.to_string_lossy());
    let (old, new) = (before.unwrap_or_default(), after.unwrap_or_default());
    let (old_shown, new_shown) = (edit::shown_lines(old), edit::shown_lines(new));
    let line = |lines: &[String], n: usize| harmless(lines.get(n).map_or("", String::as_str));
    let absent = |text: Option<&str>| if text.is_none() { "/dev/null".to_owned() } else { name.clone() };
    edit::unified((&absent(before), &absent(after)), &edit::diff(old, new), &|n| line(&old_shown, n), &|n| line(&new_shown, n))
}

/// A secret belongs neither on a command line nor into the YAML: only where it is may be written.
fn check_secret(path: &[String], value: &Value) -> Result<(), EditError> {
    secret_within(path, value).map_or(Ok(()), |key| Err(EditError::Secret(key)))
}

/// The key whose secret a value holds, if it holds one and does not only say where it is.
pub fn secret_within(path: &[String], value: &Value) -> Option<String> {
    fn inside<'d>(key: &'d str, data: &'d Data) -> Option<&'d str> {
        let is_secret = names_a_secret(key) && !HARMLESS.contains(&key);
        match data {
            Data::Map(entries) if is_secret && entries.keys().all(|key| says_where(key) || key == "command") => None,
            Data::Map(_) | Data::Scalar(..) | Data::List(_) if is_secret => Some(key),
            Data::Map(entries) => entries.iter().find_map(|(key, data)| inside(key, data)),
            Data::List(items) => items.iter().find_map(|data| inside(key, data)),
            Data::Scalar(..) | Data::Empty | Data::Alias => None,
        }
    }
    inside(path.last()?, value.data()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FILE: &str = "delivery: {smtp: h}\ncollectors:\n  a:\n    email: a@x.example\n    server: x.example\n    password: {env: P}\n    recipient: {forward_to: b@y.example}\n";

    fn place() -> (tempfile::TempDir, PathBuf, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.yaml");
        std::fs::write(&file, FILE).unwrap();
        let env = Environment { state_dir: Some(folder.path().join("state")), ..Environment::default() };
        (folder, file, env)
    }

    fn set(key: &str, value: &str) -> Request {
        Request::Edit { name: "a".to_owned(), ops: vec![Op::Set(edit::path(key).unwrap(), Value::parse(value).unwrap())] }
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone() {
        let (folder, file, env) = place();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o604)).unwrap();
        let (one, two) = (Editor::open(&file, &env).unwrap(), Editor::open(&file, &env).unwrap());
        let (first, second) = (one.change(&set("port", "1993")).unwrap(), two.change(&set("port", "2993")).unwrap());
        first.write().unwrap();
        assert!(matches!(second.write(), Err(WriteError::Changed(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{FILE}    port: 1993\n"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o604);
        // Nothing is left beside it; what it held is kept.
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = std::fs::read_dir(Versions::of(&folder.path().join("state")).folder(&file)).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_to_string(kept).unwrap(), FILE);
    }

    #[test]
    fn secrets_and_wrong_results_are_refused() {
        let (_folder, file, env) = place();
        let editor = Editor::open(&file, &env).unwrap();
        for (key, value) in [("password", "hunter2"), ("auth.token", "[a]"), ("auth", "{token: x}"), ("delivery.auth", "{password: x, username: y}")]
        {
            assert!(matches!(editor.change(&set(key, value)), Err(EditError::Secret(_))), "{key}");
        }
        assert!(editor.change(&set("password", "{credential: x}")).is_ok());
        assert!(editor.change(&set("delivery", "{max_passes: 5}")).is_ok(), "`max_passes` is no secret");
        assert!(matches!(editor.change(&set("port", "many")), Err(EditError::Wrong(_))));
        assert!(matches!(editor.change(&set("recipient.forward_to", "c@y.example")), Err(EditError::Refused { .. })));
        let added = Request::Add {
            name: "b".to_owned(),
            keys: edit::values(&file, "email: b@x.example\nserver: x.example\npassword: {env: P}\nrecipient: {forward_to: b@y.example}\n")
                .unwrap()
                .into_iter()
                .map(|(key, value)| (vec![key], value))
                .collect(),
        };
        let added = editor.change(&added).unwrap();
        assert!(added.after.as_ref().unwrap().contains("    recipient:\n      forward_to: b@y.example\n"), "{added:?}");
    }
}
