//! The examples of docs/testing-a-connection.md are what the program prints, but for names, times and sizes.

use crate::kit::test;
use crate::support::corpus::letter;
use crate::support::process::Channel;
use crate::support::*;
use regex::Regex;

const PAGE: &str = include_str!("../../docs/testing-a-connection.md");

/// The examples of a command, in order.
fn examples(command: &str) -> Vec<String> {
    let start = format!("```\n$ mailgather test {command}\n");
    PAGE.match_indices(&start).map(|(at, _)| PAGE[at + start.len()..].split("```").next().unwrap().to_owned()).collect()
}

/// What differs from machine to machine and from minute to minute is made the same.
fn plain(text: &str, replaced: &[(String, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in replaced {
        text = text.replace(from, to);
    }
    for (pattern, to) in [
        (r"(?m) +((REFUSED|FAILED) )?(<?[0-9.]+ m?s|-)$", " $1TIME"),
        (r"→ .*? TIME", "→ ADDRESSES TIME"),
        (r"[0-9]+ days left", "N days left"),
        (r"[0-9.]+ [KMGT]iB free", "N free"),
        (r"SHA-256 is [0-9A-F:]+", "SHA-256 is X"),
        (r"valid [0-9-]+ to [0-9-]+", "valid"),
        (r"saved as [0-9a-f.]+mailgather", "saved as X"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, to).into_owned();
    }
    text
}

#[test]
fn the_examples_are_what_is_printed() {
    let server = Dovecot::start();
    (0..3).for_each(|n| server.put("boss", &letter(n, "anna@pop.example")));
    let folder = tempfile::tempdir().unwrap();
    let replaced = [
        (format!("127.0.0.1:{}", server.imaps()), "192.0.2.74:993"),
        (format!("[::1]:{}", server.imaps()), "192.0.2.74:993"),
        (format!("localhost:{}", server.imaps()), "imap.example.org:993"),
        ("localhost".to_owned(), "imap.example.org"),
        ("127.0.0.1".to_owned(), "192.0.2.74"),
        (server.lmtp_socket().display().to_string(), "/run/dovecot/lmtp"),
        (folder.path().display().to_string(), "/var/mail"),
        (mailgather::net::hostname(), "mail.example.org"),
    ];
    let program = |delivery: &str, trusted: bool| {
        let collector = CollectorYaml::imap(&server, "boss").channel(Channel::Tls).forward_to("anna@example.org");
        let yaml = config(delivery, &[collector]).replace("server: 127.0.0.1", "server: localhost");
        let ca = format!(", ca_file: {}", server.ca().display());
        Mailgather::new(&if trusted { yaml } else { yaml.replace(&ca, "") })
    };
    let lmtp = format!("{{lmtp: 'unix:{}'}}", server.lmtp_socket().display());
    let maildirs = format!("{{maildir: '{}/{{domain}}/{{local}}'}}", folder.path().display());
    let whole = examples("boss");
    for (example, program, arguments) in [
        (&whole[0], program(&lmtp, true), &["boss"][..]),
        (&whole[1], program(&lmtp, true).env(process::PASSWORD_VARIABLE, "wrong"), &["boss"]),
        (&examples("boss --tls")[0], program(&lmtp, false), &["boss", "--tls"]),
        (&examples("boss --deliver anna@example.org")[0], program(&maildirs, true), &["boss", "--deliver", "anna@example.org"]),
    ] {
        let done = test(&program, arguments);
        let printed = plain(&format!("{}{}", done.stdout, done.stderr), &replaced);
        assert_eq!(printed, plain(example, &[]), "{arguments:?} printed:\n{}{}", done.stdout, done.stderr);
    }
    assert_eq!(examples("--all --json").len(), 1);
    test(&program(&lmtp, true), &["--all", "--json"]).expect_success();
}
