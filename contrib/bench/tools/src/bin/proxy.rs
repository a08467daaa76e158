//! proxy MILLISECONDS LISTEN-PORT=TARGET-PORT…: passes on every octet so much later, each way. Bandwidth is not limited. At a connection's end
//! it prints how many octets went to the server and how many came from it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let delay = Duration::from_millis(arguments.next().and_then(|a| a.parse().ok()).expect("milliseconds"));
    let threads: Vec<_> = arguments
        .map(|pair| {
            let (from, to) = pair.split_once('=').expect("LISTEN=TARGET");
            let (from, to): (u16, u16) = (from.parse().expect("a port"), to.parse().expect("a port"));
            let listener = TcpListener::bind(("127.0.0.1", from)).expect("a free port");
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    // Connecting costs a round trip too: the client is answered by us at once, its first octets wait for it.
                    std::thread::spawn(move || {
                        std::thread::sleep(2 * delay);
                        let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
                        let ways = [(&client, &server), (&server, &client)].map(|(from, to)| {
                            let _ = from.set_nodelay(true);
                            Some(pass(from.try_clone().ok()?, to.try_clone().ok()?, delay))
                        });
                        let octets = ways.map(|way| way.and_then(|way| way.join().ok()).unwrap_or(0));
                        println!("{} {}", octets[0], octets[1]);
                    });
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| drop(t.join()));
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) -> JoinHandle<usize> {
    // Deep enough that nothing is held back: up to 64 MB are on their way.
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(1024);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || sender.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        let mut octets = 0;
        for (due, piece) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
            octets += piece.len();
        }
        let _ = to.shutdown(Shutdown::Write);
        octets
    })
}
