//! SIGKILL at the k-th system call of a pass over Graph, for every k: nothing is lost, and a duplicate comes only from the one window, between the
//! final dot and its record. As `tests/sweeps/killsweep.rs` for IMAP and POP3.

use crate::kit::letter;
use crate::program::{program, yaml};
use crate::support::graph::Graph;
use crate::support::maildir::field;
use crate::support::*;
use std::collections::BTreeMap;

const LETTERS: usize = 3;

fn counts(sink: &Sink) -> BTreeMap<String, usize> {
    eventually("the sink's connections end", SOON, || sink.open() == 0);
    let mut counts = BTreeMap::new();
    for taken in sink.taken() {
        let subject = field(&taken.content, "Subject").unwrap_or_default();
        assert!(String::from_utf8_lossy(&taken.content).ends_with(&format!("Text of {subject}\r\n")), "{subject} is not whole");
        *counts.entry(subject).or_insert(0) += 1;
    }
    counts
}

#[test]
fn f1_kill_at_every_call() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let program = program(&graph, &sink.delivery(), "");
    let token = program.path().join("token");
    let delivery = sink.delivery().replace('}', ", max_connections: 1}");
    // The tables are made once, so that the thread that opens the ledger does not take the kills that are meant for the one that writes it.
    graph.make_mailbox("box0@tenant.example");
    program.configure(&yaml(&graph, &delivery, "box0@tenant.example", &token, "after: delete"));
    program.once(&[]).expect_success();
    let (mut round, mut duplicates, mut owed_at_kill) = (0, 0, 0);
    for call in ["sendto", "recvfrom", "fsync", "pwrite64"] {
        for k in 1..300 {
            round += 1;
            let address = format!("box{round}@tenant.example");
            (0..LETTERS).for_each(|n| drop(graph.put(&address, "inbox", letter(&format!("{n}")))));
            sink.clear();
            program.configure(&yaml(&graph, &delivery, &address, &token, "after: delete"));
            let killed = strace::once_with_fault(&program, call, "signal=KILL", k);
            let before = counts(&sink);
            let there: Vec<String> = graph.messages(&address, "inbox").iter().filter_map(|octets| field(octets, "Subject")).collect();
            for n in 0..LETTERS {
                let subject = n.to_string();
                assert!(there.contains(&subject) || before.contains_key(&subject), "{call} {k}: {subject} is lost");
            }
            owed_at_kill += usize::from(there.iter().any(|subject| before.contains_key(subject)));
            program.once(&["--quiet"]).expect_success();
            let after = counts(&sink);
            for n in 0..LETTERS {
                let (was, is) = (before.get(&n.to_string()).copied().unwrap_or(0), after.get(&n.to_string()).copied().unwrap_or(0));
                assert!((1..=2).contains(&is) && (is == 1 || was == 1), "{call} {k}: {n} came {is} times, {was} before");
                duplicates += is - 1;
            }
            assert_eq!(graph.ids(&address, "inbox").len(), 0, "{call} {k}");
            if killed.is_none() {
                assert!(k > 1, "the program makes no call {call}");
                break;
            }
        }
    }
    println!("{round} rounds, {duplicates} duplicates, {owed_at_kill} kills between delivery and disposal");
    assert!(round > 40 && owed_at_kill > 0);
    // The window is narrow: a kill in it leaves in doubt what one commit would have recorded.
    assert!(duplicates <= round * LETTERS / 6, "{duplicates} of {}", round * LETTERS);
}
