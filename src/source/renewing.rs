//! A source whose token may be refused before its time: withdrawn, or of a key that the provider has changed. It is renewed once, and the mailbox opened
//! once more; never in a loop. Knows no protocol.

use super::{Session, Source, SourceError, SourceErrorKind};
use crate::mail::{Epoch, FolderName};
use async_trait::async_trait;
use std::time::Duration;

/// What gets another token.
#[async_trait]
pub trait Renew: Send + Sync {
    /// How often it has asked for one.
    fn questions(&self) -> u64;

    /// Another one in place of the last. False if there is none to be had now.
    async fn renew(&self) -> bool;
}

/// A source, and what gets its tokens.
pub struct Renewing<R> {
    source: Box<dyn Source>,
    tokens: R,
}

impl<R: Renew> Renewing<R> {
    /// This source with these tokens.
    pub fn new(source: Box<dyn Source>, tokens: R) -> Self {
        Renewing { source, tokens }
    }
}

#[async_trait]
impl<R: Renew> Source for Renewing<R> {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let before = self.tokens.questions();
        match self.source.open().await {
            // A token that was asked for just now would be refused again.
            Err(error) if error.kind == SourceErrorKind::Auth && self.tokens.questions() == before => match self.tokens.renew().await {
                true => self.source.open().await,
                false => Err(error),
            },
            opened => opened,
        }
    }

    async fn reach(&self) -> Result<(), SourceError> {
        self.source.reach().await
    }

    fn only_place(&self) -> Option<(FolderName, Epoch)> {
        self.source.only_place()
    }

    fn least_interval(&self) -> Option<Duration> {
        self.source.least_interval()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Refuses always, and asks for a token first if `asks`.
    struct Refusing {
        opened: Arc<AtomicU64>,
        asked: Arc<AtomicU64>,
        kind: SourceErrorKind,
        asks: bool,
    }

    #[async_trait]
    impl Source for Refusing {
        async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.asked.fetch_add(u64::from(self.asks), Ordering::Relaxed);
            Err(SourceError::new(self.kind, "login", "h:993", "no"))
        }
    }

    struct Tokens {
        asked: Arc<AtomicU64>,
        renewed: Arc<AtomicU64>,
        has: bool,
    }

    #[async_trait]
    impl Renew for Tokens {
        fn questions(&self) -> u64 {
            self.asked.load(Ordering::Relaxed)
        }

        async fn renew(&self) -> bool {
            self.renewed.fetch_add(1, Ordering::Relaxed);
            self.has
        }
    }

    #[tokio::test]
    async fn once_and_only_for_a_refused_login() {
        use SourceErrorKind::{Auth, Secret, Throttled};
        for (kind, asks, has, opened, renewed) in [
            (Auth, false, true, 2, 1),
            (Auth, false, false, 1, 1),
            (Auth, true, true, 1, 0),
            (Throttled, false, true, 1, 0),
            (Secret, false, true, 1, 0),
        ] {
            let count = || Arc::new(AtomicU64::new(0));
            let (opens, asked, renews) = (count(), count(), count());
            let source = Refusing { opened: Arc::clone(&opens), asked: Arc::clone(&asked), kind, asks };
            let tokens = Tokens { asked, renewed: Arc::clone(&renews), has };
            let error = Renewing::new(Box::new(source), tokens).open().await.err().unwrap();
            assert_eq!((error.kind, opens.load(Ordering::Relaxed), renews.load(Ordering::Relaxed)), (kind, opened, renewed), "{kind:?} {asks} {has}");
        }
    }
}
