//! What is said between the login and the first folder: ID, COMPRESS. And what is never followed.

use super::kit::*;
use mailgather::config::Server;
use mailgather::mail::FolderName;
use mailgather::source::{Disposal, Disposed, SourceErrorKind};
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

fn at_host(host: &str) -> Server {
    Server { host: host.into(), ..server() }
}

#[tokio::test(start_paused = true)]
async fn quirk_id_before_select() {
    let id = format!("ID (\"name\" \"mailgather\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION"));
    // Coremail opens no folder before.
    let picky = |wants: bool| {
        let mut known = !wants;
        move |command: &str| match command {
            command if command.starts_with("ID ") => {
                known = true;
                say("* ID (\"name\" \"x\")\r\n@ OK\r\n")
            }
            command if command.starts_with("SELECT") && !known => say("@ NO SELECT Unsafe Login. Please contact kefu@188.com for help\r\n"),
            other => usual(other),
        }
    };
    for (host, capabilities, wants, said_wanted) in [
        ("imap.163.com", "ID", true, vec![id.as_str(), "SELECT INBOX"]),
        ("imap.qq.com", "ID", false, vec![&id, "SELECT INBOX"]),
        ("imap.163.com", "", false, vec!["SELECT INBOX"]),
        // Any other host, where it says so.
        ("imap.example.org", "ID", true, vec!["SELECT INBOX", &id, "SELECT INBOX"]),
        ("imap.example.org", "ID", false, vec!["SELECT INBOX"]),
    ] {
        let client = client(at_host(host), None);
        let (mut session, said) = client.open(capabilities, picky(wants)).await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        assert_eq!(heard(&said)[1..], said_wanted, "{host} {capabilities}");
    }
    // By its greeting; a refusal of ID changes nothing.
    let client = client(server(), None);
    let answer = |command: &str| match command {
        command if command.starts_with("LOGIN") => say("@ OK in\r\n"),
        "CAPABILITY" => say("* CAPABILITY IMAP4rev1 ID\r\n@ OK\r\n"),
        command if command.starts_with("ID ") => say("@ BAD no\r\n"),
        other => usual(other),
    };
    let (mut session, said) = client.greeted("* OK [CAPABILITY IMAP4rev1] Coremail System IMap Server Ready(163com[10])\r\n", answer).await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    assert_eq!(heard(&said)[1..], ["CAPABILITY", &id, "SELECT INBOX"]);
    // Refused for ever, and not offered.
    let (mut session, _) = client.open("", picky(true)).await.unwrap();
    assert_eq!(session.select(&FolderName::inbox()).await.unwrap_err().kind, SourceErrorKind::Mailbox);
}

/// Lets `client` talk to a server that compresses from its OK to COMPRESS on.
async fn compressing(client: DuplexStream, server: DuplexStream, garbage: Option<Vec<u8>>) -> Option<()> {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let (on, mut is_on) = tokio::sync::watch::channel(false);
    let up = async {
        let mut state = InflateState::new_boxed(DataFormat::Raw);
        let (mut buffer, mut out) = (vec![0; 4096], vec![0; 65_536]);
        loop {
            let read = from_client.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            if !*is_on.borrow() {
                let asks = buffer[..read].windows(8).any(|window| window == b"COMPRESS");
                to_server.write_all(&buffer[..read]).await.ok()?;
                if asks {
                    is_on.changed().await.ok()?;
                }
                continue;
            }
            let inflated = inflate(&mut state, &buffer[..read], &mut out, MZFlush::None);
            assert_eq!(inflated.bytes_consumed, read);
            to_server.write_all(&out[..inflated.bytes_written]).await.ok()?;
        }
    };
    let down = async {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(9, -15, 0));
        let (mut buffer, mut out) = (vec![0; 65_536], vec![0; 1 << 17]);
        let mut compresses = false;
        loop {
            let read = from_server.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            if !compresses {
                to_client.write_all(&buffer[..read]).await.ok()?;
                compresses = buffer[..read].windows(10).any(|window| window == b"OK DEFLATE");
                if compresses {
                    on.send_replace(true);
                    if let Some(garbage) = &garbage {
                        to_client.write_all(garbage).await.ok()?;
                        return std::future::pending().await;
                    }
                }
                continue;
            }
            let (_, used, made) = compress(&mut state, &buffer[..read], &mut out, TDEFLFlush::Sync);
            assert_eq!(used, read);
            to_client.write_all(&out[..made]).await.ok()?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// A session through it.
async fn compressed(garbage: Option<Vec<u8>>) -> (Client, Result<Box<dyn mailgather::source::Session>, mailgather::source::SourceError>, Heard) {
    let client = client(Server { compress: true, ..server() }, None);
    let (near, middle) = duplex(1 << 16);
    let (other, far) = duplex(1 << 16);
    let said = Heard::default();
    let noted = said.clone();
    let answer = |command: &str| match command {
        command if command.starts_with("AUTHENTICATE") => say("* CAPABILITY IMAP4rev1 UIDPLUS COMPRESS=DEFLATE\r\n@ OK in\r\n"),
        "COMPRESS DEFLATE" => say("@ OK DEFLATE active\r\n"),
        other => usual(other),
    };
    tokio::spawn(async move { speak(far, "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n", answer, noted).await });
    tokio::spawn(compressing(middle, other, garbage));
    let session = client.source.open_over(mailgather::net::Channel::Memory(near)).await;
    (client, session, said)
}

#[tokio::test]
async fn a_compressed_session() {
    let (_client, session, said) = compressed(None).await;
    let mut session = session.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    session.list(want()).await.unwrap();
    let all = fetch(&mut session, &(1..=500).collect::<Vec<u32>>()).await.unwrap();
    assert_eq!(all, (1..=500).map(|uid| Ok((uid, format!("A: {uid}\r\n").into_bytes()))).collect::<Vec<_>>());
    assert_eq!(session.dispose(&uids(&[4]), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    session.close().await.unwrap();
    assert_eq!(heard(&said)[1..3], ["COMPRESS DEFLATE", "SELECT INBOX"]);
}

#[tokio::test]
async fn f69_bombs_and_garbage_under_compression() {
    // 65 MiB of blanks in 70 KB, and a line that does not end in the same way.
    let endless = |octets: Vec<u8>| {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(9, -15, 0));
        let mut out = vec![0; octets.len() / 100];
        let (_, used, made) = compress(&mut state, &octets, &mut out, TDEFLFlush::Sync);
        assert_eq!(used, octets.len());
        out.truncate(made);
        out
    };
    let bomb = endless(vec![b' '; 65 << 20]);
    let lines = endless(format!("* OK {}\r\n", "x".repeat(60_000)).repeat(1200).into_bytes());
    assert!(bomb.len() < 100_000 && lines.len() < 400_000);
    for (garbage, words) in [
        (bomb, "a line of more than"),
        (lines, "inflate to very many"),
        (b"\xff\xff\xff".to_vec(), "what is not DEFLATE"),
        (b"* OK plain text\r\n".repeat(99), ""),
    ] {
        let (_client, session, _) = compressed(Some(garbage)).await;
        let mut session = session.unwrap();
        let error = session.select(&FolderName::inbox()).await.unwrap_err();
        assert!(matches!(error.kind, SourceErrorKind::Protocol | SourceErrorKind::Timeout) && error.text.contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn compression_is_asked_for_on_purpose_only() {
    for (compress, capabilities, answer, said_wanted) in [
        (false, "COMPRESS=DEFLATE", "@ OK\r\n", vec!["SELECT INBOX"]),
        (true, "UIDPLUS", "@ OK\r\n", vec!["SELECT INBOX"]),
        (true, "COMPRESS=DEFLATE", "@ NO [COMPRESSIONACTIVE] no\r\n", vec!["COMPRESS DEFLATE", "SELECT INBOX"]),
        (true, "COMPRESS=DEFLATE", "@ BAD no\r\n", vec!["COMPRESS DEFLATE", "SELECT INBOX"]),
    ] {
        let client = client(Server { compress, ..server() }, None);
        let (mut session, said) = client.open(capabilities, but("COMPRESS", answer)).await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        assert_eq!(heard(&said)[1..], said_wanted);
    }
}
