//! A small HTTP/1.1 server for the fakes of web services: plain or with TLS, a handler for each request, answers that may be streamed, broken off or kept
//! back, a latency for all, and counts of what was open at once.
//!
//! It has threads of its own, so that a test needs no runtime, and ends with the value.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use hyper::header;
pub use hyper::{HeaderMap, Method, StatusCode};

/// Longest request that is taken.
const REQUEST_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// Octets of each piece that `pieces` makes of a body.
const PIECE: usize = 16 * 1024;

/// What a handler is asked: its body is whole. `Connection` is among its extensions.
pub type Request = hyper::Request<Bytes>;
/// What a handler answers.
pub type Response = hyper::Response<Body>;
/// The body of an answer; an error in it breaks the connection off.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection that a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Counted from 1.
    pub number: u64,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Whether it has TLS.
    pub tls: bool,
}

/// A server that runs.
pub struct WebServer {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Default)]
struct Shared {
    /// Of each request, in milliseconds.
    latency: AtomicU64,
    connections: Count,
    requests: Count,
    log: Mutex<Vec<String>>,
}

/// How many there are, were at once at most, and were in all.
#[derive(Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl WebServer {
    /// Serves plain HTTP on a port of 127.0.0.1.
    pub fn plain<H, F>(handler: H) -> WebServer
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        WebServer::at((Ipv4Addr::LOCALHOST, 0).into(), None, handler)
    }

    /// The same with TLS; `Identity::server` of `certificates` makes a configuration.
    pub fn tls<H, F>(config: Arc<rustls::ServerConfig>, handler: H) -> WebServer
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        WebServer::at((Ipv4Addr::LOCALHOST, 0).into(), Some(config), handler)
    }

    /// The same at an address of the test's own.
    pub fn at<H, F>(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>, handler: H) -> WebServer
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let listener = std::net::TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it listens");
        listener.set_nonblocking(true).expect("a socket");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let is_tls = tls.is_some();
        runtime.spawn(accept(
            listener,
            tls.map(TlsAcceptor::from),
            Arc::clone(&shared),
            Arc::new(move |request| Box::pin(handler(request)) as Answering),
        ));
        WebServer { address, tls: is_tls, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:port`, without a slash at the end; with TLS `https://localhost:port`, for which certificates are made.
    pub fn url(&self) -> String {
        match self.tls {
            true => format!("https://localhost:{}", self.port()),
            false => format!("http://{}", self.address),
        }
    }

    /// How long each request waits from now on before the handler sees it: the round trip of a network.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.latency.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// `GET /path?query` of each request, in the order in which they came.
    pub fn requests(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Requests that are being answered now.
    pub fn requests_now(&self) -> usize {
        self.shared.requests.now.load(Ordering::SeqCst)
    }

    /// Requests that were being answered at once at most; one is answered when the last octet of its answer has left the handler.
    pub fn requests_at_once(&self) -> usize {
        self.shared.requests.most.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn connections_now(&self) -> usize {
        self.shared.connections.now.load(Ordering::SeqCst)
    }

    /// Connections that were open at once at most.
    pub fn connections_at_once(&self) -> usize {
        self.shared.connections.most.load(Ordering::SeqCst)
    }

    /// Connections that ever were.
    pub fn connections(&self) -> usize {
        self.shared.connections.all.load(Ordering::SeqCst)
    }

    /// Counts requests and connections from here on.
    pub fn forget(&self) {
        self.shared.log.lock().unwrap().clear();
        for count in [&self.shared.requests, &self.shared.connections] {
            count.most.store(count.now.load(Ordering::SeqCst), Ordering::SeqCst);
            count.all.store(0, Ordering::SeqCst);
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // Also from within a test's own runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An answer of this status with a body of this type.
pub fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Response {
    hyper::Response::builder().status(status).header(CONTENT_TYPE, kind).body(full(body)).expect("a status and a type")
}

/// An answer without a body.
pub fn empty(status: u16) -> Response {
    hyper::Response::builder().status(status).body(full(Bytes::new())).expect("a status")
}

/// A document of JSON.
pub fn json(status: u16, document: &serde_json::Value) -> Response {
    answer(status, "application/json; charset=utf-8", document.to_string())
}

/// The same answer with one more field.
pub fn with(mut response: Response, name: &'static str, value: &str) -> Response {
    response.headers_mut().append(name, value.parse().expect("the value of a field"));
    response
}

/// Closes the connection without an answer.
pub fn hang_up() -> Response {
    let mut response = empty(500);
    response.extensions_mut().insert(HangUp);
    response
}

/// A body as it is, with its length.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body in chunks, as they come.
pub fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A body in chunks of some KiB, each after `pause`.
pub fn pieces(body: impl Into<Bytes>, pause: Duration) -> Body {
    let mut rest = body.into();
    let parts = std::iter::from_fn(move || (!rest.is_empty()).then(|| rest.split_to(rest.len().min(PIECE))));
    streamed(stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(pause).await;
        Ok(part)
    }))
}

/// These octets, and then the connection breaks in the middle of the body. With `Content-Length` set by the handler it breaks before that length, else
/// within the chunks.
pub fn broken_off(body: impl Into<Bytes>) -> Body {
    let piece = Ok(body.into());
    streamed(stream::iter([piece]).chain(stream::once(async {
        // What was said before is on its way when the connection breaks.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::other("the test breaks it off"))
    })))
}

#[derive(Debug, Clone, Copy)]
struct HangUp;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

async fn accept(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>, handler: Handler) {
    let listener = TcpListener::from_std(listener).expect("it is non-blocking");
    let mut number = 0;
    while let Ok((stream, peer)) = listener.accept().await {
        number += 1;
        let connection = Connection { number, peer, tls: tls.is_some() };
        let (tls, shared, handler) = (tls.clone(), Arc::clone(&shared), Arc::clone(&handler));
        tokio::spawn(async move {
            let _open = Counted::new(&shared, |shared| &shared.connections);
            let _ = stream.set_nodelay(true);
            match tls {
                None => serve(stream, connection, &shared, handler).await,
                // A client that does not trust us goes away here.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, connection, &shared, handler).await;
                    }
                }
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, connection: Connection, shared: &Arc<Shared>, handler: Handler) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (shared, handler) = (Arc::clone(shared), Arc::clone(&handler));
        async move {
            let counted = Counted::new(&shared, |shared| &shared.requests);
            shared.log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let (head, body) = request.into_parts();
            let body = Limited::new(body, REQUEST_OCTETS_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
            let mut request = hyper::Request::from_parts(head, body);
            request.extensions_mut().insert(connection);
            let latency = Duration::from_millis(shared.latency.load(Ordering::Relaxed));
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let response = handler(request).await;
            match response.extensions().get::<HangUp>() {
                Some(_) => Err(io::Error::other("the test hangs up")),
                None => Ok(response.map(|body| Watched { body, _counted: counted })),
            }
        }
    });
    // What goes wrong with one connection is between the two.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(600))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

struct Counted {
    shared: Arc<Shared>,
    which: fn(&Shared) -> &Count,
}

impl Counted {
    fn new(shared: &Arc<Shared>, which: fn(&Shared) -> &Count) -> Counted {
        let count = which(shared);
        count.all.fetch_add(1, Ordering::SeqCst);
        let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(now, Ordering::SeqCst);
        Counted { shared: Arc::clone(shared), which }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.shared).now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body that counts as a request until its end.
struct Watched {
    body: Body,
    _counted: Counted,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
