//! The fault matrix of SMTP and LMTP delivery (faults, rows 35, 36, 38, 53, 64): each class of reply at each step, with and without PIPELINING,
//! to three recipients. What is expected is computed here, from the resolution rules (section 7), not from the code.

use crate::deliver_kit::{delivery, envelope, local, message, no_password, word, words};
use crate::smtp_peer::{Act, Server, Step, say};
use futures_util::future::join_all;
use mailgather::deliver::Destination;
use mailgather::deliver::smtp::{Limits, SmtpDestination};
use mailgather::mail::*;
use mailgather::proto::smtp::Protocol;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const RECIPIENTS: [&str; 3] = ["a@y.example", "b@y.example", "c@y.example"];

/// Patient enough for a busy machine; the cells in which a server is silent wait less.
const LIMITS: Limits = Limits { failure_memory: Duration::ZERO, quit: Duration::from_millis(300), ..Limits::DEFAULT };
const HASTY: Limits = {
    let soon = Duration::from_secs(2);
    Limits { greeting: soon, command: soon, data: soon, block: soon, final_dot: soon, ..LIMITS }
};

fn destination(lmtp: bool, port: u16, limits: Limits) -> SmtpDestination {
    let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    SmtpDestination::with_limits(local(port), protocol, &delivery(), no_password(), limits)
}

async fn send(destination: &SmtpDestination) -> Vec<Outcome> {
    destination.deliver(&envelope(&RECIPIENTS), &message(1, "Subject: t\r\n\r\nhello\r\n")).await
}

/// What is answered in place of the usual reply.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Odd2xx,
    Odd3xx,
    Later,
    Never,
    GoingAway,
    Garbage,
    Partial,
    Drop,
    Premature,
    MultiLine,
    MultiLineNever,
    Silence,
}

/// A step; RCPT with the recipient's position.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Banner,
    Hello,
    Mail,
    Rcpt(usize),
    Data,
    Dot,
    Rset,
    Quit,
}

fn act(at: At, class: Class, lmtp: bool, pipelining: bool) -> Act {
    let usual = match at {
        At::Banner => "220 sink\r\n",
        At::Hello if pipelining => "250-sink\r\n250 PIPELINING\r\n",
        At::Data => "354 go\r\n",
        At::Quit => "221 bye\r\n",
        _ => "250 ok\r\n",
    };
    let multi_line = match at {
        At::Banner => "220-sink\r\n220-is\r\n220 here\r\n",
        At::Hello if pipelining => "250-sink\r\n250-PIPELINING\r\n250 HELP\r\n",
        At::Hello => "250-sink\r\n250 HELP\r\n",
        At::Data => "354-go\r\n354 on\r\n",
        At::Quit => "221-good\r\n221 bye\r\n",
        _ => "250-2.0.0 it\r\n250-2.0.0 is\r\n250 2.0.0 ok\r\n",
    };
    let one = match class {
        Class::Odd2xx => "299 odd\r\n",
        // 354 is what DATA is answered.
        Class::Odd3xx => "354 odd\r\n",
        Class::Later => "451 4.3.0 later\r\n",
        Class::Never => "550 no\r\n",
        Class::GoingAway => "421 4.3.2 bye\r\n",
        Class::Garbage => "\u{1}\u{2} HTTP/1.1 200 OK\r\n",
        Class::Partial => return Act::Say("250 2.0".to_owned()),
        Class::Drop => return Act::Close,
        Class::Premature => usual,
        Class::MultiLine => multi_line,
        Class::MultiLineNever => "550-no\r\n550-and\r\n550 no\r\n",
        Class::Silence => return Act::Silence,
    };
    // RFC 2033 §4.2: one reply for each recipient.
    let mut said = if lmtp && at == At::Dot { one.repeat(RECIPIENTS.len()) } else { one.to_owned() };
    if class == Class::Premature {
        said.push_str("250 2.0.0 early\r\n");
    }
    Act::Say(said)
}

/// The rules of section 7, for three recipients.
fn expected(at: At, class: Class, lmtp: bool, pipelining: bool) -> [&'static str; 3] {
    use Class::*;
    const TARGET: [&str; 3] = ["Deferred Target"; 3];
    const DELIVERED: [&str; 3] = ["Delivered"; 3];
    let only = |position: usize, word| {
        let mut all = DELIVERED;
        all[position] = word;
        all
    };
    match (at, class) {
        // Nothing depends on QUIT.
        (At::Quit, _) => DELIVERED,
        // "any failure, 4xx, 5xx, 421: target failure"; the codes here are 220 and 250, nothing else.
        (At::Banner | At::Hello, MultiLine) => DELIVERED,
        (At::Banner | At::Hello, _) => TARGET,
        // RSET cleans a resting connection: at fault is that one, and a fresh one takes the message. If its reply is followed by another one in a
        // pipeline, all that follow stand in wrong places; nobody can say what DATA was answered.
        (At::Rset, Premature) if pipelining => TARGET,
        (At::Rset, _) => DELIVERED,
        // Before the dot: 421, a broken connection, a reply that cannot be or that comes before its time is the target's.
        (At::Mail | At::Rcpt(_) | At::Data, GoingAway | Garbage | Partial | Drop | Silence) => TARGET,
        (At::Mail | At::Rcpt(_), Odd3xx) => TARGET,
        (At::Mail | At::Rcpt(_), Premature) => TARGET,
        // "4xx: message deferred", "5xx: rejected message".
        (At::Mail | At::Data, Later) => ["Deferred Message"; 3],
        (At::Mail | At::Data, Never | MultiLineNever) => ["Rejected Message"; 3],
        (At::Mail | At::Rcpt(_), Odd2xx | MultiLine) => DELIVERED,
        // "that recipient deferred. Deliver to the others now"; "unknown user".
        (At::Rcpt(position), Later) => only(position, "Deferred Recipient"),
        (At::Rcpt(position), Never | MultiLineNever) => only(position, "Rejected Recipient"),
        // DATA is answered by 354 or not at all.
        (At::Data, Odd2xx) => TARGET,
        (At::Data, Odd3xx | MultiLine) => DELIVERED,
        // The answer to a message that was not sent: no yes, and it may be the message that the server cannot bear.
        (At::Data, Premature) => ["Deferred Message"; 3],
        // "final dot 2xx: delivered"; a yes too many says nothing.
        (At::Dot, Odd2xx | MultiLine | Premature) => DELIVERED,
        (At::Dot, Later) if lmtp => ["Deferred Recipient"; 3],
        (At::Dot, Later) => ["Deferred Message"; 3],
        (At::Dot, Never | MultiLineNever) => ["Rejected Message"; 3],
        // Behind the content it may be the message; it was not taken.
        (At::Dot, GoingAway) => ["Deferred Message"; 3],
        // "no reply, connection lost after final dot: in doubt".
        (At::Dot, Odd3xx | Garbage | Partial | Drop | Silence) => ["Unknown"; 3],
    }
}

async fn cell(at: At, class: Class, lmtp: bool, pipelining: bool) {
    let name = format!("{} pipelining={pipelining} {at:?} {class:?}", if lmtp { "LMTP" } else { "SMTP" });
    let act = act(at, class, lmtp, pipelining);
    let server = Server::new(lmtp).extensions(if pipelining { &["PIPELINING"] } else { &["8BITMIME"] }).rule(move |seen| {
        let (step, nth) = match at {
            At::Banner => (Step::Banner, None),
            At::Hello => (Step::Hello, None),
            At::Mail => (Step::Mail, None),
            At::Rcpt(position) => (Step::Rcpt, Some(position)),
            At::Data => (Step::Data, None),
            At::Dot => (Step::Dot, None),
            At::Rset => (Step::Rset, None),
            At::Quit => (Step::Quit, None),
        };
        // RSET comes only behind a transaction that went wrong: the first one of the connection does then.
        if at == At::Rset && seen.connection > 0 {
            return None;
        }
        if at == At::Rset && seen.step == Step::Rcpt && seen.nth < RECIPIENTS.len() {
            return say("550 5.1.1 who?\r\n");
        }
        (seen.step == step && nth.is_none_or(|nth| nth == seen.nth)).then(|| act.clone())
    });
    let destination = destination(lmtp, server.listen().await, if class == Class::Silence { HASTY } else { LIMITS });
    if at == At::Rset {
        assert_eq!(words(&send(&destination).await), ["Rejected Recipient"; 3], "{name}");
    }
    let outcomes = send(&destination).await;
    assert_eq!(words(&outcomes), expected(at, class, lmtp, pipelining), "{name}: {outcomes:?}");
    destination.rest().await;
    let log = server.log();
    if outcomes.iter().any(Outcome::is_delivered) {
        assert_eq!(log.arrived.len(), 1, "{name}: claimed, and the server does not have it");
    }
    for outcome in &outcomes {
        match outcome {
            Outcome::Delivered(reply) => assert_eq!(reply.code / 100, 2, "{name}"),
            // What may be there must not be called undelivered without a word of the server.
            Outcome::Deferred(d) | Outcome::Rejected(d) => assert!(log.arrived.is_empty() || d.reply.is_some(), "{name}: {d}"),
            Outcome::Unknown(_) => assert!(!log.arrived.is_empty(), "{name}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_35_each_reply_at_each_step() {
    use Class::*;
    let classes = [Odd2xx, Odd3xx, Later, Never, GoingAway, Garbage, Partial, Drop, Premature, MultiLine, MultiLineNever, Silence];
    let steps = [At::Banner, At::Hello, At::Mail, At::Rcpt(0), At::Rcpt(1), At::Rcpt(2), At::Data, At::Dot, At::Rset, At::Quit];
    for lmtp in [false, true] {
        for pipelining in [false, true] {
            // All at once: the silent ones take their time.
            let cells = steps.iter().flat_map(|at| classes.map(|class| cell(*at, class, lmtp, pipelining)));
            join_all(cells).await;
        }
    }
}

/// Every mixture of replies to three RCPTs, with SMTP and LMTP.
#[tokio::test(flavor = "multi_thread")]
async fn row_35_each_mixture_at_rcpt() {
    let replies = [
        ("250 ok", "Delivered"),
        ("252 perhaps", "Delivered"),
        ("450 4.7.1 greylisted", "Deferred Recipient"),
        ("550 5.1.1 unknown", "Rejected Recipient"),
        ("552 5.2.2 full", "Deferred Recipient"),
        ("554 5.7.1 not from you", "Rejected Message"),
    ];
    for lmtp in [false, true] {
        for pipelining in [false, true] {
            for a in replies {
                join_all(replies.iter().flat_map(|b| replies.iter().map(move |c| (*b, *c))).map(async |(b, c)| {
                    let said = [a.0, b.0, c.0];
                    let server = Server::new(lmtp).extensions(if pipelining { &["PIPELINING"] } else { &["X"] });
                    let server = server.rule(move |seen| if seen.step == Step::Rcpt { say(&format!("{}\r\n", said[seen.nth % 3])) } else { None });
                    let outcomes = send(&destination(lmtp, server.listen().await, LIMITS)).await;
                    assert_eq!(words(&outcomes), [a.1, b.1, c.1], "{lmtp} {pipelining} {said:?}");
                    let accepted = said.iter().filter(|said| said.starts_with('2')).count();
                    // The peer notes what it took once its answer is out: the client may be faster.
                    for _ in 0..500 {
                        if accepted == 0 || !server.log().taken.is_empty() {
                            break;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                    let taken = server.log().taken;
                    assert_eq!(taken.iter().map(|(recipients, _)| recipients.len()).sum::<usize>(), accepted, "{said:?}");
                    assert_eq!(taken.len(), usize::from(accepted > 0), "{said:?}");
                }))
                .await;
            }
        }
    }
}

/// The rows of the table that are about single replies to RCPT.
#[tokio::test]
async fn each_reply_to_one_rcpt() {
    for (said, expected) in [
        ("251 will forward", "Delivered"),
        ("451 4.7.1 greylisted", "Deferred Recipient"),
        ("452 4.2.2 full", "Deferred Recipient"),
        ("551 moved", "Rejected Recipient"),
        ("553 5.1.3 bad", "Rejected Recipient"),
        ("552 full", "Deferred Recipient"),
        ("552 5.3.4 too big", "Rejected Message"),
        ("550 5.7.1 policy", "Rejected Message"),
        ("550 relay not permitted", "Rejected Message"),
        ("530 5.7.0 log in first", "Deferred Target"),
        ("503 5.5.1 bad sequence", "Deferred Target"),
    ] {
        for lmtp in [false, true] {
            let server =
                Server::new(lmtp).rule(move |seen| if (seen.step, seen.nth) == (Step::Rcpt, 1) { say(&format!("{said}\r\n")) } else { None });
            let outcomes = send(&destination(lmtp, server.listen().await, LIMITS)).await;
            assert_eq!(words(&outcomes), ["Delivered", expected, "Delivered"], "{said}");
        }
    }
    // A batch that is too large is split at once: everybody has it after one delivery.
    let server = Server::new(false).rule(|seen| match (seen.step, seen.nth) {
        (Step::Rcpt, 1 | 2) => say("452 4.5.3 too many recipients\r\n"),
        _ => None,
    });
    assert_eq!(words(&send(&destination(false, server.listen().await, LIMITS)).await), ["Delivered"; 3]);
    assert_eq!(server.log().taken.iter().map(|(recipients, _)| recipients.len()).collect::<Vec<_>>(), [1, 2]);
}

/// Every mixture of three replies to LMTP's final dot, and every number of them that is too small.
#[tokio::test(flavor = "multi_thread")]
async fn row_36_each_mixture_behind_lmtps_dot() {
    let replies = [
        ("250 2.0.0 saved", "Delivered"),
        ("451 4.2.0 later", "Deferred Recipient"),
        ("554 5.6.0 never", "Rejected Message"),
        ("552 5.2.2 full", "Deferred Recipient"),
        ("550 5.1.1 gone", "Rejected Recipient"),
    ];
    for pipelining in [false, true] {
        for a in replies {
            join_all(replies.iter().flat_map(|b| replies.iter().map(move |c| (*b, *c))).map(async |(b, c)| {
                let (said, words_of) = ([a.0, b.0, c.0], [a.1, b.1, c.1]);
                for complete in 0..=3 {
                    let mut text: String = said[..complete].iter().map(|said| format!("{said}\r\n")).collect();
                    // The next one is begun and cut off.
                    text.push_str(if complete < 3 { "25" } else { "" });
                    let server = Server::new(true).extensions(if pipelining { &["PIPELINING"] } else { &["X"] });
                    let server = server.rule(move |seen| if seen.step == Step::Dot { say(&text) } else { None });
                    let outcomes = send(&destination(true, server.listen().await, LIMITS)).await;
                    for (position, outcome) in outcomes.iter().enumerate() {
                        let expected = if position < complete { words_of[position] } else { "Unknown" };
                        assert_eq!(word(outcome), expected, "{said:?} {complete} of 3");
                    }
                }
            }))
            .await;
        }
    }
}

/// Row 38: a null sender is refused like any other; nothing is sent in its place.
#[tokio::test]
async fn row_38_a_null_sender_is_refused() {
    for (step, said, expected) in [
        (Step::Mail, "550 5.7.1 no bounces\r\n", "Rejected Message"),
        (Step::Mail, "451 later\r\n", "Deferred Message"),
        (Step::Rcpt, "550 5.7.1 no bounces\r\n", "Rejected Message"),
        (Step::Dot, "554 5.7.1 no bounces\r\n", "Rejected Message"),
    ] {
        let server = Server::new(false).rule(move |seen| if seen.step == step { say(said) } else { None });
        let destination = destination(false, server.listen().await, LIMITS);
        let mut bounce = envelope(&RECIPIENTS[..1]);
        bounce.sender = ReversePath::Null;
        let outcomes = destination.deliver(&bounce, &message(1, "Subject: t\r\n\r\nhello\r\n")).await;
        assert_eq!(words(&outcomes), [expected], "{step:?} {said}");
        let senders: Vec<String> = server.log().steps.into_iter().filter(|seen| seen.step == Step::Mail).map(|seen| seen.line).collect();
        assert!(senders.len() == 1 && senders[0].starts_with("MAIL FROM:<> "), "{senders:?}");
    }
}

/// Row 53: greylisted three times, then taken: the same envelope and hello each time (RFC 6647), delivered once.
#[tokio::test]
async fn row_53_greylisting() {
    for lmtp in [false, true] {
        let tries = Arc::new(AtomicUsize::new(0));
        let server = Server::new(lmtp).rule({
            let tries = tries.clone();
            move |seen| match seen.step {
                Step::Rcpt if tries.fetch_add(1, Ordering::SeqCst) < 9 => say("450 4.7.1 greylisted\r\n"),
                _ => None,
            }
        });
        let destination = destination(lmtp, server.listen().await, LIMITS);
        for expected in ["Deferred Recipient", "Deferred Recipient", "Deferred Recipient", "Delivered"] {
            assert_eq!(words(&send(&destination).await), [expected; 3]);
            assert_eq!(destination.down(), None, "it is not the target");
            // As after the pause between two tries.
            destination.rest().await;
        }
        let lines = |step| server.log().steps.into_iter().filter(move |seen| seen.step == step).map(|seen| seen.line);
        assert_eq!((lines(Step::Hello).count(), lines(Step::Mail).count(), lines(Step::Rcpt).count()), (4, 4, 12));
        for (step, different) in [(Step::Hello, 1), (Step::Mail, 1), (Step::Rcpt, 3)] {
            assert_eq!(lines(step).collect::<std::collections::BTreeSet<_>>().len(), different, "{step:?}");
        }
        assert_eq!(server.log().taken.len(), 1);
    }
}

/// Row 64: what the server lacks is not used, and what it refuses in spite of its offer is a refusal like any other.
#[tokio::test]
async fn row_64_servers_that_lack_something() {
    let all = ["PIPELINING", "8BITMIME", "SIZE 1000000", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];
    let parameters = ["", " BODY=8BITMIME", " SIZE=", " SMTPUTF8", "", " RET=HDRS"];
    let utf8 = ["раз@y.example", "b@y.example"];
    let body = message(1, "Subject: t\r\n\r\n\u{e4}\r\n");
    for lmtp in [false, true] {
        for (lacking, parameter) in all.iter().zip(parameters) {
            let offered: Vec<&str> = all.iter().copied().filter(|keyword| keyword != lacking).collect();
            let server = Server::new(lmtp).extensions(&offered);
            let outcomes = destination(lmtp, server.listen().await, LIMITS).deliver(&envelope(&utf8), &body).await;
            let first = if *lacking == "SMTPUTF8" { "Rejected Recipient" } else { "Delivered" };
            assert_eq!(words(&outcomes), [first, "Delivered"], "without {lacking}");
            let line = server.log().steps.into_iter().find(|seen| seen.step == Step::Mail).unwrap().line;
            assert!(parameter.is_empty() || !line.contains(parameter), "without {lacking}: {line}");
            for (other, parameter) in all.iter().zip(parameters).filter(|(other, _)| *other != lacking) {
                // SMTPUTF8 is said only where it is needed: for the first recipient.
                assert!(line.contains(parameter), "{other} is offered: {line}");
            }
            assert!(server.log().taken[0].1.ends_with("\u{e4}\r\n".as_bytes()), "8-bit goes out all the same");
        }
    }
    // Blank and odd lines in the offer; only HELO; nothing at all.
    for offered in [&["", " ", "\t  \t", "PIPELINING"][..], &["   "], &[""], &["=", "SIZE x", "AUTH", "8BITMIME 8BITMIME"]] {
        for lmtp in [false, true] {
            let server = Server::new(lmtp).extensions(offered);
            assert_eq!(words(&send(&destination(lmtp, server.listen().await, LIMITS)).await), ["Delivered"; 3], "{offered:?}");
        }
    }
    for refusal in ["500 what\r\n", "502 5.5.1 no\r\n", "550 no\r\n", "554-no\r\n554 no\r\n"] {
        let server = Server::new(false).rule(move |seen| if seen.line.starts_with("EHLO") { say(refusal) } else { None });
        assert_eq!(words(&send(&destination(false, server.listen().await, LIMITS)).await), ["Delivered"; 3], "{refusal}");
        let lines: Vec<String> = server.log().steps.into_iter().map(|seen| seen.line).filter(|line| line.starts_with("MAIL")).collect();
        assert_eq!(lines, ["MAIL FROM:<s@x.example>"]);
    }
    // Advertised, and then refused.
    for (step, refused, said, expected) in [
        (Step::Mail, " SIZE=", "555 5.5.4 unknown parameter\r\n", "Rejected Message"),
        (Step::Mail, " BODY=8BITMIME", "501 5.5.4 syntax\r\n", "Rejected Message"),
        (Step::Mail, " SMTPUTF8", "550 5.6.7 no\r\n", "Rejected Message"),
        (Step::Mail, " SIZE=", "552 5.3.4 too big\r\n", "Rejected Message"),
        (Step::Rcpt, " NOTIFY=", "501 5.5.4 syntax\r\n", "Rejected Recipient"),
        (Step::Mail, " SIZE=", "452 4.3.1 no space\r\n", "Deferred Message"),
    ] {
        let server =
            Server::new(false).extensions(&all).rule(move |seen| if seen.step == step && seen.line.contains(refused) { say(said) } else { None });
        let outcomes = destination(false, server.listen().await, LIMITS).deliver(&envelope(&utf8), &body).await;
        assert_eq!(words(&outcomes), [expected; 2], "{refused} {said}");
        assert!(server.log().arrived.is_empty());
    }
}
