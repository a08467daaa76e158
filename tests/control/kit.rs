//! What these tests share: a daemon with mailboxes, and a client that writes octets by itself.

use crate::support::process::Daemon;
use crate::support::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

pub fn letter(n: usize) -> Vec<u8> {
    format!("From: a@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nBody {n}\r\n").into_bytes()
}

pub fn imap(server: &Dovecot, user: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to("anna@example.org").set("interval", "1h")
}

/// The daemon's socket, once it is there.
pub fn socket(program: &Mailgather) -> PathBuf {
    let path = program.state_dir().join("control.sock");
    eventually("the control socket", SOON, || path.exists());
    path
}

/// A daemon whose collectors have had their first pass.
pub fn running(program: &Mailgather, collectors: usize) -> Daemon {
    let daemon = program.run();
    eventually("the first passes", SOON, || daemon.count_log("session_finished") >= collectors);
    daemon
}

/// A raw request, and everything that comes back until the connection ends.
pub fn raw(path: &std::path::Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Who is refused before the end of the request may find the line cut.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status and the body of one request.
pub fn request(path: &std::path::Path, method: &str, place: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let answer = raw(path, &format!("{method} {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"));
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// The same configuration, in which the password of this collector is a wrong one.
pub fn with_wrong_password(config: &str, id: &str) -> String {
    let (before, block) = config.split_once(&format!("  {id}:\n")).unwrap();
    let line = block.lines().find(|line| line.contains("password: {env:")).unwrap();
    format!("{before}  {id}:\n{}", block.replacen(line, "    password: {command: [echo, wrong]}", 1))
}

/// Runs a command whose state directory is a file system of its own that has no room left; what it reads from standard input is in a file.
pub fn on_a_full_disk(program: &Mailgather, subcommand: &str, arguments: &[&str], input: &str) -> crate::support::process::Finished {
    let plain = program.command(subcommand, arguments);
    let script = "mount -t tmpfs -o size=64k,mode=700 tmpfs \"$0\" && { head -c 1M /dev/zero >\"$0/ballast\" 2>/dev/null; exec \"$@\"; }";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]).arg(program.state_dir());
    command.arg(plain.get_program()).args(plain.get_args()).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let file = program.path().join("input-of-full");
    std::fs::write(&file, input).unwrap();
    command.stdin(std::fs::File::open(&file).unwrap());
    crate::support::process::finish(command, SOON)
}
