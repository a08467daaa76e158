//! Processes of a test: servers that end with the test whatever happens to it, and the program under test.

use super::server::MailServer;
use super::{SOON, eventually};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub use rustix::process::Signal;

/// A server that is stopped on drop, and also when the test process dies without dropping anything (SIGKILL, a static): a small shell waits for
/// the end of a pipe that only we hold, then ends its child.
pub struct Guarded {
    wrapper: Child,
    /// Dropped first: its end is the signal.
    pipe: Option<ChildStdin>,
    /// The server itself.
    pub pid: u32,
}

impl Guarded {
    /// Starts a program that stays in the foreground; what it prints goes to `log`.
    pub fn start(program: &str, arguments: &[&str], log: &Path) -> Guarded {
        // A session of its own, so that the server's children end with it too: Dovecot waits 6 s for an idle POP3 process.
        let script = r#"
            log=$1; shift
            setsid "$@" </dev/null >>"$log" 2>&1 &
            pid=$!
            echo $pid
            read -r _
            kill $pid 2>/dev/null
            n=0
            while [ $n -lt 20 ] && kill -0 $pid 2>/dev/null; do sleep 0.01; n=$((n + 1)); done
            kill -s KILL -- -$pid 2>/dev/null
            wait $pid 2>/dev/null
            exit 0"#;
        let mut wrapper = Command::new("/bin/sh")
            .args(["-c", script, "guard"])
            .arg(log)
            .arg(program)
            .args(arguments)
            // A Ctrl-C, or a time limit that ends all of our group, must not end the shell before it has done its work.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(wrapper.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("the pid of the server");
        let pipe = wrapper.stdin.take();
        Guarded { wrapper, pipe, pid: line.trim().parse().expect("a number") }
    }

    /// True as long as the server runs.
    pub fn is_alive(&self) -> bool {
        // A child that has ended and was not waited for yet is a zombie: state Z.
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Ends the server and waits for its end.
    pub fn stop(&mut self) {
        drop(self.pipe.take());
        let _ = self.wrapper.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// True if a program can be found on the usual paths.
pub fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// The environment variable in which the program finds the password of every mailbox.
pub const PASSWORD_VARIABLE: &str = "MAILGATHER_TEST_PASSWORD";

/// The program under test, with a configuration and a state of its own.
pub struct Mailgather {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Mailgather {
    /// Writes the configuration; nothing is started.
    pub fn new(config: &str) -> Mailgather {
        let folder = tempfile::Builder::new().prefix("mailgather-test-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("state")).expect("a folder for the state");
        let environment = vec![(PASSWORD_VARIABLE.to_string(), super::dovecot::PASSWORD.to_string())];
        let program = Mailgather { folder, environment };
        program.configure(config);
        program
    }

    /// Replaces the configuration at one stroke, as an editor does.
    pub fn configure(&self, config: &str) {
        let next = self.folder.path().join("next.yaml");
        std::fs::write(&next, config).expect("the configuration");
        std::fs::rename(next, self.config_file()).expect("the configuration in its place");
    }

    /// Adds a variable to the environment of what is started from now on.
    pub fn env(mut self, name: &str, value: &str) -> Mailgather {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("mailgather.yaml")
    }

    /// The state folder: ledger and spool.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A folder for what a test needs besides.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `mailgather SUBCOMMAND --config FILE --state-dir DIR …`, not started yet; also for wrapping in strace.
    pub fn arguments(&self, subcommand: &str) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![subcommand.into(), "--config".into(), text(self.config_file()), "--state-dir".into(), text(self.state_dir())]
    }

    /// A command that runs the program with this configuration and environment.
    pub fn command(&self, subcommand: &str, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(self.arguments(subcommand)).args(more).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Runs a subcommand to its end; a test that hangs fails after two minutes.
    pub fn run_to_end(&self, subcommand: &str, more: &[&str]) -> Finished {
        finish(self.command(subcommand, more), Duration::from_secs(120))
    }

    /// `mailgather once NAME…`
    pub fn once(&self, names: &[&str]) -> Finished {
        self.run_to_end("once", names)
    }

    /// `mailgather check`
    pub fn check(&self) -> Finished {
        self.run_to_end("check", &[])
    }

    /// `mailgather explain FILE` on these octets, with further arguments.
    pub fn explain(&self, message: &[u8], more: &[&str]) -> Finished {
        let file = self.folder.path().join("letter.eml");
        std::fs::write(&file, message).expect("the message");
        let mut arguments = vec![file.to_str().expect("a plain path")];
        arguments.extend(more);
        self.run_to_end("explain", &arguments)
    }

    /// Starts the daemon.
    pub fn run(&self) -> Daemon {
        Daemon::start(self.command("run", &[]))
    }
}

/// The program that cargo built for the tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mailgather");

/// What a process left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// Fails the test, and shows the log, unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// Fails the test, and shows the log, unless it ended well.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        self.expect_code(0)
    }
}

/// Runs a command to its end; kills it, and what it started, and fails the test after `limit`.
#[track_caller]
pub fn finish(mut command: Command, limit: Duration) -> Finished {
    let start = Instant::now();
    let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let pid = child.id();
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > limit {
            // Under strace the program is a child of the child.
            let group = rustix::process::Pid::from_raw(pid as i32).expect("a child has a number");
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait();
            panic!("process {pid} was still running after {limit:?}\n--- stderr\n{}", stderr.join().unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("the reading thread does not panic");
    Finished { status, stdout: text(stdout), stderr: text(stderr), took: start.elapsed() }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr), took: Duration::ZERO }
    }
}

/// A running daemon; killed on drop.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Where the next `wait_for` starts to look.
    seen: usize,
}

impl Daemon {
    /// Starts a long-running command and collects the lines of its standard error.
    pub fn start(mut command: Command) -> Daemon {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, echo) = (log.clone(), std::env::var_os("MAILGATHER_TEST_ECHO").is_some());
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                if echo {
                    let _ = writeln!(std::io::stderr(), "    | {text}");
                }
                lines.lock().expect("no thread panics with the lock").push(text);
                line.clear();
            }
        });
        Daemon { child, log, seen: 0 }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has taken so far, in octets.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }

    /// All lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no thread panics with the lock").clone()
    }

    /// Waits for a log line that holds `text`, after the one that the former call found; returns it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut found = None;
        let start = Instant::now();
        while found.is_none() {
            let log = self.log();
            found = log.iter().enumerate().skip(self.seen).find(|(_, line)| line.contains(text)).map(|(at, line)| (at, line.clone()));
            assert!(start.elapsed() < SOON, "no log line with {text:?} within {SOON:?} after line {}; the log:\n{}", self.seen, log.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let (at, line) = found.expect("the loop ends only with a line");
        self.seen = at + 1;
        line
    }

    /// How many log lines hold `text`.
    pub fn count_log(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// The same, once there are so many, or more: a line is read a moment after what it tells of.
    #[track_caller]
    pub fn counted(&self, text: &str, at_least: usize) -> usize {
        super::eventually(&format!("{at_least} lines with {text:?} in the log"), super::SOON, || self.count_log(text) >= at_least);
        self.count_log(text)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// True as long as it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end by itself.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Finished {
        let start = Instant::now();
        eventually("the daemon ends", limit, || !self.is_alive());
        let status = self.child.wait().expect("it has ended");
        // The reading thread ends with the pipe; give it a moment to take the last lines.
        std::thread::sleep(Duration::from_millis(20));
        Finished { status, stdout: String::new(), stderr: self.log().join("\n"), took: start.elapsed() }
    }

    /// SIGTERM, then waits for its end.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(40))
    }

    /// SIGKILL: a crash.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- log of the daemon\n{}", self.log().join("\n"));
        }
    }
}

/// The high-water mark of a process's memory, in octets; 0 if it has ended.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Sends a signal to a process that the test started.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("pids are small")).expect("and not 0");
    rustix::process::kill_process(pid, signal).expect("the process is ours");
}

/// How a collector of a test reaches its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Open, on purpose.
    Plain,
    /// STARTTLS or STLS.
    StartTls,
    /// TLS from the first octet.
    Tls,
}

/// One entry of `collectors:`; its `Display` is the YAML.
#[derive(Clone, Debug)]
pub struct CollectorYaml {
    id: String,
    protocol: &'static str,
    username: String,
    ports: [u16; 2],
    ca: PathBuf,
    channel: Channel,
    lines: Vec<(String, String)>,
}

impl CollectorYaml {
    /// An IMAP collector of this mailbox: plain channel, `collect: new`, `after: keep`, no limit of messages, a pass each 24 h.
    /// The server knows the user from then on.
    pub fn imap<S: MailServer + ?Sized>(server: &S, user: &str) -> CollectorYaml {
        server.add_user(user);
        CollectorYaml::new("imap", user, [server.imap(), server.imaps()], server.ca())
    }

    /// The same by POP3.
    pub fn pop3<S: MailServer + ?Sized>(server: &S, user: &str) -> CollectorYaml {
        server.add_user(user);
        CollectorYaml::new("pop3", user, [server.pop3(), server.pop3s()], server.ca())
    }

    /// A collector of any server on a loopback port, e.g. a scripted one.
    pub fn at(protocol: &'static str, user: &str, port: u16) -> CollectorYaml {
        CollectorYaml::new(protocol, user, [port, port], PathBuf::new())
    }

    fn new(protocol: &'static str, user: &str, ports: [u16; 2], ca: PathBuf) -> CollectorYaml {
        let id: String = user.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let collector = CollectorYaml { id, protocol, username: user.into(), ports, ca, channel: Channel::Plain, lines: Vec::new() };
        collector.set("collect", "new").set("after", "keep").set("max_messages_per_session", "0").set("interval", "24h")
    }

    /// Another id than the user's name.
    pub fn id(mut self, id: &str) -> CollectorYaml {
        self.id = id.into();
        self
    }

    /// How the server is reached.
    pub fn channel(mut self, channel: Channel) -> CollectorYaml {
        self.channel = channel;
        self
    }

    /// The port that its channel takes.
    pub fn port(&self) -> u16 {
        self.ports[usize::from(self.channel == Channel::Tls)]
    }

    /// The server behind another port, e.g. that of a proxy, whatever the channel.
    pub fn by_port(mut self, port: u16) -> CollectorYaml {
        self.ports = [port; 2];
        self
    }

    /// The authority of this server is trusted.
    pub fn trusting<S: MailServer + ?Sized>(mut self, server: &S) -> CollectorYaml {
        self.ca = server.ca();
        self
    }

    /// Trusts the authorities of this file.
    pub fn trusting_file(mut self, file: &Path) -> CollectorYaml {
        self.ca = file.to_owned();
        self
    }

    /// Sets a key to a value in YAML's flow style, or replaces its value.
    pub fn set(mut self, key: &str, value: &str) -> CollectorYaml {
        self.lines.retain(|(known, _)| known != key);
        self.lines.push((key.into(), value.into()));
        self
    }

    /// `after: …`
    pub fn after(self, after: &str) -> CollectorYaml {
        self.set("after", after)
    }

    /// Everything goes to this address.
    pub fn forward_to(self, address: &str) -> CollectorYaml {
        self.set("recipient", &format!("{{forward_to: {address}}}"))
    }

    /// The resolver decides; both in YAML's flow style, e.g. `{map: {pop.example: example.org}}`.
    pub fn auto(self, rules: &str, default_box: &str) -> CollectorYaml {
        self.set("recipient", &format!("{{auto: {rules}, default_box: {default_box}}}"))
    }
}

impl fmt::Display for CollectorYaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}:\n    protocol: {}\n    username: '{}'", self.id, self.protocol, self.username.replace('\'', "''"))?;
        writeln!(f, "    server: 127.0.0.1\n    port: {}\n    password: {{env: {PASSWORD_VARIABLE}}}", self.port())?;
        match self.channel {
            Channel::Plain => writeln!(f, "    tls: {{mode: none}}\n    auth: {{allow_plaintext: true}}")?,
            Channel::StartTls => writeln!(f, "    tls: {{mode: starttls, ca_file: {}}}", self.ca.display())?,
            Channel::Tls => writeln!(f, "    tls: {{mode: implicit, ca_file: {}}}", self.ca.display())?,
        }
        self.lines.iter().try_for_each(|(key, value)| writeln!(f, "    {key}: {value}"))
    }
}

/// A whole configuration: `delivery` is in YAML's flow style, e.g. `{lmtp: 127.0.0.1:24}`. Passes start at once.
pub fn config(delivery: &str, collectors: &[CollectorYaml]) -> String {
    let collectors: String = collectors.iter().map(ToString::to_string).collect();
    format!("service: {{start_jitter: 0s}}\nlog: {{level: debug}}\ndelivery: {delivery}\ncollectors:\n{collectors}")
}
