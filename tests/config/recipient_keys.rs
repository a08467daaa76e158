//! Each key of `recipient`, of `recipient.auto` and of what goes with them: a value that works lands in the model, the others are refused.

use super::*;
use mailgather::mail::Pattern;
use mailgather::resolve::{Exclude, Guess, Headers, Journal, JournalKind, ListName, ListRule, MapTo, Rewrite, Rules, Unresolved};

/// The rules of a collector with these keys in `auto`, and these beside it.
fn rules(auto: &str, beside: &str) -> Rules {
    match collector(&with(&format!("recipient:\n  auto: {{{auto}}}\n{beside}"))).recipient {
        RecipientMode::Auto(rules, _) => Rules::clone(&rules),
        other => panic!("{other:?}"),
    }
}

fn check(value: &str, delivery: &str) -> CheckLocal {
    collector(&with(&format!("delivery: {delivery}\nrecipient: {{auto: {{check_local: {value}}}}}"))).check_local
}

fn auto_is_refused(auto: &str, words: &str) {
    refused(&with(&format!("recipient:\n  auto: {{{auto}}}")), words);
}

fn address(text: &str) -> mailgather::mail::Address {
    text.parse().unwrap()
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.into(), port }
}

#[test]
fn journal_needs_its_sender() {
    assert_eq!(rules("", "").journal, None);
    assert_eq!(rules("", "  journal: off").journal, None);
    for (word, kind) in [("exchange", JournalKind::Exchange), ("google", JournalKind::Google)] {
        let expected = Some(Journal { kind, from: address("journal@икс.рф"), hosts: Vec::new() });
        assert_eq!(rules("", &format!("  journal: {word}\n  journal_from: journal@икс.рф")).journal, expected);
    }
    for (beside, words) in [
        ("journal: exchange", "`journal` without `journal_from`"),
        ("journal_from: j@b.example", "`journal_from` without `journal`"),
        ("journal: off, journal_from: j@b.example", "`journal_from` without `journal`"),
        ("journal: true, journal_from: j@b.example", "`journal` is one of `off`, `exchange`, `google`"),
        ("journal: false", "write `off`"),
        ("journal: google, journal_from: nobody", "is no address"),
    ] {
        refused(&with(&format!("recipient: {{auto: true, {beside}}}")), words);
    }
    let hosts =
        |hosts: &str| rules("", &format!("  journal: exchange\n  journal_from: j@b.example\n  journal_hosts: {hosts}")).journal.unwrap().hosts;
    assert_eq!(hosts("Ex1.b.example"), ["ex1.b.example"]);
    assert_eq!(hosts("[.b.example, почта.рф]"), [".b.example", "xn--80a1acny.xn--p1ai"]);
    for (beside, words) in [
        ("journal_hosts: b.example", "`journal_hosts` without `journal`"),
        ("journal: google, journal_from: j@b.example, journal_hosts: []", "`journal_hosts` is an empty list"),
        ("journal: google, journal_from: j@b.example, journal_hosts: a@b.example", "`journal_hosts`: "),
    ] {
        refused(&with(&format!("recipient: {{auto: true, {beside}}}")), words);
    }
    for key in ["journal: exchange", "journal_from: j@b.example", "journal_hosts: b.example", "unresolved: hold"] {
        refused(&with(&format!("recipient: {{forward_to: b@икс.рф, {key}}}")), "no effect with `forward_to`");
    }
}

#[test]
fn unresolved_mail_may_be_held_or_thrown_away() {
    assert_eq!(rules("", "  unresolved: hold").unresolved, Unresolved::Hold);
    assert_eq!(rules("", "  default_box: d@икс.рф\n  unresolved: hold").unresolved, Unresolved::Hold);
    assert_eq!(rules("", "  unresolved: discard").unresolved, Unresolved::Discard);
    warned("recipient: {auto: true, unresolved: discard}", "throws mail away that has no recipient here");
    refused(&with("recipient: {auto: true, unresolved: bounce}"), "`default_box`, `leave`, `hold`, `discard`");
}

#[test]
fn domains_and_their_sub_domains() {
    let rules = rules("domains: [a.example, .Б.рф, .a.example]", "");
    assert_eq!(rules.domains.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example"]);
    assert_eq!(rules.subdomains.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example", "б.рф"]);
    assert_eq!(warnings_of("recipient: {auto: {domains: .a.example}}"), []);
    for (domains, words) in [("'*.a.example'", "with a dot in front and no star"), (".", "is no domain name"), ("..a", "is no domain name")] {
        auto_is_refused(&format!("domains: [{domains}]"), words);
    }
}

#[test]
fn a_domain_leads_to_a_domain_or_to_one_box() {
    let rules = rules("map: {old.example: ИКС.рф, dead.example: box@c.example}", "");
    let to = |domain: &str| rules.map[&domain.parse().unwrap()].clone();
    assert_eq!(to("old.example"), MapTo::Domain("икс.рф".parse().unwrap()));
    assert_eq!(to("dead.example"), MapTo::Mailbox(address("box@c.example")));
    assert!(rules.domains.contains(&"c.example".parse().unwrap()));
    auto_is_refused("map: {a@b.example: c.example}", "domains without `@` to the left side of `map`");
    auto_is_refused("map: {b.example: 'a b@c.example'}", "is no address");
    auto_is_refused("map: {b.example: c.example, B.EXAMPLE: d.example}", "mapped twice");
    warned("recipient: {auto: {map: {b.example: a@почта.рф}}}", "goes to the collected mailbox itself");
}

#[test]
fn aliases_that_look_like_a_chain_are_warned_of() {
    let chain = "recipient: {auto: {aliases: {info@a.example: [x@b.example, Sales@a.example], sales@a.example: anna@b.example}}}";
    warned(chain, "an alias leads to `Sales@a.example`, which is an alias too");
    let itself = "recipient: {auto: {aliases: {info@a.example: [info@a.example, x@b.example], 'i*@a.example': x@b.example}}}";
    assert_eq!(warnings_of(itself), []);
}

#[test]
fn lists_go_by_address_or_by_list_id() {
    let auto = "domains: [a.example], guess: on, lists: {News@list.example: [a@a.example, b@a.example], <Dev.Lists.example>: c@a.example}";
    assert_eq!(
        rules(auto, "").lists,
        [
            ListRule { list: ListName::Address(address("News@list.example")), to: vec![address("a@a.example"), address("b@a.example")] },
            ListRule { list: ListName::Id("dev.lists.example".into()), to: vec![address("c@a.example")] },
        ]
    );
    for (lists, words) in [
        ("{plain: a@a.example}", "neither an address nor a List-Id"),
        ("{'a b.example': a@a.example}", "neither an address nor a List-Id"),
        ("{a..b: a@a.example}", "neither an address nor a List-Id"),
        ("{x.example: nobody}", "is no address"),
        ("{x.example: a@a.example, X.example: a@a.example}", "is there twice"),
        ("[a@a.example]", "`lists` takes `list: address`"),
        ("{x.example: []}", "is an empty list"),
    ] {
        auto_is_refused(&format!("domains: [a.example], guess: on, lists: {lists}"), words);
    }
    auto_is_refused("lists: {x.example: a@a.example}", "`lists` has no effect without `guess`");
    warned("recipient: {auto: {domains: [b.example], guess: on, lists: {x.example: a@почта.рф}}}", "goes to the collected mailbox itself");
}

#[test]
fn rewrites_are_compiled_and_their_groups_known() {
    let auto = r"rewrite: [{regex: '(?<who>.+)\.(sales|team)@a\.example', to: '${who}+$2@b.example'}, {regex: 'x(.*)@y', to: $1@sub.b.example}]";
    let expected = |regex: &str, to: &str| Rewrite { regex: Pattern::new(regex).unwrap(), to: to.into() };
    assert_eq!(
        rules(auto, "").rewrite,
        [expected(r"(?<who>.+)\.(sales|team)@a\.example", "${who}+$2@b.example"), expected("x(.*)@y", "$1@sub.b.example")]
    );
    assert_eq!(rules("rewrite: []", "").rewrite, []);
    // The resolver follows a domain from a group to accepted domains only.
    for (regex, to) in [("(.+)-old@(.+)", "$1@$2"), ("x-(.+@.+)", "$1")] {
        assert_eq!(rules(&format!("rewrite: [{{regex: {regex}, to: {to}}}]"), "").rewrite, [expected(regex, to)]);
    }
    for (regex, to, words) in [
        ("'(a@b'", "c@d.example", "unclosed group"),
        ("'(?=a)'", "c@d.example", "look-around"),
        ("''", "c@d.example", "1 to 1000 octets"),
        ("'((a{99}){99}){99}'", "c@d.example", "size limit"),
        ("'/a@b/'", "c@d.example", "without slashes around it"),
        ("'(.)@b'", "$2@d.example", "has no group `2`"),
        ("'(.)@b'", "'${name}@d.example'", "has no group `name`"),
        ("'(.)@b'", "$1_x@d.example", "`${1}` where a letter"),
        ("'(.)@b'", "c$@d.example", "`$$` stands for the character"),
        ("'(.)@b'", "x", "makes no address"),
        ("'(.)@b'", "'a b@d.example'", "makes no address"),
        ("'(.)@b'", "'@d.example'", "makes no address"),
    ] {
        auto_is_refused(&format!("rewrite: [{{regex: {regex}, to: {to}}}]"), words);
    }
    for (rewrite, words) in [
        ("{regex: a, to: b@c.example}", "`rewrite` takes a list"),
        ("[{regex: a}]", "takes `regex` and `to`"),
        ("[a]", "takes a block of keys"),
        ("[{regex: a, to: b@c.example, flags: i}]", "unknown key `flags`"),
        ("[{regex: [a], to: b@c.example}]", "one value, not a list"),
    ] {
        auto_is_refused(&format!("rewrite: {rewrite}"), words);
    }
    warned("recipient: {auto: {rewrite: [{regex: '.+@.+', to: all@c.example}]}}", "rewrites every address");
    warned("recipient: {auto: {rewrite: [{regex: '(.*)', to: all@c.example}]}}", "rewrites every address");
    // The report points at the expression.
    let report = read(&with("recipient:\n  auto:\n    rewrite:\n    - regex: '(x'\n      to: a@b.example")).unwrap_err();
    let place = report.errors[0].place.as_ref().unwrap();
    assert_eq!((place.text.trim(), place.column), ("- regex: '(x'", 18), "{report}");
}

#[test]
fn exclusions_are_addresses_or_expressions_between_slashes() {
    let expected = [Exclude::Address(address("no@икс.рф")), Exclude::Pattern(Pattern::new(r"^bot-\d+@").unwrap())];
    assert_eq!(rules(r"exclude: [no@икс.рф, '/^bot-\d+@/']", "").exclude, expected);
    assert_eq!(rules("exclude: no@икс.рф", "").exclude, expected[..1]);
    for (exclude, words) in [
        ("[nobody]", "is no address"),
        ("['/(/']", "unclosed group"),
        ("['//']", "1 to 1000 octets"),
        ("[{regex: a}]", "addresses and expressions between slashes"),
        ("[[a@b.example]]", "one value, not a list"),
    ] {
        auto_is_refused(&format!("exclude: {exclude}"), words);
    }
    warned("recipient: {auto: {exclude: ['/@/']}}", "excludes every address");
    assert_eq!(warnings_of("recipient: {auto: {exclude: ['/a/']}}"), []);
    warned("recipient: {auto: {exclude: [INFO@c.example], aliases: {info@c.example: b@c.example}}}", "which has an alias");
}

#[test]
fn tags_guesses_and_patterns() {
    assert!(rules("", "").keep_tag);
    assert!(!rules("keep_tag: false", "").keep_tag);
    auto_is_refused("keep_tag: off", "write `false`");
    for (word, guess) in [("off", Guess::Off), ("on", Guess::On), ("union", Guess::Union)] {
        assert_eq!(rules(&format!("domains: [a.example], guess: {word}"), "").guess, guess);
    }
    for (word, words) in
        [("true", "write `on`"), ("yes", "write `on`"), ("false", "write `off`"), ("unoin", "did you mean `union`?"), ("[on]", "one value")]
    {
        auto_is_refused(&format!("guess: {word}"), words);
    }
    let Headers::List(list) = rules("headers: [{header: X-Path, pattern: 'to=<([^>]+)>'}]", "").headers else { panic!() };
    assert_eq!(list[0].pattern, Some(Pattern::new("to=<([^>]+)>").unwrap()));
    auto_is_refused("headers: [{header: X-Path, pattern: 'to=<([^>]+'}]", "unclosed group");
    auto_is_refused("headers: [{header: X-Path, pattern: '/a/'}]", "without slashes around it");
    for name in ["To", "cc", "BCC", "Resent-To"] {
        auto_is_refused(&format!("headers: [{name}]"), "`guess: union` asks them as well");
    }
    warned("recipient: {auto: {guess: on}}", "delivers to each address at `почта.рф` in To and Cc");
    assert_eq!(warnings_of("recipient: {auto: {guess: union, map: {почта.рф: икс.рф}}}"), []);
    warned("dedupe_window: 0\nrecipient: {auto: {guess: on, domains: [a.example]}}", "each copy goes to everybody");
}

#[test]
fn check_local_asks_the_target_or_another_one() {
    assert_eq!(check("none", "{lmtp: unix:/l}"), CheckLocal::None);
    let shared = "{smtp: 'relay.example:587', hello: gate.example, smtputf8: off, tls: {mode: starttls}, auth: {username: u, password: {env: P}}}";
    let CheckLocal::Smtp(relay) = check("smtp", shared) else { panic!() };
    assert_eq!((&relay.endpoints[..], relay.tls.mode, relay.auth.is_some()), (&[tcp("relay.example", 587)][..], TlsMode::StartTls, true));
    assert_eq!((relay.hello.as_deref(), relay.smtputf8), (Some("gate.example"), false));
    let CheckLocal::Lmtp(relay) = check("lmtp", "{lmtp: [unix:/a, unix:/b]}") else { panic!() };
    assert_eq!(relay.endpoints.len(), 2);
    // The same host keeps TLS and login; another one never sees the password.
    let CheckLocal::Smtp(relay) = check("{smtp: RELAY.example}", shared) else { panic!() };
    assert_eq!((&relay.endpoints[..], relay.tls.mode, relay.auth.is_some()), (&[tcp("relay.example", 25)][..], TlsMode::StartTls, true));
    for other in ["{lmtp: unix:/run/l}", "{lmtp: '127.0.0.1:24'}", "{lmtp: [relay.example, other.example]}"] {
        let CheckLocal::Lmtp(relay) = check(other, shared) else { panic!() };
        assert_eq!((relay.tls.mode, relay.auth, relay.hello.as_deref(), relay.smtputf8), (TlsMode::None, None, Some("gate.example"), false));
    }
    let CheckLocal::Smtp(relay) = check("{smtp: mx.example, tls: {mode: starttls}}", shared) else { panic!() };
    assert_eq!((relay.tls.mode, relay.auth), (TlsMode::StartTls, None));
    let CheckLocal::Lmtp(relay) = check("{lmtp: '::1'}", "{maildir: /m}") else { panic!() };
    assert_eq!((&relay.endpoints[..], relay.hello, relay.smtputf8), (&[tcp("::1", 24)][..], None, true));
    assert_eq!(check("{file: boxes}", "{maildir: /m}"), CheckLocal::File("/etc/mailgather/boxes".into()));
    let command = |timeout| CheckLocal::Command { argv: vec!["id".into(), "-u".into()], timeout: Duration::from_secs(timeout) };
    assert_eq!(check("{command: [id, -u]}", "{maildir: /m}"), command(10));
    assert_eq!(check("{command: [id, -u], timeout: 2s}", "{maildir: /m}"), command(2));
}

#[test]
fn check_local_says_what_does_not_fit() {
    for (value, delivery, words) in [
        ("lmtp", "{smtp: localhost}", "`check_local: smtp` asks that one"),
        ("smtp", "{lmtp: localhost}", "`check_local: lmtp` asks that one"),
        ("lmtp", "{maildir: /m}", "which is a Maildir"),
        ("smtp", "{maildir: /m}", "name the server to ask, as in `{smtp: 127.0.0.1:25}`"),
        ("rcpt", "{maildir: /m}", "`none`, `lmtp`, `smtp`"),
        ("true", "{maildir: /m}", "`none`, `lmtp`, `smtp`"),
        ("{}", "{maildir: /m}", "exactly one of"),
        ("{lmtp: unix:/a, file: /b}", "{maildir: /m}", "exactly one of"),
        ("{file: /b, timeout: 3s}", "{maildir: /m}", "`timeout` does not go with `file`"),
        ("{command: [a], tls: {mode: starttls}}", "{maildir: /m}", "`tls` does not go with `command`"),
        ("{lmtp: unix:/a, tls: {mode: starttls}}", "{maildir: /m}", "TLS on a unix socket"),
        ("{command: 'is-mailbox -q'}", "{maildir: /m}", "there is no shell"),
        ("{command: []}", "{maildir: /m}", "starts with the program"),
        ("{command: [a], timeout: 1h}", "{maildir: /m}", "at most 5m"),
        ("{lmtp: /run/l}", "{maildir: /m}", "`unix:` in front"),
        ("{url: x}", "{maildir: /m}", "unknown key `url`"),
    ] {
        refused(&with(&format!("delivery: {delivery}\nrecipient: {{auto: {{check_local: {value}}}}}")), words);
    }
    // A target that is wrong is reported once, as what it is.
    let report = read(&with("delivery: {lmtp: /run/l}\nrecipient: {auto: {check_local: lmtp}}")).unwrap_err();
    assert_eq!(report.errors.len(), 1, "{report}");
}

#[test]
fn what_decides_about_recipients_is_in_the_hash() {
    let hash = |lines: &str| collector(&with(lines)).recipient_hash;
    let auto =
        |more: &str| hash(&format!("delivery: {{lmtp: unix:/l}}\nrecipient: {{auto: {{domains: [a.example], {more}}}, default_box: d@a.example}}"));
    let mut all = vec![auto("")];
    for more in [
        "domains: [a.example]",
        "keep_tag: false",
        "guess: on",
        "guess: union",
        "exclude: [x@a.example]",
        "exclude: ['/x/']",
        "rewrite: [{regex: x, to: y@a.example}]",
        "rewrite: [{regex: x, to: z@a.example}]",
        "guess: on, lists: {l.example: x@a.example}",
        "headers: [{header: X, pattern: a}]",
        "headers: [{header: X, pattern: b}]",
        "check_local: lmtp",
        "check_local: {file: /x}",
        "check_local: {command: [x]}",
        "max_recipients: 5",
    ]
    .iter()
    .skip(1)
    {
        all.push(auto(more));
    }
    let box_of = |lines: &str| hash(&format!("{lines}\nrecipient: {{auto: {{domains: [a.example]}}, default_box: d@a.example}}"));
    all.push(box_of("delivery: {on_permanent_failure: default_box}"));
    all.push(box_of("delivery: {policy: [{reply: 550, do: leave}]}"));
    all.push(hash("recipient: {auto: {domains: [a.example]}, default_box: d@a.example, unresolved: hold}"));
    all.push(hash("recipient: {auto: {domains: [a.example]}, default_box: d@a.example, journal: google, journal_from: j@a.example}"));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert_eq!(box_of("interval: 10s\non_hold: delete\nafter: delete\ndedupe_window: 1d"), auto(""));
}

#[test]
fn mail_exchangers_are_asked_of_one_domain_by_given_name_servers() {
    let text = with("recipient: {auto: {trusted_hosts: mx}, default_box: b@c.example}");
    let RecipientMode::Auto(rules, _) = collector(&text).recipient else { panic!() };
    assert_eq!((rules.mx_of.clone().unwrap().as_ascii(), rules.trusted_hosts.len(), rules.mx_hosts.len()), ("xn--80a1acny.xn--p1ai", 0, 0));
    refused(&text.replace("email: a@почта.рф", "title: a").replace("username: a@почта.рф", "username: a"), "the MX records of which domain?");
    for wrong in ["..example.org", ".", "a@b.example"] {
        auto_is_refused(&format!("trusted_hosts: ['{wrong}']"), "`trusted_hosts`: ");
    }
    refused(&with("recipient: {auto: {trusted_hosts: mx, trusted_hops: 1}}"), "`trusted_hops` beside `trusted_hosts` (mx)");
    let dns = |value: &str| read(&format!("service: {{dns: {value}}}\n{}", with(""))).map(|loaded| loaded.config.service.dns);
    assert_eq!(
        dns("[192.0.2.53, '[2001:db8::53]:5353', '::1']").unwrap(),
        ["192.0.2.53:53", "[2001:db8::53]:5353", "[::1]:53"].map(|at| at.parse().unwrap())
    );
    for wrong in ["ns.example.org", "[1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4]", "'192.0.2.53:99999'"] {
        assert!(dns(wrong).unwrap_err().to_string().contains("`dns`"), "{wrong}");
    }
}

#[test]
fn guessing_knows_which_domains_only_hold_a_target() {
    let targets = |auto: &str| rules(auto, "").target_domains.iter().map(|domain| domain.to_string()).collect::<Vec<_>>();
    let aliases = "aliases: {anna@a.example: anna@gmail.example, b@a.example: [b@a.example, b@box.example]}";
    assert_eq!(targets(aliases), ["box.example", "gmail.example"]);
    assert_eq!(targets(&format!("{aliases}, map: {{gmail.example: x.example, c.example: box.example}}")), Vec::<String>::new());
    assert_eq!(targets(&format!("{aliases}, map: {{d.example: m@box2.example}}")), ["box.example", "box2.example", "gmail.example"]);
    assert_eq!(targets(&format!("{aliases}, domains: [gmail.example]")), Vec::<String>::new());
    // The domain of `email`.
    assert_eq!(targets("aliases: {anna@a.example: anna@почта.рф}"), Vec::<String>::new());
    let warnings = |auto: &str| {
        let loaded = read(&with(&format!("recipient: {{auto: {{{auto}}}, default_box: d@a.example}}"))).unwrap();
        loaded.warnings.iter().map(ToString::to_string).filter(|text| text.contains("takes no address at")).collect::<Vec<_>>()
    };
    for guess in ["on", "union"] {
        let told = warnings(&format!("guess: {guess}, {aliases}")).join("");
        assert!(told.contains("`guess` takes no address at `box.example`, `gmail.example` from To and Cc") && told.contains("domains: ["), "{told}");
    }
    for silent in [aliases.to_owned(), format!("guess: off, {aliases}"), format!("guess: on, {aliases}, domains: [a.example]")] {
        assert_eq!(warnings(&silent), Vec::<String>::new(), "{silent}");
    }
}

#[test]
fn as_many_recipients_as_one_transaction_takes() {
    let of =
        |n: usize| collector(&with(&format!("delivery: {{max_recipients: {n}}}\nrecipient: {{forward_to: a@b.example}}"))).delivery.max_recipients;
    assert_eq!((of(1), of(1_000)), (1, 1_000));
    for n in ["0", "1001", "10000"] {
        refused(&with(&format!("delivery: {{max_recipients: {n}}}\nrecipient: {{forward_to: a@b.example}}")), "max_recipients");
    }
}
