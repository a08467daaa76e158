//! Secrets never show, whichever way a file is broken; and whatever is broken is read or refused.

use super::*;
use proptest::prelude::*;

/// Every way a secret may stand in a file, with the canary in each.
const CANARY: &str = "Zq7canaryXw";

fn files_with_a_canary() -> Vec<String> {
    let secrets = [
        "password: Zq7canaryXw",
        "password: 'Zq7canaryXw'",
        "password: \"Zq7canaryXw\" # comment",
        "password: |\n      Zq7canaryXw",
        "password: >-\n      some words\n      Zq7canaryXw: x",
        "password:\n      Zq7canaryXw",
        "password: a Zq7canaryXw #b",
        "password: !Zq7canaryXw",
        "password: [Zq7canaryXw]",
        "password: {Zq7canaryXw}",
        "password: {plain: Zq7canaryXw}",
        "pasword: Zq7canaryXw",
        "Password: Zq7canaryXw",
        "passwort: 'Zq7canaryXw'",
        "auth: {client_secret: Zq7canaryXw, method: nonsense}",
        "auth: {token: Zq7canaryXw}",
        "interval: x # password: Zq7canaryXw",
        "delivery: {smtp: localhost, auth: {username: u, pasword: Zq7canaryXw}}",
        "delivery: {auth: {username: u, password: 'Zq7canaryXw'}, smtp: [}",
        "recipient: {auto: {check_local: {command: [ask, --token, Zq7canaryXw], timeout: soon}}}",
        "recipient: {auto: {check_local: {comand: [ask, Zq7canaryXw]}}}",
        "recipient:\n      auto:\n        rewrite: [{regex: (, to: $9@x, password: Zq7canaryXw}]",
        "delivery:\n      policy: [{reply: 9, do: nothing}]\n      auth: {username: u, password: Zq7canaryXw}\n      retry: {max: 0}",
    ];
    let block = |secret: &str| {
        format!(
            "version: 1\nlog: {{level: loud}}\ndelivery: {{lmtp: unix:/run/lmtp}}\ncollectors:\n  a:\n    email: a@почта.рф\n    {secret}\n    server: imap.example.org\n    interval: 1s\n    recipient: {{forward_to: b@икс.рф}}\n"
        )
    };
    let mut files: Vec<String> = secrets.iter().map(|secret| block(secret)).collect();
    for key in ["password", "pasword", "passwd"] {
        files.push(format!(
            "delivery: {{lmtp: unix:/l}}\ncollectors: {{a: {{email: x, {key}: {CANARY}, server: a@b, recipient: {{forward_to: b}}}}}}\n"
        ));
        files.push(format!("collectors:\n  a: {{email: x, \"{key}\": \"{CANARY}\",\n    server: a@b}}\n"));
    }
    files
}

fn never_prints_the_canary(text: &str) -> Result<(), String> {
    let printed = match read(text) {
        Ok(loaded) => format!("{:?}{}", loaded, Report { errors: vec![], warnings: loaded.warnings.clone() }),
        Err(report) => format!("{report}{report:?}"),
    };
    if printed.contains(CANARY) { Err(format!("{text}\n--- printed\n{printed}")) } else { Ok(()) }
}

#[test]
fn whole_files_never_print_a_secret() {
    for text in files_with_a_canary() {
        never_prints_the_canary(&text).unwrap();
    }
}

#[derive(Clone, Debug)]
pub enum Break {
    Delete,
    Insert(char),
    Cut,
    Double,
}

/// Breaks a text at a character that is no part of the canary.
pub fn broken(text: &str, at: usize, how: &Break) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = at % chars.len();
    let mut out: String = chars[..at].iter().collect();
    let rest: String = chars[at..].iter().collect();
    let behind: String = chars[at + 1..].iter().collect();
    match how {
        Break::Delete => out += &behind,
        Break::Insert(c) => {
            out.push(*c);
            out += &rest;
        }
        Break::Cut => {}
        Break::Double => {
            out.push(chars[at]);
            out += &rest;
        }
    }
    out
}

/// Exhaustive: every file, one break at every place.
#[test]
fn files_broken_anywhere_never_print_a_secret() {
    let mut leaks = Vec::new();
    for text in files_with_a_canary() {
        // Around the canary: breaks further away change nothing about it.
        let canary = text[..text.find(CANARY).unwrap()].chars().count();
        for at in canary.saturating_sub(40)..(canary + 20).min(text.chars().count()) {
            for how in [Break::Delete, Break::Cut, Break::Double].into_iter().chain("\n :#'\"{[|".chars().map(Break::Insert)) {
                if let Err(leak) = never_prints_the_canary(&broken(&text, at, &how)) {
                    leaks.push(format!("{how:?} at {at}: {leak}"));
                }
            }
        }
    }
    assert!(
        leaks.is_empty(),
        "{} leaks\n{}",
        leaks.len(),
        leaks.iter().step_by(leaks.len().div_ceil(8).max(1)).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// Every key at once, broken all along: read or refused, and never a panic.
#[test]
fn all_keys_broken_anywhere_are_read_or_refused() {
    let keys = "service: {held: {max_age: 9d, max_size: 2GiB}}\ndelivery:\n  lmtp: [unix:/a, b:24]\n  policy: [{reply: 5.7.x, do: hold}, {reply: '/a(b)/', do: leave}]\n  retry: {delays: [1m, 2m], max: 3h, give_up: 4d}\n  headers: {bcc: keep, spam: strip}\n  xclient: true\n  eight_bit: hold\n  fold: off\ncollectors:\n  a:\n    email: a@b.example\n    server: c.example\n    password: {env: P}\n    on_hold: delete\n    after: delete\n    recipient:\n      auto:\n        domains: [b.example, .b.example]\n        map: {d.example: e.example, f.example: g@h.example}\n        aliases: {\"s+*@b.example\": t@b.example}\n        rewrite: [{regex: '(?<x>.)y(.)', to: '${x}$2@b.example'}]\n        exclude: [n@b.example, '/^o/']\n        guess: on\n        lists: {p@q.example: r@b.example, <u.v>: [w@b.example]}\n        check_local: {lmtp: unix:/x}\n        headers: [{header: Y, pattern: 'z(.)', skip: 1}]\n      journal: google\n      journal_from: j@b.example\n      unresolved: hold\n";
    assert!(read(keys).is_ok(), "{}", read(keys).unwrap_err());
    for at in (0..keys.chars().count()).step_by(7) {
        for how in [Break::Delete, Break::Cut, Break::Double].into_iter().chain("\n '$[{*я".chars().map(Break::Insert)) {
            let text = broken(keys, at, &how);
            if let Err(report) = read(&text) {
                assert!(!report.errors.is_empty() && !report.to_string().is_empty(), "{text}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Two breaks at once. Three can tear a key apart and take its colon: then no line tells any longer that it holds a secret.
    #[test]
    fn files_broken_often_never_print_a_secret(
        file in 0usize..29,
        breaks in prop::collection::vec((any::<usize>(), prop_oneof![
            Just(Break::Delete), Just(Break::Double), prop::sample::select("\n :#'\"{}[],\t&*!|-".chars().collect::<Vec<_>>()).prop_map(Break::Insert)
        ]), 2..3),
    ) {
        let mut text = files_with_a_canary()[file].clone();
        for (at, how) in &breaks {
            text = broken(&text, *at, how);
        }
        let leak = never_prints_the_canary(&text);
        prop_assert!(leak.is_ok(), "{}", leak.unwrap_err());
    }
}
