//! A mailbox on a real server, a target that counts, and the program between them.

use crate::support::maildir::field;
use crate::support::process::Finished;
use crate::support::*;

/// A server of any family.
pub type Server = dyn MailServer;

/// How a collector is made: by IMAP or by POP3.
pub type Protocol = fn(&Server, &str) -> CollectorYaml;

/// Who gets everything.
pub const BOX: &str = "anna@example.org";

/// One letter after the other in a user's INBOX, from a person on the Internet.
pub fn fill(server: &Server, user: &str, numbers: std::ops::Range<usize>) {
    server.put_all(user, &numbers.map(|n| corpus::letter(n, "anna@pop.example")).collect::<Vec<_>>());
}

/// The subjects of letters, sorted.
pub fn letters(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.into_iter().map(|n| format!("letter {n}")).collect();
    all.sort();
    all
}

/// A message in a folder: its subject, and its flags without `\Recent`.
pub type There = (String, String);

/// What is in a folder as another client sees it, by subject; `None` if there is no such folder.
pub fn inside(server: &Server, user: &str, folder: &str) -> Option<Vec<There>> {
    let mut client = OtherClient::login(server.imap(), user);
    let listed = client.command(&format!("LIST \"\" \"{folder}\""));
    if !listed.lines.iter().any(|line| line.starts_with("* LIST")) {
        return None;
    }
    let selected = client.command(&format!("EXAMINE \"{folder}\""));
    if selected.lines.iter().any(|line| line == "* 0 EXISTS") {
        return Some(Vec::new());
    }
    let fetched = client.command("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    let flags = |line: &str| {
        let (_, rest) = line.split_once("FLAGS (").expect("FLAGS were asked for");
        let mut flags: Vec<&str> =
            rest.split(')').next().expect("a closing parenthesis").split_whitespace().filter(|flag| *flag != "\\Recent").collect();
        flags.sort_unstable();
        flags.join(" ")
    };
    let lines = fetched.lines.iter().filter(|line| line.contains(" FETCH ") && line.contains("{}"));
    let mut all: Vec<There> =
        lines.zip(&fetched.literals).map(|(line, header)| (field(header, "Subject").unwrap_or_default(), flags(line))).collect();
    all.sort();
    Some(all)
}

/// The subjects of what is in a folder.
pub fn subjects_in(server: &Server, user: &str, folder: &str) -> Vec<String> {
    inside(server, user, folder).unwrap_or_default().into_iter().map(|(subject, _)| subject).collect()
}

/// Another client sets a flag of one letter in INBOX.
pub fn flag(server: &Server, user: &str, n: usize, flag: &str) {
    let mut client = OtherClient::inbox(server.imap(), user);
    let uid = client.search(&format!("SUBJECT \"letter {n}\"")).first().copied();
    let uid = uid.unwrap_or_else(|| panic!("{user} has no letter {n}; there are {:?}", client.command("UID FETCH 1:* (FLAGS)").lines));
    client.command(&format!("UID STORE {uid} +FLAGS.SILENT ({flag})"));
}

/// Another client makes a folder, by its name on the wire.
pub fn make_folder(server: &Server, user: &str, folder: &str) {
    server.add_user(user);
    OtherClient::login(server.imap(), user).command(&format!("CREATE \"{folder}\""));
}

/// The program with a target that takes and counts everything.
pub struct Scene {
    pub sink: Sink,
    pub program: Mailgather,
}

impl Scene {
    /// One collector, and LMTP behind it.
    pub fn new(collector: &CollectorYaml) -> Scene {
        Scene::of(std::slice::from_ref(collector))
    }

    /// Several collectors.
    pub fn of(collectors: &[CollectorYaml]) -> Scene {
        let sink = Sink::lmtp();
        let program = Mailgather::new(&config(&sink.delivery(), collectors));
        Scene { sink, program }
    }

    /// Another configuration of the same installation.
    pub fn configure(&self, collector: &CollectorYaml) {
        self.program.configure(&config(&self.sink.delivery(), std::slice::from_ref(collector)));
    }

    /// One run that ends well; the subjects of what arrived by it.
    #[track_caller]
    pub fn once(&self) -> Vec<String> {
        let done = self.program.once(&[]).expect_success();
        self.arrived_by(&done)
    }

    /// One run that ends with this code; the subjects of what arrived by it, and what it said.
    #[track_caller]
    pub fn once_code(&self, code: i32) -> (Vec<String>, Finished) {
        let done = self.program.once(&[]).expect_code(code);
        (self.arrived_by(&done), done)
    }

    /// One run that ends well, and what it said.
    #[track_caller]
    pub fn once_said(&self) -> (Vec<String>, Finished) {
        self.once_code(0)
    }

    #[track_caller]
    fn arrived_by(&self, done: &Finished) -> Vec<String> {
        let arrived = self.arrived();
        assert!(self.sink.violations().is_empty(), "{:?}\n{}", self.sink.violations(), done.stderr);
        self.sink.clear();
        arrived
    }

    /// The subjects of what has arrived since the last look, sorted; a message that came twice stands there twice.
    pub fn arrived(&self) -> Vec<String> {
        let mut all: Vec<String> = self.sink.taken().iter().map(|taken| field(&taken.content, "Subject").unwrap_or_default()).collect();
        all.sort();
        all
    }
}

/// How many messages each session that delivered any did.
pub fn sessions(log: &str) -> Vec<usize> {
    let figure = |line: &str| line.split(' ').find_map(|word| word.strip_prefix("delivered=")).and_then(|figure| figure.parse().ok());
    log.lines().filter(|line| line.contains("session_finished")).filter_map(figure).filter(|delivered| *delivered > 0).collect()
}

/// How many lines of a log hold all of these words.
pub fn lines_with(log: &str, words: &[&str]) -> usize {
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}
