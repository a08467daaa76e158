//! A notice by HTTP: one POST of JSON. By TLS, verified, but to this machine itself; no redirect is followed.

use super::notice::{Notice, json};
use crate::config::{SecretSource, Tls, WebPlace, secret};
use crate::net;
use std::time::Duration;
use tokio::time::timeout;

/// Sends them; the error holds nothing of the address, which may be a secret, but its host.
pub(super) async fn send(
    notices: &[Notice],
    url: &SecretSource,
    token: Option<&SecretSource>,
    tls: &Tls,
    limit: Duration,
    host: &str,
) -> Result<(), String> {
    let url = secret::read(url).await.map_err(|error| format!("webhook: {error}"))?;
    let place = WebPlace::parse(url.expose().trim()).map_err(|error| format!("the webhook's address: {error}"))?;
    let token = match token {
        Some(token) => Some(secret::read(token).await.map_err(|error| format!("token: {error}"))?),
        None => None,
    };
    let document = json(notices, host).to_string();
    let posting = async {
        let channel = net::to_place(&place, tls, limit).await.map_err(|error| error.to_string())?;
        net::post(channel, &place, token.as_ref().map(|token| token.expose()), document).await.map_err(|error| error.to_string())
    };
    let posted = timeout(limit, posting).await.unwrap_or_else(|_| Err(format!("no answer in {} s", limit.as_secs_f32())));
    posted.map_err(|error| format!("{}:{}: {error}", place.host, place.port))
}
