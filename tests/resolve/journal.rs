//! Journal reports (stage 0): those of Exchange, Microsoft 365 and Google as they come, forged ones, and whatever else there may be.

use super::canonical;
use bytes::Bytes;
use mailgather::mail::*;
use mailgather::resolve::*;

mod places;
mod whatever_octets;

const JOURNAL: &str = "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example";

/// An on-premises report: 7bit text, no X-MS-Journal-Report.
const EXCHANGE: &str = "\
Received: from EX1.corp.example (10.0.0.5) by mx.provider.example (10.0.0.9) with Microsoft SMTP Server id 15.2.1118.40; Mon, 16 Nov 2026 10:00:01 +0300
From: Microsoft Exchange <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example>
To: journal@corp.example
Date: Mon, 16 Nov 2026 10:00:00 +0300
Content-Type: multipart/mixed; boundary=\"_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_\"
MIME-Version: 1.0
Message-ID: <report-1@journal.report.generator>
Subject: Order 17

--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_
Content-Type: text/plain; charset=\"us-ascii\"
Content-Transfer-Encoding: 7bit

Sender: klient@sender.example
On-Behalf-Of: chief@sender.example
Subject: Order 17
Message-Id: <17@sender.example>
To: anna@corp.example
Cc: vera@corp.example, Expanded: team@corp.example
Recipient: grisha@corp.example, Forwarded: anna@corp.example
Bcc: boris@corp.example
Recipient: Anna@corp.example
Recipient: anna@corp.example

--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_
Content-Type: message/rfc822

Received: from out.sender.example (203.0.113.7) by EX1.corp.example (10.0.0.5) with Microsoft SMTP Server; Mon, 16 Nov 2026 10:00:00 +0300
From: klient@sender.example
To: anna@corp.example, team@corp.example
Subject: Order 17
Message-ID: <17@sender.example>
Content-Type: multipart/alternative; boundary=\"_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_inner\"

--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_inner
Content-Type: text/plain

Recipient: forged@corp.example
--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_inner--

--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_--
";

/// Microsoft 365: UTF-8 in quoted-printable, X-MS-Journal-Report, the null reverse-path.
const MICROSOFT_365: &str = "\
Return-Path: <>
Received: from EUR01.outbound.protection.outlook.com (mail.outbound.protection.outlook.com [203.0.113.9])
\tby mx.provider.example (Postfix) with ESMTPS id 4Xy; Mon, 16 Nov 2026 10:00:01 +0300
From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@CORP.example>
To: <journal@archive.example>
Subject: =?utf-8?B?0JfQsNC60LDQtyAxNw==?=
X-MS-Journal-Report:
Content-Type: multipart/mixed;
\tboundary=\"_004_DB9PR01MB1journalreportgenerator_\"; type=\"text/plain\"
MIME-Version: 1.0

This is a multi-part message.
--_004_DB9PR01MB1journalreportgenerator_
Content-Type: text/plain; charset=\"utf-8\"
Content-Transfer-Encoding: quoted-printable

Sender: klient@sender.example
Subject: =D0=97=D0=B0=D0=BA=D0=B0=D0=B7 17
Message-Id: <17@sender.example>
Recipient: anna@corp.example, Expanded: =\r
team@corp.example
Recipient: boris=40corp.example
Recipient: =D1=80=D0=B0=D0=B7@xn--80a1acny.xn--p1ai
Label: none
SentUtc: 11/16/2026 7:00:00 AM

--_004_DB9PR01MB1journalreportgenerator_
Content-Type: message/rfc822
Content-Disposition: attachment
Content-Transfer-Encoding: 8bit

From: klient@sender.example
To: anna@corp.example
Subject: Заказ 17
Message-ID: <17@sender.example>

текст
--_004_DB9PR01MB1journalreportgenerator_--
";

fn journal(kind: JournalKind) -> Journal {
    Journal { kind, from: JOURNAL.parse().unwrap(), hosts: Vec::new() }
}

fn block(header: &HeaderBlock) -> TrustedBlock {
    TrustedBlock::find(header, &Trust::automatic("imap.provider.example"))
}

fn scanner(message: &Bytes) -> Option<JournalScanner> {
    let header = HeaderBlock::parse(message.clone());
    JournalScanner::new(&header, &block(&header), &journal(JournalKind::Exchange))
}

fn scan(message: &Bytes, piece: usize) -> Option<Result<Report, &'static str>> {
    let mut scanner = scanner(message)?;
    let start = HeaderBlock::parse(message.clone()).body_start();
    message[start..].chunks(piece).for_each(|piece| scanner.push(piece));
    Some(scanner.finish())
}

/// Recipients, and the original.
fn opened(text: &str) -> Result<(Vec<String>, String), &'static str> {
    let message = canonical(text.as_bytes());
    let report = scan(&message, 4096).expect("taken for ordinary mail")?;
    let original = &message[report.original.start as usize..report.original.end as usize];
    Ok((report.recipients.iter().map(|address| address.to_string()).collect(), String::from_utf8_lossy(original).replace("\r\n", "\n")))
}

#[test]
fn an_exchange_report_is_opened() {
    let (recipients, original) = opened(EXCHANGE).unwrap();
    assert_eq!(
        recipients,
        ["anna@corp.example", "vera@corp.example", "grisha@corp.example", "boris@corp.example", "Anna@corp.example"],
        "neither the list, nor who forwarded, nor the sender, nor what the original says"
    );
    assert!(original.starts_with("Received: from out.sender.example"), "{original}");
    assert!(original.ends_with("\n--_c5b5e34e-0c1f-4f3c-9a1a-6c6fc9a6c0a5_inner--\n"), "{original}");
    let message = canonical(EXCHANGE.as_bytes());
    assert_eq!(scan(&message, 1).unwrap().unwrap().sender, Some("klient@sender.example".parse().unwrap()));
}

#[test]
fn a_microsoft_365_report_is_opened() {
    let (recipients, original) = opened(MICROSOFT_365).unwrap();
    assert_eq!(recipients, ["anna@corp.example", "boris@corp.example", "раз@почта.рф"]);
    assert!(original.starts_with("From: klient@sender.example\n") && original.ends_with("\n\nтекст\n"), "{original}");
}

#[test]
fn the_text_may_be_encoded() {
    let lines = "Sender: <>\r\nRecipient: anna@corp.example\r\nBcc:\r\n";
    let base64 = "U2VuZGVyOiA8Pg0KUmVjaXBpZW50OiBhbm5hQGNv\ncnAuZXhhbXBsZQ0KQmNjOg0K";
    let plain = MICROSOFT_365.split("Sender: klient").next().unwrap();
    let rest = "\n--_004_DB9PR01MB1journalreportgenerator_\nContent-Type: message/rfc822\n\nA: 1\n\nx\n--_004_DB9PR01MB1journalreportgenerator_--\n";
    for (encoding, text) in [("quoted-printable", lines), ("7bit", lines), ("8BIT", lines), ("binary", lines), ("Base64 (a comment)", base64)] {
        let report = format!("{}{text}{rest}", plain.replace("quoted-printable", encoding));
        assert_eq!(opened(&report), Ok((vec!["anna@corp.example".into()], "A: 1\n\nx\n".into())), "{encoding}");
    }
    let report = format!("{}{lines}{rest}", plain.replace("quoted-printable", "x-uuencode"));
    assert_eq!(opened(&report), Err("the text of the journal report has an unknown encoding"));
    // No header at all: text/plain, 7bit (RFC 2045 §5.2).
    let report = format!("{}--_004_DB9PR01MB1journalreportgenerator_\n\n{lines}{rest}", plain.split("This is").next().unwrap());
    assert!(opened(&report).is_ok());
}

#[test]
fn the_original_keeps_its_last_line() {
    for (attached, want) in [
        ("A: 1\n\ntext\n", "A: 1\n\ntext\n"),
        ("A: 1\n\ntext\n\n", "A: 1\n\ntext\n"),
        ("A: 1\n\ntext\n\n\n", "A: 1\n\ntext\n\n"),
        ("A: 1\n", "A: 1\n"),
        ("A: 1\n\n", "A: 1\n"),
        ("A: 1\n\n\n", "A: 1\n\n"),
        ("text only\n", "text only\n"),
    ] {
        let report = attach(attached, "");
        assert_eq!(opened(&report).map(|(_, original)| original), Ok(want.into()), "{attached:?}");
    }
}

/// A report with this attached, and these fields in the part's header.
fn attach(attached: &str, fields: &str) -> String {
    let (head, _) = MICROSOFT_365.split_once("Content-Type: message/rfc822").unwrap();
    format!("{head}Content-Type: Message/RFC822; name=\"x.eml\"\n{fields}\n{attached}--_004_DB9PR01MB1journalreportgenerator_--\n")
}

#[test]
fn what_is_not_whole_is_an_error() {
    let boundary = "--_004_DB9PR01MB1journalreportgenerator_";
    let (text, _) = MICROSOFT_365.rsplit_once("\n--_004").unwrap();
    let second = format!("{text}\n{boundary}\nContent-Type: message/rfc822\n\nA: 2\n{boundary}--\n");
    for (report, why) in [
        (attach("", ""), "the message in the journal report is empty"),
        (attach("\n", ""), "the message in the journal report is empty"),
        (attach("QTogMQ==\n", "Content-Transfer-Encoding: base64\n"), "the message in the journal report is encoded"),
        (attach("A=3A 1\n", "Content-Transfer-Encoding: quoted-printable\n"), "the message in the journal report is encoded"),
        (attach("A: 1\n", "Content-Transfer-Encoding: x\n"), "the message in the journal report is encoded"),
        (second, "the journal report has more than one message attached"),
        (format!("{text}\n"), "the journal report is cut off"),
        (format!("{text}\n{boundary}\n"), "the journal report is cut off"),
        (format!("{text}\n{boundary}-\n"), "the journal report is cut off"),
        (format!("{text}\n{boundary}--x\n"), "the journal report is cut off"),
        (MICROSOFT_365.replace("message/rfc822", "text/rfc822-headers"), "the journal report has no message attached"),
        (MICROSOFT_365.replace("text/plain; charset", "text/html; charset"), "the journal report does not start with a text"),
        (MICROSOFT_365.replace("Recipient:", "Recipients:"), "the journal report names no recipient"),
        (MICROSOFT_365.replace("boris=40", "boris="), "the journal report names a recipient that cannot be read"),
        (MICROSOFT_365.replace("boris=40corp", "boris=40corp.example c=40corp"), "the journal report names a recipient that cannot be read"),
        (MICROSOFT_365.replace("Label:", &"Bcc: x@b.example\n".repeat(40_000)), "the text of the journal report is too long"),
        (MICROSOFT_365.replace("Label:", &"x".repeat(70_000)), "the text of the journal report is too long"),
        (
            MICROSOFT_365.replace("Label:", &(0..=1_000).map(|n| format!("Bcc: {n}@b.example\n")).collect::<String>()),
            "the journal report names too many recipients",
        ),
        (MICROSOFT_365.replace("boundary=\"_004", "boundary=\"_005"), "the journal report is cut off"),
    ] {
        assert_eq!(opened(&report), Err(why));
    }
    let parts = format!("{text}\n{}{boundary}--\n", format!("{boundary}\n\nfooter\n").repeat(200));
    assert_eq!(opened(&parts), Err("the journal report has too many parts"));
    let footer = format!("{text}\n{boundary}\n\nRecipient: z@corp.example\n{boundary} \t\n{boundary}--  \nepilogue\n{boundary}\n");
    assert_eq!(opened(&footer), opened(MICROSOFT_365), "a footer that a gateway appended");
}

#[test]
fn only_the_journals_sender_is_believed() {
    let from = "From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@CORP.example>";
    for (what, report) in [
        ("another sender", MICROSOFT_365.replace(from, "From: <evil@evil.example>")),
        ("two senders", MICROSOFT_365.replace(from, &format!("{from}, <evil@evil.example>"))),
        ("two From fields", MICROSOFT_365.replace(from, &format!("{from}\nFrom: evil@evil.example"))),
        ("From twice, the second his", MICROSOFT_365.replace(from, &format!("From: evil@evil.example\n{from}"))),
        ("the name of the sender only", MICROSOFT_365.replace(from, &format!("From: \"{JOURNAL}\" <evil@evil.example>"))),
        ("a comment", MICROSOFT_365.replace(from, &format!("From: evil@evil.example ({JOURNAL})"))),
        ("no From", MICROSOFT_365.replace(from, "X: y")),
        ("the sender in Sender", MICROSOFT_365.replace("From: <M", "Sender: <M")),
        ("another reverse-path", MICROSOFT_365.replace("Return-Path: <>", "Return-Path: <evil@evil.example>")),
        ("a strange reverse-path", MICROSOFT_365.replace("Return-Path: <>", "Return-Path: root")),
        ("no multipart", MICROSOFT_365.replace("multipart/mixed", "text/plain")),
        ("a bounce from there", MICROSOFT_365.replace("multipart/mixed", "multipart/report")),
        ("no boundary", MICROSOFT_365.replace("boundary=", "x=")),
        ("an empty boundary", MICROSOFT_365.replace("boundary=\"_004_DB9PR01MB1journalreportgenerator_\"", "boundary=\"\"")),
        ("two boundaries", MICROSOFT_365.replace("; type=\"text/plain\"", "; boundary=\"x\"")),
        ("two types", MICROSOFT_365.replace("MIME-Version", "Content-Type: multipart/mixed; boundary=x\nMIME-Version")),
        ("a boundary without end", MICROSOFT_365.replace("boundary=\"_004", &format!("boundary=\"{}_004", "x".repeat(200)))),
    ] {
        assert!(scanner(&canonical(report.as_bytes())).is_none(), "{what}");
    }
    for (what, report) in [
        ("its own reverse-path", MICROSOFT_365.replace("Return-Path: <>", &format!("Return-Path: <{}>", JOURNAL.to_lowercase()))),
        ("none", MICROSOFT_365.replace("Return-Path: <>\n", "")),
        (
            "one that a sender may have written",
            MICROSOFT_365.replace("Return-Path: <>\n", "").replace("MIME-Version", "Return-Path: <x@y.example>\nMIME-Version"),
        ),
        (
            "a boundary as a token",
            MICROSOFT_365
                .replace("boundary=\"_004_DB9PR01MB1journalreportgenerator_\"", "BOUNDARY = _004_DB9PR01MB1journalreportgenerator_ (c; boundary=x)"),
        ),
    ] {
        assert!(opened(&report).is_ok(), "{what}");
    }
    let header = HeaderBlock::parse(canonical(EXCHANGE.as_bytes()));
    assert!(JournalScanner::new(&header, &block(&header), &journal(JournalKind::Google)).is_none(), "another kind of journal");
}

/// From is the sender's word: what tells a report is the host that it came from.
#[test]
fn a_report_from_elsewhere_is_ordinary_mail() {
    let (_, body) = MICROSOFT_365.split_once("From:").unwrap();
    let rules = |kind, hosts: &[&str], hops| Rules {
        journal: Some(Journal { hosts: hosts.iter().map(|host| host.to_string()).collect(), ..journal(kind) }),
        server_host: "imap.provider.example".into(),
        domains: ["corp.example".parse().unwrap()].into(),
        trusted_hops: hops,
        ..Rules::default()
    };
    // The header above From; hosts; the verdict: empty if the report is opened.
    let evil = "Received: from x (rdns.evil.example [203.0.113.7]) by mx.provider.example with ESMTPS id 1; d\n";
    let from = |peer: &str| format!("Received: from x ({peer}) by mx.provider.example with ESMTPS id 1; d\n");
    let name_it = |host: &str| format!("it came from {host}; name it in journal_hosts");
    let below = "Received: from a (a.example [198.51.100.1]) by elsewhere.example with ESMTP id 2; d\n";
    let logged_in = "it came from a user who logged in to send, or by a Received field into which a sender may have written".to_owned();
    let unknown = "it did not come through a trusted host (see trusted_hosts, trusted_hops)".to_owned();
    let nameless = "it came from 203.0.113.7, which has no verified name that journal_hosts could hold; see trusted_hosts".to_owned();
    let private = |by: &str| format!("Received: from x (y [10.0.0.5]) by {by} with ESMTP id 1; d\n");
    for (above, hosts, want) in [
        (evil.to_owned(), &[][..], name_it("rdns.evil.example")),
        (evil.to_owned(), &["evil.example"], String::new()),
        (evil.to_owned(), &[".evil.example"], String::new()),
        (evil.to_owned(), &[".rdns.evil.example"], name_it("rdns.evil.example")),
        (from("mail.outbound.protection.outlook.com [203.0.113.7]"), &[], String::new()),
        (from("mail.outbound.protection.outlook.com.evil.example [203.0.113.7]"), &[], name_it("mail.outbound.protection.outlook.com.evil.example")),
        (from("ex1.corp.example [203.0.113.7]"), &[], String::new()),
        (from("ex1.corp.example [203.0.113.7] (may be forged)"), &[], nameless.clone()),
        (from("dsl-17.corp.example [203.0.113.7]"), &[], name_it("dsl-17.corp.example")),
        (from("dsl-17.corp.example [203.0.113.7]"), &["corp.example"], String::new()),
        (from("ex1.corp.example [203.0.113.7]"), &["outlook.com"], name_it("ex1.corp.example")),
        (from("mx2.provider.example [203.0.113.7]"), &[], name_it("mx2.provider.example")),
        (from("unknown [203.0.113.7]"), &["203.0.113.7"], nameless.clone()),
        // HELO is the sender's word too.
        ("Received: from mail.outlook.com ([203.0.113.7]) by mx.provider.example with ESMTPS id 1; d\n".into(), &[], nameless.clone()),
        (
            "Received: from x ([10.0.0.1]) by mx.provider.example (rdns.evil.example [203.0.113.7]) by mx.provider.example with ESMTP; d\n".into(),
            &[],
            unknown.clone(),
        ),
        // Made inside, and nowhere else.
        (private("mx.provider.example"), &[], String::new()),
        (format!("{}{}", private("mx.provider.example"), private("mx2.provider.example")), &[], String::new()),
        ("Received: from mx.provider.example by store.provider.example with LMTP id 1; d\n".into(), &[], String::new()),
        ("Received: by store.provider.example id 1; d\n".into(), &[], String::new()),
        // Handed over inside, and from where, nobody knows.
        (format!("{}{below}", private("mx.provider.example")), &[], "it came from y; name it in journal_hosts".into()),
        (
            format!("Received: from mx.filter.example by store.provider.example with LMTP id 1; d\n{below}"),
            &[],
            "it came through store.provider.example, and nothing trusted says from where; see trusted_hosts".into(),
        ),
        (format!("{}{evil}", private("mx.provider.example")), &[], name_it("rdns.evil.example")),
        // What a sender wrote below the border does not help.
        (format!("{evil}{}", private("mx.provider.example")), &[], name_it("rdns.evil.example")),
        (format!("{evil}{}", from("mail.outlook.com [203.0.113.9]")), &[], name_it("rdns.evil.example")),
        // Users of the provider.
        ("Received: from x (y [10.0.0.5]) by mx.provider.example with ESMTPSA id 1; d\n".into(), &[], logged_in.clone()),
        ("Received: by web.provider.example (Postfix, from userid 33) id 1; d\n".into(), &[], logged_in.clone()),
        ("Received: by web.provider.example with HTTP; d\n".into(), &[], logged_in.clone()),
        // Not the provider's fields.
        (below.to_owned(), &["a.example"], unknown.clone()),
        // No server of SMTP had it in hand.
        (String::new(), &[], String::new()),
    ] {
        let header = HeaderBlock::parse(canonical(format!("{above}From:{body}").as_bytes()));
        let rules = rules(JournalKind::Exchange, hosts, None);
        let opened = matches!(journal::recognise(&header, &rules), journal::Recognised::Report(_));
        assert_eq!(opened, want.is_empty(), "{hosts:?}\n{above}");
        let (_, trail) = resolve(&header, &rules);
        let line = format!("journal report not opened: {want}");
        if !opened {
            assert!(trail.to_text().contains(&line) && trail.to_line().contains(&line), "{line}\n{}{}", trail.to_text(), trail.to_line());
            assert_eq!(trail.steps()[0].decision.code(), "journal_not_opened");
        }
        // What does not claim to be a report is not spoken of, and neither is another's.
        let ordinary = HeaderBlock::parse(canonical(format!("{above}From: a@b.example\n\nx\n").as_bytes()));
        assert!(!resolve(&ordinary, &rules).1.to_text().contains("journal report"), "{above}");
    }
    // Google: the same, and From or Return-Path as before. Where the operator counts, the last that counts tells.
    let google = |above: &str, hops| {
        let header = HeaderBlock::parse(canonical(format!("{above}From: {JOURNAL}\nX-Gm-Original-To: anna@corp.example\n\nx\n").as_bytes()));
        let rules = rules(JournalKind::Google, &[], hops);
        let opened = matches!(journal::recognise(&header, &rules), journal::Recognised::Named(_));
        assert_eq!(opened, !resolve(&header, &rules).1.to_text().contains("journal report not opened"));
        opened
    };
    let of_google = from("mail-sor-f41.google.com [203.0.113.41]");
    assert!(google(&of_google, None) && google(&format!("{of_google}{evil}"), Some(1)));
    assert!(!google(evil, None) && !google(&format!("{of_google}{evil}"), Some(2)) && !google(&from("a.outlook.com [203.0.113.41]"), None));
    assert!(!google(&format!("{}{below}", private("x")), Some(1)) && google(&private("x"), Some(1)));
}

#[test]
fn google_names_the_recipients_in_the_message_itself() {
    let google = |from: &str, path: &str, to: &[&str]| {
        let to: String = to.iter().map(|to| format!("X-Gm-Original-To: {to}\n")).collect();
        let text = format!(
            "Return-Path: {path}\nReceived: from mail-sor-f41.google.com (mail-sor-f41.google.com [203.0.113.41]) by mx.provider.example with ESMTPS id 1; d\n\
             {to}From: {from}\nTo: anna@corp.example\nSubject: x\n\nbody\n"
        );
        let header = HeaderBlock::parse(canonical(text.as_bytes()));
        let found = google_recipients(&header, &block(&header), &journal(JournalKind::Google));
        assert_eq!(google_recipients(&header, &block(&header), &journal(JournalKind::Exchange)), None);
        found.map(|found| found.iter().map(|address| address.to_string()).collect::<Vec<_>>())
    };
    let both = vec!["anna@corp.example".to_owned(), "boris@corp.example".to_owned()];
    let to = &["anna@corp.example", "boris@corp.example", "<anna@corp.example>"];
    for (from, path, to, want) in [
        ("klient@sender.example", JOURNAL, &to[..], Some(both.clone())),
        (JOURNAL, "<>", to, Some(both.clone())),
        (JOURNAL, "<x@y.example>", to, Some(both)),
        ("klient@sender.example", "<klient@sender.example>", to, None),
        ("klient@sender.example", "<>", to, None),
        (JOURNAL, JOURNAL, &[], None),
        (JOURNAL, JOURNAL, &["rubbish"], None),
    ] {
        assert_eq!(google(from, path, to), want, "{from} {path} {to:?}");
    }
    let many: Vec<String> = (0..1_500).map(|n| format!("u{n}@corp.example")).collect();
    assert_eq!(google(JOURNAL, "<>", &[&many[..900].join(","), &many[900..].join(",")]).unwrap().len(), 1_001, "one too many is too many");
}
