//! What is said between the login and the first folder, to the few servers that want it or where the operator does.

use super::connection::Connection;
use crate::proto::imap::{Command, State};
use crate::source::SourceError;

/// Says who we are if the server wants that, and begins to compress if the operator does. A server that offers neither is not asked, one that
/// refuses goes on without.
pub(super) async fn introduce(connection: &mut Connection, id: bool, compress: bool) -> Result<(), SourceError> {
    connection.enter("login");
    connection.know_capabilities().await?;
    if id {
        send_id(connection).await?;
    }
    if compress && connection.has("COMPRESS=DEFLATE") {
        let tag = connection.send(&Command::Compress).await?;
        let status = connection.answer(tag, |_| ()).await?;
        match status.state {
            State::Ok => connection.start_compression(),
            State::No | State::Bad => {
                tracing::info!(event = "compress_refused", server = connection.peer(), next = "the session goes on uncompressed")
            }
        }
    }
    Ok(())
}

/// ID, where it is offered (RFC 2971 §3.1 forbids to make anything else of the answer).
pub(super) async fn send_id(connection: &mut Connection) -> Result<bool, SourceError> {
    if !connection.has("ID") {
        return Ok(false);
    }
    let tag = connection.send(&Command::Id).await?;
    connection.answer(tag, |_| ()).await?;
    Ok(true)
}
