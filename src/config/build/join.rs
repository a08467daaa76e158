//! Several files as one tree: collectors, providers and templates of all of them together, every other key in one of them.

use super::{Ctx, Part};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Node, Value};
use std::collections::HashMap;

/// The blocks to which each file may add.
const TOGETHER: [&str; 3] = ["collectors", "providers", "templates"];

/// Joins the trees, the main file's first. `None` if one of them is no block of keys.
pub(super) fn join(ctx: &mut Ctx<'_>, roots: Vec<(Node, Part)>) -> Option<Node> {
    let mut roots = roots.into_iter();
    let (main, _) = roots.next()?;
    let rest: Vec<_> = roots.collect();
    if rest.is_empty() {
        return Some(main);
    }
    let Node { span, value: Value::Map(mut all), tag, anchored } = main else { return Some(main) };
    let mut is_whole = true;
    // What stands in which block, so that a second one finds the first.
    let mut places: HashMap<(usize, String), Span> = HashMap::new();
    for (at, entry) in all.iter().enumerate() {
        if let (true, Value::Map(inner)) = (TOGETHER.contains(&entry.key.as_str()), &entry.value.value) {
            places.extend(inner.iter().map(|inner| ((at, inner.key.clone()), inner.span)));
        }
    }
    for (root, part) in rest {
        let Value::Map(entries) = root.value else {
            ctx.add(ctx.error(Code::WrongType, root.span, "a file of the configuration is a block of keys").hint("as in `collectors: {sales: {…}}`"));
            is_whole = false;
            continue;
        };
        for entry in entries {
            if !may_stand(ctx, &entry, part) {
                continue;
            }
            match all.iter().position(|known| known.key == entry.key) {
                None => {
                    if let (true, Value::Map(inner)) = (TOGETHER.contains(&entry.key.as_str()), &entry.value.value) {
                        places.extend(inner.iter().map(|inner| ((all.len(), inner.key.clone()), inner.span)));
                    }
                    all.push(entry);
                }
                // The form of each file.
                Some(_) if entry.key == "version" => {}
                Some(at) if TOGETHER.contains(&entry.key.as_str()) => add(ctx, &mut all[at], entry, at, &mut places),
                Some(at) => twice(ctx, &entry.key, entry.span, all[at].span),
            }
        }
    }
    is_whole.then_some(Node { span, value: Value::Map(all), tag, anchored })
}

/// Whether this file may hold this key.
fn may_stand(ctx: &mut Ctx<'_>, entry: &Entry, part: Part) -> bool {
    let problem = match part {
        Part::Beside if entry.key == "include" => {
            ctx.error(Code::Contradiction, entry.span, "`include` stands in the main file only").hint("name all files there")
        }
        Part::Collectors if !["version", "collectors"].contains(&entry.key.as_str()) => {
            let key = ctx.quoted(&entry.key, entry.span);
            ctx.error(Code::Contradiction, entry.span, format!("{key} does not belong into collectors.d, which holds `collectors` only"))
                .hint("the main file, or one of conf.d beside it, may hold it")
        }
        _ => return true,
    };
    ctx.add(problem);
    false
}

/// Adds the entries of a block to those of the same block before.
fn add(ctx: &mut Ctx<'_>, known: &mut Entry, more: Entry, at: usize, places: &mut HashMap<(usize, String), Span>) {
    match (&mut known.value.value, more.value.value) {
        (Value::Map(known), Value::Map(more)) => {
            for entry in more {
                match places.get(&(at, entry.key.clone())) {
                    Some(first) => twice(ctx, &entry.key, entry.span, *first),
                    None => {
                        places.insert((at, entry.key.clone()), entry.span);
                        known.push(entry);
                    }
                }
            }
        }
        // `collectors:` with nothing behind it adds nothing; what is wrong with the other is said when it is read.
        (_, Value::Empty) => {}
        (Value::Empty, value) => {
            if let Value::Map(inner) = &value {
                places.extend(inner.iter().map(|inner| ((at, inner.key.clone()), inner.span)));
            }
            known.value.value = value;
        }
        (Value::Map(_), _) => {
            ctx.add(ctx.error(Code::WrongType, more.span, format!("`{}` takes a block of keys", more.key)));
        }
        (..) => {}
    }
}

fn twice(ctx: &mut Ctx<'_>, key: &str, span: Span, first: Span) {
    let first = ctx.text.name_of(first);
    let problem = ctx.error(Code::Duplicate, span, format!("{} is there twice", ctx.quoted(key, span)));
    ctx.add(problem.note(format!("first at {first}")));
}
