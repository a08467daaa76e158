//! Logins by NTLM, judged by pyspnego.

use crate::support::python;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A judge that waits for tokens.
pub struct Judge {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    /// The hash of the server's certificate; empty without TLS.
    binding: String,
}

/// What the judge says.
pub enum Verdict {
    /// This challenge.
    Challenge(String),
    /// This is who it is.
    In(String),
    /// No.
    Refused(String),
}

impl Judge {
    /// Knows these accounts (`DOMAIN:NAME:PASSWORD`), kept in a file in this folder.
    pub fn start(folder: &Path, accounts: &[&str], binding: &[u8]) -> Judge {
        let file = folder.join("ntlm-accounts");
        std::fs::write(&file, accounts.join("\n") + "\n").expect("the accounts");
        let mut command = python::command("support/ews/ntlm_judge.py", &[]);
        command.env("NTLM_USER_FILE", &file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python starts");
        let (asks, says) = (child.stdin.take().expect("a pipe"), BufReader::new(child.stdout.take().expect("a pipe")));
        let binding = binding.iter().map(|octet| format!("{octet:02x}")).collect();
        Judge { child, asks, says, binding }
    }

    /// A token that came by this connection.
    pub fn judge(&mut self, connection: u64, token: &str) -> Verdict {
        let asked = serde_json::json!({"connection": connection, "token": token, "binding": self.binding});
        writeln!(self.asks, "{asked}").expect("the judge listens");
        let mut line = String::new();
        self.says.read_line(&mut line).expect("the judge speaks");
        let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        match (text("token"), text("user")) {
            (Some(token), _) => Verdict::Challenge(token),
            (_, Some(user)) => Verdict::In(user),
            _ => Verdict::Refused(text("refused").unwrap_or_default()),
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
