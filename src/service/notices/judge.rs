//! What is wrong with a collector, as one channel wants to hear of it. Pure.

use crate::collect::hours;
use crate::config::{Channel, Collector, NoticeEvent};
use crate::ledger::{HeldTotal, HeldWhy};
use crate::mail::code;
use crate::observe::counters::TokenFigures;
use crate::observe::status::Snapshot;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A certificate that ends sooner than this is told of.
pub(super) const CERTIFICATE_LEFT: Duration = Duration::from_secs(14 * 86_400);
/// What tokens are renewed with is told of when it ends sooner than this: some are good for a week only.
const GRANT_LEFT: Duration = Duration::from_secs(3 * 86_400);
/// So long no session may go well, at least, unless somebody says otherwise.
const STALE_MIN: Duration = Duration::from_secs(30 * 60);
/// A target that is down is asked again sooner than the interval says, and an operator may ask at any time: what fails so often and yet so briefly is
/// a server that is restarted.
const BRIEF: Duration = Duration::from_secs(5 * 60);
/// A login that is refused is told of after so many sessions, if not sooner: it does not mend itself, and is tried ever more rarely.
const REFUSALS: u32 = 2;

/// What is known of a collector.
pub(super) struct Seen<'a> {
    pub collector: &'a Collector,
    pub found: &'a Snapshot,
    /// Held mail of it; `None`: not known yet.
    pub held: Option<&'a [HeldTotal]>,
    /// Until when its server's certificate is valid, in seconds since the epoch.
    pub certificate: Option<i64>,
    /// What is known of its access token.
    pub token: Option<TokenFigures>,
    /// Since when it is watched.
    pub since: Timestamp,
}

/// Whether something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is, and this is to be said.
    Open { code: u16, message: String, hint: String, since: Timestamp },
    /// It is not.
    Fine,
    /// Nobody knows: what was told stands.
    Unknown,
}

/// Looks for one event.
pub(super) fn judge(channel: &Channel, event: NoticeEvent, seen: &Seen<'_>, now: Timestamp) -> Finding {
    match event {
        NoticeEvent::Failing | NoticeEvent::AuthFailed => failing(channel, event, seen, now),
        NoticeEvent::Stale => stale(channel, seen, now),
        NoticeEvent::Held => held(seen, |why| why != HeldWhy::Loop || !channel.events.contains(&NoticeEvent::Loop)),
        NoticeEvent::Loop => held(seen, |why| why == HeldWhy::Loop),
        NoticeEvent::Certificate => certificate(seen, now),
        NoticeEvent::OAuth => signing_in(seen, now),
    }
}

/// A login that is refused is its own event for those who want to hear of it, else a failure like others.
fn failing(channel: &Channel, event: NoticeEvent, seen: &Seen<'_>, now: Timestamp) -> Finding {
    let found = seen.found;
    let Some(trouble) = &found.trouble else {
        return if found.last_success.is_some() { Finding::Fine } else { Finding::Unknown };
    };
    let is_login = trouble.code == code::LOGIN && channel.events.contains(&NoticeEvent::AuthFailed);
    // The one that it is not cannot be known while the other lasts.
    if is_login != (event == NoticeEvent::AuthFailed) {
        return Finding::Unknown;
    }
    let after = if is_login { channel.after.min(REFUSALS) } else { channel.after };
    let since = found.failing_since.unwrap_or(seen.since);
    let least = seen.collector.interval.saturating_mul(after.saturating_sub(1)).min(BRIEF);
    if found.failed_in_row < after || now.duration_since(since) < SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX) {
        return Finding::Unknown;
    }
    Finding::Open { code: trouble.code, message: trouble.reason.clone(), hint: trouble.hint.clone(), since }
}

/// What fails says so itself, where that is told; this is for what hangs, or waits for ever.
fn stale(channel: &Channel, seen: &Seen<'_>, now: Timestamp) -> Finding {
    let collector = seen.collector;
    if collector.manual {
        return Finding::Fine;
    }
    let limit = channel.stale.unwrap_or((collector.interval * 3).max(STALE_MIN));
    let last = seen.found.last_success.unwrap_or(seen.since);
    // Nothing is due while the schedule is closed.
    let due = last.checked_add(collector.interval).unwrap_or(last);
    let opens = due.checked_add(hours::wait(&collector.schedule, due)).unwrap_or(due).max(last);
    let late = if hours::wait(&collector.schedule, now).is_zero() { now.duration_since(opens) } else { SignedDuration::ZERO };
    let is_stale = now.duration_since(last).unsigned_abs() > limit && !late.is_negative() && late.unsigned_abs() + collector.interval > limit;
    if !is_stale {
        return if seen.found.last_success.is_some() { Finding::Fine } else { Finding::Unknown };
    }
    let is_told = |event| channel.events.contains(&event) && matches!(failing(channel, event, seen, now), Finding::Open { .. });
    if is_told(NoticeEvent::Failing) || is_told(NoticeEvent::AuthFailed) {
        return Finding::Unknown;
    }
    let message = match &seen.found.trouble {
        Some(trouble) => format!("no session went well since {}; the last one: {}", in_utc(last), trouble.reason),
        None => format!("no session went well since {}", in_utc(last)),
    };
    let hint = match &seen.found.trouble {
        Some(trouble) => trouble.hint.clone(),
        None => format!("`mailgather status {}` shows what it is doing", collector.id),
    };
    Finding::Open { code: seen.found.trouble.as_ref().map_or(0, |trouble| trouble.code), message, hint, since: last }
}

fn held(seen: &Seen<'_>, is_meant: impl Fn(HeldWhy) -> bool) -> Finding {
    let Some(totals) = seen.held else { return Finding::Unknown };
    let meant: Vec<&HeldTotal> = totals.iter().filter(|total| is_meant(total.why)).collect();
    let Some(most) = meant.iter().max_by_key(|total| total.messages) else { return Finding::Fine };
    let messages: u64 = meant.iter().map(|total| total.messages).sum();
    let reasons: Vec<String> = meant.iter().map(|total| format!("{} {}", total.messages, total.why.code())).collect();
    let since = meant.iter().filter_map(|total| Timestamp::from_second(total.since).ok()).min().unwrap_or(seen.since);
    let noun = if messages == 1 { "message is" } else { "messages are" };
    Finding::Open {
        code: most.why.number(),
        message: format!("{messages} {noun} held: {}", reasons.join(", ")),
        hint: "`mailgather held list` shows them; `release` or `drop` ends it".to_owned(),
        since,
    }
}

fn certificate(seen: &Seen<'_>, now: Timestamp) -> Finding {
    let Some(until) = seen.certificate.and_then(|until| Timestamp::from_second(until).ok()) else { return Finding::Unknown };
    let left = until.duration_since(now);
    if left.as_secs() > CERTIFICATE_LEFT.as_secs() as i64 {
        return Finding::Fine;
    }
    let server = &seen.collector.server;
    let days = left.as_secs().div_euclid(86_400);
    let when = if left.is_negative() { "has ended".to_owned() } else { format!("ends in {days} days") };
    Finding::Open {
        code: code::CERTIFICATE,
        message: format!("the certificate of {}:{} {when}, at {}", server.host, server.port, in_utc(until)),
        hint: "tell whoever runs the server; once it has ended, no session is begun".to_owned(),
        since: until.checked_sub(CERTIFICATE_LEFT).unwrap_or(until),
    }
}

/// What tokens are renewed with: the token itself may be good for some time yet.
fn signing_in(seen: &Seen<'_>, now: Timestamp) -> Finding {
    let Some(token) = seen.token else { return Finding::Unknown };
    let id = &seen.collector.id;
    let hint = format!("`mailgather oauth login {id}` signs in anew; tokens are renewed again from then on");
    if token.is_refused {
        let message = "the provider refuses to renew the access token: somebody's signing in has expired, or was withdrawn".to_owned();
        return Finding::Open { code: code::LOGIN, message, hint, since: now };
    }
    let left = token.grant_until.and_then(|until| Timestamp::from_second(until).ok()).map(|until| until.duration_since(now));
    match left {
        Some(left) if left.as_secs() <= GRANT_LEFT.as_secs() as i64 => {
            let days = left.as_secs().div_euclid(86_400);
            let when = if left.is_negative() { "has ended".to_owned() } else { format!("ends in {days} days") };
            Finding::Open { code: code::LOGIN, message: format!("what access tokens are renewed with {when}"), hint, since: now }
        }
        _ => Finding::Fine,
    }
}

/// A time as people read it.
pub(super) fn in_utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogRedact, Way};
    use crate::mail::CollectorId;
    use crate::observe::status::Trouble;
    use std::path::Path;
    use std::sync::Arc;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn channel(events: &[NoticeEvent]) -> Channel {
        let way = Way::Command { argv: vec!["x".into()], timeout: Duration::from_secs(1) };
        Channel { way, events: events.to_vec(), after: 3, stale: None, repeat: Duration::from_secs(60) }
    }

    fn collector(more: &str) -> Arc<Collector> {
        let text = format!(
            "delivery: {{lmtp: '127.0.0.1:24'}}\ncollectors:\n  a: {{server: h.example, email: a@h.example, password: {{env: P}}, recipient: {{forward_to: x@y.example}}{more}}}\n"
        );
        let config = crate::config::parse(&text, Path::new("t.yaml"), &Default::default()).unwrap_or_else(|report| panic!("{report}")).config;
        assert_eq!(config.log_redact, LogRedact::Subjects);
        config.collectors.values().next().unwrap().clone()
    }

    fn words(finding: Finding) -> String {
        match finding {
            Finding::Open { code, message, .. } => format!("{code} {message}"),
            Finding::Fine => "fine".into(),
            Finding::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn failures_count_in_a_row_and_a_refused_login_is_its_own_event() {
        let collector = collector("");
        let both = channel(&[NoticeEvent::Failing, NoticeEvent::AuthFailed]);
        let only = channel(&[NoticeEvent::Failing]);
        let of = |failed_in_row, code| Snapshot {
            failed_in_row,
            trouble: (failed_in_row > 0).then(|| Trouble { code, reason: "no".into(), hint: "do".into() }),
            last_success: (failed_in_row == 0).then(|| at(1)),
            ..Snapshot::default()
        };
        for (channel, event, failed, code, wanted) in [
            (&both, NoticeEvent::Failing, 2, 211, "unknown"),
            (&both, NoticeEvent::Failing, 3, 211, "211 no"),
            (&both, NoticeEvent::Failing, 9, 203, "unknown"),
            (&both, NoticeEvent::AuthFailed, 1, 203, "unknown"),
            (&both, NoticeEvent::AuthFailed, 2, 203, "203 no"),
            (&both, NoticeEvent::AuthFailed, 9, 211, "unknown"),
            (&only, NoticeEvent::Failing, 3, 203, "203 no"),
            (&both, NoticeEvent::Failing, 0, 0, "fine"),
            (&both, NoticeEvent::AuthFailed, 0, 0, "fine"),
        ] {
            let found = of(failed, code);
            let seen = Seen { collector: &collector, found: &found, held: None, certificate: None, token: None, since: at(0) };
            assert_eq!(words(judge(channel, event, &seen, at(3_600))), wanted, "{event:?} {failed} {code}");
        }
        // So many within a minute are a server that is restarted.
        let brief = Snapshot { failing_since: Some(at(0)), ..of(9, 431) };
        for (now, wanted) in [(60, "unknown"), (299, "unknown"), (300, "431 no")] {
            let seen = Seen { collector: &collector, found: &brief, held: None, certificate: None, token: None, since: at(0) };
            assert_eq!(words(judge(&both, NoticeEvent::Failing, &seen, at(now))), wanted, "{now}");
        }
        let nothing = Snapshot::default();
        let seen = Seen { collector: &collector, found: &nothing, held: None, certificate: None, token: None, since: at(0) };
        assert_eq!(words(judge(&both, NoticeEvent::Failing, &seen, at(10))), "unknown", "before the first session has ended");
    }

    #[test]
    fn stale_is_what_no_failure_tells() {
        let (every, nights, manual) =
            (collector(""), collector(", schedule: {days: mon-sun, hours: \"01:00-02:00\", timezone: UTC}"), collector(", interval: manual"));
        let channel = channel(&[NoticeEvent::Stale, NoticeEvent::Failing]);
        let hour = 3_600;
        let failing = Snapshot {
            failed_in_row: 3,
            trouble: Some(Trouble { code: 211, reason: "no".into(), hint: String::new() }),
            last_success: Some(at(0)),
            ..Snapshot::default()
        };
        let once = Snapshot { failed_in_row: 1, ..failing.clone() };
        let fine = Snapshot { last_success: Some(at(0)), ..Snapshot::default() };
        for (collector, found, now, wanted) in [
            (&every, &fine, hour / 3, "fine"),
            (&every, &fine, hour, "0 no session went well since 1970-01-01 00:00:00 UTC"),
            (&every, &once, hour, "211 no session went well since 1970-01-01 00:00:00 UTC; the last one: no"),
            (&every, &failing, hour, "unknown"),
            (&every, &Snapshot::default(), hour / 3, "unknown"),
            (&every, &Snapshot::default(), hour, "0 no session went well since 1970-01-01 00:00:00 UTC"),
            (&nights, &fine, hour, "fine"),
            (&nights, &fine, 20 * hour, "fine"),
            (&nights, &fine, 2 * hour - 60, "0 no session went well since 1970-01-01 00:00:00 UTC"),
            (&manual, &fine, 99 * hour, "fine"),
        ] {
            let seen = Seen { collector, found, held: None, certificate: None, token: None, since: at(0) };
            assert_eq!(words(judge(&channel, NoticeEvent::Stale, &seen, at(now))), wanted, "{now}");
        }
    }

    #[test]
    fn somebody_has_to_sign_in_anew() {
        let (collector, found) = (collector(""), Snapshot::default());
        let channel = channel(&NoticeEvent::ALL);
        let of = |token: Option<(bool, Option<i64>)>| {
            let token = token.map(|(is_refused, grant_until)| TokenFigures { until: 9, is_refused, grant_until });
            let seen = Seen { collector: &collector, found: &found, held: None, certificate: None, token, since: at(0) };
            words(judge(&channel, NoticeEvent::OAuth, &seen, at(100)))
        };
        assert_eq!(of(None), "unknown");
        assert_eq!(of(Some((false, None))), "fine");
        assert_eq!(of(Some((false, Some(100 + 4 * 86_400)))), "fine");
        assert_eq!(of(Some((false, Some(100 + 2 * 86_400)))), "203 what access tokens are renewed with ends in 2 days");
        assert_eq!(of(Some((false, Some(50)))), "203 what access tokens are renewed with has ended");
        assert!(of(Some((true, None))).starts_with("203 the provider refuses"));
    }

    #[test]
    fn held_mail_and_certificates() {
        let collector = collector("");
        let (all, held_only) = (channel(&NoticeEvent::ALL), channel(&[NoticeEvent::Held]));
        let total = |why, messages| HeldTotal { collector: CollectorId::new("a").unwrap(), why, messages, octets: 1, since: 5 };
        let totals = [total(HeldWhy::Loop, 1), total(HeldWhy::Refused, 2), total(HeldWhy::Content, 1)];
        let found = Snapshot::default();
        let of = |channel: &Channel, event, held: Option<&[HeldTotal]>, certificate| {
            let seen = Seen { collector: &collector, found: &found, held, certificate, token: None, since: at(0) };
            words(judge(channel, event, &seen, at(100)))
        };
        assert_eq!(of(&all, NoticeEvent::Held, Some(&totals), None), "421 3 messages are held: 2 refused, 1 content");
        assert_eq!(of(&held_only, NoticeEvent::Held, Some(&totals), None), "421 4 messages are held: 1 loop, 2 refused, 1 content");
        assert_eq!(of(&all, NoticeEvent::Loop, Some(&totals), None), "411 1 message is held: 1 loop");
        assert_eq!(of(&all, NoticeEvent::Loop, Some(&totals[1..]), None), "fine");
        assert_eq!(of(&all, NoticeEvent::Held, None, None), "unknown");
        let day = 86_400;
        for (until, wanted) in [
            (None, "unknown"),
            (Some(100 + 15 * day), "fine"),
            (Some(100 + 3 * day), "221 the certificate of h.example:993 ends in 3 days, at 1970-01-04 00:01:40 UTC"),
            (Some(40), "221 the certificate of h.example:993 has ended, at 1970-01-01 00:00:40 UTC"),
        ] {
            assert_eq!(of(&all, NoticeEvent::Certificate, None, until), wanted);
        }
    }
}
