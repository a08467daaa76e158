//! One change of one text.

use super::tree::{self, Data, Pair, Place, What};
use super::{Refusal, Value};
use crate::import::yaml::quoted;
use std::collections::BTreeMap;
use std::ops::Range;

/// The block in which collectors stand.
const COLLECTORS: &str = "collectors";

/// What is to be done with a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A key of it gets this value.
    Set(Vec<String>, Value),
    /// A key of it goes.
    Unset(Vec<String>),
    /// It goes.
    Remove,
    /// It gets another name.
    Rename(String),
}

/// Does this with a collector in the text of one file, one after the other; all or nothing.
pub fn edit(text: &str, name: &str, ops: &[Op]) -> Result<String, Refusal> {
    let mut done = text.to_owned();
    let mut is_certain = Ok(());
    for op in ops {
        let (next, certain) = one(&done, name, op)?;
        done = next;
        is_certain = is_certain.and(certain);
    }
    // Of several changes the proposal holds all.
    match is_certain {
        Ok(()) => Ok(done),
        Err(refusal) => Err(Refusal { proposal: Some(done), ..refusal }),
    }
}

/// The keys of a collector as they stand in the text of one file.
pub fn keys(text: &str, name: &str) -> Result<BTreeMap<String, Data>, Refusal> {
    let root = tree::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let absent = || Refusal::absent(format!("there is no collector `{name}` in this file"));
    let collector = root.pair(COLLECTORS).and_then(|collectors| collectors.value.pair(name)).ok_or_else(absent)?;
    if collector.value.is_shared() {
        return Err(Refusal::of("an anchor or an alias stands in it"));
    }
    match collector.value.data() {
        Data::Map(keys) => Ok(keys),
        _ => Err(Refusal::of("it is no block of keys")),
    }
}

/// The changed text, and whether it is certain that it is what was meant.
fn one(text: &str, name: &str, op: &Op) -> Result<(String, Result<(), Refusal>), Refusal> {
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = &text[bom..];
    let root = tree::read(body)?;
    let edit = Edit { text: body, name };
    let changes = edit.changes(&root, op)?;
    let mut new = body.to_owned();
    let mut pieces = changes.pieces;
    pieces.sort_by_key(|(span, _)| span.start);
    for (span, with) in pieces.iter().rev() {
        new.replace_range(span.clone(), with);
    }
    // What came of it must mean what was meant, and nothing else.
    let wanted = edit.meant(root.data(), op);
    let found = tree::read(&new).ok().map(|root| root.data());
    if wanted.is_none() || found != wanted {
        return Err(Refusal::of("the file is written in a way that this edit cannot follow"));
    }
    Ok((format!("{}{new}", &text[..bom]), changes.certain))
}

struct Edit<'t> {
    text: &'t str,
    name: &'t str,
}

struct Changes {
    pieces: Vec<(Range<usize>, String)>,
    certain: Result<(), Refusal>,
}

impl Edit<'_> {
    fn changes(&self, root: &Place, op: &Op) -> Result<Changes, Refusal> {
        let absent = || Refusal::absent(format!("there is no collector `{}` in this file", self.name));
        let collectors = root.pair(COLLECTORS).ok_or_else(absent)?;
        let pair = collectors.value.pair(self.name).ok_or_else(absent)?;
        // On the way down braces make an edit uncertain; what others share must not be edited at all.
        let mut certain = self.plain(root, "the file");
        certain = certain.and(self.plain(&collectors.value, "`collectors`"));
        self.own(&collectors.value, "`collectors`")?;
        let pieces = match op {
            Op::Rename(to) => vec![(pair.key_span.clone(), quoted(to))],
            Op::Remove => {
                certain = certain.and(self.whole(&pair.value));
                vec![self.without(pair, &collectors.value)?]
            }
            Op::Set(path, value) => {
                let (pieces, sure) = self.set(pair, path, value)?;
                certain = certain.and(sure);
                pieces
            }
            Op::Unset(path) => {
                let (pieces, sure) = self.unset(pair, path)?;
                certain = certain.and(sure);
                pieces
            }
        };
        Ok(Changes { pieces, certain })
    }

    /// A name of what stands behind a path.
    fn named(&self, steps: &[String]) -> String {
        if steps.is_empty() { format!("collector `{}`", self.name) } else { format!("`{}` of collector `{}`", steps.join("."), self.name) }
    }

    /// Not in braces.
    fn plain(&self, place: &Place, what: &str) -> Result<(), Refusal> {
        match place.what {
            What::Map { braces: true, .. } | What::List { braces: true, .. } => {
                Err(Refusal::of(format!("{what} is written in braces")).at(self.text, place.span.start))
            }
            _ => Ok(()),
        }
    }

    /// Neither an alias, nor with an anchor, a tag or a merge key.
    fn own(&self, place: &Place, what: &str) -> Result<(), Refusal> {
        let merges = place.pair("<<").is_some();
        match &place.what {
            What::Alias => Err(Refusal::of(format!("{what} is an alias of what stands elsewhere")).at(self.text, place.span.start)),
            _ if merges => Err(Refusal::of(format!("{what} takes keys from elsewhere by `<<`")).at(self.text, place.span.start)),
            _ if place.marked => Err(Refusal::of(format!("{what} has an anchor or a tag, which others may share")).at(self.text, place.span.start)),
            _ => Ok(()),
        }
    }

    /// Nothing in it is shared with others, and its end is where it seems to be.
    fn whole(&self, place: &Place) -> Result<(), Refusal> {
        if place.is_shared() {
            return Err(Refusal::of("an anchor or an alias stands in it").at(self.text, place.span.start));
        }
        Ok(())
    }

    fn set(&self, collector: &Pair, path: &[String], value: &Value) -> Result<(Vec<(Range<usize>, String)>, Result<(), Refusal>), Refusal> {
        let mut certain = Ok(());
        let mut block = &collector.value;
        for (depth, step) in path.iter().enumerate() {
            let what = self.named(&path[..depth]);
            self.own(block, &what)?;
            certain = certain.and(self.plain(block, &what));
            let What::Map { pairs, braces } = &block.what else {
                let shown = &path[..depth].join(".");
                let problem = match block.what {
                    What::Empty => format!("{what} has no keys yet"),
                    _ => format!("{what} is one value and no block: set `{shown}` whole"),
                };
                return Err(Refusal::of(problem).at(self.text, block.span.start));
            };
            match pairs.iter().find(|pair| pair.key == *step) {
                Some(pair) if depth + 1 == path.len() => {
                    self.own(&pair.value, &self.named(path))?;
                    self.whole(&pair.value)?;
                    return Ok((self.replaced(pair, value)?, certain));
                }
                Some(pair) => block = &pair.value,
                None => return Ok((vec![self.added(pairs, *braces, block, &path[depth..], value, collector)?], certain)),
            }
        }
        Err(Refusal::of("a key has no name"))
    }

    fn unset(&self, collector: &Pair, path: &[String]) -> Result<(Vec<(Range<usize>, String)>, Result<(), Refusal>), Refusal> {
        let mut certain = Ok(());
        let mut block = &collector.value;
        // The outermost key that would be left with nothing in it goes whole.
        let mut goes: Option<(&Pair, &Place)> = None;
        for (depth, step) in path.iter().enumerate() {
            let what = self.named(&path[..depth]);
            self.own(block, &what)?;
            certain = certain.and(self.plain(block, &what));
            let Some(pair) = block.pair(step) else {
                return Err(Refusal::absent(format!("{} is not set in this file", self.named(path))));
            };
            let is_alone = matches!(&block.what, What::Map { pairs, .. } if pairs.len() == 1);
            if goes.is_none() || !is_alone {
                goes = Some((pair, block));
            }
            block = &pair.value;
        }
        let Some((pair, parent)) = goes else { return Err(Refusal::of("a key has no name")) };
        certain = certain.and(self.whole(&pair.value));
        Ok((vec![self.without(pair, parent)?], certain))
    }

    /// Another value for a key that is there.
    fn replaced(&self, pair: &Pair, value: &Value) -> Result<Vec<(Range<usize>, String)>, Refusal> {
        let place = &pair.value;
        let Some(end) = place.end else { return Err(self.long(pair)) };
        if matches!(place.what, What::Empty) {
            return Ok(vec![(place.span.start..place.span.start, format!(" {}", value.written))]);
        }
        if !self.text[pair.key_span.end..place.span.start].contains('\n') {
            return match self.text[place.span.start..end].contains('\n') {
                false => Ok(vec![(place.span.start..end, value.written.clone())]),
                true => Err(self.long(pair)),
            };
        }
        // A block below its key: the value comes behind the colon, in front of a comment there, and the lines of the block go.
        let colon = self.text[pair.key_span.end..].find(':').map_or(pair.key_span.end, |at| pair.key_span.end + at + 1);
        let (from, to) = (self.next_line(colon), self.next_line(end));
        if !self.is_alone_behind(end) {
            return Err(self.long(pair));
        }
        // The last line of a file without a line end leaves none behind.
        let from = if to == self.text.len() && !self.text.ends_with('\n') { self.before_line_end(from) } else { from };
        Ok(vec![(colon..colon, format!(" {}", value.written)), (from..to, String::new())])
    }

    /// A further key of a block.
    fn added(
        &self,
        pairs: &[Pair],
        braces: bool,
        block: &Place,
        path: &[String],
        value: &Value,
        collector: &Pair,
    ) -> Result<(Range<usize>, String), Refusal> {
        if braces {
            let Some(end) = block.end else { return Err(Refusal::of("the braces end elsewhere").at(self.text, block.span.start)) };
            let mut flow = value.written.clone();
            for step in path[1..].iter().rev() {
                flow = format!("{{{}: {flow}}}", quoted(step));
            }
            let before = self.text[..end - 1].trim_end().len();
            let comma = if pairs.is_empty() { "" } else { ", " };
            return Ok((before..before, format!("{comma}{}: {flow}", quoted(&path[0]))));
        }
        let (Some(first), Some(after)) = (pairs.first(), pairs.iter().rev().find(|pair| pair.value.end.is_some_and(|end| self.is_alone_behind(end))))
        else {
            return Err(Refusal::of("all of its keys have texts over several lines").at(self.text, block.span.start));
        };
        let indent = &self.text[self.line(first.key_span.start)..first.key_span.start];
        if !indent.chars().all(|c| c == ' ') {
            return Err(Refusal::of("its first key stands behind something else on its line").at(self.text, first.key_span.start));
        }
        let step = indent.len().saturating_sub(collector.key_span.start - self.line(collector.key_span.start)).clamp(1, 8);
        let end = self.line_end();
        let mut new = String::new();
        let mut here = indent.to_owned();
        for (depth, key) in path.iter().enumerate() {
            if depth + 1 == path.len() {
                new += &format!("{here}{}: {}", quoted(key), value.written);
            } else {
                new += &format!("{here}{}:{end}", quoted(key));
                here += &" ".repeat(if path.len() > 1 && indent.len() > step { step.min(indent.len()) } else { step });
            }
        }
        let at = self.next_line(after.value.end.unwrap_or(after.value.span.end));
        // The last line of a file need not have an end, and the new last one has none either then.
        Ok(if self.text[..at].ends_with('\n') { (at..at, new + end) } else { (at..at, format!("{end}{new}")) })
    }

    /// Without a key and its value.
    fn without(&self, pair: &Pair, parent: &Place) -> Result<(Range<usize>, String), Refusal> {
        let Some(end) = pair.value.end else { return Err(self.long(pair)) };
        let What::Map { pairs, braces } = &parent.what else { return Err(self.long(pair)) };
        if *braces {
            let at = pairs.iter().position(|other| std::ptr::eq(other, pair)).unwrap_or(0);
            return Ok(match (at, pairs.get(at + 1)) {
                (_, Some(next)) => (pair.key_span.start..next.key_span.start, String::new()),
                (0, None) => (pair.key_span.start..end, String::new()),
                (_, None) => (pairs[at - 1].value.end.ok_or_else(|| self.long(pair))?..end, String::new()),
            });
        }
        let from = self.line(pair.key_span.start);
        let is_first_of_line = self.text[from..pair.key_span.start].chars().all(|c| c == ' ');
        if !is_first_of_line || !self.is_alone_behind(end) {
            return Err(self.long(pair));
        }
        if pairs.len() == 1 {
            // A block with nothing in it is written so.
            let parent_is_below = self.text[..from].ends_with('\n');
            if !parent_is_below {
                return Err(self.long(pair));
            }
        }
        let to = self.next_line(end);
        let from = if to == self.text.len() && !self.text.ends_with('\n') { self.before_line_end(from) } else { from };
        Ok((from..to, String::new()))
    }

    fn long(&self, pair: &Pair) -> Refusal {
        Refusal::of(format!("where the value of `{}` ends is not certain", pair.key)).at(self.text, pair.key_span.start)
    }

    /// Nothing but blanks and a comment stands behind this place on its line.
    fn is_alone_behind(&self, at: usize) -> bool {
        let rest = self.text[at..].split('\n').next().unwrap_or("").trim();
        rest.is_empty() || rest.starts_with('#')
    }

    /// Where the line of a place begins.
    fn line(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    /// Where the line behind that of a place begins.
    fn next_line(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |n| at + n + 1)
    }

    /// In front of the line end that stands before a place.
    fn before_line_end(&self, at: usize) -> usize {
        let before = &self.text[..at];
        before.strip_suffix("\r\n").or(before.strip_suffix('\n')).map_or(at, str::len)
    }

    /// The line end of this file.
    fn line_end(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// What the text is to mean.
    fn meant(&self, root: Data, op: &Op) -> Option<Data> {
        let Data::Map(mut root) = root else { return None };
        let Some(Data::Map(collectors)) = root.get_mut(COLLECTORS) else { return None };
        match op {
            Op::Remove => drop(collectors.remove(self.name)?),
            Op::Rename(to) => {
                let collector = collectors.remove(self.name)?;
                if collectors.insert(to.clone(), collector).is_some() {
                    return None;
                }
            }
            Op::Set(path, value) => {
                let Data::Map(block) = collectors.get_mut(self.name)? else { return None };
                set(block, path, &value.data)?;
            }
            Op::Unset(path) => {
                let Data::Map(block) = collectors.get_mut(self.name)? else { return None };
                unset(block, path)?;
                if block.is_empty() {
                    collectors.insert(self.name.to_owned(), Data::Empty);
                }
            }
        }
        if collectors.is_empty() {
            root.insert(COLLECTORS.to_owned(), Data::Empty);
        }
        Some(Data::Map(root))
    }
}

fn set(block: &mut BTreeMap<String, Data>, path: &[String], value: &Data) -> Option<()> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        block.insert(first.clone(), value.clone());
        return Some(());
    }
    match block.entry(first.clone()).or_insert_with(|| Data::Map(BTreeMap::new())) {
        Data::Map(inner) => set(inner, rest, value),
        _ => None,
    }
}

fn unset(block: &mut BTreeMap<String, Data>, path: &[String]) -> Option<()> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return block.remove(first).map(drop);
    }
    let Some(Data::Map(inner)) = block.get_mut(first) else { return None };
    unset(inner, rest)?;
    if inner.is_empty() {
        block.remove(first);
    }
    Some(())
}
