//! sink SMTP-PORT LMTP-PORT CONTROL-PORT: takes every message, keeps its X-Bench-Id and the SHA-256 of its body, and nothing else.
//! Control, one word a line: RESET forgets all; DUMP answers one line `id sha256` a message and an empty line.

use mailgather_bench_tools::Buffered;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

static TAKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Acknowledges at once. A client that writes line by line without TCP_NODELAY (fetchmail) else waits 40 ms a message for the delayed ACK: that
/// would measure Linux, and flatter us.
struct Quick(TcpStream);

impl Read for Quick {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.0.read(buffer)?;
        rustix::net::sockopt::set_tcp_quickack(&self.0, true)?;
        Ok(n)
    }
}

fn main() {
    let ports: Vec<u16> = std::env::args().skip(1).map(|a| a.parse().expect("a port")).collect();
    let [smtp, lmtp, control] = ports[..] else { panic!("sink SMTP-PORT LMTP-PORT CONTROL-PORT") };
    let listen = |port: u16, serve: fn(TcpStream) -> Result<()>| {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        })
    };
    let threads = [listen(smtp, |s| serve(s, false)), listen(lmtp, |s| serve(s, true)), listen(control, answer)];
    threads.into_iter().for_each(|t| drop(t.join()));
}

fn answer(mut stream: TcpStream) -> Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let mut taken = TAKEN.lock().expect("no thread panics with the lock");
        match line?.as_str() {
            "RESET" => taken.clear(),
            _ => stream.write_all(taken.iter().map(|l| l.clone() + "\n").collect::<String>().as_bytes())?,
        }
        drop(taken);
        stream.write_all(b"\n")?;
    }
    Ok(())
}

fn serve(stream: TcpStream, lmtp: bool) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = Buffered::new(Quick(stream));
    let mut replies = b"220 sink.bench.example ESMTP\r\n".to_vec();
    let mut recipients = 0;
    loop {
        if memchr::memchr(b'\n', input.ready()).is_none() {
            out.write_all(&replies)?;
            replies.clear();
        }
        let line = input.line()?.to_ascii_uppercase();
        match line.get(..4).unwrap_or_default() {
            // One line (RFC 5321 §4.1.1.1): fdm says HELO and takes no more.
            b"HELO" => replies.extend_from_slice(b"250 sink.bench.example\r\n"),
            b"EHLO" | b"LHLO" => {
                replies.extend_from_slice(
                    b"250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1073741824\r\n",
                );
            }
            b"MAIL" => {
                recipients = 0;
                replies.extend_from_slice(b"250 2.1.0 Ok\r\n");
            }
            b"RCPT" => {
                recipients += 1;
                replies.extend_from_slice(b"250 2.1.5 Ok\r\n");
            }
            b"DATA" if recipients > 0 => {
                replies.extend_from_slice(b"354 go\r\n");
                out.write_all(&replies)?;
                replies.clear();
                let (mut head, mut hash, mut in_body) = (Vec::new(), Sha256::new(), false);
                input.dotted(|piece| {
                    if in_body {
                        hash.update(piece);
                        return;
                    }
                    let from = head.len().saturating_sub(3);
                    head.extend_from_slice(piece);
                    if let Some(at) = memchr::memmem::find(&head[from..], b"\r\n\r\n") {
                        in_body = true;
                        hash.update(&head[from + at + 4..]);
                        head.truncate(from + at + 4);
                    }
                })?;
                let id = memchr::memmem::find(&head, b"X-Bench-Id: ").map_or("?".into(), |at| {
                    let rest = &head[at + 12..];
                    String::from_utf8_lossy(&rest[..memchr::memchr(b'\r', rest).unwrap_or(rest.len())]).into_owned()
                });
                let sum: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
                TAKEN.lock().expect("no thread panics with the lock").push(format!("{id} {sum}"));
                for _ in 0..if lmtp { recipients } else { 1 } {
                    replies.extend_from_slice(b"250 2.0.0 Ok: taken\r\n");
                }
                recipients = 0;
            }
            b"DATA" => replies.extend_from_slice(b"503 5.5.1 no recipients\r\n"),
            b"RSET" | b"NOOP" => replies.extend_from_slice(b"250 2.0.0 Ok\r\n"),
            b"QUIT" => {
                replies.extend_from_slice(b"221 2.0.0 Bye\r\n");
                return out.write_all(&replies);
            }
            _ => replies.extend_from_slice(b"500 5.5.2 what?\r\n"),
        }
    }
}
