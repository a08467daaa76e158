//! What a request asks for: pure.

use super::problem::Problem;
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
    Jobs,
    Job(u64),
    JobEvents(u64),
    Reload,
    Stop,
}

/// Finds the route of a request, or says what is wrong with it.
pub(super) fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let steps: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (allowed, route) = match steps[..] {
        ["livez"] => ("GET", Route::Live),
        ["readyz"] => ("GET", Route::Ready),
        ["health", "collectors"] => ("GET", Route::Health),
        ["openapi.json"] => ("GET", Route::OpenApi),
        ["metrics"] => ("GET", Route::Metrics),
        ["v1", "status"] => ("GET", Route::Status),
        ["v1", "collectors"] => ("GET", Route::Collectors),
        ["v1", "collectors", id] => ("GET", Route::Collector(collector(id)?)),
        ["v1", "collectors", id, "collect"] => ("POST", Route::Collect { id: Some(collector(id)?), wait: wait(query)? }),
        ["v1", "collectors", id, "log"] => ("GET", log(collector(id)?, query)?),
        ["v1", "collect"] => ("POST", Route::Collect { id: None, wait: wait(query)? }),
        ["v1", "collectors", id, word @ ("enable" | "disable")] => ("POST", Route::Switch { id: Some(collector(id)?), on: word == "enable" }),
        ["v1", word @ ("pause" | "resume")] => ("POST", Route::Switch { id: None, on: word == "resume" }),
        ["v1", "jobs"] => ("GET", Route::Jobs),
        ["v1", "jobs", number] => ("GET", Route::Job(job(number)?)),
        ["v1", "jobs", number, "events"] => ("GET", Route::JobEvents(job(number)?)),
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
    let is_on = |key: &str| match value(query, key) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Problem::new(400, format!("`{key}` is 1 or 0"))),
    };
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
            ("GET", "/v1/jobs/x", None, Err(404)),
            ("GET", "", None, Err(404)),
        ] {
            assert_eq!(route(method, path, query).map_err(|problem| problem.status), wanted, "{method} {path}");
        }
    }
}
