//! `log:` of the file and `log` of a collector.

use super::*;

fn modes(text: &str) -> Vec<LogMode> {
    read(text).unwrap_or_else(|report| panic!("{text}\n{report}")).config.collectors.values().map(|collector| collector.log).collect()
}

#[test]
fn c5_a_collector_logs_everything_errors_or_nothing() {
    for (word, mode) in [("full", LogMode::Full), ("errors", LogMode::Errors), ("off", LogMode::Off)] {
        assert_eq!(modes(&with(&format!("log: {word}"))), [mode]);
        assert_eq!(modes(&format!("defaults: {{log: {word}}}\n{}", with(""))), [mode]);
        assert_eq!(modes(&format!("defaults: {{log: full}}\ntemplates: {{t: {{log: {word}}}}}\n{}", with("use: t"))), [mode]);
        assert_eq!(modes(&format!("defaults: {{log: errors}}\ntemplates: {{t: {{log: full}}}}\n{}", with(&format!("use: t\nlog: {word}")))), [mode]);
    }
    assert_eq!(modes(&with("")), [LogMode::Full]);
    refused(&with("log: loud"), "full");
    refused(&with("log: {level: info}"), "`log` takes one value");
    refused(&format!("providers: {{p: {{server: x.example, log: off}}}}\n{}", with("")), "unknown key `log`");
}

#[test]
fn format_and_redact() {
    let of = |lines: &str| read(&format!("{lines}{}", with(""))).map(|loaded| (loaded.config.log_format, loaded.config.log_redact));
    assert_eq!(of("").unwrap(), (LogFormat::Auto, LogRedact::Subjects));
    assert_eq!(of("log: {format: json, redact: none}\n").unwrap(), (LogFormat::Json, LogRedact::None));
    assert_eq!(of("log: {format: journald, redact: addresses}\n").unwrap(), (LogFormat::Journald, LogRedact::Addresses));
    refused(&format!("log: {{format: xml}}\n{}", with("")), "journald");
    refused(&format!("log: {{redact: all}}\n{}", with("")), "addresses");
}

/// What is logged is no business of a collector's task.
#[test]
fn a_change_of_log_alone_restarts_nothing() {
    let config = |head: &str, lines: &str| read(&format!("{head}{}", with(lines))).unwrap().config;
    let before = config("", "");
    for (head, lines, setting) in
        [("", "log: off", "log of collectors"), ("log: {level: warn}\n", "", "log.level"), ("log: {redact: none}\n", "", "log.redact")]
    {
        let after = diff(Some(&before), &config(head, lines));
        assert_eq!((after.changed.len(), after.unchanged.len(), after.needs_restart.len()), (0, 1, 0), "{head}{lines}");
        assert_eq!(after.settings, [setting]);
    }
    assert_eq!(diff(Some(&before), &config("", "log: off\ninterval: 7m")).changed.len(), 1);
    assert_eq!(diff(Some(&before), &config("log: {format: json}\n", "")).needs_restart, ["log.format"]);
}
