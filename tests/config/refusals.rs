//! What is refused or warned of, and in which words.

use super::*;

#[test]
fn contradictions_are_refused() {
    for (lines, words) in [
        ("collect: all", "deliver the same mail for ever"),
        ("collect: all\nafter: mark_seen", "deliver the same mail for ever"),
        ("protocol: pop3\ncollect: unseen", "no flags"),
        ("protocol: pop3\nafter: mark_seen", "no flags"),
        ("tls: {mode: none}", "open channel"),
        ("recipient: {forward_to: b@c.example, auto: true}", "both forwards"),
        ("recipient: {forward_to: b@c.example, default_box: d@c.example}", "no effect with `forward_to`"),
        ("recipient: {auto: true, unresolved: default_box}", "without a `default_box`"),
        ("recipient: {auto: {headers: [To]}}", "`guess: on` asks To and Cc"),
        ("recipient: {auto: {headers: [{header: Resent-Cc}]}}", "`guess: on` asks To and Cc"),
        ("delivery: {smtp: localhost, maildir: /x}", "two targets"),
        ("delivery: {smtp: localhost, auth: {username: u, password: {env: P}}}", "open channel"),
        ("interval: 1s", "interval 1s is below limits.interval_min (5s)"),
        ("interval: 2d", "interval 2d is above limits.interval_max (24h)"),
        ("interval: 300", "`300s` for seconds or `300m` for minutes"),
        ("server: imaps://imap.example.org/", "did you mean `imap.example.org`?"),
        ("password: {secret: a b}", "never the secret itself"),
        ("password: {secret: a, file: /b}", "takes exactly one of"),
        ("password: {command: [a], cache: 1h}", "`cache` does not work yet"),
        ("auth: {client_id: x}", "`client_id` goes with `method: oauth2` only"),
    ] {
        // A key that the base has too is replaced.
        let key = lines.split(':').next().unwrap();
        let base: String =
            with("").lines().filter(|line| !line.trim_start().starts_with(&format!("{key}:"))).map(|line| format!("{line}\n")).collect();
        let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        let base = if key == "delivery" { format!("delivery: {{lmtp: unix:/x}}\n{base}") } else { base };
        refused(&format!("{base}{lines}"), words);
    }
    refused(&with("").replace("delivery: {lmtp: unix:/run/lmtp}", "log: {level: warn}"), "nowhere to deliver to");
}

#[test]
fn two_enabled_collectors_never_share_a_mailbox() {
    let second = |more: &str| {
        let block = format!(
            "  b:\n    email: a@почта.рф\n    server: IMAP.example.org\n    password: {{env: P}}\n    recipient: {{forward_to: c@икс.рф}}\n{more}"
        );
        with("") + &block
    };
    refused(&second(""), "collectors `a` and `b` collect the same mailbox");
    assert!(read(&second("    enabled: false\n")).is_ok());
    assert!(read(&second("    protocol: pop3\n")).is_ok());
    assert!(read(&second("    username: other\n")).is_ok());
}

#[test]
fn keys_of_the_whole_product_are_never_silent() {
    for key in ["ledger", "web"] {
        refused(&format!("{key}: {{x: 1}}\n{}", with("")), &format!("`{key}` does not work yet in this version; remove it"));
    }
    refused(&with("disabled_until: x"), "`disabled_until` does not work yet in this version; remove it");
    refused(&with("recipient: {auto: {stop_at_first: true}}"), "`guess: union` asks them as well");
    refused(&with("delivery: {fold: qp}"), "`fold: qp` does not work yet in this version");
}

#[test]
fn a_plain_password_is_warned_of_and_refused_where_others_read() {
    let text = with("").replace("{env: P}", "hunter2");
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].code, Code::SecretSource);
    assert_eq!(collector(&text).server.password, SecretSource::Plain(mailgather::mail::Secret::new("hunter2".into())));
    let open = parse(&text, Path::new("x"), &Environment { file_mode: Some(0o644), ..env() }).unwrap_err();
    assert!(open.to_string().contains("everybody may read"));
    assert!(parse(&with(""), Path::new("x"), &Environment { file_mode: Some(0o644), ..env() }).is_ok());
}

#[test]
fn loops_that_can_be_seen_are_warned_of() {
    for (lines, words) in [
        ("recipient: {forward_to: [x@b.example, a@почта.рф]}", "goes to the collected mailbox itself"),
        ("recipient: {auto: true, default_box: a@почта.рф}", "goes to the collected mailbox itself"),
        ("username: b\ndelivery: {smtp: IMAP.example.org}", "delivers to the server it collects from"),
        ("recipient: {auto: {envelope_below_received: true}}", "believes fields that a sender may have written"),
        ("timeouts: {connect: 0}", "waits up to 10 minutes"),
        ("timeouts: {idle_data: 0s}", "waits for ever"),
    ] {
        warned(lines, words);
    }
}

#[test]
fn slips_that_work_otherwise_than_they_look_are_warned_of() {
    for (auto, words) in [
        ("exclude: ['bot-.*@firm.example']", "looks like an expression, and is taken for an address"),
        ("exclude: [a@firm.example, '^root@firm.example']", "`^root@firm.example` looks like an expression"),
        (
            "domains: [firm.example], aliases: {info@firm.exmple: a@firm.example}",
            "an alias at `firm.exmple`, which is not in `domains`: did you mean `firm.example`?",
        ),
        ("domains: [икс.рф], aliases: {info@икс.рв: a@икс.рф}", "did you mean `икс.рф`?"),
        ("trusted_hops: 0", "warning[MG-112]: `trusted_hops: 0` believes no header at all"),
        ("map: {firm.example: local.example, local.example: firm.example}", "`map` leads from `firm.example` to `local.example` and back"),
    ] {
        warned(&format!("recipient: {{auto: {{{auto}}}}}"), words);
    }
    for fine in [
        "exclude: [b+c@firm.example, '/^bot-/']",
        // A strange domain is no slip: an alias accepts its own address.
        "domains: [firm.example], aliases: {info@gmail.com: a@firm.example, 'x@почта.рф': a@firm.example, y@sub.firm.example: a@firm.example}",
        "domains: [.firm.example, firm.example, firn.example], aliases: {a@firn.example: a@firm.example}",
        "trusted_hops: 1",
        "map: {a.example: b.example, b.example: c.example, c.example: c.example}",
    ] {
        let lines = format!("recipient: {{auto: {{{fine}}}}}");
        assert_eq!(warnings_of(&lines), [], "{fine}");
    }
    refused(&with("recipient: {auto: {exclude: [noreply]}}"), "an expression stands between slashes");
}

#[test]
fn what_becomes_of_mail_for_nobody_has_to_be_said() {
    let warnings = |lines: &str| read(&with(lines)).unwrap().warnings;
    let silent = warnings("recipient: {auto: {domains: [x.example]}}");
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(silent[0].to_string().contains("mail for nobody stays on the server") && silent[0].to_string().contains("`unresolved: leave`"));
    for said in ["unresolved: leave", "unresolved: hold", "default_box: d@x.example"] {
        assert_eq!(warnings(&format!("recipient: {{auto: {{domains: [x.example]}}, {said}}}")), [], "{said}");
    }
}

#[test]
fn all_that_is_wrong_in_a_block_or_a_list_is_said_at_once() {
    for (lines, places) in [
        (
            "recipient:\n  auto:\n    map: [x]\n    keep_tag: 1\n    max_recipients: many\n    trusted_hops: x",
            &["`map`", "`keep_tag`", "`max_recipients`", "`trusted_hops`"][..],
        ),
        ("recipient:\n  auto:\n    domains: ['a b', '*.x.example', ok.example, 'c d']", &["`a b`", "`*.x.example`", "`c d`"]),
        ("recipient:\n  auto:\n    trusted_hosts: ['a b', ok.example, 'c d']", &["`a b`", "`c d`"]),
        ("recipient: {forward_to: [one, a@x.example, two]}", &["`one`", "`two`"]),
        (
            "delivery: {smtp: [/one, ok.example, 'unix:two', ok.example, 'x:y:z']}",
            &["`/one` is a path", "a whole path", "this server twice", "`x:y:z`"],
        ),
    ] {
        let report = read(&with(lines)).unwrap_err();
        assert_eq!(report.errors.len(), places.len(), "{lines}\n{report}");
        for (place, error) in places.iter().zip(&report.errors) {
            // Values with a space in them are not repeated.
            let text = error.to_string();
            assert!(text.contains(place) || text.contains(place.trim_matches('`')), "{place}\n{text}");
        }
    }
}

#[test]
fn our_own_line_ends_in_hints_are_line_ends() {
    let report = read("delivery: {lmtp: unix:/run/lmtp}\n").unwrap_err().to_string();
    assert!(report.contains("hint: collectors:\n        office: {email: …, server:") && !report.contains('\u{fffd}'), "{report}");
}

#[test]
fn files_that_cannot_be_read_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let report = load(&folder.path().join("none.yaml"), &env()).unwrap_err();
    assert!(report.is_missing_file());
    assert!(!load(folder.path(), &env()).unwrap_err().is_missing_file());
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert!(load(&path, &env()).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(load(&path, &env()).unwrap_err().to_string().contains("larger than 4 MiB"));
    std::fs::write(&path, with("")).unwrap();
    let loaded = load(&path, &env()).unwrap();
    assert_eq!(loaded.files, [path]);
    assert_eq!(loaded.digest, load(&loaded.files[0], &env()).unwrap().digest);
}
