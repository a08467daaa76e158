//! What these tests share.

use crate::support::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

pub const BOX: &str = "box@example.org";

/// `mailgather test …`
pub fn test(program: &Mailgather, arguments: &[&str]) -> process::Finished {
    program.run_to_end("test", arguments)
}

/// The line of a step.
#[track_caller]
pub fn line<'a>(stdout: &'a str, step: &str) -> &'a str {
    let start = format!("  {step} ");
    stdout.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no step {step} in:\n{stdout}"))
}

/// The steps that were tried, in order.
pub fn steps(stdout: &str) -> Vec<String> {
    let is_step = |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  not tried");
    stdout.lines().filter(is_step).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Every file below a folder, with its octets.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let octets = std::fs::read(&path).unwrap_or_default();
                    found.insert(path.display().to_string(), octets);
                }
            }
        }
    }
    found
}

/// A server that says `greeting` to each connection, and to each line what `answer` says; `None` closes.
pub fn scripted(greeting: &'static str, answer: impl Fn(&str) -> Option<String> + Send + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(listener, greeting, answer);
    port
}

/// The same behind a listener of one's own.
pub fn serve(listener: TcpListener, greeting: &'static str, answer: impl Fn(&str) -> Option<String> + Send + Clone + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.write_all(greeting.as_bytes());
                let reader = BufReader::new(stream.try_clone().unwrap());
                for line in reader.lines() {
                    let Some(said) = line.ok().and_then(|line| answer(&line)) else { break };
                    if stream.write_all(said.as_bytes()).is_err() {
                        break;
                    }
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    });
}
