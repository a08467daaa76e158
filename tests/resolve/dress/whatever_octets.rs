//! Whatever octets and options: edits touch whole fields of the header only.

use super::*;
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "From x@y Mon\n",
    "\u{feff}",
    "Received: from x (x.example [203.0.113.7]) by mx.provider.example; d\n",
    "Return-Path: ",
    "Delivered-To: ",
    "Envelope-To: ",
    "Bcc: ",
    "Status: ",
    "X-Spam-Flag: ",
    "Return-Receipt-To: ",
    "Authentication-Results: ",
    "ARC-Authentication-Results: i=1; ",
    "gate.example;",
    "anna@local.example",
    "boris@local.example",
    "Subject",
    ":",
    "(",
    "\"",
    "\\",
    " ",
    "\t",
    "\n",
    "\n",
    "\n\n",
    "\nbody: text\n",
    "é",
];

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => (1usize..2_500).prop_map(|len| vec![b'x'; len]),
        1 => (1usize..2_500, 1usize..1_200).prop_map(|(len, gap)| (1..=len).map(|at| if at % gap == 0 { b' ' } else { b'x' }).collect()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
}

fn options() -> impl Strategy<Value = HeaderOptions> {
    use proptest::sample::select;
    (
        select(&[BccOption::Auto, BccOption::Keep, BccOption::Remove][..]),
        select(&[DeliveredToOption::Rename, DeliveredToOption::RenameAll, DeliveredToOption::Keep][..]),
        select(&[SpamOption::Keep, SpamOption::Strip, SpamOption::Prefix][..]),
        select(&[ReceiptOption::Keep, ReceiptOption::Drop][..]),
    )
        .prop_map(|(bcc, delivered_to, spam, receipts)| HeaderOptions { bcc, delivered_to, spam, receipts })
}

proptest! {
    #[test]
    fn edits_touch_whole_fields_of_the_header_only(raw in octets(), options in options()) {
        let raw = canonical(&raw);
        let header = HeaderBlock::parse(raw.clone());
        let resolution = resolved(2, "Envelope-To", Some(0), &["anna@local.example"]);
        let list = edits(&header, &resolution, resolution.recipients(), "gate.example", &options);
        let folds = fold(&header);
        let merged = merge(list.clone(), folds.clone());
        let mut end = 0;
        for edit in &merged {
            prop_assert!(edit.cut.start >= end && edit.cut.start <= edit.cut.end && edit.cut.end <= header.octets().len());
            prop_assert!(edit.cut.end <= header.body_start().max(header.leading_junk().end));
            prop_assert!(edit.with.is_empty() || edit.with.ends_with(b"\r\n"));
            end = edit.cut.end;
            let is_field = header.fields().iter().any(|field| field.whole == edit.cut);
            prop_assert!(is_field || folds.contains(edit) || edit.cut == header.leading_junk());
        }
        prop_assert!(list.iter().all(|edit| merged.contains(edit)), "an edit was lost");
        // With our fields on top, the border between header and body stands where it stood: the body is the same, octet for octet.
        let mut out = b"X-Top: 1\r\n".to_vec();
        out.extend_from_slice(&missing(&header, &Fingerprint([3; 32]), "gate.example"));
        let mut at = 0;
        for edit in &merged {
            out.extend_from_slice(&raw[at..edit.cut.start]);
            out.extend_from_slice(&edit.with);
            at = edit.cut.end;
        }
        out.extend_from_slice(&raw[at..]);
        let after = HeaderBlock::parse(Bytes::from(out.clone()));
        // Without a field there is no header: all behind the junk is body.
        let body = if header.fields().is_empty() { header.leading_junk().end } else { header.body_start() };
        let body = raw[body..].strip_prefix(b"\r\n").filter(|_| header.fields().is_empty()).unwrap_or(&raw[body..]);
        prop_assert_eq!(&out[after.body_start()..], body, "the body, of {:?}", raw.escape_ascii().to_string());
        // What was not edited is there still, in its order.
        let kept: Vec<(String, String)> = header.fields().iter()
            .filter(|field| !list.iter().any(|edit| edit.cut == field.whole))
            .map(|field| (String::from_utf8_lossy(header.name(field)).into_owned(), header.text(field))).collect();
        let there: Vec<(String, String)> = after.fields().iter()
            .map(|field| (String::from_utf8_lossy(after.name(field)).into_owned(), after.text(field))).collect();
        let mut rest = there.iter();
        for field in &kept {
            prop_assert!(rest.any(|other| other == field), "{:?} is gone from {:?}", field, there);
        }
    }
}
