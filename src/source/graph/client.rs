//! Requests of one session: over a few connections, with the token, with the waits that the server asks for.

use super::super::auth::guard;
use super::super::{SourceError, SourceErrorKind};
use super::{PAGE_OCTETS_MAX, Shared, refusal};
use crate::mail::Secret;
use crate::net::{Answer, Nobody, Question, Seen, Web, WebError, WebErrorKind};
use crate::proto::graph::{Meaning, PAGES_MESSAGES, Problem, prefer};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// A wait that the server asks for is done in the session if it is no longer than this; else the session ends, and the next one comes later.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);
/// The waits of one session together.
const WAITS_MAX: Duration = Duration::from_secs(300);
/// The first wait where the server names none; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// So often one request is asked again because the server was busy.
const BUSY_MAX: u32 = 5;
/// So often one request is asked again because a gateway gave up waiting for its answer.
const GATEWAY_TRIES: u32 = 1;
/// So often one request is asked again because its connection broke.
const BREAKS_MAX: u32 = 2;
/// What is read of an answer that is of no interest, so that its connection can be used again.
const TOLD_OCTETS_MAX: u64 = 1024 * 1024;
/// Most of an error answer that is read.
const PROBLEM_OCTETS_MAX: usize = 64 * 1024;

/// What the requests of a session share.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    token: AsyncMutex<Token>,
    /// Connections that wait for a request.
    idle: Mutex<Vec<Web>>,
    at_once: Arc<Semaphore>,
    throttle: Mutex<Throttle>,
    peer: Mutex<Option<IpAddr>>,
}

struct Token {
    secret: Secret,
    /// The server has taken it.
    worked: bool,
}

#[derive(Default)]
struct Throttle {
    /// Nothing is asked before.
    until: Option<Instant>,
    waited: Duration,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    target: String,
    /// A document of JSON.
    body: Option<String>,
    /// Of an answer that has several of them.
    page_messages: usize,
}

/// What came of it.
pub(super) enum Begun {
    /// Success; the body is still to come.
    Answer(Box<Answer>, Box<Lane>),
    /// What the caller has to judge.
    Refused(Problem),
}

/// A connection, and the right to use it.
pub(super) struct Lane {
    web: Web,
    is_new: bool,
    client: Arc<Client>,
    _place: OwnedSemaphorePermit,
}

/// How often a request was tried, and why again.
#[derive(Default)]
struct Tries {
    busy: u32,
    breaks: u32,
    token: bool,
}

impl Ask {
    pub(super) fn get(target: String) -> Self {
        Ask { method: Method::GET, target, body: None, page_messages: PAGES_MESSAGES[0] }
    }

    pub(super) fn delete(target: String) -> Self {
        Ask { method: Method::DELETE, target, body: None, page_messages: PAGES_MESSAGES[0] }
    }

    pub(super) fn patch(target: String, body: String) -> Self {
        Ask { method: Method::PATCH, target, body: Some(body), page_messages: PAGES_MESSAGES[0] }
    }

    pub(super) fn post(target: String, body: String) -> Self {
        Ask { method: Method::POST, target, body: Some(body), page_messages: PAGES_MESSAGES[0] }
    }

    /// With so many messages to a page.
    pub(super) fn pages_of(self, page_messages: usize) -> Self {
        Ask { page_messages, ..self }
    }

    fn question(&self, token: &Secret) -> Result<Question, WebError> {
        let mut question = Question::new(self.method.clone(), self.target.clone());
        if let Some(body) = &self.body {
            question = question.body("application/json", body.clone());
        }
        question.field(HeaderName::from_static("prefer"), &prefer(self.page_messages))?.authorization(&format!("Bearer {}", token.expose()))
    }
}

impl Client {
    /// Reads the token, and connects.
    pub(super) async fn new(shared: Arc<Shared>) -> Result<Arc<Client>, SourceError> {
        // Read before anything else: a command that asks a vault may take longer than the server waits.
        let secret = (shared.token)().await.map_err(|why| SourceError::no_secret(&shared.peer, why))?;
        let web = shared.dialer.dial(&shared.web, &*shared.witness).await.map_err(|error| SourceError::web("connect", &shared.peer, error))?;
        guard(&shared.server, web.is_private(), &shared.peer)?;
        shared.witness.saw(Seen::LoggingIn("a bearer token".into()));
        let at_once = Arc::new(Semaphore::new(shared.at_once));
        let (token, peer) = (AsyncMutex::new(Token { secret, worked: false }), Mutex::new(web.peer_ip()));
        Ok(Arc::new(Client { shared, token, idle: Mutex::new(vec![web]), at_once, throttle: Mutex::default(), peer }))
    }

    /// The address of the server.
    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        *locked(&self.peer)
    }

    pub(super) fn error(&self, kind: SourceErrorKind, stage: &'static str, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, stage, &self.shared.peer, text)
    }

    /// A whole document, or why there is none. What broke on the way is asked again.
    pub(super) async fn document(self: &Arc<Self>, stage: &'static str, ask: &Ask) -> Result<Result<Vec<u8>, Problem>, SourceError> {
        let mut breaks = 0;
        loop {
            let (answer, lane) = match self.begin(stage, ask).await? {
                Begun::Answer(answer, lane) => (answer, lane),
                Begun::Refused(problem) => return Ok(Err(problem)),
            };
            is_whole_known(&answer).map_err(|text| self.error(SourceErrorKind::Protocol, stage, text))?;
            match answer.whole(PAGE_OCTETS_MAX).await {
                Ok(document) => {
                    lane.give_back();
                    return Ok(Ok(document));
                }
                Err(error) if error.kind == WebErrorKind::Closed && breaks < BREAKS_MAX => breaks += 1,
                Err(error) => return Err(SourceError::web(stage, &self.shared.peer, error)),
            }
        }
    }

    /// Several documents, in the order of what was asked, as many at once as may be.
    pub(super) async fn documents(self: &Arc<Self>, stage: &'static str, asks: Vec<Ask>) -> Result<Vec<Result<Vec<u8>, Problem>>, SourceError> {
        let one = |ask: Ask| -> BoxFuture<'_, _> { async move { self.document(stage, &ask).await }.boxed() };
        stream::iter(asks).map(one).buffered(self.shared.at_once).try_collect().await
    }

    /// Has several things done, as many at once as may be. What the server tells besides, the whole text of a message maybe, is of no interest.
    pub(super) async fn acts(self: &Arc<Self>, stage: &'static str, asks: Vec<Ask>) -> Result<Vec<Result<(), Problem>>, SourceError> {
        let one = |ask: Ask| -> BoxFuture<'_, Result<Result<(), Problem>, SourceError>> {
            async move {
                match self.begin(stage, &ask).await? {
                    Begun::Answer(answer, lane) => {
                        if answer.finish(TOLD_OCTETS_MAX).await.is_ok() {
                            lane.give_back();
                        }
                        Ok(Ok(()))
                    }
                    Begun::Refused(problem) => Ok(Err(problem)),
                }
            }
            .boxed()
        };
        stream::iter(asks).map(one).buffered(self.shared.at_once).try_collect().await
    }

    /// Asks until there is an answer that the caller can do something with.
    pub(super) async fn begin(self: &Arc<Self>, stage: &'static str, ask: &Ask) -> Result<Begun, SourceError> {
        let mut tries = Tries::default();
        loop {
            self.wait_for_turn().await;
            let mut lane = self.lane(stage).await?;
            let token = self.token.lock().await.secret.clone();
            let question = ask.question(&token).map_err(|error| SourceError::no_secret(&self.shared.peer, error.text))?;
            let answer = match lane.web.ask(question).await {
                Ok(answer) => answer,
                // Everything that we ask can be asked twice: the second answer then says that it is done, or not there any more. A connection that
                // was idle may have been closed at any time, which says nothing.
                Err(error) if error.kind == WebErrorKind::Closed && (!lane.is_new || tries.breaks < BREAKS_MAX) => {
                    tries.breaks += u32::from(lane.is_new);
                    continue;
                }
                Err(error) => return Err(SourceError::web(stage, &self.shared.peer, error)),
            };
            if answer.is_success() {
                // Graph has no pages for people: what a gateway says is neither a message nor a sign that anything was done.
                if answer.field(&CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html")) {
                    return Err(self.error(
                        SourceErrorKind::Protocol,
                        stage,
                        format!("{} with a page of HTML, which is no answer of Graph", answer.status),
                    ));
                }
                self.token.lock().await.worked = true;
                return Ok(Begun::Answer(Box::new(answer), Box::new(lane)));
            }
            let (status, retry_after) = (answer.status, answer.retry_after());
            // A status is an answer, with or without words.
            let body = match answer.whole(PROBLEM_OCTETS_MAX).await {
                Ok(body) => {
                    lane.give_back();
                    body
                }
                Err(_) => Vec::new(),
            };
            let problem = Problem::of(status, &body);
            match problem.meaning() {
                Meaning::Token if !tries.token && self.renewed(&token).await? => tries.token = true,
                Meaning::Token => return Err(refusal::error(&self.shared, "login", &problem)),
                Meaning::Busy => self.pause(stage, &problem, retry_after, &mut tries)?,
                // A gateway that waited in vain: for this one thing, or for anything now.
                Meaning::Failed if matches!(problem.status, 502 | 504) && tries.busy < GATEWAY_TRIES => {
                    self.pause(stage, &problem, retry_after, &mut tries)?;
                }
                _ => return Ok(Begun::Refused(problem)),
            }
        }
    }

    /// A connection that is free, or a new one, when fewer requests are on their way than may be.
    async fn lane(self: &Arc<Self>, stage: &'static str) -> Result<Lane, SourceError> {
        let place = Arc::clone(&self.at_once).acquire_owned().await;
        let _place = place.map_err(|_| self.error(SourceErrorKind::Closed, stage, "the session has ended"))?;
        loop {
            let Some(web) = locked(&self.idle).pop() else { break };
            if web.can_ask() {
                return Ok(Lane { web, is_new: false, client: Arc::clone(self), _place });
            }
        }
        let web = self.shared.dialer.dial(&self.shared.web, &Nobody).await.map_err(|error| SourceError::web(stage, &self.shared.peer, error))?;
        guard(&self.shared.server, web.is_private(), &self.shared.peer)?;
        *locked(&self.peer) = web.peer_ip();
        Ok(Lane { web, is_new: true, client: Arc::clone(self), _place })
    }

    /// True if there is another token than the one that was refused. One that never worked is not asked for again: the same would come.
    async fn renewed(&self, refused: &Secret) -> Result<bool, SourceError> {
        let mut token = self.token.lock().await;
        if token.secret != *refused {
            return Ok(true);
        }
        if !token.worked {
            return Ok(false);
        }
        let secret = (self.shared.token)().await.map_err(|why| SourceError::no_secret(&self.shared.peer, why))?;
        let is_other = secret != *refused;
        *token = Token { secret, worked: false };
        Ok(is_other)
    }

    async fn wait_for_turn(&self) {
        // Somebody else may be told to wait meanwhile.
        loop {
            let until = locked(&self.throttle).until.filter(|until| *until > Instant::now());
            match until {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// The server is busy: all requests of the session wait, if that is short.
    fn pause(&self, stage: &'static str, problem: &Problem, retry_after: Option<Duration>, tries: &mut Tries) -> Result<(), SourceError> {
        let wait = retry_after.unwrap_or(WAIT_FIRST * 2u32.pow(tries.busy.min(BUSY_MAX))).max(WAIT_FIRST / 4);
        tries.busy += 1;
        let mut throttle = locked(&self.throttle);
        let (now, until) = (Instant::now(), throttle.until);
        let until = until.unwrap_or(now).max(now + wait);
        let more = until - throttle.until.unwrap_or(now).max(now);
        if wait > WAIT_MAX || tries.busy > BUSY_MAX || throttle.waited + more > WAITS_MAX {
            return Err(refusal::error(&self.shared, stage, problem).after(wait));
        }
        tracing::debug!(event = "graph_waits", collector = %self.shared.collector, server = self.shared.peer, seconds = wait.as_secs_f32(), reason = %problem);
        throttle.waited += more;
        throttle.until = Some(until);
        Ok(())
    }
}

impl Lane {
    /// The answer was read to its end: the connection can be used for another one.
    pub(super) fn give_back(self) {
        if self.web.can_ask() {
            locked(&self.client.idle).push(self.web);
        }
    }
}

/// An error if nobody can tell whether the body is whole: one that only the connection's end ends.
pub(super) fn is_whole_known(answer: &Answer) -> Result<(), String> {
    let is_chunked = answer.field(&hyper::header::TRANSFER_ENCODING).is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    match answer.announced().is_some() || is_chunked {
        true => Ok(()),
        false => Err("the answer has neither Content-Length nor chunks: nobody can tell whether it is whole".into()),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
