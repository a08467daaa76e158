//! raw_relay imap|pop3 PORT USER PASSWORD SMTP-PORT: fetches everything and delivers it, both pipelined, with no ledger, no checks and whole
//! messages in memory. Not a mail program: the limit that one is measured against.

use mailgather_bench_tools::{Buffered, stuff};
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, sync_channel};

fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, port, user, password, smtp] = &a[..] else { panic!("raw_relay imap|pop3 PORT USER PASSWORD SMTP-PORT") };
    let (sender, receiver) = sync_channel(64);
    let target = connect(smtp);
    let delivery = std::thread::spawn(move || deliver(target, &receiver));
    let mut source = Buffered::new(connect(port));
    let count = if protocol == "imap" {
        send(&mut source, &format!("a LOGIN {user} {password}\r\nb SELECT INBOX\r\nc UID FETCH 1:* (UID BODY.PEEK[])\r\nd LOGOUT\r\n"));
        let mut count = 0;
        loop {
            let line = source.line().expect("the server answers");
            if line.starts_with(b"c ") {
                assert!(line.starts_with(b"c OK"), "{}", line.escape_ascii());
                break count;
            }
            let Some(line) = line.strip_suffix(b"}") else { continue };
            let digits = line.rsplit(|&b| b == b'{').next().expect("split yields something");
            let length: usize = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).expect("a length");
            let mut message = Vec::with_capacity(length);
            source.span(length, |piece| message.extend_from_slice(piece)).expect("the literal");
            count += 1;
            sender.send(message).expect("the delivery runs");
        }
    } else {
        send(&mut source, &format!("USER {user}\r\nPASS {password}\r\nSTAT\r\n"));
        let mut line = Vec::new();
        for _ in 0..4 {
            line = source.line().expect("the server answers");
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let count: usize = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        let mut asked = 0;
        for got in 0..count {
            if asked - got < 128 && asked < count {
                let until = (got + 256).min(count);
                send(&mut source, &(asked + 1..=until).map(|n| format!("RETR {n}\r\n")).collect::<String>());
                asked = until;
            }
            assert!(source.line().expect("the server answers").starts_with(b"+OK"));
            let mut message = Vec::new();
            source.dotted(|piece| message.extend_from_slice(piece)).expect("the message");
            sender.send(message).expect("the delivery runs");
        }
        send(&mut source, "QUIT\r\n");
        count
    };
    drop(sender);
    assert_eq!(delivery.join().expect("the delivery ends well"), count);
}

fn connect(port: &str) -> TcpStream {
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

fn send(to: &mut Buffered<TcpStream>, text: &str) {
    to.stream().write_all(text.as_bytes()).expect("the server reads");
}

fn deliver(stream: TcpStream, messages: &Receiver<Vec<u8>>) -> usize {
    let mut smtp = Buffered::new(stream);
    let expect = |smtp: &mut Buffered<TcpStream>, code: &[u8]| loop {
        let line = smtp.line().expect("the sink answers");
        if line.get(3) != Some(&b'-') {
            assert!(line.starts_with(code), "{}", line.escape_ascii());
            return;
        }
    };
    expect(&mut smtp, b"220");
    send(&mut smtp, "EHLO raw.bench.example\r\n");
    expect(&mut smtp, b"250");
    let (mut count, mut out) = (0, Vec::new());
    for message in messages {
        out.extend_from_slice(b"MAIL FROM:<sender@remote.example> BODY=8BITMIME\r\nRCPT TO:<bench@localhost>\r\nDATA\r\n");
        smtp.stream().write_all(&out).expect("the sink reads");
        [b"250", b"250", b"354"].iter().for_each(|code| expect(&mut smtp, *code));
        out.clear();
        stuff(&message, &mut out);
        smtp.stream().write_all(&out).expect("the sink reads");
        out.clear();
        expect(&mut smtp, b"250");
        count += 1;
    }
    send(&mut smtp, "QUIT\r\n");
    count
}
