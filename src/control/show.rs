//! The JSON of what runs: pure.

use crate::config::RecipientMode;
use crate::mail::when::stamp;
use crate::observe::version;
use crate::service::board::{Listed, Shown};
use crate::service::switches::Switch;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The service.
pub(super) fn service(shown: &Shown, now: Timestamp) -> Value {
    let count = |wanted: &str| shown.collectors.values().filter(|listed| state(listed, shown) == wanted).count();
    let rejected = shown.rejected.as_ref().map(|rejected| json!({"at": stamp(rejected.at), "problem": rejected.text}));
    json!({
        "version": version::NUMBER,
        "commit": version::COMMIT,
        "pid": std::process::id(),
        "started": stamp(shown.started),
        "uptime_seconds": now.duration_since(shown.started).as_secs(),
        "switch": switch(shown.switch.as_ref()),
        "state": if shown.stopping { "stopping" } else if shown.enabled { "running" } else { "off" },
        "config": {
            "file": shown.file.display().to_string(), "loaded": stamp(shown.loaded), "loaded_by": shown.loaded_by, "ok": rejected.is_none(),
            "rejected": rejected, "needs_restart": shown.needs_restart,
        },
        "collectors": {
            "all": shown.collectors.len(), "ok": count("ok"), "new": count("new"), "collecting": count("collecting"), "failing": count("failing"),
            "off": count("off"),
        },
    })
}

/// What a command said, over what the configuration says.
fn switch(switch: Option<&Switch>) -> Value {
    switch.map_or(
        Value::Null,
        |switch| json!({"on": switch.on, "until": switch.until.map(stamp), "reason": switch.reason, "by": switch.by, "at": stamp(switch.at)}),
    )
}

/// One word for how a collector fares: `off`, `collecting`, `failing`, `new` (no session ended yet), `ok`.
pub(super) fn state(listed: &Listed, shown: &Shown) -> &'static str {
    let found = listed.status.snapshot();
    match found {
        _ if !listed.collector.enabled || !shown.enabled => "off",
        _ if found.phase == crate::observe::status::Phase::Collecting => "collecting",
        _ if found.failures > 0 => "failing",
        _ if found.last_success.is_none() => "new",
        _ => "ok",
    }
}

/// One collector.
pub(super) fn collector(listed: &Listed, shown: &Shown) -> Value {
    let (collector, found) = (&listed.collector, listed.status.snapshot());
    let server = &collector.server;
    let time = |time: Option<Timestamp>| time.map(stamp);
    let (listed_messages, taken, octets) = listed.counters.read();
    let recipient = match &collector.recipient {
        RecipientMode::ForwardTo(to, _) => json!({"forward_to": to.iter().map(ToString::to_string).collect::<Vec<_>>()}),
        RecipientMode::Auto(rules, _) => json!({"auto": true, "default_box": rules.default_box.as_ref().map(ToString::to_string)}),
    };
    let error =
        found.trouble.as_ref().map(|trouble| json!({"code": format!("MG-{}", trouble.code), "message": trouble.reason, "hint": trouble.hint}));
    json!({
        "id": collector.id.as_str(),
        "title": collector.title,
        "description": collector.description,
        "enabled": collector.enabled,
        "switch": switch(listed.switch.as_ref()),
        "protocol": server.protocol.word(),
        "server": server.host,
        "port": server.port,
        "tls": server.tls.mode.word(),
        "username": server.username,
        "email": collector.email.as_ref().map(ToString::to_string),
        "provider": collector.provider,
        "recipient": recipient,
        "interval_seconds": collector.interval.as_secs_f64(),
        "manual": collector.manual,
        "state": state(listed, shown),
        "phase": found.phase.word(),
        "last_try": time(found.last_try),
        "last_success": time(found.last_success),
        "last_mail": time(found.last_mail),
        "next": time(found.next.filter(|_| state(listed, shown) != "off")),
        "failures": found.failures,
        "failing_since": time(found.failing_since),
        "error": error,
        "waiting": found.waiting,
        "since_start": {
            "sessions": {"ok": found.sessions.ok, "empty": found.sessions.empty, "partial": found.sessions.partial, "failed": found.sessions.failed},
            "messages": {"found": listed_messages, "taken": taken}, "octets": octets,
        },
    })
}
