//! The door to the configuration: its files to a [`Config`], or to a report of everything that is wrong with it.

use super::build::origin::Said;
use super::build::{Broken, Built, Part, build, first};
use super::error::{Problem, Report};
use super::outside::Outside;
use super::sources::Sources;
use super::text::{Span, Text};
use super::{Config, outside};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the state is for root, where nobody says otherwise.
pub const STATE_DIR_OF_ROOT: &str = "/var/lib/mailgather";

/// What the configuration takes from around it, so that reading it is a function of its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `--state-dir`: wins over the file.
    pub state_dir: Option<PathBuf>,
    /// The variables that defaults depend on.
    pub variables: BTreeMap<String, String>,
    /// The user that runs this.
    pub uid: u32,
    /// The permissions of a text that is read with [`parse`]; a file has its own.
    pub file_mode: Option<u32>,
}

impl Environment {
    /// That of this process.
    pub fn of_process(state_dir: Option<PathBuf>) -> Self {
        let names = ["STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"];
        let variables = names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
        Environment { state_dir, variables, uid: rustix::process::getuid().as_raw(), file_mode: None }
    }

    /// The state directory, as far as no file says otherwise.
    pub fn state_dir_without_file(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.default_state_dir())
    }

    /// `$STATE_DIRECTORY` of systemd, else the system's place for root and the XDG place for anybody else.
    pub(super) fn default_state_dir(&self) -> PathBuf {
        let variable = |name: &str| self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(dirs) = variable("STATE_DIRECTORY") {
            // systemd.exec(5): several folders stand with colons between them.
            return PathBuf::from(dirs.split(':').next().unwrap_or(dirs));
        }
        if self.uid == 0 {
            return PathBuf::from(STATE_DIR_OF_ROOT);
        }
        // The XDG specification: a relative path is invalid and ignored.
        let state_home = variable("XDG_STATE_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
        state_home.unwrap_or_else(|| Path::new(variable("HOME").unwrap_or("/")).join(".local/state")).join("mailgather")
    }
}

/// A configuration with what came along.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is doubtful in it.
    pub warnings: Vec<Problem>,
    /// SHA-256 of the files that were read, by name and content: the same digest needs no reload.
    pub digest: [u8; 32],
    /// The files that were read, the main one first.
    pub files: Vec<PathBuf>,
    /// The folders in which a change may be one of the configuration.
    pub folders: Vec<PathBuf>,
}

/// Reads and checks all files, also whether this machine knows the time zones in them: a schedule in another zone is no schedule. Blocks on the
/// disk.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Report> {
    Sources::read(path, env)?.load(env)
}

/// The same, and then looks at what the files name: whether secrets, certificates and lists can be read, programs run, and Maildirs made. Runs
/// no program.
pub fn load_and_look(path: &Path, env: &Environment) -> Result<(Loaded, Report), Report> {
    Sources::read(path, env)?.load_and_look(env)
}

/// Checks a text: pure. The path is for messages, and relative paths in the text count from its folder.
pub fn parse(text: &str, path: &Path, env: &Environment) -> Result<Loaded, Report> {
    let sources = Sources::of_text(text, path, env);
    let lines = sources.text();
    let built = build(&lines, &[Part::Main], first(&lines), env, None).map_err(|broken| broken.report)?;
    Ok(sources.loaded(built))
}

/// Checks a text and looks at what it names.
pub fn parse_and_look(text: &str, path: &Path, env: &Environment) -> Result<(Loaded, Report), Report> {
    Sources::of_text(text, path, env).load_and_look(env)
}

impl Sources {
    /// Checks what was read, and its time zones.
    pub fn load(&self, env: &Environment) -> Result<Loaded, Report> {
        let text = self.text();
        self.load_asked(&text, env, None).map(|(loaded, _)| loaded)
    }

    /// The same, and where each value of the collector is that somebody asks about.
    pub(super) fn load_asked(&self, text: &Text<'_>, env: &Environment, asked: Option<&str>) -> Result<(Loaded, Vec<(String, Vec<Said>)>), Report> {
        let mut built = self.build(text, env, asked)?;
        let errors = unknown_zones(text, &built.outside);
        let said = std::mem::take(&mut built.said);
        if errors.is_empty() { Ok((self.loaded(built), said)) } else { Err(Report { errors, warnings: built.warnings }) }
    }

    /// Checks what was read, and looks at what it names.
    pub fn load_and_look(&self, env: &Environment) -> Result<(Loaded, Report), Report> {
        let text = self.text();
        let built = self.build(&text, env, None)?;
        let found = outside::look(&text, &built.outside);
        Ok((self.loaded(built), found))
    }

    fn build(&self, text: &Text<'_>, env: &Environment, asked: Option<&str>) -> Result<Built, Report> {
        let built = build(text, &self.parts(), first(text), env, asked);
        match built {
            Ok(built) if self.problems.is_empty() => Ok(built),
            Ok(built) => Err(Report { errors: self.problems.clone(), warnings: built.warnings }),
            Err(broken) => {
                let mut report = with_zones(text, broken);
                report.errors.extend(self.problems.iter().cloned());
                Err(report)
            }
        }
    }

    fn loaded(&self, built: Built) -> Loaded {
        Loaded { config: built.config, warnings: built.warnings, digest: self.digest(), files: self.paths(), folders: self.folders() }
    }
}

/// A name that the machine does not know is as wrong as one that is misspelt in form; where files and programs are can wait until the rest is right.
fn with_zones(text: &Text<'_>, broken: Broken) -> Report {
    let mut report = broken.report;
    let unknown = unknown_zones(text, &broken.outside);
    if !unknown.is_empty() {
        report.errors.extend(unknown);
        report.errors.sort_by_key(|problem| problem.place.as_ref().map(|place| (text.index_of(&place.path), place.line, place.column)));
    }
    report
}

fn unknown_zones(text: &Text<'_>, outside: &[(Span, Outside)]) -> Vec<Problem> {
    let zones: Vec<_> = outside.iter().filter(|(_, outside)| matches!(outside, Outside::Zone(_))).cloned().collect();
    outside::look(text, &zones).errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_dir_defaults() {
        let env = |uid, pairs: &[(&str, &str)]| {
            let variables = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Environment { uid, variables, ..Environment::default() }.default_state_dir()
        };
        assert_eq!(env(0, &[("STATE_DIRECTORY", "/a:/b")]), Path::new("/a"));
        assert_eq!(env(0, &[("HOME", "/root")]), Path::new("/var/lib/mailgather"));
        assert_eq!(env(5, &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), Path::new("/x/mailgather"));
        assert_eq!(env(5, &[("XDG_STATE_HOME", "x"), ("HOME", "/h")]), Path::new("/h/.local/state/mailgather"));
    }
}
