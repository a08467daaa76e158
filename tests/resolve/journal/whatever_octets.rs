//! Reports that are cut, that come in pieces of any size, and whatever else there may be.

use super::*;
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "--b\n",
    "--b--\n",
    "--b",
    "--bb\n",
    "--",
    "Content-Type: text/plain\n\n",
    "Content-Type: message/rfc822\n\n",
    "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n",
    "Content-Transfer-Encoding: quoted-printable\n\n",
    "Content-Transfer-Encoding: base64\n\n",
    "Recipient: a@b.example\n",
    "To: c@d.example, Expanded: e@f.example\n",
    "Bcc: =\n",
    "=3D=40=",
    "UmVjaXBpZW50OiBhQGIuZXhhbXBsZQ==",
    "\n",
    "\n\n",
    " ",
    "é",
];

fn whole(body: &[u8]) -> Bytes {
    canonical(&[format!("From: {JOURNAL}\nContent-Type: multipart/mixed; boundary=b\n\n").as_bytes(), body].concat())
}

proptest! {
    #[test]
    fn a_report_that_is_cut_is_no_report(cut in 0usize..4_000) {
        for text in [EXCHANGE, MICROSOFT_365] {
            let complete = canonical(text.as_bytes());
            let want = scan(&complete, 4096).unwrap().unwrap();
            let cut = cut.min(complete.len());
            let part = canonical(&complete[..cut]);
            match scan(&part, 4096) {
                // Ordinary mail: the header is cut. An error: what comes behind is. Else only the last line end was, and that is put back.
                None | Some(Err(_)) => prop_assert!(cut < complete.len()),
                Some(Ok(report)) => {
                    prop_assert!(cut + 2 >= complete.len(), "{} of {}", cut, complete.len());
                    prop_assert_eq!(&report, &want);
                }
            }
        }
    }

    #[test]
    fn pieces_change_nothing(piece in 1usize..200) {
        for text in [EXCHANGE, MICROSOFT_365] {
            let message = canonical(text.as_bytes());
            prop_assert_eq!(scan(&message, piece), scan(&message, 100_000));
        }
    }

    #[test]
    fn nothing_panics_and_an_original_is_whole_lines(pieces in proptest::collection::vec(prop_oneof![
        10 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ], 0..40), piece in 1usize..50) {
        let body = pieces.concat();
        let framed = [b"--b\n\nRecipient: a@b.example\n--b\nContent-Type: message/rfc822\n\n", &body[..], b"\n--b--\n"].concat();
        for body in [&body, &framed] {
            let message = whole(body);
            let found = scan(&message, piece);
            prop_assert_eq!(&found, &scan(&message, 100_000));
            if let Some(Ok(report)) = found {
                let (start, end) = (report.original.start as usize, report.original.end as usize);
                prop_assert!(message[..start].ends_with(b"\r\n\r\n") && message[start..end].ends_with(b"\r\n"));
                prop_assert!(message[end..].starts_with(b"--b") || message[end..].starts_with(b"\r\n--b"));
                let inside = String::from_utf8_lossy(&message[start..end]);
                prop_assert!(!inside.lines().any(|line| line.trim_end() == "--b" || line.trim_end() == "--b--"), "{:?}", inside);
                prop_assert!(!report.recipients.is_empty());
            }
        }
    }
}
