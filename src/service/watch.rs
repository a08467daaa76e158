//! Notices that a file of the configuration changed.
//!
//! The folders are watched, not the file: an editor that saves by rename, and a Kubernetes ConfigMap that swaps a symbolic link, leave a
//! watch on the file deaf. What counts in the end is the content: the supervisor compares digests. A slow poll is the floor, for file
//! systems that tell nothing (NFS).

use super::Command;
use notify::{EventKind, RecursiveMode, Watcher};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// A save is often several events; the file is read when it has been quiet this long.
const QUIET: Duration = Duration::from_millis(300);
/// The poll floor.
const POLL: Duration = Duration::from_secs(30);

/// Watches these folders in the background until the commands' receiver is gone.
pub fn start(folders: &[PathBuf], commands: mpsc::Sender<Command>) {
    let (seen, events) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too, and must not lead to reading it again.
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            // One waiting event is as good as many.
            let _ = seen.try_send(());
        }
    });
    let watcher = watcher.and_then(|mut watcher| {
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(event = "config_watch_failed", error = %error, next = "the file is polled; SIGHUP reloads at once");
    }
    tokio::spawn(relay(watcher.ok(), events, commands));
}

async fn relay(watcher: Option<notify::RecommendedWatcher>, mut events: mpsc::Receiver<()>, commands: mpsc::Sender<Command>) {
    loop {
        tokio::select! {
            Some(()) = events.recv() => {
                while tokio::time::timeout(QUIET, events.recv()).await.is_ok_and(|event| event.is_some()) {}
            }
            () = tokio::time::sleep(POLL) => {}
        }
        if commands.send(Command::FileChanged).await.is_err() {
            drop(watcher);
            return;
        }
    }
}
