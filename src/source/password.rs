//! How a source gets its password: read at each login, once the channel is ready for it.

use crate::mail::Secret;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Reads the password; the error says in words why there is none, without the secret.
pub type Password = Arc<dyn Fn() -> BoxFuture<'static, Result<Secret, String>> + Send + Sync>;
