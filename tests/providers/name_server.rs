//! A scripted name server.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const A: u8 = 1;
const MX: u8 = 15;
const SRV: u8 = 33;

/// A name, a type and data.
pub type Record = (String, u8, Vec<u8>);

/// Answers from a table (RFC 1035 §4); what is not in it does not exist. Remembers who was asked for.
pub struct NameServer {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
}

impl NameServer {
    pub fn start(records: Vec<Record>) -> NameServer {
        NameServer::of(records, false)
    }

    /// One that answers SERVFAIL, whatever it is asked.
    pub fn failing() -> NameServer {
        NameServer::of(Vec::new(), true)
    }

    fn of(records: Vec<Record>, fails: bool) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (port, asked, ends) = (socket.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (names, end) = (Arc::clone(&asked), Arc::clone(&ends));
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                let Ok((_, peer)) = socket.recv_from(&mut packet) else { continue };
                let length = packet[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
                let question = &packet[12..12 + length + 4];
                let (asked, kind) = (question[..length].to_ascii_lowercase(), question[length + 1]);
                names.lock().unwrap().push(dotted(&asked));
                let known: Vec<&Record> = records.iter().filter(|(name, ..)| labels(name) == asked).collect();
                let data: Vec<&Vec<u8>> = known.iter().filter(|(_, of, _)| *of == kind).map(|(.., data)| data).collect();
                let code = match (fails, known.is_empty()) {
                    (true, _) => 2,
                    (false, true) => 3,
                    (false, false) => 0,
                };
                let mut reply = vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, if fails { 0 } else { data.len() as u8 }, 0, 0, 0, 0];
                reply.extend_from_slice(question);
                for data in data.iter().filter(|_| !fails) {
                    reply.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                    reply.extend_from_slice(data);
                }
                socket.send_to(&reply, peer).unwrap();
            }
        });
        NameServer { port, asked, ends }
    }

    /// How many questions there were.
    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// True if somebody asked for this name.
    pub fn was_asked_for(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == name)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

pub fn address(name: &str, ip: Ipv4Addr) -> Record {
    (name.to_owned(), A, ip.octets().to_vec())
}

pub fn mx(name: &str, preference: u8, host: &str) -> Record {
    (name.to_owned(), MX, [vec![0, preference], labels(host)].concat())
}

pub fn srv(name: &str, priority: u8, weight: u8, port: u16, host: &str) -> Record {
    let mut data = vec![0, priority, 0, weight];
    data.extend(port.to_be_bytes());
    (name.to_owned(), SRV, [data, labels(host)].concat())
}

/// A name as octets, with its end.
fn labels(name: &str) -> Vec<u8> {
    let parts = name.split('.').filter(|label| !label.is_empty()).flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    parts.chain([0]).collect()
}

/// The other way round.
fn dotted(labels: &[u8]) -> String {
    let (mut names, mut rest) = (Vec::new(), labels);
    while let [length @ 1..=63, behind @ ..] = rest {
        names.push(String::from_utf8_lossy(&behind[..usize::from(*length)]).into_owned());
        rest = &behind[usize::from(*length)..];
    }
    names.join(".")
}
