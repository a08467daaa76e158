//! A loop built for real: the target, a Postfix, forwards one of its addresses back into the mailbox that is collected (a Dovecot, by LMTP). It
//! ends, the message is delivered once, its copy stays where it can be looked at, and all other mail flows.

mod support;

use support::corpus::letter;
use support::maildir::subjects;
use support::*;

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
            program.once(&[]).expect_success();
            eventually("the target hands it back", SOON, || handed_back(&to) == 1);
            let kept = usize::from(after == "keep");
            eventually("it is in the mailbox again", SOON, || from.count(MAILBOX) == kept + 1);
            let copy = program.once(&[]).expect_success();
            assert!(copy.stdout.contains("0 delivered, 1 "), "{}\n{}", copy.stdout, copy.stderr);
            assert!(copy.stderr.contains("message_loop") || copy.stderr.contains("loop"), "{}", copy.stderr);
            // It is neither delivered again nor lost: the octets are in the mailbox, or held.
            for _ in 0..3 {
                let again = program.once(&[]).expect_success();
                assert!(again.stdout.contains(": 0 delivered"), "{}", again.stdout);
            }
            assert_eq!(handed_back(&to), 1, "one copy; the log of the target:\n{}", to.log());
            assert!(from.count(MAILBOX) > kept || copy.stdout.contains("held"), "{}", copy.stdout);
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
    program.once(&[]).expect_success();
    eventually("the loop closes", SOON, || handed_back(&to) == 1 && from.count(MAILBOX) == 4);
    [("anna@pop.example", 4), ("vera@pop.example", 5)].into_iter().for_each(|(to, n)| from.put(MAILBOX, &letter(n, to)));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("2 delivered, 1 "), "{}\n{}", done.stdout, done.stderr);
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
    let mut rounds = 0;
    loop {
        let done = program.once(&[]).expect_success();
        if done.stdout.contains(": 0 delivered") {
            assert!(done.stderr.contains("loop"), "{}", done.stderr);
            break;
        }
        rounds += 1;
        assert!(rounds <= 20, "it goes on and on: {}", done.stdout);
        eventually("it comes back", SOON, || handed_back(&to) == rounds && from.count(MAILBOX) == 1);
    }
    // Three hops a round, ours, Postfix and Dovecot, to the default limit of 50.
    assert!((16..=17).contains(&rounds), "{rounds} rounds");
}
