//! Changes that come by other ways than a saved file: a volume that Kubernetes swaps, a file that was bind-mounted.

use super::*;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use support::process::PROGRAM;

/// The poll that finds what no event tells of comes each 30 s.
const POLL: Duration = Duration::from_secs(30);

/// The part of a configuration that a file of `conf.d` holds.
fn collectors_of(config: &str) -> String {
    config[config.find("collectors:").unwrap()..].to_owned()
}

/// What the kubelet does with a volume: a new folder, a link to it in the place of the old one, and the old folder goes.
fn publish(volume: &Path, generation: &str, files: &[(&str, String)]) {
    let folder = volume.join(format!("..{generation}"));
    std::fs::create_dir(&folder).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
    let old = std::fs::read_link(volume.join("..data")).ok();
    symlink(format!("..{generation}"), volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for (name, _) in files.iter().filter(|(name, _)| std::fs::symlink_metadata(volume.join(name)).is_err()) {
        symlink(format!("..data/{name}"), volume.join(name)).unwrap();
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

/// A ConfigMap that is mounted as `conf.d`: each swap is noticed at once, also the second one, when the folder of the first is gone.
#[test]
fn a_config_map_as_conf_d_is_noticed_each_time_it_is_swapped() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new("");
    let main = config(&sink.delivery(), &[imap(&server, "main")]);
    let file = |user: &str| collectors_of(&config(&sink.delivery(), &[imap(&server, user)]));
    let volume = program.path().join("conf.d");
    std::fs::create_dir(&volume).unwrap();
    publish(&volume, "1", &[("a.yaml", file("a"))]);
    program.configure(&main);
    let mut daemon = program.run();
    assert!(daemon.wait_for("config_loaded").contains("added=2"));
    publish(&volume, "2", &[("a.yaml", file("b"))]);
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=1 unchanged=1"));
    publish(&volume, "3", &[("a.yaml", file("b")), ("c.yaml", file("c"))]);
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=2"));
    // A swap to the same content is none.
    publish(&volume, "4", &[("a.yaml", file("b")), ("c.yaml", file("c"))]);
    server.put("c", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    assert_eq!(daemon.counted("config_loaded", 3), 3);
    daemon.stop().expect_success();
}

/// A single file that was bind-mounted, as containers do it: no event comes for what is written on the other side of the mount, and the poll finds it.
#[test]
fn a_bind_mounted_file_is_noticed_by_the_poll() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let with = |names: &[&str]| {
        let collectors: Vec<_> = names.iter().map(|name| imap(&server, name)).collect();
        config(&sink.delivery(), &collectors)
    };
    let program = Mailgather::new("");
    let outside = tempfile::tempdir().unwrap();
    let source = outside.path().join("mailgather.yaml");
    std::fs::write(&source, with(&["a"])).unwrap();
    // A mount that only this process and its daemon have.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]);
    command.arg(&source).arg(program.config_file()).arg(PROGRAM).args(program.arguments("run"));
    command.env(support::process::PASSWORD_VARIABLE, dovecot::PASSWORD);
    let mut daemon = support::process::Daemon::start(command);
    assert!(daemon.wait_for("config_loaded").contains("added=1"));
    first_pass(&mut daemon);
    let changed = std::time::Instant::now();
    std::fs::write(&source, with(&["a", "b"])).unwrap();
    eventually("the poll", POLL * 2, || daemon.count_log("config_loaded") == 2);
    assert!(changed.elapsed() < POLL + SOON, "{:?}", changed.elapsed());
    server.put("b", &letter(1));
    sink.wait_for(1);
    assert_eq!(sessions(&daemon, "a"), 1, "a reload touches no unchanged collector");
    daemon.stop().expect_success();
}
