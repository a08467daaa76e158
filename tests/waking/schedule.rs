//! `interval`, `schedule`, `manual`.

use super::*;
use jiff::ToSpan;
use support::process::Signal;

/// A day of the week, so many days from today in UTC.
fn day(ahead: i64) -> String {
    let date = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().checked_add(ahead.days()).unwrap();
    date.strftime("%a").to_string().to_lowercase()
}

/// Three days in the middle of which we are, and the day that is farthest from now: a test may run over midnight.
fn open_and_closed() -> [String; 2] {
    [format!("{{days: [{}, {}, {}], timezone: UTC}}", day(-1), day(0), day(1)), format!("{{days: {}, hours: '09:00-17:00', timezone: UTC}}", day(4))]
}

/// What is closed does nothing by itself, whatever its interval is and its server tells; asked for, it collects.
#[test]
fn m3_a_schedule_that_is_closed_collects_on_request_only() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let [open, closed] = open_and_closed();
    let every = |user: &str, schedule: &str| imap(&server, user).set("interval", "100ms").set("schedule", schedule).set("idle", "on");
    let collectors = [every("always", "always"), every("open", &open), every("closed", &closed), every("after", "after_hours")];
    (0..4).for_each(|n| put(&server, ["always", "open", "closed", "after"][n], n));
    // `after_hours` is closed while the business is open.
    let program = Mailgather::new(&often(&service(&config(&boxes.delivery(), &collectors), &format!("business_hours: {open}"))));
    program.check().expect_success();
    let mut daemon = program.run();
    eventually("those that are open collect again and again", SOON, || ["always", "open"].iter().all(|id| sessions(&daemon, id) >= 5));
    assert_arrived(&boxes, [0, 1]);
    assert_eq!(["closed", "after"].map(|id| sessions(&daemon, id)), [0, 0]);

    daemon.signal(Signal::USR1);
    eventually("what was asked for is collected", SOON, || boxes.of(BOX).count() == 4);
    eventually("IDLE is begun behind the first pass", SOON, || ["closed", "after"].iter().all(|id| lines(&daemon, "idle_started", id) == 1));
    // New mail that the server tells of waits for the hours.
    (4..8).for_each(|n| put(&server, ["always", "open", "closed", "after"][n - 4], n));
    eventually("those that are open", SOON, || boxes.of(BOX).count() == 6);
    let before = sessions(&daemon, "always");
    eventually("and again", SOON, || sessions(&daemon, "always") >= before + 5);
    assert_eq!(["closed", "after"].map(|id| sessions(&daemon, id)), [1, 1]);
    assert_arrived(&boxes, 0..6);
    daemon.signal(Signal::USR1);
    eventually("all", SOON, || boxes.of(BOX).count() == 8);
    assert!(daemon.is_alive());
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..8);
    assert!(["always", "open", "closed", "after"].iter().all(|user| server.count(user) == 2), "everything is kept");
}

/// `after_hours` is open while the business is closed; and a schedule can be changed by a reload.
#[test]
fn m3_after_hours_and_hours_that_are_changed() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let [open, closed] = open_and_closed();
    let yaml = |schedule: &str, business: &str| {
        let collector = imap(&server, "u").set("interval", "100ms").set("schedule", schedule);
        often(&service(&config(&boxes.delivery(), &[collector]), &format!("business_hours: {business}")))
    };
    put(&server, "u", 0);
    let program = Mailgather::new(&yaml("after_hours", &closed));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    eventually("it is after hours", SOON, || boxes.of(BOX).count() == 1);
    program.configure(&yaml("after_hours", &open));
    daemon.wait_for("config_loaded");
    let settled = sessions(&daemon, "u");
    put(&server, "u", 1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(sessions(&daemon, "u") <= settled + 1, "one may have been on its way");
    program.configure(&yaml("always", &open));
    eventually("it is open again", SOON, || boxes.of(BOX).count() == 2);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
}

/// The interval that a journal is advised to have.
#[test]
fn m4_an_interval_of_50_ms_on_purpose() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let collectors = [imap(&server, "a").set("interval", "50ms"), CollectorYaml::pop3(&server, "b").forward_to(BOX).set("interval", "50ms")];
    let yaml = config(&boxes.delivery(), &collectors);
    let refused = Mailgather::new(&yaml).check().expect_code(78);
    assert!(refused.stderr.contains("interval 50ms is below limits.interval_min (5s)"), "{}", refused.stderr);
    assert!(refused.stderr.contains("interval_min: 50ms"), "{}", refused.stderr);
    let program = Mailgather::new(&often(&yaml));
    program.check().expect_success();
    let daemon = program.run();
    for n in 0..3 {
        put(&server, "a", n);
        put(&server, "b", n + 10);
        eventually("both are collected", SOON, || boxes.of(BOX).count() == 2 * (n + 1));
    }
    eventually("passes go on, often", SOON, || ["a", "b"].iter().all(|id| sessions(&daemon, id) >= 20));
    daemon.stop().expect_success();
    assert_arrived(&boxes, (0..3).chain(10..13));
}

#[test]
fn i11_an_interval_outside_its_limits_is_refused() {
    let with = |limits: &str, interval: &str| {
        let collector = CollectorYaml::at("imap", "u", 1).forward_to(BOX).set("interval", interval);
        Mailgather::new(&format!("{limits}\n{}", config("{lmtp: '127.0.0.1:1'}", &[collector]))).check()
    };
    for (limits, interval) in [("", "4s"), ("", "25h"), ("", "0"), ("limits: {interval_max: 1h}", "61m"), ("limits: {interval_min: 1m}", "59s")] {
        let done = with(limits, interval).expect_code(78);
        assert!(done.stderr.contains("limits.interval_m"), "{limits} {interval}: {}", done.stderr);
    }
    for (limits, interval) in [("", "5s"), ("", "24h"), ("", "1d"), ("limits: {interval_max: 7d}", "7d"), ("", "manual"), ("", "5000ms")] {
        with(limits, interval).expect_success();
    }
    // Below 50 ms nobody may go; and a number needs its unit.
    with("limits: {interval_min: 49ms}", "50ms").expect_code(78);
    with("", "300").expect_code(78);
}

#[test]
fn i11_manual_collects_on_request_only() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let collectors = [imap(&server, "now").set("interval", "100ms"), imap(&server, "asked").set("interval", "manual")];
    put(&server, "now", 0);
    put(&server, "asked", 1);
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &collectors)));
    let daemon = program.run();
    for round in 0..2 {
        let before = sessions(&daemon, "now");
        eventually("the other one goes on", SOON, || sessions(&daemon, "now") >= before + 5);
        assert_eq!(sessions(&daemon, "asked"), round);
        daemon.signal(Signal::USR1);
        eventually("it was asked for", SOON, || lines(&daemon, "session_finished", "asked") == round + 1);
    }
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
}

#[test]
fn c10_the_interval_is_a_duration_with_its_unit() {
    let spelled = [("a", "5m", 300), ("b", "300s", 300), ("c", "1h30m", 5400), ("d", "1d", 86_400), ("e", "5000ms", 5)];
    let dead = |(id, interval, _): (&str, &str, u64)| CollectorYaml::at("imap", id, 1).forward_to(BOX).set("interval", interval);
    let mut collectors: Vec<CollectorYaml> = spelled.into_iter().map(dead).collect();
    // Unset it is five minutes.
    collectors.push(CollectorYaml::at("imap", "f", 1).forward_to(BOX));
    let yaml = config("{lmtp: '127.0.0.1:1'}", &collectors);
    let program = Mailgather::new(&yaml.replace("    interval: 24h\n", ""));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let log = daemon.log();
    for (id, seconds) in spelled.iter().map(|(id, _, seconds)| (*id, *seconds)).chain([("f", 300)]) {
        let line = log.iter().find(|line| line.contains(&format!("collector_started collector={id} "))).unwrap();
        assert!(format!("{line} ").contains(&format!("interval_s={seconds} ")), "{line}");
    }
    daemon.stop();
}
