//! A collector as it comes out of another program's file, and how it is written.

use super::yaml::{Node, flow, quoted};
use crate::mail::{Address, CollectorId, Secret};
use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

/// How a mailbox is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IMAP
    Imap,
    /// POP3
    Pop3,
}

/// Where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// It stood in the file.
    Plain(Secret),
    /// A command prints it.
    Command(Vec<String>),
    /// The file does not say.
    Missing,
    /// The login takes none.
    NotNeeded,
}

/// How the other program names its history of this mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Past {
    /// In `.fetchids`, under one of these hosts. By IMAP it is \Seen.
    Fetchmail(Vec<String>),
    /// In the files of this server, by this port.
    Getmail(String, u16),
    /// In this file.
    Mpop(String),
}

/// One collector.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is called; [`named`] makes it a name.
    pub name: String,
    /// The line on which the mailbox is named.
    pub line: usize,
    /// False: the operator has to look at it first.
    pub enabled: bool,
    /// The other program does not collect from it either, unless it is told to.
    pub skipped: bool,
    /// How it is read.
    pub protocol: Protocol,
    /// The server.
    pub server: String,
    /// Its port, if it was said.
    pub port: Option<u16>,
    /// The login name.
    pub username: String,
    /// The password.
    pub password: Password,
    /// Further keys, a block.
    pub keys: Node,
    /// Who gets the mail.
    pub recipient: Node,
    /// Where it goes.
    pub delivery: Node,
    /// Where the history is.
    pub past: Past,
}

impl Draft {
    /// A collector of which nothing but the mailbox is known.
    pub(super) fn new(line: usize, protocol: Protocol, server: &str, username: &str, past: Past) -> Draft {
        let block = || Node::Block(Vec::new());
        Draft {
            name: format!("{}-{server}", username.split('@').next().unwrap_or(username)),
            line,
            enabled: true,
            skipped: false,
            protocol,
            server: server.to_owned(),
            port: None,
            username: username.to_owned(),
            password: Password::Missing,
            keys: block(),
            recipient: block(),
            delivery: Node::one("smtp", Node::text("127.0.0.1:25")),
            past,
        }
    }

    /// How the channel is secured where the other program did not say TLS: openly only on this machine, where nobody listens. True if that is
    /// another way than before.
    pub(super) fn without_tls(&mut self, openly: bool) -> bool {
        if openly || is_loopback(&self.server) {
            self.keys.set("tls", Node::one("mode", Node::word("none")));
            self.keys.set("auth", with(self.keys.get("auth"), "allow_plaintext", Node::word(true)));
            return false;
        }
        self.keys.set("tls", with(self.keys.get("tls"), "mode", Node::word("starttls")));
        true
    }

    /// Sets a key of a block inside.
    pub(super) fn set_in(&mut self, block: &str, key: &str, value: Node) {
        self.keys.set(block, with(self.keys.get(block), key, value));
    }

    /// Somebody who is known by a name only, at this domain; `None` if that is no address.
    pub(super) fn address(name: &str, domain: &str) -> Option<String> {
        let text = if name.contains('@') { name.to_owned() } else { format!("{name}@{domain}") };
        text.parse::<Address>().ok().map(|_| text)
    }

    /// All mail goes to the owner of the mailbox: for a target that is one mailbox whoever the recipient is.
    pub(super) fn for_owner(&mut self) {
        let of = self.username.clone();
        let owner = Draft::address(&of, "localhost").or_else(|| Draft::address(of.split('@').next().unwrap_or(""), "localhost"));
        self.recipient = Node::one("forward_to", Node::text(owner.unwrap_or_else(|| "postmaster@localhost".into())));
    }
}

fn with(block: Option<&Node>, key: &str, value: Node) -> Node {
    let mut block = block.cloned().unwrap_or_else(|| Node::Block(Vec::new()));
    block.set(key, value);
    block
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Gives each draft a name of its own that a collector can have.
pub fn named(mut drafts: Vec<Draft>) -> Vec<Draft> {
    let mut taken = HashSet::new();
    for draft in &mut drafts {
        let mut name: String = draft.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        name.truncate(CollectorId::CHARS_MAX - 8);
        let name = name.trim_matches('-');
        let name = if name.is_empty() { "mailbox" } else { name };
        let mut free = name.to_owned();
        for n in 2.. {
            if taken.insert(free.clone()) {
                break;
            }
            free = format!("{name}-{n}");
        }
        draft.name = free;
    }
    drafts
}

/// The configuration of these collectors; `secret` says in which file a password is, and without an answer it stands in the text.
pub fn configuration(drafts: &[Draft], secret: &dyn Fn(&Draft) -> Option<String>) -> String {
    let mut out = String::from("# Written by `mailgather import`. All keys: docs/configuration.md.\n");
    let shared = drafts.first().map(|draft| &draft.delivery).filter(|first| drafts.iter().all(|draft| draft.delivery == **first));
    if let Some(delivery) = shared {
        let _ = writeln!(out, "delivery: {}", flow(delivery));
    }
    out.push_str(if drafts.is_empty() { "collectors: {}\n" } else { "collectors:\n" });
    for draft in drafts {
        let _ = writeln!(out, "  {}:", quoted(&draft.name));
        let mut line = |key: &str, value: String| {
            let _ = writeln!(out, "    {key}: {value}");
        };
        if !draft.enabled {
            line("enabled", "false".into());
        }
        line("protocol", if draft.protocol == Protocol::Imap { "imap" } else { "pop3" }.into());
        line("server", quoted(&draft.server));
        if let Some(port) = draft.port {
            line("port", port.to_string());
        }
        line("username", quoted(&draft.username));
        match (&draft.password, secret(draft)) {
            (Password::NotNeeded, _) => {}
            (Password::Command(argv), _) => line("password", flow(&Node::one("command", Node::List(argv.iter().map(Node::text).collect())))),
            (_, Some(file)) => line("password", flow(&Node::one("file", Node::text(file)))),
            (Password::Plain(secret), None) => line("password", flow(&Node::text(secret.expose()))),
            (Password::Missing, None) => line("password", flow(&Node::one("file", Node::text(format!("/etc/mailgather/secrets/{}", draft.name))))),
        }
        if let Node::Block(entries) = &draft.keys {
            entries.iter().for_each(|(key, value)| line(key, flow(value)));
        }
        line("recipient", flow(&draft.recipient));
        if shared.is_none() {
            line("delivery", flow(&draft.delivery));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(user: &str) -> Draft {
        let mut draft = Draft::new(1, Protocol::Pop3, "pop.x.example", user, Past::Mpop(String::new()));
        draft.password = Password::Plain(Secret::new("p: #'".into()));
        draft.for_owner();
        draft
    }

    #[test]
    fn names_are_unique_and_secrets_where_they_belong() {
        let drafts = named(vec![draft("anna@x.example"), draft("anna"), draft("раз")]);
        assert_eq!(drafts.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["anna-pop-x-example", "anna-pop-x-example-2", "pop-x-example"]);
        let plain = configuration(&drafts[..1], &|_| None);
        assert!(plain.contains("    password: 'p: #'''\n    recipient: {forward_to: anna@x.example}\n"), "{plain}");
        assert!(plain.contains("\ndelivery: {smtp: '127.0.0.1:25'}\n"), "{plain}");
        let filed = configuration(&drafts[..1], &|draft| Some(format!("/s/{}", draft.name)));
        assert!(filed.contains("    password: {file: /s/anna-pop-x-example}\n") && !filed.contains("p: #"), "{filed}");
        let mut drafts = drafts;
        drafts[1].delivery = Node::one("maildir", Node::text("/m/"));
        assert!(configuration(&drafts, &|_| None).contains("    delivery: {maildir: /m/}\n"));
    }

    #[test]
    fn an_open_channel_is_for_this_machine_only() {
        for (server, mode) in [("localhost", "none"), ("127.0.0.1", "none"), ("pop.x.example", "starttls")] {
            let mut draft = Draft::new(1, Protocol::Imap, server, "u", Past::Mpop(String::new()));
            assert_eq!(draft.without_tls(false), mode == "starttls");
            assert_eq!(flow(draft.keys.get("tls").unwrap()), format!("{{mode: {mode}}}"));
        }
    }
}
