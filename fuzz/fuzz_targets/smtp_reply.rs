//! Replies and keyword lists of a hostile server: no panic, bounded, and the same however the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::mail::{Reply, Stage};
use mailgather::proto::smtp::reply::LINES_MAX;
use mailgather::proto::smtp::{Extensions, FullReply, Protocol, ReplyError, ReplyReader, verdict};

fn replies(pieces: &[&[u8]]) -> (Vec<FullReply>, Option<ReplyError>) {
    let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match reader.push(rest) {
                Ok((taken, reply)) => {
                    assert!(taken > 0 && taken <= rest.len());
                    replies.extend(reply);
                    rest = &rest[taken..];
                }
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|octets: &[u8]| {
    let whole = replies(&[octets]);
    let (a, b) = octets.split_at(octets.first().map_or(0, |&cut| usize::from(cut).min(octets.len())));
    assert_eq!(whole, replies(&[a, b]));
    for full in &whole.0 {
        assert!((200..600).contains(&full.reply.code));
        assert!(full.lines.len() <= LINES_MAX && full.reply.text.len() <= Reply::TEXT_OCTETS_MAX + 4);
        assert!(!full.reply.text.chars().any(char::is_control));
        Extensions::from_lines(&full.lines);
        for stage in [Stage::Greeting, Stage::MailFrom, Stage::RcptTo, Stage::Data, Stage::Content] {
            verdict(Protocol::Lmtp, stage, &full.reply);
            verdict(Protocol::Smtp, stage, &full.reply);
        }
    }
});
