//! Asking a pass to stop. It is a request, never a cancellation: what was handed over is finished and recorded.

use tokio::sync::watch;

/// A flag that goes up once. Clones share it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// A flag that is down.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Puts the flag up.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// True once it was put up.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is up.
    pub async fn requested(&self) {
        // The sender lives in `self`, so that waiting can only end by the flag.
        let _ = self.0.subscribe().wait_for(|up| *up).await;
    }
}
