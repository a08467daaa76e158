//! The words of a fetchmailrc: quoted or not, `=`, and nothing for comments and punctuation.

use super::Unreadable;

/// A word with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub line: usize,
    pub word: Word,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Unquoted: a keyword, a number, or a text.
    Bare(String),
    /// In quotes, double or single: a text, whatever it says.
    Quoted(String),
    /// `=`
    Equals,
}

impl Token {
    pub fn bare(&self) -> Option<&str> {
        match &self.word {
            Word::Bare(text) => Some(text),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.word {
            Word::Bare(text) | Word::Quoted(text) => Some(text),
            Word::Equals => None,
        }
    }
}

/// All words of a file.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Unreadable> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while let Some(&c) = chars.get(at) {
        match c {
            '\n' => {
                line += 1;
                at += 1;
            }
            // Punctuation is noise between words.
            ',' | ';' | ':' => at += 1,
            _ if c.is_whitespace() || c == '\0' => at += 1,
            '#' => at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at),
            '=' => {
                found.push(Token { line, word: Word::Equals });
                at += 1;
            }
            '"' | '\'' => {
                let begun = line;
                let end = quoted_end(&chars, at + 1, c).ok_or_else(|| Unreadable::new(begun, "this quoted text has no end"))?;
                let inside = &chars[at + 1..end];
                line += inside.iter().filter(|c| **c == '\n').count();
                found.push(Token { line: begun, word: Word::Quoted(unescaped(inside)) });
                at = end + 1;
            }
            _ => {
                let ends = |c: &char| c.is_whitespace() || matches!(c, '=' | ';' | ':' | ',' | '\0');
                let length = chars[at..].iter().position(ends).unwrap_or(chars.len() - at);
                found.push(Token { line, word: Word::Bare(unescaped(&chars[at..at + length])) });
                at += length;
            }
        }
    }
    Ok(found)
}

/// Where the closing quote is.
fn quoted_end(chars: &[char], mut at: usize, quote: char) -> Option<usize> {
    loop {
        match chars.get(at)? {
            c if *c == quote => return Some(at),
            '\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Backslashes as fetchmail reads them: `\n \t \b \r`, `\233` (decimal), `\035` (octal), `\xE9`, a line end that is left out, and else the
/// character itself.
fn unescaped(chars: &[char]) -> String {
    let (mut out, mut at) = (String::with_capacity(chars.len()), 0);
    let digits = |from: usize, radix: u32, most: usize| chars.iter().skip(from).take(most).take_while(|c| c.is_digit(radix)).collect::<String>();
    while let Some(&c) = chars.get(at) {
        at += 1;
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(&next) = chars.get(at) else { break };
        let (number, radix, skip) = match next {
            'x' => (digits(at + 1, 16, 2), 16, 1),
            // The zero is one of the three digits.
            '0' => (digits(at, 8, 3), 8, 0),
            '1'..='9' => (digits(at, 10, 3), 10, 0),
            _ => (String::new(), 10, 0),
        };
        // More than an octet cannot stand there.
        if let Some(value) = u32::from_str_radix(&number, radix).ok().and_then(|value| u8::try_from(value).ok()) {
            out.push(char::from(value));
            at += skip + number.len();
            continue;
        }
        at += 1;
        match next {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            '\n' => {}
            _ => out.push(next),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_escapes() {
        let text = "poll x.example, # no word\n  pass \"a b\\\"c\\x41\\065\\101\\\n-\", a=b;* \"poll\" c#d";
        let found = tokens(text).unwrap();
        let bare = |line, text: &str| Token { line, word: Word::Bare(text.into()) };
        let quoted = |line, text: &str| Token { line, word: Word::Quoted(text.into()) };
        let equals = Token { line: 3, word: Word::Equals };
        assert_eq!(
            found,
            [
                bare(1, "poll"),
                bare(1, "x.example"),
                bare(2, "pass"),
                quoted(2, "a b\"cA5e-"),
                bare(3, "a"),
                equals,
                bare(3, "b"),
                bare(3, "*"),
                quoted(3, "poll"),
                bare(3, "c#d")
            ]
        );
        assert_eq!(tokens("a \"b").unwrap_err().line, 1);
        assert_eq!(tokens("'a\\x41\"b #c' it's \"\\0101\"").unwrap(), [quoted(1, "aA\"b #c"), bare(1, "it's"), quoted(1, "\u{8}1")]);
    }
}
