//! Does what a request asks for.

use super::Daemon;
use super::jobs::{Job, Jobs};
use super::keys::{Done, Key, Keys, Said};
use super::logins::Logins;
use super::metrics::Form;
use super::problem::Problem;
use super::route::Route;
use super::show;
use crate::config::{Collector, Diff, log_written, store};
use crate::history::{self, Event};
use crate::ledger::Forget;
use crate::mail::CollectorId;
use crate::mail::outcome::harmless;
use crate::oauth::Keeper;
use crate::oauth::told::told;
use crate::observe::logging::audit;
use crate::observe::logging::read::{self, Wanted};
use crate::service::command::{Collect, Command, Manner, Reload, Requester, SwitchTo};
use crate::service::refetch::UIDS_MAX;
use crate::service::switches::FOR_DAYS_MAX;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Most collectors that one request names.
const NAMES_MAX: usize = 20_000;
/// Most messages that one request may name as its limit: as `max_messages_per_session`.
const LIMIT_MAX: u64 = 100_000;
/// Pieces of a log that wait for who reads it.
const PIECES_MAX: usize = 4;
/// How long a look into the history waits for what is about to be written there.
const HISTORY_WAIT: Duration = Duration::from_secs(2);
/// The words for a configuration that was refused: its page explains the whole family.
pub(super) const CONFIG: u16 = crate::mail::code::CONFIG_REJECTED;

/// The answer to a request.
pub(super) enum Answer {
    /// A document, with the status of HTTP.
    Json(u16, Value),
    /// A text of this media type.
    Text(&'static str, String),
    /// The events of a job until its end.
    Events(Arc<Job>),
    /// What happens from now on.
    Feed(broadcast::Receiver<Arc<Event>>),
    /// A document with its entity tag (RFC 9110 §8.8.3).
    Tagged(u16, Value, String),
    /// Lines of text as they come, to be kept as a file of this name.
    Lines(mpsc::Receiver<Bytes>, Option<String>),
}

/// What requests are answered from.
pub(super) struct Api {
    pub daemon: Daemon,
    pub jobs: Jobs,
    pub keys: Keys,
    pub logins: Logins,
}

impl Api {
    pub(super) async fn answer(&self, route: Route, body: &[u8], by: Requester, tag: Option<String>) -> Result<Answer, Problem> {
        let shown = || self.daemon.board.shown();
        let fine = |document| Ok(Answer::Json(200, document));
        match route {
            Route::Live => fine(json!({"live": true})),
            Route::Ready => match shown().stopping {
                false => fine(json!({"ready": true})),
                true => Err(Problem::new(503, "the service is being stopped")),
            },
            Route::Health => {
                let shown = shown();
                let failing: Vec<&str> = shown
                    .collectors
                    .iter()
                    .filter(|(_, listed)| listed.collector.enabled && shown.enabled && listed.status.snapshot().failures > 0)
                    .map(|(id, _)| id.as_str())
                    .collect();
                let status = if failing.is_empty() && shown.rejected.is_none() { 200 } else { 503 };
                Ok(Answer::Json(status, json!({"healthy": status == 200, "failing": failing, "config_ok": shown.rejected.is_none()})))
            }
            Route::OpenApi => fine(serde_json::from_str(include_str!("openapi.json")).map_err(|error| Problem::new(500, error.to_string()))?),
            Route::Metrics => self.metrics(Form::Prometheus).await,
            Route::Notices => fine(self.daemon.notices.json().await),
            Route::TestNotices => {
                let results = self.daemon.notices.test(&by.to_string()).await;
                fine(
                    json!({"results": results.iter().map(|result| json!({"channel": result.channel, "ok": result.outcome.is_ok(), "reason": result.outcome.as_ref().err()})).collect::<Vec<_>>()}),
                )
            }
            Route::Status => fine(show::service(&shown(), Timestamp::now())),
            Route::Collectors => {
                let shown = shown();
                let all: Vec<Value> = shown.collectors.values().map(|listed| show::collector(listed, &shown)).collect();
                fine(json!({"collectors": all}))
            }
            Route::Collector(id) => {
                let shown = shown();
                let listed = shown.collectors.get(&id).ok_or_else(|| self.unknown(&id))?;
                fine(show::collector(listed, &shown))
            }
            Route::Collect { id, wait } => self.collect(id, wait, body, by).await,
            Route::Switch { id, on } => self.switch(id, on, body, by).await,
            Route::Log { id, wanted, is_download } => {
                if !shown().collectors.contains_key(&id) && !read::is_there(&self.daemon.logs, &id) {
                    return Err(self.unknown(&id));
                }
                let name = is_download.then(|| format!("{id}.log"));
                Ok(Answer::Lines(lines(self.daemon.logs.clone(), id, wanted), name))
            }
            Route::History(wanted) => self.history(wanted).await,
            Route::Events => Ok(Answer::Feed(self.daemon.history.listen())),
            Route::Audit { lines, follow } => {
                let folder = audit::folder(&self.daemon.state_dir);
                let name = lines.is_none().then(|| "audit.log".into());
                Ok(Answer::Lines(pieces(folder, move |folder, take| audit::read(folder, lines, follow, take)), name))
            }
            Route::AuditDone => {
                log_done(body, &by)?;
                fine(json!({"logged": true}))
            }
            Route::Tokens(id) => {
                let document = match self.keeper(&id)? {
                    Some(keeper) => {
                        let mut document = told(&keeper).await;
                        document["login"] = self.logins.json(&id).into();
                        document
                    }
                    None => json!({"collector": id.as_str(), "state": "none", "reason": "it gets no tokens by itself"}),
                };
                fine(document)
            }
            Route::SignIn(id) => match self.keeper(&id)? {
                Some(keeper) if keeper.oauth().flow.needs_a_person() => {
                    Ok(Answer::Json(202, self.logins.start(keeper, &self.username(&id)?, by).await?))
                }
                Some(_) => Err(Problem::new(409, format!("nobody has to sign in for `{id}`: the program gets its tokens by itself"))),
                None => Err(Problem::new(409, format!("`{id}` gets no tokens by itself"))),
            },
            Route::Jobs => fine(json!({"jobs": self.jobs.all().iter().map(|job| job.json(&job.state.borrow())).collect::<Vec<_>>()})),
            Route::Job(number) => {
                let job = self.job(number)?;
                let document = job.json(&job.state.borrow());
                fine(document)
            }
            Route::JobEvents(number) => Ok(Answer::Events(self.job(number)?)),
            Route::Configured { id, how, dry_run } => self.configured(id, how, dry_run, body, by, tag).await,
            Route::Check => self.check(body).await,
            Route::Effective(id) => self.effective(id).await,
            Route::Reload => {
                self.log_written(body, &by)?;
                self.reload(by).await
            }
            Route::Stop => {
                self.tell(Command::Stop(by)).await?;
                Ok(Answer::Json(202, json!({"stopping": true, "pid": std::process::id()})))
            }
        }
    }

    /// The metrics in this form.
    pub(super) async fn metrics(&self, form: Form) -> Result<Answer, Problem> {
        let text = self.daemon.metrics(form).await.map_err(|error| Problem::new(500, error.to_string()))?;
        Ok(Answer::Text(form.media_type(), text))
    }

    async fn collect(&self, id: Option<CollectorId>, wait: Option<Duration>, body: &[u8], by: Requester) -> Result<Answer, Problem> {
        let Asked { names: named, manner, dry_run } = asked(body)?;
        let which = match (id, named) {
            (Some(_), Some(_)) => return Err(Problem::new(400, "the path names the collector: the body has no `names`")),
            (Some(id), None) => Some(vec![id]),
            (None, named) => named,
        };
        let shown = self.daemon.board.shown();
        if let Some(unknown) = which.iter().flatten().find(|id| !shown.collectors.contains_key(id)) {
            return Err(self.unknown(unknown));
        }
        if let Manner::Part { since: Some(_), .. } | Manner::Again { since: Some(_), .. } = manner {
            let is_asked = |id: &CollectorId, enabled| which.as_ref().map_or(enabled, |ids| ids.contains(id));
            let is_timeless = |of: &Collector| !of.server.protocol.tells_arrival();
            let mut all = shown.collectors.values().map(|listed| &listed.collector);
            if let Some(id) = all.find(|of| is_asked(&of.id, of.enabled && shown.enabled) && is_timeless(of)).map(|of| &of.id) {
                return Err(Problem::new(400, format!("`{id}` collects by POP3, which does not tell when a message arrived"))
                    .hint("`since` is for collectors that use IMAP, EWS or Graph; nothing was collected"));
            }
        }
        if manner == Manner::Purge && !matches!(which.as_deref(), Some([_])) {
            return Err(Problem::new(400, "`purge_collected` is for one collector at a time, which is named"));
        }
        if let (true, Some([id])) = (dry_run, which.as_deref()) {
            return self.would_purge(id).await;
        }
        let (answer, began) = oneshot::channel();
        let who = by.to_string();
        self.tell(Command::Collect(Collect { by, which, manner, answer: Some(answer) })).await?;
        let began = began.await.map_err(|_| stopping())?.map_err(|why| Problem::new(404, why))?;
        let job = self.jobs.collect(who, began);
        let job =
            job.ok_or_else(|| Problem::new(429, "too many jobs are running").hint("the collectors were asked all the same; GET /v1/collectors"))?;
        Ok(waited(&job, wait).await)
    }

    /// The answer to a request that may be said again with this key: then it is that of the first, and nothing is done once more.
    pub(super) async fn answer_once(self: &Arc<Self>, key: &Key, place: &str, route: Route, body: Bytes, by: Requester) -> Result<Answer, Problem> {
        // A job is known before it is waited for: who goes away meanwhile finds it again.
        let (route, wait) = match route {
            Route::Collect { id, wait } => (Route::Collect { id, wait: None }, wait),
            other => (other, None),
        };
        let done = loop {
            match self.keys.take(key, place, &body, Instant::now())? {
                Said::First(sender) => {
                    let (api, route, body, by) = (Arc::clone(self), route.clone(), body.clone(), by.clone());
                    // It is done to its end, though who asked may go away.
                    let doing = tokio::spawn(async move {
                        let is_job = matches!(route, Route::Collect { .. });
                        let Answer::Json(status, document) = api.answer(route, &body, by, None).await? else {
                            return Err(Problem::new(400, "no `Idempotency-Key` goes with this place"));
                        };
                        let job = document["job"].as_u64().filter(|_| is_job);
                        sender.send_replace(Some(Done::kept(status, &document, job)));
                        Ok(Done { status, document, job })
                    });
                    break doing.await.map_err(|error| Problem::new(500, error.to_string()))??;
                }
                Said::Again(mut done) => {
                    let done = done.wait_for(Option::is_some).await.ok().and_then(|done| done.clone());
                    // The first failed: then it is ours to try.
                    if let Some(done) = done {
                        break done;
                    }
                }
            }
        };
        match done.job.and_then(|number| self.jobs.get(number)) {
            Some(job) => Ok(waited(&job, wait).await),
            None => Ok(Answer::Json(done.status, done.document)),
        }
    }

    /// What a purge would delete: so much as the ledger knows of.
    async fn would_purge(&self, id: &CollectorId) -> Result<Answer, Problem> {
        let collector = self.daemon.board.listed(id).ok_or_else(|| self.unknown(id))?.collector;
        let mailbox = collector.server.mailbox();
        let remembered = self.daemon.ledger.remembered(&mailbox, &Forget::default()).await;
        let remembered = remembered.map_err(|error| Problem::new(500, error.to_string()).code(crate::mail::code::LEDGER))?;
        let folders: Vec<Value> =
            remembered.iter().filter(|of| of.delivered > 0).map(|of| json!({"folder": of.folder.as_str(), "deletes": of.delivered})).collect();
        let deletes: u64 = remembered.iter().map(|of| of.delivered).sum();
        let server = &collector.server;
        Ok(Answer::Json(
            200,
            json!({"collector": id.as_str(), "server": server.host, "login": server.username, "deletes": deletes, "folders": folders}),
        ))
    }

    async fn switch(&self, id: Option<CollectorId>, on: bool, body: &[u8], by: Requester) -> Result<Answer, Problem> {
        if let Some(id) = id.as_ref().filter(|id| !self.daemon.board.shown().collectors.contains_key(*id)) {
            return Err(self.unknown(id));
        }
        let (until, reason) = for_how_long(body)?;
        let (answer, done) = oneshot::channel();
        self.tell(Command::Switch(SwitchTo { by, which: id.clone().map(|id| vec![id]), on, until, reason, answer })).await?;
        done.await.map_err(|_| stopping())?.map_err(|error| Problem::new(500, error).code(crate::mail::code::STATE_DIR))?;
        let shown = self.daemon.board.shown();
        Ok(Answer::Json(
            200,
            match id.and_then(|id| shown.collectors.get(&id).cloned()) {
                Some(listed) => show::collector(&listed, &shown),
                None => show::service(&shown, Timestamp::now()),
            },
        ))
    }

    async fn history(&self, wanted: history::Wanted) -> Result<Answer, Problem> {
        let history = Arc::clone(&self.daemon.history);
        let looked = tokio::task::spawn_blocking(move || {
            // What ended before somebody asked is in it.
            history.flush(HISTORY_WAIT);
            history.path().map_or_else(|| Ok(history::Page::default()), |path| history::look(path, &wanted))
        });
        let page = looked.await.map_err(|error| Problem::new(500, error.to_string()))?;
        let page = page.map_err(|error| Problem::new(500, error).code(crate::mail::code::STATE_DIR))?;
        let rows: Vec<Value> = page.rows.iter().map(|(number, row)| row.json(Some(*number))).collect();
        Ok(Answer::Json(200, json!({"history": rows, "next": page.next, "entries": self.daemon.history.entries()})))
    }

    /// Who changed a file by a command of ours says so, for the audit: `{"written": {"change": …, "collector": …, "file": …}}`, or no body.
    fn log_written(&self, body: &[u8], by: &Requester) -> Result<(), Problem> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let wrong =
            || Problem::new(400, "the body is `{\"written\": {\"change\": \"edit\", \"collector\": \"...\", \"file\": \"...\"}}`, or nothing");
        let body: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
        let written = &body["written"];
        let text = |key: &str| written[key].as_str().map(|text| harmless(text, 4096)).ok_or_else(wrong);
        log_written(&by.to_string(), &text("change")?, &text("collector")?, &text("file")?);
        Ok(())
    }

    pub(super) async fn reload(&self, by: Requester) -> Result<Answer, Problem> {
        let (answer, reloaded) = oneshot::channel();
        self.tell(Command::Reload(Reload { by, answer: Some(answer) })).await?;
        match reloaded.await.map_err(|_| stopping())? {
            Ok(Diff { added, removed, changed, unchanged, settings, needs_restart }) => {
                let names = |ids: &[CollectorId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
                let document = json!({
                    "added": names(&added), "removed": names(&removed), "changed": names(&changed), "unchanged": unchanged.len(),
                    "settings": settings, "needs_restart": needs_restart,
                });
                Ok(Answer::Json(200, document))
            }
            Err(report) => Err(Problem::new(422, report.to_string()).code(CONFIG).hint("the configuration that was in force stays in force")),
        }
    }

    async fn tell(&self, command: Command) -> Result<(), Problem> {
        self.daemon.commands.send(command).await.map_err(|_| stopping())
    }

    fn job(&self, number: u64) -> Result<Arc<Job>, Problem> {
        self.jobs.get(number).ok_or_else(|| Problem::new(404, format!("there is no job {number}, or no longer")))
    }

    /// What keeps the tokens of a collector; `None` if it gets none by itself.
    fn keeper(&self, id: &CollectorId) -> Result<Option<Arc<Keeper>>, Problem> {
        let shown = self.daemon.board.shown();
        let listed = shown.collectors.get(id).ok_or_else(|| self.unknown(id))?;
        Ok(listed.collector.server.auth.oauth.as_ref().map(|oauth| Arc::new(Keeper::new(id, oauth))))
    }

    fn username(&self, id: &CollectorId) -> Result<String, Problem> {
        let shown = self.daemon.board.shown();
        Ok(shown.collectors.get(id).ok_or_else(|| self.unknown(id))?.collector.server.username.clone())
    }

    fn unknown(&self, id: &CollectorId) -> Problem {
        let shown = self.daemon.board.shown();
        let known: Vec<&str> = shown.collectors.keys().map(CollectorId::as_str).take(20).collect();
        Problem::new(404, format!("no collector is called `{}`", id.as_str())).hint(format!("the configuration has: {}", known.join(", ")))
    }
}

/// A job as it is, or with `wait` at its end if that comes soon enough.
async fn waited(job: &Job, wait: Option<Duration>) -> Answer {
    let (status, state) = match wait {
        None => (202, job.state.borrow().clone()),
        Some(wait) => match tokio::time::timeout(wait, job.ended()).await {
            Ok(state) => (200, state),
            Err(_) => (202, job.state.borrow().clone()),
        },
    };
    Answer::Json(status, job.json(&state))
}

/// Whose mail is wanted, and how.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// `None`: all that are enabled.
    names: Option<Vec<CollectorId>>,
    manner: Manner,
    /// Only say what would be deleted.
    dry_run: bool,
}

/// Whose mail and how, as the body says: `{"names": ["a", "b"], "limit": 5, "since": "2026-11-01T00:00:00Z"}`, `{"names": ["a"], "refetch": ["8812"],
/// "folder": "INBOX"}`, `{"names": ["a"], "purge_collected": true, "dry_run": true}`, each key or not; nothing at all: all that are enabled.
fn asked(body: &[u8]) -> Result<Asked, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Asked::default());
    }
    let wrong = || {
        let what = format!(
            "the body is nothing, or has `names` (a list), and `since` (a time, as 2026-11-01T00:00:00Z), `limit` (1 to {LIMIT_MAX}) or `refetch` (a \
             list of UIDs as texts) with `folder`; or `purge_collected` (true), and `dry_run` beside"
        );
        Problem::new(400, what)
    };
    let body: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    let known = |key: &String| matches!(key.as_str(), "names" | "limit" | "since" | "refetch" | "folder" | "purge_collected" | "dry_run");
    let body = body.as_object().filter(|body| !body.is_empty() && body.keys().all(known)).ok_or_else(wrong)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    let flag = |key: &str| body.get(key).map_or(Ok(false), |value| value.as_bool().ok_or_else(wrong));
    let time = |value: &Value| value.as_str().and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_second).ok_or_else(wrong);
    let (purge, dry_run, since) = (flag("purge_collected")?, flag("dry_run")?, body.get("since").map(time).transpose()?);
    let manner = match (body.get("limit"), body.get("refetch"), body.get("folder")) {
        (None, None, None) if purge && since.is_none() => Manner::Purge,
        _ if purge || dry_run => return Err(wrong()),
        (None, None, None) if since.is_none() => Manner::Whole,
        (limit, None, None) => {
            let number = |limit: &Value| limit.as_u64().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(wrong);
            let limit = limit.map(number).transpose()?;
            Manner::Part { limit: limit.map(usize::try_from).transpose().map_err(|_| wrong())?, since }
        }
        (None, Some(uids), folder) => {
            let uids = uids.as_array().filter(|uids| !uids.is_empty() && uids.len() <= UIDS_MAX).ok_or_else(wrong)?;
            Manner::Again { uids: uids.iter().map(text).collect::<Result<_, _>>()?, folder: folder.map(text).transpose()?, since }
        }
        _ => return Err(wrong()),
    };
    let Some(names) = body.get("names") else { return Ok(Asked { names: None, manner, dry_run }) };
    let names = names.as_array().ok_or_else(wrong)?;
    if names.len() > NAMES_MAX {
        return Err(Problem::new(413, format!("more than {NAMES_MAX} names")));
    }
    let mut ids: Vec<CollectorId> = names.iter().map(|name| name.as_str().and_then(CollectorId::new).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    ids.sort();
    ids.dedup();
    Ok(Asked { names: Some(ids), manner, dry_run })
}

/// A command that needs no daemon says what it did, for the audit: `{"event": "secret_set", "name": "boss", "replaced": true}`. Never a value.
fn log_done(body: &[u8], by: &Requester) -> Result<(), Problem> {
    let wrong = || {
        let what = "the body is `{\"event\": \"secret_set\", \"name\": \"...\", \"replaced\": true}`, `{\"event\": \"secret_removed\", \"name\": \"...\"}`, \
                    `{\"event\": \"oauth_signed_in\", \"name\": \"...\"}` or `{\"event\": \"oauth_revoked\", \"name\": \"...\", \"told\": true}`";
        Problem::new(400, what)
    };
    let body: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    let fields = body.as_object().ok_or_else(wrong)?;
    let name = body["name"].as_str().ok_or_else(wrong)?;
    let of_collector = || CollectorId::new(name).ok_or_else(wrong);
    match (body["event"].as_str(), body["told"].as_bool(), fields.len()) {
        (Some("oauth_signed_in"), None, 2) => by.log_signed_in(of_collector()?.as_str()),
        (Some("oauth_revoked"), Some(told), 3) => by.log_tokens_removed(of_collector()?.as_str(), told),
        _ => return log_secret(&body, by).ok_or_else(wrong),
    }
    Ok(())
}

/// What was done to a secret.
fn log_secret(body: &Value, by: &Requester) -> Option<()> {
    let name = body["name"].as_str().filter(|name| store::is_name(name))?;
    match (body["event"].as_str(), body["replaced"].as_bool(), body.as_object()?.len()) {
        (Some("secret_set"), Some(replaced), 3) => by.log_secret_set(name, replaced),
        (Some("secret_removed"), None, 2) => by.log_secret_removed(name),
        _ => return None,
    }
    Some(())
}

/// For how long something is switched, and why: `{"for_seconds": 7200, "reason": "..."}`; nothing at all: until the reverse is said.
fn for_how_long(body: &[u8]) -> Result<(Option<Timestamp>, String), Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok((None, String::new()));
    }
    let wrong = || Problem::new(400, "the body is `{\"for_seconds\": 7200, \"reason\": \"...\"}`, or nothing");
    let body: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    let body = body.as_object().ok_or_else(wrong)?;
    let until = match body.get("for_seconds") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
            if seconds > FOR_DAYS_MAX * 86_400 {
                return Err(Problem::new(400, format!("`for_seconds` is {} at most ({FOR_DAYS_MAX} days)", FOR_DAYS_MAX * 86_400))
                    .hint("without it what is switched stands until the reverse is said"));
            }
            Some(Timestamp::now().checked_add(Duration::from_secs(seconds)).map_err(|_| wrong())?)
        }
    };
    let reason = match body.get("reason") {
        None | Some(Value::Null) => String::new(),
        Some(reason) => reason.as_str().ok_or_else(wrong)?.to_owned(),
    };
    Ok((until, reason))
}

pub(super) fn stopping() -> Problem {
    Problem::new(503, "the service is being stopped")
}

/// The lines of a log, read as fast as they are taken; a thread of those for files follows as long as somebody listens.
fn lines(folder: PathBuf, id: CollectorId, wanted: Wanted) -> mpsc::Receiver<Bytes> {
    pieces(folder, move |folder, take| read::read(folder, &id, wanted, take))
}

/// Pieces of files, read as fast as they are taken.
fn pieces(
    folder: PathBuf,
    read: impl FnOnce(&Path, &mut dyn FnMut(Vec<u8>) -> bool) -> std::io::Result<()> + Send + 'static,
) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut take = |piece: Vec<u8>| if piece.is_empty() { !sender.is_closed() } else { sender.blocking_send(Bytes::from(piece)).is_ok() };
        if let Err(error) = read(&folder, &mut take) {
            tracing::warn!(event = "log_unreadable", file = %folder.display(), reason = %error);
        }
    });
    receiver
}

/// The events of a job, as text/event-stream has them: its state at once, at each change, and at its end, which is the last.
pub(super) fn events(job: Arc<Job>) -> impl Stream<Item = String> {
    let state = job.state.clone();
    stream::unfold((job, state, true, false), |(job, mut state, is_first, is_over)| async move {
        if is_over {
            return None;
        }
        if !is_first && state.changed().await.is_err() && !state.borrow().is_done {
            return None;
        }
        let now = state.borrow_and_update().clone();
        let name = if now.is_done { "done" } else { "progress" };
        let event = format!("event: {name}\ndata: {}\n\n", job.json(&now));
        Some((event, (job, state, false, now.is_done)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_collection() {
        assert_eq!(asked(b" \r\n"), Ok(Asked::default()));
        let names = |body: &[u8]| {
            let Asked { names: ids, manner, .. } = asked(body).unwrap();
            (ids.map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>().join(" ")), manner)
        };
        assert_eq!(names(br#"{"names": ["b", "a", "b"]}"#), (Some("a b".to_owned()), Manner::Whole));
        assert_eq!(names(br#"{"names": ["a"], "limit": 7}"#), (Some("a".to_owned()), Manner::Part { limit: Some(7), since: None }));
        assert_eq!(names(br#"{"limit": 1}"#), (None, Manner::Part { limit: Some(1), since: None }));
        let since = Some(1_793_491_200);
        assert_eq!(names(br#"{"since": "2026-11-01T00:00:00Z"}"#), (None, Manner::Part { limit: None, since }));
        assert_eq!(names(br#"{"since": "2026-11-01T03:00:00+03:00", "limit": 1}"#), (None, Manner::Part { limit: Some(1), since }));
        let again = Manner::Again { uids: vec!["7".to_owned()], folder: None, since };
        assert_eq!(names(br#"{"refetch": ["7"], "since": "2026-11-01T00:00:00Z"}"#), (None, again));
        for (body, dry_run) in
            [(&br#"{"names": ["a"], "purge_collected": true}"#[..], false), (br#"{"purge_collected": true, "dry_run": true}"#, true)]
        {
            let asked = asked(body).unwrap();
            assert_eq!((asked.manner, asked.dry_run), (Manner::Purge, dry_run));
        }
        let again = Manner::Again { uids: vec!["7".to_owned()], folder: Some("INBOX".to_owned()), since: None };
        assert_eq!(names(br#"{"names": ["a"], "refetch": ["7"], "folder": "INBOX"}"#), (Some("a".to_owned()), again));
        for wrong in [
            &b"[]"[..],
            b"{}",
            br#"{"names": [1]}"#,
            br#"{"names": ["a b"]}"#,
            b"\xff",
            b"{\"names\"",
            br#"{"limit": 0}"#,
            br#"{"limit": 1, "refetch": ["7"]}"#,
            br#"{"refetch": [7]}"#,
            br#"{"refetch": []}"#,
            br#"{"folder": "INBOX"}"#,
            br#"{"limit": "5"}"#,
            br#"{"names": ["a"], "since": "1d"}"#,
            br#"{"names": ["a"], "since": 1793491200}"#,
            br#"{"names": ["a"], "before": "2026-11-01T00:00:00Z"}"#,
            br#"{"dry_run": true}"#,
            br#"{"purge_collected": 1}"#,
            br#"{"purge_collected": true, "limit": 1}"#,
            br#"{"purge_collected": true, "since": "2026-11-01T00:00:00Z"}"#,
            br#"{"purge_collected": true, "refetch": ["7"]}"#,
        ] {
            assert_eq!(asked(wrong).unwrap_err().status, 400);
        }
    }
}
