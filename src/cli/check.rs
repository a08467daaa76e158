//! `mailgather check`: everything that is wrong with the configuration, at once.

use super::exit::Exit;
use super::{Common, refused};
use crate::config;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file to check, in place of `--config`.
    file: Option<PathBuf>,
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
    /// Then try the connections of all enabled collectors, and their targets, as `mailgather test --all` does.
    #[arg(long)]
    connect: bool,
    /// For the unit file of systemd: 75 if there is no collector yet, so that there is nothing to start; else 0, as the start itself says what is wrong.
    #[arg(long, conflicts_with_all = ["file", "strict", "connect"])]
    for_start: bool,
}

pub(super) fn check(arguments: &Check, common: &Common) -> Exit {
    if arguments.for_start {
        return for_start(common);
    }
    let mut common = common.clone();
    if let Some(file) = &arguments.file {
        common.config.clone_from(file);
    }
    let (loaded, outside) = match config::load_and_look(&common.config, &common.environment()) {
        Ok(both) => both,
        Err(report) => return refused(&report),
    };
    outside.errors.iter().chain(&loaded.warnings).chain(&outside.warnings).for_each(|problem| eprintln!("{problem}\n"));
    let doubtful = !loaded.warnings.is_empty() || !outside.warnings.is_empty();
    if !outside.errors.is_empty() || (arguments.strict && doubtful) {
        return Exit::Config;
    }
    let enabled = loaded.config.collectors.values().filter(|collector| collector.enabled).count();
    let all = match loaded.config.collectors.len() {
        1 => "1 collector".to_owned(),
        all => format!("{all} collectors"),
    };
    println!("{}: ok, {all}, {enabled} enabled", common.config.display());
    if arguments.connect { super::test::all(&loaded, &common) } else { Exit::Ok }
}

/// `ExecCondition=` takes 75 for "nothing to do", which is no failure.
fn for_start(common: &Common) -> Exit {
    match config::load(&common.config, &common.environment()) {
        Ok(loaded) if loaded.config.collectors.is_empty() => {
            eprintln!("{}: no collector yet: nothing to start", common.config.display());
            Exit::TempFail
        }
        _ => Exit::Ok,
    }
}
