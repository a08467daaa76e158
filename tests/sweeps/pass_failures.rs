//! The failure loop, with fakes: the k-th operation of a pass fails, before or after its effect, alone or as a crash after which nothing
//! happens any more; for every k. Afterwards clean passes run, and the books must balance: nothing lost, nothing deleted that was not
//! delivered, and a second copy only where an answer got lost between a delivery and its record.

use async_trait::async_trait;
use mailgather::collect::{Pass, Stop, dedupe::Dedupe, route::Router};
use mailgather::config::{self, Collector};
use mailgather::deliver::Destination;
use mailgather::held::HeldStore;
use mailgather::ledger::sqlite::SqliteLedger;
use mailgather::ledger::{
    Claim, Entry, Finished, Forget, HeldEnd, HeldId, HeldMail, HeldTotal, HeldWhy, History, Instance, Ledger, LedgerError, Mark, Marked, Place,
    Progress, Remembered, Seen, SeenKey,
};
use mailgather::mail::*;
use mailgather::observe::Counters;
use mailgather::source::*;
use mailgather::spool::Spool;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MESSAGES: u32 = 5;

/// When a fault strikes and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Before,
    After,
    CrashBefore,
    CrashAfter,
}

/// Counts operations and strikes at the k-th.
#[derive(Default)]
struct Fate {
    count: usize,
    strike: Option<(usize, Fault)>,
    crashed: bool,
    struck: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    FailBefore,
    FailAfter,
}

impl Fate {
    fn next(&mut self, operation: &'static str) -> Verdict {
        if self.crashed {
            return Verdict::FailBefore;
        }
        self.count += 1;
        match self.strike {
            Some((k, fault)) if k == self.count => {
                self.struck = Some(operation);
                self.crashed = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
                if matches!(fault, Fault::Before | Fault::CrashBefore) { Verdict::FailBefore } else { Verdict::FailAfter }
            }
            _ => Verdict::Fine,
        }
    }
}

/// The world outside: mailbox and target survive crashes.
struct World {
    fate: Mutex<Fate>,
    mailbox: Mutex<BTreeMap<u32, BTreeSet<&'static str>>>,
    deleted: Mutex<BTreeSet<u32>>,
    target: Mutex<BTreeMap<(String, String), usize>>,
    spool: Spool,
    pop3: bool,
    /// What a message says in place of its usual text: a server may give a used UIDL to a new message.
    texts: Mutex<BTreeMap<u32, String>>,
    /// The server's UIDVALIDITY, if it speaks IMAP.
    epoch: AtomicU32,
    /// A header field more.
    paths: Mutex<BTreeMap<u32, String>>,
    /// The server says +OK to QUIT and removes nothing.
    forgetful: AtomicBool,
    /// From the first record on, the ledger fails.
    ledger_breaks: AtomicBool,
    /// Messages whose content the target refuses for good.
    poison: Mutex<BTreeSet<u32>>,
}

impl World {
    fn step(&self, operation: &'static str) -> Verdict {
        self.fate.lock().unwrap().next(operation)
    }

    /// Runs an operation's effect under the fault.
    fn apply<T>(&self, operation: &'static str, effect: impl FnOnce() -> T) -> Result<T, SourceError> {
        let failed = || SourceError::new(SourceErrorKind::Closed, "fake", "fake:1", operation);
        match self.step(operation) {
            Verdict::Fine => Ok(effect()),
            Verdict::FailBefore => Err(failed()),
            Verdict::FailAfter => {
                effect();
                Err(failed())
            }
        }
    }

    fn uid(&self, n: u32) -> RemoteUid {
        if self.pop3 { RemoteUid::Opaque(format!("uidl-{n}").as_bytes().into()) } else { RemoteUid::Number(n) }
    }

    fn number(&self, uid: &RemoteUid) -> u32 {
        match uid {
            RemoteUid::Number(n) => *n,
            RemoteUid::Opaque(uidl) => std::str::from_utf8(uidl).unwrap().strip_prefix("uidl-").unwrap().parse().unwrap(),
        }
    }
}

struct FakeSource(Arc<World>);

struct FakeSession {
    world: Arc<World>,
    asked: VecDeque<Wanted>,
    requested: Vec<RemoteUid>,
}

#[async_trait]
impl Source for FakeSource {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.0.apply("open", || ())?;
        Ok(Box::new(FakeSession { world: Arc::clone(&self.0), asked: VecDeque::new(), requested: Vec::new() }))
    }
}

#[async_trait]
impl Session for FakeSession {
    async fn select(&mut self, _: &FolderName) -> Result<Selected, SourceError> {
        let world = &self.world;
        let exists = world.mailbox.lock().unwrap().len() as u64;
        let (epoch, uid_next) = if world.pop3 { (Epoch(0), None) } else { (Epoch(world.epoch.load(Relaxed)), Some(MESSAGES + 1)) };
        world.apply("select", || Selected { epoch, exists, uid_next, can_delete: true })
    }

    async fn list(&mut self, mut want: Want) -> Result<Listing, SourceError> {
        let world = &self.world;
        let mut listing = Listing::default();
        let present: Vec<u32> = world.mailbox.lock().unwrap().keys().copied().collect();
        for n in &present {
            let uid = world.uid(*n);
            let known = want.known.meet(&uid);
            if want.also.contains(&uid) || (!known && (world.pop3 || *n > want.above)) {
                listing.messages.push(Listed { uid, size: None });
            }
        }
        listing.vanished = want.also.iter().filter(|uid| !present.contains(&world.number(uid))).cloned().collect();
        listing.present =
            if world.pop3 { Some(Present::Met(want.known)) } else { want.complete.then(|| Present::Numbers(present.iter().copied().collect())) };
        world.apply("list", || listing)
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.asked = batch.into();
        self.world.apply("fetch", || ())
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.world.apply("next", || ())?;
        let Some(wanted) = self.asked.pop_front() else { return Ok(None) };
        let n = self.world.number(&wanted.uid);
        let protocol = if self.world.pop3 { "pop3" } else { "imap" };
        let mailbox = MailboxId { protocol, host: "h.example".into(), login: "me@x.example".into() };
        let (collector, epoch) = (CollectorId::new("c").unwrap(), Epoch(if self.world.pop3 { 0 } else { self.world.epoch.load(Relaxed) }));
        let key = MessageKey { collector, mailbox: Arc::new(mailbox), folder: FolderName::inbox(), epoch, uid: wanted.uid, generation: 0 };
        let mut intake = self.world.spool.intake(key, None).await;
        let id = self.world.texts.lock().unwrap().get(&n).cloned().unwrap_or_else(|| n.to_string());
        let path = self.world.paths.lock().unwrap().get(&n).map(|path| format!("{path}\r\n")).unwrap_or_default();
        intake.write(format!("{path}Message-ID: <{id}@x>\r\nSubject: {id}\r\n\r\nbody {id}\r\n").as_bytes()).await.unwrap();
        Ok(Some(Fetched::Message(Box::new(intake.finish().await.unwrap()))))
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        let world = Arc::clone(&self.world);
        assert_ne!(how, Disposal::Keep, "a kept copy needs no disposal");
        world.apply("dispose", || {
            for uid in uids {
                let n = world.number(uid);
                match how {
                    Disposal::Delete if world.pop3 => self.requested.push(uid.clone()),
                    Disposal::Delete => {
                        world.mailbox.lock().unwrap().remove(&n);
                        world.deleted.lock().unwrap().insert(n);
                    }
                    _ => {
                        world.mailbox.lock().unwrap().get_mut(&n).unwrap().insert("seen");
                    }
                }
            }
        })?;
        Ok(if world.pop3 { Disposed::Requested } else { Disposed::Confirmed })
    }

    async fn close(self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        let world = Arc::clone(&self.world);
        world.apply("close", || {
            for uid in self.requested.iter().filter(|_| !world.forgetful.load(Relaxed)) {
                let n = world.number(uid);
                world.mailbox.lock().unwrap().remove(&n);
                world.deleted.lock().unwrap().insert(n);
            }
            self.requested.clone()
        })
    }

    async fn abandon(self: Box<Self>) {}
}

struct FakeTarget(Arc<World>);

#[async_trait]
impl Destination for FakeTarget {
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        let store = || {
            for recipient in &envelope.recipients {
                let id = message.header.text(message.header.first("Message-ID").unwrap());
                *self.0.target.lock().unwrap().entry((id, recipient.address.to_string())).or_default() += 1;
            }
        };
        let diagnosis = |blame| Diagnosis::of_text(Stage::Content, blame, "fault");
        if self.0.poison.lock().unwrap().contains(&self.0.number(&message.key.uid)) {
            self.0.step("refuse");
            let reply = Some(Reply::new(554, Some((5, 7, 1)), "spam"));
            return vec![Outcome::Rejected(Diagnosis { reply, ..diagnosis(Blame::Message) }); envelope.recipients.len()];
        }
        let outcome = match self.0.step("deliver") {
            Verdict::Fine => {
                store();
                Outcome::Delivered(Reply::new(250, None, "ok"))
            }
            Verdict::FailBefore => Outcome::Deferred(diagnosis(Blame::Target)),
            Verdict::FailAfter => {
                store();
                Outcome::Unknown(diagnosis(Blame::Target))
            }
        };
        envelope.recipients.iter().map(|_| outcome.clone()).collect()
    }

    fn name(&self) -> String {
        "fake".into()
    }

    async fn rest(&self) {}
}

/// A real ledger whose operations fail on command.
struct FaultyLedger {
    world: Arc<World>,
    inner: SqliteLedger,
}

impl FaultyLedger {
    async fn apply<T>(&self, operation: &'static str, effect: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        let failed = || LedgerError::Store { path: "fake".into(), text: operation.into() };
        match self.world.step(operation) {
            Verdict::Fine => effect.await,
            Verdict::FailBefore => Err(failed()),
            Verdict::FailAfter => effect.await.and(Err(failed())),
        }
    }
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn instance(&self) -> Result<Instance, LedgerError> {
        self.inner.instance().await
    }
    async fn claim(&self, mailbox: &MailboxId) -> Result<Claim, LedgerError> {
        self.apply("claim", self.inner.claim(mailbox)).await
    }
    async fn progress(&self, claim: &Claim, folder: &FolderName, epoch: Epoch, history: History) -> Result<Progress, LedgerError> {
        self.apply("progress", self.inner.progress(claim, folder, epoch, history)).await
    }
    async fn begin(&self, place: &Place, batch: &[RemoteUid]) -> Result<(), LedgerError> {
        self.apply("begin", self.inner.begin(place, batch)).await
    }
    async fn record(&self, place: &Place, entry: Entry) -> Result<(), LedgerError> {
        if self.world.ledger_breaks.load(Relaxed) {
            // A failing disk answers late: what is delivered meanwhile must be bounded all the same.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Err(LedgerError::Store { path: "fake".into(), text: "disk full".into() });
        }
        self.apply("record", self.inner.record(place, entry)).await
    }
    async fn finish(&self, place: &Place, finished: Finished) -> Result<(), LedgerError> {
        self.apply("finish", self.inner.finish(place, finished)).await
    }
    async fn collected(&self, place: &Place, uids: &[RemoteUid]) -> Result<(), LedgerError> {
        self.apply("collected", self.inner.collected(place, uids)).await
    }
    async fn owe_aged(&self, place: &Place, before: i64, limit: usize) -> Result<u64, LedgerError> {
        self.apply("owe_aged", self.inner.owe_aged(place, before, limit)).await
    }
    async fn owe_kept(&self, place: &Place, limit: usize) -> Result<u64, LedgerError> {
        self.apply("owe_kept", self.inner.owe_kept(place, limit)).await
    }
    async fn renumber(&self, place: &Place) -> Result<(), LedgerError> {
        self.apply("renumber", self.inner.renumber(place)).await
    }
    async fn prune(&self, place: &Place, present: &Present) -> Result<u64, LedgerError> {
        self.apply("prune", self.inner.prune(place, present)).await
    }
    async fn forget_former(&self, place: &Place) -> Result<(), LedgerError> {
        self.apply("forget_former", self.inner.forget_former(place)).await
    }
    async fn remembered(&self, mailbox: &MailboxId, which: &Forget) -> Result<Vec<Remembered>, LedgerError> {
        self.inner.remembered(mailbox, which).await
    }
    async fn forget(&self, mailbox: &MailboxId, which: &Forget, now: i64) -> Result<u64, LedgerError> {
        self.inner.forget(mailbox, which, now).await
    }
    async fn mark_collected(&self, mailbox: &MailboxId, marks: &[Mark]) -> Result<Marked, LedgerError> {
        self.inner.mark_collected(mailbox, marks).await
    }
    async fn seen(&self, keys: &[SeenKey], since: i64) -> Result<Vec<Option<TraceId>>, LedgerError> {
        self.apply("seen", self.inner.seen(keys, since)).await
    }
    async fn prune_seen(&self, now: i64) -> Result<u64, LedgerError> {
        self.apply("prune_seen", self.inner.prune_seen(now)).await
    }
    async fn forget_seen(&self, keys: &[SeenKey]) -> Result<(), LedgerError> {
        self.inner.forget_seen(keys).await
    }
    async fn held(&self) -> Result<Vec<HeldMail>, LedgerError> {
        self.inner.held().await
    }
    async fn held_totals(&self) -> Result<Vec<HeldTotal>, LedgerError> {
        self.inner.held_totals().await
    }
    async fn held_octets(&self) -> Result<u64, LedgerError> {
        self.apply("held_octets", self.inner.held_octets()).await
    }
    async fn held_rest(&self, id: HeldId, recipients: &[String], done: &[String], seen: &[Seen]) -> Result<(), LedgerError> {
        self.inner.held_rest(id, recipients, done, seen).await
    }
    async fn held_end(&self, id: HeldId, end: HeldEnd) -> Result<bool, LedgerError> {
        self.inner.held_end(id, end).await
    }
}

fn collector(pop3: bool, collect: &str, after: &str) -> Arc<Collector> {
    let protocol = if pop3 { "pop3" } else { "imap" };
    let text = format!(
        "delivery: {{smtp: '127.0.0.1:1', max_connections: 1}}\ncollectors:\n  c:\n    protocol: {protocol}\n    server: h.example\n    email: me@x.example\n    \
         password: {{env: X}}\n    collect: {collect}\n    after: {after}\n    recipient: {{forward_to: [a@x.example, b@x.example]}}\n"
    );
    let loaded = config::parse(&text, Path::new("test.yaml"), &config::Environment::default()).unwrap_or_else(|report| panic!("{report}"));
    Arc::clone(loaded.config.collectors.values().next().unwrap())
}

struct Run {
    world: Arc<World>,
    ledger: Arc<FaultyLedger>,
    held: HeldStore,
    dedupe: Arc<Dedupe>,
    collector: Arc<Collector>,
    dir: tempfile::TempDir,
}

impl Run {
    fn new(pop3: bool, collect: &str, after: &str) -> Run {
        Run::of(MESSAGES, pop3, collect, after)
    }

    fn of(messages: u32, pop3: bool, collect: &str, after: &str) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World {
            fate: Mutex::default(),
            mailbox: Mutex::new((1..=messages).map(|n| (n, BTreeSet::new())).collect()),
            deleted: Mutex::default(),
            target: Mutex::default(),
            spool: Spool::new(dir.path(), 1 << 20, 1 << 22).unwrap(),
            pop3,
            texts: Mutex::default(),
            epoch: AtomicU32::new(77),
            paths: Mutex::default(),
            forgetful: AtomicBool::new(false),
            ledger_breaks: AtomicBool::new(false),
            poison: Mutex::default(),
        });
        let ledger = Arc::new(FaultyLedger { world: Arc::clone(&world), inner: SqliteLedger::open(&dir.path().join("l.db")).unwrap() });
        let held = HeldStore::open(&dir.path().join("held"), config::HeldLimits::default(), ledger.clone()).unwrap();
        Run { world, ledger, held, dedupe: Arc::default(), collector: collector(pop3, collect, after), dir }
    }

    async fn pass(&self) -> bool {
        let instance = self.ledger.instance().await.unwrap();
        let pass = Pass {
            collector: &self.collector,
            source: &FakeSource(Arc::clone(&self.world)),
            router: &Router::new(Arc::clone(&self.collector), &instance, "gate.example"),
            destination: &FakeTarget(Arc::clone(&self.world)),
            local_check: None,
            ledger: &*self.ledger,
            held: &self.held,
            history: &mailgather::history::History::none(),
            spool: &self.world.spool,
            dedupe: &self.dedupe,
            stop: &Stop::new(),
            counters: &Counters::default(),
            forced: true,
            scope: Default::default(),
            suspects_first: false,
            before: None,
            set_aside: &Default::default(),
        };
        pass.run().await.1.is_ok()
    }

    /// What is in the target: (message and recipient pairs, the largest number of copies of one).
    fn copies(&self) -> (usize, usize) {
        let target = self.world.target.lock().unwrap();
        (target.len(), target.values().copied().max().unwrap_or(0))
    }
}

/// One scenario: every k and every fault.
async fn balance(pop3: bool, collect: &str, after: &str) {
    let clean = Run::new(pop3, collect, after);
    assert!(clean.pass().await);
    let operations = clean.world.fate.lock().unwrap().count;
    assert!(operations > 15, "the pass has only {operations} operations");
    let mut kinds = BTreeSet::new();
    for k in 1..=operations {
        for fault in [Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter] {
            let run = Run::new(pop3, collect, after);
            run.world.fate.lock().unwrap().strike = Some((k, fault));
            run.pass().await;
            let struck = run.world.fate.lock().unwrap().struck.unwrap();
            kinds.insert(struck);
            // Nothing is gone from the source that is not at both recipients, now or at any time.
            for n in run.world.deleted.lock().unwrap().iter() {
                for recipient in ["a@x.example", "b@x.example"] {
                    let copies = run.world.target.lock().unwrap().get(&(format!("<{n}@x>"), recipient.to_owned())).copied();
                    assert!(copies.is_some(), "{n} was deleted and not delivered to {recipient}: {k} {fault:?} {struck}");
                }
            }
            *run.world.fate.lock().unwrap() = Fate::default();
            for pass in 1..=4 {
                assert!(run.pass().await, "clean pass {pass} after {k} {fault:?} {struck} failed");
            }
            let (all, most) = run.copies();
            assert_eq!(all, 2 * MESSAGES as usize, "lost after {k} {fault:?} {struck}");
            // Between a delivery and its record nobody can know: only there a second copy is unavoidable. A crash at the next message falls
            // there too, when it overtakes records that were waiting.
            let window = matches!(struck, "deliver" | "record" | "next") && most == 2;
            assert!(most == 1 || window, "{most} copies after {k} {fault:?} {struck}");
            match after {
                "delete" => assert!(run.world.mailbox.lock().unwrap().is_empty(), "undeleted mail after {k} {fault:?} {struck}"),
                "mark_seen" => {
                    assert!(run.world.mailbox.lock().unwrap().values().all(|flags| flags.contains("seen")), "unmarked after {k} {fault:?} {struck}")
                }
                _ => assert_eq!(run.world.mailbox.lock().unwrap().len(), MESSAGES as usize),
            }
        }
    }
    for kind in ["open", "select", "progress", "list", "begin", "fetch", "next", "deliver", "record", "finish", "close"] {
        assert!(kinds.contains(kind), "no fault struck {kind}");
    }
}

#[tokio::test]
async fn a_used_uidl_does_not_delete_the_message_that_has_it_now() {
    let run = Run::new(true, "new", "delete");
    // The server takes the last operation of the pass, QUIT, and its answer gets lost.
    let clean = Run::new(true, "new", "delete");
    clean.pass().await;
    let operations = clean.world.fate.lock().unwrap().count;
    run.world.fate.lock().unwrap().strike = Some((operations, Fault::After));
    assert!(!run.pass().await && run.world.fate.lock().unwrap().struck == Some("close"));
    assert!(run.world.mailbox.lock().unwrap().is_empty());
    run.world.mailbox.lock().unwrap().insert(1, BTreeSet::new());
    run.world.texts.lock().unwrap().insert(1, "second".into());
    *run.world.fate.lock().unwrap() = Fate::default();
    assert!(run.pass().await);
    assert_eq!(run.world.target.lock().unwrap().get(&("<second@x>".into(), "a@x.example".into())), Some(&1));
    assert_eq!(run.copies(), (2 * MESSAGES as usize + 2, 1));
}

#[tokio::test]
async fn a_server_that_does_not_delete_makes_no_duplicates() {
    let run = Run::new(true, "new", "delete");
    run.world.forgetful.store(true, Relaxed);
    for _ in 0..4 {
        assert!(run.pass().await);
        assert_eq!(run.copies(), (2 * MESSAGES as usize, 1));
    }
    run.world.forgetful.store(false, Relaxed);
    assert!(run.pass().await);
    assert!(run.world.mailbox.lock().unwrap().is_empty(), "what is owed is asked for again");
}

/// What is owed is told by the copy at the source, not by whom today's rules name.
#[tokio::test]
async fn other_rules_do_not_deliver_again_what_is_owed() {
    let mut run = Run::new(true, "new", "delete");
    run.world.forgetful.store(true, Relaxed);
    assert!(run.pass().await);
    let mut collector = Collector::clone(&run.collector);
    let config::RecipientMode::ForwardTo(to, _) = &mut collector.recipient else { panic!("it forwards") };
    to.push("c@x.example".parse().unwrap());
    run.collector = Arc::new(collector);
    for _ in 0..2 {
        assert!(run.pass().await);
        assert_eq!(run.copies(), (2 * MESSAGES as usize, 1));
    }
    // Another copy of a letter under an UIDL that was used: its path is another one, and it is delivered.
    run.world.paths.lock().unwrap().insert(1, "Delivered-To: c@x.example".to_owned());
    assert!(run.pass().await);
    assert_eq!(run.world.target.lock().unwrap().get(&("<1@x>".into(), "c@x.example".into())), Some(&1));
    run.world.forgetful.store(false, Relaxed);
    assert!(run.pass().await && run.world.mailbox.lock().unwrap().is_empty());
}

/// Mail that was kept, and mail that is held, stays what it is in a new epoch, whatever strikes while it is found out: under `after: delete` too it
/// is neither delivered nor deleted.
#[tokio::test]
async fn a_new_epoch_leaves_alone_what_was_kept_or_is_held() {
    let new = async || {
        let mut run = Run::new(false, "new", "keep");
        run.world.poison.lock().unwrap().insert(3);
        assert!(run.pass().await);
        run.world.poison.lock().unwrap().clear();
        run.world.epoch.store(78, Relaxed);
        run.collector = collector(false, "new", "delete");
        *run.world.fate.lock().unwrap() = Fate::default();
        run
    };
    let clean = new().await;
    assert!(clean.pass().await);
    let operations = clean.world.fate.lock().unwrap().count;
    for k in 1..=operations {
        for fault in [Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter] {
            let run = new().await;
            run.world.fate.lock().unwrap().strike = Some((k, fault));
            run.pass().await;
            let struck = run.world.fate.lock().unwrap().struck.unwrap();
            *run.world.fate.lock().unwrap() = Fate::default();
            for _ in 1..=3 {
                assert!(run.pass().await, "a clean pass after {k} {fault:?} {struck} failed");
            }
            assert_eq!(run.world.mailbox.lock().unwrap().len(), MESSAGES as usize, "after {k} {fault:?} {struck}");
            assert_eq!(run.copies(), (2 * (MESSAGES as usize - 1), 1), "after {k} {fault:?} {struck}");
            let held = run.ledger.inner.held().await.unwrap();
            assert_eq!((held.len(), held[0].key.epoch, &held[0].key.uid), (1, Epoch(78), &RemoteUid::Number(3)), "after {k} {fault:?} {struck}");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_fails_stops_the_pass() {
    let run = Run::of(400, false, "new", "delete");
    run.world.ledger_breaks.store(true, Relaxed);
    assert!(!run.pass().await);
    // Two in flight on the one connection, and one group of records that waits.
    let (all, _) = run.copies();
    assert!(all / 2 <= 64 + 4, "{} messages were handed over unrecorded", all / 2);
    assert!(run.world.deleted.lock().unwrap().is_empty());
    run.world.ledger_breaks.store(false, Relaxed);
    for _ in 0..5 {
        assert!(run.pass().await);
    }
    assert_eq!(run.copies().0, 800);
    assert!(run.world.mailbox.lock().unwrap().is_empty());
}

/// What is refused for good is held: whatever fails on the way, its octets are in the store and known to the ledger before its copy at the source
/// may go, and it is held once.
#[tokio::test]
async fn refused_mail_is_held_before_anything_else_happens() {
    for (pop3, on_hold) in [(false, "keep"), (false, "delete"), (true, "keep"), (true, "delete")] {
        let new = || {
            let mut run = Run::new(pop3, "new", "delete");
            let mut collector = Collector::clone(&run.collector);
            collector.on_hold = if on_hold == "keep" { config::OnHold::Keep } else { config::OnHold::Delete };
            run.collector = Arc::new(collector);
            run.world.poison.lock().unwrap().insert(3);
            run
        };
        let clean = new();
        assert!(clean.pass().await);
        let operations = clean.world.fate.lock().unwrap().count;
        for k in 1..=operations {
            for fault in [Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter] {
                let run = new();
                run.world.fate.lock().unwrap().strike = Some((k, fault));
                run.pass().await;
                let struck = run.world.fate.lock().unwrap().struck.unwrap();
                let in_store = || {
                    std::fs::read_dir(run.dir.path().join("held"))
                        .unwrap()
                        .filter(|entry| {
                            let name = entry.as_ref().unwrap().file_name();
                            name.to_string_lossy().ends_with(".eml")
                        })
                        .count()
                };
                if run.world.deleted.lock().unwrap().contains(&3) {
                    assert_eq!(
                        (run.ledger.inner.held().await.unwrap().len(), in_store()),
                        (1, 1),
                        "deleted and not held after {k} {fault:?} {struck}"
                    );
                }
                *run.world.fate.lock().unwrap() = Fate::default();
                for _ in 1..=4 {
                    assert!(run.pass().await, "a clean pass after {k} {fault:?} {struck} failed");
                }
                let held = run.ledger.inner.held().await.unwrap();
                assert_eq!((held.len(), in_store()), (1, 1), "after {k} {fault:?} {struck}");
                assert_eq!((held[0].why, held[0].recipients.len()), (HeldWhy::Refused, 2), "{held:?}");
                let left: Vec<u32> = run.world.mailbox.lock().unwrap().keys().copied().collect();
                assert_eq!(left, if on_hold == "keep" { vec![3] } else { vec![] }, "after {k} {fault:?} {struck}");
                assert_eq!(run.copies().0, 2 * (MESSAGES as usize - 1), "lost after {k} {fault:?} {struck}");
            }
        }
    }
}

/// A store that cannot take more keeps mail where it is.
#[tokio::test]
async fn what_cannot_be_held_stays_at_the_source() {
    let mut run = Run::new(false, "new", "delete");
    run.held = HeldStore::open(&run.dir.path().join("held"), config::HeldLimits { max_age: None, max_size: 10 }, run.ledger.clone()).unwrap();
    run.world.poison.lock().unwrap().insert(3);
    for _ in 0..3 {
        assert!(run.pass().await);
    }
    assert!(run.ledger.inner.held().await.unwrap().is_empty());
    assert_eq!(run.world.mailbox.lock().unwrap().keys().copied().collect::<Vec<_>>(), [3]);
}

/// s5: the same letter for the same people comes once within the window, whatever fails, and its copies are disposed of as if delivered.
#[tokio::test]
async fn s5_copies_of_one_letter_are_delivered_once() {
    for (window, copies) in [(3600, 1), (0, MESSAGES as usize)] {
        let new = || {
            let mut run = Run::new(false, "new", "delete");
            let mut collector = Collector::clone(&run.collector);
            collector.dedupe_window = Duration::from_secs(window);
            // Several deliveries at once: the copies are on their way together.
            let mut delivery = config::Delivery::clone(&collector.delivery);
            delivery.max_connections = 4;
            collector.delivery = Arc::new(delivery);
            run.collector = Arc::new(collector);
            *run.world.texts.lock().unwrap() = (1..=MESSAGES).map(|n| (n, "same".to_owned())).collect();
            run
        };
        let clean = new();
        assert!(clean.pass().await);
        assert_eq!(clean.copies(), (2, copies), "window {window}");
        assert!(clean.world.mailbox.lock().unwrap().is_empty());
        let operations = clean.world.fate.lock().unwrap().count;
        for k in 1..=operations {
            for fault in [Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter] {
                let run = new();
                run.world.fate.lock().unwrap().strike = Some((k, fault));
                run.pass().await;
                let struck = run.world.fate.lock().unwrap().struck.unwrap();
                *run.world.fate.lock().unwrap() = Fate::default();
                for _ in 1..=4 {
                    assert!(run.pass().await, "a clean pass after {k} {fault:?} {struck} failed");
                }
                let (pairs, most) = run.copies();
                assert_eq!(pairs, 2, "lost after {k} {fault:?} {struck}");
                // A copy more for the delivery whose record was lost, and for those of the window's zero that had none.
                assert!(most <= if window == 0 { copies * 2 } else { 2 }, "{most} copies after {k} {fault:?} {struck}");
                assert!(run.world.mailbox.lock().unwrap().is_empty(), "after {k} {fault:?} {struck}");
            }
        }
    }
}

#[tokio::test]
async fn imap_new_keep() {
    balance(false, "new", "keep").await;
}

#[tokio::test]
async fn imap_new_delete() {
    balance(false, "new", "delete").await;
}

#[tokio::test]
async fn imap_all_delete() {
    balance(false, "all", "delete").await;
}

#[tokio::test]
async fn imap_new_mark_seen() {
    balance(false, "new", "mark_seen").await;
}

#[tokio::test]
async fn pop3_new_keep() {
    balance(true, "new", "keep").await;
}

#[tokio::test]
async fn pop3_all_delete() {
    balance(true, "all", "delete").await;
}

#[tokio::test]
async fn pop3_new_delete() {
    balance(true, "new", "delete").await;
}
