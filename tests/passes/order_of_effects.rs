//! The order of effects, seen by strace: a copy at the source is deleted only after the ledger durably says that it was delivered, and a file
//! in a Maildir is durable before the ledger says so. No kill can show it, as written data survives the program.

use crate::support::*;
use std::collections::BTreeMap;

/// What a line of the trace did, as far as the order is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    /// Octets came from the source: a message, or an answer.
    FromSource,
    /// STORE or DELE was sent to it.
    Dispose,
    /// An answer to a final dot came from the sink.
    Taken,
    /// The ledger's log was written, not yet durably.
    LedgerWritten,
    /// The ledger's log is durable.
    LedgerDurable,
    /// A file in tmp/ is durable.
    FileDurable(String),
    /// A file was linked into new/.
    Linked(String),
    /// A folder new/ is durable.
    FolderDurable(String),
}

/// The effects of a trace in order; those that make something durable count from their end, all others from their start.
fn effects(trace: &str, source_port: u16) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    let mut source = String::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (call, begins, ends) = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, start.to_owned());
            (start.to_owned(), true, false)
        } else if rest.starts_with("<... ") {
            let Some((_, end)) = rest.split_once(" resumed>") else { continue };
            let Some(start) = unfinished.remove(thread) else { continue };
            (start + end, false, true)
        } else {
            (rest.to_owned(), true, true)
        };
        let failed = ends && call.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with('-'));
        let name = call.split('(').next().unwrap_or_default();
        if name == "connect" && begins && call.contains(&format!("htons({source_port})")) {
            source = descriptor(&call);
        }
        let quoted = call.split('"').nth(1).unwrap_or_default();
        let effect = match name {
            "sendto" if begins && descriptor(&call) == source && (quoted.contains(" STORE ") || quoted.contains("DELE ")) => Effect::Dispose,
            "recvfrom" if ends && !failed && descriptor(&call) == source => Effect::FromSource,
            "recvfrom" if ends && !failed && quoted.contains("250 2.0.0 Ok: taken") => Effect::Taken,
            "pwrite64" if begins && descriptor(&call).ends_with("ledger.db-wal>") => Effect::LedgerWritten,
            "fsync" | "fdatasync" if ends && !failed => {
                let what = descriptor(&call);
                if what.ends_with("ledger.db-wal>") {
                    Effect::LedgerDurable
                } else if what.ends_with("/new>") {
                    Effect::FolderDurable(inside(&what).trim_end_matches("/new").to_owned())
                } else if what.contains("/tmp/") && what.ends_with(".mailgather>") {
                    let (folder, file) = inside(&what).rsplit_once("/tmp/").unwrap_or_default();
                    Effect::FileDurable(format!("{folder}/{file}"))
                } else {
                    continue;
                }
            }
            "linkat" if ends && !failed => {
                let folder = inside(call.split("<").nth(1).unwrap_or_default()).trim_end_matches("/tmp").to_owned();
                Effect::Linked(format!("{folder}/{quoted}"))
            }
            _ => continue,
        };
        effects.push(effect);
    }
    effects
}

/// The first argument with what strace knows of it: `14<socket:[4711]>`.
fn descriptor(call: &str) -> String {
    let arguments = call.split_once('(').map_or("", |(_, rest)| rest);
    let end = arguments.find('>').map_or(arguments.len(), |end| end + 1);
    arguments[..end].to_owned()
}

/// `/a/b` of `14</a/b>`.
fn inside(descriptor: &str) -> &str {
    descriptor.split_once('<').map_or(descriptor, |(_, rest)| rest).split('>').next().unwrap_or_default()
}

/// What is wrong with the order, if anything is. `messages`: how many copies of messages are delivered in this trace.
fn fault(effects: &[Effect], messages: usize, maildir: bool) -> Option<String> {
    let Some(first_dispose) = effects.iter().position(|effect| *effect == Effect::Dispose) else { return Some("nothing was disposed of".into()) };
    let delivered = |effect: &Effect| if maildir { matches!(effect, Effect::FolderDurable(_)) } else { *effect == Effect::Taken };
    let before = &effects[..first_dispose];
    let Some(last_delivery) = before.iter().rposition(delivered) else { return Some("disposed of before anything was delivered".into()) };
    if effects[first_dispose..].iter().any(delivered) {
        return Some("a delivery after the first disposal".into());
    }
    // The record of the last delivery is written after it, and a sync follows what was written.
    let written = before.iter().rposition(|effect| *effect == Effect::LedgerWritten);
    let durable = before.iter().rposition(|effect| *effect == Effect::LedgerDurable);
    match (written, durable) {
        (Some(written), _) if written < last_delivery => return Some("the ledger was not written after the last delivery".into()),
        (Some(written), Some(durable)) if durable > written => {}
        _ => return Some("the source was told to delete before the ledger was durable".into()),
    }
    if !maildir {
        return None;
    }
    let linked: Vec<(usize, &String)> =
        before.iter().enumerate().filter_map(|(at, effect)| if let Effect::Linked(file) = effect { Some((at, file)) } else { None }).collect();
    if linked.len() != messages {
        return Some(format!("{} files were linked, {messages} expected", linked.len()));
    }
    for (at, file) in linked {
        if !before[..at].contains(&Effect::FileDurable(file.clone())) {
            return Some(format!("{file} was linked before it was durable"));
        }
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let Some(synced) = before[at..].iter().position(|effect| *effect == Effect::FolderDurable(folder.clone())) else {
            return Some(format!("the folder of {file} was not made durable"));
        };
        // Nothing can be recorded about this file before its folder is durable; the last record is after all of them.
        if written.is_none_or(|written| written < at + synced) {
            return Some(format!("{file} was recorded before its folder was durable"));
        }
    }
    None
}

/// A traced pass over three messages for one recipient.
fn trace(protocol: fn(&Dovecot, &str) -> CollectorYaml, lmtp: bool) -> (String, u16) {
    let server = Dovecot::start();
    for n in 0..3 {
        server.put("source", format!("Subject: {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nBody {n}\r\n").as_bytes());
    }
    let sink = Sink::lmtp();
    let program = Mailgather::new("");
    let delivery = if lmtp { sink.delivery() } else { format!("{{maildir: '{}/{{local}}'}}", program.path().display()) };
    program.configure(&config(&delivery, &[protocol(&server, "source").after("delete").forward_to("anna@example.org")]));
    let file = program.path().join("trace");
    let calls = "trace=connect,sendto,sendmsg,writev,recvfrom,pwrite64,pwritev,fsync,fdatasync,linkat";
    strace::traced_once(&program, &["-y", "-s", "300", "-e", calls], &file).expect_success();
    assert_eq!(server.count("source"), 0, "all were deleted");
    let text = std::fs::read_to_string(file).expect("the trace");
    // The parser knows the calls that the program uses; another one would pass it unseen.
    assert!(!text.contains("sendmsg(") && !text.contains("writev(") && !text.contains("pwritev("), "a call that the parser does not know");
    (text, if text_is_imap(protocol) { server.imap() } else { server.pop3() })
}

fn text_is_imap(protocol: fn(&Dovecot, &str) -> CollectorYaml) -> bool {
    std::ptr::fn_addr_eq(protocol, CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml)
}

#[track_caller]
fn in_order(protocol: fn(&Dovecot, &str) -> CollectorYaml, lmtp: bool) {
    let (text, port) = trace(protocol, lmtp);
    let found = effects(&text, port);
    assert_eq!(fault(&found, 3, !lmtp), None, "{found:#?}");
    can_fail(&found, !lmtp);
}

/// The same trace in another order, or with something missing, is found out.
#[track_caller]
fn can_fail(good: &[Effect], maildir: bool) {
    let without = |unwanted: fn(&Effect) -> bool| good.iter().filter(|effect| !unwanted(effect)).cloned().collect::<Vec<_>>();
    assert!(fault(&without(|effect| *effect == Effect::LedgerDurable), 3, maildir).is_some(), "the ledger's sync switched off");
    let dispose = good.iter().position(|effect| *effect == Effect::Dispose).expect("a disposal");
    let durable = good[..dispose].iter().rposition(|effect| *effect == Effect::LedgerDurable).expect("a sync");
    let mut swapped = good.to_vec();
    swapped.swap(dispose, durable);
    assert!(fault(&swapped, 3, maildir).is_some(), "the disposal before the sync");
    let mut early = good.to_vec();
    early.remove(dispose);
    early.insert(0, Effect::Dispose);
    assert!(fault(&early, 3, maildir).is_some(), "the disposal before all");
    if maildir {
        assert!(fault(&without(|effect| matches!(effect, Effect::FileDurable(_))), 3, true).is_some(), "no fsync of the file");
        assert!(fault(&without(|effect| matches!(effect, Effect::FolderDurable(_))), 3, true).is_some(), "no fsync of the folder");
        let folder = good.iter().rposition(|effect| matches!(effect, Effect::FolderDurable(_))).expect("a folder's sync");
        let mut late = good.to_vec();
        let sync = late.remove(folder);
        late.insert(dispose - 1, sync);
        assert!(fault(&late, 3, true).is_some(), "the folder's sync after the record");
    }
}

#[test]
fn f84_imap_to_lmtp() {
    in_order(CollectorYaml::imap, true);
}

#[test]
fn f84_pop3_to_lmtp() {
    in_order(CollectorYaml::pop3, true);
}

#[test]
fn f84_imap_to_maildir() {
    in_order(CollectorYaml::imap, false);
}

#[test]
fn f84_pop3_to_maildir() {
    in_order(CollectorYaml::pop3, false);
}

#[test]
fn the_parser_reads_calls_that_overlap() {
    let text = "\
7  connect(14<socket:[1]>, {sa_family=AF_INET, sin_port=htons(143), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = -1 EINPROGRESS (Operation now in progress)
7  recvfrom(15<socket:[2]>, \"250 2.0.0 Ok: taken\\r\\n\", 100, 0, NULL, NULL) = 21
8  pwrite64(12</s/ledger.db-wal>, \"x\", 1, 0) = 1
8  fsync(12</s/ledger.db-wal> <unfinished ...>
7  sendto(14<socket:[1]>, \"a5 UID STORE 1 +FLAGS.SILENT (\\\\Deleted)\\r\\n\", 40, MSG_NOSIGNAL, NULL, 0) = 40
8  <... fsync resumed>)              = 0
7  sendto(15<socket:[2]>, \"DELE 1 in a message\", 40, MSG_NOSIGNAL, NULL, 0) = 40
8  fsync(12</s/ledger.db-wal>) = -1 EIO (Input/output error)
";
    let found = effects(text, 143);
    assert_eq!(found, [Effect::Taken, Effect::LedgerWritten, Effect::Dispose, Effect::LedgerDurable]);
    assert_eq!(fault(&found, 1, false).as_deref(), Some("the source was told to delete before the ledger was durable"));
    assert_eq!(fault(&[Effect::Taken, Effect::LedgerWritten, Effect::LedgerDurable, Effect::Dispose], 1, false), None);
}
