//! `GET /v1/events`: what happens, as server-sent events, to whoever listens. A listener who does not take them is let go, not waited for.

use crate::history::Event;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};

/// Events on their way to one listener; what is behind them waits where all listeners have it in common, and is bounded there.
const ON_THE_WAY_MAX: usize = 16;
/// A listener who takes nothing for this long is gone, or wants none of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where nothing happens a sign of life tells who is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// The events from now on, as text/event-stream has them. `cut` is told when the connection is to be ended from our side.
pub(super) fn stream(events: broadcast::Receiver<Arc<Event>>, cut: Arc<Notify>) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY_MAX);
    tokio::spawn(async move {
        if forward(events, sender).await.is_err() {
            cut.notify_one();
        }
    });
    receiver
}

/// The listener was too slow.
struct TooSlow;

async fn forward(mut events: broadcast::Receiver<Arc<Event>>, to: mpsc::Sender<Bytes>) -> Result<(), TooSlow> {
    // Who connects knows at once that it is in force.
    let mut text = format!("event: listening\ndata: {}\n\n", json!({"at": crate::mail::when::stamp(Timestamp::now())}));
    loop {
        match tokio::time::timeout(PATIENCE, to.send(Bytes::from(text))).await {
            Ok(Ok(())) => {}
            // It went away.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(TooSlow),
        }
        let next = tokio::select! {
            next = events.recv() => Some(next),
            () = tokio::time::sleep(SIGN_OF_LIFE) => None,
            () = to.closed() => return Ok(()),
        };
        text = match next {
            None => ": still here\n\n".to_owned(),
            Some(Ok(event)) => format!("event: {}\ndata: {}\n\n", event.name, event.document),
            Some(Err(RecvError::Lagged(missed))) => {
                let last = format!("event: cut\ndata: {}\n\n", json!({"missed": missed, "reason": "you read slower than things happen"}));
                let _ = tokio::time::timeout(PATIENCE, to.send(Bytes::from(last))).await;
                return Ok(());
            }
            Some(Err(RecvError::Closed)) => return Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Arc<Event> {
        Arc::new(Event { name: "message_delivered".into(), document: json!({"number": n}) })
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_let_go() {
        let sender = broadcast::Sender::new(8);
        let cut = Arc::new(Notify::new());
        let mut listener = stream(sender.subscribe(), Arc::clone(&cut));
        let other = stream(sender.subscribe(), Arc::new(Notify::new()));
        drop(other);
        for n in 0..100 {
            let _ = sender.send(event(n));
            tokio::task::yield_now().await;
        }
        // One that reads nothing.
        tokio::time::timeout(2 * PATIENCE, cut.notified()).await.expect("it is cut off");
        let mut found = Vec::new();
        while let Some(text) = listener.recv().await {
            found.push(String::from_utf8(text.to_vec()).unwrap());
        }
        assert!(found.len() == ON_THE_WAY_MAX && found[0].starts_with("event: listening\n"), "{found:?}");
        assert_eq!(found[1], "event: message_delivered\ndata: {\"number\":0}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_is_told_so_and_silence_has_signs_of_life() {
        let sender = broadcast::Sender::new(4);
        let events = sender.subscribe();
        (0..9).for_each(|n| drop(sender.send(event(n))));
        let mut listener = stream(events, Arc::new(Notify::new()));
        assert!(listener.recv().await.unwrap().starts_with(b"event: listening"));
        assert!(listener.recv().await.unwrap().starts_with(b"event: cut\ndata: {\"missed\":5"));
        assert!(listener.recv().await.is_none());
        let mut listener = stream(sender.subscribe(), Arc::new(Notify::new()));
        assert!(listener.recv().await.unwrap().starts_with(b"event: listening"));
        assert!(listener.recv().await.unwrap().starts_with(b": still here"));
    }
}
