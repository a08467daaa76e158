//! What `mailgather test` prints. Pure.

use crate::service::probe::{Depth, Ended, Report, Step};
use serde_json::{Value, json};
use std::time::Duration;

/// Where the text of a step begins.
const INDENT: usize = 14;
/// Where the times end, if the text leaves room.
const COLUMN: usize = 100;

/// Who is tried.
pub(super) fn head(collector: &str, server: &str) -> String {
    format!("{collector}: connecting to {server}\n")
}

/// A line for a step, and one for each note.
pub(super) fn step(step: &Step) -> String {
    let word = match step.ended {
        Ended::Well(took) => time(took),
        Ended::NotNeeded => "-".to_owned(),
        Ended::Badly(word, took) => format!("{word} {}", time(took)),
    };
    let start = format!("  {:<width$}{}", step.name.word(), step.text, width = INDENT - 2);
    let gap = COLUMN.saturating_sub(start.chars().count() + word.chars().count()).max(2);
    let mut text = format!("{start}{}{word}\n", " ".repeat(gap));
    for note in &step.notes {
        text += &format!("{}{note}\n", " ".repeat(INDENT));
    }
    text
}

/// How it ended: what was not tried, or that all is well.
pub(super) fn end(report: &Report, depth: Depth) -> String {
    let name = report.collector.as_str();
    if report.cause.is_some() {
        let not_tried: Vec<&str> = report.not_tried.iter().map(|name| name.word()).collect();
        return if not_tried.is_empty() { String::new() } else { format!("  not tried: {}\n", not_tried.join(", ")) };
    }
    match depth {
        Depth::Tls => format!("{name}: test successful, up to the secured channel\n"),
        Depth::Login => format!("{name}: test successful, up to the login\n"),
        Depth::Whole => format!("{name}: test successful\n"),
    }
}

/// What went wrong, and what to do.
pub(super) fn error(report: &Report) -> Option<String> {
    let cause = report.cause.as_ref()?;
    let (code, hint) = (cause.code(), cause.hint());
    let mut text = format!("error[MG-{code}]: {}: {}\n", report.collector, cause.message());
    if !hint.is_empty() {
        text += &format!("hint: {hint}\n");
    }
    Some(format!("{text}more: mailgather explain MG-{code}\n"))
}

/// The same for programs.
pub(super) fn json(report: &Report, exit: u8) -> Value {
    let steps: Vec<Value> = report
        .steps
        .iter()
        .map(|step| {
            let (result, took) = match step.ended {
                Ended::Well(took) => ("ok", Some(took)),
                Ended::NotNeeded => ("not_needed", None),
                Ended::Badly(_, took) => ("failed", Some(took)),
            };
            let ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            json!({"step": step.name.word(), "result": result, "ms": ms, "text": step.text, "notes": step.notes})
        })
        .collect();
    let error = report.cause.as_ref().map(|cause| {
        let code = format!("MG-{}", cause.code());
        let doc = format!("docs/errors/{code}.md");
        json!({"code": code, "collector": report.collector.as_str(), "message": cause.message(), "server": cause.server(), "hint": cause.hint(), "doc": doc})
    });
    json!({
        "collector": report.collector.as_str(),
        "server": report.server,
        "ok": report.cause.is_none(),
        "exit": exit,
        "steps": steps,
        "not_tried": report.not_tried.iter().map(|name| name.word()).collect::<Vec<_>>(),
        "error": error,
    })
}

fn time(took: Duration) -> String {
    match took.as_millis() {
        0 => "<1 ms".to_owned(),
        ms if ms < 10_000 => format!("{ms} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::CollectorId;
    use crate::service::probe::{Cause, StepName};
    use crate::source::{SourceError, SourceErrorKind};

    fn of(name: StepName, ended: Ended, text: &str) -> Step {
        Step { name, ended, text: text.into(), notes: Vec::new() }
    }

    fn refused() -> Report {
        let error =
            SourceError::new(SourceErrorKind::Auth, "login", "pop.mail.ru:995", "the server refuses the login").said("[AUTH] no").hint("do it");
        let mut login = of(StepName::Login, Ended::Badly("REFUSED", Duration::from_millis(120)), "USER/PASS as boss@mail.ru");
        login.notes.push("server said: [AUTH] no".into());
        Report {
            collector: CollectorId::new("boss").unwrap(),
            server: "pop.mail.ru:995 (pop3)".into(),
            steps: vec![of(StepName::Dns, Ended::Well(Duration::from_millis(8)), "pop.mail.ru → 192.0.2.74"), login],
            not_tried: vec![StepName::Folder, StepName::Count, StepName::Destination],
            cause: Some(Cause::Source(error)),
        }
    }

    #[test]
    fn a_refused_login() {
        let report = refused();
        let text: String = report.steps.iter().map(step).collect();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  dns         pop.mail.ru → 192.0.2.74  ") && lines[0].ends_with("  8 ms"), "{text}");
        assert!(lines[1].ends_with("  REFUSED 120 ms"), "{text}");
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
        assert_eq!(lines[2], "              server said: [AUTH] no");
        assert_eq!(end(&report, Depth::Whole), "  not tried: folder, count, destination\n");
        assert_eq!(
            error(&report).unwrap(),
            "error[MG-203]: boss: pop.mail.ru:995: login: the server refuses the login (server said: [AUTH] no)\nhint: do it\nmore: mailgather explain MG-203\n"
        );
        let value = json(&report, 77);
        assert_eq!((value["exit"].as_u64(), value["ok"].as_bool(), value["error"]["code"].as_str()), (Some(77), Some(false), Some("MG-203")));
        assert_eq!(value["error"]["server"], "[AUTH] no");
        assert_eq!((value["steps"][1]["result"].as_str(), value["not_tried"][2].as_str()), (Some("failed"), Some("destination")));
        assert!(!value.to_string().contains('\n'));
    }

    #[test]
    fn success() {
        let report = Report { cause: None, not_tried: Vec::new(), ..refused() };
        assert_eq!(end(&report, Depth::Whole), "boss: test successful\n");
        assert_eq!(end(&report, Depth::Login), "boss: test successful, up to the login\n");
        assert!(error(&report).is_none() && json(&report, 0)["error"].is_null());
        let long = step(&of(StepName::Tcp, Ended::Well(Duration::from_secs(12)), &"x".repeat(200)));
        assert!(long.ends_with("x  12.0 s\n"), "{long}");
        assert!(step(&of(StepName::Tls, Ended::NotNeeded, "none")).ends_with("  -\n"));
    }
}
