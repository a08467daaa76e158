//! Bad servers beside good ones, all in one daemon. Whatever they do: each is told with its number and in few words, the good ones' mail goes on, the
//! daemon's memory stays under a limit, nothing is deleted that did not arrive whole, and when the servers behave nothing is lost and nothing
//! comes twice.

use crate::support::certificates::{Authority, Identity};
use crate::support::corpus::{canonical, letter};
use crate::support::maildir::{assert_same, field, with_crlf};
use crate::support::process::{Channel, Daemon, PASSWORD_VARIABLE, Signal};
use crate::support::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What the daemon may take with all of a test's bad servers at once; one flood that it kept would be eight times as much.
const MEMORY_MAX: u64 = 64 * MIB;
/// Until all bad servers are told: floods are read up to their limits by an unoptimised program, several at once.
const TOLD_WITHIN: Duration = Duration::from_secs(120);
/// Until a letter of a good server arrives, meanwhile.
const GOES_ON_WITHIN: Duration = Duration::from_secs(20);
/// Longest line of the log about a session that failed.
const TOLD_OCTETS_MAX: usize = 1500;
/// Letters at each bad server.
const LETTERS: usize = 3;

/// A server that misbehaves, and what is said of it.
pub struct Bad {
    id: &'static str,
    protocol: &'static str,
    channel: Channel,
    door: Option<Door>,
    keys: Vec<(&'static str, &'static str)>,
    tls: Option<&'static str>,
    auth: Option<String>,
    script: Arc<Script>,
    told: Told,
    keeps_some: bool,
    gets_no_login: bool,
    logins_max: usize,
}

/// What stands before the server: nobody gets past it.
enum Door {
    /// TLS with this certificate; the client trusts the authority of this file.
    Tls(Arc<Identity>, PathBuf),
    /// A handshake of which an octet comes now and then.
    Drip(Duration),
}

/// What the log says: a line of this event about the collector that has one of these words.
struct Told {
    event: &'static str,
    words: Vec<&'static str>,
}

impl Bad {
    /// An IMAP server with these answers, whose sessions fail with this code.
    pub fn imap(id: &'static str, code: &'static str, answers: Vec<(&str, Vec<Say>)>) -> Bad {
        Bad::new(id, "imap", code, answers)
    }

    /// The same by POP3.
    pub fn pop3(id: &'static str, code: &'static str, answers: Vec<(&str, Vec<Say>)>) -> Bad {
        Bad::new(id, "pop3", code, answers)
    }

    fn new(id: &'static str, protocol: &'static str, code: &'static str, answers: Vec<(&str, Vec<Say>)>) -> Bad {
        Bad {
            id,
            protocol,
            channel: Channel::Plain,
            door: None,
            keys: Vec::new(),
            tls: None,
            auth: None,
            script: Arc::new(Script::answering(answers)),
            told: Told { event: "session_failed", words: vec![code] },
            keeps_some: false,
            gets_no_login: false,
            logins_max: usize::MAX,
        }
    }

    /// One more code that will do.
    pub fn or(mut self, code: &'static str) -> Bad {
        self.told.words.push(code);
        self
    }

    /// Whether it is told by this word.
    pub fn tells(&self, word: &str) -> bool {
        self.told.words.contains(&word)
    }

    /// Another event of the log tells it.
    pub fn told_by(mut self, event: &'static str) -> Bad {
        self.told.event = event;
        self
    }

    /// One more answer.
    pub fn and(mut self, at: &str, answer: &str) -> Bad {
        Arc::get_mut(&mut self.script).expect("the server does not run yet").also(at, Say::text(answer));
        self
    }

    /// TLS by command is asked for.
    pub fn starttls(mut self) -> Bad {
        self.channel = Channel::StartTls;
        self.gets_no_login()
    }

    /// TLS by command is taken where it is offered.
    pub fn opportunistic(mut self) -> Bad {
        self.tls = Some("tls: {mode: opportunistic}");
        self.auth = Some("{}".into());
        self.gets_no_login()
    }

    /// TLS from the first octet, with a certificate for `localhost` that the authority's client must refuse.
    pub fn with_certificate(mut self, identity: Arc<Identity>, authority: &Authority) -> Bad {
        self.channel = Channel::Tls;
        self.door = Some(Door::Tls(identity, authority.file()));
        self.gets_no_login()
    }

    /// TLS from the first octet, whose handshake comes an octet at a time.
    pub fn with_slow_handshake(mut self, wait: Duration) -> Bad {
        self.channel = Channel::Tls;
        self.door = Some(Door::Drip(wait));
        self.gets_no_login()
    }

    /// It must not hear anything of a login.
    fn gets_no_login(mut self) -> Bad {
        self.gets_no_login = true;
        self
    }

    /// A key of the collector.
    pub fn key(mut self, key: &'static str, value: &'static str) -> Bad {
        self.keys.push((key, value));
        self
    }

    /// Another `auth`.
    pub fn auth(mut self, auth: &str) -> Bad {
        self.auth = Some(auth.to_owned());
        self
    }

    /// Some of its letters are tried again so late that they are still there in the end.
    pub fn keeps_some(mut self) -> Bad {
        self.keeps_some = true;
        self
    }

    /// The login is tried once, and not again until somebody asks for it.
    pub fn logs_in_once(mut self) -> Bad {
        self.logins_max = 1;
        self
    }
}

/// A bad server that runs.
struct Running {
    bad: Bad,
    deleted: Box<dyn Fn() -> Vec<usize>>,
    port: u16,
}

impl Running {
    fn start(bad: Bad) -> Running {
        if let Some(door) = &bad.door {
            return Running { port: stand_before(door, &bad.script), deleted: Box::new(Vec::new), bad };
        }
        let messages: Vec<Vec<u8>> = (0..LETTERS).map(|n| letter(n, "anna@pop.example")).collect();
        match bad.protocol {
            "imap" => {
                let server = RawImap::scripted(messages, bad.script.clone());
                Running { port: server.port(), deleted: Box::new(move || server.deleted()), bad }
            }
            _ => {
                let server = RawPop3::scripted(messages, bad.script.clone());
                Running { port: server.port(), deleted: Box::new(move || server.deleted()), bad }
            }
        }
    }

    fn address(&self) -> String {
        format!("{}@example.org", self.bad.id)
    }

    fn collector(&self, ca: &Dovecot) -> String {
        // STARTTLS wants an authority; no handshake gets that far.
        let collector = CollectorYaml::at(self.bad.protocol, self.bad.id, self.port).trusting(ca).channel(self.bad.channel);
        let collector = collector.forward_to(&self.address()).after("delete").set("idle", "off").set("timeouts", "{connect: 3s, idle_data: 3s}");
        let collector = match &self.bad.door {
            Some(Door::Tls(_, authority)) => collector.trusting_file(authority),
            _ => collector,
        };
        let collector = self.bad.keys.iter().fold(collector, |collector, (key, value)| collector.set(key, value)).to_string();
        let collector = self.bad.tls.map_or_else(|| collector.clone(), |tls| collector.replace("tls: {mode: none}", tls));
        // The name that the certificates are for.
        let collector = if self.bad.door.is_some() { collector.replace("server: 127.0.0.1", "server: localhost") } else { collector };
        let Some(auth) = &self.bad.auth else { return collector };
        // A token stands in `auth`, and then there is no password.
        let password = format!("    password: {{env: {PASSWORD_VARIABLE}}}\n");
        let collector = if auth.contains("token:") { collector.replace(&password, "") } else { collector };
        collector.replace("auth: {allow_plaintext: true}", &format!("auth: {auth}"))
    }

    fn lines(&self, daemon: &Daemon) -> Vec<String> {
        let of = format!("collector={} ", self.bad.id);
        daemon.log().into_iter().filter(|line| format!("{line} ").contains(&of)).collect()
    }

    /// The line that tells what is wrong, if it is there.
    fn told(&self, daemon: &Daemon) -> Option<String> {
        let Told { event, words } = &self.bad.told;
        self.lines(daemon).into_iter().find(|line| line.contains(event) && words.iter().any(|word| line.contains(word)))
    }

    /// Nothing that is gone has not arrived, what arrived is whole, and nothing came twice. How much has arrived.
    #[track_caller]
    fn audit(&self, boxes: &Boxes) -> usize {
        // What is gone is asked for first: it may still arrive, but not the other way round.
        let deleted = (self.deleted)();
        let arrived = boxes.of(&self.address()).messages();
        let numbers: Vec<usize> = arrived.iter().map(|message| number(message)).collect();
        for (n, message) in numbers.iter().zip(&arrived) {
            assert_same(self.bad.id, &canonical(&letter(*n, "anna@pop.example")), &with_crlf(message));
            assert_eq!(numbers.iter().filter(|other| *other == n).count(), 1, "{}: letter {n} came twice", self.bad.id);
        }
        for gone in deleted {
            assert!(numbers.contains(&(gone - 1)), "{}: letter {} is deleted and has not arrived", self.bad.id, gone - 1);
        }
        arrived.len()
    }
}

/// Stands on a port of its own, which is given back. What gets past the door is noted.
fn stand_before(door: &Door, script: &Arc<Script>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let config = match door {
        Door::Tls(identity, _) => Some(identity.server()),
        Door::Drip(_) => None,
    };
    let wait = if let Door::Drip(wait) = door { *wait } else { Duration::ZERO };
    let script = Arc::clone(script);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (config, script) = (config.clone(), Arc::clone(&script));
            std::thread::spawn(move || {
                let Some(config) = config else {
                    // The head of a record of 16 KiB, and then its octets: a ServerHello that could still become one.
                    let octets = [22, 3, 3, 64, 0, 2, 0, 63].into_iter().chain(std::iter::repeat(0));
                    return octets.map(|octet: u8| [octet]).all(|octet| {
                        std::thread::sleep(wait);
                        stream.write_all(&octet).is_ok()
                    });
                };
                let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).expect("a good configuration"), stream);
                // Whoever takes the certificate waits for a greeting, and may say something in place of it.
                let _ = tls.write_all(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n");
                let mut line = String::new();
                if BufReader::new(tls).read_line(&mut line).is_ok_and(|octets| octets > 0) {
                    script.note(&format!("AUTH? {line}"));
                }
                true
            });
        }
    });
    port
}

fn number(message: &[u8]) -> usize {
    field(message, "Subject").and_then(|subject| subject.strip_prefix("letter ")?.parse().ok()).expect("a subject of ours")
}

/// Two good servers' collectors; their letters are numbered.
struct Good {
    server: Dovecot,
    put: usize,
}

impl Good {
    const USERS: [&'static str; 2] = ["good_imap", "good_pop3"];

    fn collectors(&self) -> String {
        let often = |collector: CollectorYaml, user: &str| {
            let collector = collector.forward_to(&format!("{user}@example.org")).after("delete");
            collector.set("interval", "200ms").set("idle", "off").to_string()
        };
        often(CollectorYaml::imap(&self.server, Good::USERS[0]), Good::USERS[0])
            + &often(CollectorYaml::pop3(&self.server, Good::USERS[1]), Good::USERS[1])
    }

    /// One more letter for each, and it arrives.
    #[track_caller]
    fn goes_on(&mut self, boxes: &Boxes) {
        self.put += 1;
        Good::USERS.iter().for_each(|user| self.server.put(user, &letter(self.put, "anna@pop.example")));
        eventually("the good ones' mail goes on", GOES_ON_WITHIN, || {
            Good::USERS.iter().all(|user| boxes.of(&format!("{user}@example.org")).count() == self.put)
        });
    }
}

/// Runs all of them at once; fails the test unless all is as the head of this file says.
#[track_caller]
pub fn hold_up_nobody(bad: Vec<Bad>) {
    let (boxes, mut good) = (Boxes::new(), Good { server: Dovecot::start(), put: 0 });
    let bad: Vec<Running> = bad.into_iter().map(Running::start).collect();
    let service = "start_jitter: 0s, memory: 4MiB, spool_above: 256KiB, max_sessions_per_host: 200";
    let head = format!("limits: {{interval_min: 50ms}}\nservice: {{{service}}}\nlog: {{level: debug}}\ndelivery: {}\n", boxes.delivery());
    let collectors: String = bad.iter().map(|bad| bad.collector(&good.server)).collect();
    let program = Mailgather::new(&format!("{head}collectors:\n{}{collectors}", good.collectors()));
    let daemon = program.run();

    let began = Instant::now();
    loop {
        good.goes_on(&boxes);
        let untold: Vec<&str> = bad.iter().filter(|bad| bad.told(&daemon).is_none()).map(|bad| bad.bad.id).collect();
        if untold.is_empty() {
            break;
        }
        assert!(began.elapsed() < TOLD_WITHIN, "nothing is said of {untold:?}");
    }
    for bad in &bad {
        let (id, told) = (bad.bad.id, bad.told(&daemon).expect("it was told"));
        assert!(told.len() < TOLD_OCTETS_MAX, "{id}: {} octets of {}", told.len(), &told[..TOLD_OCTETS_MAX]);
        assert!(!told.contains(|c: char| c.is_control()), "{id}: {told:?}");
        bad.audit(&boxes);
        let logins = || bad.bad.script.heard().into_iter().filter(|said| ["AUTH", "LOGIN", "PASS", "APOP"].iter().any(|word| said.starts_with(word)));
        assert!(!bad.bad.gets_no_login || logins().count() == 0, "{id}: {:?}", bad.bad.script.heard());
        assert!(logins().count() <= bad.bad.logins_max, "{id}: {:?}", bad.bad.script.heard());
    }
    let said = daemon.log();
    let peak = daemon.peak_memory();
    assert!(peak > 0 && peak < MEMORY_MAX, "{} MiB", peak / MIB);
    println!("{} bad servers: {:.1} MiB, {} letters meanwhile, {:?}", bad.len(), peak as f64 / MIB as f64, good.put, began.elapsed());
    assert!(!said.iter().any(|line| line.contains("panicked") || line.contains(dovecot::PASSWORD)), "{said:?}");

    // They behave, and somebody asks for their mail.
    bad.iter().for_each(|bad| bad.bad.script.behave());
    let waits: Vec<&Running> = bad.iter().filter(|bad| !bad.bad.gets_no_login && !bad.bad.keeps_some).collect();
    let mut asked = Instant::now();
    daemon.signal(Signal::USR1);
    eventually("all of it arrives", TOLD_WITHIN, || {
        // A session that was on its way may have met what was wrong before.
        if asked.elapsed() > Duration::from_secs(2) {
            asked = Instant::now();
            daemon.signal(Signal::USR1);
        }
        waits.iter().all(|bad| boxes.of(&bad.address()).count() == LETTERS && (bad.deleted)().len() == LETTERS)
    });
    good.goes_on(&boxes);
    bad.iter().for_each(|bad| {
        bad.audit(&boxes);
    });
    daemon.stop().expect_success();
}
