//! Listing: SINCE, ESEARCH, windows of UIDs, answers that must not be believed.

use super::kit::*;
use mailgather::mail::{FolderName, Present, RemoteUid};
use mailgather::source::{Listing, SourceError, SourceErrorKind, Want};

async fn list(capabilities: &str, want: Want, answer: impl FnMut(&str) -> Vec<Step> + Send + 'static) -> (Result<Listing, SourceError>, Vec<String>) {
    let client = client(server(), None);
    let (mut session, said) = client.inbox(capabilities, answer).await.unwrap();
    (session.list(want).await, heard(&said))
}

fn numbers(listing: &Listing) -> Vec<u32> {
    listing.messages.iter().filter_map(|listed| listed.uid.number()).collect()
}

#[tokio::test(start_paused = true)]
async fn since_is_asked_by_the_day_and_leaves_exceptions_alone() {
    let since = Some(1_792_000_000); // 2026-10-14
    let (listing, said) = list("UIDPLUS", Want { since, ..want() }, usual).await;
    assert_eq!(numbers(&listing.unwrap()), [4, 6, 9]);
    assert_eq!(said, ["UID SEARCH UID 1:* SINCE 13-Oct-2026"]);
    let answer = |command: &str| match command {
        "UID SEARCH UID 2,4" => say("* SEARCH 4\r\n@ OK\r\n"),
        "UID SEARCH UID 6:* UNSEEN SINCE 13-Oct-2026" => say("* SEARCH 9\r\n@ OK\r\n"),
        other => usual(other),
    };
    let (listing, said) = list("UIDPLUS", Want { since, unseen: true, above: 5, also: uids(&[2, 4]), ..want() }, answer).await;
    let listing = listing.unwrap();
    assert_eq!((numbers(&listing), listing.vanished), (vec![4, 9], uids(&[2])), "{said:?}");
    // Everything that is there is known all the same.
    let answer = |command: &str| match command {
        "UID SEARCH UID 1:* SINCE 13-Oct-2026" => say("* SEARCH\r\n@ OK\r\n"),
        other => usual(other),
    };
    let (listing, said) = list("UIDPLUS", Want { since, complete: true, ..want() }, answer).await;
    let listing = listing.unwrap();
    assert!(numbers(&listing).is_empty() && matches!(listing.present, Some(Present::Numbers(set)) if set.len() == 3), "{said:?}");
}

/// A folder of so many messages.
fn large(exists: u32, uid_next: u32, mut answer: impl FnMut(&str) -> Vec<Step> + Send + 'static) -> impl FnMut(&str) -> Vec<Step> + Send + 'static {
    move |command| match command {
        "SELECT INBOX" => say(format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n* OK [UIDNEXT {uid_next}] ok\r\n@ OK done\r\n")),
        other => answer(other),
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_mailbox_by_esearch() {
    let answer = |command: &str| match command {
        "UID SEARCH RETURN (ALL) ALL" => say("* ESEARCH (TAG \"@\") UID ALL 1:200000\r\n@ OK\r\n"),
        _ => say("@ BAD no\r\n"),
    };
    let (listing, said) = list("ESEARCH", Want { complete: true, limit: 3, ..want() }, large(200_000, 200_001, answer)).await;
    let listing = listing.unwrap();
    assert_eq!((numbers(&listing), listing.more, said.len()), (vec![1, 2, 3], true, 1));
    assert!(matches!(listing.present, Some(Present::Numbers(set)) if set.len() == 200_000 && set.ranges().len() == 1));
}

#[tokio::test(start_paused = true)]
async fn quirk_offered_and_not_understood_esearch() {
    // Offered and not understood.
    let answer = |command: &str| match command {
        command if command.contains("RETURN") => say("@ BAD no\r\n"),
        other => usual(other),
    };
    let (listing, said) = list("ESEARCH", want(), large(2000, 2001, answer)).await;
    assert_eq!(numbers(&listing.unwrap()), [4, 6, 9]);
    assert_eq!(said, ["UID SEARCH RETURN (ALL) UID 1:*", "UID SEARCH UID 1:*"]);
    // Understood, and answered with nonsense: the next session asks as of old.
    let client = client(server(), None);
    let nonsense = large(2000, 2001, |command: &str| match command {
        command if command.contains("RETURN") => say("* ESEARCH (TAG \"@\") ALL 1:9\r\n@ OK\r\n"),
        other => usual(other),
    });
    let (mut session, _) = client.inbox("ESEARCH", nonsense).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap_err().kind, SourceErrorKind::Protocol);
    let (mut session, said) = client.inbox("ESEARCH", large(2000, 2001, usual)).await.unwrap();
    assert_eq!(numbers(&session.list(want()).await.unwrap()), [4, 6, 9]);
    assert_eq!(heard(&said), ["UID SEARCH UID 1:*"]);
    // A small mailbox needs none.
    let (_, said) = list("ESEARCH", want(), usual).await;
    assert_eq!(said, ["UID SEARCH UID 1:*"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_mailbox_in_windows_of_uids() {
    let answer = |command: &str| {
        let window = command.strip_prefix("UID SEARCH UID ").unwrap();
        let (low, high) = window.split_once(':').unwrap();
        let low: u32 = low.parse().unwrap();
        let high: u32 = if high == "*" { 200_000 } else { high.parse().unwrap() };
        let line: String = (low..=high).map(|uid| format!(" {uid}")).collect();
        say(format!("* SEARCH{line}\r\n@ OK\r\n"))
    };
    let (listing, said) = list("UIDPLUS", Want { complete: true, limit: 1, ..want() }, large(200_000, 200_001, answer)).await;
    assert!(matches!(listing.unwrap().present, Some(Present::Numbers(set)) if set.len() == 200_000 && set.ranges().len() == 1));
    assert_eq!(said, ["1:50000", "50001:100000", "100001:150000", "150001:*"].map(|window| format!("UID SEARCH UID {window}")));
    // A window without an answer: what was not listed may be there.
    let silent = |command: &str| match command {
        "UID SEARCH UID 50001:100000" => say("@ OK\r\n"),
        _ => say("* SEARCH 7\r\n@ OK\r\n"),
    };
    let (listing, _) = list("UIDPLUS", Want { complete: true, also: uids(&[60_000]), ..want() }, large(200_000, 200_001, silent)).await;
    let listing = listing.unwrap();
    assert!(numbers(&listing) == [7] && listing.present.is_none() && listing.vanished.is_empty());
}

#[tokio::test(start_paused = true)]
async fn f25_more_found_than_there_is() {
    for answer in ["* SEARCH 1 2 3\r\n* ESEARCH UID ALL 1:4294967295\r\n@ OK\r\n", "* ESEARCH UID ALL 5:900000\r\n@ OK\r\n"] {
        let (listing, _) = list("UIDPLUS", want(), but("UID SEARCH", answer)).await;
        assert_eq!(listing.unwrap_err().kind, SourceErrorKind::Protocol);
    }
    // The server says both: the limit of the listing ends it.
    let answer = |command: &str| match command {
        "SELECT INBOX" => say("* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n@ OK done\r\n"),
        _ => say("* ESEARCH UID ALL 1:4294967295\r\n@ OK\r\n"),
    };
    let (listing, _) = list("ESEARCH", Want { above: 4_000_000_000, limit: 10, ..want() }, answer).await;
    assert_eq!(numbers(&listing.unwrap())[0], 4_000_000_001);
}

#[tokio::test(start_paused = true)]
async fn f17_uidvalidity_changes_in_the_middle_of_a_session() {
    let client = client(server(), None);
    for (at, stage) in [("UID SEARCH", "list"), ("UID FETCH", "fetch"), ("UID STORE", "dispose")] {
        let answer = move |command: &str| match usual(command).remove(0) {
            Step::Say(text) if command.starts_with(at) => say(format!("* OK [UIDVALIDITY 78] rebuilt\r\n{text}")),
            step => vec![step],
        };
        let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
        let result = async {
            session.list(want()).await?;
            fetch(&mut session, &[4, 6]).await?;
            session.dispose(&uids(&[4, 6]), mailgather::source::Disposal::Delete).await
        };
        let error = result.await.unwrap_err();
        assert_eq!((error.kind, error.stage), (SourceErrorKind::Protocol, stage), "{error}");
        assert_eq!(heard(&said).iter().any(|command| command.starts_with("UID STORE")), stage == "dispose");
    }
    // The same number again is no change.
    let same = but("UID SEARCH", "* OK [UIDVALIDITY 77] same\r\n* SEARCH 4\r\n@ OK\r\n");
    let (mut session, _) = client.inbox("UIDPLUS", same).await.unwrap();
    assert_eq!(numbers(&session.list(want()).await.unwrap()), [4]);
}

#[tokio::test(start_paused = true)]
async fn f17_f19_no_uidvalidity_and_uids_that_do_not_last() {
    let client = client(server(), None);
    for answer in [
        "* 3 EXISTS\r\n@ OK none\r\n",
        "* 3 EXISTS\r\n* OK [UIDVALIDITY 0] zero\r\n@ OK\r\n",
        "* 3 EXISTS\r\n* OK [UIDVALIDITY 77] x\r\n* NO [UIDNOTSTICKY] Non-persistent UIDs\r\n@ OK\r\n",
    ] {
        let (mut session, _) = client.open("UIDPLUS", but("SELECT", answer)).await.unwrap();
        assert_eq!(session.select(&FolderName::inbox()).await.unwrap_err().kind, SourceErrorKind::Protocol, "{answer}");
    }
    // UIDNEXT that went back is told to the caller, who knows what it was.
    let back = "* 3 EXISTS\r\n* OK [UIDVALIDITY 77] x\r\n* OK [UIDNEXT 2] x\r\n@ OK\r\n";
    let (mut session, _) = client.open("UIDPLUS", but("SELECT", back)).await.unwrap();
    assert_eq!(session.select(&FolderName::inbox()).await.unwrap().uid_next, Some(2));
    let listing = session.list(Want { above: 5, ..want() }).await.unwrap();
    assert_eq!(listing.messages.iter().map(|one| one.uid.clone()).collect::<Vec<RemoteUid>>(), uids(&[6, 9]));
}
