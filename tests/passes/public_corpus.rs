//! Mail of the world outside, as packages ship it for their own tests: whatever `explain` says of a message is what delivery does, all of it
//! arrives, and bodies are the same octet for octet after the line-end rule.

use crate::support::corpus::canonical;
use crate::support::maildir::{field, split, split_original, with_crlf};
use crate::support::*;
use bytes::Bytes;
use mailgather::collect::route;
use mailgather::config::{Collector, Environment};
use mailgather::mail::HeaderBlock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is expected of one message.
struct Expected {
    name: String,
    /// As the server serves it, in canonical form.
    canonical: Vec<u8>,
    recipients: BTreeSet<String>,
    sender: String,
}

/// Every second message gets what a provider puts on top; the others are taken as they are, with whatever stands in them.
fn mailbox() -> Vec<(String, Vec<u8>)> {
    let with_block = |(at, (name, raw)): (usize, (String, Vec<u8>))| {
        let block = format!(
            "Return-Path: <sender{at}@remote.example>\r\nX-Original-To: user{}@pop.example\r\n\
             Received: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby mx.pop.example with ESMTP id {at};\r\n\t\
             Sat, 21 Nov 2026 10:00:00 +0000\r\n",
            at % 17
        );
        // An mbox line or a byte order mark is none any more with a header above, and would end the header.
        let plain = raw.first().is_some_and(|first| first.is_ascii_alphabetic()) && !raw.starts_with(b"From ");
        (name, if at % 2 == 0 && plain { [block.as_bytes(), &raw].concat() } else { raw })
    };
    public_corpus::messages().into_iter().enumerate().map(with_block).collect()
}

/// Rules under which the real messages' own envelope headers count too: one hop, and the domains that they name.
const RULES: &str = "{trusted_hops: 1, domains: [example.com, example.net, example.org, notmuchmail.org, python.org, list.org, zope.org, pop.example], \
                     map: {pop.example: example.org}, aliases: {'*@python.example': python@example.org}}";

fn collector(yaml: CollectorYaml) -> CollectorYaml {
    yaml.auto(RULES, "post@example.org")
}

/// The collector as the program reads it from its configuration.
fn loaded(program: &Mailgather) -> Arc<Collector> {
    let environment = Environment::of_process(Some(program.state_dir()));
    let loaded =
        mailgather::config::load(&program.config_file(), &environment).map_err(|report| format!("{report:?}")).expect("a good configuration");
    loaded.config.collectors.values().next().expect("one collector").clone()
}

/// What `explain` prints for a message, without the process: the same calls.
fn explained(collector: &Collector, canonical: &[u8]) -> (BTreeSet<String>, String) {
    let header = HeaderBlock::parse(Bytes::copy_from_slice(canonical));
    let (resolution, _) = route::resolution(collector, &header);
    let sender = route::sender(collector, &header, &resolution);
    (resolution.recipients().iter().map(|recipient| recipient.address.to_string()).collect(), sender.to_smtp())
}

/// Fills the mailbox `source`, collects it, and tells for each message what `explain` said, by the trace id that its copies carry.
fn collect(imap: bool, from: &Dovecot, delivery: &str) -> (Mailgather, HashMap<String, Expected>) {
    let served = |raw: &[u8]| {
        let served = with_crlf(raw);
        // Dovecot serves NUL as 0x80 by IMAP; by POP3 it must end the last line.
        let served: Vec<u8> = if imap { served.into_iter().map(|b| if b == 0 { 0x80 } else { b }).collect() } else { served };
        let end: &[u8] = if imap || served.ends_with(b"\r\n") { b"" } else { b"\r\n" };
        canonical(&[&served, end].concat())
    };
    // Dovecot's POP3 does not stuff a dot that is the very first octet.
    let all: Vec<(String, Vec<u8>)> = mailbox().into_iter().filter(|(_, raw)| imap || !raw.starts_with(b".")).collect();
    assert!(all.len() >= public_corpus::AT_LEAST);
    all.iter().for_each(|(_, raw)| from.put("source", raw));
    let yaml = collector(if imap { CollectorYaml::imap(from, "source") } else { CollectorYaml::pop3(from, "source") });
    let program = Mailgather::new(&config(delivery, &[yaml]));
    let rules = loaded(&program);
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains(&format!("source: {} delivered", all.len())), "{}\n{}", done.stdout, tail(&done.stderr));
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("source: 0 delivered\n"), "{}", again.stdout);
    // The log says which trace id belongs to which UID; UIDs and POP3's numbers are in the order of `put`.
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for line in done.stderr.lines().filter(|line| line.contains(" message_delivered ")) {
        ids.insert(word(line, "id="), word(line, "key="));
    }
    assert_eq!(ids.len(), all.len(), "one trace id for each message");
    let mut expected = HashMap::new();
    let by_number: HashMap<usize, &String> = ids.iter().filter_map(|(id, key)| Some((number_of(key, imap)?, id))).collect();
    for (at, (name, raw)) in all.into_iter().enumerate() {
        let canonical = served(&raw);
        let (recipients, sender) = explained(&rules, &canonical);
        assert!(!recipients.is_empty(), "{name}: nobody");
        let id = by_number.get(&at).unwrap_or_else(|| panic!("{name}: message {at} has no trace id")).to_string();
        expected.insert(id, Expected { name, canonical, recipients, sender });
    }
    (program, expected)
}

/// The number of a message in the mailbox, from 0: UIDs ascend as messages were put, and Dovecot's UIDL is made of the UID.
fn number_of(key: &str, imap: bool) -> Option<usize> {
    let last = key.rsplit('/').next()?;
    let uid = if imap { last.parse::<usize>().ok()? } else { usize::from_str_radix(last.get(..8)?, 16).ok()? };
    uid.checked_sub(1)
}

fn word(line: &str, name: &str) -> String {
    line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {line}")).to_string()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" message_delivered ")).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The octets of the body, as the program cuts a message.
fn body(canonical: &[u8]) -> Vec<u8> {
    split_original(canonical).1
}

#[track_caller]
fn assert_body(expected: &Expected, delivered: &[u8]) {
    let (want, got) = (body(&expected.canonical), split(delivered).1);
    let at = want.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let near = |bytes: &[u8]| bytes[at.saturating_sub(30).min(bytes.len())..(at + 60).min(bytes.len())].escape_ascii().to_string();
    assert!(want == got, "{}: the body differs at octet {at} of {}: {} became {}", expected.name, want.len(), near(&want), near(&got));
}

/// Every message is in a sink once for each of its recipients, with the envelope that `explain` told.
fn into_a_sink(imap: bool, sink: &Sink) {
    let from = Dovecot::start();
    let (program, mut expected) = collect(imap, &from, &sink.delivery());
    assert_eq!(sink.violations(), Vec::<String>::new());
    assert_eq!(sink.broken_off(), 0);
    let resolved = expected.values().filter(|one| !one.recipients.contains("post@example.org")).count();
    assert!(resolved * 3 > expected.len(), "{resolved} of {} are resolved: the corpus says too little", expected.len());
    eprintln!("{} messages, {resolved} of them resolved", expected.len());
    // The process prints what the library says. (A file that begins with `From ` is an mbox to it, of several messages maybe.)
    for one in expected.values().step_by(expected.len() / 20).filter(|one| !one.canonical.starts_with(b"From ")) {
        let printed = program.explain(&one.canonical, &["--json"]).expect_success().stdout;
        let json: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(json["reverse_path"], one.sender.as_str(), "{}", one.name);
        for recipient in &one.recipients {
            assert!(printed.contains(recipient.as_str()), "{}: {recipient} in {printed}", one.name);
        }
    }
    for taken in sink.taken() {
        let id = field(&taken.content, "X-Mailgather-Id").expect("every copy has one");
        let one = expected.remove(&id).unwrap_or_else(|| panic!("a second copy, or nobody's: {}", taken.content[..200].escape_ascii()));
        assert_eq!(taken.recipients.iter().cloned().collect::<BTreeSet<_>>(), one.recipients, "{}", one.name);
        assert_eq!(taken.from, one.sender, "{}", one.name);
        assert_body(&one, &taken.content);
    }
    assert!(expected.is_empty(), "not delivered: {:?}", expected.values().map(|one| &one.name).collect::<Vec<_>>());
}

#[test]
fn explain_and_delivery_agree_by_imap_and_smtp() {
    into_a_sink(true, &Sink::smtp());
}

#[test]
fn explain_and_delivery_agree_by_pop3_and_lmtp() {
    into_a_sink(false, &Sink::lmtp());
}

/// Each copy in these boxes is the one that was expected there.
fn assert_in_boxes(expected: &HashMap<String, Expected>, copies_of: impl Fn(&str) -> Vec<Vec<u8>>) {
    let addresses: BTreeSet<&String> = expected.values().flat_map(|one| &one.recipients).collect();
    let mut found = 0;
    for address in addresses {
        let mut wanted: BTreeSet<&String> = expected.iter().filter(|(_, one)| one.recipients.contains(address)).map(|(id, _)| id).collect();
        for copy in copies_of(address) {
            let id = field(&copy, "X-Mailgather-Id").expect("every copy has one");
            let one = expected.get(&id).expect("a message of ours");
            assert!(wanted.remove(&id), "{address}: {} is there twice, or was not for it", one.name);
            let return_path = field(&copy, "Return-Path").expect("a final copy has one");
            assert_eq!(return_path, format!("<{}>", one.sender), "{}", one.name);
            assert_body(one, &copy);
            found += 1;
        }
        assert!(wanted.is_empty(), "{address}: not there: {:?}", wanted.iter().map(|id| &expected[*id].name).collect::<Vec<_>>());
    }
    assert_eq!(found, expected.values().map(|one| one.recipients.len()).sum::<usize>());
}

#[test]
fn explain_and_delivery_agree_into_maildirs() {
    let (from, boxes) = (Dovecot::start(), Boxes::new());
    let (_program, expected) = collect(true, &from, &boxes.delivery());
    assert_in_boxes(&expected, |address| boxes.of(address).messages().iter().map(|copy| with_crlf(copy)).collect());
}

#[test]
fn explain_and_delivery_agree_at_a_real_lmtp_server() {
    let from = Dovecot::start();
    let (_program, expected) = collect(false, &from, &format!("{{lmtp: '127.0.0.1:{}'}}", from.lmtp()));
    assert_in_boxes(&expected, |address| from.messages(address));
}

/// However strict the reading is, what genuine servers write is read: nothing of it looks like a sender's doing. Not read are fields without a
/// `by`, and three texts that administrators made up (Exim's `received_header_text`): a client certificate behind a `from` of its own, the
/// sender behind one, and the login behind a second `by`. A HELO with blanks looks just like them.
#[test]
fn few_received_fields_of_the_world_outside_are_suspect() {
    let (mut fields, mut made_up) = (0, 0);
    for (name, raw) in public_corpus::messages() {
        let header = HeaderBlock::parse(Bytes::from(canonical(&raw)));
        for field in header.all("Received") {
            fields += 1;
            let text = header.text(field);
            if mailgather::resolve::Received::parse(&text).suspect {
                made_up += 1;
                let is_known = ["from C=NA,ST=NA,", "by authid <", "from <mingo@"].iter().any(|part| text.contains(part));
                assert!(is_known || !text.replace('\t', " ").contains(" by "), "{name}: {text}");
            }
        }
    }
    assert!(fields > 500 && made_up * 20 < fields, "{made_up} of {fields} fields");
}
