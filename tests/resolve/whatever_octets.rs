//! Whatever octets there may be.

use super::*;
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "X-Original-To: ",
    "Delivered-To: ",
    "Envelope-To: ",
    "Return-Path: ",
    "Received: ",
    "Received: from x ([127.0.0.1]) by mx.provider.example with LMTP for <",
    "X-Mailgather-Loop: 1 ",
    "From: ",
    "Status: ",
    "From ",
    "Bcc: ",
    "\r\n",
    "\r\n",
    "\r\n ",
    "\n",
    "\r",
    "\0",
    "<",
    ">",
    "@",
    "\"",
    "\\",
    "(",
    ")",
    ";",
    ":",
    ",",
    " ",
    "anna@provider.example",
    "box@provider.example",
    "раз@почта.рф",
    "\u{feff}",
    "\u{202e}",
    "=?utf-8?Q?=0D=0A?=",
    "by mx.provider.example",
    "for <a@provider.example>",
];

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![4 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..4)];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_breaks_a_line(raw in octets()) {
        let (mut canonical, mut out) = (mailgather::mail::Canonical::new(), Vec::new());
        canonical.push(&raw, &mut out);
        canonical.finish(&mut out);
        let len = out.len();
        let header = HeaderBlock::parse(Bytes::from(out));
        for rules in [rules(), Rules { trusted_hops: Some(3), envelope_below_received: true, own: None, ..rules() }, Rules { server_host: "localhost".into(), ..rules() }] {
            let (resolution, trail) = resolve(&header, &rules);
            let block = TrustedBlock::find(&header, &Trust::from(&rules));
            let (from, _) = sender(&header, &block, &SenderFallback::Default, false);
            for path in resolution.recipients().iter().map(|r| r.address.to_smtp()).chain([from.to_smtp()]) {
                prop_assert!(!path.chars().any(char::is_control), "{:?}", path);
                prop_assert!(path.is_empty() || path.parse::<Address>().is_ok(), "{:?}", path);
            }
            if let Resolution::Recipients(recipients, evidence) = &resolution {
                prop_assert!(!recipients.is_empty() && evidence.field.is_some_and(|field| block.contains(field)));
            }
            let unsafe_to_print = trail.to_text().chars().find(|&c| c != '\n' && (c.is_control() || c == '\u{202e}'));
            prop_assert_eq!(unsafe_to_print, None);
            let _ = trail.to_json().to_string();
            let mut end = 0;
            for edit in edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()) {
                prop_assert!(edit.cut.start >= end && edit.cut.start <= edit.cut.end && edit.cut.end <= len);
                prop_assert!(edit.with.is_empty() || edit.with.ends_with(b"\r\n"));
                end = edit.cut.end;
            }
            let _ = LoopGuard::new([0; 32], "i").check(&header, &mailbox("u"), &Fingerprint([0; 32]), resolution.recipients(), 50, 3);
            section_10_stamp::lines_are_safe(&section_10_stamp::stamp(&String::from_utf8_lossy(&raw), resolution.recipients(), &resolution));
        }
    }
}

/// Each shape at 1 MiB and at 10 MiB: the limits of the header make the second cost no more than a few times the first, and neither is slow.
#[test]
fn a_huge_header_is_bounded() {
    let shapes = [
        "X-Original-To: a@foreign.example\n",
        "Received: by mx.provider.example with LMTP for <a@foreign.example>; d\n",
        "Delivered-To: box@provider.example, a@foreign.example\n",
        "X: y\n (",
        "Envelope-To: (((((((((((\"\"\"\"<<<<,,,,;;;;::::@@@@\n\t",
        "X-Mailgather-Loop: 1 00000000000000000000000000000000 0000000000000000 0000000000000000\n",
    ];
    let mut r = rules();
    r.aliases = (0..200).map(|n| alias(&format!("a*b*{n}@foreign.example"), &["x@local.example"])).collect();
    for shape in shapes {
        let header = header(&shape.repeat(10 * 1024 * 1024 / shape.len()));
        assert!(header.octets().len() <= mailgather::mail::header::HEADER_OCTETS_MAX);
        // What is read is bounded by the limits above, so that this ends; how fast is for a benchmark to say.
        let (resolution, trail) = resolve(&header, &r);
        let list = edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default());
        LoopGuard::new([0; 32], "i").check(&header, &mailbox("u"), &Fingerprint([0; 32]), resolution.recipients(), 0, 0);
        assert!(trail.steps().len() <= trail::TRAIL_STEPS_MAX + 1 && list.len() <= mailgather::mail::header::FIELDS_MAX + 1);
    }
}
