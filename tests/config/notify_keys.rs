//! `notify:` and `metrics:` of the file.

use super::*;
use mailgather::config::{NoticeEvent, Target, Way};
use std::time::Duration;

fn of(notify: &str) -> Vec<std::sync::Arc<mailgather::config::Channel>> {
    let text = format!("notify: {notify}\n{}", with(""));
    read(&text).unwrap_or_else(|report| panic!("{text}\n{report}")).config.notify
}

fn refuse(notify: &str, words: &str) {
    refused(&format!("notify: {notify}\n{}", with("")), words);
}

#[test]
fn each_way_with_its_defaults() {
    let channels = of("[{email: a@x.example}, {webhook: 'https://h.example/x'}, {command: [/bin/true]}]");
    let (first, repeat) = (&channels[0], Duration::from_secs(12 * 3600));
    assert_eq!((first.after, first.stale, first.repeat, first.events.len()), (5, None, repeat, NoticeEvent::ALL.len()));
    assert!(
        matches!(&first.way, Way::Email { to, from: None, is_shared: true, via } if to.len() == 1 && !matches!(via.target, Target::Maildir { .. }))
    );
    assert!(matches!(&channels[1].way, Way::Webhook { token: None, .. }));
    assert!(matches!(&channels[2].way, Way::Command { timeout, .. } if *timeout == Duration::from_secs(30)));
    assert!(of("[]").is_empty());
    let channels = of(
        "[{email: [a@x.example, раз@икс.рф], from: b@x.example, via: {maildir: /tmp/m}, events: [held, auth_failed], after: 1, stale: 2h, repeat: 1d}]",
    );
    let only = &channels[0];
    assert_eq!(only.events, [NoticeEvent::AuthFailed, NoticeEvent::Held]);
    assert_eq!((only.after, only.stale, only.repeat), (1, Some(Duration::from_secs(7200)), Duration::from_secs(86_400)));
    assert!(
        matches!(&only.way, Way::Email { to, from: Some(_), is_shared: false, via } if to.len() == 2 && matches!(via.target, Target::Maildir { .. }))
    );
}

#[test]
fn what_is_half_given_or_does_nothing_is_refused() {
    for (notify, words) in [
        ("{email: a@x.example}", "takes a list"),
        ("[{after: 3}]", "takes one of `email`, `webhook`, `command`"),
        ("[{email: a@x.example, command: [/bin/true]}]", "two ways"),
        ("[{email: a@x.example}, {email: a@x.example, after: 2}]", "the same place twice"),
        ("[{email: nobody}]", "`email`"),
        ("[{email: a@x.example, token: {env: T}}]", "`token` does not go with `email`"),
        ("[{email: a@x.example, timeout: 5s}]", "`timeout` does not go with `email`"),
        ("[{webhook: 'https://h.example/', from: a@x.example}]", "`from` does not go with `webhook`"),
        ("[{webhook: 'http://h.example/'}]", "not https, and its host is not this machine"),
        ("[{webhook: 'https://u:hunter2@h.example/'}]", "holds a user or a password"),
        ("[{webhook: 'https://h.example/', tls: {mode: starttls}}]", "`mode` does not go with `webhook`"),
        ("[{command: tell-me now}]", "a list of words: there is no shell"),
        ("[{command: [/bin/true], timeout: 0s}]", "more than 0"),
        ("[{command: [/bin/true], events: [fails]}]", "one of"),
        ("[{command: [/bin/true], events: []}]", "empty list"),
        ("[{command: [/bin/true], after: 0}]", "from 1 to 1000"),
        ("[{command: [/bin/true], repeat: 12}]", "duration"),
        ("[{command: [/bin/true], reapeat: 12h}]", "did you mean `repeat`?"),
        ("[{email: a@x.example, via: {}}]", "nowhere to deliver to"),
        ("[{email: a@x.example, via: {smtp: '127.0.0.1:25', policy: []}}]", "unknown key `policy`"),
    ] {
        refuse(notify, words);
    }
    // Each collector has its own target, so that there is none for a notice.
    let own = with("delivery: {lmtp: unix:/run/lmtp}");
    let own = own.strip_prefix("delivery: {lmtp: unix:/run/lmtp}\n").unwrap();
    refused(&format!("notify: [{{email: a@x.example}}]\n{own}"), "has nowhere to go");
    assert!(read(&format!("notify: [{{email: a@x.example, via: {{smtp: '127.0.0.1:25'}}}}]\n{own}")).is_ok());
}

/// An address of the web is often a secret, and no report shows it.
#[test]
fn secrets_of_a_webhook_are_masked() {
    for notify in [
        "[{webhook: 'https://h.example/hunter2', nonsense: 1}]",
        "[{webhook: 'ftp://h.example/hunter2'}]",
        "[{webhook: 'https://h.example/', token: 'hunter2', x: 1}]",
    ] {
        let report = read(&format!("notify: {notify}\n{}", with(""))).unwrap_err().to_string();
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn who_would_hear_of_a_broken_target_by_that_target_alone_is_warned() {
    let warnings =
        |notify: &str| read(&format!("notify: {notify}\n{}", with(""))).unwrap().warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(warnings("[{email: a@x.example}]").contains("nobody is told"));
    for fine in ["[{email: a@x.example}, {command: [/bin/true]}]", "[{email: a@x.example, via: {maildir: /tmp/m}}]", "[]"] {
        assert_eq!(warnings(fine), "", "{fine}");
    }
}

/// The example of docs/monitoring.md works as it stands.
#[test]
fn the_example_of_the_page_is_taken() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md")).unwrap();
    let example = docs.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let loaded = read(&format!("{example}{}", with(""))).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((loaded.config.notify.len(), loaded.warnings.len()), (3, 0));
}

#[test]
fn metrics_have_an_address() {
    let of = |metrics: &str| {
        read(&format!("metrics: {metrics}\n{}", with("")))
            .map(|loaded| (loaded.config.metrics.map(|address| address.to_string()), loaded.warnings.len()))
    };
    assert_eq!(of("{listen: 127.0.0.1:9480}").unwrap(), (Some("127.0.0.1:9480".into()), 0));
    assert_eq!(of("{listen: '[::1]:9480'}").unwrap(), (Some("[::1]:9480".into()), 0));
    assert_eq!(of("{listen: 0.0.0.0:9480}").unwrap(), (Some("0.0.0.0:9480".into()), 1), "everybody may read them: said aloud");
    for wrong in ["{listen: 9480}", "{listen: 127.0.0.1}", "{listen: 127.0.0.1:0}", "{listen: localhost:9480}"] {
        refused(&format!("metrics: {wrong}\n{}", with("")), "listen");
    }
    let change = |text: &str| read(&format!("{text}{}", with(""))).unwrap().config;
    let before = change("metrics: {listen: 127.0.0.1:9480}\n");
    assert_eq!(diff(Some(&before), &change("")).needs_restart, ["metrics"]);
    let told = diff(Some(&before), &change("metrics: {listen: 127.0.0.1:9480}\nnotify: [{command: [/bin/true]}]\n"));
    assert_eq!((told.needs_restart.len(), told.unchanged.len(), told.settings), (0, 1, vec!["notify"]), "who is told restarts nothing");
}

/// A collector may have its own, or nobody; its layers are those of every other key.
#[test]
fn of_one_collector() {
    let of = |text: &str| {
        let loaded = read(text).unwrap_or_else(|report| panic!("{text}\n{report}"));
        loaded.config.collectors.values().next().unwrap().notify.as_ref().map(Vec::len)
    };
    let all = "notify: [{command: [/bin/true]}]\n";
    assert_eq!(of(&format!("{all}{}", with(""))), None);
    assert_eq!(of(&format!("{all}{}", with("notify: off\n"))), Some(0));
    assert_eq!(of(&with("notify: [{webhook: 'http://127.0.0.1/x'}, {email: a@x.example}]\n")), Some(2));
    assert_eq!(of(&format!("defaults: {{notify: off}}\n{}", with(""))), Some(0));
    assert_eq!(of(&format!("defaults: {{notify: off}}\n{}", with("notify: [{command: [/bin/true]}]\n"))), Some(1));
    assert_eq!(of(&format!("templates: {{quiet: {{notify: off}}}}\n{}", with("use: quiet\n"))), Some(0));
    for (notify, words) in [
        ("on", "takes `off`, or a list"),
        ("[]", "takes `off`, or a list"),
        ("{webhook: 'http://127.0.0.1/x'}", "takes `off`, or a list"),
        ("", "takes `off`, or a list"),
        ("[{webhok: x}]", "unknown key"),
        ("[{webhook: 'http://127.0.0.1/x'}, {webhook: 'http://127.0.0.1/x'}]", "the same place twice"),
    ] {
        refused(&with(&format!("notify: {notify}\n")), words);
        refused(&format!("defaults: {{notify: {}}}\n{}", if notify.is_empty() { "~" } else { notify }, with("notify: off\n")), words);
    }
    // Who is told of it restarts nothing.
    let before = read(&with("")).unwrap().config;
    let told = diff(Some(&before), &read(&with("notify: off\n")).unwrap().config);
    assert_eq!((told.changed.len(), told.unchanged.len(), told.settings), (0, 1, vec!["notify of collectors"]));
}
