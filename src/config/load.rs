//! The door to the configuration: a file to a [`Config`], or to a report of everything that is wrong with it.

use super::build::build;
use super::error::{Code, Problem, Report};
use super::text::Text;
use super::{CheckLocal, Collector, Config, SecretSource, Target, secret};
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

/// Reads and checks a file. Blocks on the disk.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Report> {
    let (octets, mode) = read(path).map_err(|problem| Report { errors: vec![problem], warnings: Vec::new() })?;
    let text = match std::str::from_utf8(&octets) {
        Ok(text) => text,
        Err(error) => {
            let line = octets[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            let problem = Problem::error(Code::Syntax, format!("{}: line {line} is not UTF-8", path.display()));
            return Err(Report { errors: vec![problem.hint("save the file as UTF-8")], warnings: Vec::new() });
        }
    };
    parse(text, path, &Environment { file_mode: Some(mode), ..env.clone() })
}

/// Checks a text: pure. The path is for messages, and relative paths in the text count from its folder.
pub fn parse(text: &str, path: &Path, env: &Environment) -> Result<Loaded, Report> {
    let (config, warnings) = build(&Text::new(path, text), env)?;
    Ok(Loaded { config, warnings, digest: Sha256::digest(text).into(), files: vec![path.to_owned()] })
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

/// Looks whether the secrets and certificates that a configuration names can be read; runs no command. Blocks on the disk.
pub fn check_secrets(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for collector in config.collectors.values() {
        check_collector(collector, &mut problems);
    }
    problems
}

fn check_collector(collector: &Collector, problems: &mut Vec<Problem>) {
    let mut check = |what: &str, source: &SecretSource| {
        if let Err(error) = secret::check(source) {
            problems.push(Problem::error(Code::SecretSource, format!("collector `{}`: {what}: {error}", collector.id)));
        }
    };
    check("password", &collector.server.password);
    let mut tls = vec![&collector.server.tls];
    if let Target::Smtp(relay) | Target::Lmtp(relay) = &collector.delivery.target {
        if let Some(auth) = &relay.auth {
            check("password of the relay", &auth.password);
        }
        tls.push(&relay.tls);
    }
    match &collector.check_local {
        CheckLocal::Lmtp(relay) | CheckLocal::Smtp(relay) => tls.push(&relay.tls),
        CheckLocal::File(path) => {
            if let Err(error) = std::fs::File::open(path) {
                let message = format!("collector `{}`: check_local file {}: {error}", collector.id, path.display());
                problems.push(Problem::error(Code::Unreadable, message));
            }
        }
        CheckLocal::None | CheckLocal::Command { .. } => {}
    }
    // The check may share the target's.
    tls.dedup();
    for path in tls.iter().filter_map(|tls| tls.ca_file.as_ref()) {
        if let Err(error) = std::fs::File::open(path) {
            let message = format!("collector `{}`: ca_file {}: {error}", collector.id, path.display());
            problems.push(Problem::error(Code::Unreadable, message));
        }
    }
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
