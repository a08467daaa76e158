//! Speaking to the daemon: where its socket is, and what to say when it does not answer.

use super::exit::Exit;
use super::{CONFIG, Common, SOCKET_OF_SYSTEM, runtime};
use crate::config::Config;
use crate::control::{Client, ClientError, socket};
use crate::mail::code;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// It is there where systemd runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

impl Common {
    /// The control socket of the daemon with this configuration.
    pub(super) fn socket_of(&self, config: &Config) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| socket::path_of(config))
    }

    /// The daemon with this configuration, or the one that runs where nobody said anything else.
    pub(super) fn client_of(&self, config: Option<&Config>) -> Client {
        let path = match (config, &self.socket) {
            (_, Some(path)) => path.clone(),
            (Some(config), None) if config.control.socket.is_some() => self.socket_of(config),
            (Some(config), None) => self.unnamed(self.socket_of(config), Path::new(SOCKET_OF_SYSTEM)),
            (None, None) => self.unnamed(socket::default_path(&self.environment().state_dir_without_file()), Path::new(SOCKET_OF_SYSTEM)),
        };
        Client::new(&path)
    }

    /// The daemon. Its socket is named on the command line, or by the configuration.
    pub(super) fn client(&self) -> Result<Client, Exit> {
        if self.socket.is_some() {
            return Ok(self.client_of(None));
        }
        match crate::config::load(&self.config, &self.environment()) {
            Ok(loaded) => Ok(self.client_of(Some(&loaded.config))),
            // A daemon that runs has a file that was right once, or one that not everybody may read: its socket may be where it is by default.
            Err(report) => {
                let client = self.client_of(None);
                if client.path().exists() { Ok(client) } else { Err(super::refused(&report)) }
            }
        }
    }
}

impl Common {
    /// What to do where no daemon answers. systemd runs one for the configuration of the system only; any other is started by hand, or by whoever
    /// wrote it.
    fn no_daemon(&self, systemd: &Path) -> String {
        let is_system = self.config == Path::new(CONFIG) && self.state_dir.is_none() && systemd.is_dir();
        let start = if is_system { "`systemctl status mailgather` says why".to_owned() } else { format!("`{}` starts one", self.again("run")) };
        format!("no daemon runs with this configuration and state directory: {start}; `{}` needs none", self.again("once"))
    }

    /// A socket that nobody named: that of the system's own daemon, if it runs and this is about its configuration.
    fn unnamed(&self, default: PathBuf, of_system: &Path) -> PathBuf {
        let is_system = self.config == Path::new(CONFIG) && self.state_dir.is_none();
        if is_system && of_system.exists() { of_system.to_owned() } else { default }
    }
}

/// Runs something that asks the daemon.
pub(super) fn ask(common: &Common, json: bool, asking: impl AsyncFnOnce(&Client) -> Result<Exit, ClientError>) -> Exit {
    let client = match common.client() {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(asking(&client)).unwrap_or_else(|error| failed(&error, json, &client, common))
}

/// Says why there is no answer.
pub(super) fn failed(error: &ClientError, json: bool, client: &Client, common: &Common) -> Exit {
    let (number, hint, exit) = match error {
        ClientError::Connect { error, .. } => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "the socket is for root, for the daemon's own user, and for the members of `control.group`; `mailgather once` needs no daemon"
                        .to_owned()
                }
                _ => common.no_daemon(Path::new(SYSTEMD)),
            };
            (Some(format!("MG-{}", code::DAEMON)), Some(hint), Exit::Unavailable)
        }
        ClientError::Broken(_) => (Some(format!("MG-{}", code::DAEMON)), None, Exit::Unavailable),
        ClientError::Problem { status, code, hint, .. } => {
            let exit = match status {
                400 | 404 => Exit::Usage,
                422 => Exit::Config,
                429 | 503 => Exit::TempFail,
                _ => Exit::Os,
            };
            (code.clone(), hint.clone(), exit)
        }
    };
    if json {
        let doc = number.as_ref().map(|number| format!("docs/errors/{number}.md"));
        let error: Value = json!({"error": {"code": number, "message": error.to_string(), "hint": hint, "doc": doc}, "socket": client.path()});
        super::peek::print(&format!("{error}\n"));
        return exit;
    }
    let text = error.to_string();
    match number {
        // What is wrong with the file has its own numbers.
        Some(number) if text.starts_with("error[") => {
            eprintln!("{}\n\nerror[{number}]: the file was not taken; the configuration that was in force stays in force", text.trim_end());
            return exit;
        }
        Some(number) => eprintln!("error[{number}]: {text}"),
        None => eprintln!("error: {text}"),
    }
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    exit
}

/// A name in a path: what is no collector's name is never found, and must not lead elsewhere.
pub(super) fn encoded(name: &str) -> String {
    name.bytes()
        .map(|b| if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser;

    #[test]
    fn the_hint_names_what_starts_a_daemon_here() {
        let folder = tempfile::tempdir().unwrap();
        let hint = |arguments: &[&str], systemd: &std::path::Path| {
            let words = ["mailgather"].iter().chain(arguments).chain(&["status"]);
            Arguments::try_parse_from(words).unwrap().common.no_daemon(systemd)
        };
        assert!(hint(&[], folder.path()).contains("`systemctl status mailgather` says why"));
        assert!(hint(&[], &folder.path().join("absent")).contains("`mailgather run` starts one; `mailgather once` needs none"));
        let own = hint(&["--config", "/srv/my mail.yaml", "--state-dir", "/srv/s"], folder.path());
        assert!(own.contains("`mailgather run --config '/srv/my mail.yaml' --state-dir /srv/s` starts one"), "{own}");
    }

    #[test]
    fn the_systems_daemon_is_asked_about_its_own_configuration_only() {
        let folder = tempfile::tempdir().unwrap();
        let (there, absent) = (folder.path().join("control.sock"), folder.path().join("absent"));
        std::fs::write(&there, "").unwrap();
        let default = PathBuf::from("/s/control.sock");
        for (words, of_system, wanted) in [
            (&["mailgather", "status"][..], &there, &there),
            (&["mailgather", "status"], &absent, &default),
            (&["mailgather", "status", "--config", "me.yaml"], &there, &default),
            (&["mailgather", "status", "--state-dir", "/s"], &there, &default),
        ] {
            let common = Arguments::try_parse_from(words).unwrap().common;
            assert_eq!(common.unnamed(default.clone(), of_system), *wanted, "{words:?}");
        }
    }
}
