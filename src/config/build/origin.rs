//! Where each value of a collector comes from: the layers that it was built from, taken apart once more for one collector that somebody asks about.

use super::block::Block;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Node, Value};

/// Blocks that are looked through key by key; of any other key the first layer that has it says all.
const MERGED: [&str; 8] = ["tls", "auth", "timeouts", "expunge", "delivery", "delivery.headers", "delivery.trace_headers", "delivery.retry"];
/// Keys of `delivery` that belong to its target: a layer that names one cuts off those below.
const OF_TARGET: [&str; 5] = ["lmtp", "smtp", "maildir", "tls", "auth"];
/// Blocks that are shown key by key, though they are taken whole.
const SHOWN_APART: [&str; 2] = ["recipient", "recipient.auto"];

/// A layer of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Layer {
    /// The collector itself.
    Own,
    /// A template that it uses.
    Template(String),
    /// Its provider.
    Provider {
        /// Its name.
        id: String,
        /// It came with the program: its values stand in no file.
        built_in: bool,
    },
    /// `defaults:`
    Defaults,
    /// `delivery:` of the top level.
    Shared,
}

/// A value, with the layer that says it.
#[derive(Clone, Debug)]
pub(in crate::config) struct Said {
    /// Its key, as `tls.mode`.
    pub key: String,
    pub value: Node,
    /// Where the key stands.
    pub span: Span,
    pub layer: Layer,
}

/// The values of these layers; the first that has a key wins.
pub(super) fn said(layers: &[(Layer, &[Entry])], keys: &[&str], shared: &Block<'_>) -> Vec<Said> {
    let mut found = Vec::new();
    for key in keys {
        let of_key = |(layer, entries): &(Layer, &[Entry])| {
            let entry = entries.iter().find(|entry| entry.key == *key)?;
            Some((layer.clone(), entry.clone()))
        };
        let mut having: Vec<(Layer, Entry)> = layers.iter().filter_map(of_key).collect();
        if *key == "delivery" {
            let top = |entries: &[Entry]| Entry { key: "delivery".to_owned(), span: shared.span, value: map_of(entries, shared.span) };
            having.extend(shared.layers().iter().map(|entries| (Layer::Shared, top(entries))));
        }
        take(key, &having, &mut found);
    }
    found
}

fn map_of(entries: &[Entry], span: Span) -> Node {
    Node { span, value: Value::Map(entries.to_vec()), tag: None, anchored: false }
}

/// Takes a key from the layers that have it.
fn take(key: &str, having: &[(Layer, Entry)], found: &mut Vec<Said>) {
    let Some((layer, first)) = having.first() else { return };
    let is_block = |entry: &Entry| matches!(entry.value.value, Value::Map(_));
    if !MERGED.contains(&key) || !is_block(first) {
        return apart(key, layer, first, found);
    }
    let target_at = having.iter().position(|(_, entry)| entries(entry).iter().any(|inner| OF_TARGET[..3].contains(&inner.key.as_str())));
    let mut names: Vec<&str> = Vec::new();
    for inner in having.iter().flat_map(|(_, entry)| entries(entry)) {
        if !names.contains(&inner.key.as_str()) {
            names.push(&inner.key);
        }
    }
    for name in names {
        let depth = match target_at {
            Some(at) if key == "delivery" && OF_TARGET.contains(&name) => at + 1,
            _ => having.len(),
        };
        let inside = |(layer, entry): &(Layer, Entry)| Some((layer.clone(), entries(entry).iter().find(|inner| inner.key == name)?.clone()));
        let having: Vec<(Layer, Entry)> = having[..depth].iter().filter_map(inside).collect();
        take(&format!("{key}.{name}"), &having, found);
    }
}

/// One value, or those of a block that has places of its own.
fn apart(key: &str, layer: &Layer, entry: &Entry, found: &mut Vec<Said>) {
    match &entry.value.value {
        Value::Map(inner) if SHOWN_APART.contains(&key) && !inner.is_empty() => {
            inner.iter().for_each(|inner| apart(&format!("{key}.{}", inner.key), layer, inner, found));
        }
        _ => found.push(Said { key: key.to_owned(), value: entry.value.clone(), span: entry.span, layer: layer.clone() }),
    }
}

fn entries(entry: &Entry) -> &[Entry] {
    match &entry.value.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}
