//! A provider in use cannot vanish unnoticed: not at a start, and not at a reload.

use crate::support::corpus::letter;
use crate::support::process::{PASSWORD_VARIABLE, Signal};
use crate::support::*;

#[test]
fn k8_a_reload_whose_provider_vanished_is_refused_and_what_runs_goes_on() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let provider =
        format!("providers:\n  corp: {{imap: {{server: 127.0.0.1, port: {}, tls: {{ca_file: {}}}}}}}\n", server.imaps(), server.ca().display());
    let rest = format!(
        "service: {{start_jitter: 0s}}\ndelivery: {}\ncollectors:\n  sales: {{provider: corp, email: sales@pop.example, interval: 24h, password: {{env: {PASSWORD_VARIABLE}}}, recipient: {{forward_to: box@example.org}}}}\n",
        boxes.delivery()
    );
    let put = |n: usize| server.put("sales@pop.example", &letter(n, "sales@pop.example"));
    put(0);
    let program = Mailgather::new(&format!("{provider}{rest}"));
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    program.configure(&rest);
    daemon.signal(Signal::HUP);
    let error = daemon.wait_for("config_error");
    assert!(error.contains("there is no provider `corp`") && error.contains("used by collector `sales`"), "{error}");
    daemon.wait_for("config_rejected");
    put(1);
    daemon.signal(Signal::USR1);
    daemon.wait_for("message_delivered");
    daemon.wait_for("session_finished");
    // Back in the file under its name, with another server: the change is taken.
    program.configure(&format!("{}{rest}", provider.replace("}}}", "}}, title: again}")));
    daemon.signal(Signal::HUP);
    daemon.wait_for("config_loaded");
    daemon.stop().expect_success();
    assert_eq!(boxes.subjects("box@example.org"), ["letter 0", "letter 1"]);
    assert_eq!(server.count("sales@pop.example"), 2);
    // Without the daemon: no start.
    program.configure(&rest);
    let refused = program.once(&[]).expect_code(78);
    assert!(refused.stderr.contains("there is no provider `corp`"), "{}", refused.stderr);
}
