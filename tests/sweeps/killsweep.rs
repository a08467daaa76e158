//! SIGKILL, EIO and ENOSPC at the k-th system call of the real program, for every k: nothing is lost, and a duplicate comes only from the one
//! window, between the final dot and its record.
//!
//! strace kills before the call takes effect, and counts per thread; so the program has one runtime worker, and each system call is swept by
//! itself. All rounds of a sweep share one state directory, each with a mailbox of its own: the tables are made once, so that the thread that
//! opens the ledger does not take the kills that are meant for the thread that writes it.
//!
//! By default the calls around effects are swept. The long version sweeps all that the program makes:
//! `MAILGATHER_LONG_SWEEP=1 cargo test --test sweeps killsweep`

use crate::support::corpus::canonical;
use crate::support::maildir::{difference, field, with_crlf};
use crate::support::*;
use std::collections::BTreeMap;

const MESSAGES: usize = 3;
const RECIPIENTS: [&str; 2] = ["anna", "boris"];
/// A sweep ends when no thread gets as far as k; this is the end of a test that is wrong.
const K_MAX: usize = 1000;

/// The last letter is large enough for the spool.
fn letter(n: usize) -> Vec<u8> {
    let padding = if n == MESSAGES { "0123456789abcdef.\r\n".repeat(10_000) } else { String::new() };
    format!(
        "From: a@remote.example\r\nTo: b@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nBody {n}\r\n.\r\n{padding}End\r\n"
    )
    .into_bytes()
}

/// Where the mail goes.
enum Target {
    /// A sink, and how many connections to it there may be at once.
    Sink(Sink, usize),
    Maildir,
}

/// A copy: which letter, for whom, and its octets.
struct Copy {
    letter: usize,
    to: String,
    octets: Vec<u8>,
}

/// What a sweep met.
#[derive(Debug, Default)]
struct Met {
    faults: usize,
    /// Rounds in which a target had a message and the ledger did not say so.
    between_data_and_record: usize,
    /// Rounds in which the ledger said that a message is owed its disposal and the source had it still.
    between_record_and_dispose: usize,
    /// Stops that were asked for and came to their end.
    orderly_stops: usize,
    /// Second copies.
    duplicates: usize,
}

/// How the mail is collected.
type Protocol = fn(&Dovecot, &str) -> CollectorYaml;

struct Sweep {
    protocol: Protocol,
    server: Dovecot,
    program: Mailgather,
    target: Target,
    round: usize,
    met: Met,
}

impl Sweep {
    fn new(protocol: Protocol, target: Target) -> Sweep {
        let mut sweep = Sweep { protocol, server: Dovecot::start(), program: Mailgather::new(""), target, round: 0, met: Met::default() };
        // The first round makes the ledger and the Maildirs' parent; it also shows that nothing is wrong without a fault.
        sweep.prepare();
        sweep.program.once(&["--quiet"]).expect_success();
        sweep.check_end("no fault", &BTreeMap::new());
        sweep
    }

    fn user(&self) -> String {
        format!("box{}", self.round)
    }

    fn folder(&self, to: &str) -> Maildir {
        Maildir(self.program.path().join(format!("mail{}", self.round)).join(to))
    }

    /// A new mailbox with the letters, an empty target, the configuration for both.
    fn prepare(&mut self) {
        self.round += 1;
        (1..=MESSAGES).for_each(|n| self.server.put(&self.user(), &letter(n)));
        let delivery = match &self.target {
            Target::Sink(sink, connections) => {
                eventually("the sink's connections end", SOON, || sink.open() == 0);
                sink.clear();
                sink.delivery().replace('}', &format!(", max_connections: {connections}}}"))
            }
            Target::Maildir => {
                let base = self.program.path().join(format!("mail{}", self.round));
                std::fs::create_dir(&base).expect("a new folder");
                format!("{{maildir: '{}/{{local}}'}}", base.display())
            }
        };
        let to = RECIPIENTS.map(|name| format!("{name}@example.org")).join(", ");
        let collector = (self.protocol)(&self.server, &self.user()).after("delete").set("recipient", &format!("{{forward_to: [{to}]}}"));
        let text = config(&delivery, &[collector]);
        self.program.configure(&text.replace("service: {", "service: {spool_above: 64KiB, "));
    }

    /// Every copy at the target; those that are not whole fail the test.
    fn copies(&self) -> Vec<Copy> {
        let copies: Vec<Copy> = match &self.target {
            Target::Sink(sink, _) => {
                // What was on its way when the program died arrives, or breaks off.
                eventually("the sink's connections end", SOON, || sink.open() == 0);
                let of = |taken: sink::Taken| {
                    let octets = taken.content;
                    taken.recipients.into_iter().map(move |to| (to, octets.clone()))
                };
                sink.taken().into_iter().flat_map(of).map(|(to, octets)| Copy { letter: number(&octets), to, octets }).collect()
            }
            Target::Maildir => RECIPIENTS
                .iter()
                .flat_map(|to| self.folder(to).messages().into_iter().map(move |stored| (to, with_crlf(&stored))))
                .map(|(to, octets)| Copy { letter: number(&octets), to: format!("{to}@example.org"), octets })
                .collect(),
        };
        for copy in &copies {
            assert_eq!(difference(&canonical(&letter(copy.letter)), &copy.octets), None, "letter {} for {}", copy.letter, copy.to);
        }
        copies
    }

    /// How many copies of each letter each recipient has.
    fn counts(&self) -> BTreeMap<(usize, String), usize> {
        let mut counts = BTreeMap::new();
        for copy in self.copies() {
            *counts.entry((copy.letter, copy.to)).or_insert(0) += 1;
        }
        counts
    }

    /// The letters that the ledger says are delivered and owed their disposal. A copy of the files is read: a look at the files themselves
    /// would do the recovery that the program is to do.
    fn owed(&self) -> Vec<usize> {
        let copy = tempfile::tempdir().expect("a folder");
        for file in ["ledger.db", "ledger.db-wal"] {
            let _ = std::fs::copy(self.program.state_dir().join(file), copy.path().join(file));
        }
        let ledger = rusqlite::Connection::open(copy.path().join("ledger.db")).expect("the ledger can be opened");
        let sql = "SELECT e.uid FROM exception e JOIN folder f ON f.id = e.folder JOIN mailbox m ON m.id = f.mailbox WHERE m.login = ?1 AND e.state = 'owed'";
        let mut select = ledger.prepare(sql).expect("the tables are there");
        // The server gives out UIDs in the order of the letters.
        let uids = select.query_map([self.user()], |row| row.get::<_, rusqlite::types::Value>(0)).expect("a query");
        uids.map(|uid| letter_of(uid.expect("a UID"))).collect()
    }

    /// The letters that are still at the source.
    fn at_source(&self) -> Vec<usize> {
        self.server.messages(&self.user()).iter().map(|octets| number(octets)).collect()
    }

    /// One sweep of one call: the fault at every k, then a pass without one, then the books.
    fn all(&mut self, call: &str, fault: &str) {
        for k in 1.. {
            assert!(k < K_MAX, "{call} is made without end");
            self.prepare();
            let what = format!("{fault} at {call} number {k}");
            let Some(faulty) = strace::once_with_fault(&self.program, call, fault, k) else {
                assert!(k > 1, "the program makes no call {call}");
                self.check_end("no fault", &BTreeMap::new());
                break;
            };
            self.met.faults += 1;
            let (before, owed, source) = (self.counts(), self.owed(), self.at_source());
            // What is gone from the source is at every recipient.
            for gone in (1..=MESSAGES).filter(|n| !source.contains(n)) {
                for to in RECIPIENTS {
                    assert!(before.contains_key(&(gone, format!("{to}@example.org"))), "{what}: letter {gone} for {to} is lost");
                }
            }
            let doubtful: BTreeMap<_, _> = before.into_iter().filter(|((letter, _), _)| !owed.contains(letter) && source.contains(letter)).collect();
            // A stop that was asked for is no crash: it leaves nothing in doubt. Two threads that reach their k-th call are two signals,
            // which end the program at once; it then prints no summary.
            if fault == "signal=TERM" && faulty.status.code().is_some() {
                self.met.orderly_stops += 1;
                assert!(doubtful.is_empty(), "{what}: an orderly stop left {doubtful:?} in doubt");
            }
            self.met.between_data_and_record += usize::from(!doubtful.is_empty());
            self.met.between_record_and_dispose += usize::from(owed.iter().any(|letter| source.contains(letter)));
            let finished = self.program.once(&["--quiet"]);
            assert!(finished.status.success(), "{what}: the next pass ends with {}\n{}\n{}", finished.status, finished.stdout, finished.stderr);
            self.check_end(&what, &doubtful);
        }
    }

    /// The books at the end: everybody has everything, once, or twice if it was in doubt; the source is empty.
    fn check_end(&mut self, what: &str, doubtful: &BTreeMap<(usize, String), usize>) {
        let copies = self.copies();
        for letter in 1..=MESSAGES {
            for to in RECIPIENTS.map(|name| format!("{name}@example.org")) {
                let ids: Vec<Option<String>> =
                    copies.iter().filter(|copy| copy.letter == letter && copy.to == to).map(|copy| field(&copy.octets, "X-Mailgather-Id")).collect();
                let most = match &self.target {
                    Target::Maildir => 1,
                    Target::Sink(..) if doubtful.contains_key(&(letter, to.clone())) => 2,
                    Target::Sink(..) => 1,
                };
                assert!(!ids.is_empty(), "{what}: letter {letter} for {to} is lost");
                assert!(ids.len() <= most, "{what}: letter {letter} for {to} came {} times, {most} allowed", ids.len());
                assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{what}: a duplicate has another id: {ids:?}");
                self.met.duplicates += ids.len() - 1;
            }
        }
        assert_eq!(self.at_source(), [0; 0], "{what}: the source is empty");
        if let Target::Maildir = self.target {
            for to in RECIPIENTS {
                assert_eq!(self.folder(to).unfinished(), 0, "{what}: nothing is left in tmp/");
            }
        }
    }
}

/// The letter of a UID. A UIDL of this server starts with the UID in hexadecimal digits.
fn letter_of(uid: rusqlite::types::Value) -> usize {
    match uid {
        rusqlite::types::Value::Integer(uid) => uid as usize,
        rusqlite::types::Value::Blob(uidl) => usize::from_str_radix(&String::from_utf8_lossy(&uidl[..8]), 16).expect("a UIDL of Dovecot"),
        other => panic!("no UID: {other:?}"),
    }
}

/// The number in the letter's subject; 0 for what is none of ours.
fn number(octets: &[u8]) -> usize {
    field(octets, "Subject").and_then(|subject| subject.strip_prefix("letter ")?.parse().ok()).unwrap_or(0)
}

/// The calls to sweep: those around effects, or all that are made in number.
fn calls(around_effects: &'static [&'static str]) -> Vec<&'static str> {
    let more = ["read", "pread64", "openat", "close", "newfstatat", "fcntl", "futex", "epoll_ctl", "mmap"];
    let long = std::env::var_os("MAILGATHER_LONG_SWEEP").is_some();
    around_effects.iter().copied().chain(more.into_iter().filter(|_| long)).collect()
}

#[track_caller]
fn kills(protocol: Protocol, target: Target, calls: Vec<&str>) -> Met {
    let mut sweep = Sweep::new(protocol, target);
    for call in calls {
        let start = std::time::Instant::now();
        let before = sweep.met.faults;
        sweep.all(call, "signal=KILL");
        println!("{call}: {} kills in {:.1} s", sweep.met.faults - before, start.elapsed().as_secs_f64());
    }
    println!("{:?}", sweep.met);
    assert!(sweep.met.between_record_and_dispose > 0, "no kill fell between record and dispose: {:?}", sweep.met);
    assert!(sweep.met.between_data_and_record > 0, "no kill fell between DATA and record: {:?}", sweep.met);
    sweep.met
}

#[test]
fn f1_kill_at_every_call_smtp() {
    let met = kills(CollectorYaml::imap, Target::Sink(Sink::smtp(), 1), calls(&["sendto", "recvfrom", "epoll_wait", "write", "fsync", "pwrite64"]));
    assert!(met.duplicates > 0, "the window was met, so there were duplicates: {met:?}");
}

#[test]
fn f3_kill_at_every_call_lmtp() {
    let met = kills(CollectorYaml::imap, Target::Sink(Sink::lmtp(), 2), calls(&["sendto", "recvfrom", "epoll_wait", "write", "fsync", "pwrite64"]));
    assert!(met.duplicates > 0, "the window was met, so there were duplicates: {met:?}");
}

#[test]
fn f2_kill_at_every_call_maildir() {
    let met =
        kills(CollectorYaml::imap, Target::Maildir, calls(&["sendto", "epoll_wait", "write", "fsync", "pwrite64", "mkdirat", "linkat", "unlinkat"]));
    assert_eq!(met.duplicates, 0);
}

#[test]
fn f2_kill_at_every_call_pop3_to_maildir() {
    let met = kills(CollectorYaml::pop3, Target::Maildir, calls(&["sendto", "recvfrom", "fsync", "pwrite64"]));
    assert_eq!(met.duplicates, 0);
}

/// SIGTERM at every call: the pass ends in order, so that nothing comes twice, and disposals that stayed owed are made up for.
#[track_caller]
fn terms(protocol: Protocol) {
    let mut sweep = Sweep::new(protocol, Target::Sink(Sink::lmtp(), 1));
    for call in calls(&["sendto", "recvfrom", "fsync"]) {
        sweep.all(call, "signal=TERM");
    }
    println!("{:?}", sweep.met);
    assert!(sweep.met.orderly_stops > 10, "{:?}", sweep.met);
    assert!(sweep.met.between_record_and_dispose > 0, "no stop left a disposal owed: {:?}", sweep.met);
}

#[test]
fn f56_sigterm_at_every_call_imap() {
    terms(CollectorYaml::imap);
}

#[test]
fn f56_sigterm_at_every_call_pop3() {
    terms(CollectorYaml::pop3);
}

#[track_caller]
fn errors(target: Target, call: &str, error: &str) {
    let mut sweep = Sweep::new(CollectorYaml::imap, target);
    sweep.all(call, &format!("error={error}"));
    println!("{:?}", sweep.met);
    assert!(sweep.met.faults > 2, "{:?}", sweep.met);
}

#[test]
fn f40_eio_at_every_fsync_maildir() {
    errors(Target::Maildir, "fsync", "EIO");
}

#[test]
fn f40_eio_at_every_fsync_lmtp() {
    errors(Target::Sink(Sink::lmtp(), 2), "fsync", "EIO");
}

#[test]
fn f39_a_full_disk_under_the_ledger() {
    errors(Target::Sink(Sink::lmtp(), 2), "pwrite64", "ENOSPC");
}

/// No file can grow beyond a limit, as on a disk that is full: the ledger, the spool and the Maildir in turn, as the limit grows. The pass
/// fails or delivers a part; nothing is lost, nothing half-written is delivered, and with space it goes on by itself.
#[track_caller]
fn full_disk(target: Target) {
    let mut sweep = Sweep::new(CollectorYaml::imap, target);
    let (mut failed, mut partly) = (0, 0);
    // In blocks of 512 octets; the ledger's files get by with some hundred, the large letter needs 370.
    for blocks in [0, 1, 8, 16, 40, 80, 120, 160, 200, 220, 240, 260, 280, 300, 320, 340, 360, 400, 800] {
        sweep.prepare();
        let what = format!("files of {blocks} blocks at most");
        let plain = sweep.program.command("once", &["--quiet"]);
        let mut command = std::process::Command::new("/bin/sh");
        // Without the trap the first write beyond the limit would be a signal, not an error.
        command.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\""]).arg(blocks.to_string());
        command.arg(plain.get_program()).args(plain.get_args()).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let limited = process::finish(command, SOON);
        assert!(!limited.stderr.contains("panicked"), "{what}: {}", limited.stderr);
        failed += usize::from(!limited.status.success());
        let (before, owed, source) = (sweep.counts(), sweep.owed(), sweep.at_source());
        for gone in (1..=MESSAGES).filter(|n| !source.contains(n)) {
            for to in RECIPIENTS {
                assert!(before.contains_key(&(gone, format!("{to}@example.org"))), "{what}: letter {gone} for {to} is lost");
            }
        }
        partly += usize::from(!before.is_empty() && !source.is_empty());
        let doubtful: BTreeMap<_, _> = before.into_iter().filter(|((letter, _), _)| !owed.contains(letter) && source.contains(letter)).collect();
        sweep.program.once(&["--quiet"]).expect_success();
        sweep.check_end(&what, &doubtful);
    }
    println!("{failed} failed, {partly} of them in part; {:?}", sweep.met);
    assert!(failed > 2 && partly > 0, "{failed} failed, {partly} of them in part");
}

#[test]
fn f39_a_full_disk_lmtp() {
    full_disk(Target::Sink(Sink::lmtp(), 2));
}

#[test]
fn f39_a_full_disk_maildir() {
    full_disk(Target::Maildir);
}
