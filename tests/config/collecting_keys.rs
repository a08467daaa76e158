//! The keys that say what is collected, when, how much, and what becomes of the copy on the server.

use super::canary::{Break, broken};
use super::*;
use mailgather::mail::FolderName;

fn name(text: &str) -> FolderSelect {
    FolderSelect::Name(FolderName::new(text))
}

fn special(text: &str) -> FolderSelect {
    FolderSelect::SpecialUse(text.to_owned())
}

fn plain(select: FolderSelect) -> Folder {
    Folder { select, flag: None, forward_to: None, after: None, move_to: None }
}

fn lines_are_refused(lines: &str, words: &str) {
    refused(&with(lines), words);
}

/// docs/configuration.md has the same table: what is taken of `collect` × `after` × protocol × `first_run`.
#[test]
fn every_pair_of_collect_and_after_is_taken_or_refused_with_a_reason() {
    let afters = [
        ("keep", After::Keep),
        ("delete", After::Delete),
        ("mark_seen", After::MarkSeen),
        ("{delete_after: 14d}", After::DeleteAfter(Duration::from_secs(14 * 86_400))),
        ("{move_to: Done}", After::Move),
    ];
    let collects = [("new", Collect::New), ("unseen", Collect::Unseen), ("all", Collect::All)];
    let first_runs = [("all", FirstRun::All), ("none", FirstRun::None), ("{since: 7d}", FirstRun::Since(Duration::from_secs(7 * 86_400)))];
    let mut taken = 0;
    for protocol in ["imap", "pop3"] {
        for (collect, collect_value) in collects {
            for (after, after_value) in afters {
                for (first_run, first_run_value) in first_runs {
                    let pop3 = protocol == "pop3";
                    let mut reasons = Vec::new();
                    if pop3 && collect == "unseen" {
                        reasons.push("`collect: unseen` with POP3, which has no flags");
                    }
                    if pop3 && after == "mark_seen" {
                        reasons.push("`after: mark_seen` with POP3, which has no flags");
                    }
                    if pop3 && after_value == After::Move {
                        reasons.push("`after: {move_to: …}` with POP3, which has no folders");
                    }
                    if collect == "all" && matches!(after, "keep" | "mark_seen") {
                        reasons.push("would deliver the same mail for ever");
                    }
                    if collect == "all" && first_run != "all" {
                        reasons.push("`first_run` counts mail as collected, and `collect: all` takes it all the same");
                    }
                    let lines = format!("protocol: {protocol}\ncollect: {collect}\nafter: {after}\nfirst_run: {first_run}");
                    match read(&with(&lines)) {
                        Ok(loaded) => {
                            let c = loaded.config.collectors.values().next().unwrap();
                            assert_eq!(reasons, Vec::<&str>::new(), "{lines}");
                            assert_eq!((c.collect, c.after, c.first_run), (collect_value, after_value, first_run_value), "{lines}");
                            assert_eq!(c.move_to, (after_value == After::Move).then(|| name("Done")), "{lines}");
                            assert_eq!(loaded.warnings, [], "{lines}");
                            taken += 1;
                        }
                        Err(report) => {
                            assert!(!reasons.is_empty(), "{lines}\n{report}");
                            let report = report.to_string();
                            for reason in &reasons {
                                assert!(report.contains(reason), "{reason} is not in\n{report}");
                            }
                            assert_eq!(report.matches("hint: ").count(), reasons.len(), "each says what to do\n{report}");
                        }
                    }
                }
            }
        }
    }
    // imap: new and unseen with each of 5 and each first_run, all with 3 of 5; pop3: new with 3 of 5, all with 2.
    assert_eq!(taken, 2 * 5 * 3 + 3 + 3 * 3 + 2);
}

/// The same of a folder's own `after`.
#[test]
fn a_folder_disposes_as_it_says_itself() {
    let c = collector(&with(
        "folders: [INBOX, {name: '\\junk', flag: spam, forward_to: spam@икс.рф, after: delete}, {name: Архив, after: {move_to: '\\Trash'}}]\nafter: mark_seen",
    ));
    assert_eq!((c.after, c.move_to), (After::MarkSeen, None));
    let junk = Folder {
        flag: Some(FolderFlag::Spam),
        forward_to: Some(vec!["spam@икс.рф".parse().unwrap()]),
        after: Some(After::Delete),
        ..plain(special("\\Junk"))
    };
    let archive = Folder { after: Some(After::Move), move_to: Some(special("\\Trash")), ..plain(name("Архив")) };
    assert_eq!(c.folders, [plain(name("INBOX")), junk, archive]);
    lines_are_refused("collect: all\nafter: delete\nfolders: [INBOX, {name: A, after: keep}]", "deliver the same mail for ever");
    lines_are_refused("folders: [INBOX, {name: A, after: {move_to: INBOX}}]", "moved to `INBOX`, which is collected too: a loop");
    lines_are_refused("folders: [{name: A, after: archive}]", "`after` is one of `keep`, `delete`, `mark_seen`, not `archive`");
    lines_are_refused("folders: [{flag: spam}]", "has no `name`");
    lines_are_refused("folders: [{name: A, flag: ham}]", "`flag` is one of `spam`, not `ham`");
    lines_are_refused("folders: [{name: A, to: x}]", "unknown key `to` in an entry of `folders`");
}

#[test]
fn folders_are_names_globs_and_special_uses() {
    let folders = |lines: &str| collector(&with(lines)).folders;
    assert_eq!(folders(""), [plain(name("INBOX"))]);
    assert_eq!(folders("folders: Списки"), [plain(name("Списки"))]);
    assert_eq!(
        folders("folders: [inbox, 'Lists/%', '\\JUNK', '*']"),
        [plain(name("INBOX")), plain(FolderSelect::Glob("Lists/%".into())), plain(special("\\Junk")), plain(FolderSelect::Glob("*".into()))]
    );
    assert_eq!(folders("protocol: pop3\nfolders: INBOX"), [plain(name("INBOX"))]);
    for (lines, words) in [
        ("folders: []", "`folders` is an empty list"),
        ("folders: ['']", "is empty, too long"),
        ("folders: [INBOX, Inbox]", "`folders` has `INBOX` twice"),
        ("folders: ['\\Junk', {name: '\\junk', flag: spam}]", "`folders` has `\\Junk` twice"),
        ("folders: ['\\Spam']", "`\\Spam` is no special use"),
        ("folders: ['\\Jnk']", "did you mean `\\Junk`?"),
        ("protocol: pop3\nfolders: [INBOX, A]", "`folders` with POP3, which has INBOX only, not `A`"),
        ("after: {move_to: 'A/*'}", "takes one folder, not all that match `A/*`"),
    ] {
        lines_are_refused(lines, words);
    }
}

#[test]
fn mail_is_never_moved_to_where_it_is_collected() {
    for (lines, words) in [
        ("after: {move_to: inbox}", "mail would be moved to `INBOX`, which is collected too: a loop"),
        ("folders: [INBOX, Done]\nafter: {move_to: Done}", "moved to `Done`, which is collected too"),
        ("folders: ['*']\nafter: {move_to: Done}", "`*` in `folders` takes it in"),
        ("folders: ['*']\nafter: {move_to: '\\Trash'}", "`*` in `folders` takes it in"),
        ("folders: ['A/%']\nafter: {move_to: A/B}", "`A/%` in `folders` takes it in"),
        ("folders: ['\\All']\non_hold: {move_to: '\\All'}", "moved to `\\All`, which is collected too"),
    ] {
        lines_are_refused(lines, words);
    }
    let c = collector(&with("folders: ['A/%', '\\Junk']\nafter: {move_to: A/B/C}"));
    assert_eq!((c.after, c.move_to), (After::Move, Some(name("A/B/C"))));
    lines_are_refused("after: {move_to: A, delete_after: 1d}", "both deletes and moves");
    lines_are_refused("after: {delete_after: 0}", "`delete_after: 0` deletes at once");
    lines_are_refused("after: {}", "`after` takes a word or a key");
}

#[test]
fn the_copy_of_held_mail() {
    let of = |lines: &str| {
        let c = collector(&with(lines));
        (c.on_hold, c.move_to)
    };
    assert_eq!(of(""), (OnHold::Keep, None));
    assert_eq!(of("on_hold: {move_to: Held}"), (OnHold::Move, Some(name("Held"))));
    assert_eq!(of("on_hold: move\nafter: {move_to: Done}"), (OnHold::Move, Some(name("Done"))));
    assert_eq!(of("on_hold: {move_to: Done}\nafter: {move_to: Done}"), (OnHold::Move, Some(name("Done"))));
    assert_eq!(of("on_hold: delete\nafter: {delete_after: 7d}"), (OnHold::Delete, None));
    for (lines, words) in [
        ("on_hold: move", "`on_hold: move`, and nothing says where to"),
        ("on_hold: {move_to: Held}\nafter: {move_to: Done}", "move to different folders"),
        ("on_hold: delete", "a mailbox that is not to lose any"),
        ("on_hold: delete\nafter: {move_to: Done}", "a mailbox that is not to lose any"),
        ("on_hold: delete\nafter: delete\nfolders: [INBOX, {name: A, after: keep}]", "a mailbox that is not to lose any"),
        ("protocol: pop3\non_hold: {move_to: Held}", "`on_hold: move` with POP3, which has no folders"),
    ] {
        lines_are_refused(lines, words);
    }
}

#[test]
fn schedules() {
    let schedule = |value: &str| collector(&with(&format!("schedule: {value}"))).schedule;
    let days = |text: &str| {
        let mut days = [false; 7];
        text.chars().enumerate().for_each(|(n, c)| days[n] = c == 'x');
        days
    };
    assert_eq!(schedule("always"), Schedule::Always);
    for (value, expected) in [
        (
            "{days: mon-fri, hours: \"08:00-20:00\", timezone: Europe/Moscow}",
            Hours { days: days("xxxxx--"), from: 480, to: 1200, timezone: Some("Europe/Moscow".into()) },
        ),
        ("{days: [mon, wed, sat-sun]}", Hours { days: days("x-x--xx"), from: 0, to: 1440, timezone: None }),
        ("{days: fri-mon, hours: '22:00-06:00'}", Hours { days: days("x---xxx"), from: 1320, to: 360, timezone: None }),
        ("{hours: 0:00-24:00}", Hours { days: [true; 7], from: 0, to: 1440, timezone: None }),
    ] {
        assert_eq!(schedule(value), Schedule::Inside(expected), "{value}");
    }
    let after_hours = format!("service: {{business_hours: {{days: mon-fri, hours: \"09:00-18:00\"}}}}\n{}", with("schedule: after_hours"));
    let business = Hours { days: days("xxxxx--"), from: 540, to: 1080, timezone: None };
    assert_eq!(collector(&after_hours).schedule, Schedule::Outside(business));
    for (value, words) in [
        ("after_hours", "nobody says what the hours are"),
        ("{}", "neither `days` nor `hours`"),
        ("{timezone: UTC}", "neither `days` nor `hours`"),
        ("{days: weekdays}", "`weekdays` is no day of the week"),
        ("{hours: 8-20}", "`8-20` is no range of times"),
        ("{hours: \"08:00-25:00\"}", "no range of times"),
        ("{hours: \"08:00-08:00\"}", "starts and ends at the same time"),
        ("{days: mon, timezone: ../etc/passwd}", "is no name of a time zone"),
        ("{days: mon, zone: UTC}", "unknown key `zone` in `schedule`"),
        ("sometimes", "`schedule` is one of `always`, `after_hours`"),
    ] {
        lines_are_refused(&format!("schedule: {value}"), words);
    }
}

#[test]
fn waking_by_hand_by_idle_and_by_interval() {
    let c = collector(&with(""));
    assert_eq!((c.manual, c.idle, c.interval), (false, Idle::Off, Duration::from_secs(300)));
    assert!(collector(&with("interval: manual")).manual);
    for (word, idle) in [("off", Idle::Off), ("on", Idle::On), ("auto", Idle::Auto)] {
        assert_eq!(collector(&with(&format!("idle: {word}"))).idle, idle);
    }
    lines_are_refused("idle: true", "write `on`");
    lines_are_refused("protocol: pop3\nidle: auto", "`idle` has no effect with POP3");
    lines_are_refused("interval: manual\nidle: on", "`idle` has no effect with `interval: manual`");
    lines_are_refused("interval: manual\nschedule: {days: mon}", "`schedule` has no effect with `interval: manual`");
    // What stands in `defaults` speaks to those whom it concerns.
    let c = collector(&format!("defaults: {{idle: auto, expunge: {{every_messages: 5}}, compress: true}}\n{}", with("protocol: pop3")));
    assert_eq!((c.idle, c.expunge, c.server.compress), (Idle::Off, Expunge::default(), false));
    assert!(!collector(&format!("defaults: {{keep_without_uidl: true}}\n{}", with(""))).keep_without_uidl);
    assert!(collector(&format!("defaults: {{keep_without_uidl: true}}\n{}", with("protocol: pop3"))).keep_without_uidl);
}

#[test]
fn amounts() {
    let c = collector(&with(""));
    assert_eq!((c.max_bytes_per_session, c.max_message_size, c.too_large), (None, None, TooLarge::Skip));
    assert_eq!((c.server.partial_fetch, c.server.compress, c.server.allow_plain_expunge), (PartialFetch::default(), false, false));
    assert_eq!(collector(&with("max_bytes_per_session: 200MiB")).max_bytes_per_session, Some(200 << 20));
    assert_eq!(collector(&with("max_bytes_per_session: 0")).max_bytes_per_session, None);
    for (word, action) in [("skip", TooLarge::Skip), ("hold", TooLarge::Hold), ("headers_only", TooLarge::HeadersOnly)] {
        let c = collector(&with(&format!("max_message_size: {{limit: 50MiB, action: {word}}}")));
        assert_eq!((c.max_message_size, c.too_large), (Some(50 << 20), action));
    }
    let partial = |value: &str| collector(&with(&format!("partial_fetch: {value}"))).server.partial_fetch;
    assert_eq!(partial("on"), PartialFetch { mode: PartialMode::On, chunk: 0 });
    assert_eq!(partial("{mode: auto, chunk: 1MiB}"), PartialFetch { mode: PartialMode::Auto, chunk: 1 << 20 });
    let c = collector(&with("after: delete\nexpunge: {every_messages: 500, every_sessions: 10}\nallow_plain_expunge: true\ncompress: true"));
    assert_eq!(c.expunge, Expunge { every_messages: 500, every_sessions: 10 });
    assert!(c.server.allow_plain_expunge && c.server.compress);
    assert!(!c.keep_without_uidl && collector(&with("protocol: pop3\nkeep_without_uidl: true")).keep_without_uidl);
    for (lines, words) in [
        ("keep_without_uidl: true", "`keep_without_uidl` has no effect with IMAP"),
        ("protocol: pop3\nkeep_without_uidl: perhaps", "`keep_without_uidl`"),
        ("max_message_size: {limit: 1MiB, action: drop}", "`action` is one of `skip`, `hold`, `headers_only`"),
        ("max_message_size: 0", "would skip everything"),
        ("partial_fetch: {mode: on, chunk: 1kB}", "`chunk` must be from 64KiB to 64MiB"),
        ("partial_fetch: {mode: off, chunk: 1MiB}", "`chunk` has no effect with `mode: off`"),
        ("protocol: pop3\npartial_fetch: on", "`partial_fetch` has no effect with POP3"),
        ("protocol: pop3\ncompress: true", "`compress` has no effect with POP3"),
        ("protocol: pop3\nafter: delete\nexpunge: {every_messages: 5}", "`expunge` has no effect with POP3"),
        ("expunge: {every_messages: 5}", "`expunge` has no effect: this collector deletes nothing"),
        ("after: {move_to: Done}\nexpunge: {every_sessions: 2}", "`expunge` has no effect: what is moved goes at once"),
        ("on_hold: {move_to: Held}\nexpunge: {every_messages: 2}", "`expunge` has no effect: what is moved goes at once"),
        ("allow_plain_expunge: true", "`allow_plain_expunge` has no effect: this collector deletes nothing"),
        ("first_run: {since: 0}", "`since` must be from 1s"),
        ("first_run: {}", "`first_run` takes a word or `since`"),
        ("first_run: recent", "`first_run` is one of `all`, `none`"),
    ] {
        lines_are_refused(lines, words);
    }
}

#[test]
fn the_service_has_limits_of_its_own() {
    let service = |keys: &str| read(&format!("service: {{{keys}}}\n{}", with(""))).unwrap_or_else(|report| panic!("{report}")).config.service;
    assert_eq!((service("").min_free_space, service("").max_idle), (512 << 20, 10_000));
    assert_eq!((service("min_free_space: 0").min_free_space, service("max_idle: 0").max_idle), (0, 0));
    refused(&with("min_free_space: 1GiB"), "`min_free_space` is a key of `service`");
}

/// All these keys at once, broken all along: read or refused, and never a panic.
#[test]
fn keys_of_collecting_broken_anywhere_are_read_or_refused() {
    let keys = "providers:\n  p: {domains: [d.example, '*.d.example'], imap: {server: i.d.example, port: 1143, tls: {mode: starttls}}, received_hosts: [mx.d.example]}\ntemplates:\n  t: {interval: 10s, first_run: {since: 7d}}\nservice: {business_hours: {days: mon-fri, hours: \"08:00-20:00\", timezone: Europe/Moscow}}\ndelivery: {lmtp: unix:/l}\ncollectors:\n  a:\n    use: [t]\n    provider: p\n    email: a@d.example\n    password: {env: P}\n    recipient: {forward_to: b@c.example}\n    folders: [INBOX, 'A/%', {name: '\\Junk', flag: spam, after: delete}]\n    schedule: after_hours\n    idle: auto\n    after: {move_to: Done}\n    on_hold: move\n    expunge: {every_messages: 5, every_sessions: 2}\n    partial_fetch: {mode: on, chunk: 1MiB}\n    max_message_size: {limit: 5MiB, action: hold}\n";
    assert!(read(keys).is_ok(), "{}", read(keys).unwrap_err());
    for at in (0..keys.chars().count()).step_by(5) {
        for how in [Break::Delete, Break::Cut, Break::Double].into_iter().chain("\n '[{*-я".chars().map(Break::Insert)) {
            let text = broken(keys, at, &how);
            if let Err(report) = read(&text) {
                assert!(!report.errors.is_empty() && !report.to_string().is_empty(), "{text}");
            }
        }
    }
}
