//! Notices: once, again after a time, never again for a restart, and their end; by mail, webhook and command, and by another way when one is broken.

use crate::kit::{imap, letter, request, running, socket, with_wrong_password};
use crate::support::certificates::Certificates;
use crate::support::process::{Channel, Signal};
use crate::support::*;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than the pause behind a notice, and than several looks at the board: what has not come by then does not come.
const QUIET: Duration = Duration::from_secs(6);

/// What a webhook got: the header and the document of each request.
#[derive(Clone, Default)]
struct Hook {
    port: u16,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    fn start() -> Hook {
        Hook::serve(None)
    }

    /// By TLS, with this certificate.
    fn secure(certificates: &Certificates) -> Hook {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        mailgather::net::install_crypto_provider();
        let chain = CertificateDer::pem_file_iter(&certificates.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
        Hook::serve(Some(Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap())))
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Hook { port: listener.local_addr().unwrap().port(), got: Arc::default() };
        let got = Arc::clone(&hook.got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(SOON));
                let taken = match &tls {
                    None => take(&mut stream),
                    Some(config) => {
                        let mut session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        take(&mut rustls::Stream::new(&mut session, &mut stream))
                    }
                };
                got.lock().unwrap().extend(taken);
            }
        });
        hook
    }

    /// All notices so far, whatever requests they came in.
    fn notices(&self) -> Vec<Value> {
        self.got.lock().unwrap().iter().flat_map(|(_, document)| document["notices"].as_array().unwrap().clone()).collect()
    }

    fn stages(&self) -> Vec<String> {
        self.notices().iter().map(|notice| format!("{} {}", notice["stage"].as_str().unwrap(), notice["event"].as_str().unwrap())).collect()
    }

    #[track_caller]
    fn wait_for(&self, stages: &[&str]) {
        eventually(&format!("{stages:?}"), Duration::from_secs(60), || self.stages().len() >= stages.len());
        assert_eq!(self.stages(), stages);
    }
}

fn take(stream: &mut (impl Read + Write)) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut header = String::new();
    while !header.ends_with("\r\n\r\n") {
        if reader.read_line(&mut header).ok()? == 0 {
            return None;
        }
    }
    let length = header.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").ok()?;
    reader.get_mut().flush().ok()?;
    Some((header, serde_json::from_slice(&body).ok()?))
}

/// A program that keeps what it got, a line for each run.
fn recorder(folder: &Path) -> (PathBuf, PathBuf) {
    let (program, record) = (folder.join("tell"), folder.join("record"));
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\necho \"$MAILGATHER_STAGE $MAILGATHER_EVENT $MAILGATHER_COLLECTOR $MAILGATHER_CODE\" >>{}\n",
        record.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (program, record)
}

fn lines(record: &Path) -> Vec<String> {
    std::fs::read_to_string(record).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn with_notify(notify: &str, config: &str) -> String {
    format!("notify: {notify}\n{config}")
}

/// A login that is refused is told once by mail, webhook and command, through a real Postfix; not once more by another failure nor by a restart; and its end.
#[test]
fn trouble_is_told_once_by_each_way_and_so_is_its_end() {
    let (server, sink, postfix, hook) = (Dovecot::start(), Sink::lmtp(), Postfix::start(), Hook::start());
    let folder = tempfile::tempdir().unwrap();
    let (program, record) = recorder(folder.path());
    let notify = format!(
        "[{{email: anna@example.org, via: {{smtp: '127.0.0.1:{}'}}, after: 1}}, {{webhook: 'http://127.0.0.1:{}/x', token: {{command: [echo, hunter2hunter2]}}, after: 1}}, {{command: [{}], after: 1}}]",
        postfix.port(),
        hook.port,
        program.display()
    );
    let right = with_notify(&notify, &config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two")]));
    let mailgather = Mailgather::new(&with_wrong_password(&right, "one"));
    let daemon = mailgather.run();
    hook.wait_for(&["raised auth_failed"]);
    eventually("the program ran", SOON, || lines(&record).len() == 1);
    assert_eq!(lines(&record), ["raised auth_failed one MG-203"]);
    eventually("the mail came", SOON, || postfix.count("anna") == 1);
    let mail = String::from_utf8(postfix.messages("anna").remove(0)).unwrap().replace("\r\n", "\n");
    let (header, body) = mail.split_once("\n\n").unwrap();
    assert!(header.contains("Return-Path: <>") && header.contains("Auto-Submitted: auto-generated"), "{mail}");
    assert!(header.contains(": one: its login is refused (MG-203)") && body.contains("said") && body.contains("mailgather explain MG-203"), "{mail}");
    let (request, document) = hook.got.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /x HTTP/1.1") && request.to_ascii_lowercase().contains("authorization: bearer hunter2hunter2"), "{request}");
    assert_eq!(document["notices"][0]["server"], format!("127.0.0.1:{}", server.imap()));
    // It goes on failing: that is known.
    daemon.signal(Signal::USR1);
    eventually("it fails once more", SOON, || daemon.count_log("session_failed") >= 2);
    std::thread::sleep(QUIET);
    assert_eq!((hook.stages().len(), lines(&record).len(), postfix.count("anna")), (1, 1, 1));
    let said = daemon.log().join("\n");
    assert!(!said.contains("hunter2"), "{said}");
    daemon.stop().expect_success();
    // So it is after a restart.
    let daemon = mailgather.run();
    eventually("it fails again", SOON, || daemon.count_log("session_failed") >= 1);
    std::thread::sleep(QUIET);
    assert_eq!((hook.stages().len(), lines(&record).len(), postfix.count("anna")), (1, 1, 1));
    let shown = mailgather.run_to_end("notify", &[]).expect_success().stdout;
    assert!(shown.contains("webhook 127.0.0.1: ") && shown.contains("  one: auth_failed since ") && shown.contains("email …@example.org"), "{shown}");
    // And who heard of it hears of its end.
    mailgather.configure(&right);
    mailgather.run_to_end("reload", &[]).expect_success();
    hook.wait_for(&["raised auth_failed", "recovered auth_failed"]);
    eventually("all heard it", SOON, || lines(&record).len() == 2 && postfix.count("anna") == 2);
    assert_eq!(lines(&record)[1], "recovered auth_failed one ");
    std::thread::sleep(QUIET);
    assert_eq!((hook.stages().len(), lines(&record).len(), postfix.count("anna")), (2, 2, 2));
    assert_eq!(std::fs::read_to_string(mailgather.state_dir().join("notices.json")).unwrap().trim(), "[]");
    daemon.stop().expect_success();
}

/// What lasts is told again after `repeat`, and not sooner; a session that goes well in between is an end.
#[test]
fn what_lasts_is_told_again() {
    let (server, sink, hook) = (Dovecot::start(), Sink::lmtp(), Hook::start());
    let notify = format!("[{{webhook: 'http://127.0.0.1:{}/', after: 1, repeat: 4s}}]", hook.port);
    let text = with_notify(&notify, &config(&sink.delivery(), &[imap(&server, "one")]));
    let mailgather = Mailgather::new(&with_wrong_password(&text, "one"));
    let daemon = mailgather.run();
    eventually("it is repeated", Duration::from_secs(60), || hook.stages().len() >= 3);
    assert_eq!(hook.stages()[..3], ["raised auth_failed", "repeated auth_failed", "repeated auth_failed"]);
    let at = |n: usize| hook.notices()[n]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(1).duration_since(at(0)).as_millis() >= 4_000 && at(2).duration_since(at(1)).as_millis() >= 4_000);
    assert_eq!(hook.notices()[0]["since"], hook.notices()[2]["since"]);
    daemon.stop().expect_success();
}

/// Only mail that goes by the target that is down: another place is told in its stead, though it wanted to hear of other things.
#[test]
fn a_broken_way_is_not_the_only_one() {
    let (server, hook) = (Dovecot::start(), Hook::start());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let notify = format!("[{{email: anna@example.org, after: 1}}, {{webhook: 'http://127.0.0.1:{}/', events: [certificate]}}]", hook.port);
    let text = with_notify(&notify, &config(&format!("{{lmtp: '127.0.0.1:{port}'}}"), &[imap(&server, "one")]));
    server.put("one", &letter(1));
    let mailgather = Mailgather::new(&text);
    let daemon = mailgather.run();
    // It is tried four times within three quarters of a minute.
    eventually("the mail is given up", Duration::from_secs(120), || daemon.count_log("notice_failed") > 0);
    let failed = daemon.log().into_iter().find(|line| line.contains("notice_failed")).unwrap();
    assert!(failed.contains("channel=\"email …@example.org\"") && failed.contains("the other channels tell it"), "{failed}");
    hook.wait_for(&["raised failing"]);
    let notice = &hook.notices()[0];
    assert_eq!((&notice["code"], &notice["instead_of"]), (&"MG-431".into(), &"email …@example.org".into()));
    let path = socket(&mailgather);
    eventually("both are counted", SOON, || {
        let (_, metrics) = request(&path, "GET", "/metrics", "");
        metrics.contains("mailgather_notifications_total{channel=\"email\",result=\"failed\"} 1")
            && metrics.contains("mailgather_notifications_total{channel=\"webhook\",result=\"sent\"} 1")
    });
    // The target is there again: so is the mail, and the end of the trouble is told to both.
    let sink = Sink::lmtp();
    mailgather.configure(&text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", sink.port())));
    mailgather.run_to_end("reload", &[]).expect_success();
    sink.wait_for(1);
    daemon.stop().expect_success();
}

/// Mail that is held is told, by a webhook with a certificate that is verified; a restart in which it was dropped is its end.
#[test]
fn held_mail_is_told_and_so_is_that_it_is_gone() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path());
    let hook = Hook::secure(&certificates);
    let held = imap(&server, "one").set("max_message_size", "{limit: 1KiB, action: hold}");
    let url = format!("https://localhost:{}/hunter2", hook.port);
    let text = |tls: &str| with_notify(&format!("[{{webhook: '{url}'{tls}}}]"), &config(&sink.delivery(), std::slice::from_ref(&held)));
    let mailgather = Mailgather::new(&text(""));
    server.put("one", &[&letter(2)[..], "x".repeat(5_000).as_bytes()].concat());
    let daemon = running(&mailgather, 1);
    // A certificate of nobody's is not talked to.
    let tried = mailgather.run_to_end("notify", &["--test"]).expect_code(75).stdout;
    assert!(tried.contains("FAILED") && tried.contains("certificate") && !tried.contains("hunter2"), "{tried}");
    mailgather.configure(&text(&format!(", tls: {{ca_file: {}}}", certificates.ca.display())));
    mailgather.run_to_end("reload", &[]).expect_success();
    hook.wait_for(&["raised held"]);
    let notice = &hook.notices()[0];
    assert_eq!((&notice["message"], &notice["code"]), (&"1 message is held: 1 too_large".into(), &"MG-402".into()));
    assert!(!daemon.log().join("\n").contains("hunter2"), "{:?}", daemon.log());
    daemon.stop().expect_success();
    mailgather.run_to_end("held", &["drop", "--all", "--yes"]).expect_success();
    let daemon = mailgather.run();
    hook.wait_for(&["raised held", "recovered held"]);
    daemon.stop().expect_success();
}

/// Mail in a circle is its own event.
#[test]
fn mail_in_a_circle_is_told() {
    let (server, sink, hook) = (Dovecot::start(), Sink::lmtp(), Hook::start());
    let notify = format!("[{{webhook: 'http://127.0.0.1:{}/', events: [loop, held]}}]", hook.port);
    let hops: String = (0..60).map(|n| format!("Received: from a by b{n}; Sat, 21 Nov 2026 10:00:00 +0000\r\n")).collect();
    server.put("one", &[hops.as_bytes(), &letter(1)[..]].concat());
    let mailgather = Mailgather::new(&with_notify(&notify, &config(&sink.delivery(), &[imap(&server, "one")])));
    let daemon = mailgather.run();
    hook.wait_for(&["raised loop"]);
    assert_eq!(hook.notices()[0]["code"], "MG-411");
    daemon.stop().expect_success();
}

/// A certificate that ends in three days is told, in the log too.
#[test]
fn a_certificate_that_ends_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().checked_add(jiff::ToSpan::days(3)).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let (key, authority_key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    std::fs::write(path("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    std::fs::write(path("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let extra = format!("ssl_cert = <{}\nssl_key = <{}\n", path("cert.pem").display(), path("key.pem").display());
    let (server, sink, hook) = (Dovecot::builder().extra(&extra).start(), Sink::lmtp(), Hook::start());
    std::fs::copy(path("ca.pem"), server.ca()).unwrap();
    let notify = format!("[{{webhook: 'http://127.0.0.1:{}/'}}]", hook.port);
    let mailgather = Mailgather::new(&with_notify(&notify, &config(&sink.delivery(), &[imap(&server, "one").channel(Channel::Tls)])));
    let daemon = mailgather.run();
    hook.wait_for(&["raised certificate"]);
    let message = hook.notices()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(&format!("the certificate of 127.0.0.1:{} ends in 2 days, at {day}", server.imaps())), "{message}");
    assert_eq!(daemon.counted("certificate_expiring", 1), 1, "{:?}", daemon.log());
    daemon.stop().expect_success();
}

/// What a server says may look like anything, and stays text: no header of a mail, no line of its own; and addresses are hidden where the log hides them.
#[test]
fn a_servers_words_are_no_header() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let _ = reader.get_mut().write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n");
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                let tag = line.split(' ').next().unwrap_or("*").to_owned();
                let said = "NO [AUTHENTICATIONFAILED] \u{202e}\rSubject: won\x0bBcc: boss@secret.example <b>%n$(id)`id`\"\u{2028}X: y\r\n";
                let _ = reader.get_mut().write_all(format!("{tag} {said}").as_bytes());
                line.clear();
            }
        }
    });
    let (sink, notices) = (Sink::lmtp(), Sink::smtp());
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let script = format!("env >>{}", record.display());
    let notify = format!("[{{email: anna@example.org, via: {}, after: 1}}, {{command: [sh, -c, '{script}'], after: 1}}]", notices.delivery());
    let collector = CollectorYaml::at("imap", "one", port).forward_to("anna@example.org").set("interval", "1h");
    let text = with_notify(&notify, &config(&sink.delivery(), &[collector])).replace("log: {level: debug}", "log: {level: debug, redact: addresses}");
    let mailgather = Mailgather::new(&text);
    let daemon = mailgather.run();
    notices.wait_for(1);
    assert!(notices.violations().is_empty(), "{:?}", notices.violations());
    let mail = notices.taken().remove(0);
    assert_eq!((mail.from.as_str(), &mail.recipients[..]), ("", &["anna@example.org".to_owned()][..]));
    let content = String::from_utf8(mail.content).unwrap();
    let (header, body) = content.split_once("\r\n\r\n").unwrap();
    let names: Vec<&str> = header.split("\r\n").filter(|line| !line.starts_with(['\t', ' '])).map(|line| line.split(':').next().unwrap()).collect();
    let wanted = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "X-Mailgather-Notice",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];
    assert_eq!(names, wanted, "{header}");
    assert!(header.contains("one: its login is refused (MG-203)"), "{header}");
    assert!(!body.contains("boss@") && !body.contains('\u{202e}'), "{body}");
    eventually("the program ran", SOON, || record.exists());
    eventually("all of it", SOON, || std::fs::read_to_string(&record).unwrap().contains("MAILGATHER_HINT"));
    let environment = std::fs::read_to_string(&record).unwrap();
    assert!(environment.contains("***@secret.example") && !environment.contains("boss@"), "{environment}");
    let known = ["MAILGATHER_", "PATH=", "LANG=", "PWD=", "OLDPWD=", "SHLVL=", "_="];
    assert!(environment.lines().all(|line| known.iter().any(|name| line.starts_with(name))), "a line of its own, or a secret: {environment}");
    daemon.stop().expect_success();
}

/// A collector that has places of its own is told there and nowhere else, one with `off` nowhere; what the own place does not take, those for all tell,
/// and never those of another collector.
#[test]
fn a_collector_may_have_its_own_places_or_none() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let (all, own, strange) = (Hook::start(), Hook::start(), Hook::start());
    let hook = |hook: &Hook| format!("[{{webhook: 'http://127.0.0.1:{}/hunter2', after: 1}}]", hook.port);
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let deaf = format!("[{{webhook: 'http://127.0.0.1:{gone}/', after: 1, timeout: 1s}}]");
    let broken = |id: &str| CollectorYaml::at("imap", id, 1).forward_to("anna@example.org");
    let collectors = |own_of: &str| {
        [
            broken("plain"),
            broken("own").set("notify", own_of),
            broken("off").set("notify", "off"),
            broken("deaf").set("notify", &deaf),
            imap(&server, "good").set("notify", &hook(&strange)),
        ]
    };
    let mailgather = Mailgather::new(&with_notify(&hook(&all), &config(&sink.delivery(), &collectors(&hook(&own)))));
    let daemon = mailgather.run();
    let names = |hook: &Hook| {
        let mut names: Vec<String> = hook.notices().iter().map(|notice| notice["collector"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    eventually("each is told", Duration::from_secs(120), || names(&all).len() >= 2 && !names(&own).is_empty());
    eventually("all four fail", SOON, || daemon.count_log("session_failed") >= 4);
    std::thread::sleep(QUIET);
    assert_eq!((names(&all), names(&own), names(&strange)), (vec!["deaf".into(), "plain".into()], vec!["own".into()], vec![]));
    let shown = mailgather.run_to_end("notify", &[]).expect_success().stdout;
    assert!(shown.contains("webhook 127.0.0.1 (for own alone): ") && shown.contains("  own: failing since "), "{shown}");
    let shown: Value = serde_json::from_str(&mailgather.run_to_end("notify", &["--json"]).expect_success().stdout).unwrap();
    assert!(shown["channels"][0]["collectors"].is_null() && shown["channels"].as_array().unwrap().len() == 4, "{shown}");
    // The address of a webhook is often a secret.
    let effective = mailgather.run_to_end("show", &["own", "--origin"]).expect_success().stdout;
    assert!(effective.contains("notify") && !effective.contains("hunter2"), "{effective}");
    // Who is told changes without a restart of any collector.
    let before = daemon.count_log("collector_started");
    mailgather.configure(&with_notify(&hook(&all), &config(&sink.delivery(), &collectors("off"))));
    mailgather.run_to_end("reload", &[]).expect_success();
    let one = || mailgather.run_to_end("notify", &[]).expect_success().stdout;
    eventually("the place is gone", SOON, || !one().contains("for own alone"));
    assert_eq!(daemon.counted("collector_started", before), before, "{:?}", daemon.log());
    assert_eq!((names(&all).len(), names(&own).len()), (2, 1));
    daemon.stop().expect_success();
}

/// `mailgather notify` says what is what, with its exit codes.
#[test]
fn the_command_shows_and_tries() {
    let (server, sink, hook) = (Dovecot::start(), Sink::lmtp(), Hook::start());
    let folder = tempfile::tempdir().unwrap();
    let mailgather = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    mailgather.run_to_end("notify", &[]).expect_code(69);
    let daemon = running(&mailgather, 1);
    let nothing = mailgather.run_to_end("notify", &[]).expect_success();
    assert!(nothing.stdout.contains("names no channel"), "{}", nothing.stdout);
    mailgather.run_to_end("notify", &["--test"]).expect_code(78);
    let maildir = folder.path().join("box");
    let notify = |more: &str| {
        let first = format!("{{email: anna@example.org, via: {{maildir: {}}}}}", maildir.display());
        with_notify(&format!("[{first}, {{webhook: 'http://127.0.0.1:{}/'}}{more}]", hook.port), &config(&sink.delivery(), &[imap(&server, "one")]))
    };
    mailgather.configure(&notify(""));
    mailgather.run_to_end("reload", &[]).expect_success();
    eventually("the places are known", SOON, || mailgather.run_to_end("notify", &[]).stdout.contains("webhook 127.0.0.1"));
    let tried = mailgather.run_to_end("notify", &["--test"]).expect_success().stdout;
    assert_eq!(tried, "email …@example.org: ok\nwebhook 127.0.0.1: ok\n");
    assert_eq!(std::fs::read_dir(maildir.join("new")).unwrap().count(), 1);
    assert_eq!(hook.stages(), ["test test"]);
    mailgather.configure(&notify(", {command: [sh, -c, 'echo out of paper >&2; exit 7']}"));
    mailgather.run_to_end("reload", &[]).expect_success();
    eventually("the program is known", SOON, || mailgather.run_to_end("notify", &[]).stdout.contains("command sh"));
    let tried = mailgather.run_to_end("notify", &["--test"]).expect_code(75).stdout;
    assert!(tried.ends_with("command sh: FAILED: sh ended with 7: out of paper\n"), "{tried}");
    let shown: Value = serde_json::from_str(&mailgather.run_to_end("notify", &["--json"]).expect_success().stdout).unwrap();
    assert_eq!((&shown["channels"][2]["last"]["ok"], &shown["channels"][0]["last"]["ok"]), (&false.into(), &true.into()), "{shown}");
    assert_eq!(shown["open"], serde_json::json!([]));
    daemon.stop().expect_success();
}

/// A flood of trouble makes a few notices with all of it, and a place that hangs holds no mail up.
#[test]
fn a_flood_goes_together_and_a_place_that_hangs_holds_nothing_up() {
    let (server, sink, hook, hole) = (Dovecot::start(), Sink::lmtp(), Hook::start(), BlackHole::start());
    let collectors: Vec<CollectorYaml> = (0..60).map(|n| CollectorYaml::at("imap", &format!("u{n}"), 1).forward_to("anna@example.org")).collect();
    let good = imap(&server, "good");
    let notify = format!(
        "[{{webhook: 'http://127.0.0.1:{}/', after: 1}}, {{webhook: 'http://127.0.0.1:{}/', after: 1, timeout: 3s}}, {{command: [sleep, '1000'], timeout: 3s, after: 1}}]",
        hook.port,
        hole.port()
    );
    let all: Vec<CollectorYaml> = collectors.into_iter().chain([good]).collect();
    let mailgather = Mailgather::new(&with_notify(&notify, &config(&sink.delivery(), &all)));
    server.put("good", &letter(1));
    let daemon = mailgather.run();
    sink.wait_for(1);
    eventually("all are told", Duration::from_secs(60), || hook.stages().len() == 60);
    assert!(hook.stages().iter().all(|stage| stage == "raised failing"));
    let requests = hook.got.lock().unwrap().len();
    assert!(requests <= 8, "{requests} requests for 60 collectors");
    server.put("good", &letter(2));
    mailgather.run_to_end("collect", &["good"]).expect_success();
    sink.wait_for(2);
    daemon.stop().expect_success();
}
