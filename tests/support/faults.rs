//! A TCP proxy that breaks connections on purpose, at an octet that the test chooses; and servers that accept and never say a word.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Both sides are closed after so many octets.
    Close(u64),
    /// Both sides are reset (RST) after so many octets.
    Reset(u64),
    /// After so many octets nothing more comes in this direction, and the connection stays open.
    Stall(u64),
    /// After so many octets this direction is closed (FIN), the other one stays.
    HalfClose(u64),
    /// One octet each time.
    Trickle(Duration),
}

impl Fault {
    /// How many octets are let through whole.
    fn room(self) -> u64 {
        match self {
            Fault::None | Fault::Trickle(_) => u64::MAX,
            Fault::Close(octets) | Fault::Reset(octets) | Fault::Stall(octets) | Fault::HalfClose(octets) => octets,
        }
    }
}

/// The direction in which a fault counts and strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// From the server to the client.
    Client,
    /// From the client to the server.
    Server,
}

/// A running proxy; its connections end with it.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    runtime: Option<Runtime>,
}

struct Shared {
    towards: Towards,
    fault: Fault,
    connections: usize,
    /// Octets passed on by the last connection: towards the client, towards the server.
    octets: [u64; 2],
    /// How often a fault struck.
    struck: usize,
}

impl FaultProxy {
    /// A proxy before this port of 127.0.0.1, without a fault yet.
    pub fn start(target: u16) -> FaultProxy {
        let shared = Shared { towards: Towards::Client, fault: Fault::None, connections: 0, octets: [0; 2], struck: 0 };
        let (shared, runtime) = (Arc::new(Mutex::new(shared)), runtime());
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = shared.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target, state.clone()));
            }
        });
        FaultProxy { port, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens to connections that are made from now on.
    pub fn set(&self, towards: Towards, fault: Fault) {
        let mut shared = self.lock();
        (shared.towards, shared.fault) = (towards, fault);
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// How many octets the last connection has passed on.
    pub fn octets(&self, towards: Towards) -> u64 {
        self.lock().octets[towards as usize]
    }

    /// How often a fault struck.
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no thread panics with the lock")
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How a connection ended before its time.
enum Broken {
    Closed,
    Reset,
}

async fn connection(client: TcpStream, target: u16, shared: Arc<Mutex<Shared>>) {
    let (towards, fault) = {
        let mut shared = shared.lock().expect("no thread panics with the lock");
        shared.connections += 1;
        shared.octets = [0; 2];
        (shared.towards, shared.fault)
    };
    // What a proxy would gather in one packet stays apart: each octet counts.
    let _ = client.set_nodelay(true);
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let _ = server.set_nodelay(true);
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
    let of = |direction| if direction == towards { fault } else { Fault::None };
    let ended = tokio::try_join!(
        pump(&mut from_server, &mut to_client, Towards::Client, of(Towards::Client), &shared),
        pump(&mut from_client, &mut to_server, Towards::Server, of(Towards::Server), &shared),
    );
    if let Err(Broken::Reset) = ended {
        // Without a time to linger a close is a RST; and dropping a half must send no FIN before.
        for half in [&from_client, &from_server] {
            let _ = half.as_ref().set_zero_linger();
        }
        to_client.forget();
        to_server.forget();
    }
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, towards: Towards, fault: Fault, shared: &Mutex<Shared>) -> Result<(), Broken> {
    let mut buffer = vec![0; 65536];
    let mut room = fault.room();
    loop {
        if room == 0 {
            shared.lock().expect("no thread panics with the lock").struck += 1;
            match fault {
                Fault::Close(_) => return Err(Broken::Closed),
                Fault::Reset(_) => return Err(Broken::Reset),
                Fault::HalfClose(_) => {
                    let _ = to.shutdown().await;
                }
                _ => {}
            }
            // Nothing more is read either, so that the other direction decides when the connection ends.
            return Ok(());
        }
        let most = buffer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let octets = match from.read(&mut buffer[..most]).await {
            Ok(octets) if octets > 0 => octets,
            _ => {
                let _ = to.shutdown().await;
                return Ok(());
            }
        };
        if fault.room() < u64::MAX {
            room -= octets as u64;
        }
        let step = if let Fault::Trickle(_) = fault { 1 } else { octets };
        for piece in buffer[..octets].chunks(step) {
            if to.write_all(piece).await.is_err() {
                return Err(Broken::Closed);
            }
            shared.lock().expect("no thread panics with the lock").octets[towards as usize] += piece.len() as u64;
            if let Fault::Trickle(each) = fault {
                tokio::time::sleep(each).await;
            }
        }
    }
}

/// A server that accepts every connection and never says a word.
pub struct BlackHole {
    port: u16,
    runtime: Option<Runtime>,
}

impl BlackHole {
    /// Starts it.
    pub fn start() -> BlackHole {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        runtime.spawn(async move {
            let mut open = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                open.push(client);
            }
        });
        BlackHole { port, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}
