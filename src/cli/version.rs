//! `mailgather version`.

use super::exit::Exit;
use super::peek::print;
use crate::observe::version;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn version(arguments: &Version) -> Exit {
    if arguments.json {
        let features: &[&str] = if cfg!(feature = "legacy-tls") { &["legacy-tls"] } else { &[] };
        print(&format!("{}\n", json!({"version": version::NUMBER, "commit": version::COMMIT, "features": features})));
    } else {
        print(&format!("mailgather {}\n", version::FULL));
    }
    Exit::Ok
}
