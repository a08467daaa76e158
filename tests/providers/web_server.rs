//! A scripted web server on the port of HTTPS of a loopback address, with a listener on that of HTTP, where nobody may come.

use crate::support::LoopbackAddress;
use crate::support::certificates::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What stands for the certificate's names.
pub struct WebServer {
    address: LoopbackAddress,
    folder: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<usize>>,
    ends: Arc<AtomicBool>,
}

/// An answer, octet by octet; a slow one is sent an octet each 100 ms.
#[derive(Clone)]
pub struct Page {
    pub octets: Vec<u8>,
    pub slow: bool,
}

impl WebServer {
    /// Serves pages by `host/path`, without the query; what is not there is a 404. The certificate is for `names`.
    pub fn start(names: &[&str], pages: HashMap<String, Page>) -> WebServer {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::of(folder.path(), names);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&made.certificate).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&made.key).unwrap();
        mailgather::net::install_crypto_provider();
        let config = Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
        let address = LoopbackAddress::reserve();
        let (requests, open, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)), Arc::new(AtomicBool::new(false)));
        let pages = Arc::new(pages);
        let asked = Arc::clone(&requests);
        listen((address.ip(), 443), &ends, move |stream| {
            let (config, pages, asked) = (Arc::clone(&config), Arc::clone(&pages), Arc::clone(&asked));
            std::thread::spawn(move || serve(config, stream, &pages, &asked));
        });
        let count = Arc::clone(&open);
        listen((address.ip(), 80), &ends, move |_| *count.lock().unwrap() += 1);
        WebServer { address, folder, requests, open, ends }
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.address.ip()
    }

    /// The authority that a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// `host path?query` of each request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How many came to the port of HTTP.
    pub fn open_requests(&self) -> usize {
        *self.open.lock().unwrap()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn listen(at: (Ipv4Addr, u16), ends: &Arc<AtomicBool>, mut take: impl FnMut(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind(at).expect("the tests run as root");
    listener.set_nonblocking(true).unwrap();
    let ends = Arc::clone(ends);
    std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    take(stream);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    });
}

fn serve(config: Arc<rustls::ServerConfig>, stream: TcpStream, pages: &HashMap<String, Page>, asked: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
    let (mut request, mut octet) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        // A client that does not trust us goes away here.
        match tls.read(&mut octet) {
            Ok(1) => request.push(octet[0]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).to_lowercase();
    let target = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(format!("{host} {target}"));
    let path = target.split('?').next().unwrap_or_default();
    let missing = Page { octets: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), slow: false };
    let page = pages.get(&format!("{host}{path}")).unwrap_or(&missing);
    for piece in page.octets.chunks(if page.slow { 1 } else { usize::MAX }) {
        if tls.write_all(piece).and_then(|()| tls.flush()).is_err() {
            return;
        }
        if page.slow {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    tls.conn.send_close_notify();
    let _ = tls.flush();
}
