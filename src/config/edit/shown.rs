//! The lines of a text as they may be printed, where its tree is known: only what is a secret, or might be one, is hidden. Of a text without a tree the
//! rule of [`crate::config::mask`] holds, which hides more.

use super::tree::{self, Place, What};
use crate::config::harmless::HARMLESS;
use crate::config::mask::{MASK, has_secret_word, masked_lines, names_a_secret, says_where};
use crate::config::yaml::is_word;
use std::ops::Range;

/// The lines, secrets hidden.
pub fn shown_lines(text: &str) -> Vec<String> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Ok(root) = tree::read(body) else { return masked_lines(text) };
    let mut look = Look { hidden: Vec::new(), covered: Vec::new() };
    if look.at("", false, &root).is_none() {
        return masked_lines(text);
    }
    look.hidden.extend(comments(body, &look.covered));
    look.hidden.sort_by_key(|span| span.start);
    let mut out = String::new();
    let mut done = 0;
    for span in look.hidden.iter().filter(|span| !span.is_empty()) {
        if span.start < done {
            continue;
        }
        out.push_str(&body[done..span.start]);
        // As many lines as there were.
        out.push_str(MASK);
        (0..body[span.clone()].matches('\n').count()).for_each(|_| out.push_str(&format!("\n{MASK}")));
        done = span.end;
    }
    out.push_str(&body[done..]);
    out.lines().map(str::to_owned).collect()
}

struct Look {
    hidden: Vec<Range<usize>>,
    /// Where words stand: a `#` in them begins no comment.
    covered: Vec<Range<usize>>,
}

impl Look {
    /// Takes the value of a key, which may be one inside of a secret's value; `None` if it is not certain where it ends.
    fn at(&mut self, key: &str, in_secret: bool, place: &Place) -> Option<()> {
        let end = place.end?;
        // The name of a stored secret is none.
        let is_where = says_where(key) && (in_secret || !names_a_secret(key));
        let is_secret = names_a_secret(key) && !HARMLESS.contains(&key) && !is_where;
        match &place.what {
            What::Empty => {}
            // A tag or an anchor in front of a secret is a part of it that slipped.
            _ if place.marked && is_secret => return None,
            What::Scalar { .. } | What::Alias => {
                self.covered.push(place.span.start..end);
                // A key that nobody knows may be a secret's, misspelt.
                if is_secret || (is_word(key) && !HARMLESS.contains(&key) && !is_where) {
                    self.hidden.push(place.span.start..end);
                }
            }
            What::List { items, .. } => {
                for item in items {
                    self.at(key, in_secret, item)?;
                }
            }
            What::Map { pairs, .. } => {
                if is_secret && !pairs.iter().all(|pair| says_where(&pair.key) || pair.key == "command") {
                    self.hidden.push(place.span.start..end);
                }
                for pair in pairs {
                    self.covered.push(pair.key_span.clone());
                    self.at(&pair.key, is_secret, &pair.value)?;
                }
            }
        }
        Some(())
    }
}

/// The comments in which a secret is named, with those around them: of a block of comments that was a collector once, all of it.
fn comments(text: &str, covered: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut block: Vec<Range<usize>> = Vec::new();
    let end_block = |block: &mut Vec<Range<usize>>, hidden: &mut Vec<Range<usize>>| {
        if block.iter().any(|span| has_secret_word(&text[span.clone()])) {
            hidden.append(block);
        }
        block.clear();
    };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let is_comment = |at: usize| {
            let before = content[..at].chars().next_back();
            before.is_none_or(char::is_whitespace) && !covered.iter().any(|span| span.contains(&(start + at)))
        };
        let comment = content.match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at));
        match comment {
            Some(at) if content[..at].trim().is_empty() => block.push(start + at + 1..start + content.len()),
            Some(at) => {
                end_block(&mut block, &mut hidden);
                block.push(start + at + 1..start + content.len());
                end_block(&mut block, &mut hidden);
            }
            None => end_block(&mut block, &mut hidden),
        }
        start += line.len();
    }
    end_block(&mut block, &mut hidden);
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_hidden() {
        let text = "\
# ours: all of it
collectors:   # the # list
  a:
    title: 'a: # b'
    password: hunter2   # said
    auth: {token: hunter2, method: password}
    client_secret: {secret: a-name}
    secret: {env: A_NAME}
    pasword: {file: /x, env: hunter2x}
    unknown: hunter2
  # b:
  #   password: |
  #     hunter2

  # c is another one
  c:
    password: {command: [pass, hunter2]}
    auth:
      token:
        hunter: hunter2
        b: hunter2
    email: c@x.example  # its password is hunter2
";
        let shown = shown_lines(text);
        assert_eq!(shown.len(), text.lines().count());
        let expected = "\
# ours: all of it
collectors:   # the # list
  a:
    title: 'a: # b'
    password: ***   # said
    auth: {token: ***, method: password}
    client_secret: {secret: a-name}
    secret: {env: A_NAME}
    pasword: {file: /x, env: hunter2x}
    unknown: ***
  #***
  #***
  #***

  # c is another one
  c:
    password: {command: [***, ***]}
    auth:
      token:
        ***
***
    email: c@x.example  #***
";
        assert_eq!(shown.join("\n") + "\n", expected);
        assert!(shown_lines("a:\n  password: |\n    hunter2\n").iter().all(|line| !line.contains("hunter2")));
        assert!(shown_lines("a:\n  password: hunter2\n b: [\n").iter().all(|line| !line.contains("hunter2")));
        assert!(shown_lines("a:\n  password: !hunter2 x\n  b: &hunter2 x\n").iter().all(|line| !line.contains("!hunter2")));
    }
}
