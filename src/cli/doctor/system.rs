//! The machine: its clock, its authorities, its limits; the daemon that runs, and its unit.

use super::Patient;
use super::finding::Finding;
use crate::config::Idle;
use crate::control::{Client, ClientError};
use crate::net;
use crate::observe::version;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The year this was written in: a clock that is behind it is wrong.
const YEAR_MIN: i16 = 2026;
/// A clock that is beyond it is wrong too.
const YEAR_MAX: i16 = 2100;
/// Descriptors that a session takes: its server, and the connections to its target.
const DESCRIPTORS_OF_SESSION: u64 = 6;
/// What the process takes besides.
const DESCRIPTORS_BESIDE: u64 = 150;
/// How long the daemon, or systemd, may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The unit.
const UNIT: &str = "mailgather.service";

pub(super) fn look() -> Vec<Finding> {
    vec![clock(jiff::Zoned::now().year()), authorities()]
}

/// Certificates, retry times and the age of mail go by it.
fn clock(year: i16) -> Finding {
    if !(YEAR_MIN..=YEAR_MAX).contains(&year) {
        return Finding::failed("clock", format!("this machine believes that it is the year {year}"), "set the clock: certificates are judged by it");
    }
    // systemd-timesyncd(8) and chronyd(8) leave these; without systemd nobody is expected to.
    let synchronized = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/chronyd.pid", "/run/ntpd.pid", "/run/openntpd.sock"];
    let by = synchronized.iter().find(|path| Path::new(path).exists());
    match by {
        Some(_) => Finding::ok("clock", "set by a time server"),
        None if runs_systemd() => Finding::warning("clock", "nothing seems to set it", "`timedatectl` tells; systemd-timesyncd or chrony sets it"),
        None => Finding::ok("clock", format!("the year is {year}; who sets it is not known here")),
    }
}

fn authorities() -> Finding {
    let (count, errors) = net::authorities();
    match (count, errors.first()) {
        (0, error) => {
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            Finding::failed("ca", format!("no certificate authority of the system can be read{why}"), "apt install ca-certificates")
        }
        (count, None) => Finding::ok("ca", format!("{count} authorities")),
        (count, Some(error)) => {
            Finding::warning("ca", format!("{count} authorities; some cannot be read: {error}"), "update-ca-certificates --fresh")
        }
    }
}

/// What runs, what it may, and what systemd thinks of it.
pub(super) async fn daemon_and_unit(patient: &Patient<'_>) -> Vec<Finding> {
    let (mut findings, pid) = daemon(patient).await;
    findings.extend(descriptors(patient, pid));
    findings.push(unit().await);
    findings
}

/// The daemon, and its process.
async fn daemon(patient: &Patient<'_>) -> (Vec<Finding>, Option<u64>) {
    let Some(loaded) = patient.loaded else { return (Vec::new(), None) };
    let client = match patient.common.client() {
        Ok(client) => client,
        Err(_) => Client::new(&patient.common.socket_of(&loaded.config)),
    };
    let asked = tokio::time::timeout(ANSWER_WAIT, client.get("/v1/status")).await;
    let socket = client.path().display();
    let status = match asked {
        Ok(Ok(status)) => status,
        Err(_) => {
            let text = format!("{socket} does not answer in {} s", ANSWER_WAIT.as_secs());
            return (vec![Finding::failed("daemon", text, "its log says what it does; a restart loses nothing")], None);
        }
        Ok(Err(ClientError::Connect { error, .. })) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let text = format!("{socket}: {error}");
            return (vec![Finding::warning("daemon", text, "look as root, as the service's user or as a member of `control.group`")], None);
        }
        Ok(Err(error)) if is_held(&patient.state_dir) => {
            let text = format!("one holds the state directory and cannot be asked: {error}");
            return (vec![Finding::failed("daemon", text, "`control_unavailable` in its log says why; or it has another `--socket`")], None);
        }
        Ok(Err(_)) => return (vec![Finding::ok("daemon", format!("none runs with {}", patient.state_dir.display()))], None),
    };
    let (pid, text) = (status["pid"].as_u64(), |key: &str| status[key].as_str().unwrap_or_default().to_owned());
    let mut findings = vec![Finding::ok("daemon", format!("runs since {}, process {}", text("started"), pid.unwrap_or_default()))];
    if text("version") != version::NUMBER {
        let text = format!("it is version {}, this program {}", text("version"), version::NUMBER);
        findings.push(Finding::warning("daemon", text, "restart it: systemctl restart mailgather"));
    }
    if status["config"]["ok"] == false {
        findings.push(Finding::failed("daemon", "it did not take the file as it is now", "`mailgather status` has the error").config());
    }
    let restart: Vec<&str> = status["config"]["needs_restart"].as_array().into_iter().flatten().filter_map(|value| value.as_str()).collect();
    if !restart.is_empty() {
        findings.push(Finding::warning("daemon", format!("settings wait for a restart: {}", restart.join(", ")), "systemctl restart mailgather"));
    }
    (findings, pid)
}

/// True if another process has the state directory.
fn is_held(state_dir: &Path) -> bool {
    let Ok(lock) = std::fs::File::open(state_dir.join("lock")) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
}

/// Whether all sessions and all connections that wait fit into the limit: of the daemon if it runs, else of this shell.
fn descriptors(patient: &Patient<'_>, pid: Option<u64>) -> Option<Finding> {
    let config = &patient.loaded?.config;
    let enabled = config.collectors.values().filter(|collector| collector.enabled);
    let idle: u64 = enabled.clone().filter(|collector| collector.idle != Idle::Off).map(|collector| collector.folders.len().max(1) as u64).sum();
    let sessions = (enabled.count() as u64).min(config.service.max_sessions as u64);
    let need = sessions * DESCRIPTORS_OF_SESSION + idle.min(config.service.max_idle as u64) + DESCRIPTORS_BESIDE;
    let of_daemon = pid.and_then(|pid| hard_limit(&std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?));
    // The daemon takes all that the system lets it.
    let limit = of_daemon.or(getrlimit(Resource::Nofile).maximum).unwrap_or(u64::MAX);
    let whose = if of_daemon.is_some() { "the daemon's limit" } else { "the limit of this shell" };
    Some(match limit < need {
        true => Finding::warning(
            "limits",
            format!("{whose} is {limit} open files; all sessions and waiting connections at once take up to {need}"),
            format!("LimitNOFILE={} in a drop-in of the unit", need.next_power_of_two()),
        ),
        false => Finding::ok("limits", format!("{whose} is {limit} open files, up to {need} are needed")),
    })
}

/// The hard limit of open files (proc_pid_limits(5)).
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn runs_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// What systemd says of the unit, where there is systemd.
async fn unit() -> Finding {
    if !runs_systemd() {
        return Finding::ok("unit", "systemd does not run this machine");
    }
    let mut command = tokio::process::Command::new("systemctl");
    command.args(["show", UNIT, "--property=LoadState,ActiveState,UnitFileState,Result,NeedDaemonReload"]).kill_on_drop(true);
    match tokio::time::timeout(ANSWER_WAIT, command.output()).await {
        Ok(Ok(output)) => judge(&String::from_utf8_lossy(&output.stdout)),
        Ok(Err(error)) => Finding::warning("unit", format!("systemctl: {error}"), "systemctl status mailgather"),
        Err(_) => Finding::warning("unit", format!("systemctl does not answer in {} s", ANSWER_WAIT.as_secs()), "systemctl status mailgather"),
    }
}

/// Pure.
fn judge(shown: &str) -> Finding {
    let values: BTreeMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let of = |key: &str| values.get(key).copied().unwrap_or_default();
    match (of("LoadState"), of("ActiveState"), of("UnitFileState")) {
        (_, "", _) => Finding::warning("unit", format!("systemd says nothing of {UNIT}"), "systemctl status mailgather"),
        ("not-found", ..) => Finding::ok("unit", format!("there is no {UNIT}: systemd does not run this")),
        (_, "failed", _) => {
            Finding::failed("unit", format!("{UNIT} has failed ({})", of("Result")), "journalctl -u mailgather -e; then systemctl restart mailgather")
        }
        _ if of("NeedDaemonReload") == "yes" => Finding::warning("unit", format!("{UNIT} was changed on the disk"), "systemctl daemon-reload"),
        (_, active, "disabled") => {
            Finding::warning("unit", format!("{UNIT} is {active}, and not started with the machine"), "systemctl enable mailgather")
        }
        (_, active, file) => Finding::ok("unit", format!("{UNIT} is {active}, {file}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_judged() {
        for (shown, wanted) in [
            ("", "warning systemd says nothing of mailgather.service"),
            ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", "there is no"),
            ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nResult=exit-code\n", "FAILED  mailgather.service has failed (exit-code)"),
            ("LoadState=loaded\nActiveState=active\nUnitFileState=disabled\nNeedDaemonReload=no\n", "systemctl enable"),
            ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=yes\n", "daemon-reload"),
            ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n", "ok      mailgather.service is active, enabled"),
        ] {
            assert!(judge(shown).text().contains(wanted), "{}", judge(shown).text());
        }
    }

    #[test]
    fn clocks_and_limits() {
        assert!(clock(1970).text().contains("FAILED") && clock(2200).text().contains("FAILED") && !clock(2030).text().contains("FAILED"));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        assert_eq!((hard_limit(limits), hard_limit("Max open files            1024                 unlimited   files")), (Some(524_288), None));
    }
}
