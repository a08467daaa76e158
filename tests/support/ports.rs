//! Loopback ports that no other test has, in this process or another.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports under the range from which Linux takes those of outgoing connections (32768), so that none is taken between our choice and the
/// server's bind.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of 127.0.0.1 that is reserved as long as this value lives.
pub struct Port {
    number: u16,
    // The kernel drops the lock with the process, however it ends.
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        let folder = std::env::temp_dir().join("mailgather-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for the locks of ports");
        for _ in 0..COUNT {
            let number = FIRST + next(&folder);
            let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// True if somebody accepts connections.
    pub fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.number)).is_ok()
    }
}

/// All processes take one port after the other: one that was given back rests for long, so that a test which expects nobody there finds nobody.
fn next(folder: &Path) -> u16 {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join("next")).expect("our own file");
    file.lock().expect("nobody holds it for long");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("a number");
    // Who uses another folder starts elsewhere.
    let number = text.trim().parse().unwrap_or_else(|_| (std::process::id() % 100) as u16 * 97) % COUNT;
    file.rewind().and_then(|()| write!(file, "{:<8}", number + 1)).expect("our own file");
    number
}

/// An address of 127.0.0.0/8 that is reserved as long as this value lives, for servers on the ports that they have in the world.
pub struct LoopbackAddress {
    ip: Ipv4Addr,
    _lock: File,
}

impl LoopbackAddress {
    /// Reserves one that nobody has.
    pub fn reserve() -> LoopbackAddress {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = std::env::temp_dir().join("mailgather-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for the locks of addresses");
        let start = std::process::id().wrapping_mul(97) as u16;
        for _ in 0..=u16::MAX {
            let [high, low] = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
            // 127.77 and other low ones are where tests expect nobody.
            let ip = Ipv4Addr::new(127, 123, high, low.clamp(1, 254));
            let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(ip.to_string())) else { continue };
            if lock.try_lock().is_ok() {
                return LoopbackAddress { ip, _lock: lock };
            }
        }
        panic!("no free address in 127.123.0.0/16");
    }

    /// It.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }
}
