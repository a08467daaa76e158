//! What each option of fetchmail is here: a key of a draft, or a note.

use super::draft::{Draft, Password, Past, Protocol};
use super::fetchmail::{Entry, File, Opt, User};
use super::yaml::Node;
use super::{Around, Imported, Kind, LIST_MAX, Notes};
use crate::mail::{Address, Secret};
use std::net::IpAddr;

/// Seconds of the longest interval that is taken unless the configuration allows more.
const INTERVAL_MAX: u64 = 24 * 3600;
const INTERVAL_MIN: u64 = 5;

/// Options for which nothing has to be said here, and why.
const UNNEEDED: &[(&str, &str)] = &[
    ("uidl", "what was collected is always remembered"),
    ("dns", "names are not compared by DNS"),
    ("tracepolls", "the log and X-Mailgather-Id name the mailbox"),
    ("bad-header", "no message is refused for its header"),
    ("forcecr", "line ends are always CRLF"),
    ("stripcr", "line ends are always CRLF"),
    ("pass8bits", "octets above 127 go out as they are (`delivery.eight_bit`)"),
    ("fastuidl", "ids are compared at once"),
    ("fetchsizelimit", "sizes are asked for only where a limit is set"),
    ("properties", "fetchmail ignores it too"),
];

/// Options that nothing here does, and what to do in their place.
const NO_EQUAL: &[(&str, &str)] = &[
    ("interface", "the daemon asks whenever its time has come"),
    ("monitor", "the daemon asks whenever its time has come"),
    ("plugin", "connections are made directly; let a tunnel listen on this machine, and name it as `server` and `port`"),
    ("plugout", "connections are made directly"),
    ("checkalias", "domains are named in `recipient.auto`"),
    ("principal", "Kerberos is not spoken"),
    ("esmtpname", "for a relay that wants a login: `delivery.auth`, over TLS only"),
    ("esmtppassword", "for a relay that wants a login: `delivery.auth`, over TLS only"),
    ("fetchdomains", "ETRN and ODMR are not spoken"),
    ("bsmtp", "mail goes to a server or into a Maildir"),
    ("preconnect", "no command is run before a session"),
    ("postconnect", "no command is run after a session"),
    ("rewrite", "addresses in the header stay as they are"),
    ("dropstatus", "Status fields stay as they are"),
    ("mimedecode", "the content is never changed"),
    ("warnings", "messages that are too large are in the log and in `mailgather status`"),
    ("sslcertpath", "`tls.ca_file` takes one file with all certificates"),
    ("sslcommonname", "the certificate must be that of `server`"),
];

pub(super) fn imported(file: &File, around: Around<'_>) -> Imported {
    let mut notes = Notes::default();
    let mut set = Set { daemon: None, postmaster: None, idfile: None, invisible: false };
    for (line, word, no, value) in &file.set {
        global(&mut set, &mut notes, *line, word, *no, value);
    }
    let mut drafts = Vec::new();
    let nobody = [User::default()];
    for entry in &file.entries {
        let users = if entry.users.is_empty() { &nobody[..] } else { &entry.users };
        for user in users {
            let mut one = One::new(file, entry, user, around, &set);
            if let Some(draft) = one.draft() {
                drafts.push(draft);
            }
            notes.0.append(&mut one.notes.0);
        }
    }
    same_mailbox(&mut drafts, &mut notes);
    // An option of `defaults` is told once, not once for each user.
    let mut told = std::collections::HashSet::new();
    notes.0.retain(|note| told.insert((note.line, note.option.clone(), note.text.clone())));
    Imported { drafts, notes: notes.0, history: set.idfile.map(|file| around.path(&file)) }
}

struct Set {
    daemon: Option<u64>,
    postmaster: Option<String>,
    idfile: Option<String>,
    invisible: bool,
}

fn global(set: &mut Set, notes: &mut Notes, line: usize, word: &str, no: bool, value: &str) {
    let mut note = |kind, text: &str| notes.add(line, kind, &format!("set {word}"), text);
    match (word, no) {
        ("daemon", _) => match value.parse() {
            Ok(0) => note(Kind::Differs, "0 means a single poll: for cron there is `mailgather once`"),
            Ok(seconds) => set.daemon = Some(seconds),
            Err(_) => note(Kind::Decide, "this is no number of seconds: see `interval`"),
        },
        ("postmaster", _) => set.postmaster = Some(value.to_owned()),
        ("idfile", _) => set.idfile = Some(value.to_owned()),
        ("invisible", no) => set.invisible = !no,
        ("bouncemail" | "spambounce", false) => {
            note(Kind::Refused, "no bounce is ever sent: senders are forged; what cannot be placed goes to the default box or is held")
        }
        ("bouncemail", true) => note(Kind::Unneeded, "no bounce is ever sent"),
        ("softbounce", false) => note(Kind::Differs, "what is refused for good is held (`mailgather held`), and its copy stays on the server"),
        ("softbounce", true) => note(Kind::Refused, "what is refused for good is held (`mailgather held`), never thrown away"),
        ("logfile" | "syslog" | "pidfile", _) => note(Kind::Unneeded, "the log goes to the standard error, which systemd keeps"),
        _ => note(Kind::Unneeded, "it changes nothing that is collected or delivered"),
    }
}

/// One mailbox, with the options that hold for it.
struct One<'a> {
    entry: &'a Entry,
    user: &'a User,
    defaults: (&'a [Opt], Option<&'a User>),
    around: Around<'a>,
    set: &'a Set,
    notes: Notes,
    used: Vec<&'static str>,
}

impl<'a> One<'a> {
    fn new(file: &'a File, entry: &'a Entry, user: &'a User, around: Around<'a>, set: &'a Set) -> Self {
        One { entry, user, defaults: (&file.defaults.options, file.defaults.users.first()), around, set, notes: Notes::default(), used: Vec::new() }
    }

    /// All options, those that count most last.
    fn options(&self) -> impl DoubleEndedIterator<Item = &'a Opt> + use<'a> {
        let of_default_user = self.defaults.1.map_or(&[][..], |user| &user.options);
        self.defaults.0.iter().chain(of_default_user).chain(&self.entry.options).chain(&self.user.options)
    }

    fn last(&mut self, name: &'static str) -> Option<&'a Opt> {
        self.used.push(name);
        self.options().rfind(|option| option.name == name)
    }

    fn flag(&mut self, name: &'static str) -> bool {
        self.last(name).is_some_and(|option| !option.no)
    }

    fn value(&mut self, name: &'static str) -> Option<(&'a str, usize)> {
        let option = self.last(name).filter(|option| !option.no)?;
        option.values.last().map(|value| (value.as_str(), option.line))
    }

    fn number(&mut self, name: &'static str) -> Option<u64> {
        let (text, line) = self.value(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.notes.add(line, Kind::Decide, name, "this is no number, and was left out");
        }
        number
    }

    /// The values of a list: those of the mailbox, else those of the defaults.
    fn list(&mut self, name: &'static str) -> Vec<&'a str> {
        self.used.push(name);
        let of = |options: &mut dyn Iterator<Item = &'a Opt>| -> Vec<&'a str> {
            options.filter(|option| option.name == name).flat_map(|option| option.values.iter().map(String::as_str)).collect()
        };
        let own = of(&mut self.entry.options.iter().chain(&self.user.options));
        if own.is_empty() { of(&mut self.options()) } else { own }
    }

    fn line_of(&self, name: &str) -> usize {
        self.options().rfind(|option| option.name == name).map_or(self.line(), |option| option.line)
    }

    fn line(&self) -> usize {
        if self.user.line > 0 { self.user.line } else { self.entry.line }
    }

    fn note(&mut self, of: &'static str, kind: Kind, text: &str) {
        let line = self.line_of(of);
        self.notes.add(line, kind, of, text);
    }

    fn draft(&mut self) -> Option<Draft> {
        let (protocol, is_apop) = self.protocol()?;
        let server = self.value("via").map_or(self.entry.name.as_str(), |(via, _)| via);
        let mut name = self.user.name.as_str();
        if name.is_empty() {
            name = self.user.names.first().map_or("", |(name, to)| to.as_deref().unwrap_or(name));
            let (line, text) = (self.line(), "the login name is not said; it is taken to be the local one: set `username`");
            self.notes.add(line, Kind::Decide, "user", text);
        }
        let hosts = vec![server.to_owned(), self.entry.name.clone()];
        let mut draft = Draft::new(self.line(), protocol, server, name, Past::Fetchmail(hosts));
        draft.skipped = self.entry.skip;
        draft.enabled = !self.entry.skip && !name.is_empty();
        if name.is_empty() {
            draft.username = "nobody".into();
        }
        self.login(&mut draft, is_apop);
        self.channel(&mut draft);
        self.times(&mut draft);
        self.collecting(&mut draft);
        self.delivery(&mut draft);
        self.recipient(&mut draft);
        self.the_rest();
        Some(draft)
    }

    fn protocol(&mut self) -> Option<(Protocol, bool)> {
        let said = self.value("protocol").map(|(word, _)| word.to_ascii_lowercase());
        let by_port = self.value("service").map(|(port, _)| port);
        match said.as_deref() {
            Some("imap") => Some((Protocol::Imap, false)),
            Some("pop3") => Some((Protocol::Pop3, false)),
            Some("apop") => Some((Protocol::Pop3, true)),
            Some("sdps") => {
                self.note("protocol", Kind::Decide, "SDPS's *ENV is not asked for; see which header tells the recipient: `mailgather audit`");
                Some((Protocol::Pop3, false))
            }
            None | Some("auto") => {
                let is_pop3 =
                    matches!(by_port, Some("110" | "995" | "pop3" | "pop3s")) || self.options().any(|option| option.name == "uidl" && !option.no);
                let word = if is_pop3 { "it is taken to be POP3: set `protocol`" } else { "it is taken to be IMAP: set `protocol`" };
                self.note("protocol", Kind::Decide, word);
                Some((if is_pop3 { Protocol::Pop3 } else { Protocol::Imap }, false))
            }
            Some(_) => {
                self.note("protocol", Kind::NoEqual, "only IMAP and POP3 are spoken: this mailbox is left out");
                None
            }
        }
    }

    fn login(&mut self, draft: &mut Draft, is_apop: bool) {
        if is_apop {
            draft.set_in("auth", "method", Node::word("apop"));
        }
        if let Some((password, _)) = self.value("password").filter(|(password, _)| !password.is_empty()) {
            draft.password = Password::Plain(Secret::new(password.to_owned()));
        }
        let said = self.value("auth").map(|(word, line)| (word.to_ascii_lowercase(), line));
        match said.as_ref().map(|(word, _)| word.as_str()) {
            None | Some("any") => {}
            Some("password") => draft.set_in("auth", "method", Node::word("password")),
            Some("cram-md5" | "cram") => draft.set_in("auth", "method", Node::word("cram_md5")),
            Some("ntlm") => draft.set_in("auth", "method", Node::word("ntlm")),
            Some("external") if draft.protocol == Protocol::Imap => {
                draft.set_in("auth", "method", Node::word("external"));
                draft.password = Password::NotNeeded;
            }
            Some(_) => {
                draft.enabled = false;
                self.note("auth", Kind::NoEqual, "this login is not spoken: choose `auth.method`; the collector is disabled until then");
            }
        }
        if draft.password == Password::Missing {
            let (line, text) = (self.line(), "no password stands here (.netrc is not read): write it into the file that `password` names");
            self.notes.add(line, Kind::Decide, "password", text);
        }
    }

    fn channel(&mut self, draft: &mut Draft) {
        if let Some((service, line)) = self.value("service") {
            draft.port = match service {
                "imap" | "imap2" => Some(143),
                "imaps" => Some(993),
                "pop3" => Some(110),
                "pop3s" => Some(995),
                number => number.parse().ok().filter(|port| *port > 0),
            };
            if draft.port.is_none() {
                self.notes.add(line, Kind::Decide, "service", "this service has no number here: set `port`");
            }
        }
        let version = self.value("sslproto").map(|(word, _)| word.to_ascii_lowercase());
        if self.flag("ssl") {
            draft.set_in("tls", "mode", Node::word("implicit"));
        } else if draft.without_tls(version.as_deref() == Some("")) {
            let (line, text) = (self.line(), "fetchmail goes on without TLS where STARTTLS is not offered; here there is no login then (`tls.mode`)");
            self.notes.add(line, Kind::Differs, "ssl", text);
        }
        let is_open = matches!(draft.keys.get("tls").and_then(|tls| tls.get("mode")), Some(Node::Word(mode)) if mode == "none");
        match version.as_deref().map(|word| word.trim_end_matches('+')) {
            None | Some("" | "auto" | "tls1.2" | "ssl23") => {}
            Some("tls1.3") if !is_open => draft.set_in("tls", "min_version", Node::text("1.3")),
            Some("tls1.3") => {}
            Some(_) => self.note("sslproto", Kind::Differs, "TLS 1.2 is the oldest that is spoken; docs/tls.md has what to do for older servers"),
        }
        let no_check = self.last("sslcertck").is_some_and(|option| option.no);
        let files = [("sslcertfile", "ca_file"), ("sslcert", "client_cert"), ("sslkey", "client_key")]
            .map(|(of, key)| (key, self.value(of).map(|(path, _)| path)));
        let md5 = self.value("sslfingerprint").is_some();
        if is_open {
            return;
        }
        for (key, path) in files {
            if let Some(path) = path.filter(|path| !path.is_empty()) {
                draft.set_in("tls", key, Node::text(self.around.path(path)));
            }
        }
        if md5 {
            self.note(
                "sslfingerprint",
                Kind::Decide,
                "it is of MD5; here it is of SHA-256: `mailgather test` prints it, for `tls.fingerprint`. Until then the certificate is verified",
            );
        } else if no_check {
            draft.set_in("tls", "verify", Node::word("off"));
            self.note("sslcertck", Kind::Differs, "`tls.verify: off` is warned of at each load: better name the certificate by `tls.fingerprint`");
        }
    }

    fn times(&mut self, draft: &mut Draft) {
        if let Some(seconds) = self.number("timeout") {
            draft.keys.set("timeouts", Node::one("idle_data", Node::word(format!("{seconds}s"))));
        }
        let cycles = self.number("interval").unwrap_or(1).max(1);
        let Some(daemon) = self.set.daemon else {
            if cycles > 1 {
                self.note("interval", Kind::Decide, "it counts polls, and no `set daemon` says how far apart they are: see `interval`");
            }
            return;
        };
        let wanted = daemon.saturating_mul(cycles);
        let seconds = wanted.clamp(INTERVAL_MIN, INTERVAL_MAX);
        if seconds != wanted {
            self.note("interval", Kind::Differs, "it was brought into 5s to 24h, the range that `limits` allow");
        }
        draft.keys.set("interval", Node::word(format!("{seconds}s")));
    }

    fn collecting(&mut self, draft: &mut Draft) {
        let is_imap = draft.protocol == Protocol::Imap;
        let (keep, all) = (self.flag("keep"), self.flag("fetchall"));
        let collect = match (keep, all) {
            (true, true) => {
                self.note("fetchall", Kind::Differs, "with `keep` it is the same mail at every poll; here each message comes once");
                "new"
            }
            (true, false) => {
                if is_imap {
                    self.note("keep", Kind::Differs, "fetchmail passes over what anybody has read, and marks what it takes; here each message comes once, read or not, and is left as it is");
                }
                "new"
            }
            (false, true) => "all",
            // What somebody has read stays on the server, as with fetchmail.
            (false, false) if is_imap => "unseen",
            (false, false) => "new",
        };
        draft.keys.set("collect", Node::word(collect));
        draft.keys.set("after", Node::word(if keep { "keep" } else { "delete" }));
        if self.flag("flush") {
            self.note("flush", Kind::Refused, "it deletes mail that nobody may have collected; what was collected is deleted by `after: delete`");
        }
        if self.flag("limitflush") {
            self.note("limitflush", Kind::Refused, "it deletes mail that was never delivered; what is too large stays, and is reported");
        }
        if let Some(limit) = self.number("fetchlimit") {
            draft.keys.set("max_messages_per_session", Node::word(limit.min(100_000)));
        }
        if let Some(limit) = self.number("limit").filter(|limit| *limit > 0) {
            draft.keys.set("max_message_size", Node::word(limit));
        }
        if let Some(every) = self.number("expunge") {
            match is_imap && !keep {
                true => draft.keys.set("expunge", Node::one("every_messages", Node::word(every.min(1_000_000)))),
                false => self.note("expunge", Kind::Unneeded, "nothing is expunged here: it is POP3, or mail is kept"),
            }
        }
        if self.flag("idle") {
            match is_imap {
                true => draft.keys.set("idle", Node::word("on")),
                false => self.note("idle", Kind::Unneeded, "POP3 has no IDLE"),
            }
        }
        let folders = self.list("folder");
        if !folders.is_empty() && is_imap {
            if folders.iter().any(|name| name.contains(['*', '%']) || name.starts_with('\\')) {
                self.note("folder", Kind::Decide, "`*`, `%` and a leading `\\` have a meaning of their own in `folders`");
            }
            draft.keys.set("folders", Node::texts(folders.iter().map(ToString::to_string)));
        } else if !folders.is_empty() {
            self.note("folder", Kind::NoEqual, "POP3 has one mailbox only");
        }
    }

    fn delivery(&mut self, draft: &mut Draft) {
        let is_lmtp = self.flag("lmtp");
        let hosts = self.list("smtphost");
        if let Some((_, line)) = self.value("mda") {
            draft.enabled = false;
            let text = "no program is run for a message: choose `delivery` (a server or a Maildir); the collector is disabled until then, with the server on this machine";
            self.notes.add(line, Kind::Decide, "mda", text);
        }
        let places: Vec<String> = hosts
            .iter()
            .take(10)
            .map(|host| match host.rsplit_once('/') {
                _ if host.starts_with('/') => format!("unix:{host}"),
                Some((name, port)) => format!("{}:{port}", bracketed(name)),
                None => bracketed(host),
            })
            .collect();
        if hosts.len() > 10 {
            self.note("smtphost", Kind::NoEqual, "ten servers are taken, and the others left out");
        }
        let mut delivery = match (is_lmtp, places.is_empty()) {
            (false, true) => Node::one("smtp", Node::text("127.0.0.1:25")),
            (true, true) => Node::one("lmtp", Node::text("127.0.0.1:24")),
            (false, false) => Node::one("smtp", Node::texts(places)),
            (true, false) => Node::one("lmtp", Node::texts(places)),
        };
        if let Some(limit) = self.number("batchlimit") {
            delivery.set("max_messages_per_connection", Node::word(limit.min(1_000_000)));
        }
        if self.last("antispam").is_some_and(|option| !option.no) {
            delivery.set("on_permanent_failure", Node::word("hold"));
            self.note("antispam", Kind::Differs, "fetchmail throws away what is refused so; here it is held: `delivery.policy` has other ways");
        }
        if self.flag("dropdelivered") {
            delivery.set("headers", Node::one("delivered_to", Node::word("all")));
            self.note("dropdelivered", Kind::Differs, "Delivered-To is renamed to X-Orig-Delivered-To");
        }
        if self.set.invisible {
            delivery.set("trace_headers", Node::one("received", Node::word(false)));
        }
        draft.delivery = delivery;
    }

    fn recipient(&mut self, draft: &mut Draft) {
        let names = if self.user.names.is_empty() { self.defaults.1.map_or(&[][..], |user| &user.names) } else { &self.user.names };
        let at = self.value("smtpaddress").map_or("localhost", |(domain, _)| domain);
        if let Some((address, line)) = self.value("smtpname") {
            match Draft::address(address, at) {
                Some(address) => {
                    draft.recipient = Node::one("forward_to", Node::text(address));
                    return self.multidrop_only("smtpname decides who gets the mail");
                }
                None => self.notes.add(line, Kind::Decide, "smtpname", "this is no address, and was left out"),
            }
        }
        match names {
            [] => {
                let local = draft.username.split('@').next().unwrap_or("").to_owned();
                self.one_recipient(draft, &local, at);
                let (line, text) = (self.line(), "no local user is named: the mail goes to one of the login's name; set `recipient.forward_to`");
                self.notes.add(line, Kind::Decide, "is", text);
            }
            [(name, None)] if name != "*" => self.one_recipient(draft, name, at),
            // A single mapping has one local name, and so one recipient.
            [(_, Some(name))] => self.one_recipient(draft, name, at),
            names => return self.multidrop(draft, names, at),
        }
        self.multidrop_only("there is one recipient");
    }

    fn one_recipient(&mut self, draft: &mut Draft, name: &str, at: &str) {
        match Draft::address(name, at) {
            Some(address) => draft.recipient = Node::one("forward_to", Node::text(address)),
            None => {
                draft.enabled = false;
                draft.recipient = Node::one("forward_to", Node::text("postmaster@localhost"));
                let line = self.line();
                self.notes.add(line, Kind::Decide, "is", "this is no address: set `recipient.forward_to`; the collector is disabled until then");
            }
        }
    }

    /// Options that say nothing about mail for one recipient.
    fn multidrop_only(&mut self, why: &str) {
        for name in ["envelope", "qvirtual", "aka", "localdomains"] {
            if self.last(name).is_some() {
                self.note(name, Kind::Unneeded, why);
            }
        }
    }

    fn multidrop(&mut self, draft: &mut Draft, names: &[(String, Option<String>)], at: &str) {
        let is_domain = |text: &&str| text.parse::<IpAddr>().is_err() && format!("x@{text}").parse::<Address>().is_ok();
        let mut domains: Vec<&str> = self.list("aka");
        domains.extend([draft.server.as_str(), &self.entry.name]);
        domains.extend(draft.username.split_once('@').map(|(_, domain)| domain));
        let mut seen = std::collections::HashSet::new();
        domains.retain(|domain| is_domain(domain) && seen.insert(domain.to_ascii_lowercase()));
        domains.truncate(LIST_MAX);
        let local: Vec<&str> = self.list("localdomains").into_iter().filter(is_domain).collect();
        let (mut aliases, mut rest, mut bad) = (Vec::new(), false, 0);
        for (name, to) in names {
            if name == "*" && to.is_none() {
                rest = true;
                continue;
            }
            let Some(target) = Draft::address(to.as_deref().unwrap_or(name), at) else {
                bad += 1;
                continue;
            };
            for domain in if name.contains('@') { &[""][..] } else { &domains } {
                if bad > LIST_MAX || aliases.len() > LIST_MAX {
                    break;
                }
                match Draft::address(name, domain).filter(|_| aliases.len() < LIST_MAX) {
                    Some(alias) => aliases.push((alias, Node::text(target.clone()))),
                    None => bad += 1,
                }
            }
        }
        let mut said = std::collections::HashSet::new();
        aliases.retain(|(alias, _)| said.insert(alias.to_ascii_lowercase()));
        if bad > 0 {
            self.note("is", Kind::Decide, "not all of these names are addresses, or they are too many: complete `recipient.auto.aliases`");
        }
        let mut auto = Node::Block(Vec::new());
        self.headers(&mut auto);
        if rest {
            auto.set("map", Node::Block(domains.iter().map(|domain| ((*domain).to_owned(), Node::text(at))).collect()));
        }
        if !aliases.is_empty() {
            auto.set("aliases", Node::Block(aliases));
        }
        if !local.is_empty() || !rest {
            let all = local.iter().flat_map(|domain| [(*domain).to_owned(), format!(".{domain}")]).chain(if rest {
                Vec::new()
            } else {
                to_owned(&domains)
            });
            let mut all: Vec<String> = all.collect();
            if rest {
                all.extend(to_owned(&domains));
            }
            if !all.is_empty() {
                auto.set("domains", Node::List(all.into_iter().map(Node::Text).collect()));
            }
        }
        let nowhere = auto.get("map").is_none_or(Node::is_empty) && auto.get("aliases").is_none() && auto.get("domains").is_none();
        let postmaster = self.set.postmaster.as_deref().filter(|name| !name.is_empty()).unwrap_or("postmaster");
        let default_box = Draft::address(postmaster, at).unwrap_or_else(|| "postmaster@localhost".into());
        if nowhere {
            draft.enabled = false;
            draft.recipient = Node::one("forward_to", Node::text(default_box));
            return self.note("is", Kind::Decide, "no domain of this mailbox is known: write `recipient.auto`; the collector is disabled until then");
        }
        draft.recipient = Node::Block(vec![("auto".to_owned(), auto), ("default_box".to_owned(), Node::text(default_box))]);
        self.note(
            "is",
            Kind::Differs,
            "how a recipient is found has changed: look with `mailgather audit` and `mailgather explain` before the first pass",
        );
    }

    fn headers(&mut self, auto: &mut Node) {
        let envelope = self.last("envelope");
        let prefix = self.value("qvirtual").map(|(prefix, _)| prefix).filter(|prefix| !prefix.is_empty());
        let named = envelope.filter(|option| !option.no).and_then(|option| Some((option.values.last()?, option.values.len() > 1, option)));
        let mut header = match named {
            Some((name, numbered, option)) if !name.eq_ignore_ascii_case("received") => {
                let mut header = Node::one("header", Node::text(name.clone()));
                if let Some(skip) = option.values.first().and_then(|skip| skip.parse::<u32>().ok()).filter(|skip| numbered && *skip > 0) {
                    header.set("skip", Node::word(skip));
                }
                Some(header)
            }
            _ => {
                auto.set("guess", Node::word("on"));
                prefix.map(|_| Node::one("header", Node::text("Delivered-To")))
            }
        };
        if let (Some(header), Some(prefix)) = (header.as_mut(), prefix) {
            header.set("strip_prefix", Node::text(prefix));
        }
        if let Some(header) = header {
            auto.set("headers", Node::List(vec![header]));
        }
    }

    /// What nobody above has looked at.
    fn the_rest(&mut self) {
        for option in self.options().collect::<Vec<_>>() {
            let name = option.name;
            if self.used.contains(&name) {
                continue;
            }
            let find = |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
            let (kind, why) = match (find(UNNEEDED), find(NO_EQUAL)) {
                (Some(why), _) => (Kind::Unneeded, why),
                (None, Some(_)) if option.no => (Kind::Unneeded, "nothing here does it"),
                (None, Some(why)) => (Kind::NoEqual, why),
                (None, None) => (Kind::NoEqual, "nothing here does this"),
            };
            self.notes.add(option.line, kind, name, why);
        }
    }
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Two enabled collectors may not share a mailbox.
fn same_mailbox(drafts: &mut [Draft], notes: &mut Notes) {
    let mut seen = std::collections::HashSet::new();
    for draft in drafts.iter_mut().filter(|draft| draft.enabled) {
        let mailbox = (draft.protocol == Protocol::Imap, draft.server.to_ascii_lowercase(), draft.username.clone());
        if !seen.insert(mailbox) {
            draft.enabled = false;
            notes.add(draft.line, Kind::Decide, "user", "this mailbox is named before: one collector takes all its `folders`; this one is disabled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fetchmail::read;
    use super::super::yaml::flow;
    use super::*;

    const AROUND: Around<'static> = Around { home: "/home/anna", folder: "/home/anna" };

    fn one(text: &str) -> (Draft, Vec<Note>) {
        let mut imported = read(text, AROUND).unwrap();
        assert_eq!(imported.drafts.len(), 1, "{text}");
        (imported.drafts.remove(0), imported.notes)
    }
    use super::super::Note;

    fn key(draft: &Draft, key: &str) -> String {
        draft.keys.get(key).map_or_else(String::new, flow)
    }

    #[test]
    fn collecting_and_disposal() {
        for (protocol, options, collect, after) in [
            ("imap", "keep", "new", "keep"),
            ("imap", "", "unseen", "delete"),
            ("imap", "fetchall", "all", "delete"),
            ("imap", "fetchall keep", "new", "keep"),
            ("pop3", "", "new", "delete"),
            ("pop3", "no keep fetchall", "all", "delete"),
        ] {
            let (draft, _) = one(&format!("poll h.example proto {protocol} user u password p is joe here {options}"));
            assert_eq!((key(&draft, "collect").as_str(), key(&draft, "after").as_str()), (collect, after), "{protocol} {options}");
        }
    }

    #[test]
    fn channels() {
        for (options, tls) in [
            ("ssl", "{mode: implicit}"),
            ("ssl no sslcertck", "{mode: implicit, verify: off}"),
            ("ssl sslcertfile ca.pem sslproto tls1.3+", "{mode: implicit, min_version: '1.3', ca_file: /home/anna/ca.pem}"),
            ("", "{mode: starttls}"),
            ("sslproto \"\"", "{mode: none}"),
            ("ssl no sslcertck sslfingerprint \"00:11\"", "{mode: implicit}"),
        ] {
            let (draft, _) = one(&format!("poll h.example proto imap user u password p is joe here {options}"));
            assert_eq!(key(&draft, "tls").replace("'mode'", "mode"), tls, "{options}");
        }
    }

    #[test]
    fn what_is_told() {
        let text = "set daemon 60\nset bouncemail\npoll h.example proto pop3 interval 2 plugin \"x\"\nuser u password p is joe here\n flush limitflush mda \"procmail\"\n uidl warnings 3600";
        let (draft, notes) = one(text);
        let told: Vec<_> = notes.iter().map(|note| (note.line, note.option.as_str(), note.kind)).collect();
        for wanted in [
            (2, "set bouncemail", Kind::Refused),
            (3, "plugin", Kind::NoEqual),
            (5, "flush", Kind::Refused),
            (5, "limitflush", Kind::Refused),
            (5, "mda", Kind::Decide),
            (6, "uidl", Kind::Unneeded),
            (6, "warnings", Kind::NoEqual),
        ] {
            assert!(told.contains(&wanted), "{wanted:?}: {told:?}");
        }
        assert_eq!(
            (key(&draft, "interval").as_str(), draft.enabled, flow(&draft.recipient).as_str()),
            ("120s", false, "{forward_to: joe@localhost}")
        );
        assert!(!format!("{notes:?}").contains("procmail"));
    }

    #[test]
    fn several_recipients() {
        let text = "set postmaster chief poll h.example aka mail.example localdomains corp.example proto pop3 envelope 1 X-Original-To qvirtual \"v-\" \
                    user \"u\" there with password \"y\" is a=b c=d@e.example * here smtpaddress corp.example smtphost mx/2525,other";
        let (draft, _) = one(text);
        let recipient = flow(&draft.recipient);
        for wanted in [
            "headers: [{header: X-Original-To, skip: 1, strip_prefix: v-}]",
            "a@mail.example: b@corp.example",
            "c@h.example: d@e.example",
            "map: {mail.example: corp.example, h.example: corp.example}",
            "domains: [corp.example, '.corp.example', mail.example, h.example]",
            "default_box: chief@corp.example",
        ] {
            assert!(recipient.contains(wanted), "{wanted}: {recipient}");
        }
        assert_eq!(flow(&draft.delivery), "{smtp: ['mx:2525', other]}");
    }

    #[test]
    fn defaults_and_several_users() {
        let text = "defaults proto imap user def ssl keep\npoll a.example user anna password x is anna here no ssl user bert password y is bert here\nskip b.example via c.example proto pop3 user u pass p to u here\npoll a.example user anna password x is anna here folder Junk\npoll k proto kpop user u pass p";
        let imported = read(text, AROUND).unwrap();
        let all: Vec<_> = imported.drafts.iter().map(|d| (d.server.as_str(), d.username.as_str(), d.enabled, key(d, "tls"))).collect();
        let (implicit, starttls) = ("{mode: implicit}".to_owned(), "{mode: starttls}".to_owned());
        assert_eq!(
            all,
            [
                ("a.example", "anna", true, starttls),
                ("a.example", "bert", true, implicit.clone()),
                ("c.example", "u", false, implicit.clone()),
                ("a.example", "anna", false, implicit)
            ]
        );
        assert_eq!(imported.drafts[2].past, Past::Fetchmail(vec!["c.example".into(), "b.example".into()]));
        assert!(imported.notes.iter().any(|note| note.line == 5 && note.option == "protocol"));
    }
}
