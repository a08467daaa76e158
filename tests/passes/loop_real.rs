//! A loop built for real: the target, a Postfix, forwards one of its addresses back into the mailbox that is collected (a Dovecot, by LMTP). It
//! ends, the message is delivered once, its copy stays where it can be looked at, and all other mail flows.

use crate::support::corpus::letter;
use crate::support::maildir::subjects;
use crate::support::*;

const MAILBOX: &str = "source@pop.example";

/// A target whose `loop@example.org` is an alias of the collected mailbox.
fn target(from: &Dovecot, more: &str) -> Postfix {
    Postfix::builder()
        .users(&["anna", "vera"])
        .extra(&format!(
            "virtual_alias_maps = inline:{{ {{loop@example.org = {MAILBOX}}} }}\nvirtual_alias_domains =\nrelay_domains = pop.example\n\
             transport_maps = inline:{{ {{pop.example = lmtp:inet:127.0.0.1:{}}} }}\n{more}",
            from.lmtp()
        ))
        .start()
}

/// How often the target has handed something back into the mailbox.
fn handed_back(to: &Postfix) -> usize {
    to.log().lines().filter(|line| line.contains("postfix/lmtp") && line.contains(MAILBOX) && line.contains("status=sent")).count()
}

fn smtp(to: &Postfix) -> String {
    format!("{{smtp: '127.0.0.1:{}'}}", to.port())
}

/// Collects until nothing moves any more: what was delivered has come back, and a further pass delivers nothing. Tells how many were delivered
/// and what was printed and logged. (One `once` may well see a copy that came back while it ran.)
#[track_caller]
fn collect_until_it_rests(program: &Mailgather, to: &Postfix, comes_back: impl Fn(usize) -> usize) -> (usize, String) {
    let (mut delivered, mut said) = (0, String::new());
    for _ in 0..25 {
        let done = program.once(&[]).expect_success();
        said.push_str(&format!("{}{}", done.stdout, done.stderr));
        let count = done.stderr.lines().filter(|line| line.contains(" message_delivered ")).count();
        if count == 0 {
            return (delivered, said);
        }
        delivered += count;
        eventually("the target hands it back", SOON, || handed_back(to) >= comes_back(delivered));
    }
    panic!("it goes on and on: {delivered} delivered\n{said}");
}

/// `mailgather held list`
fn held(program: &Mailgather) -> String {
    program.run_to_end("held", &["list"]).expect_success().stdout
}

#[test]
fn a_loop_through_the_target_stops_after_one_copy() {
    for (protocol, after) in [(CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml, "keep"), (CollectorYaml::pop3, "delete")] {
        for recipient in [
            "{forward_to: loop@example.org}",
            "{auto: {trusted_hops: 1, aliases: {looping@pop.example: loop@example.org}, map: {pop.example: example.org}}, default_box: loop@example.org}",
        ] {
            let from = Dovecot::start();
            let to = target(&from, "");
            from.put(MAILBOX, &letter(1, "looping@pop.example"));
            let collector = protocol(&from, MAILBOX).after(after).set("email", MAILBOX).set("recipient", recipient);
            let program = Mailgather::new(&config(&smtp(&to), &[collector]));
            let (delivered, said) = collect_until_it_rests(&program, &to, |delivered| delivered);
            assert_eq!((delivered, handed_back(&to)), (1, 1), "one copy\n{said}\n{}", to.log());
            assert!(said.contains("1 held") && said.contains("loop"), "{said}");
            // The copy is held, and it alone.
            let held = held(&program);
            assert_eq!(held.matches("letter 1").count(), 1, "{held}");
            for _ in 0..3 {
                assert_eq!(collect_until_it_rests(&program, &to, |delivered| delivered).0, 0);
            }
            assert_eq!(handed_back(&to), 1);
        }
    }
}

#[test]
fn other_mail_flows_while_a_loop_is_stopped() {
    let from = Dovecot::start();
    let to = target(&from, "");
    let rules = "{trusted_hops: 1, aliases: {looping@pop.example: loop@example.org}, map: {pop.example: example.org}}";
    let letters = ["anna@pop.example", "looping@pop.example", "vera@pop.example"];
    letters.iter().enumerate().for_each(|(n, to)| from.put(MAILBOX, &letter(n, to)));
    let collector = CollectorYaml::imap(&from, MAILBOX).set("email", MAILBOX).auto(rules, "loop@example.org");
    let program = Mailgather::new(&config(&smtp(&to), &[collector]));
    let (delivered, said) = collect_until_it_rests(&program, &to, |_| 1);
    assert_eq!(delivered, 3, "{said}");
    [("anna@pop.example", 4), ("vera@pop.example", 5)].into_iter().for_each(|(to, n)| from.put(MAILBOX, &letter(n, to)));
    let (delivered, said) = collect_until_it_rests(&program, &to, |_| 1);
    assert_eq!(delivered, 2, "{said}");
    assert_eq!(held(&program).matches("letter 1").count(), 1);
    eventually("the others arrive", SOON, || to.count("anna") == 2 && to.count("vera") == 2);
    assert_eq!(
        (subjects(&to.messages("anna")), subjects(&to.messages("vera"))),
        (vec!["letter 0".into(), "letter 4".into()], vec!["letter 2".to_string(), "letter 5".into()])
    );
    assert_eq!(handed_back(&to), 1);
}

#[test]
fn a_loop_without_our_marker_stops_by_the_number_of_hops() {
    // The target takes our fields out, as some gateways do: what is left is the number of Received fields.
    let from = Dovecot::start();
    let to = target(&from, "hopcount_limit = 200\nheader_checks = regexp:{ { /^X-Mailgather-/ IGNORE } }");
    from.put(MAILBOX, &letter(1, "anyone@pop.example"));
    let collector = CollectorYaml::imap(&from, MAILBOX).after("delete").forward_to("loop@example.org");
    let program = Mailgather::new(&config(&smtp(&to), &[collector]));
    let (rounds, said) = collect_until_it_rests(&program, &to, |delivered| delivered);
    // Three hops a round, ours, Postfix and Dovecot, to the default limit of 50.
    assert!((16..=17).contains(&rounds), "{rounds} rounds\n{said}");
    assert!(said.contains("1 held"), "{said}");
    assert_eq!(held(&program).matches("letter 1").count(), 1);
}
