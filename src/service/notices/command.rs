//! A notice by a program of the operator's: JSON on its standard input, the chief figures in its environment, no shell in between.

use super::notice::{Notice, json, variables};
use crate::deliver::local_check::Running;
use crate::mail::outcome::harmless;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// How much of what it says is shown, in octets.
const SAID_OCTETS_MAX: usize = 300;
/// Where programs are looked for, whatever the daemon's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it; the error says how it ended.
pub(super) async fn send(notices: &[Notice], argv: &[String], limit: Duration, host: &str) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("the command is empty".to_owned()) };
    let mut command = tokio::process::Command::new(program);
    // The daemon's environment may hold secrets (`password: {env: …}`).
    command.args(arguments).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").envs(variables(notices, host));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    // A group of its own, so that what it started ends with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let (stdin, document) = (child.stdin.take(), json(notices, host).to_string());
    let mut running = Running(child);
    let writing = async move {
        if let Some(mut stdin) = stdin {
            // Who does not read it needs none of it.
            let _ = stdin.write_all(document.as_bytes()).await;
        }
    };
    let ended = timeout(limit, async {
        let mut ending = std::pin::pin!(running.end());
        tokio::select! {
            ended = &mut ending => return ended,
            () = writing => {}
        }
        ending.await
    });
    let Ok((code, said)) = ended.await else { return Err(format!("{program} did not end within {} s", limit.as_secs_f32())) };
    let said = harmless(said.trim(), SAID_OCTETS_MAX);
    let gap = if said.is_empty() { "" } else { ": " };
    match code {
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(format!("{program} ended with {code}{gap}{said}")),
        Ok(None) => Err(format!("{program} was killed{gap}{said}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    async fn run(argv: &[&str], limit_ms: u64) -> Result<(), String> {
        let notices = [Notice::test("me", Timestamp::UNIX_EPOCH)];
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        send(&notices, &argv, Duration::from_millis(limit_ms), "h").await
    }

    #[tokio::test]
    async fn it_gets_what_it_needs_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = "cat > \"$1\"; env >> \"$1\"";
        run(&["sh", "-c", script, "sh", out.to_str().unwrap()], 20_000).await.unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(text.contains("\"stage\":\"test\"") && text.contains("MAILGATHER_EVENT=test\n") && text.contains("MAILGATHER_COUNT=1\n"), "{text}");
        assert!(!text.contains("CARGO") && !text.contains("HOME="), "{text}");
    }

    #[tokio::test]
    async fn it_ends_in_time_and_its_failure_says_why() {
        assert!(run(&["sleep", "30"], 50).await.unwrap_err().contains("did not end within"));
        assert!(run(&["/no/such/program"], 5_000).await.is_err());
        assert_eq!(run(&["sh", "-c", "echo oops >&2; exit 3"], 20_000).await.unwrap_err(), "sh ended with 3: oops");
        assert_eq!(run(&["true"], 20_000).await, Ok(()), "it need not read");
    }
}
