//! The program under strace: killed or failed at its k-th system call, or watched.

use super::process::{Finished, Mailgather, finish};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A traced pass takes a fraction of a second; this is for a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `mailgather once --quiet` under strace with these options. One runtime worker, as strace counts calls per thread. A program that was
/// killed ends strace in the same way.
pub fn traced_once(program: &Mailgather, options: &[&str], trace: &Path) -> Finished {
    let plain = program.command("once", &["--quiet"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(trace).args(options).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TOKIO_WORKER_THREADS", "1");
    finish(command, LIMIT)
}

/// Runs it, and something happens at the k-th call of one kind: `signal=KILL` or `error=EIO`. `None` when no thread got that far, else how it
/// ended.
pub fn once_with_fault(program: &Mailgather, call: &str, fault: &str, k: usize) -> Option<Finished> {
    let trace = program.path().join("trace");
    let finished = traced_once(program, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{fault}:when={k}")], &trace);
    let text = std::fs::read_to_string(&trace).expect("strace is installed: tests/run installs what the tests need");
    let met = text.contains("(INJECTED)") || text.contains("killed by SIGKILL") || text.contains("--- SIGTERM");
    assert!(met || finished.status.success(), "without a fault it ends well: {}\n{}\n{}", finished.status, finished.stdout, finished.stderr);
    met.then_some(finished)
}
