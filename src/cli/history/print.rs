//! The table of `mailgather history`. All that came in a message is made harmless once more: it cannot steer a terminal or break a line.

use super::super::when::shown;
use crate::mail::outcome::harmless;
use serde_json::Value;

/// Longest cells, in characters.
const ADDRESS_CHARS: usize = 36;
const BY_CHARS: usize = 28;
const REPLY_CHARS: usize = 60;
const TITLES: [&str; 9] = ["WHEN", "COLLECTOR", "FROM", "SIZE", "RECIPIENT", "FOUND BY", "RESULT", "TOOK", "REPLY"];

/// The rows as lines; nothing for none.
pub(super) fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![TITLES.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let line = |cells: &[String; TITLES.len()]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            3 | 7 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn cells(row: &Value) -> [String; TITLES.len()] {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let sender = Some(text("reverse_path")).filter(|sender| !sender.is_empty()).unwrap_or(text("from"));
    let result = match (text("result"), text("why")) {
        (result, "") => result.to_owned(),
        ("delivered", _) => "delivered (default box)".to_owned(),
        (result, why) => format!("{result} ({why})"),
    };
    // A reason tells more than a reply, and what went well has none.
    let said = text("reason");
    // What was never fetched has told nothing of itself.
    let nobody = if row["trace_id"].is_null() { "-" } else { "<>" };
    [
        when(text("at")),
        cut(text("collector"), ADDRESS_CHARS),
        cut(if sender.is_empty() { nobody } else { sender }, ADDRESS_CHARS),
        super::super::held::size(row["octets"].as_u64().unwrap_or(0)),
        recipients(&row["recipients"]),
        cut(text("by"), BY_CHARS),
        result,
        row["seconds"].as_i64().map(took).unwrap_or_default(),
        cut(if said.is_empty() { text("reply") } else { said }, REPLY_CHARS),
    ]
}

fn recipients(recipients: &Value) -> String {
    let all: Vec<&str> = recipients.as_array().into_iter().flatten().filter_map(|recipient| recipient["to"].as_str()).collect();
    match all[..] {
        [] => "-".to_owned(),
        [only] => cut(only, ADDRESS_CHARS),
        [first, ..] => format!("{} +{}", cut(first, ADDRESS_CHARS), all.len() - 1),
    }
}

fn when(at: &str) -> String {
    at.parse().map_or_else(|_| "?".into(), shown)
}

/// From arrival to delivery, in one or two units.
fn took(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    super::super::held::cut(&harmless(text, 4 * chars_max), chars_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_of_hostile_rows_stays_one() {
        let hostile = "\u{1b}[31mred\r\nnext\u{202e}";
        let row = json!({
            "at": "2026-11-22T01:02:03.004Z", "collector": "sales", "reverse_path": hostile, "from": hostile, "octets": 2048,
            "recipients": [{"to": hostile}, {"to": "b@x.example"}], "by": hostile, "result": "held", "why": "loop", "reason": hostile,
            "seconds": 7_500,
        });
        let plain = json!({"at": "2026-11-22T01:02:03.004Z", "collector": "b", "reverse_path": "", "trace_id": "0", "result": "delivered", "reply": "250 Ok", "why": null});
        let text = table(&[row, plain]);
        assert!(text.lines().count() == 3 && !text.contains(['\u{1b}', '\r', '\u{202e}']), "{text}");
        assert!(text.contains("held (loop)") && text.contains("2 KiB") && text.contains(" +1 ") && text.contains(" 2h "), "{text}");
        assert!(text.contains("<>") && text.contains("250 Ok"), "{text}");
        assert_eq!(table(&[]), "");
    }
}
