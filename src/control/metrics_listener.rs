//! `metrics.listen`: a place on TCP for metrics alone. Prometheus cannot ask a unix socket, and the control socket is not for the network.

use super::Daemon;
use super::server::form_of;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// The header of a request has to come in this time.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// A connection is let go after this time, whatever it does.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// What a connection may keep of what it has read and not understood yet.
const BUFFER_OCTETS_MAX: usize = 16 * 1024;
/// Fields of a header.
const FIELDS_MAX: usize = 64;
/// After an error of accept(2), which is one of the system.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Takes the address.
pub async fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves for the rest of the process's life.
pub async fn serve(listener: TcpListener, daemon: Daemon) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, daemon.clone(), place))),
            Err(error) => {
                tracing::warn!(event = "metrics_accept_failed", reason = %error);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, daemon: Daemon, _place: OwnedSemaphorePermit) {
    let serve = service_fn(move |request| {
        let daemon = daemon.clone();
        async move { Ok::<_, Infallible>(respond(&request, &daemon).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME).max_headers(FIELDS_MAX).max_buf_size(BUFFER_OCTETS_MAX);
    // What goes wrong with one connection is between us and its client, who knows.
    let _ = tokio::time::timeout(CONNECTION_TIME, builder.serve_connection(TokioIo::new(stream), serve)).await;
}

async fn respond(request: &Request<Incoming>, daemon: &Daemon) -> Response<Full<Bytes>> {
    let form = form_of(request.headers());
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match daemon.metrics(form).await {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "this place takes GET only\n".to_owned()),
    };
    daemon.requests.answered(status.as_u16());
    let kind = if status == StatusCode::OK { form.media_type() } else { "text/plain; charset=utf-8" };
    let body = if request.method() == Method::HEAD { Bytes::new() } else { Bytes::from(text) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
