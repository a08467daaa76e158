//! The real client, for XCLIENT (<https://www.postfix.org/XCLIENT_README.html>): who handed the message to the provider, as the provider saw
//! it. With it the local server judges SPF, block lists and greylists by the sender, not by us.
//!
//! Only the [border](TrustedBlock::border) of the trusted block tells it: the hop that took the message from outside. A wrong answer is worse
//! than none (a spammer would borrow the good name of another host, or ours), so there is none for submitted mail, for hand-overs, for a
//! hop that does not name exactly one peer, and for a peer without a public address.

use crate::mail::{Client, Domain};
use crate::resolve::received::Received;
use crate::resolve::trusted::TrustedBlock;
use std::net::{IpAddr, Ipv4Addr};

/// The client that the provider took the message from, if the trusted header tells.
pub fn client(block: &TrustedBlock) -> Option<Client> {
    let received = &block.border()?.received;
    if received.submitted || received.note || is_inside_exchange(received) {
        return None;
    }
    let esmtp = esmtp(received.with.as_deref())?;
    let (ip, name) = peer(received)?;
    let helo = received.helo.as_deref().or(received.from.as_deref());
    Some(Client { ip: public(ip)?, name: name.as_deref().and_then(domain), helo: helo.and_then(domain), esmtp })
}

/// The one peer that the writing server saw, and the name that it verified.
pub(super) fn peer(received: &Received) -> Option<(IpAddr, Option<String>)> {
    let exim = is_exim(received);
    match &received.peers[..] {
        // Exim puts a name that it verified before the brackets; everybody else has the word of HELO there.
        [peer] if exim => Some((peer.ip, peer.name.clone().or_else(|| received.from.clone()))),
        [peer] => Some((peer.ip, peer.name.clone())),
        // `from [192.0.2.1] (helo=x)`: Exim again, where the peer has no name.
        [] if exim => Some((bracketed(received.from.as_deref()?)?, None)),
        _ => None,
    }
}

/// What `with` says (RFC 3848, RFC 6531 §4.3): true for ESMTP, false for SMTP, `None` for what is neither (HTTP, LMTP, local, MAPI).
fn esmtp(with: Option<&str>) -> Option<bool> {
    let Some(with) = with else { return Some(false) };
    let with = with.to_ascii_uppercase();
    // Exchange writes `with Microsoft SMTP Server`, and has greeted with EHLO since it was born.
    match with.contains("ESMTP") || with.contains("UTF8SMTP") || with == "MICROSOFT" {
        true => Some(true),
        false => with.contains("SMTP").then_some(false),
    }
}

/// Since Exchange 2013 (15.0) only the front end takes mail from outside; the others talk to each other over public addresses at Microsoft 365.
fn is_inside_exchange(received: &Received) -> bool {
    let is = |word: &Option<String>, want: &str| word.as_deref().is_some_and(|word| word.eq_ignore_ascii_case(want));
    is(&received.with, "Microsoft") && received.id.as_deref().is_some_and(|id| id.starts_with("15.")) && !is(&received.via, "Frontend")
}

/// Exim: it alone writes `with` in lower case, and ids of the shape `1sABCD-000000001bC-2d3E` (of 6-6-2 characters before 4.97).
fn is_exim(received: &Received) -> bool {
    let lower = received.with.as_deref().is_some_and(|with| with.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    let shape =
        received.id.as_deref().map(|id| id.split('-').map(|part| if part.bytes().all(|b| b.is_ascii_alphanumeric()) { part.len() } else { 0 }));
    let lengths: Vec<usize> = shape.into_iter().flatten().collect();
    lower && matches!(lengths[..], [6, 6, 2] | [6, 11, 4])
}

/// `[192.0.2.1]`, `[2001:db8::1]:4711`.
fn bracketed(word: &str) -> Option<IpAddr> {
    word.strip_prefix('[')?.split_once(']')?.0.parse().ok()
}

/// A name, not an address in the place of one.
fn domain(word: &str) -> Option<Domain> {
    let word = word.trim_end_matches('.');
    let name = word.bytes().any(|b| b.is_ascii_alphabetic() || b >= 0x80) && word.parse::<IpAddr>().is_err() && word != "unknown";
    name.then(|| word.parse().ok()).flatten()
}

/// The address as others see it, if it is one that others can see: not loopback, private (RFC 1918, RFC 4193), shared (RFC 6598), link-local,
/// a group's or nobody's. An IPv4 address in IPv6 clothes (RFC 4291 §2.5.5.2) is itself.
fn public(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let hidden = match ip {
        IpAddr::V4(ip) => is_hidden(ip),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            // 6to4 (RFC 3056): Google's own hops wear private addresses in it.
            let embedded = (s[0] == 0x2002).then(|| Ipv4Addr::from((u32::from(s[1]) << 16) | u32::from(s[2])));
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || (s[0] & 0xfe00) == 0xfc00
                || (s[0] & 0xffc0) == 0xfe80
                || embedded.is_some_and(is_hidden)
        }
    };
    (!hidden).then_some(ip)
}

fn is_hidden(ip: Ipv4Addr) -> bool {
    let shared = ip.octets()[0] == 100 && (ip.octets()[1] & 0xc0) == 64;
    let nobody = ip.octets()[0] == 0 || ip.octets()[0] >= 240;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast() || shared || nobody
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::HeaderBlock;
    use crate::resolve::trusted::Trust;
    use bytes::Bytes;

    fn found(host: &str, header: &str) -> Option<Client> {
        let header = HeaderBlock::parse(Bytes::from(format!("{header}\n").replace('\n', "\r\n")));
        // As the configuration knows them: the names of their mail servers are not those of their mailboxes.
        let theirs: &[&str] = match host {
            "outlook.office365.com" => &["outlook.com", "office365.com"],
            "imap.gmail.com" => &["google.com", "googlemail.com", "gmail.com"],
            "imap.yandex.ru" => &["yandex.net", "yandex.ru", "yandex.com"],
            _ => &[],
        };
        let theirs: Vec<String> = theirs.iter().map(ToString::to_string).collect();
        client(&TrustedBlock::find(&header, &Trust { provider_hosts: &theirs, ..Trust::automatic(host) }))
    }

    fn words(client: Option<Client>) -> String {
        let Some(c) = client else { return "none".into() };
        let name = |domain: Option<Domain>| domain.map_or("-".into(), |domain| domain.as_ascii().to_owned());
        format!("{} {} {} {}", c.ip, name(c.name), name(c.helo), if c.esmtp { "ESMTP" } else { "SMTP" })
    }

    #[test]
    fn a_table_of_received_fields_in_the_wild() {
        for (what, host, header, want) in [
            (
                "Postfix behind Dovecot's LMTP",
                "imap.provider.example",
                "Received: from mx.provider.example ([127.0.0.1])\n\tby mx.provider.example (Dovecot) with LMTP id abc\n\t(envelope-from <k@sender.example>) for <box@provider.example>; d\n\
                 Received: from helo.sender.example (out.sender.example [203.0.113.7])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(No client certificate requested)\n\tby mx.provider.example (Postfix) with ESMTPS id 4XyZ\n\tfor <info@provider.example>; d\n",
                "203.0.113.7 out.sender.example helo.sender.example ESMTP",
            ),
            (
                "Postfix, no reverse name, HELO with an address",
                "imap.provider.example",
                "Received: from [198.51.100.9] (unknown [203.0.113.7])\n\tby mx.provider.example (Postfix) with SMTP id 1; d\n",
                "203.0.113.7 - - SMTP",
            ),
            (
                "Postfix, IPv6",
                "imap.provider.example",
                "Received: from a.sender.example (a.sender.example [IPv6:2001:db8:1::7])\n\tby mx.provider.example (Postfix) with UTF8SMTPS id 1; d\n",
                "2001:db8:1::7 a.sender.example a.sender.example ESMTP",
            ),
            (
                "Postfix, submitted",
                "imap.provider.example",
                "Received: from laptop (dsl.isp.example [203.0.113.7])\n\t(Authenticated sender: anna)\n\tby mx.provider.example (Postfix) with ESMTPSA id 1; d\n",
                "none",
            ),
            ("Postfix, by a script", "imap.provider.example", "Received: by web.provider.example (Postfix, from userid 33) id 1; d\n", "none"),
            (
                "sendmail, may be forged",
                "imap.provider.example",
                "Received: from mail.bank.example (bank.example [203.0.113.7] (may be forged))\n\tby mx.provider.example (8.17.1/8.17.1) with ESMTP id 3AB; d\n",
                "203.0.113.7 - mail.bank.example ESMTP",
            ),
            (
                "Exim, name verified, the same in HELO (cPanel writes the port)",
                "cp1.provider.example",
                "Received: from out.sender.example ([203.0.113.7]:40112)\n\tby cp1.provider.example with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.96) (envelope-from <k@sender.example>)\n\tid 1abcde-000001-2f; d\n",
                "203.0.113.7 out.sender.example out.sender.example ESMTP",
            ),
            (
                "Exim, another word in HELO",
                "cp1.provider.example",
                "Received: from dsl.sender.example ([203.0.113.7] helo=mail.bank.example)\n\tby cp1.provider.example with esmtp (Exim 4.98)\n\t(envelope-from <k@sender.example>) id 1sABCD-000000001bC-2d3E; d\n",
                "203.0.113.7 dsl.sender.example mail.bank.example ESMTP",
            ),
            (
                "Exim, no reverse name",
                "cp1.provider.example",
                "Received: from [203.0.113.7] (port=40112 helo=mail.bank.example)\n\tby cp1.provider.example with smtp (Exim 4.96) id 1abcde-000001-2f; d\n",
                "203.0.113.7 - mail.bank.example SMTP",
            ),
            (
                "Exim, submitted",
                "cp1.provider.example",
                "Received: from dsl.isp.example ([203.0.113.7] helo=laptop)\n\tby cp1.provider.example with esmtpsa (Exim 4.96) id 1abcde-000001-2f; d\n",
                "none",
            ),
            (
                "not Exim, although the word stands as with Exim",
                "imap.provider.example",
                "Received: from mail.bank.example ([203.0.113.7])\n\tby mx.provider.example with ESMTP id 1abcde-000001-2f; d\n",
                "203.0.113.7 - mail.bank.example ESMTP",
            ),
            (
                "no Exim, so a bracket in HELO is nothing",
                "imap.provider.example",
                "Received: from [203.0.113.7] (helo=x) by mx.provider.example with ESMTP id 7; d\n",
                "none",
            ),
            (
                "Exchange, from its own edge",
                "mail.provider.example",
                "Received: from EX1.provider.example (10.1.1.1) by EX2.provider.example\n (10.1.1.2) with Microsoft SMTP Server (version=TLS1_2,\n cipher=X) id 15.2.1118.40 via Mailbox Transport; d\n\
                 Received: from out.sender.example (203.0.113.7) by EX1.provider.example\n (10.1.1.1) with Microsoft SMTP Server id 15.2.1118.40 via Frontend Transport; d\n",
                "203.0.113.7 - out.sender.example ESMTP",
            ),
            (
                "Microsoft 365, a hop between its own servers",
                "outlook.office365.com",
                "Received: from AM0PR01CA0102.eurprd01.prod.exchangelabs.com (2603:10a6:208:10e::43)\n by DB9PR01MB1.eurprd01.prod.outlook.com (2603:10a6:10:2aa::8) with Microsoft SMTP Server (version=TLS1_2, cipher=X) id 15.20.1; d\n",
                "none",
            ),
            (
                "Microsoft 365, its border",
                "outlook.office365.com",
                "Received: from out.sender.example (203.0.113.7) by AM4PEPF0001.mail.protection.outlook.com\n (10.167.16.4) with Microsoft SMTP Server (version=TLS1_3,\n cipher=X) id 15.20.7 via Frontend Transport; d\n",
                "203.0.113.7 - out.sender.example ESMTP",
            ),
            (
                "Exchange 2010",
                "mail.provider.example",
                "Received: from out.sender.example (203.0.113.7) by ex.provider.example (10.1.1.1)\n with Microsoft SMTP Server (TLS) id 14.3.123.3; d\n",
                "203.0.113.7 - out.sender.example ESMTP",
            ),
            (
                "Gmail",
                "imap.gmail.com",
                "Delivered-To: box@gmail.com\nReceived: by 2002:a05:6a10:1234:b0:1a2:3b4c:5d6e with SMTP id x1csp100; d\n\
                 X-Received: by 2002:a17:90a:1:b0:2a4:11:7 with SMTP id y2mr1; d\nReturn-Path: <k@sender.example>\n\
                 Received: from out.sender.example (rdns.sender.example. [203.0.113.7])\n        by mx.google.com with ESMTPS id abc\n        for <box@gmail.com>\n        (version=TLS1_3 cipher=X bits=256/256); d\n",
                "203.0.113.7 rdns.sender.example out.sender.example ESMTP",
            ),
            (
                "Gmail, no reverse name",
                "imap.gmail.com",
                "Received: from mail.bank.example ([203.0.113.7]) by mx.google.com with ESMTP id abc; d\n",
                "203.0.113.7 - mail.bank.example ESMTP",
            ),
            (
                "Gmail, written in its own web page",
                "imap.gmail.com",
                "Received: from 1063240 named unknown by gmailapi.google.com with HTTPREST; d\n",
                "none",
            ),
            (
                "Yandex",
                "imap.yandex.ru",
                "Received: from mxfront.mail.yandex.net ([127.0.0.1])\n\tby mxfront.mail.yandex.net with LMTP id ZzZz-1\n\tfor <два@почта.рф>; d\n\
                 Received: from out.sender.example (rdns.sender.example [203.0.113.7])\n\tby mxfront.mail.yandex.net (mxfront/Yandex) with ESMTPS id a1B2c3\n\t(using TLSv1.3 with cipher X (256/256 bits))\n\tfor <два@почта.рф>; d\n",
                "203.0.113.7 rdns.sender.example out.sender.example ESMTP",
            ),
            (
                "Yandex, IPv6 without a bracket's mark",
                "imap.yandex.ru",
                "Received: from a.sender.example (a.sender.example [2001:db8:1::7])\n\tby mxfront.mail.yandex.net (mxfront/Yandex) with ESMTP id 1; d\n",
                "2001:db8:1::7 a.sender.example a.sender.example ESMTP",
            ),
            (
                "Mail.ru, no reverse name",
                "imap.mail.ru",
                "Received: from [203.0.113.7] (port=40112 helo=out.sender.example)\n\tby mx12.mail.ru with esmtp (envelope-from <k@sender.example>)\n\tid 1sABCD-000000001bC-2d3E\n\tfor box@mail.ru; d\n",
                "203.0.113.7 - out.sender.example ESMTP",
            ),
            (
                "Mail.ru, with one",
                "imap.mail.ru",
                "Received: from out.sender.example ([203.0.113.7]:40112)\n\tby mx12.mail.ru with esmtp (envelope-from <k@sender.example>)\n\tid 1abcde-000001-2f\n\tfor box@mail.ru; d\n",
                "203.0.113.7 out.sender.example out.sender.example ESMTP",
            ),
            ("Mail.ru, its own web page", "imap.mail.ru", "Received: by e.mail.ru with HTTP; d\n", "none"),
            (
                "qmail: the word is not verified",
                "mail.provider.example",
                "Received: (qmail 1235 invoked by uid 89); d\n\
                 Received: from dsl.sender.example (HELO mail.bank.example) (203.0.113.7)\n  by mail.provider.example with SMTP; d\n",
                "203.0.113.7 - mail.bank.example SMTP",
            ),
            (
                "qmail with ident",
                "mail.provider.example",
                "Received: from unknown (HELO out.sender.example) (ident@203.0.113.7)\n  by mail.provider.example with ESMTPS; d\n",
                "203.0.113.7 - out.sender.example ESMTP",
            ),
            (
                "Dovecot's own submission service",
                "imap.provider.example",
                "Received: from laptop ([203.0.113.7])\n\tby mx.provider.example with ESMTPSA\n\tid x (envelope-from <a@provider.example>); d\n",
                "none",
            ),
            (
                "LMTP from nowhere",
                "imap.provider.example",
                "Received: from x (x.example [203.0.113.7]) by mx.provider.example with LMTP id 1; d\n",
                "none",
            ),
            ("a private peer", "imap.provider.example", "Received: from app (app [10.0.0.7]) by mx.provider.example with ESMTP id 1; d\n", "none"),
            (
                "a shared address",
                "imap.provider.example",
                "Received: from app (app.example [100.64.0.7]) by mx.provider.example with ESMTP id 1; d\n",
                "none",
            ),
            (
                "an IPv4 address in IPv6 clothes",
                "imap.provider.example",
                "Received: from a.example (a.example [IPv6:::ffff:203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n",
                "203.0.113.7 a.example a.example ESMTP",
            ),
            (
                "two peers",
                "imap.provider.example",
                "Received: from x (a.example [203.0.113.7]) ([198.51.100.1]) by mx.provider.example with ESMTP id 1; d\n",
                "none",
            ),
            (
                "the last trusted hop took it from inside: what stands below is not the provider's",
                "imap.provider.example",
                "Received: from mx2.provider.example (mx2.provider.example [203.0.113.1]) by mx.provider.example with ESMTP id 1; d\n\
                 Received: from x (x.example [198.51.100.1]) by elsewhere.example with ESMTP id 1; d\n",
                "none",
            ),
            (
                "a forged field below the border",
                "imap.provider.example",
                "Received: from x (x.example [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n\
                 Received: from good.example (good.example [198.51.100.1]) by mx.provider.example with ESMTP id 1; d\n",
                "203.0.113.7 x.example x ESMTP",
            ),
            (
                "no trusted field",
                "imap.provider.example",
                "Received: from x (x.example [203.0.113.7]) by mx.other.example with ESMTP id 1; d\n",
                "none",
            ),
            ("no field", "imap.provider.example", "From: a@b.example\n", "none"),
        ] {
            assert_eq!(words(found(host, header)), want, "{what}");
        }
    }

    #[test]
    fn trusted_hops_say_where_outside_is() {
        let header = HeaderBlock::parse(Bytes::from_static(
            b"Received: by store (x) with LMTP; d\r\nReceived: from h.example (r.example [203.0.113.7]) by 10.0.0.1 with SMTP id 1; d\r\n\r\n",
        ));
        let trust = |hops| Trust { trusted_hops: Some(hops), ..Trust::automatic("x") };
        assert_eq!(words(client(&TrustedBlock::find(&header, &trust(1)))), "none");
        assert_eq!(words(client(&TrustedBlock::find(&header, &trust(2)))), "203.0.113.7 r.example h.example SMTP");
    }
}
