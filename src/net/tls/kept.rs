//! A TLS client that is made when it is first needed.

use super::TlsClient;
use crate::config::Tls;
use crate::net::DialError;
use tokio::sync::OnceCell;

/// The client of one configuration.
#[derive(Debug)]
pub struct TlsKept {
    tls: Tls,
    client: OnceCell<TlsClient>,
}

impl TlsKept {
    /// As configured; nothing is read yet.
    pub fn new(tls: Tls) -> Self {
        TlsKept { tls, client: OnceCell::new() }
    }

    /// The client. The system's authorities are read once; files of the operator's each time, as they may have been renewed.
    pub async fn get(&self) -> Result<TlsClient, DialError> {
        match (&self.tls.ca_file, &self.tls.client_cert) {
            (None, None) => self.client.get_or_try_init(|| TlsClient::load(&self.tls)).await.cloned(),
            _ => TlsClient::load(&self.tls).await,
        }
    }
}
