//! The door to the configuration: a file to a [`Config`], or to a report of everything that is wrong with it.

use super::build::{Broken, Built, build};
use super::error::{Code, Problem, Report};
use super::outside::Outside;
use super::text::{Span, Text};
use super::{Config, outside};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the state is for root, where nobody says otherwise.
pub const STATE_DIR_OF_ROOT: &str = "/var/lib/mailgather";

/// Largest file that is read: twenty thousand collectors fit.
pub const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;

/// What the configuration takes from around it, so that reading it is a function of its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `--state-dir`: wins over the file.
    pub state_dir: Option<PathBuf>,
    /// The variables that defaults depend on.
    pub variables: BTreeMap<String, String>,
    /// The user that runs this.
    pub uid: u32,
    /// The permissions of the file; [`load`] fills it in. `None` for a text that came from nowhere.
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
    /// SHA-256 of the octets that were read: the same digest needs no reload.
    pub digest: [u8; 32],
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Reads and checks a file, also whether this machine knows the time zones in it: a schedule in another zone is no schedule. Blocks on the disk.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Report> {
    of_file(path, env, parse_here)
}

/// The same, and then looks at what the file names: whether secrets, certificates and lists can be read, programs run, and Maildirs made. Runs
/// no program.
pub fn load_and_look(path: &Path, env: &Environment) -> Result<(Loaded, Report), Report> {
    of_file(path, env, parse_and_look)
}

/// Checks a text: pure. The path is for messages, and relative paths in the text count from its folder.
pub fn parse(text: &str, path: &Path, env: &Environment) -> Result<Loaded, Report> {
    let built = build(&Text::new(path, text), env).map_err(|broken| broken.report)?;
    Ok(loaded(built, path, text))
}

fn parse_here(text: &str, path: &Path, env: &Environment) -> Result<Loaded, Report> {
    let lines = Text::new(path, text);
    let built = build(&lines, env).map_err(|broken| with_zones(&lines, broken))?;
    let errors = unknown_zones(&lines, &built.outside);
    if errors.is_empty() { Ok(loaded(built, path, text)) } else { Err(Report { errors, warnings: built.warnings }) }
}

/// Checks a text and looks at what it names.
pub fn parse_and_look(text: &str, path: &Path, env: &Environment) -> Result<(Loaded, Report), Report> {
    let lines = Text::new(path, text);
    let built = build(&lines, env).map_err(|broken| with_zones(&lines, broken))?;
    let found = outside::look(&lines, &built.outside);
    Ok((loaded(built, path, text), found))
}

/// A name that the machine does not know is as wrong as one that is misspelt in form; where files and programs are can wait until the rest is right.
fn with_zones(lines: &Text<'_>, broken: Broken) -> Report {
    let mut report = broken.report;
    report.errors.extend(unknown_zones(lines, &broken.outside));
    report.errors.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
    report
}

fn unknown_zones(lines: &Text<'_>, outside: &[(Span, Outside)]) -> Vec<Problem> {
    let zones: Vec<_> = outside.iter().filter(|(_, outside)| matches!(outside, Outside::Zone(_))).cloned().collect();
    outside::look(lines, &zones).errors
}

fn loaded(built: Built, path: &Path, text: &str) -> Loaded {
    Loaded { config: built.config, warnings: built.warnings, digest: Sha256::digest(text).into(), files: vec![path.to_owned()] }
}

fn of_file<T>(path: &Path, env: &Environment, take: fn(&str, &Path, &Environment) -> Result<T, Report>) -> Result<T, Report> {
    let (octets, mode) = read(path).map_err(|problem| Report { errors: vec![problem], warnings: Vec::new() })?;
    let text = match std::str::from_utf8(&octets) {
        Ok(text) => text,
        Err(error) => {
            let line = octets[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            let problem = Problem::error(Code::Syntax, format!("{}: line {line} is not UTF-8", path.display()));
            return Err(Report { errors: vec![problem.hint("save the file as UTF-8")], warnings: Vec::new() });
        }
    };
    take(text, path, &Environment { file_mode: Some(mode), ..env.clone() })
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), Problem> {
    let name = path.display();
    let fail = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Problem::error(Code::NoSuchFile, format!("{name}: no such file")).hint("`--config FILE` names another one"),
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
    Ok((octets, meta.permissions().mode()))
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
