//! getmailrc: one mailbox, one destination, options.

use super::draft::{Draft, Password, Past, Protocol};
use super::ini::{Section, Value, sections, tuple};
use super::yaml::Node;
use super::{Around, Imported, Kind, LIST_MAX, Notes, Unreadable};
use crate::mail::{Address, Secret};

/// Reads a getmailrc.
pub fn read(text: &str, around: Around<'_>) -> Result<Imported, Unreadable> {
    let sections = sections(text)?;
    let section = |name: &str| sections.iter().find(|section| section.name == name);
    let Some(retriever) = section("retriever") else { return Err(Unreadable::new(1, "there is no `[retriever]`")) };
    let nothing = Section { name: String::new(), line: 1, values: Vec::new() };
    let mut one = One {
        retriever,
        destination: section("destination").unwrap_or(&nothing),
        options: section("options").unwrap_or(&nothing),
        sections: &sections,
        around,
        notes: Notes::default(),
    };
    let draft = one.draft()?;
    for section in sections.iter().filter(|section| section.name.starts_with("filter")) {
        one.notes.add(
            section.line,
            Kind::NoEqual,
            &format!("[{}]", section.name),
            "messages are not filtered on their way: let the server that gets them do it",
        );
    }
    Ok(Imported { drafts: draft.into_iter().collect(), notes: one.notes.0, history: None })
}

struct One<'a> {
    retriever: &'a Section,
    destination: &'a Section,
    options: &'a Section,
    sections: &'a [Section],
    around: Around<'a>,
    notes: Notes,
}

/// The classes of getmail: protocol, over TLS, for many recipients.
const TYPES: &[(&str, Protocol, bool, bool)] = &[
    ("SimplePOP3Retriever", Protocol::Pop3, false, false),
    ("SimplePOP3SSLRetriever", Protocol::Pop3, true, false),
    ("BrokenUIDLPOP3Retriever", Protocol::Pop3, false, false),
    ("BrokenUIDLPOP3SSLRetriever", Protocol::Pop3, true, false),
    ("SimpleIMAPRetriever", Protocol::Imap, false, false),
    ("SimpleIMAPSSLRetriever", Protocol::Imap, true, false),
    ("MultidropPOP3Retriever", Protocol::Pop3, false, true),
    ("MultidropPOP3SSLRetriever", Protocol::Pop3, true, true),
    ("MultidropSDPSRetriever", Protocol::Pop3, false, true),
    ("MultidropIMAPRetriever", Protocol::Imap, false, true),
    ("MultidropIMAPSSLRetriever", Protocol::Imap, true, true),
];

impl<'a> One<'a> {
    fn draft(&mut self) -> Result<Option<Draft>, Unreadable> {
        let of = |name: &str| self.retriever.get(name).filter(|value| !value.text.is_empty());
        let need = |name: &str| of(name).ok_or_else(|| Unreadable::new(self.retriever.line, format!("`[retriever]` has no `{name}`")));
        let kind = need("type")?;
        let Some((class, protocol, is_ssl, is_multidrop)) = TYPES.iter().find(|(class, ..)| *class == kind.text) else {
            return Err(Unreadable::new(kind.line, "this type of a retriever is not known"));
        };
        let (server, username) = (need("server")?, need("username")?);
        let port = match of("port") {
            Some(value) => value.text.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| Unreadable::new(value.line, "this is no port"))?,
            None => match (protocol, is_ssl) {
                (Protocol::Imap, false) => 143,
                (Protocol::Imap, true) => 993,
                (Protocol::Pop3, false) => 110,
                (Protocol::Pop3, true) => 995,
            },
        };
        let past = Past::Getmail(server.text.clone(), port);
        let mut draft = Draft::new(self.retriever.line, *protocol, &server.text, &username.text, past);
        draft.port = of("port").map(|_| port);
        if class.starts_with("BrokenUIDL") {
            draft.keys.set("keep_without_uidl", Node::word(true));
        }
        if *is_ssl {
            draft.set_in("tls", "mode", Node::word("implicit"));
            if of("ca_certs").is_none() && of("ssl_fingerprints").is_none() {
                self.notes.add(
                    kind.line,
                    Kind::Differs,
                    "type",
                    "getmail verifies no certificate without `ca_certs`; here it is always verified (`tls.verify`)",
                );
            }
        } else if draft.without_tls(false) {
            self.notes.add(kind.line, Kind::Differs, "type", "getmail sends the password openly; here STARTTLS or STLS is needed (`tls.mode`)");
        }
        for value in &self.retriever.values {
            self.retriever_key(&mut draft, value);
        }
        if draft.password == Password::Missing {
            self.notes.add(self.retriever.line, Kind::Decide, "password", "no password stands here: write it into the file that `password` names");
        }
        self.options_of(&mut draft);
        self.destination(&mut draft, *is_multidrop);
        Ok(Some(draft))
    }

    fn retriever_key(&mut self, draft: &mut Draft, value: &Value) {
        let Value { line, name, text } = value;
        let is_open = matches!(draft.keys.get("tls").and_then(|tls| tls.get("mode")), Some(Node::Word(mode)) if mode == "none");
        let is_true = truth(text);
        let mut note = |kind, why: &str| self.notes.add(*line, kind, name, why);
        match name.as_str() {
            "type" | "server" | "port" | "username" | "envelope_recipient" => {}
            "password" => draft.password = Password::Plain(Secret::new(text.clone())),
            "password_command" => match tuple(text).filter(|argv| !argv.is_empty()) {
                Some(argv) => draft.password = Password::Command(argv),
                None => note(Kind::Decide, "this is no command: set `password`"),
            },
            "use_apop" if is_true => draft.set_in("auth", "method", Node::word("apop")),
            "use_cram_md5" if is_true => draft.set_in("auth", "method", Node::word("cram_md5")),
            "use_xoauth2" if is_true => draft.set_in("auth", "method", Node::word("oauth2")),
            "use_kerberos" if is_true => {
                draft.enabled = false;
                note(Kind::NoEqual, "Kerberos is not spoken: choose `auth.method`; the collector is disabled until then");
            }
            "use_apop" | "use_cram_md5" | "use_xoauth2" | "use_kerberos" => {}
            "timeout" => match text.parse::<u32>() {
                Ok(seconds) => draft.keys.set("timeouts", Node::one("idle_data", Node::word(format!("{seconds}s")))),
                Err(_) => note(Kind::Decide, "this is no number of seconds"),
            },
            "mailboxes" => match tuple(text).filter(|names| !names.is_empty() && names.len() <= LIST_MAX) {
                _ if text.trim() == "ALL" => draft.keys.set("folders", Node::text("*")),
                Some(names) if names == ["ALL"] => draft.keys.set("folders", Node::text("*")),
                Some(names) => {
                    if names.iter().any(|name| name.contains(['*', '%']) || name.starts_with('\\')) {
                        note(Kind::Decide, "`*`, `%` and a leading `\\` have a meaning of their own in `folders`");
                    }
                    draft.keys.set("folders", Node::texts(names));
                }
                None => note(Kind::Decide, "this is no list of folders: set `folders`"),
            },
            "certfile" | "keyfile" | "ca_certs" if !is_open && !text.is_empty() => {
                let key = match name.as_str() {
                    "certfile" => "client_cert",
                    "keyfile" => "client_key",
                    _ => "ca_file",
                };
                draft.set_in("tls", key, Node::text(self.around.path(text)));
            }
            "ssl_fingerprints" => {
                match tuple(text).or_else(|| Some(vec![text.clone()])).filter(|all| all.iter().all(|one| is_sha256(one)) && all.len() <= 16) {
                    Some(all) if !is_open => draft.set_in("tls", "fingerprint", Node::texts(all)),
                    Some(_) => note(Kind::Unneeded, "the channel is open"),
                    None => note(
                        Kind::Decide,
                        "here it is of SHA-256: `mailgather test` prints it, for `tls.fingerprint`; until then the certificate is verified",
                    ),
                }
            }
            "use_peek" if !is_true => note(Kind::Differs, "messages are not marked as read by fetching them; `after: mark_seen` does it"),
            "imap_search" if draft.protocol == Protocol::Imap && text.to_ascii_uppercase().contains("UNSEEN") => {
                draft.keys.set("collect", Node::word("unseen"));
                if !text.trim_matches(['(', ')', ' ']).eq_ignore_ascii_case("UNSEEN") {
                    note(Kind::Differs, "of this search only UNSEEN is taken over (`collect: unseen`)");
                }
            }
            "imap_search" => note(Kind::NoEqual, "what is collected is chosen by `collect` and `first_run`"),
            "imap_on_delete" => note(Kind::NoEqual, "deleted copies are flagged \\Deleted and \\Seen, and expunged"),
            "delete_dup_msgids" => {
                note(Kind::Refused, "it deletes mail that was not delivered; messages with one id are told apart by their content")
            }
            "move_on_delete" | "getmaildir" => {}
            "ssl_version" => note(Kind::Differs, "TLS 1.2 is the oldest that is spoken (`tls.min_version`)"),
            "ssl_ciphers" => note(Kind::NoEqual, "the ciphers are those of TLS 1.2 and 1.3 that are sound"),
            "ssl_cert_hostname" => note(Kind::NoEqual, "the certificate must be that of `server`"),
            "record_mailbox" => note(Kind::NoEqual, "no field tells the folder; the log does"),
            "use_peek" => {}
            _ => note(Kind::NoEqual, "nothing here does this"),
        }
    }

    fn options_of(&mut self, draft: &mut Draft) {
        let is = |name: &str, default: bool| self.options.get(name).map_or(default, |value| truth(&value.text));
        let days = self.options.get("delete_after").and_then(|value| value.text.parse::<u64>().ok()).unwrap_or(0);
        let (delete, all) = (is("delete", false), is("read_all", true));
        let move_to = self.retriever.get("move_on_delete").filter(|value| !value.text.is_empty() && draft.protocol == Protocol::Imap);
        let keeps = !delete && days == 0;
        if draft.keys.get("collect").is_none() {
            draft.keys.set("collect", Node::word(if all && delete { "all" } else { "new" }));
        }
        if all && !delete {
            let line = self.options.get("read_all").map_or(self.options.line, |value| value.line);
            self.notes.add(
                line,
                Kind::Differs,
                "read_all",
                "it is the same mail each time; here each message comes once (getmail does so by default: `read_all` is true)",
            );
        }
        let after = match (delete, move_to) {
            (true, Some(folder)) => Node::one("move_to", Node::text(folder.text.clone())),
            (true, None) => Node::word("delete"),
            (false, _) if days > 0 => Node::one("delete_after", Node::word(format!("{}d", days.min(36_500)))),
            (false, _) => Node::word("keep"),
        };
        draft.keys.set("after", after);
        for Value { line, name, text } in &self.options.values {
            let mut note = |kind, why: &str| self.notes.add(*line, kind, name, why);
            let number = text.parse::<u64>().ok();
            match (name.as_str(), number) {
                ("read_all" | "delete", _) | ("delete_after", Some(_)) => {}
                ("max_messages_per_session", Some(n)) => draft.keys.set("max_messages_per_session", Node::word(n.min(100_000))),
                ("max_bytes_per_session", Some(n)) => draft.keys.set("max_bytes_per_session", Node::word(n)),
                ("max_message_size", Some(0)) | ("delete_bigger_than", Some(0)) => {}
                ("max_message_size", Some(n)) => draft.keys.set("max_message_size", Node::word(n)),
                ("delete_bigger_than", Some(_)) if !keeps => note(Kind::Unneeded, "what was delivered is deleted by `after`, whatever its size"),
                ("delete_bigger_than", Some(_)) => note(Kind::NoEqual, "what becomes of a copy does not depend on its size: see `after`"),
                ("received", _) if !truth(text) => draft.delivery.set("trace_headers", Node::one("received", Node::word(false))),
                ("received", _) => {}
                ("delivered_to", _) => note(
                    Kind::NoEqual,
                    "no Delivered-To is added, as servers take it for a loop; X-Mailgather-Resolved tells how the recipient was found",
                ),
                ("use_netrc" | "netrc_file", _) => note(Kind::NoEqual, ".netrc is not read: write the password into the file that `password` names"),
                ("verbose" | "message_log" | "message_log_verbose" | "message_log_syslog" | "logfile" | "fingerprint", _) => {
                    note(Kind::Unneeded, "the log goes to the standard error, which systemd keeps");
                }
                ("to_oldmail_on_each_mail" | "skip_imap_fetch_size", _) => note(Kind::Unneeded, "it is always so"),
                ("delete_after" | "max_messages_per_session" | "max_bytes_per_session" | "max_message_size" | "delete_bigger_than", None) => {
                    note(Kind::Decide, "this is no number, and was left out");
                }
                _ => note(Kind::NoEqual, "nothing here does this"),
            }
        }
    }

    fn destination(&mut self, draft: &mut Draft, is_multidrop: bool) {
        let received = draft.delivery.get("trace_headers").cloned();
        let is_maildir = self.target(draft, self.destination, 0);
        if let Some(received) = received {
            draft.delivery.set("trace_headers", received);
        }
        let envelope = self.retriever.get("envelope_recipient");
        if draft.recipient.get("forward_to").is_some() {
            return;
        }
        if !is_multidrop || is_maildir {
            draft.for_owner();
            return match envelope {
                Some(value) => self.notes.add(value.line, Kind::Unneeded, "envelope_recipient", "there is one destination for all recipients"),
                None if is_maildir => {}
                None => self.notes.add(
                    self.destination.line,
                    Kind::Decide,
                    "destination",
                    "who gets the mail is not said: it is the owner of the mailbox; set `recipient.forward_to`",
                ),
            };
        }
        let domain =
            draft.username.rsplit_once('@').map(|(_, domain)| domain.to_owned()).filter(|domain| format!("x@{domain}").parse::<Address>().is_ok());
        let Some(domain) = domain else {
            draft.enabled = false;
            draft.for_owner();
            return self.notes.add(
                self.retriever.line,
                Kind::Decide,
                "type",
                "whose domains these recipients are is not said: write `recipient.auto`; the collector is disabled until then",
            );
        };
        let mut auto = Node::one("domains", Node::List(vec![Node::text(domain.clone())]));
        if let Some(value) = envelope {
            let (name, index) = value.text.split_once(':').unwrap_or((&value.text, "1"));
            let mut header = Node::one("header", Node::text(name.trim()));
            if let Some(index) = index.trim().parse::<u32>().ok().filter(|index| *index > 0) {
                header.set("index", Node::word(index));
            }
            auto.set("headers", Node::List(vec![header]));
        }
        let default_box = Node::text(format!("postmaster@{domain}"));
        draft.recipient = Node::Block(vec![("auto".to_owned(), auto), ("default_box".to_owned(), default_box)]);
        self.notes.add(
            self.retriever.line,
            Kind::Decide,
            "type",
            "getmail takes recipients of any domain; here only those of `recipient.auto.domains`, the others go to `default_box`: look at both",
        );
    }

    /// Sets the target; true if it is one Maildir for all.
    fn target(&mut self, draft: &mut Draft, of: &'a Section, depth: usize) -> bool {
        let get = |name: &str| of.get(name).map(|value| value.text.as_str()).filter(|text| !text.is_empty());
        let line = of.get("type").map_or(of.line, |value| value.line);
        let mut used = vec!["type"];
        let is_maildir = match get("type") {
            Some("Maildir") => {
                used.push("path");
                get("path").is_some_and(|path| self.maildir(draft, path))
            }
            Some("MDA_lmtp") => {
                used.extend(["host", "port", "override"]);
                let host = get("host").unwrap_or("localhost");
                let place = match (host.strip_prefix('/'), get("port")) {
                    (Some(_), _) => format!("unix:{host}"),
                    (None, port) => format!("{}:{}", if host.contains(':') { format!("[{host}]") } else { host.to_owned() }, port.unwrap_or("2003")),
                };
                draft.delivery = Node::one("lmtp", Node::text(place));
                if let Some(address) = get("override").and_then(|name| Draft::address(name, "localhost")) {
                    draft.recipient = Node::one("forward_to", Node::text(address));
                }
                false
            }
            Some("MultiDestination") if depth == 0 => {
                used.push("destinations");
                match get("destinations").and_then(tuple).as_deref() {
                    Some([one]) => match one.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                        Some(name) => match self.sections.iter().find(|section| section.name == name) {
                            Some(section) => self.target(draft, section, depth + 1),
                            None => self.no_target(draft, line, "this destination is not there"),
                        },
                        None => self.maildir(draft, one),
                    },
                    _ => self.no_target(draft, line, "a message goes to one target"),
                }
            }
            Some("Mboxrd") => self.no_target(draft, line, "mail goes to a server or into a Maildir, not into an mbox"),
            Some("MDA_external" | "MDA_qmaillocal") => self.no_target(draft, line, "no program is run for a message"),
            Some("MultiSorter" | "MultiGuesser" | "MultidropSorter") => {
                self.no_target(draft, line, "messages are not sorted: `recipient.auto` finds who gets them")
            }
            _ => self.no_target(draft, line, "this destination is not known"),
        };
        for value in of.values.iter().filter(|value| !used.contains(&value.name.as_str())) {
            self.notes.add(value.line, Kind::NoEqual, &value.name, "nothing here does this");
        }
        is_maildir
    }

    fn maildir(&mut self, draft: &mut Draft, path: &str) -> bool {
        let path = self.around.path(path);
        if path.contains(['{', '}']) {
            return self.no_target(draft, self.destination.line, "a brace has a meaning of its own in `maildir`");
        }
        draft.delivery = Node::one("maildir", Node::text(path));
        true
    }

    fn no_target(&mut self, draft: &mut Draft, line: usize, why: &str) -> bool {
        draft.enabled = false;
        let text = format!("{why}: choose `delivery`; the collector is disabled until then, with the server on this machine");
        self.notes.add(line, Kind::Decide, "destination", text);
        false
    }
}

/// As getmail reads it.
fn truth(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "yes" | "true" | "on")
}

pub(super) fn is_sha256(text: &str) -> bool {
    let digits = text.chars().filter(|c| *c != ':').count();
    digits == 64 && text.chars().all(|c| c == ':' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::super::yaml::flow;
    use super::*;

    const AROUND: Around<'static> = Around { home: "/home/anna", folder: "/home/anna/.getmail" };

    fn one(retriever: &str, destination: &str, options: &str) -> (Draft, Imported) {
        let text =
            format!("[retriever]\nserver = h.example\nusername = anna@x.example\n{retriever}\n[destination]\n{destination}\n[options]\n{options}\n");
        let imported = read(&text, AROUND).unwrap();
        (imported.drafts[0].clone(), imported)
    }

    fn keys(draft: &Draft) -> String {
        flow(&draft.keys)
    }

    #[test]
    fn a_maildir_of_ones_own() {
        let retriever = "type = SimpleIMAPSSLRetriever\npassword = a b\nca_certs = ~/ca.pem\nmailboxes = (\"INBOX\", 'A b')\ntimeout = 60";
        let (draft, imported) =
            one(retriever, "type = Maildir\npath = ~/Mail/", "read_all = false\ndelete = yes\nmax_messages_per_session = 7\nreceived = false");
        assert_eq!(
            keys(&draft),
            "{tls: {mode: implicit, ca_file: /home/anna/ca.pem}, folders: [INBOX, 'A b'], timeouts: {idle_data: 60s}, collect: new, after: delete, max_messages_per_session: 7}"
        );
        assert_eq!(flow(&draft.delivery), "{maildir: /home/anna/Mail/, trace_headers: {received: false}}");
        assert_eq!(
            (flow(&draft.recipient).as_str(), draft.enabled, imported.notes.len()),
            ("{forward_to: anna@x.example}", true, 0),
            "{:?}",
            imported.notes
        );
        assert_eq!(draft.past, Past::Getmail("h.example".into(), 993));
    }

    #[test]
    fn disposal() {
        for (options, collect, after) in [
            ("read_all = true\ndelete = true", "all", "delete"),
            ("", "new", "keep"),
            ("delete_after = 14\nread_all = no", "new", "{delete_after: 14d}"),
            ("delete_after = 14\ndelete = 1", "all", "delete"),
        ] {
            let (draft, _) = one("type = SimplePOP3Retriever", "type = Maildir\npath = /m/", options);
            assert_eq!(
                (flow(draft.keys.get("collect").unwrap()).as_str(), flow(draft.keys.get("after").unwrap()).as_str()),
                (collect, after),
                "{options}"
            );
        }
        let (draft, _) = one("type = SimpleIMAPRetriever\nmove_on_delete = Old", "type = Maildir\npath = /m/", "delete = true");
        assert_eq!(flow(draft.keys.get("after").unwrap()), "{move_to: Old}");
    }

    #[test]
    fn many_recipients() {
        let (draft, _) = one("type = MultidropPOP3SSLRetriever\nenvelope_recipient = delivered-to:2", "type = MDA_lmtp\nhost = /run/lmtp", "");
        assert_eq!(
            flow(&draft.recipient),
            "{auto: {domains: [x.example], headers: [{header: delivered-to, index: 2}]}, default_box: postmaster@x.example}"
        );
        assert_eq!(flow(&draft.delivery), "{lmtp: 'unix:/run/lmtp'}");
        let (draft, _) = one("type = SimplePOP3SSLRetriever", "type = MDA_lmtp\nhost = h\nport = 24\noverride = joe@y.example", "");
        assert_eq!((flow(&draft.recipient).as_str(), flow(&draft.delivery).as_str()), ("{forward_to: joe@y.example}", "{lmtp: 'h:24'}"));
    }

    #[test]
    fn what_has_no_equal_disables_and_is_told() {
        for destination in [
            "type = Mboxrd\npath = /m",
            "type = MDA_external\npath = /usr/bin/procmail\narguments = ('-f', 'secret')",
            "type = MultiSorter\ndefault = /m/\nlocals = ()",
            "",
        ] {
            let (draft, imported) = one("type = SimplePOP3SSLRetriever", destination, "");
            assert!(!draft.enabled && imported.notes.iter().any(|note| note.kind == Kind::Decide && note.option == "destination"), "{destination}");
            let values = destination.lines().count();
            assert!(imported.notes.len() > values.saturating_sub(1), "each option is told: {:?}", imported.notes);
        }
        let (draft, _) = one("type = SimplePOP3SSLRetriever", "type = MultiDestination\ndestinations = ('/m/',)", "");
        assert!(draft.enabled && flow(&draft.delivery) == "{maildir: /m/}");
    }
}
