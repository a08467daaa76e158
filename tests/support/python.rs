//! Clients that others wrote, in Python: `tests/run packages` puts them into an environment of their own (`tests/python.txt` names them and says
//! what each is for). They tell whether our fakes are what the world takes for Exchange and for Graph.
//!
//! A test keeps its part in Python beside itself and runs it:
//!
//! ```ignore
//! let said = python::run("exchange/reads_inbox.py", &[&url, "u@corp.example"]);
//! let server = Guarded::start(&python::program(), &["-I", &python::script("support/ntlm_server.py"), "0"], &console);
//! ```
//!
//! A password goes to it by standard input or the environment of [`command`]: arguments are for all to see.

use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;

/// Where the environments are.
const ENVIRONMENTS: &str = "/var/cache/mailgather-tests/python";

/// The interpreter that has the packages.
pub fn program() -> String {
    let list = include_bytes!("../python.txt");
    let name: String = Sha256::digest(list).iter().take(6).map(|octet| format!("{octet:02x}")).collect();
    let program = Path::new(ENVIRONMENTS).join(name).join("bin/python");
    assert!(program.exists(), "there is no {}: run `tests/run packages` as root", program.display());
    program.to_string_lossy().into_owned()
}

/// The path of a script that is in `tests/`.
pub fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    assert!(path.exists(), "there is no {}", path.display());
    path.to_string_lossy().into_owned()
}

/// A script of `tests/` with arguments, to be started as one likes. It sees nothing of the caller's own Python, and no proxy.
pub fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["-I", "-u", &script(name)]).args(arguments);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// Runs a script to its end; returns what it printed, and panics with what it said if it failed.
#[track_caller]
pub fn run(name: &str, arguments: &[&str]) -> String {
    let output = command(name, arguments).output().expect("it starts");
    let (said, error) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{said}\n{error}", output.status);
    said
}
