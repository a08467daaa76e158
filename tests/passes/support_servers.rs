//! The support library itself: the servers serve what was put, take what is sent, and the scripted one follows its script.

use crate::support::{Dovecot, Postfix, SOON, Sink, corpus, eventually, maildir};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A client of lines, just enough for a check.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn connect(port: u16) -> Lines {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(SOON)).expect("a limit");
        Lines(BufReader::new(stream))
    }

    fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(octets.as_ref()).expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("the server writes");
        String::from_utf8_lossy(&line).trim_end().to_string()
    }

    /// Sends a line and reads the answer of SMTP or LMTP, continuation lines included; returns the last.
    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    fn reply(&mut self) -> String {
        loop {
            let line = self.line();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// An IMAP session that fetches every message of a user's INBOX.
    fn imap_fetch(port: u16, user: &str) -> Vec<Vec<u8>> {
        let mut imap = Lines::connect(port);
        imap.line();
        imap.send(format!("a LOGIN {user} \"{}\"\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* BODY.PEEK[]\r\n", crate::support::dovecot::PASSWORD));
        let mut all = Vec::new();
        loop {
            let line = imap.line();
            if let Some((_, length)) = line.strip_suffix('}').and_then(|l| l.rsplit_once('{')) {
                let mut literal = vec![0; length.parse().expect("a length")];
                imap.0.read_exact(&mut literal).expect("the literal");
                all.push(literal);
            } else if line.ends_with("\"\")") || line.ends_with("NIL)") {
                all.push(Vec::new());
            }
            assert!(!line.starts_with("a NO") && !line.starts_with("b NO") && !line.is_empty() || !all.is_empty(), "{line}");
            if line.starts_with("c ") {
                assert!(line.starts_with("c OK"), "{line}");
                return all;
            }
        }
    }

    /// A POP3 session that retrieves every message, stuffing undone.
    fn pop3_fetch(port: u16, user: &str) -> Vec<Vec<u8>> {
        let mut pop = Lines::connect(port);
        pop.line();
        pop.send(format!("USER {user}\r\nPASS {}\r\nSTAT\r\n", crate::support::dovecot::PASSWORD));
        pop.line();
        pop.line();
        let stat = pop.line();
        let count: usize = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{stat}"));
        let mut all = Vec::new();
        for number in 1..=count {
            pop.send(format!("RETR {number}\r\n"));
            pop.line();
            let mut message = Vec::new();
            loop {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    assert!(pop.0.read_until(b'\n', &mut line).expect("the server writes") > 0, "the stream ends within message {number}");
                }
                if line == b".\r\n" {
                    break;
                }
                message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
            all.push(message);
        }
        all
    }
}

/// What Dovecot's documented behaviour makes of a raw file by IMAP: bare LF becomes CRLF, NUL becomes 0x80, bare CR stays.
fn as_served_by_imap(raw: &[u8]) -> Vec<u8> {
    maildir::with_crlf(raw).into_iter().map(|b| if b == 0 { 0x80 } else { b }).collect()
}

#[test]
fn dovecot_serves_what_was_put() {
    let dovecot = Dovecot::start();
    let corpus = corpus::hostile();
    corpus.iter().for_each(|(_, raw)| dovecot.put("box", raw));
    assert_eq!(dovecot.count("box"), corpus.len());

    let by_imap = Lines::imap_fetch(dovecot.imap(), "box");
    assert_eq!(by_imap.len(), corpus.len());
    for ((name, raw), served) in corpus.iter().zip(&by_imap) {
        assert_eq!(served.escape_ascii().to_string(), as_served_by_imap(raw).escape_ascii().to_string(), "{name} by IMAP");
    }

    let stuffed: Vec<_> = corpus.iter().filter(|(_, raw)| !raw.starts_with(b".")).collect();
    stuffed.iter().for_each(|(_, raw)| dovecot.put("pop-box", raw));
    let by_pop3 = Lines::pop3_fetch(dovecot.pop3(), "pop-box");
    assert_eq!(by_pop3.len(), stuffed.len());
    for ((name, raw), served) in stuffed.iter().zip(&by_pop3) {
        let want = maildir::with_crlf(raw);
        // The final dot needs a line of its own.
        let ended = want.clone().into_iter().chain(*b"\r\n").collect::<Vec<_>>();
        assert!(*served == want || *served == ended, "{name} by POP3: {}", served[..served.len().min(300)].escape_ascii());
    }
}

#[test]
fn dovecot_takes_known_users_by_lmtp() {
    let dovecot = Dovecot::builder().users(&["anna@example.org", "boris@example.org"]).start();
    let mut lmtp = Lines::connect(dovecot.lmtp());
    lmtp.reply();
    lmtp.ask("LHLO test");
    assert!(lmtp.ask("MAIL FROM:<a@remote.example>").starts_with("250"));
    assert!(lmtp.ask("RCPT TO:<anna@example.org>").starts_with("250"));
    let unknown = lmtp.ask("RCPT TO:<nobody@example.org>");
    assert!(unknown.starts_with("550 5.1.1"), "{unknown}");
    assert!(lmtp.ask("DATA").starts_with("354"));
    let (message, stuffed) = ("Subject: x\r\n\r\n.dot\r\nend\r\n", "Subject: x\r\n\r\n..dot\r\nend\r\n.");
    assert!(lmtp.ask(stuffed).starts_with("250"));
    let stored = dovecot.stored("anna@example.org");
    assert_eq!(stored.len(), 1);
    assert!(stored[0].is_new && stored[0].flags.is_empty());
    maildir::assert_same("by LMTP", message.as_bytes(), &stored[0].bytes);
    assert_eq!(dovecot.count("nobody@example.org"), 0);
    // Any name may log in all the same.
    assert!(Lines::imap_fetch(dovecot.imap(), "somebody-else").is_empty());
    assert!(dovecot.lmtp_socket().exists());
}

#[test]
fn dovecot_ends_with_its_test() {
    let dovecot = Dovecot::start();
    let port = dovecot.imap();
    drop(dovecot);
    // A killed process gives back its sockets in its own time.
    eventually("nobody listens any more", SOON, || TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn dovecot_leaves_out_capabilities() {
    let dovecot = Dovecot::builder().without(&["UIDPLUS", "MOVE"]).start();
    let mut imap = Lines::connect(dovecot.imap());
    imap.line();
    imap.send(format!("a LOGIN box \"{}\"\r\n", crate::support::dovecot::PASSWORD));
    let line = imap.line();
    assert!(line.contains("IDLE") && !line.contains("UIDPLUS") && !line.contains("MOVE"), "{line}");
}

#[test]
fn dovecot_changes_its_uidvalidity() {
    let dovecot = Dovecot::start();
    dovecot.put("box", b"Subject: x\r\n\r\ny\r\n");
    let validity = || {
        let mut imap = Lines::connect(dovecot.imap());
        imap.send(format!("a LOGIN box \"{}\"\r\nb EXAMINE INBOX\r\n", crate::support::dovecot::PASSWORD));
        let line = (0..20).map(|_| imap.line()).find(|line| line.contains("UIDVALIDITY")).expect("an answer to EXAMINE");
        line.split(['[', ' ', ']']).find_map(|word| word.parse::<u32>().ok()).expect("a number")
    };
    let before = validity();
    dovecot.new_uidvalidity("box");
    assert_ne!(validity(), before);
    assert_eq!(Lines::imap_fetch(dovecot.imap(), "box").len(), 1);
}

#[test]
fn postfix_delivers_and_refuses() {
    let postfix = Postfix::builder().message_size_limit(100_000).start();
    let mut smtp = Lines::connect(postfix.port());
    smtp.reply();
    smtp.send("EHLO localhost\r\n");
    let mut offered = BTreeSet::new();
    loop {
        let line = smtp.line();
        offered.insert(line[4..].to_string());
        if line.as_bytes()[3] == b' ' {
            break;
        }
    }
    assert!(offered.contains("SMTPUTF8") && offered.contains("SIZE 100000") && offered.contains("PIPELINING"), "{offered:?}");
    assert!(smtp.ask("MAIL FROM:<a@remote.example> SMTPUTF8 BODY=8BITMIME").starts_with("250"));
    assert!(smtp.ask("RCPT TO:<anna@example.org>").starts_with("250"));
    assert!(smtp.ask("RCPT TO:<раз@example.org>").starts_with("250"));
    for (user, code) in [("defer", "450 4.2.1"), ("refuse", "550 5.1.1"), ("unknown", "550 5.1.1")] {
        let reply = smtp.ask(&format!("RCPT TO:<{user}@example.org>"));
        assert!(reply.starts_with(code), "{user}: {reply}");
    }
    assert!(smtp.ask("DATA").starts_with("354"));
    let message = "Subject: x\r\n\r\n.dot\r\nend\r\n";
    assert!(smtp.ask("Subject: x\r\n\r\n..dot\r\nend\r\n.").starts_with("250"));
    for user in ["anna", "раз"] {
        eventually("Postfix delivers", SOON, || postfix.count(user) == 1);
        maildir::assert_same(user, message.as_bytes(), &postfix.messages(user)[0]);
    }
}

#[test]
fn the_sink_follows_its_script() {
    let sink = Sink::builder().on("RCPT", 2, "450 4.2.1 later").on_text("RCPT", "nobody@", "550 5.1.1 unknown").close_at("DOT", 2).start();
    let mut smtp = Lines::connect(sink.port());
    assert!(smtp.reply().starts_with("220"));
    assert!(smtp.ask("EHLO test").starts_with("250 "));
    smtp.send("MAIL FROM:<a@b> SIZE=9\r\nRCPT TO:<one@c>\r\nRCPT TO:<two@c>\r\nRCPT TO:<nobody@c>\r\nDATA\r\n");
    let replies: Vec<String> = (0..5).map(|_| smtp.reply()[..3].to_string()).collect();
    assert_eq!(replies, ["250", "250", "450", "550", "354"]);
    assert!(smtp.ask("Subject: x\r\n\r\n..dot\r\n.").starts_with("250"));
    assert!(smtp.ask("MAIL FROM:<>").starts_with("250"));
    assert!(smtp.ask("RCPT TO:<one@c>").starts_with("250"));
    assert!(smtp.ask("DATA").starts_with("354"));
    assert_eq!(smtp.ask("bare\nlf\r\n."), "", "it closes in place of the second answer to a final dot");

    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].from.as_str(), taken[0].parameters.as_str(), &taken[0].recipients[..]), ("a@b", "SIZE=9", &["one@c".to_string()][..]));
    assert_eq!(taken[0].content, b"Subject: x\r\n\r\n.dot\r\n");
    assert!(sink.violations().iter().any(|v| v.contains("bare LF")), "{:?}", sink.violations());
    assert_eq!((sink.connections(), sink.broken_off()), (1, 0));
}

#[test]
fn the_sink_answers_each_recipient_in_lmtp() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sink");
    let sink = Sink::lmtp_builder().unix(&path).on_text("DOT", "two@", "452 4.2.2 full").start();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    stream.write_all(b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<one@c>\r\nRCPT TO:<two@c>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it writes");
    assert!(text.contains("354 ") && text.contains("250 2.0.0 Ok: taken\r\n452 4.2.2 full\r\n221"), "{text}");
    assert_eq!(sink.taken()[0].recipients, ["one@c"]);
    assert_eq!(sink.delivery(), format!("{{lmtp: unix:{}}}", path.display()));
}

#[test]
fn the_sink_sees_what_breaks_off() {
    let sink = Sink::smtp();
    let mut smtp = Lines::connect(sink.port());
    smtp.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf a mess");
    drop(smtp);
    eventually("the break is seen", SOON, || sink.broken_off() == 1);
    assert_eq!(sink.count(), 0);
}

#[test]
fn the_corpus_is_what_it_says() {
    let corpus = corpus::hostile();
    let names: BTreeSet<&String> = corpus.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), corpus.len(), "names are unique");
    for (name, raw) in &corpus {
        let canonical = corpus::canonical(raw);
        assert_eq!(canonical, corpus::canonical(&canonical), "{name}");
        assert!(maildir::difference(&canonical, &canonical).is_none(), "{name}");
    }
    assert_eq!(corpus::canonical(b"a\0\rb\n\r\n.").escape_ascii().to_string(), "a\\r\\nb\\r\\n\\r\\n.\\r\\n");
    let realistic = corpus::realistic(20, |i| format!("user{i}@example.org"));
    assert!(realistic.iter().all(|m| corpus::canonical(m) == *m));
    assert_eq!(realistic, corpus::realistic(20, |i| format!("user{i}@example.org")));
    assert_eq!(corpus::huge().1.len() / 1_000_000, 100);
}

#[test]
fn differences_are_found() {
    let message = b"Return-Path: <x@y>\r\nSubject: a\r\nTo: b\r\n\r\nbody\r\n";
    let good = b"Return-Path: <>\r\nReceived: by us\r\nX-Mailgather-Id: 1\r\nSubject: a\r\nTo: b\r\n\r\nbody\r\n";
    assert_eq!(maildir::difference(message, good), None);
    for bad in [
        &b"Received: by us\r\nSubject: a\r\n\r\nbody\r\n"[..],
        b"Received: by us\r\nSubject: A\r\nTo: b\r\n\r\nbody\r\n",
        b"X-Other: 1\r\nSubject: a\r\nTo: b\r\n\r\nbody\r\n",
        b"Subject: a\r\nTo: b\r\n\r\nbodY\r\n",
        b"Subject: a\r\nTo: b\r\n\r\nbody\r\n\r\n",
    ] {
        assert!(maildir::difference(message, bad).is_some(), "{}", bad.escape_ascii());
    }
    assert_eq!(maildir::difference(b"no header\r\n", b"Received: by us\r\n\r\nno header\r\n"), None);
}
