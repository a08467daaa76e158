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
    /// Settings that take effect after a restart only.
    pub needs_restart: Vec<&'static str>,
}

/// Compares two configurations. A disabled collector, and every collector of a disabled service, counts as absent; starting up is a
/// change from nothing.
pub fn diff(old: Option<&Config>, new: &Config) -> Diff {
    let mut diff = Diff { needs_restart: old.map_or_else(Vec::new, |old| fixed(old, new)), ..Diff::default() };
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

/// Whether a collector can go on as it is. How much is logged of it is no business of its task.
fn is_same(before: &Arc<Collector>, after: &Arc<Collector>) -> bool {
    before == after || (before.log != after.log && Collector { log: after.log, ..Collector::clone(before) } == **after)
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
        ("service.held", old.held != new.held),
        ("service.history", old.history != new.history),
        ("service.dns", old.dns != new.dns),
        ("service.max_sessions", old.max_sessions != new.max_sessions),
        ("service.max_idle", old.max_idle != new.max_idle),
        ("service.max_sessions_per_host", old.max_sessions_per_host != new.max_sessions_per_host),
    ];
    settings.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}
