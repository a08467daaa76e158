//! Messages that hurt, messages as people get them, and the documented line-end rule written down a second time, slowly.

use fastrand::Rng;

/// The documented rule: each CRLF, bare LF and bare CR is a line end and becomes CRLF, as is a short run of CRs with its LF; NUL octets go; what
/// is not empty ends with CRLF.
/// Octet by octet, so that it can be checked by reading it.
pub fn canonical(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'\r' => {
                let crs = raw[at..].iter().take_while(|&&octet| octet == b'\r').count();
                let with_lf = raw.get(at + crs) == Some(&b'\n');
                out.extend(b"\r\n".repeat(if with_lf { crs.saturating_sub(15).max(1) } else { crs }));
                at += if with_lf { crs } else { crs - 1 };
            }
            b'\n' => out.extend(b"\r\n"),
            0 => {}
            other => out.push(other),
        }
        at += 1;
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend(b"\r\n");
    }
    out
}

const HEADER: &str = "From: a@remote.example\r\nTo: b@remote.example\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n";

/// A message with the usual header, this subject and this body.
fn with_body(name: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{HEADER}Subject: {name}\r\nMessage-ID: <{name}@corpus.example>\r\n\r\n").into_bytes();
    message.extend_from_slice(body);
    message
}

/// Every hostile shape but for the huge one; the names are unique.
pub fn hostile() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut body = |name: &str, body: &[u8]| all.push((name.to_string(), with_body(name, body)));

    body("plain", b"Hello.\r\n");
    body("dot-lines", b".\r\n..\r\n...\r\n.x\r\n..x\r\n.\r\n");
    body("dot-first", b".first line\r\nsecond\r\n");
    body("dot-last-without-end", b"text\r\n.");
    body("only-a-dot", b".\r\n");
    body("dots-at-buffer-borders", &[vec![b'x'; 8190], b"\r\n.\r\n".to_vec(), vec![b'y'; 65528], b"\r\n..\r\n".to_vec()].concat());
    // Each way to write the two line ends around a lone dot; and what a server that takes it for the end of data would read on: a forged mail.
    let ends: [(&str, &[u8]); 4] = [("crlf", b"\r\n"), ("lf", b"\n"), ("cr", b"\r"), ("crcrlf", b"\r\r\n")];
    for (before_name, before) in ends {
        for (after_name, after) in ends {
            body(&format!("lone-dot-{before_name}-{after_name}"), &[b"before", before, b".", after, b"after\r\n"].concat());
            let forged =
                b"MAIL FROM:<ceo@bank.example>\r\nRCPT TO:<postmaster@example.org>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n.\r\nQUIT\r\n";
            body(&format!("smuggle-{before_name}-{after_name}"), &[b"innocent", before, b".", after, forged].concat());
        }
    }
    for (name, around) in [("nul-dot", &b"\r\n\0.\r\n"[..]), ("dot-nul", b"\r\n.\0\r\n"), ("cr-nul-lf-dot", b"\r\0\n.\r\0\n")] {
        body(&format!("smuggle-{name}"), &[b"innocent", around, b"MAIL FROM:<ceo@bank.example>\r\n"].concat());
    }
    body("bare-lf", b"one\ntwo\n\nthree\r\nfour\n");
    body("bare-cr", b"one\rtwo\r\rthree\r\nfour\r");
    body("mixed-line-ends", b"a\r\nb\nc\rd\n\re\r\r\nf\r\n\nend\n");
    body("nul", b"a\0b\0\0\r\n\0\r\nend\0\r\n");
    body("8-bit-body", "Grüße из Москвы, 日本\r\n".as_bytes());
    body("8-bit-garbage", &[(1u8..=255).filter(|b| !b"\r\n".contains(b)).collect::<Vec<u8>>(), b"\r\n".to_vec()].concat());
    body("control-octets", b"\x01\x02\x07\x08\x0b\x0c\x1b[31m\x7f\r\n");
    body("no-final-newline", b"the last line has no end");
    body("final-cr", b"the last line ends with CR\r");
    body("many-blank-lines", &b"\r\n".repeat(500));
    body("blanks-at-line-ends", b"a \r\nb\t\r\n \r\n\t\r\n");
    body("from-lines", b"From here on\r\n>From there\r\nFrom: not a header\r\n");
    for length in [997, 998, 999, 1000, 2048, 4096, 8192, 1_000_000] {
        body(&format!("line-of-{length}"), &[vec![b'z'; length], b"\r\nend\r\n".to_vec()].concat());
    }
    body("line-of-dots-1000000", &[vec![b'.'; 1_000_000], b"\r\n".to_vec()].concat());
    body("imap-like", b"* 1 FETCH (FLAGS ())\r\na1 OK done\r\n)\r\n{10}\r\n+OK\r\n-ERR\r\n250 ok\r\n");
    body("boundary-without-end", b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhalf a part");

    let mut whole = |name: &str, message: &[u8]| all.push((name.to_string(), message.to_vec()));
    whole("headers-only", format!("{HEADER}Subject: headers-only\r\n").as_bytes());
    whole("headers-only-without-end", format!("{HEADER}Subject: headers-only-without-end").as_bytes());
    whole("no-body", format!("{HEADER}Subject: no-body\r\n\r\n").as_bytes());
    whole("no-header", b"\r\nA message that starts with its body.\r\n");
    whole("no-header-no-blank-line", b"just some words\r\nand some more\r\n.\r\n");
    whole("one-octet", b"x");
    whole("one-dot", b".");
    whole("one-line-end", b"\r\n");
    whole("one-lf", b"\n");
    whole("empty", b"");
    whole("mbox-from", format!("From a@remote.example Sat Nov 21 10:00:00 2026\r\n{HEADER}Subject: mbox-from\r\n\r\nbody\r\n").as_bytes());
    whole(
        "mbox-from-quoted",
        format!(">From a@remote.example Sat Nov 21 10:00:00 2026\r\n{HEADER}Subject: mbox-from-quoted\r\n\r\nbody\r\n").as_bytes(),
    );
    whole("header-line-without-colon", format!("{HEADER}this line is no field\r\nSubject: header-line-without-colon\r\n\r\nbody\r\n").as_bytes());
    whole("byte-order-mark", format!("\u{feff}{HEADER}Subject: byte-order-mark\r\n\r\nbody\r\n").as_bytes());
    whole("8-bit-header", format!("{HEADER}Subject: Приказ о премии\r\nX-Latin: \u{e9}\r\n\r\nbody\r\n").as_bytes());
    let latin1: Vec<u8> = [HEADER.as_bytes(), b"Subject: caf\xe9 \xff\xfe\r\n\r\nbody\r\n"].concat();
    whole("latin-1-header", &latin1);
    whole(
        "lf-only",
        HEADER.replace("\r\n", "\n").as_bytes().iter().chain(b"Subject: lf-only\n\nbody\n.\nend\n").copied().collect::<Vec<u8>>().as_slice(),
    );
    whole(
        "cr-only",
        HEADER.replace("\r\n", "\r").as_bytes().iter().chain(b"Subject: cr-only\r\rbody\r.\rend\r").copied().collect::<Vec<u8>>().as_slice(),
    );
    whole("nul-in-header", format!("{HEADER}Subject: nul\0in\0header\r\n\r\nbody\r\n").as_bytes());
    whole("folded-header", format!("{HEADER}Subject: folded\r\n\theader\r\n  \r\n and more\r\n\r\nbody\r\n").as_bytes());
    whole("starts-with-blank", format!(" leading blank\r\n{HEADER}Subject: starts-with-blank\r\n\r\nbody\r\n").as_bytes());
    whole("empty-field-name", format!("{HEADER}: no name\r\nSubject: empty-field-name\r\n\r\nbody\r\n").as_bytes());
    whole("header-line-of-100000", format!("{HEADER}Subject: {}\r\n\r\nbody\r\n", "s".repeat(100_000)).as_bytes());
    whole("header-of-3000-fields", format!("{HEADER}{}Subject: many fields\r\n\r\nbody\r\n", "X-Filler: y\r\n".repeat(3000)).as_bytes());
    let received = "Received: from a.example by b.example with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000\r\n";
    whole("received-40-times", format!("{}{HEADER}Subject: received-40-times\r\n\r\nbody\r\n", received.repeat(40)).as_bytes());
    let many: String = (0..5000).map(|n| format!("user{n}@remote.example,\r\n ")).collect();
    whole("many-recipients", format!("{HEADER}Cc: {many}last@remote.example\r\nSubject: many-recipients\r\n\r\nbody\r\n").as_bytes());
    whole(
        "hostile-addresses",
        b"From: <a@b>\r\nRCPT TO:<x@y>\r\nReturn-Path: <a@b\r\n c>\r\nTo: \"unclosed <a@b\r\nSubject: hostile-addresses\r\n\r\nbody\r\n",
    );
    whole(
        "own-fields-forged",
        format!("X-Mailgather-Id: forged\r\nX-Mailgather-Collector: forged\r\n{HEADER}Subject: own-fields-forged\r\n\r\nbody\r\n").as_bytes(),
    );
    whole("bare-lf-dot-at-start", b"\n.\r\nMAIL FROM:<ceo@bank.example>\r\n");
    all
}

/// 100 MB with lines of 76 octets, made when it is asked for. No two lines are equal, so that a lost or doubled piece is seen.
pub fn huge() -> (String, Vec<u8>) {
    const OCTETS: usize = 100_000_000;
    let mut message = with_body("huge", b"");
    message.reserve(OCTETS + 80);
    let mut line = 0u64;
    while message.len() < OCTETS {
        let number = format!("{line:016x}");
        message.extend_from_slice(number.as_bytes());
        message.extend_from_slice(&b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"[..]);
        message.extend_from_slice(b"\r\n");
        line += 1;
    }
    ("huge".into(), message)
}

/// Messages as a provider's mailbox holds them: envelope traces on top, plain and multipart, attachments, lists, Cyrillic. The same for each n.
/// `recipient(i)` names the original recipient of message i.
pub fn realistic(n: usize, recipient: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    (0..n).map(|i| realistic_one(i, &recipient(i))).collect()
}

fn realistic_one(i: usize, recipient: &str) -> Vec<u8> {
    let mut rng = Rng::with_seed(0x6d61_696c + i as u64);
    let sender = ["anna", "orders", "newsletter", "j.smith", "no-reply"][rng.usize(..5)];
    let host = ["shop.example", "news.example.org", "corp.example.net", "lists.example.com"][rng.usize(..4)];
    let date = format!("Sat, {:02} Nov 2026 {:02}:{:02}:{:02} +0000", rng.u8(1..28), rng.u8(..24), rng.u8(..60), rng.u8(..60));
    let subject = ["Invoice", "=?UTF-8?B?0J/RgNC40LLQtdGC?=", "Re: the meeting", "Weekly news", "Отчёт за неделю"][rng.usize(..5)];
    let mut m = format!(
        "Return-Path: <{sender}@{host}>\r\nX-Original-To: {recipient}\r\nDelivered-To: box@mail.provider.example\r\n\
         Received: from mx.{host} (mx.{host} [198.51.100.{}])\r\n\tby mx1.provider.example with ESMTPS id {:012x}\r\n\tfor <{recipient}>; {date}\r\n\
         Received: from localhost (localhost [127.0.0.1])\r\n\tby mx.{host} with ESMTP; {date}\r\n\
         From: \"{sender}\" <{sender}@{host}>\r\nTo: {recipient}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{i}.{:016x}@{host}>\r\nMIME-Version: 1.0\r\n",
        rng.u8(1..255),
        rng.u64(..1 << 48),
        rng.u64(..),
    );
    if rng.u8(..4) == 0 {
        m.push_str(&format!("List-Id: <l{}.{host}>\r\nList-Unsubscribe: <https://{host}/u/{:x}>\r\nPrecedence: bulk\r\n", rng.u8(..9), rng.u64(..)));
    }
    let words = |rng: &mut Rng, lines: usize| -> String {
        const WORDS: [&str; 12] = ["the", "order", "of", "привет", "report", "and", "ещё", "delivery", "with", "Grüße", "now", "on"];
        (0..lines).map(|_| (0..rng.usize(3..11)).map(|_| WORDS[rng.usize(..12)]).collect::<Vec<_>>().join(" ") + "\r\n").collect()
    };
    match rng.u8(..3) {
        0 => {
            let lines = rng.usize(3..60);
            m.push_str(&format!("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}", words(&mut rng, lines)));
        }
        1 => {
            let (plain, html) = (words(&mut rng, 10), words(&mut rng, 20));
            m.push_str(&format!(
                "Content-Type: multipart/alternative; boundary=\"=_{i}\"\r\n\r\n--=_{i}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{plain}\
                 --=_{i}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{html}</p>\r\n--=_{i}--\r\n"
            ));
        }
        _ => {
            let text = words(&mut rng, 5);
            let lines = rng.usize(10..800);
            const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let base64: String = (0..lines).map(|_| (0..76).map(|_| char::from(DIGITS[rng.usize(..64)])).collect::<String>() + "\r\n").collect();
            m.push_str(&format!(
                "Content-Type: multipart/mixed; boundary=\"=_{i}\"\r\n\r\n--=_{i}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\
                 --=_{i}\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{base64}--=_{i}--\r\n"
            ));
        }
    }
    m.into_bytes()
}

/// A short message as a provider hands it over: the envelope recipient in X-Original-To, above the provider's own Received. Its subject is
/// `letter N`.
pub fn letter(n: usize, envelope_to: &str) -> Vec<u8> {
    format!(
        "Return-Path: <sender{n}@remote.example>\r\nX-Original-To: {envelope_to}\r\n\
         Received: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby localhost with ESMTP id {n}; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
         From: Sender <sender{n}@remote.example>\r\nTo: list@pop.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBody {n}\r\n"
    )
    .into_bytes()
}
