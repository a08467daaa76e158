//! The web server under all fakes does what its page says.

use crate::support::certificates::{Authority, for_names};
use crate::support::web::{self, WebServer};
use crate::support::{SOON, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn ask(server: &WebServer, requests: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn answers_whole_streamed_broken_and_none() {
    let server = WebServer::plain(|request| async move {
        let connection = *request.extensions().get::<web::Connection>().unwrap();
        assert!(!connection.tls && connection.number > 0);
        match request.uri().path() {
            "/whole" => web::with(web::answer(200, "text/plain", request.into_body()), "x-one", "two"),
            "/json" => web::json(503, &serde_json::json!({"a": 1})),
            "/pieces" => web::Response::new(web::pieces("z".repeat(40_000), Duration::from_millis(1))),
            "/chunks" => web::Response::new(web::broken_off("half")),
            "/length" => web::with(web::Response::new(web::broken_off("half")), "content-length", "8"),
            _ => web::hang_up(),
        }
    });
    let of = |path: &str| ask(&server, &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"));
    let whole = of("/whole");
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.contains("x-one: two\r\n") && whole.ends_with("\r\n\r\nabc"), "{whole}");
    let json = of("/json");
    assert!(json.starts_with("HTTP/1.1 503 ") && json.ends_with("{\"a\":1}"), "{json}");
    let pieces = of("/pieces");
    assert!(pieces.matches('z').count() == 40_000 && pieces.ends_with("0\r\n\r\n"), "{:.200}", pieces);
    let chunks = of("/chunks");
    assert!(chunks.contains("half") && !chunks.ends_with("0\r\n\r\n"), "{chunks}");
    let length = of("/length");
    assert!(length.contains("content-length: 8\r\n") && length.ends_with("\r\n\r\nhalf"), "{length}");
    assert_eq!(of("/other"), "");
    assert_eq!(server.requests().len(), 6);
    assert_eq!(server.requests()[1], "POST /json");
    eventually("all are closed", SOON, || server.connections_now() == 0 && server.requests_now() == 0);
    // The end of one may be seen behind the beginning of the next.
    assert!(server.connections() == 6 && server.connections_at_once() <= 2 && server.requests_at_once() <= 2);
}

#[test]
fn the_latency_of_requests_at_once_is_waited_for_once() {
    let server = WebServer::plain(|_| async { web::empty(204) });
    server.set_latency(Duration::from_millis(300));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(&server, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!((server.requests_at_once(), server.connections_at_once()), (4, 4));
    server.forget();
    assert_eq!((server.connections(), server.requests().len()), (0, 0));
}

#[test]
fn with_a_certificate_it_speaks_tls() {
    let authority = Authority::new();
    let server = WebServer::tls(authority.sign(for_names(&["localhost"])).server(), |request| async move {
        assert!(request.extensions().get::<web::Connection>().unwrap().tls);
        web::answer(200, "text/plain", "over tls")
    });
    assert!(server.url().starts_with("https://localhost:"));
    let mut roots = rustls::RootCertStore::empty();
    let file = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_file(authority.file()).unwrap();
    roots.add(file).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connection = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(server.address()).unwrap());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.ends_with("over tls"), "{text}");
    // Who does not speak TLS is not answered.
    assert!(!ask(&server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").contains("over tls"));
}
