//! Access tokens that the program gets itself: are they there, until when, and are they what the mailbox needs.

use super::Patient;
use super::finding::Finding;
use crate::config::Collector;
use crate::oauth::told::told;
use crate::oauth::verdict::{self, Wanted};
use crate::oauth::{Found, Keeper};
use serde_json::Value;
use std::sync::Arc;

/// A refresh token that ends so soon is worth a word.
const SOON_SECONDS: i64 = 3 * 24 * 3600;
/// Most collectors that are looked at.
const LOOKED_MAX: usize = 1_000;

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(loaded) = patient.loaded else { return Vec::new() };
    let mut findings = Vec::new();
    let mut good = 0;
    for collector in loaded.config.collectors.values().filter(|collector| collector.enabled).take(LOOKED_MAX) {
        let Some(oauth) = &collector.server.auth.oauth else { continue };
        match of(collector, &Keeper::new(&collector.id, oauth)).await {
            Some(finding) => findings.push(finding),
            None => good += 1,
        }
    }
    if good > 0 {
        findings.push(Finding::ok("tokens", format!("{good} of the collectors have access tokens, or get them by themselves")));
    }
    findings
}

async fn of(collector: &Arc<Collector>, keeper: &Keeper) -> Option<Finding> {
    let told = told(keeper).await;
    let name = collector.id.as_str();
    let login = format!("`mailgather oauth login {name}` signs in");
    let reason = told["reason"].as_str().unwrap_or_default();
    match told["state"].as_str().unwrap_or_default() {
        "missing" | "other" if !keeper.oauth().flow.needs_a_person() => return None,
        "missing" | "refused" | "ended" | "other" | "unreadable" => {
            return Some(Finding::failed("tokens", format!("{name}: {reason}"), login));
        }
        _ => {}
    }
    if let Ok(Found::Tokens(tokens)) = keeper.kept().await {
        let server = &collector.server;
        let now = jiff::Timestamp::now().as_second();
        let mailbox = server.web.address.as_ref().map_or_else(|| server.username.clone(), ToString::to_string);
        let wanted = Wanted { protocol: server.protocol, username: &mailbox, now };
        if let Some(verdict) = verdict::of_kept(tokens.access.expose(), wanted) {
            return Some(Finding::failed("tokens", format!("{name}: {}", verdict.text), verdict.hint));
        }
        if let Some(until) = tokens.refresh_until.filter(|until| until - now < SOON_SECONDS) {
            let text = format!("{name}: the provider ends the refresh token in {} hours", (until - now).max(0) / 3600);
            return Some(Finding::warning("tokens", text, login));
        }
    }
    let missing: Vec<&str> = told["missing_scopes"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect();
    (!missing.is_empty()).then(|| {
        let text = format!("{name}: the tokens are without {}", missing.join(", "));
        Finding::warning("tokens", text, format!("allow all of it: {login}"))
    })
}
