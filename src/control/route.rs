//! What a request asks for: pure.

use super::problem::Problem;
use crate::mail::CollectorId;
use std::time::Duration;

/// Longest that a request may wait for the end of its job.
const WAIT_MAX: Duration = Duration::from_secs(3600);

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
    let Some(value) = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("wait="))) else { return Ok(None) };
    let seconds = value.strip_suffix('s').unwrap_or(value).parse::<u32>();
    let seconds = seconds.map_err(|_| Problem::new(400, "`wait` is a number of seconds, as in `wait=60s`"))?;
    Ok(Some(Duration::from_secs(seconds.into()).min(WAIT_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let id = |id| CollectorId::new(id).unwrap();
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
            ("GET", "/v1/jobs/x", None, Err(404)),
            ("GET", "", None, Err(404)),
        ] {
            assert_eq!(route(method, path, query).map_err(|problem| problem.status), wanted, "{method} {path}");
        }
    }
}
