//! Fault 28: the connection to the source is reset at an octet of a whole pass, for one octet after the other, in both directions. Then a pass
//! without a fault, and the books: every letter is at its target once, and the source is empty.
//!
//! A broken connection to the source is no crash: the ledger knows what was delivered, so there is no window for a duplicate here.
//!
//! By default the sweep takes steps. `MAILGATHER_LONG_SWEEP=1 cargo test --test sweeps fault_sweep` takes every octet, and all families of servers.

use crate::support::corpus::canonical;
use crate::support::maildir::{difference, field, subjects, with_crlf};
use crate::support::process::Channel;
use crate::support::*;
use std::collections::BTreeMap;
use std::time::Duration;

const BOX: &str = "anna@example.org";
const MESSAGES: usize = 3;
/// How many octets of a dialogue are tried by default, in each direction.
const STEPS: u64 = 24;

/// The sizes differ, so that the faults fall elsewhere in each.
fn letter(n: usize) -> Vec<u8> {
    let filling = "0123456789abcdef.\r\n".repeat(n * 5);
    format!("From: a@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\n.\r\n{filling}End\r\n").into_bytes()
}

enum Target {
    Sink(Sink),
    Maildir,
}

type Protocol = fn(&Server, &str) -> CollectorYaml;
type Server = dyn MailServer;

/// A sweep through one dialogue. Each round has a mailbox of its own at the server; the state is shared, as in a daemon's life.
struct Sweep<'a> {
    server: &'a Server,
    proxy: FaultProxy,
    protocol: Protocol,
    channel: Channel,
    target: Target,
    program: Mailgather,
    round: usize,
    /// Rounds in which the pass with the fault failed.
    failed: usize,
}

impl<'a> Sweep<'a> {
    fn new(server: &'a Server, protocol: Protocol, channel: Channel, target: Target) -> Sweep<'a> {
        let port = protocol(server, "probe").channel(channel).port();
        Sweep { server, proxy: FaultProxy::start(port), protocol, channel, target, program: Mailgather::new(""), round: 0, failed: 0 }
    }

    fn user(&self) -> String {
        format!("box{}", self.round)
    }

    fn boxes(&self) -> Maildir {
        Maildir(self.program.path().join(format!("mail{}", self.round)).join("anna"))
    }

    /// A new mailbox with the letters, an empty target, the configuration for both.
    fn prepare(&mut self) {
        self.round += 1;
        self.server.put_all(&self.user(), &(1..=MESSAGES).map(letter).collect::<Vec<_>>());
        let delivery = match &self.target {
            Target::Sink(sink) => {
                eventually("the sink's connections end", SOON, || sink.open() == 0);
                sink.clear();
                sink.delivery()
            }
            Target::Maildir => {
                let base = self.program.path().join(format!("mail{}", self.round));
                std::fs::create_dir(&base).expect("a new folder");
                format!("{{maildir: '{}/{{local}}'}}", base.display())
            }
        };
        let collector = (self.protocol)(self.server, &self.user()).channel(self.channel).by_port(self.proxy.port());
        self.program.configure(&config(&delivery, &[collector.forward_to(BOX).after("delete")]));
    }

    fn arrived(&self) -> Vec<Vec<u8>> {
        match &self.target {
            Target::Sink(sink) => {
                assert!(sink.violations().is_empty(), "{:?}", sink.violations());
                sink.taken().into_iter().map(|taken| taken.content).collect()
            }
            Target::Maildir => self.boxes().messages().iter().map(|message| with_crlf(message)).collect(),
        }
    }

    /// One pass without a fault; how long its dialogue is in each direction.
    fn measure(&mut self) -> [(Towards, u64); 2] {
        self.prepare();
        self.proxy.set(Towards::Client, Fault::None);
        self.program.once(&["--quiet"]).expect_success();
        let lengths = [Towards::Client, Towards::Server].map(|towards| (towards, self.proxy.octets(towards)));
        self.check("no fault", "");
        lengths
    }

    fn strike(&mut self, towards: Towards, fault: Fault) {
        self.prepare();
        let what = format!("{} {:?}: {fault:?} towards {towards:?}", self.server.family(), self.channel);
        let before = self.proxy.struck();
        self.proxy.set(towards, fault);
        let broken = self.program.once(&["--quiet"]);
        assert!(!broken.stderr.contains("panicked"), "{what}: {}", broken.stderr);
        self.failed += usize::from(!broken.status.success());
        // The last octets may not be waited for by anybody: then the pass is over.
        let struck = self.proxy.struck() > before;
        assert!(struck || broken.status.success(), "{what}: it failed by itself: {}\n{}", broken.stdout, broken.stderr);
        // What is gone from the source is at the target.
        let (here, there) = (subjects(&self.arrived()), subjects(&self.server.messages(&self.user())));
        for name in (1..=MESSAGES).map(|n| format!("letter {n}")) {
            assert!(here.contains(&name) || there.contains(&name), "{what}: {name} is lost");
        }
        self.proxy.set(Towards::Client, Fault::None);
        // A POP3 server may keep the maildrop locked until it has noticed that the former session is gone.
        let mut last = None;
        eventually(&what, SOON, || {
            let next = self.program.once(&["--quiet"]);
            let done = next.status.success();
            last = Some(next);
            done
        });
        let log = last.map(|next| next.stderr).unwrap_or_default();
        self.check(&what, &format!("{}\n{}\n--- the next pass\n{log}", broken.stdout, broken.stderr));
    }

    /// The books at the end.
    #[track_caller]
    fn check(&self, what: &str, log: &str) {
        let mut copies: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        self.arrived().into_iter().for_each(|copy| copies.entry(field(&copy, "Subject").unwrap_or_default()).or_default().push(copy));
        for n in 1..=MESSAGES {
            let here = copies.remove(&format!("letter {n}")).unwrap_or_default();
            assert_eq!(here.len(), 1, "{what}: letter {n}\n{log}");
            assert_eq!(difference(&canonical(&letter(n)), &here[0]), None, "{what}: letter {n}");
        }
        assert!(copies.is_empty(), "{what}: {:?} came from nowhere", copies.keys());
        eventually(&format!("{what}: the source is empty\n{log}"), SOON, || self.server.count(&self.user()) == 0);
        if let Target::Maildir = self.target {
            assert_eq!(self.boxes().unfinished(), 0, "{what}: nothing is left in tmp/");
        }
    }

    /// Strikes at every octet, or at some evenly, and always at the first ones and the last.
    fn sweep(&mut self, fault: fn(u64) -> Fault) {
        let long = std::env::var_os("MAILGATHER_LONG_SWEEP").is_some();
        for (towards, length) in self.measure() {
            let step = if long { 1 } else { (length / STEPS).max(1) };
            // Another start in each direction of each sweep, so that together they meet more places.
            for at in (0..length).step_by(step as usize).chain([1, length - 1]) {
                self.strike(towards, fault(at));
            }
        }
        println!("{}: {} rounds, {} failed at first", self.server.family(), self.round, self.failed);
        assert!(self.failed as u64 > STEPS / 2, "only {} of {} passes failed", self.failed, self.round);
    }
}

fn servers() -> Vec<Box<Server>> {
    if std::env::var_os("MAILGATHER_LONG_SWEEP").is_some() { families() } else { vec![Box::new(Dovecot::start())] }
}

#[test]
fn f28_reset_at_every_octet_imap_to_lmtp() {
    for server in servers() {
        Sweep::new(&*server, CollectorYaml::imap, Channel::Plain, Target::Sink(Sink::lmtp())).sweep(Fault::Reset);
    }
}

#[test]
fn f28_reset_at_every_octet_pop3_to_maildir() {
    for server in servers() {
        Sweep::new(&*server, CollectorYaml::pop3, Channel::Plain, Target::Maildir).sweep(Fault::Reset);
    }
}

/// Under TLS an end without close_notify may be a cut: what came before it is believed only as far as it is whole.
#[test]
fn f28_closed_at_every_octet_under_tls() {
    let server = Dovecot::start();
    Sweep::new(&server, CollectorYaml::imap, Channel::Tls, Target::Maildir).sweep(Fault::Close);
    Sweep::new(&server, CollectorYaml::pop3, Channel::StartTls, Target::Sink(Sink::lmtp())).sweep(Fault::Close);
}

/// Servers that say nothing, and servers that say an octet a second, hold up nobody else.
#[test]
fn f26_f27_black_holes_and_dripping_servers_hold_up_nobody() {
    let server = Dovecot::start();
    let holes: Vec<BlackHole> = (0..5).map(|_| BlackHole::start()).collect();
    let drips: Vec<FaultProxy> = (0..5).map(|n| FaultProxy::start(if n % 2 == 0 { server.pop3() } else { server.imap() })).collect();
    drips.iter().for_each(|drip| drip.set(Towards::Client, Fault::Trickle(Duration::from_secs(1))));
    let mut collectors = Vec::new();
    for (n, port) in holes.iter().map(BlackHole::port).chain(drips.iter().map(FaultProxy::port)).enumerate() {
        let user = format!("bad{n}");
        let bad = if n % 2 == 0 { CollectorYaml::imap(&server, &user) } else { CollectorYaml::pop3(&server, &user) };
        collectors.push(bad.by_port(port).forward_to("bad@example.org").set("interval", "300ms"));
    }
    for n in 0..4 {
        let user = format!("good{n}");
        let good = if n % 2 == 0 { CollectorYaml::imap(&server, &user) } else { CollectorYaml::pop3(&server, &user) };
        collectors.push(good.forward_to(&format!("good{n}@example.org")).set("interval", "300ms"));
    }
    let boxes = Boxes::new();
    let yaml = config(&boxes.delivery(), &collectors).replace("service: {", "service: {max_sessions_per_host: 100, ");
    let program = Mailgather::new(&format!("limits: {{interval_min: 50ms}}\n{yaml}"));
    let daemon = program.run();
    for n in 1..=4 {
        (0..4).for_each(|g| server.put(&format!("good{g}"), &letter(n)));
        eventually("every good one has it", Duration::from_secs(5), || (0..4).all(|g| boxes.of(&format!("good{g}@example.org")).count() == n));
    }
    daemon.stop().expect_success();
}
