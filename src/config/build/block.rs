//! A block of keys: a map whose keys are known, perhaps with further layers under it that fill in what it does not say.

use super::Ctx;
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::words::nearest;
use crate::config::yaml::{Entry, Node, Value};

/// The keys that a block takes.
pub(super) struct Keys {
    /// Those that work.
    pub known: &'static [&'static str],
    /// Those of the whole product that do not work yet.
    pub not_yet: &'static [&'static str],
}

/// An open block, its keys checked.
#[derive(Clone)]
pub(super) struct Block<'n> {
    /// For messages: "collector `sales`".
    pub name: String,
    /// Where the topmost layer stands, or what it would belong to.
    pub span: Span,
    /// The first that has a key wins.
    layers: Vec<&'n [Entry]>,
}

impl<'n> Block<'n> {
    /// Opens a map and reports the keys that do not belong there.
    pub fn open(ctx: &mut Ctx<'_>, node: &'n Node, name: &str, keys: &Keys) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            ctx.add(
                ctx.error(Code::WrongType, node.span, format!("{name} takes a block of keys")).hint(format!("its keys: {}", keys.known.join(", "))),
            );
            return None;
        };
        for entry in entries {
            check_key(ctx, entry, name, keys);
        }
        Some(Block { name: name.to_owned(), span: node.span, layers: vec![entries] })
    }

    /// A block that says nothing.
    pub fn empty(name: &str, span: Span) -> Self {
        Block { name: name.to_owned(), span, layers: Vec::new() }
    }

    /// A block of entries that were checked elsewhere.
    pub fn of(name: &str, span: Span, entries: &'n [Entry]) -> Self {
        Block { name: name.to_owned(), span, layers: vec![entries] }
    }

    /// The same block, missed at another place.
    pub fn at(self, span: Span) -> Self {
        Block { span, ..self }
    }

    /// This block over another one.
    pub fn over(mut self, base: &Block<'n>) -> Self {
        self.layers.extend(&base.layers);
        self
    }

    /// What it is made of, the topmost first.
    pub fn layers(&self) -> &[&'n [Entry]] {
        &self.layers
    }

    /// The entry of a key, from the first layer that has it.
    pub fn get(&self, key: &str) -> Option<&'n Entry> {
        self.layers.iter().find_map(|entries| entries.iter().find(|entry| entry.key == key))
    }

    /// The word that a key inside a block holds, from the first layer that has it.
    pub fn word_in(&self, block: &str, key: &str) -> Option<&'n str> {
        let inside = |entries: &&'n [Entry]| match &entries.iter().find(|entry| entry.key == block)?.value.value {
            Value::Map(entries) => match &entries.iter().find(|entry| entry.key == key)?.value.value {
                Value::Scalar { text, .. } => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        };
        self.layers.iter().find_map(inside)
    }

    /// The topmost layers down to the first that satisfies, or none.
    pub fn down_to(&self, found: impl Fn(&[Entry]) -> bool) -> Block<'n> {
        let depth = self.layers.iter().position(|entries| found(entries)).map_or(0, |at| at + 1);
        Block { layers: self.layers[..depth].to_vec(), ..self.clone() }
    }

    /// A block inside this one, merged over all layers; empty if no layer has it.
    pub fn child(&self, ctx: &mut Ctx<'_>, key: &str, keys: &Keys) -> Block<'n> {
        let name = if self.name == "the file" { format!("`{key}`") } else { format!("`{key}` of {}", self.name) };
        let mut child = Block::empty(&name, self.get(key).map_or(self.span, |entry| entry.span));
        for entries in &self.layers {
            let Some(entry) = entries.iter().find(|entry| entry.key == key) else { continue };
            if let Some(layer) = open_entry(ctx, entry, &name, keys) {
                child.layers.extend(layer.layers);
            }
        }
        child
    }
}

/// Opens the value of an entry; an empty one is said to be so at its key.
pub(super) fn open_entry<'n>(ctx: &mut Ctx<'_>, entry: &'n Entry, name: &str, keys: &Keys) -> Option<Block<'n>> {
    if entry.value.value == Value::Empty {
        ctx.add(ctx.error(Code::Missing, entry.span, format!("`{}` has no value", entry.key)).hint(format!("its keys: {}", keys.known.join(", "))));
        return None;
    }
    Block::open(ctx, &entry.value, name, keys)
}

pub(super) fn check_key(ctx: &mut Ctx<'_>, entry: &Entry, name: &str, keys: &Keys) {
    let key = entry.key.as_str();
    if keys.known.contains(&key) {
        return;
    }
    if keys.not_yet.contains(&key) {
        return ctx.not_yet(entry.span, key);
    }
    // It may be a value that slipped there, and then it is not repeated.
    let problem = ctx.error(Code::UnknownKey, entry.span, format!("unknown key {} in {name}", ctx.quoted(key, entry.span)));
    if let Some(hint) = super::elsewhere(key) {
        return ctx.add(problem.hint(hint));
    }
    ctx.add(match nearest(key, keys.known.iter().copied()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => match nearest(key, keys.not_yet.iter().copied()) {
            Some(near) => problem.label(format!("`{near}` is near, and does not work yet")),
            None => problem.hint(format!("its keys: {}", keys.known.join(", "))),
        },
    });
}
