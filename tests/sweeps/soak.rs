//! SIGKILL every few seconds while mailboxes of every family, over both protocols, are filled and collected: nothing is lost, and what comes twice is
//! no more than what was between its final dot and its record when the program died.
//!
//! By default a minute's worth of it. The whole, 10,000 letters in each of 50 mailboxes with a SIGKILL every 5 s for 20 minutes:
//! `MAILGATHER_SOAK=1 cargo test --release --test sweeps soak -- --nocapture`

use crate::support::*;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Passes at once.
const SESSIONS: usize = 4;
/// What one pass may have taken in without a record: 32 deliveries in flight and 64 that wait for the ledger's next commit (src/collect/batch.rs).
const UNRECORDED_MAX: usize = 32 + 64;
/// Letters that are put into a mailbox at once.
const PORTION: usize = 50;

/// How long and how much.
struct Size {
    mailboxes: usize,
    letters: usize,
    between_kills: Duration,
    kills: usize,
    /// For what is left when nobody kills any more.
    rest: Duration,
}

impl Size {
    fn asked_for() -> Size {
        if std::env::var_os("MAILGATHER_SOAK").is_some() {
            Size { mailboxes: 50, letters: 10_000, between_kills: Duration::from_secs(5), kills: 240, rest: Duration::from_secs(1800) }
        } else {
            Size { mailboxes: 10, letters: 300, between_kills: Duration::from_secs(1), kills: 6, rest: Duration::from_secs(60) }
        }
    }
}

/// A mailbox, and how it is collected.
struct Mailbox<'s> {
    server: &'s dyn MailServer,
    user: String,
    protocol: &'static str,
    after: &'static str,
    put: usize,
}

impl Mailbox<'_> {
    fn collector(&self) -> CollectorYaml {
        let collector =
            if self.protocol == "imap" { CollectorYaml::imap(self.server, &self.user) } else { CollectorYaml::pop3(self.server, &self.user) };
        collector.after(self.after).set("interval", "2s").forward_to(&format!("{}@example.org", self.user))
    }

    fn put_portion(&mut self, portion: usize) {
        let letter = |n| {
            format!("From: a@remote.example\r\nTo: b@remote.example\r\nSubject: {n}\r\nMessage-ID: <{n}.{}@remote.example>\r\n\r\n{n}\r\n", self.user)
        };
        let letters: Vec<Vec<u8>> = (self.put..self.put + portion).map(|n| letter(n).into_bytes()).collect();
        self.server.put_all(&self.user, &letters);
        self.put += portion;
    }
}

/// What arrived, and how often.
#[derive(Default)]
struct Arrived {
    letters: HashMap<(String, usize), u32>,
    second: usize,
}

impl Arrived {
    /// Takes what the sink has; returns how many of it had come before.
    fn take(&mut self, sink: &Sink) -> usize {
        let before = self.second;
        for taken in sink.drain() {
            let letter = maildir::field(&taken.content, "Subject").and_then(|subject| subject.parse().ok()).expect("a whole letter");
            for to in taken.recipients {
                let count = self.letters.entry((to, letter)).or_default();
                *count += 1;
                self.second += usize::from(*count > 1);
            }
        }
        self.second - before
    }
}

#[test]
fn f79_killed_again_and_again_nothing_is_lost() {
    let size = Size::asked_for();
    let (servers, sink) = (families(), Sink::lmtp());
    // Cyrus takes its mail by APPEND only, one letter after the other: of ten mailboxes one is there.
    let server = |n: usize| if n % 10 == 9 { &servers[1] } else { &servers[n % 2 * 2] };
    let ways = [("imap", "delete"), ("pop3", "delete"), ("imap", "keep"), ("pop3", "keep"), ("imap", "mark_seen")];
    let mut mailboxes: Vec<Mailbox<'_>> = (0..size.mailboxes)
        .map(|n| {
            let (protocol, after) = ways[n / 2 % ways.len()];
            Mailbox { server: &**server(n), user: format!("box{n}"), protocol, after, put: 0 }
        })
        .collect();
    let collectors: Vec<CollectorYaml> = mailboxes.iter().map(Mailbox::collector).collect();
    let text = config(&sink.delivery(), &collectors).replace("level: debug", "level: warn");
    let limits = "limits: {interval_min: 1s}\n";
    let program = Mailgather::new(&(limits.to_owned() + &text.replace("service: {", &format!("service: {{max_sessions: {SESSIONS}, "))));

    let all = size.mailboxes * size.letters;
    let start = Instant::now();
    let (mut arrived, mut most, mut turns) = (Arrived::default(), 0, 0..);
    for kill in 1..=size.kills {
        // A third is there when the program starts for the first time; the rest comes evenly, all of it before the last kill.
        let due = |kills: f64| all / 3 + ((all - all / 3) as f64 * kills / size.kills as f64) as usize;
        let daemon = program.run();
        let started = Instant::now();
        while started.elapsed() < size.between_kills {
            let life = started.elapsed().as_secs_f64() / size.between_kills.as_secs_f64();
            if mailboxes.iter().map(|mailbox| mailbox.put).sum::<usize>() < due((kill - 1) as f64 + life).min(all) {
                let mailbox = &mut mailboxes[turns.next().expect("no end") % size.mailboxes];
                mailbox.put_portion(PORTION.min(size.letters - mailbox.put));
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        daemon.kill();
        eventually("the sink's connections end", SOON, || sink.open() == 0);
        // What comes again in the life after a kill was in doubt at it.
        let again = arrived.take(&sink);
        most = most.max(again);
        assert!(again <= SESSIONS * UNRECORDED_MAX, "{again} letters came again after one SIGKILL");
        if kill % size.kills.div_ceil(20) == 0 {
            println!(
                "{:4.0} s: {kill} kills, {} of {all} letters, {} second copies",
                start.elapsed().as_secs_f64(),
                arrived.letters.len(),
                arrived.second
            );
        }
    }
    for mailbox in &mut mailboxes {
        mailbox.put_portion(size.letters - mailbox.put);
    }
    let daemon = program.run();
    eventually("the rest arrives", size.rest, || {
        arrived.take(&sink);
        arrived.letters.len() >= all
    });
    eventually("what is to be deleted goes", size.rest, || {
        mailboxes.iter().all(|mailbox| mailbox.server.count(&mailbox.user) == if mailbox.after == "delete" { 0 } else { size.letters })
    });
    daemon.stop().expect_success();
    arrived.take(&sink);
    println!(
        "{all} letters, {} kills, {} second copies, at most {most} after one kill; {:.0} s",
        size.kills,
        arrived.second,
        start.elapsed().as_secs_f64()
    );
    let expected = |user: &str| (0..size.letters).map(move |n| (format!("{user}@example.org"), n)).collect::<Vec<_>>();
    let lost: Vec<_> = mailboxes.iter().flat_map(|mailbox| expected(&mailbox.user)).filter(|letter| !arrived.letters.contains_key(letter)).collect();
    assert!(lost.is_empty(), "lost: {} letters, among them {:?}", lost.len(), &lost[..lost.len().min(10)]);
    assert_eq!(arrived.letters.len(), all, "letters that nobody sent");
    // And the ledger knows all of it: nothing is new, nothing is owed.
    program.once(&[]).expect_success();
    assert_eq!(sink.count(), 0, "the next pass took something again");
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
}
