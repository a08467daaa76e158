//! `mailgather explain FILE`: who would get a message, and why. Nothing is delivered.

use super::Common;
use super::exit::Exit;
use crate::collect::route;
use crate::config::{Collector, Loaded};
use crate::mail::{Canonical, HeaderBlock};
use bytes::Bytes;
use clap::Args;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Octets of a file that are read: the header's limit, and some more to see that it ends.
const FILE_OCTETS_MAX: u64 = 2 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The message, as a file; `-` for the standard input.
    file: PathBuf,
    /// By the rules of this collector; needed if there are several.
    #[arg(long = "as", value_name = "NAME")]
    collector: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &Explain, common: &Common) -> Exit {
    try_explain(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_explain(arguments: &Explain, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let collector = chosen(&loaded, arguments.collector.as_deref())?;
    let raw = read(arguments)?;
    let mut octets = Vec::with_capacity(raw.len());
    let mut canonical = Canonical::new();
    canonical.push(&raw, &mut octets);
    canonical.finish(&mut octets);
    if octets.is_empty() {
        eprintln!("error: {}: an empty message", arguments.file.display());
        return Err(Exit::Data);
    }
    let header = HeaderBlock::parse(Bytes::from(octets));
    let (resolution, trail) = route::resolution(&collector, &header);
    let sender = route::sender(&collector, &header, &resolution);
    if arguments.json {
        let json = serde_json::json!({
            "file": arguments.file.display().to_string(),
            "collector": collector.id.as_str(),
            "reverse_path": sender.to_smtp(),
            "trail": trail.to_json(),
        });
        println!("{json}");
        return Ok(Exit::Ok);
    }
    let field = |name: &str| header.first(name).map(|field| crate::mail::outcome::harmless(&header.text(field), 200)).unwrap_or_else(|| "-".into());
    println!("{}  {}  from {}", arguments.file.display(), field("Message-ID"), field("From"));
    print!("{}", trail.to_text());
    println!("  reverse-path {}", if sender.to_smtp().is_empty() { "<>".to_owned() } else { sender.to_string() });
    Ok(Exit::Ok)
}

fn chosen(loaded: &Loaded, name: Option<&str>) -> Result<Arc<Collector>, Exit> {
    let all = &loaded.config.collectors;
    let found = match name {
        Some(name) => all.values().find(|collector| collector.id.as_str() == name),
        None if all.len() == 1 => all.values().next(),
        None => None,
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> = all.keys().map(|id| id.as_str()).collect();
        eprintln!("error: whose rules? Say `--as NAME`\nhint: the configuration has: {}", known.join(", "));
        Exit::Usage
    })
}

fn read(arguments: &Explain) -> Result<Vec<u8>, Exit> {
    let failed = |error: std::io::Error| {
        eprintln!("error: {}: {error}", arguments.file.display());
        if error.kind() == std::io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io }
    };
    let mut raw = Vec::new();
    if arguments.file.as_os_str() == "-" {
        std::io::stdin().take(FILE_OCTETS_MAX).read_to_end(&mut raw).map_err(failed)?;
    } else {
        std::fs::File::open(&arguments.file).and_then(|file| file.take(FILE_OCTETS_MAX).read_to_end(&mut raw)).map_err(failed)?;
    }
    Ok(raw)
}
