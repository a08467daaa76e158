//! `mailgather check`: everything that is wrong with the configuration, at once.

use super::Common;
use super::exit::Exit;
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
}

pub(super) fn check(arguments: &Check, common: &Common) -> Exit {
    let mut common = common.clone();
    if let Some(file) = &arguments.file {
        common.config.clone_from(file);
    }
    let loaded = match common.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let problems = config::check_secrets(&loaded.config);
    problems.iter().for_each(|problem| eprintln!("{problem}\n"));
    if !problems.is_empty() || (arguments.strict && !loaded.warnings.is_empty()) {
        return Exit::Config;
    }
    let enabled = loaded.config.collectors.values().filter(|collector| collector.enabled).count();
    println!("{}: ok, {} collectors, {enabled} enabled", common.config.display(), loaded.config.collectors.len());
    Exit::Ok
}
