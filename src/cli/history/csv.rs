//! Rows of the history for a spreadsheet: values with commas in between (RFC 4180). What came in a message is no formula there.

use serde_json::Value;

/// The columns, by their keys in the JSON.
const COLUMNS: [&str; 20] = [
    "number",
    "at",
    "collector",
    "mailbox",
    "folder",
    "uid",
    "message_id",
    "reverse_path",
    "from",
    "octets",
    "recipients",
    "by",
    "result",
    "why",
    "target",
    "reply",
    "reason",
    "arrived",
    "seconds",
    "trace_id",
];

pub(super) fn head() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

pub(super) fn line(row: &Value) -> String {
    let cells: Vec<String> = COLUMNS.iter().map(|column| cell(&text(row, column))).collect();
    format!("{}\r\n", cells.join(","))
}

fn text(row: &Value, column: &str) -> String {
    match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(recipients) => recipients.iter().filter_map(|recipient| recipient["to"].as_str()).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// In quotes where it has to be. A spreadsheet takes what begins like this for a formula, quotes or not: an apostrophe in front makes it a text.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells() {
        for (text, wanted) in [
            ("", ""),
            ("anna@x.example", "anna@x.example"),
            ("a, b", "\"a, b\""),
            ("he said \"no\"", "\"he said \"\"no\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("раз@икс.рф", "раз@икс.рф"),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }

    #[test]
    fn a_line_has_as_many_cells_as_the_head() {
        let row = json!({"number": 7, "recipients": [{"to": "a@x.example"}, {"to": "b@x.example"}], "octets": 12, "seconds": null});
        let line = line(&row);
        assert_eq!(line.matches(',').count(), head().matches(',').count());
        assert!(line.starts_with("7,,,") && line.contains(",12,a@x.example b@x.example,") && line.ends_with("\r\n"), "{line}");
    }
}
