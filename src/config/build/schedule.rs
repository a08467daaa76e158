//! `schedule`, `service.business_hours`, `interval` and `idle`: when passes run by themselves.

use super::Ctx;
use super::block::{Block, Keys, open_entry};
use super::service::{INTERVAL_FLOOR, Limits};
use super::values::{choice, duration, one_or_more, show_duration, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Value};
use crate::config::{Hours, Idle, Schedule};
use std::time::Duration;

/// The keys of `schedule` and `business_hours`.
pub(super) const HOURS: Keys = Keys { known: &["days", "hours", "timezone"], not_yet: &[] };

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The end of a day, in minutes.
const MIDNIGHT: u16 = 24 * 60;
/// Longest name of a time zone; the longest of the database has 32 characters.
const ZONE_OCTETS_MAX: usize = 64;

/// The time between passes; `None` for `manual`.
pub(super) fn interval(ctx: &mut Ctx<'_>, block: &Block<'_>, limits: &Limits) -> (Duration, bool) {
    // The default follows the limits; only what somebody wrote can be outside.
    let default = Duration::from_secs(300).clamp(limits.min, limits.max);
    let Some(entry) = block.get("interval") else { return (default, false) };
    if matches!(&entry.value.value, Value::Scalar { text, .. } if text == "manual") {
        return (default, true);
    }
    let Some(interval) = duration(ctx, entry) else { return (default, false) };
    let (bound, key, limit) = match interval {
        interval if interval < limits.min => ("below", "interval_min", limits.min),
        interval if interval > limits.max => ("above", "interval_max", limits.max),
        interval => return (interval, false),
    };
    let (shown, limit) = (show_duration(interval), show_duration(limit));
    let problem = ctx.error(Code::Range, entry.value.span, format!("interval {shown} is {bound} limits.{key} ({limit})"));
    let main = ctx.text.main().map_or_else(|| "the main file".to_owned(), |path| path.display().to_string());
    let other = match interval {
        interval if interval < INTERVAL_FLOOR => {
            format!("no limit lets less than {} through; with IMAP `idle: on` brings mail at once", show_duration(INTERVAL_FLOOR))
        }
        interval if interval > limits.max => format!("or set `limits: {{{key}: {shown}}}` in {main}; `interval: manual` is for who collects by hand"),
        _ => {
            format!("or set `limits: {{{key}: {shown}}}` in {main} if the server's owner agrees; with IMAP `idle: on` brings mail at once without it")
        }
    };
    ctx.add(problem.hint(format!("write `interval: {limit}` here; {other}")));
    (default, false)
}

/// `idle`
pub(super) fn idle(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Idle {
    let words = [("off", Idle::Off), ("on", Idle::On), ("auto", Idle::Auto)];
    block.get("idle").and_then(|entry| choice(ctx, entry, &words, &[])).unwrap_or_default()
}

/// `always`, `after_hours`, or days and hours.
pub(super) fn schedule(ctx: &mut Ctx<'_>, block: &Block<'_>, business_hours: Option<&Hours>) -> Schedule {
    let Some(entry) = block.get("schedule") else { return Schedule::Always };
    if !matches!(entry.value.value, Value::Scalar { .. }) {
        return hours(ctx, entry).map_or(Schedule::Always, Schedule::Inside);
    }
    match (choice(ctx, entry, &[("always", false), ("after_hours", true)], &[]), business_hours) {
        (Some(true), Some(hours)) => Schedule::Outside(hours.clone()),
        (Some(true), None) => {
            let problem = ctx.error(Code::Contradiction, entry.value.span, "`schedule: after_hours`, and nobody says what the hours are");
            ctx.add(problem.hint("`service: {business_hours: {days: mon-fri, hours: \"08:00-20:00\"}}`"));
            Schedule::Always
        }
        _ => Schedule::Always,
    }
}

/// `{days, hours, timezone}`
pub(super) fn hours(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Hours> {
    let block = open_entry(ctx, entry, &format!("`{}`", entry.key), &HOURS)?;
    if block.get("days").is_none() && block.get("hours").is_none() {
        let problem = ctx.error(Code::Missing, entry.span, format!("`{}` has neither `days` nor `hours`", entry.key));
        ctx.add(problem.hint("as in `{days: mon-fri, hours: \"08:00-20:00\", timezone: Europe/Moscow}`"));
        return None;
    }
    let days = block.get("days").map_or(Some([true; 7]), |entry| days(ctx, entry));
    let range = block.get("hours").map_or(Some((0, MIDNIGHT)), |entry| range(ctx, entry));
    let timezone = block.get("timezone").map_or(Some(None), |entry| timezone(ctx, entry).map(Some));
    let (from, to) = range?;
    Some(Hours { days: days?, from, to, timezone: timezone? })
}

/// `mon-fri`, `sat`, or a list of these.
fn days(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for item in one_or_more(ctx, entry)? {
        let word = text(ctx, &item)?;
        let Some((first, last)) = day_range(word) else {
            let span = item.value.span;
            let problem = ctx.error(Code::Value, span, format!("`days`: {} is no day of the week", ctx.quoted(word, span)));
            ctx.add(problem.hint("mon, tue, wed, thu, fri, sat, sun, a range as in `mon-fri`, or a list: `[mon, wed, sat-sun]`"));
            return None;
        };
        // Over the weekend if the last stands before the first.
        let mut day = first;
        days[day] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

fn day_range(word: &str) -> Option<(usize, usize)> {
    let day = |word: &str| DAYS.iter().position(|day| *day == word.trim().to_lowercase());
    match word.split_once('-') {
        Some((first, last)) => Some((day(first)?, day(last)?)),
        None => day(word).map(|day| (day, day)),
    }
}

/// `08:00-20:00`
fn range(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<(u16, u16)> {
    let word = text(ctx, entry)?;
    let span = entry.value.span;
    let parts = word.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
    match parts {
        None | Some((MIDNIGHT, _)) => {
            let problem = ctx.error(Code::Value, span, format!("`hours`: {} is no range of times", ctx.quoted(word, span)));
            ctx.add(problem.hint("as in \"08:00-20:00\", or \"22:00-06:00\" over midnight; in quotes"));
            None
        }
        Some((from, to)) if from == to => {
            let problem = ctx.error(Code::Value, span, "`hours` starts and ends at the same time");
            ctx.add(problem.hint("for whole days leave `hours` out, or write \"00:00-24:00\""));
            None
        }
        range => range,
    }
}

/// Minutes since midnight; 24:00 is the end of the day.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute).filter(|_| minute.len() == 2)?);
    (minute < 60 && (hour < 24 || (hour, minute) == (24, 0))).then_some(hour * 60 + minute)
}

/// The form of a name in the IANA database. Whether this machine has the zone, `mailgather check` says.
fn timezone(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<String> {
    let name = text(ctx, entry)?;
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    if name.len() > ZONE_OCTETS_MAX || !name.split('/').all(part) || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let span: Span = entry.value.span;
        let problem = ctx.error(Code::Value, span, format!("`timezone`: {} is no name of a time zone", ctx.quoted(name, span)));
        ctx.add(problem.hint("as in Europe/Moscow or UTC; without the key it is the system's zone"));
        return None;
    }
    ctx.names(entry.value.span, Outside::Zone(name.to_owned()));
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("8:05", Some(485)),
            ("08:05", Some(485)),
            ("23:59", Some(1439)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("08:60", None),
            ("08", None),
            ("08:5", None),
            ("-1:00", None),
            ("+8:00", None),
            ("", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn ranges_of_days() {
        assert_eq!(day_range("mon-fri"), Some((0, 4)));
        assert_eq!(day_range("Sat - mon"), Some((5, 0)));
        assert_eq!(day_range("wed"), Some((2, 2)));
        assert_eq!((day_range("monday"), day_range("mon-"), day_range("1-5")), (None, None, None));
    }
}
