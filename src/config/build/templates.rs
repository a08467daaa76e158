//! `templates:` and `use`: what a kind of collectors has in common.

use super::block::{Block, open_entry};
use super::common::{TEMPLATE, common};
use super::notify::notify_of;
use super::service::Limits;
use super::values::{one_or_more, text};
use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::words::nearest;
use crate::config::yaml::{Entry, Value};
use crate::mail::CollectorId;
use std::collections::BTreeMap;

/// Most templates that one collector uses.
const USED_MAX: usize = 20;

/// The templates, by name.
pub(super) struct Templates<'n>(BTreeMap<&'n str, Block<'n>>);

/// Reads them; each is checked by itself, used or not.
pub(super) fn templates<'n>(ctx: &mut Ctx<'_>, top: &Block<'n>, limits: &Limits) -> Templates<'n> {
    let mut templates = BTreeMap::new();
    let Some(entry) = top.get("templates") else { return Templates(templates) };
    let entries = match &entry.value.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Empty => &[],
        _ => {
            let problem = ctx.error(Code::WrongType, entry.span, format!("`templates` takes a block for each template, not {}", kind_of(entry)));
            ctx.add(problem.hint("as in `journal: {interval: 10s, collect: all, after: delete}`"));
            &[]
        }
    };
    for entry in entries {
        if CollectorId::new(&entry.key).is_none() {
            let problem = ctx.error(Code::Value, entry.span, format!("{} is no name for a template", ctx.quoted(&entry.key, entry.span)));
            ctx.add(problem.hint("letters, digits, `_` and `-`, at most 64"));
            continue;
        }
        if let Some(block) = open_entry(ctx, entry, &format!("template `{}`", entry.key), &TEMPLATE) {
            common(ctx, &block, limits);
            notify_of(ctx, top, &block);
            templates.insert(entry.key.as_str(), block);
        }
    }
    Templates(templates)
}

impl<'n> Templates<'n> {
    /// Those that a collector uses, the one that wins first. What is wrong with their names is said elsewhere.
    pub fn used(&self, own: &Block<'n>) -> Vec<(String, &'n [Entry])> {
        let names: Vec<&str> = match own.get("use").map(|entry| &entry.value.value) {
            Some(Value::Scalar { text, .. }) => vec![text],
            Some(Value::List(items)) => {
                items.iter().filter_map(|item| if let Value::Scalar { text, .. } = &item.value { Some(text.as_str()) } else { None }).collect()
            }
            _ => Vec::new(),
        };
        let found = names.into_iter().rev().filter_map(|name| Some((name.to_owned(), self.0.get(name)?)));
        found.flat_map(|(name, block)| block.layers().iter().map(move |entries| (name.clone(), *entries))).collect()
    }

    /// A collector over the templates that it uses; of these the last wins.
    pub fn under(&self, ctx: &mut Ctx<'_>, own: Block<'n>) -> Block<'n> {
        let Some(entry) = own.get("use") else { return own };
        let names = one_or_more(ctx, entry).unwrap_or_default();
        if names.len() > USED_MAX {
            ctx.add(ctx.error(Code::Range, entry.span, format!("`use` has more than {USED_MAX} entries")));
            return own;
        }
        let mut block = own;
        for item in names.iter().rev() {
            let Some(name) = text(ctx, item) else { continue };
            if let Some(template) = self.0.get(name) {
                block = block.over(template);
                continue;
            }
            let span = item.value.span;
            let problem = ctx.error(Code::Value, span, format!("there is no template {}", ctx.quoted(name, span)));
            let problem = match nearest(name, self.0.keys().copied()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")),
                None => problem,
            };
            ctx.add(match self.0.is_empty() {
                true => problem.hint("templates stand at the top level: `templates: {NAME: {…}}`"),
                false => problem.hint(format!("there are: {}", self.0.keys().copied().collect::<Vec<_>>().join(", "))),
            });
        }
        block
    }
}
