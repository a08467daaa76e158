//! Accepts connections and speaks HTTP. A client that is slow, stuck or hostile costs one of a fixed number of connections, and nobody else's mail.

use super::api::{Answer, Api, events};
use super::feed;
use super::jobs::Jobs;
use super::keys::{Key, Keys};
use super::logins::Logins;
use super::metrics::Form;
use super::problem::Problem;
use super::route::{Route, route};
use super::{Daemon, Listening};
use crate::service::command::Requester;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// The header of a request has to come in this time, and so has its body.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Longest body of a request.
const BODY_OCTETS_MAX: usize = 1024 * 1024;
/// What a connection may keep of what it has read and not understood yet.
const BUFFER_OCTETS_MAX: usize = 64 * 1024;
/// Fields of a header.
const FIELDS_MAX: usize = 64;
/// By it a request that is said again is known (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// After an error of accept(2), which is one of the system: too many open files.
const AFTER_ERROR: Duration = Duration::from_secs(1);

type Body = BoxBody<Bytes, Infallible>;

/// Serves for the rest of the process's life; the socket goes away with the future.
pub async fn serve(listening: Listening, daemon: Daemon) {
    let api = Arc::new(Api { daemon, jobs: Jobs::default(), keys: Keys::default(), logins: Logins::default() });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Who comes while all places are taken waits in the system's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listening.listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&api), place))),
            Err(error) => {
                tracing::warn!(event = "control_accept_failed", reason = %error);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, api: Arc<Api>, _place: OwnedSemaphorePermit) {
    // Who cannot be told is nobody we speak to.
    let Ok(peer) = stream.peer_cred() else { return };
    let uid = peer.uid();
    // Who does not read keeps a place; from inside the answer nothing else would end a connection whose other end is silent.
    let cut = Arc::new(Notify::new());
    let by_answer = Arc::clone(&cut);
    let serve = service_fn(move |request| {
        let (api, cut) = (Arc::clone(&api), Arc::clone(&by_answer));
        async move { Ok::<_, Infallible>(respond(request, &api, uid, cut).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME).max_headers(FIELDS_MAX).max_buf_size(BUFFER_OCTETS_MAX);
    // What goes wrong with one connection is between us and its client, who knows.
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(stream), serve) => {}
        () = cut.notified() => {}
    }
}

async fn respond(request: Request<Incoming>, api: &Arc<Api>, uid: u32, cut: Arc<Notify>) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let mut response = match answer(request, api, uid).await {
        Ok(Answer::Json(status, document)) => json(status, "application/json", &document),
        Ok(Answer::Tagged(status, document, tag)) => {
            let mut response = json(status, "application/json", &document);
            // A tag is hexadecimal.
            HeaderValue::from_str(&tag).ok().map(|tag| response.headers_mut().insert(ETAG, tag));
            response
        }
        Ok(Answer::Text(kind, text)) => {
            let mut response = Response::new(full(Bytes::from(text)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Ok(Answer::Events(job)) => {
            let events = events(job).map(|event| Ok(Frame::data(Bytes::from(event))));
            let mut response = Response::new(BodyExt::boxed(StreamBody::new(Box::pin(events.map(|frame: Result<_, Infallible>| frame)))));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response
        }
        // Who only asks for the head does not listen.
        Ok(Answer::Feed(events)) => {
            let mut response = Response::new(if is_head { full(Bytes::new()) } else { piecewise(feed::stream(events, cut)) });
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response
        }
        Ok(Answer::Lines(pieces, name)) => {
            let mut response = Response::new(piecewise(pieces));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            // A collector's name needs no quoting.
            let disposition = name.and_then(|name| HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).ok());
            disposition.map(|value| response.headers_mut().insert(CONTENT_DISPOSITION, value));
            response
        }
        Err(problem) => {
            let mut response = json(problem.status, "application/problem+json", &problem.json());
            if problem.status == 405 {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
            }
            response
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    api.daemon.requests.answered(response.status().as_u16());
    if is_head {
        *response.body_mut() = full(Bytes::new());
    }
    response
}

async fn answer(request: Request<Incoming>, api: &Arc<Api>, uid: u32) -> Result<Answer, Problem> {
    let (head, body) = request.into_parts();
    let route = route(head.method.as_str(), head.uri.path(), head.uri.query())?;
    if route == Route::Metrics {
        return api.metrics(form_of(&head.headers)).await;
    }
    let is_cli = head.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(super::client::AGENT.as_bytes()));
    let by = Requester::Socket { uid, agent: if is_cli { "cli" } else { "api" } };
    // The other methods are the same said once or twice.
    let key = head.headers.get(IDEMPOTENCY_KEY).filter(|_| head.method == Method::POST).map(|key| Key::new(uid, key.as_bytes())).transpose()?;
    let tag = head.headers.get(IF_MATCH).map(|tag| String::from_utf8_lossy(tag.as_bytes()).into_owned());
    let body = tokio::time::timeout(REQUEST_TIME, Limited::new(body, BODY_OCTETS_MAX).collect()).await;
    let body = body.map_err(|_| Problem::new(400, format!("the body did not come in {} s", REQUEST_TIME.as_secs())))?;
    let body = body.map_err(|_| Problem::new(413, format!("the body is broken, or longer than {BODY_OCTETS_MAX} octets")))?.to_bytes();
    match key {
        None => api.answer(route, &body, by, tag).await,
        Some(key) => api.answer_once(&key, head.uri.path(), route, body, by).await,
    }
}

/// The form of metrics that a request wants.
pub(super) fn form_of(headers: &HeaderMap) -> Form {
    Form::of_accept(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()))
}

fn json(status: u16, kind: &'static str, document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from(format!("{document}\n"))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A body that comes in pieces.
fn piecewise(pieces: mpsc::Receiver<Bytes>) -> Body {
    let pieces = stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|piece| (Ok::<_, Infallible>(Frame::data(piece)), pieces)) });
    BodyExt::boxed(StreamBody::new(Box::pin(pieces)))
}

fn full(octets: Bytes) -> Body {
    Full::new(octets).boxed()
}
