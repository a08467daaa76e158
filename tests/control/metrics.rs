//! Metrics: docs/monitoring.md, the shipped alerts and the dashboard name what there is and nothing else; the real promtool takes all of it.

use crate::kit::{imap, letter, raw, request, running, socket, with_wrong_password};
use crate::support::process::{Channel, Guarded};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What Prometheus itself adds, and what belongs to its own language.
const OF_PROMETHEUS: &[&str] = &["up"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn promtool() -> PathBuf {
    let path = PathBuf::from("/var/cache/mailgather-tests/debian/prometheus/usr/bin/promtool");
    assert!(path.exists(), "no promtool: run `tests/run packages`");
    path
}

/// Runs promtool; what it says, and that it is content.
fn promtool_takes(arguments: &[&str], folder: &Path, input: &str) -> String {
    let mut child = Command::new(promtool())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// The names of families and of their samples, as the older text has them.
fn families(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
}

/// The names in the first column of the table.
fn documented() -> BTreeSet<String> {
    let docs = std::fs::read_to_string(root("docs/monitoring.md")).unwrap();
    let table = docs.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|line| line.split(" | ").next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The words of an expression that can be names of metrics.
fn named(expression: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_word(c)).map(str::to_owned);
    words.filter(|word| word.starts_with("mailgather_") || word.starts_with("process_")).collect()
}

/// The family of a sample.
fn family(name: &str, families: &BTreeSet<String>) -> bool {
    let of_histogram = ["_bucket", "_count", "_sum"].iter().filter_map(|suffix| name.strip_suffix(suffix));
    families.contains(name) || of_histogram.into_iter().any(|family| families.contains(family))
}

/// A daemon that has delivered, failed, held and been asked says all it ever says. The page lists that, and nothing else; promtool finds no fault in it.
#[test]
fn the_page_lists_what_there_is_and_promtool_takes_it() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let delivered = imap(&server, "one").channel(Channel::Tls);
    let wrong = imap(&server, "two");
    let held = imap(&server, "three").set("max_message_size", "{limit: 1KiB, action: hold}").set("after", "delete");
    let program = Mailgather::new(&with_wrong_password(&config(&sink.delivery(), &[delivered, wrong, held]), "two"));
    (0..3).for_each(|n| server.put("one", &letter(n)));
    server.put("three", &letter(1));
    server.put("three", &[&letter(2)[..], "x".repeat(5_000).as_bytes()].concat());
    let daemon = program.run();
    let path = socket(&program);
    let text = || request(&path, "GET", "/metrics", "").1;
    eventually("the first sessions", SOON, || daemon.count_log("session_finished") >= 3);
    eventually("the held one", SOON, || text().contains("mailgather_messages_held{"));
    let text = text();
    let found = families(&text);
    let documented = documented();
    let missing: Vec<_> = found.difference(&documented).collect();
    let extra: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty() && extra.is_empty(), "docs/monitoring.md lacks {missing:?}, and names in vain {extra:?}");
    for line in [
        "mailgather_messages_held{collector=\"three\",reason=\"too_large\"} 1.0",
        "mailgather_messages_skipped_total{collector=\"three\",reason=\"too_large\"} 1",
        "mailgather_messages_resolved_total{collector=\"one\",by=\"forward\"} 3",
        "mailgather_messages_delivered_total{collector=\"one\",transport=\"lmtp\"} 3",
        "mailgather_delivery_attempts_total{collector=\"one\",transport=\"lmtp\",result=\"accepted\"} 3",
        "mailgather_delivery_duration_seconds_count{collector=\"one\",transport=\"lmtp\"} 3",
        "mailgather_collect_to_delivery_seconds_count{collector=\"one\"} 3",
        "mailgather_message_size_bytes_bucket{le=\"4096.0\",collector=\"one\"} 3",
        "mailgather_message_size_bytes_bucket{le=\"+Inf\",collector=\"one\"} 3",
        "mailgather_session_errors_total{collector=\"two\",reason=\"auth\"} 1",
        "mailgather_remote_deletes_total{collector=\"three\",result=\"confirmed\"} 1",
        "mailgather_remote_expunges_total{collector=\"three\",result=\"confirmed\"} 1",
        "mailgather_config_reloads_total{result=\"success\",trigger=\"cli\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n--- in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("mailgather_tls_certificate_expiry_timestamp_seconds{collector=\"one\"}") > 1.7e9);
    assert!(
        value("mailgather_collector_backoff_seconds{collector=\"two\"}") > 1.0
            && value("mailgather_collector_backoff_seconds{collector=\"one\"}") == 0.0
    );
    assert!(value("mailgather_spool_free_bytes ") > 1e6 && value("process_cpu_seconds_total ") > 0.0 && value("process_threads ") > 1.0);
    assert!(value("mailgather_http_requests_total{code=\"2xx\"}") >= 1.0);
    assert!(
        value("process_virtual_memory_bytes ") > value("process_resident_memory_bytes ") && value("process_max_fds ") >= value("process_open_fds ")
    );
    promtool_takes(&["check", "metrics"], &root("contrib"), &text);
    // Who asks for OpenMetrics gets it: that is what Prometheus does.
    let newer = raw(
        &path,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\nConnection: close\r\n\r\n",
    );
    assert!(newer.contains("content-type: application/openmetrics-text; version=1.0.0") && newer.trim_end().ends_with("# EOF"), "{newer}");
    daemon.stop().expect_success();
}

/// What stands on the server is shown by folder, few of them one by one, and no name that is an address; what is known, or not asked for, is counted.
#[test]
fn folders_are_shown_and_what_is_known_is_counted() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let one = imap(&server, "one").set("folders", "[INBOX, 'f*', 'me@x.example']");
    let unseen = imap(&server, "unseen").set("collect", "unseen").after("mark_seen");
    let program = Mailgather::new(&config(&sink.delivery(), &[one, unseen]));
    let mut client = OtherClient::inbox(server.imap(), "one");
    for folder in (0..25).map(|n| format!("f{n:02}")).chain(["me@x.example".to_owned()]) {
        client.command(&format!("CREATE \"{folder}\""));
    }
    client.command("SELECT INBOX");
    (0..3).for_each(|n| server.put("one", &letter(n)));
    (0..4).for_each(|n| server.put("unseen", &letter(10 + n)));
    eventually("they are seen", SOON, || client.search("ALL").len() == 3);
    client.command("UID COPY 1:2 me@x.example");
    client.command("UID COPY 1 f00");
    client.command("UID COPY 1:3 f24");
    let daemon = running(&program, 2);
    let path = socket(&program);
    let text = || request(&path, "GET", "/metrics", "").1;
    let remote = |text: &str| text.lines().filter(|line| line.starts_with("mailgather_remote_messages{collector=\"one\"")).count();
    let has = |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "{line}\n--- in\n{text}");
    let first = text();
    assert_eq!(remote(&first), 21, "{first}");
    has(&first, "mailgather_remote_messages{collector=\"one\",folder=\"INBOX\"} 3.0");
    has(&first, "mailgather_remote_messages{collector=\"one\",folder=\"f00\"} 1.0");
    // Two of the one whose name is an address, and three of the last.
    has(&first, "mailgather_remote_messages{collector=\"one\",folder=\"other\"} 5.0");
    assert!(!first.contains("x.example"), "{first}");
    has(&first, "mailgather_messages_skipped_total{collector=\"one\",reason=\"known\"} 0");
    has(&first, "mailgather_messages_skipped_total{collector=\"unseen\",reason=\"filtered\"} 0");
    server.put("one", &letter(20));
    program.run_to_end("collect", &[]).expect_success();
    let second = text();
    has(&second, "mailgather_messages_skipped_total{collector=\"one\",reason=\"known\"} 9");
    has(&second, "mailgather_messages_skipped_total{collector=\"one\",reason=\"filtered\"} 0");
    has(&second, "mailgather_messages_skipped_total{collector=\"unseen\",reason=\"filtered\"} 4");
    has(&second, "mailgather_messages_skipped_total{collector=\"unseen\",reason=\"known\"} 0");
    has(&second, "mailgather_remote_messages{collector=\"one\",folder=\"INBOX\"} 4.0");
    // The series of a collector that is switched off are gone, as those of one that is removed.
    program.run_to_end("disable", &["one"]).expect_success();
    eventually("its series are gone", SOON, || remote(&text()) == 0);
    daemon.stop().expect_success();
}

#[test]
fn alerts_are_sound_and_name_metrics_and_pages_that_there_are() {
    let folder = root("contrib/prometheus");
    promtool_takes(&["check", "rules", "mailgather.rules.yml"], &folder, "");
    let said = promtool_takes(&["test", "rules", "mailgather.test.yml"], &folder, "");
    assert!(said.contains("SUCCESS"), "{said}");
    promtool_takes(&["check", "config", "scrape.yml"], &folder, "");
    let rules = std::fs::read_to_string(folder.join("mailgather.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(folder.join("mailgather.test.yml")).unwrap();
    let documented = documented();
    let names = named(&rules);
    assert!(names.len() > 10, "the search finds nothing any more: {names:?}");
    for name in names.union(&named(&tests)) {
        assert!(family(name, &documented) || OF_PROMETHEUS.contains(&name.as_str()), "{name} is no metric");
    }
    let of = |key: &str| rules.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(&format!("{key}: "))).collect::<Vec<_>>();
    let (alerts, runbooks) = (of("alert"), of("runbook"));
    assert_eq!(alerts.len(), runbooks.len(), "each alert has a page");
    for page in runbooks {
        assert!(root(page).exists(), "{page} is no page");
    }
    let docs = std::fs::read_to_string(root("docs/monitoring.md")).unwrap();
    for alert in alerts {
        assert!(tests.matches(&format!("alertname: {alert}")).count() >= 2, "{alert} is tried when all is well, and when it is not");
        assert!(docs.contains(&format!("`{alert}`")), "docs/monitoring.md does not name {alert}");
    }
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let text = std::fs::read_to_string(root("contrib/grafana/mailgather.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<&str> = panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Overview", "Collector $collector", "Delivery", "Errors"]);
    assert!(panels.iter().any(|panel| panel["type"] == "row" && panel["repeat"] == "collector"));
    let (mut ids, documented, mut shown) = (BTreeSet::new(), documented(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id is there twice: {panel}");
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{panel}");
        shown.extend(targets.iter().flat_map(|target| named(target["expr"].as_str().unwrap())));
    }
    shown.extend(
        dashboard["templating"]["list"].as_array().unwrap().iter().flat_map(|variable| named(variable["definition"].as_str().unwrap_or_default())),
    );
    assert!(shown.len() > 25, "{shown:?}");
    for name in &shown {
        assert!(family(name, &documented), "{name} is no metric");
    }
    // Each expression is one: promtool reads them as the expressions of rules.
    let expressions = panels.iter().flat_map(|panel| panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default());
    let rules = expressions.enumerate().map(|(n, target)| {
        let expression = target["expr"].as_str().unwrap().replace("$instance", ".*").replace("$collector", ".*");
        format!("      - {{record: 'a:{n}', expr: '{}'}}\n", expression.replace('\'', "''"))
    });
    let rules = format!("groups:\n  - name: dashboard\n    rules:\n{}", rules.collect::<String>());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    promtool_takes(&["check", "rules", "rules.yml"], folder.path(), "");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// What Prometheus asks over TCP is metrics, and nothing else can be asked there.
#[test]
fn metrics_over_tcp_and_nothing_else() {
    let (server, sink, port) = (Dovecot::start(), Sink::lmtp(), free_port());
    let text = format!("metrics: {{listen: '127.0.0.1:{port}'}}\n{}", config(&sink.delivery(), &[imap(&server, "one")]));
    let program = Mailgather::new(&text);
    let daemon = running(&program, 1);
    let get = |place: &str| ask(port, &format!("GET {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let metrics = get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("mailgather_collector_up{collector=\"one\"} 1.0"), "{metrics}");
    for place in ["/", "/v1/status", "/v1/collectors", "/openapi.json"] {
        assert!(get(place).starts_with("HTTP/1.1 404"), "{place}");
    }
    let post = ask(port, "POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    // Clients that say nothing keep nobody out for long, and no mail up.
    let stuck: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    assert!(get("/metrics").starts_with("HTTP/1.1 200"));
    drop(stuck);
    // A port that somebody has is said, and mail is collected all the same.
    let second = Mailgather::new(&text);
    let other = running(&second, 1);
    assert!(other.count_log("metrics_unavailable") == 1, "{:?}", other.log());
    other.stop().expect_success();
    daemon.stop().expect_success();
}

/// Prometheus itself scrapes the daemon without a complaint, and has loaded the alerts.
#[test]
fn prometheus_takes_the_metrics_and_the_alerts() {
    let (server, sink, port, own) = (Dovecot::start(), Sink::lmtp(), free_port(), free_port());
    let text = format!("metrics: {{listen: '127.0.0.1:{port}'}}\n{}", config(&sink.delivery(), &[imap(&server, "one")]));
    server.put("one", &letter(1));
    let program = Mailgather::new(&text);
    let daemon = running(&program, 1);
    let folder = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string(root("contrib/prometheus/scrape.yml")).unwrap();
    let changed = shipped
        .replace("127.0.0.1:9480", &format!("127.0.0.1:{port}"))
        .replace("  - mailgather.rules.yml", &format!("  - {}", root("contrib/prometheus/mailgather.rules.yml").display()));
    std::fs::write(folder.path().join("prometheus.yml"), format!("global: {{scrape_interval: 1s}}\n{changed}")).unwrap();
    let (listen, file) =
        (format!("--web.listen-address=127.0.0.1:{own}"), format!("--config.file={}", folder.path().join("prometheus.yml").display()));
    let data = format!("--storage.tsdb.path={}", folder.path().join("data").display());
    let binary = promtool().with_file_name("prometheus");
    let _prometheus = Guarded::start(binary.to_str().unwrap(), &[&listen, &file, &data], &folder.path().join("log"));
    let get = |place: &str| -> Value {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", own)) else { return Value::Null };
        let _ = stream.write_all(format!("GET {place} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    };
    let mut target = Value::Null;
    eventually("it has scraped", Duration::from_secs(60), || {
        target = get("/api/v1/targets")["data"]["activeTargets"][0].clone();
        target["health"] == "up" || target["health"] == "down"
    });
    assert!(target["health"] == "up" && target["lastError"] == "", "{target}");
    let count = |query: &str| get(&format!("/api/v1/query?query={query}"))["data"]["result"].as_array().map_or(0, Vec::len);
    eventually("it knows a counter and a histogram", SOON, || {
        count("mailgather_messages_delivered_total") == 1 && count("mailgather_message_size_bytes_bucket%7Ble=%22%2BInf%22%7D") == 1
    });
    let rules = get("/api/v1/rules");
    assert_eq!(rules["data"]["groups"][0]["rules"].as_array().map(Vec::len), Some(14), "{rules}");
    daemon.stop().expect_success();
}

/// The script for node_exporter's textfile collector, where no port is wanted: what it leaves is taken by promtool, whole or not at all.
#[test]
fn the_textfile_for_node_exporter() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    let folder = tempfile::tempdir().unwrap();
    let run = || Command::new(root("contrib/prometheus/textfile")).arg(&path).arg(folder.path()).output().unwrap();
    let ran = run();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let file = folder.path().join("mailgather.prom");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("mailgather_collector_up{collector=\"one\"} 1.0"), "{text}");
    promtool_takes(&["check", "metrics"], folder.path(), &text);
    daemon.stop().expect_success();
    // Nothing is better than what was true once.
    assert!(!run().status.success() && !file.exists());
}
