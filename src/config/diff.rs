//! What a reload changes: pure.

use super::{Collector, Config};
use crate::mail::CollectorId;
use std::sync::Arc;

/// The way from one configuration to the next, by collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// To be started.
    pub added: Vec<CollectorId>,
    /// To be stopped.
    pub removed: Vec<CollectorId>,
    /// To be replaced, after their pass has ended.
    pub changed: Vec<CollectorId>,
    /// Not to be touched.
    pub unchanged: Vec<CollectorId>,
    /// Settings that took effect at once, whatever collectors there are.
    pub settings: Vec<&'static str>,
    /// Settings that take effect after a restart only.
    pub needs_restart: Vec<&'static str>,
}

/// Compares two configurations. A disabled collector, and every collector of a disabled service, counts as absent; starting up is a
/// change from nothing.
pub fn diff(old: Option<&Config>, new: &Config) -> Diff {
    let settings = |of: fn(&Config, &Config) -> Vec<&'static str>| old.map_or_else(Vec::new, |old| of(old, new));
    let mut diff = Diff { settings: settings(free), needs_restart: settings(fixed), ..Diff::default() };
    let running = |config: &Config, id: &CollectorId| config.collectors.get(id).filter(|c| c.enabled && config.service.enabled).cloned();
    for id in new.collectors.keys() {
        let Some(after) = running(new, id) else { continue };
        match old.and_then(|old| running(old, id)) {
            None => diff.added.push(id.clone()),
            Some(before) if is_same(&before, &after) => diff.unchanged.push(id.clone()),
            Some(_) => diff.changed.push(id.clone()),
        }
    }
    if let Some(old) = old {
        diff.removed.extend(old.collectors.keys().filter(|id| running(old, id).is_some() && running(new, id).is_none()).cloned());
    }
    diff
}

/// Whether a collector can go on as it is. How much is logged of it, and who is told of it, is no business of its task.
fn is_same(before: &Arc<Collector>, after: &Arc<Collector>) -> bool {
    let is_other = before.log != after.log || before.notify != after.notify;
    before == after || (is_other && Collector { log: after.log, notify: after.notify.clone(), ..Collector::clone(before) } == **after)
}

/// What the running process looks up whenever it needs it.
fn free(old: &Config, new: &Config) -> Vec<&'static str> {
    let logs = |config: &Config| config.collectors.iter().map(|(id, collector)| (id.clone(), collector.log)).collect::<Vec<_>>();
    let told = |config: &Config| config.collectors.iter().map(|(id, collector)| (id.clone(), collector.notify.clone())).collect::<Vec<_>>();
    let settings = [
        ("notify", old.notify != new.notify),
        ("notify of collectors", old.collectors.len() == new.collectors.len() && told(old) != told(new)),
        ("log.level", old.log_level != new.log_level),
        ("log.redact", old.log_redact != new.log_redact),
        ("log of collectors", old.collectors.len() == new.collectors.len() && logs(old) != logs(new)),
        ("service.start_jitter", old.service.start_jitter != new.service.start_jitter),
        ("service.shutdown_grace", old.service.shutdown_grace != new.service.shutdown_grace),
    ];
    settings.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}

/// What the running process holds open or has handed out.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let is_control_new = old.control != new.control;
    let is_metrics_new = old.metrics != new.metrics;
    let is_format_new = old.log_format != new.log_format;
    let (old, new) = (&old.service, &new.service);
    let settings = [
        ("control", is_control_new),
        ("metrics", is_metrics_new),
        ("log.format", is_format_new),
        ("service.state_dir", old.state_dir != new.state_dir),
        ("service.memory", old.memory != new.memory),
        ("service.spool_above", old.spool_above != new.spool_above),
        ("service.min_free_space", old.min_free_space != new.min_free_space),
        ("service.held", old.held != new.held),
        ("service.history", old.history != new.history),
        ("service.dns", old.dns != new.dns),
        ("service.max_sessions", old.max_sessions != new.max_sessions),
        ("service.max_idle", old.max_idle != new.max_idle),
        ("service.max_sessions_per_host", old.max_sessions_per_host != new.max_sessions_per_host),
    ];
    settings.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}
