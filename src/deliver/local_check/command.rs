//! `check_local: {command: [...]}`: a program of the operator's, given the address as its last argument. No shell is in between.

use super::Exists;
use crate::mail::Address;
use crate::mail::outcome::harmless;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How much of the command's output is kept, for the log.
const OUTPUT_OCTETS_MAX: usize = 500;
/// Commands that run at once.
const RUNNING_MAX: usize = 4;
/// How long output is waited for once the command has ended: a child of its own may keep the pipe open.
const OUTPUT_LATE: Duration = Duration::from_millis(100);
/// EX_NOUSER of sysexits.h.
const EX_NOUSER: i32 = 67;

pub(super) struct Command {
    argv: Vec<String>,
    timeout: Duration,
    permits: Semaphore,
}

impl Command {
    pub(super) fn new(argv: Vec<String>, timeout: Duration) -> Self {
        Command { argv, timeout, permits: Semaphore::new(RUNNING_MAX) }
    }

    pub(super) async fn exists(&self, address: &Address) -> Exists {
        let _permit = self.permits.acquire().await.ok();
        let Some((program, arguments)) = self.argv.split_first() else { return Exists::Unknown("the command is empty".to_owned()) };
        let address = address.to_smtp();
        // The address comes from the outside, and must not choose the program's options.
        if address.starts_with('-') {
            return Exists::Unknown(format!("{program} was not asked: the address could be taken for an option"));
        }
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).arg(&address).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it started ends with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => return Exists::Unknown(format!("{program}: {error}")),
        };
        let Ok((code, said)) = timeout(self.timeout, child.end()).await else {
            return Exists::Unknown(format!("{program} did not end within {} s", self.timeout.as_secs_f32()));
        };
        let said = harmless(said.trim(), OUTPUT_OCTETS_MAX);
        let gap = if said.is_empty() { "" } else { ": " };
        match code {
            Ok(Some(0)) => Exists::Yes,
            Ok(Some(code @ (1 | EX_NOUSER))) => Exists::No(format!("{program} ended with {code}{gap}{said}")),
            Ok(Some(code)) => Exists::Unknown(format!("{program} ended with {code}{gap}{said}")),
            Ok(None) => Exists::Unknown(format!("{program} was killed{gap}{said}")),
            Err(error) => Exists::Unknown(format!("{program}: {error}")),
        }
    }
}

/// A child that leads a group of its own, which is killed when this is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Exit status (`None` for a signal) and the first of what it wrote.
    pub(crate) async fn end(&mut self) -> (std::io::Result<Option<i32>>, String) {
        let mut said = (Vec::new(), Vec::new());
        let (out, err) = (self.0.stdout.take(), self.0.stderr.take());
        let status = {
            let mut reading = std::pin::pin!(async { tokio::join!(keep_some(out, &mut said.0), keep_some(err, &mut said.1)) });
            let mut read = false;
            let status = loop {
                tokio::select! {
                    status = self.0.wait() => break status,
                    _ = &mut reading, if !read => read = true,
                }
            };
            if !read {
                let _ = timeout(OUTPUT_LATE, &mut reading).await;
            }
            status
        };
        // Why it says no is on its standard error, if it is anywhere.
        let octets = if said.1.is_empty() { said.0 } else { said.1 };
        (status.map(|status| status.code()), String::from_utf8_lossy(&octets).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The id is gone once the child was waited for: its number may be somebody else's then.
        let id = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
        if let Some(group) = id {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Reads to the end, so that the command is not stopped by a full pipe, and keeps the beginning.
async fn keep_some(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut octets = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut octets).await {
        kept.extend_from_slice(&octets[..n.min(OUTPUT_OCTETS_MAX - kept.len())]);
    }
}
