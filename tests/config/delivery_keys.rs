//! Each key of `delivery` and of what becomes of mail that is not taken: a value that works lands in the model, the others are refused.

use super::*;
use mailgather::mail::Pattern;
use mailgather::resolve::{BccOption, DeliveredToOption, ReceiptOption, SpamOption};

fn delivery(keys: &str) -> Delivery {
    Delivery::clone(&collector(&with(&format!("delivery: {{{keys}}}"))).delivery)
}

fn is_refused(keys: &str, words: &str) {
    refused(&with(&format!("delivery: {{{keys}}}")), words);
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_target_may_be_a_list_of_servers() {
    let Target::Lmtp(relay) = delivery("lmtp: [unix:/a, '127.0.0.1:24', mail.example]").target else { panic!() };
    let tcp = |host: &str, port| Endpoint::Tcp { host: host.into(), port };
    assert_eq!(relay.endpoints, [Endpoint::Unix("/a".into()), tcp("127.0.0.1", 24), tcp("mail.example", 24)]);
    let Target::Smtp(relay) = delivery("smtp: [a.example, 'b.example:2525']").target else { panic!() };
    assert_eq!(relay.endpoints, [tcp("a.example", 25), tcp("b.example", 2525)]);
    let eleven: Vec<_> = (0..11).map(|n| format!("h{n}.example")).collect();
    assert!(matches!(delivery(&format!("smtp: [{}]", eleven[..10].join(", "))).target, Target::Smtp(relay) if relay.endpoints.len() == 10));
    for (keys, words) in [
        (format!("smtp: [{}]", eleven.join(", ")), "more than 10 servers"),
        ("smtp: [a.example, 'A.example:25']".into(), "names this server twice"),
        ("lmtp: [unix:/a, unix:///a]".into(), "names this server twice"),
        ("lmtp: []".into(), "is an empty list"),
        ("lmtp: [unix:/a, /b]".into(), "`unix:` in front"),
        ("lmtp: [[unix:/a]]".into(), "one value, not a list"),
        ("maildir: [/a, /b]".into(), "one value, not a list"),
        ("lmtp: [a.example, unix:/a], tls: {mode: starttls}".into(), "TLS on a unix socket"),
    ] {
        is_refused(&keys, words);
    }
    warned("username: b\ndelivery: {smtp: [x.example, IMAP.example.org]}", "delivers to the server it collects from");
}

#[test]
fn defaults_are_the_careful_ones() {
    assert_eq!(delivery("lmtp: unix:/l"), Delivery { target: delivery("lmtp: unix:/l").target, ..Delivery::default() });
    let d = delivery("lmtp: unix:/l");
    assert_eq!((d.policy.on_permanent_failure, d.policy.rules.len(), d.max_passes), (Action::Hold, 0, 3));
    assert!(d.suppress_dsn && !d.xclient && d.add_missing && d.fold_headers);
}

#[test]
fn permanent_failures() {
    let action = |word: &str| {
        let lines = format!("delivery: {{on_permanent_failure: {word}}}\nrecipient: {{auto: true, default_box: d@икс.рф}}");
        collector(&with(&lines)).delivery.policy.on_permanent_failure
    };
    for (word, expected) in [("hold", Action::Hold), ("default_box", Action::DefaultBox), ("leave", Action::Leave), ("discard", Action::Discard)] {
        assert_eq!(action(word), expected);
    }
    is_refused("on_permanent_failure: defer", "`default_box`, `hold`, `discard`, `leave`");
    is_refused("on_permanent_failure: bounce", "`default_box`, `hold`, `discard`, `leave`");
    warned("delivery: {on_permanent_failure: discard}", "throws mail away that the target refuses");
    is_refused("on_permanent_failure: default_box", "and collector `a` has no `default_box`");
    is_refused("policy: [{reply: 550, do: default_box}]", "`do: default_box`, and collector `a` has no `default_box`");
    refused(
        &with("delivery: {on_permanent_failure: default_box}\nrecipient: {auto: true}"),
        "add `default_box: postmaster@example.org` to its `recipient`",
    );
    // The shared delivery is as good a place for it, and the collector may say otherwise.
    let shared = |lines: &str| with(lines).replacen("{lmtp: unix:/run/lmtp}", "{lmtp: unix:/run/lmtp, on_permanent_failure: default_box}", 1);
    refused(&shared(""), "and collector `a` has no `default_box`");
    assert_eq!(collector(&shared("delivery: {on_permanent_failure: leave}")).delivery.policy.on_permanent_failure, Action::Leave);
    assert!(read(&shared("recipient: {auto: true, default_box: d@икс.рф}")).is_ok());
}

#[test]
fn policies_by_code_enhanced_code_and_expression() {
    let policy = "policy: [{reply: 550, do: hold}, {reply: '452', do: defer}, {reply: 5.7.1, do: leave}, {reply: 5.7.x, do: discard}, {reply: 4.2, do: defer}, {reply: /spam .*here/, do: hold}]";
    let rule = |reply, action| PolicyRule { reply, action };
    assert_eq!(
        delivery(policy).policy.rules,
        [
            rule(ReplyPattern::Code(550), Action::Hold),
            rule(ReplyPattern::Code(452), Action::Defer),
            rule(ReplyPattern::Enhanced(5, Some(7), Some(1)), Action::Leave),
            rule(ReplyPattern::Enhanced(5, Some(7), None), Action::Discard),
            rule(ReplyPattern::Enhanced(4, Some(2), None), Action::Defer),
            rule(ReplyPattern::Regex(Pattern::new("spam .*here").unwrap()), Action::Hold),
        ]
    );
    warned("delivery: {policy: [{reply: 550, do: discard}]}", "`do: discard` throws mail away");
    assert_eq!(delivery("policy: []").policy.rules, []);
    for (rules, words) in [
        ("{reply: 550, do: hold}", "`policy` takes a list"),
        ("[{reply: 550}]", "takes `reply` and `do`"),
        ("[{do: hold}]", "takes `reply` and `do`"),
        ("[550]", "takes a block of keys"),
        ("[{reply: 250, do: hold}]", "codes from 400 to 599"),
        ("[{reply: 421, do: hold}]", "never about a message"),
        ("[{reply: 999, do: hold}]", "codes from 400 to 599"),
        ("[{reply: 2.0.0, do: hold}]", "neither a code nor an expression"),
        ("[{reply: 5xx, do: hold}]", "neither a code nor an expression"),
        ("[{reply: spam, do: hold}]", "an expression between slashes"),
        ("[{reply: '/(/', do: hold}]", "unclosed group"),
        ("[{reply: [550, 551], do: hold}]", "one value, not a list"),
        ("[{reply: 550, do: bounce}]", "`do` is one of"),
        ("[{reply: 550, do: hold}, {reply: '550', do: leave}]", "twice: the second is never asked"),
        ("[{reply: 5.7, do: hold}, {reply: 5.7.x, do: leave}]", "twice: the second is never asked"),
        ("[{reply: 550, code: 5.7.1, do: hold}]", "unknown key `code`"),
    ] {
        is_refused(&format!("policy: {rules}"), words);
    }
    let many: Vec<_> = (0..101).map(|n| format!("{{reply: 5.1.{n}, do: hold}}")).collect();
    is_refused(&format!("policy: [{}]", many.join(", ")), "more than 100 entries");
}

#[test]
fn retries() {
    let retry = |keys: &str| delivery(&format!("retry: {{{keys}}}")).retry;
    assert_eq!(retry(""), RetryTimes::default());
    let all = retry("delays: [10s, 1m], max: 1h, give_up: 2d");
    assert_eq!(all, RetryTimes { delays: vec![seconds(10), seconds(60)], max: seconds(3_600), give_up: seconds(172_800) });
    assert_eq!(retry("delays: 5m").delays, [seconds(300)]);
    // A shorter end shortens the default delays.
    assert_eq!(retry("max: 10m").delays, [60, 300, 600, 600].map(seconds));
    for (keys, words) in [
        ("delays: [1m, 5h]", "longer than `max` (4h)"),
        ("delays: [1m, 5m], max: 2m", "longer than `max` (2m)"),
        ("delays: []", "is an empty list"),
        ("delays: [0]", "from 1s to 7d"),
        ("delays: [300]", "`300s` for seconds"),
        ("max: 8d", "from 1s to 7d"),
        ("max: 0", "from 1s to 7d"),
        ("max: 6d", "`give_up` (5d) must be more than `max` (6d)"),
        ("give_up: 4h", "`give_up` (4h) must be more than `max` (4h)"),
        ("give_up: 91d", "from 1s to 90d"),
        ("give_up: never", "is a duration"),
        ("tries: 5", "unknown key `tries`"),
    ] {
        is_refused(&format!("retry: {{{keys}}}"), words);
    }
    is_refused(&format!("retry: {{delays: [{}]}}", ["1m"; 21].join(", ")), "more than 20 entries");
    // Key by key over the shared ones.
    let text = with("delivery: {retry: {max: 2h}}").replacen("lmtp: unix:/run/lmtp", "lmtp: unix:/run/lmtp, retry: {delays: [7s], give_up: 9d}", 1);
    assert_eq!(collector(&text).delivery.retry, RetryTimes { delays: vec![seconds(7)], max: seconds(7_200), give_up: seconds(777_600) });
}

#[test]
fn content() {
    let d = delivery("suppress_dsn: false, xclient: true, eight_bit: hold, bare_cr: hold, nul: hold, add_missing: false, fold: off, max_passes: 1");
    assert!(!d.suppress_dsn && d.xclient && !d.add_missing && !d.fold_headers);
    assert_eq!((d.eight_bit, d.bare_cr, d.nul, d.max_passes), (Otherwise::Hold, Otherwise::Hold, Otherwise::Hold, 1));
    let d = delivery("eight_bit: send, bare_cr: crlf, nul: strip, fold: headers");
    assert_eq!((d.eight_bit, d.bare_cr, d.nul, d.fold_headers), (Otherwise::Deliver, Otherwise::Deliver, Otherwise::Deliver, true));
    for (keys, words) in [
        ("suppress_dsn: maybe", "`true` or `false`"),
        ("xclient: on", "write `true`"),
        ("eight_bit: crlf", "`send`, `hold`"),
        ("bare_cr: keep", "`crlf`, `hold`"),
        ("nul: reject", "`strip`, `hold`"),
        ("add_missing: 2", "`true` or `false`"),
        ("fold: false", "write `off`"),
        ("max_passes: 0", "from 1 to 100"),
        ("max_passes: 101", "from 1 to 100"),
        ("default_box: a@b.example", "`default_box` is a key of `recipient`"),
    ] {
        is_refused(keys, words);
    }
    refused(&with("max_passes: 3"), "`max_passes` is a key of `delivery`");
    refused(&with("guess: on"), "`guess` is a key of `recipient.auto`");
}

#[test]
fn what_needs_a_server_does_not_go_with_a_maildir() {
    for key in ["suppress_dsn: false", "xclient: true", "eight_bit: hold", "fold: off", "tls: {mode: none}"] {
        let name = key.split(':').next().unwrap();
        is_refused(&format!("maildir: /m, {key}"), &format!("`{name}` does not go with `maildir`"));
        // What belongs to the shared server stays behind with it.
        let text = with("delivery: {maildir: /m}").replacen("lmtp: unix:/run/lmtp", &format!("lmtp: unix:/run/lmtp, {key}"), 1);
        assert!(read(&text).is_ok(), "{key}");
    }
    let d = delivery("maildir: /m, bare_cr: hold, nul: hold, add_missing: false, headers: {bcc: remove}, max_passes: 2");
    assert_eq!((d.bare_cr, d.nul, d.add_missing, d.max_passes), (Otherwise::Hold, Otherwise::Hold, false, 2));
}

#[test]
fn header_edits() {
    let headers = |keys: &str| delivery(&format!("headers: {{{keys}}}")).headers;
    assert_eq!(headers(""), HeaderOptions::default());
    for (word, bcc) in [("auto", BccOption::Auto), ("keep", BccOption::Keep), ("remove", BccOption::Remove)] {
        assert_eq!(headers(&format!("bcc: {word}")).bcc, bcc);
    }
    for (word, option) in [("rename", DeliveredToOption::Rename), ("all", DeliveredToOption::RenameAll), ("keep", DeliveredToOption::Keep)] {
        assert_eq!(headers(&format!("delivered_to: {word}")).delivered_to, option);
    }
    for (word, spam) in [("keep", SpamOption::Keep), ("strip", SpamOption::Strip), ("prefix", SpamOption::Prefix)] {
        assert_eq!(headers(&format!("spam: {word}")).spam, spam);
    }
    for (word, receipts) in [("keep", ReceiptOption::Keep), ("drop", ReceiptOption::Drop)] {
        assert_eq!(headers(&format!("receipts: {word}")).receipts, receipts);
    }
    let text =
        with("delivery: {headers: {bcc: auto}}").replacen("lmtp: unix:/run/lmtp", "lmtp: unix:/run/lmtp, headers: {bcc: keep, spam: strip}", 1);
    let both = collector(&text).delivery.headers;
    assert_eq!((both.bcc, both.spam), (BccOption::Auto, SpamOption::Strip));
    for (keys, words) in [
        ("bcc: drop", "`auto`, `keep`, `remove`"),
        ("delivered_to: remove", "`rename`, `all`, `keep`"),
        ("spam: drop", "`keep`, `strip`, `prefix`"),
        ("receipts: strip", "`keep`, `drop`"),
        ("subject: x", "unknown key `subject`"),
    ] {
        is_refused(&format!("headers: {{{keys}}}"), words);
    }
    is_refused("headers: keep", "takes a block of keys");
}

#[test]
fn duplicates_are_remembered_with_auto() {
    let window = |lines: &str| collector(&with(lines)).dedupe_window;
    assert_eq!(window(""), Duration::ZERO);
    assert_eq!(window("recipient: {auto: true}"), seconds(7 * 86_400));
    assert_eq!(window("dedupe_window: 2d"), seconds(2 * 86_400));
    assert_eq!(window("dedupe_window: 0\nrecipient: {auto: true}"), Duration::ZERO);
    let of_defaults = |lines: &str| collector(&format!("defaults: {{dedupe_window: 1h, on_hold: delete, after: delete}}\n{}", with(lines)));
    assert_eq!((of_defaults("").dedupe_window, of_defaults("").on_hold), (seconds(3_600), OnHold::Delete));
    assert_eq!(of_defaults("dedupe_window: 0\non_hold: keep").dedupe_window, Duration::ZERO);
    assert_eq!(of_defaults("on_hold: keep").on_hold, OnHold::Keep);
    refused(&with("dedupe_window: 7"), "`7s` for seconds");
    refused(&with("dedupe_window: 367d"), "`dedupe_window` must be from 0 to 366d");
    refused(&with("on_hold: drop"), "`keep`, `delete`");
}

#[test]
fn held_mail_has_limits() {
    let held =
        |keys: &str| read(&format!("service: {{held: {{{keys}}}}}\n{}", with(""))).unwrap_or_else(|report| panic!("{report}")).config.service.held;
    assert_eq!(held(""), HeldLimits { max_age: None, max_size: 1 << 30 });
    assert_eq!(held("max_age: 0, max_size: 5GiB"), HeldLimits { max_age: None, max_size: 5 << 30 });
    assert_eq!(held("max_age: 30d"), HeldLimits { max_age: Some(seconds(30 * 86_400)), max_size: 1 << 30 });
    for (keys, words) in [
        ("max_age: 10m", "`max_age` is 0 or 1h at least"),
        ("max_age: 30", "`30s` for seconds"),
        ("max_size: 0", "1MiB at least"),
        ("max_size: 10", "1MiB at least"),
        ("max_size: much", "is a size"),
        ("max_count: 3", "unknown key `max_count`"),
    ] {
        refused(&format!("service: {{held: {{{keys}}}}}\n{}", with("")), words);
    }
    let lost = read(&format!("service: {{held: {{max_age: 14d}}}}\n{}", with("on_hold: delete\nafter: delete"))).unwrap().warnings;
    assert!(lost.len() == 1 && lost[0].to_string().contains("held mail is dropped after 14d: then it is nowhere"), "{lost:?}");
    warned_not("on_hold: delete\nafter: delete");
}

fn warned_not(lines: &str) {
    assert_eq!(read(&with(lines)).unwrap().warnings, [], "{lines}");
}
