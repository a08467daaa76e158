//! `mailgather doctor`: looks at everything around the program that has to be right, and says what to do about what is not. Nothing is changed but one
//! file of its own in the state directory, which it takes away again; no mailbox is asked (`mailgather check --connect` does that).

mod disk;
mod files;
mod finding;
mod network;
mod system;
mod tokens;

use super::exit::Exit;
use super::peek::print;
use super::{Common, runtime};
use crate::config::{self, Code, Loaded, Problem, Report};
use clap::Args;
use finding::{Finding, State};
use serde_json::json;
use std::path::PathBuf;

/// The part of [`super::exit::TABLE`] that can happen here.
const TABLE: &str = "\
Exit codes:
   0  all is well, or warnings only
  64  the command line
  75  something failed that is not the configuration
  78  the configuration is wrong, or a secret cannot be read";

#[derive(Debug, Args)]
#[command(after_help = TABLE)]
pub(super) struct Doctor {
    /// Ask nobody: neither name servers nor the targets.
    #[arg(long)]
    offline: bool,
    /// Print what was found as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is looked at.
struct Patient<'a> {
    common: &'a Common,
    /// `None`: the configuration is broken, or not there; what does not need it is looked at all the same.
    loaded: Option<&'a Loaded>,
    state_dir: PathBuf,
}

pub(super) fn doctor(arguments: &Doctor, common: &Common) -> Exit {
    let (loaded, mut findings) = match config::load_and_look(&common.config, &common.environment()) {
        Ok((loaded, outside)) => {
            let findings = configuration(&loaded, &outside);
            (Some(loaded), findings)
        }
        Err(report) => (None, broken(common, &report)),
    };
    let state_dir = loaded.as_ref().map_or_else(|| common.environment().state_dir_without_file(), |loaded| loaded.config.service.state_dir.clone());
    let patient = Patient { common, loaded: loaded.as_ref(), state_dir };
    findings.extend(files::look(&patient));
    findings.extend(disk::look(&patient));
    findings.extend(system::look());
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(async {
        findings.extend(system::daemon_and_unit(&patient).await);
        findings.extend(tokens::look(&patient).await);
        if !arguments.offline {
            findings.extend(network::look(&patient).await);
        }
    });
    runtime.shutdown_background();
    let exit = exit(&findings);
    if arguments.json {
        let all: Vec<_> = findings.iter().map(Finding::json).collect();
        print(&format!("{}\n", json!({"ok": exit == Exit::Ok, "exit": exit as u8, "findings": all})));
    } else {
        let shown = findings.iter().filter(|finding| !common.quiet || finding.state != State::Ok);
        print(&shown.map(Finding::text).collect::<String>());
        if !common.quiet {
            print(&summary(&findings));
        }
    }
    exit
}

fn exit(findings: &[Finding]) -> Exit {
    let failed = |of_config: Option<bool>| findings.iter().any(|f| f.state == State::Failed && of_config.is_none_or(|is| is == f.is_config));
    match (failed(Some(true)), failed(None)) {
        (true, _) => Exit::Config,
        (false, true) => Exit::TempFail,
        (false, false) => Exit::Ok,
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    match (count(State::Failed), count(State::Warning)) {
        (0, 0) => "all is well\n".to_owned(),
        (failed, warnings) => format!("{failed} failed, {}\n", many(warnings, "warning")),
    }
}

/// `1 warning`, `2 warnings`.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The configuration is taken; what it names may be missing all the same.
fn configuration(loaded: &Loaded, outside: &Report) -> Vec<Finding> {
    let all = &loaded.config.collectors;
    let enabled = all.values().filter(|collector| collector.enabled).count();
    let files = match loaded.files.len() {
        0 | 1 => String::new(),
        files => format!(", {files} files"),
    };
    let collectors = many(all.len(), "collector");
    let name = loaded.files.first().map(|file| file.display().to_string()).unwrap_or_default();
    let mut findings = vec![Finding::ok("config", format!("{name}: {collectors}, {enabled} enabled{files}"))];
    if enabled == 0 {
        findings.push(Finding::warning("config", "no collector is enabled", "nothing is collected: `mailgather list` shows what there is"));
    }
    let warnings = loaded.warnings.len() + outside.warnings.len();
    if warnings > 0 {
        findings.push(Finding::warning("config", many(warnings, "warning"), "`mailgather check` prints them with their places"));
    }
    let is_secret = |problem: &&Problem| problem.code == Code::SecretSource;
    findings.extend(outside.errors.iter().map(|problem| {
        let name = if is_secret(&problem) { "secrets" } else { "config" };
        problem_of(name, problem)
    }));
    if !outside.errors.iter().any(|problem| is_secret(&problem)) && !all.is_empty() {
        findings.push(Finding::ok("secrets", "each can be read, or its command is there"));
    }
    findings
}

fn broken(common: &Common, report: &Report) -> Vec<Finding> {
    let mut findings: Vec<Finding> = report.errors.iter().take(config_lines(report)).map(|problem| problem_of("config", problem)).collect();
    if report.errors.len() > findings.len() {
        let more = report.errors.len() - findings.len();
        findings
            .push(Finding::failed("config", format!("{more} further errors"), format!("`{}` prints all of them", common.again("check"))).config());
    }
    findings
}

/// So many errors are shown; the rest is a job for `check`.
fn config_lines(report: &Report) -> usize {
    report.errors.len().min(5)
}

fn problem_of(name: &'static str, problem: &Problem) -> Finding {
    let place = problem.place.as_ref().map(|place| format!(" ({}:{}:{})", place.path.display(), place.line, place.column)).unwrap_or_default();
    let hint = problem.hints.first().cloned().unwrap_or_else(|| "`mailgather check` shows the line".to_owned());
    Finding::failed(name, format!("{}{place}", problem.message), hint).config()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        let ok = || Finding::ok("a", "fine");
        let warning = || Finding::warning("a", "hm", "do");
        let failed = || Finding::failed("a", "no", "do");
        for (findings, wanted) in
            [(vec![ok(), warning()], Exit::Ok), (vec![ok(), failed(), warning()], Exit::TempFail), (vec![failed(), failed().config()], Exit::Config)]
        {
            assert_eq!(exit(&findings), wanted);
        }
        assert_eq!((summary(&[ok()]).as_str(), summary(&[failed(), warning()]).as_str()), ("all is well\n", "1 failed, 1 warning\n"));
    }
}
