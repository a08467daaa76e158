//! What a request asks for: pure.

use super::problem::Problem;
use crate::history::Wanted as Rows;
use crate::mail::CollectorId;
use crate::observe::logging::read::{LINES_MAX, Wanted};
use std::time::Duration;

/// Longest that a request may wait for the end of its job.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Lines of a log, unless somebody asks for more.
const LINES: usize = 200;

/// A request that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Live,
    Ready,
    Health,
    OpenApi,
    Metrics,
    Notices,
    TestNotices,
    Status,
    Collectors,
    Collector(CollectorId),
    /// Collect now: one, or those that the body names.
    Collect {
        id: Option<CollectorId>,
        wait: Option<Duration>,
    },
    /// Switch a collector, or the whole service.
    Switch {
        id: Option<CollectorId>,
        on: bool,
    },
    /// What was logged of one.
    Log {
        id: CollectorId,
        wanted: Wanted,
        /// As a file to be kept.
        is_download: bool,
    },
    /// What became of messages.
    History(Rows),
    /// What happens from now on.
    Events,
    /// What operators did.
    Audit {
        /// The last lines; `None`: all that is kept, as a file to be kept.
        lines: Option<usize>,
        follow: bool,
    },
    /// A command that needs no daemon did something that belongs into the audit log.
    AuditDone,
    /// The configuration of one, as it stands in its file.
    Configured {
        id: CollectorId,
        how: How,
        /// Only say what would change.
        dry_run: bool,
    },
    /// Whether a text, or the files, would be taken.
    Check,
    /// What is in force: of one, or of all.
    Effective(Option<CollectorId>),
    /// How the tokens of one fare.
    Tokens(CollectorId),
    /// Somebody wants to sign in for one.
    SignIn(CollectorId),
    Jobs,
    Job(u64),
    JobEvents(u64),
    Reload,
    Stop,
}

/// What is to be done with a collector in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Get,
    /// All of its keys anew.
    Put,
    /// Some of its keys (RFC 7396).
    Patch,
    Delete,
}

/// Finds the route of a request, or says what is wrong with it.
pub(super) fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let steps: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if let ["v1", "config", "collectors", id] = steps[..] {
        let how = match method {
            "GET" | "HEAD" => How::Get,
            "PUT" => How::Put,
            "PATCH" => How::Patch,
            "DELETE" => How::Delete,
            _ => return Err(Problem::new(405, "this place takes GET, PUT, PATCH and DELETE only")),
        };
        return Ok(Route::Configured { id: collector(id)?, how, dry_run: is_on(query, "dry_run")? });
    }
    let (allowed, route) = match steps[..] {
        ["livez"] => ("GET", Route::Live),
        ["readyz"] => ("GET", Route::Ready),
        ["health", "collectors"] => ("GET", Route::Health),
        ["openapi.json"] => ("GET", Route::OpenApi),
        ["metrics"] => ("GET", Route::Metrics),
        ["v1", "notices"] => ("GET", Route::Notices),
        ["v1", "notices", "test"] => ("POST", Route::TestNotices),
        ["v1", "status"] => ("GET", Route::Status),
        ["v1", "collectors"] => ("GET", Route::Collectors),
        ["v1", "collectors", id] => ("GET", Route::Collector(collector(id)?)),
        ["v1", "collectors", id, "collect"] => ("POST", Route::Collect { id: Some(collector(id)?), wait: wait(query)? }),
        ["v1", "collectors", id, "log"] => ("GET", log(collector(id)?, query)?),
        ["v1", "collect"] => ("POST", Route::Collect { id: None, wait: wait(query)? }),
        ["v1", "collectors", id, word @ ("enable" | "disable")] => ("POST", Route::Switch { id: Some(collector(id)?), on: word == "enable" }),
        ["v1", word @ ("pause" | "resume")] => ("POST", Route::Switch { id: None, on: word == "resume" }),
        ["v1", "history"] => ("GET", Route::History(history(query)?)),
        ["v1", "events"] => ("GET", Route::Events),
        ["v1", "audit"] if method == "POST" => ("POST", Route::AuditDone),
        ["v1", "audit"] => ("GET", audit(query)?),
        ["v1", "oauth", id] => ("GET", Route::Tokens(collector(id)?)),
        ["v1", "oauth", id, "start"] => ("POST", Route::SignIn(collector(id)?)),
        ["v1", "jobs"] => ("GET", Route::Jobs),
        ["v1", "jobs", number] => ("GET", Route::Job(job(number)?)),
        ["v1", "jobs", number, "events"] => ("GET", Route::JobEvents(job(number)?)),
        ["v1", "config", "check"] => ("POST", Route::Check),
        ["v1", "config", "effective"] => ("GET", Route::Effective(value(query, "collector").map(collector).transpose()?)),
        ["v1", "reload"] => ("POST", Route::Reload),
        ["v1", "stop"] => ("POST", Route::Stop),
        _ => return Err(Problem::new(404, "there is no such place here").hint("GET /openapi.json lists what there is")),
    };
    let is_allowed = method == allowed || (method == "HEAD" && allowed == "GET");
    if is_allowed { Ok(route) } else { Err(Problem::new(405, format!("this place takes {allowed} only"))) }
}

fn collector(id: &str) -> Result<CollectorId, Problem> {
    CollectorId::new(id).ok_or_else(|| Problem::new(404, "no collector can have this name"))
}

fn job(number: &str) -> Result<u64, Problem> {
    number.parse().map_err(|_| Problem::new(404, "a job has a number"))
}

/// `wait=60s`, or `wait=60`.
fn wait(query: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(value) = value(query, "wait") else { return Ok(None) };
    let seconds = value.strip_suffix('s').unwrap_or(value).parse::<u32>();
    let seconds = seconds.map_err(|_| Problem::new(400, "`wait` is a number of seconds, as in `wait=60s`"))?;
    Ok(Some(Duration::from_secs(seconds.into()).min(WAIT_MAX)))
}

/// `download=1`: all that is kept; else the last `lines=100`, and with `follow=1` what is still to come. `level=errors`: warnings and errors.
fn log(id: CollectorId, query: Option<&str>) -> Result<Route, Problem> {
    let is_on = |key: &str| is_on(query, key);
    let errors = match value(query, "level") {
        None | Some("all") => false,
        Some("errors") => true,
        Some(_) => return Err(Problem::new(400, "`level` is `all` or `errors`")),
    };
    let wrong = || Problem::new(400, format!("`lines` is a number up to {LINES_MAX}"));
    let lines = value(query, "lines").map(|lines| lines.parse().ok().filter(|lines| *lines <= LINES_MAX).ok_or_else(wrong)).transpose()?;
    let (is_download, follow) = (is_on("download")?, is_on("follow")?);
    if is_download && (follow || lines.is_some()) {
        return Err(Problem::new(400, "`download` is all that is kept: neither `lines` nor `follow` go with it"));
    }
    let last = if is_download { None } else { Some(lines.unwrap_or(LINES)) };
    Ok(Route::Log { id, wanted: Wanted { errors, last, follow }, is_download })
}

/// `download=1`: all that is kept; else the last `lines=100`, and with `follow=1` what is still to come.
fn audit(query: Option<&str>) -> Result<Route, Problem> {
    // The same words mean the same.
    let Some(any) = CollectorId::new("audit") else { return Err(Problem::new(500, "no such name")) };
    match log(any, query)? {
        Route::Log { wanted: Wanted { errors: false, follow, last }, .. } => Ok(Route::Audit { lines: last, follow }),
        _ => Err(Problem::new(400, "`level` does not go with the audit log")),
    }
}

/// Which rows of the history: each key at most once, and none that is not known.
fn history(query: Option<&str>) -> Result<Rows, Problem> {
    let mut rows = Rows::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| Problem::new(400, format!("the value of `{key}` is not UTF-8, written with `%` where needed")))?;
        let is_second = match key {
            "collector" => rows.collector.replace(value).is_some(),
            "recipient" => rows.recipient.replace(value).is_some(),
            "from" => rows.from.replace(value).is_some(),
            "result" => rows.result.replace(value).is_some(),
            "message_id" => rows.message_id.replace(value).is_some(),
            "since" => rows.since.replace(time(key, &value)?).is_some(),
            "until" => rows.until.replace(time(key, &value)?).is_some(),
            "before" => rows.before.replace(number(key, &value)?).is_some(),
            "limit" => std::mem::replace(&mut rows.limit, usize::try_from(number(key, &value)?).unwrap_or(usize::MAX)) != 0,
            _ => {
                let known = "it takes collector, since, until, recipient, from, result, message_id, before and limit";
                return Err(Problem::new(400, format!("`{key}` is no key of the history")).hint(known));
            }
        };
        if is_second {
            return Err(Problem::new(400, format!("`{key}` stands there twice")));
        }
    }
    if rows.is_empty_span() {
        return Err(Problem::new(400, "`until` is not later than `since`: nothing can lie between them"));
    }
    Ok(rows)
}

/// Seconds since the epoch, or a time as RFC 3339 writes it.
fn time(key: &str, value: &str) -> Result<i64, Problem> {
    let wrong = || Problem::new(400, format!("`{key}` is a time as 2026-11-01T12:00:00Z, or a number of seconds since 1970"));
    value.parse().or_else(|_| value.parse::<jiff::Timestamp>().map(|at| at.as_second())).map_err(|_| wrong())
}

fn number(key: &str, value: &str) -> Result<i64, Problem> {
    value.parse().ok().filter(|number| *number > 0).ok_or_else(|| Problem::new(400, format!("`{key}` is a number from 1 on")))
}

/// A value of a query with `%D1%80` and `+` as what they stand for.
fn decoded(value: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(16 * high + low).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok()
}

/// A key of the query that is 1 or 0.
fn is_on(query: Option<&str>, key: &str) -> Result<bool, Problem> {
    match value(query, key) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Problem::new(400, format!("`{key}` is 1 or 0"))),
    }
}

/// The value of a key of the query.
fn value<'q>(query: Option<&'q str>, key: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let id = |id| CollectorId::new(id).unwrap();
        let log = |last, errors, is_download| Route::Log { id: id("sales"), wanted: Wanted { errors, last, follow: false }, is_download };
        for (method, path, query, wanted) in [
            ("GET", "/livez", None, Ok(Route::Live)),
            ("HEAD", "/livez", None, Ok(Route::Live)),
            ("POST", "/livez", None, Err(405)),
            ("GET", "/v1/collectors/sales", None, Ok(Route::Collector(id("sales")))),
            ("GET", "/v1/collectors/sa%20les", None, Err(404)),
            ("GET", "/v1/collectors/", None, Err(404)),
            ("GET", "/v1/collectors/../x", None, Err(404)),
            ("GET", "/v2/collectors", None, Err(404)),
            ("POST", "/v1/collect", Some("wait=60s"), Ok(Route::Collect { id: None, wait: Some(Duration::from_secs(60)) })),
            ("POST", "/v1/collect", Some("a=b&wait=5"), Ok(Route::Collect { id: None, wait: Some(Duration::from_secs(5)) })),
            ("POST", "/v1/collect", Some("wait=99999999"), Ok(Route::Collect { id: None, wait: Some(WAIT_MAX) })),
            ("POST", "/v1/collect", Some("wait=-1"), Err(400)),
            ("GET", "/v1/collectors/sales/collect", None, Err(405)),
            ("GET", "/v1/jobs/17/events", None, Ok(Route::JobEvents(17))),
            ("GET", "/v1/collectors/sales/log", None, Ok(log(Some(LINES), false, false))),
            (
                "GET",
                "/v1/collectors/sales/log",
                Some("level=errors&lines=5&follow=1"),
                Ok(Route::Log { id: id("sales"), wanted: Wanted { errors: true, last: Some(5), follow: true }, is_download: false }),
            ),
            ("GET", "/v1/collectors/sales/log", Some("download=1"), Ok(log(None, false, true))),
            ("GET", "/v1/collectors/sales/log", Some("download=1&follow=1"), Err(400)),
            ("GET", "/v1/collectors/sales/log", Some("level=loud"), Err(400)),
            ("GET", "/v1/collectors/sales/log", Some("lines=100000"), Err(400)),
            ("GET", "/v1/collectors/sales/log", Some("follow=yes"), Err(400)),
            ("GET", "/v1/collectors/..%2fx/log", None, Err(404)),
            ("POST", "/v1/collectors/sales/log", None, Err(405)),
            ("GET", "/v1/history", None, Ok(Route::History(Rows::default()))),
            (
                "GET",
                "/v1/history",
                Some("recipient=%D1%80%D0%B0%D0%B7@x&since=1970-01-01T00:01:00Z&until=61&limit=5&result=held&before=9"),
                Ok(Route::History(Rows {
                    recipient: Some("раз@x".into()),
                    since: Some(60),
                    until: Some(61),
                    limit: 5,
                    result: Some("held".into()),
                    before: Some(9),
                    ..Rows::default()
                })),
            ),
            ("GET", "/v1/history", Some("limit=0"), Err(400)),
            ("GET", "/v1/history", Some("from=%ff"), Err(400)),
            ("GET", "/v1/history", Some("from=%4"), Err(400)),
            ("GET", "/v1/history", Some("from=a&from=b"), Err(400)),
            ("GET", "/v1/history", Some("since=yesterday"), Err(400)),
            ("GET", "/v1/history", Some("form=a"), Err(400)),
            ("POST", "/v1/history", None, Err(405)),
            ("GET", "/v1/events", None, Ok(Route::Events)),
            ("GET", "/v1/audit", Some("lines=5"), Ok(Route::Audit { lines: Some(5), follow: false })),
            ("GET", "/v1/audit", Some("follow=1"), Ok(Route::Audit { lines: Some(LINES), follow: true })),
            ("GET", "/v1/audit", Some("download=1"), Ok(Route::Audit { lines: None, follow: false })),
            ("GET", "/v1/audit", Some("download=1&follow=1"), Err(400)),
            ("GET", "/v1/audit", Some("level=errors"), Err(400)),
            ("POST", "/v1/audit", None, Ok(Route::AuditDone)),
            ("GET", "/v1/history", Some("since=60&until=60"), Err(400)),
            ("PATCH", "/v1/config/collectors/sales", Some("dry_run=1"), Ok(Route::Configured { id: id("sales"), how: How::Patch, dry_run: true })),
            ("PUT", "/v1/config/collectors/sales", Some("dry_run=yes"), Err(400)),
            ("POST", "/v1/config/collectors/sales", None, Err(405)),
            ("GET", "/v1/config/collectors/a%20b", None, Err(404)),
            ("GET", "/v1/config/effective", Some("collector=sales"), Ok(Route::Effective(Some(id("sales"))))),
            ("GET", "/v1/config/check", None, Err(405)),
            ("GET", "/v1/jobs/x", None, Err(404)),
            ("GET", "", None, Err(404)),
        ] {
            assert_eq!(route(method, path, query).map_err(|problem| problem.status), wanted, "{method} {path}");
        }
    }
}
