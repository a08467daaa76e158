//! A file of answers (`mailgather init --answers`): the keys of one collector, out of which a file of the configuration is made. What is wrong with the
//! made one is shown where it was answered. Pure.

use super::build::strange_answers;
use super::error::{Code, Problem};
use super::text::{Pos, Span, Text};
use super::yaml::{self, Entry, Node, Value};
use std::path::{Path, PathBuf};

/// The text of such a file.
#[derive(Clone, Debug)]
pub struct AnswersText {
    path: PathBuf,
    text: String,
}

/// A step into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

impl AnswersText {
    /// Takes a text that was read.
    pub fn new(path: &Path, text: &str) -> Self {
        AnswersText { path: path.to_owned(), text: text.to_owned() }
    }

    /// The keys that do not belong there.
    pub fn strange(&self) -> Vec<Problem> {
        let lines = self.lines();
        match read(&lines) {
            Some(Node { value: Value::Map(entries), .. }) => strange_answers(&lines, &entries),
            _ => Vec::new(),
        }
    }

    /// An error at the value of a key.
    pub fn wrong(&self, key: &str, message: &str) -> Problem {
        let lines = self.lines();
        match span_of(read(&lines).as_ref(), &[Step::Key(key.to_owned())], false) {
            Some(span) => lines.error(Code::Value, span, message),
            None => Problem::error(Code::Value, message),
        }
    }

    /// A problem of a made text, where it was answered; `inside` is where the answers are in that text. What somebody typed has no place.
    pub fn traced(&self, problem: &Problem, made: &str, inside: &[&str]) -> Problem {
        let Some(place) = &problem.place else { return problem.clone() };
        let made_lines = Text::new(&place.path, made);
        let mut steps = Vec::new();
        let at = Pos { line: place.line, column: place.column };
        let is_key = read(&made_lines).is_some_and(|root| descend(&root, at, &mut steps));
        let is_inside = steps.len() >= inside.len() && inside.iter().zip(&steps).all(|(key, step)| matches!(step, Step::Key(found) if found == key));
        let steps = if is_inside { &steps[inside.len()..] } else { &steps[..] };
        let lines = self.lines();
        let traced = Problem { place: None, ..problem.clone() };
        match span_of(read(&lines).as_ref(), steps, is_key) {
            Some(span) => {
                let found = lines.error(problem.code, span, "");
                Problem { place: found.place, ..traced }.label(place.label.clone())
            }
            // The collector as a whole, or what is not in the file.
            None if steps.is_empty() => traced.note(format!("in the answers of {}", self.path.display())),
            None => traced.note(format!("this is about `{}`, which is not in {}", in_words(steps), self.path.display())),
        }
    }

    fn lines(&self) -> Text<'_> {
        Text::new(&self.path, &self.text)
    }
}

fn read(lines: &Text<'_>) -> Option<Node> {
    yaml::parse(lines, 0, &mut Vec::new())
}

/// Goes to what stands at a position; true if that is a key.
fn descend(node: &Node, at: Pos, steps: &mut Vec<Step>) -> bool {
    match &node.value {
        Value::Map(entries) => {
            let Some(entry) = entries.iter().rfind(|entry| entry.span.start <= at) else { return false };
            steps.push(Step::Key(entry.key.clone()));
            at < entry.span.end || descend(&entry.value, at, steps)
        }
        Value::List(items) => {
            let Some(n) = items.iter().rposition(|item| item.span.start <= at) else { return false };
            steps.push(Step::Item(n));
            descend(&items[n], at, steps)
        }
        Value::Empty | Value::Scalar { .. } => false,
    }
}

/// Where the key, or its value, stands.
fn span_of(root: Option<&Node>, steps: &[Step], is_key: bool) -> Option<Span> {
    let (mut node, mut key) = (root?, None::<&Entry>);
    if steps.is_empty() {
        return None;
    }
    for step in steps {
        (node, key) = match (step, &node.value) {
            (Step::Key(name), Value::Map(entries)) => {
                let entry = entries.iter().find(|entry| entry.key == *name)?;
                (&entry.value, Some(entry))
            }
            (Step::Item(n), Value::List(items)) => (items.get(*n)?, None),
            // One value in place of a list of one.
            (Step::Item(0), _) => (node, None),
            _ => return None,
        };
    }
    Some(match key {
        Some(entry) if is_key => entry.span,
        _ => node.span,
    })
}

fn in_words(steps: &[Step]) -> String {
    let keys = steps.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Item(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = "# schema\ncollectors:\n  office:\n    email: a@b.example\n    tls:\n      mode: none\n      verfy: full\n    folders: [INBOX, 5]\n    port: 1\n";
    const ANSWERS: &str = "tls: {verfy: full, mode: none}\nemail: a@b.example\npassword: hunter2\nfolders:\n  - INBOX\n  - 5\n";

    fn place_of(line: usize, column: usize) -> (Option<(usize, usize, String)>, Vec<String>) {
        let answers = AnswersText::new(Path::new("answers.yaml"), ANSWERS);
        let made = Text::new(Path::new("m.yaml"), MADE);
        let at = Pos { line, column };
        let problem = made.error(Code::Value, Span { start: at, end: Pos { line, column: column + 1 } }, "wrong").label("here");
        let traced = answers.traced(&problem, MADE, &["collectors", "office"]);
        assert_eq!((traced.code, traced.message.as_str()), (Code::Value, "wrong"));
        (traced.place.map(|place| (place.line, place.column, place.label)), traced.notes)
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_was_answered() {
        let here = |line, column| (Some((line, column, "here".to_owned())), Vec::new());
        assert_eq!(place_of(4, 12), here(2, 8));
        assert_eq!(place_of(4, 5), here(2, 1));
        assert_eq!(place_of(6, 13), here(1, 26));
        assert_eq!(place_of(7, 7), here(1, 7));
        assert_eq!(place_of(8, 22), here(6, 5));
        let (place, notes) = place_of(9, 11);
        assert!(place.is_none() && notes[0].contains("`port`, which is not in answers.yaml"), "{notes:?}");
        let (place, notes) = place_of(3, 3);
        assert!(place.is_none() && notes[0].contains("answers.yaml"), "{notes:?}");
    }

    #[test]
    fn keys_that_are_none_of_a_collector() {
        let of = |text: &str| AnswersText::new(Path::new("a.yaml"), text).strange().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(of("name: x\nemail: a@b.example\nserver: h\n").is_empty());
        for (text, message, label) in [
            ("servre: x\n", "unknown key `servre` in the answers", "a.yaml:1:1\n1 | servre: ***\n  | ^^^^^^ did you mean `server`?"),
            ("email: a@b.example\nnmae: x\n", "unknown key `nmae`", "did you mean `name`?"),
            ("forward_to: x@b.example\n", "unknown key `forward_to`", "`forward_to` is a key of `recipient`"),
        ] {
            let found = of(text);
            assert!(found.len() == 1 && found[0].contains(message) && found[0].contains(label), "{found:?}");
        }
        assert!(!of("pasword: hunter2\n")[0].contains("hunter2"));
    }

    #[test]
    fn a_value_that_is_wrong_by_itself() {
        let answers = AnswersText::new(Path::new("a.yaml"), ANSWERS);
        let text = answers.wrong("email", "no").to_string();
        assert!(text.starts_with("error[MG-108]: no\n  --> a.yaml:2:8\n2 | email: a@b.example\n  |        ^^^^^^^^^^^"), "{text}");
        assert!(!answers.wrong("password", "no").to_string().contains("hunter2"));
        assert!(answers.wrong("title", "no").place.is_none());
    }
}
