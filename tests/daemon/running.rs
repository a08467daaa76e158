//! When passes begin, what the log says about it, and that there is one daemon only.

use super::*;

#[test]
fn sigusr1_collects_now() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    daemon.wait_for("session_finished");
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
}

#[test]
fn the_log_says_when_each_collector_begins_and_that_none_does() {
    let dead = |id: &str| CollectorYaml::at("imap", id, 1).forward_to("anna@example.org");
    let several = config("{lmtp: '127.0.0.1:1'}", &[dead("one"), dead("two")]);
    let program = Mailgather::new(&several.replace("start_jitter: 0s", "start_jitter: 30s"));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let log = daemon.log();
    for id in ["one", "two"] {
        let line = log.iter().find(|line| line.contains(&format!("collector_started collector={id} "))).unwrap_or_else(|| panic!("{log:?}"));
        assert!(line.contains("first_pass=\"in 1 s\"") && line.contains("interval_s="), "{line}");
    }
    assert!(!log.iter().any(|line| line.contains("no_enabled_collector")), "{log:?}");
    // The last one is switched off.
    program.configure(&several.replace("    protocol:", "    enabled: false\n    protocol:"));
    daemon.signal(Signal::HUP);
    let said = daemon.wait_for("no_enabled_collector");
    assert!(said.contains(" warn ") && said.contains("no collector is enabled"), "{said}");
    daemon.stop();
    let alone = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[dead("one")]));
    let mut daemon = alone.run();
    assert!(daemon.wait_for("collector_started").contains("first_pass=now"));
    daemon.stop();
}

/// Also those whose first pass nobody knows yet, or only the clock.
#[test]
fn the_log_says_truly_when_the_first_pass_is() {
    let dead = |id: &str| CollectorYaml::at("imap", id, 1).forward_to("anna@example.org");
    let never_today = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        [(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).weekday().to_monday_zero_offset() as usize + 3) % 7];
    let closed = dead("closed").set("schedule", &format!("{{days: {never_today}, timezone: UTC}}"));
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[dead("manual").set("interval", "manual"), closed]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let log = daemon.log();
    let of = |id: &str| log.iter().find(|line| line.contains(&format!("collector_started collector={id} "))).unwrap_or_else(|| panic!("{log:?}"));
    assert!(of("manual").contains("first_pass=\"on request\""), "{}", of("manual"));
    assert!(of("closed").contains("when its schedule lets it"), "{}", of("closed"));
    daemon.stop();
}

#[test]
fn the_interval_collects_again() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&often(&config(&sink.delivery(), &[imap(&server, "one").set("interval", "100ms")])));
    let mut daemon = program.run();
    for n in 1..=3 {
        first_pass(&mut daemon);
        server.put("one", &letter(n));
        sink.wait_for(n);
    }
    daemon.stop().expect_success();
    assert_each_once(&sink, 3);
}

#[test]
fn a_second_instance_says_so() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    for subcommand in ["run", "once"] {
        let second = program.run_to_end(subcommand, &[]).expect_code(75);
        assert!(second.stderr.contains("another mailgather uses the state directory") && second.stderr.contains("hint:"), "{}", second.stderr);
    }
    daemon.stop().expect_success();
    program.once(&[]).expect_success();
}
