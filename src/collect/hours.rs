//! `schedule`: when passes may run by themselves. Pure: an instant in, a wait out.

use crate::config::{Hours, Schedule};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

/// The next border is looked for among so many days: one week, and the days that a time zone may add to it.
const DAYS_AHEAD: i64 = 9;
/// Most clock changes in these days.
const CLOCK_CHANGES: usize = 2;
/// A schedule that never opens is looked at again after this time.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How long passes have to wait at `now`; zero while they may run.
pub fn wait(schedule: &Schedule, now: Timestamp) -> Duration {
    match schedule {
        Schedule::Always => Duration::ZERO,
        Schedule::Inside(hours) => until(hours, now, true),
        Schedule::Outside(hours) => until(hours, now, false),
    }
}

/// The time until `now` is inside these hours, or outside.
fn until(hours: &Hours, now: Timestamp, inside: bool) -> Duration {
    let zone = zone(hours);
    let here = now.to_zoned(zone.clone());
    if contains(hours, here.datetime()) == inside {
        return Duration::ZERO;
    }
    // Borders are times of a wall clock, and the moments at which somebody moves its hands.
    let borders = (-1..=DAYS_AHEAD).filter_map(|days| here.date().checked_add(days.days()).ok()).flat_map(|day| borders(hours, day));
    let mut instants: Vec<Timestamp> = borders.filter_map(|border| border.to_zoned(zone.clone()).ok()).map(|border| border.timestamp()).collect();
    instants.extend(zone.following(now).take(CLOCK_CHANGES).map(|change| change.timestamp()));
    instants.sort();
    let next = instants.into_iter().filter(|instant| *instant > now).find(|instant| {
        let there = instant.to_zoned(zone.clone());
        contains(hours, there.datetime()) == inside
    });
    next.and_then(|next| Duration::try_from(next.duration_since(now)).ok()).unwrap_or(NEVER)
}

/// The wall-clock times of one day at which the answer may change.
fn borders(hours: &Hours, day: Date) -> [DateTime; 3] {
    let at = |minutes: u16| day.at(i8::try_from(minutes / 60).unwrap_or(0).min(23), (minutes % 60) as i8, 0, 0);
    // 24:00 is the next day's 00:00, which stands in the list by itself.
    [at(0), at(hours.from), at(hours.to % (24 * 60))]
}

fn contains(hours: &Hours, at: DateTime) -> bool {
    let minute = at.hour() as u16 * 60 + at.minute() as u16;
    let (today, yesterday) = (is_on(hours, at.date().weekday()), is_on(hours, at.date().weekday().previous()));
    if hours.from < hours.to {
        return today && (hours.from..hours.to).contains(&minute);
    }
    // Over midnight: the hours belong to the day on which they begin.
    (today && minute >= hours.from) || (yesterday && minute < hours.to)
}

fn is_on(hours: &Hours, day: Weekday) -> bool {
    hours.days[day.to_monday_zero_offset() as usize]
}

/// The configured zone; the system's where none is named, or its name is not known any more.
fn zone(hours: &Hours) -> TimeZone {
    hours.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEEK: [bool; 7] = [true; 7];
    const WORK: [bool; 7] = [true, true, true, true, true, false, false];

    fn hours(days: [bool; 7], from: u16, to: u16, zone: &str) -> Hours {
        Hours { days, from: from / 100 * 60 + from % 100, to: to / 100 * 60 + to % 100, timezone: Some(zone.into()) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_table() {
        let office = hours(WORK, 800, 2000, "Europe/Moscow");
        let night = hours(WORK, 2200, 600, "Europe/Moscow");
        let inside = |hours: &Hours, text: &str| wait(&Schedule::Inside(hours.clone()), at(text)).as_secs();
        let outside = |hours: &Hours, text: &str| wait(&Schedule::Outside(hours.clone()), at(text)).as_secs();
        for (hours, now, until_inside, until_outside) in [
            // 2026-11-20 is a Friday, 10:00 in Moscow.
            (&office, "2026-11-20T07:00:00Z", 0, 10 * 3600),
            (&office, "2026-11-20T16:59:59Z", 0, 1),
            (&office, "2026-11-20T17:00:00Z", 60 * 3600, 0),
            (&office, "2026-11-21T12:00:00Z", 41 * 3600, 0),
            (&office, "2026-11-23T04:59:30Z", 30, 0),
            // The night from Friday to Saturday belongs to Friday, the one to Monday to nobody.
            (&night, "2026-11-20T20:00:00Z", 0, 7 * 3600),
            (&night, "2026-11-21T02:59:00Z", 0, 60),
            (&night, "2026-11-21T19:30:00Z", 47 * 3600 + 1800, 0),
            (&night, "2026-11-22T22:00:00Z", 21 * 3600, 0),
        ] {
            assert_eq!((inside(hours, now), outside(hours, now)), (until_inside, until_outside), "{hours:?} {now}");
        }
        assert_eq!(wait(&Schedule::Always, at("2026-11-20T07:00:00Z")), Duration::ZERO);
        // All day, and never.
        assert_eq!(inside(&hours(WEEK, 0, 2400, "UTC"), "2026-11-20T07:00:00Z"), 0);
        assert_eq!(outside(&hours(WEEK, 0, 2400, "UTC"), "2026-11-20T07:00:00Z"), NEVER.as_secs());
        assert_eq!(inside(&hours([false; 7], 0, 2400, "UTC"), "2026-11-20T07:00:00Z"), NEVER.as_secs());
    }

    #[test]
    fn clocks_that_change() {
        // 2026-03-29, Berlin: 02:00 becomes 03:00. Hours that begin at 02:30 begin when the clock has jumped.
        let early = hours(WEEK, 230, 400, "Europe/Berlin");
        assert_eq!(wait(&Schedule::Inside(early.clone()), at("2026-03-29T00:59:00Z")).as_secs(), 60);
        // 2026-10-25: 02:30 comes twice; both are inside.
        assert_eq!(wait(&Schedule::Inside(early.clone()), at("2026-10-25T00:30:00Z")).as_secs(), 0);
        assert_eq!(wait(&Schedule::Inside(early), at("2026-10-25T01:30:00Z")).as_secs(), 0);
        // A zone that is not known is the system's: no error in the middle of the night.
        wait(&Schedule::Inside(hours(WEEK, 0, 100, "Nowhere/Land")), at("2026-10-25T01:30:00Z"));
    }

    proptest! {
        /// After the wait the schedule is open, unless it never is; and it is not open before.
        #[test]
        fn the_wait_ends_where_it_opens(days: [bool; 7], from in 0u16..1440, to in 1u16..=1440, start in 1_700_000_000i64..1_900_000_000, part in 0.0f64..1.0) {
            let hours = Hours { days, from, to, timezone: Some("Europe/Berlin".into()) };
            let now = Timestamp::from_second(start).unwrap();
            for schedule in [Schedule::Inside(hours.clone()), Schedule::Outside(hours.clone())] {
                let time = wait(&schedule, now);
                if time == NEVER {
                    continue;
                }
                prop_assert_eq!(wait(&schedule, now + time), Duration::ZERO);
                if !time.is_zero() {
                    prop_assert!(!wait(&schedule, now + time.mul_f64(part * 0.999)).is_zero());
                }
            }
        }
    }
}
