//! mpoprc: accounts, `defaults`, and accounts that inherit from others.

use super::draft::{Draft, Password, Past, Protocol};
use super::getmail::is_sha256;
use super::yaml::Node;
use super::{Around, COLLECTORS_MAX, FILE_OCTETS_MAX, Imported, Kind, LIST_MAX, Notes, Unreadable};
use crate::mail::Secret;
use std::collections::{BTreeMap, HashSet};

/// The commands of an account.
const COMMANDS: &[&str] = &[
    "host",
    "port",
    "source_ip",
    "proxy_host",
    "proxy_port",
    "socket",
    "timeout",
    "pipelining",
    "auth",
    "user",
    "password",
    "passwordeval",
    "ntlmdomain",
    "tls",
    "tls_starttls",
    "tls_trust_file",
    "tls_crl_file",
    "tls_fingerprint",
    "tls_key_file",
    "tls_cert_file",
    "tls_certcheck",
    "tls_force_sslv3",
    "tls_priorities",
    "tls_host_override",
    "tls_min_dh_prime_bits",
    "tls_nocertcheck",
    "tls_nostarttls",
    "delivery",
    "uidls_file",
    "only_new",
    "keep",
    "killsize",
    "skipsize",
    "filter",
    "received_header",
];

/// What an account says: each command with its line and its argument.
type Account = BTreeMap<&'static str, (usize, String)>;

/// Reads an mpoprc.
pub fn read(text: &str, around: Around<'_>) -> Result<Imported, Unreadable> {
    if text.len() > FILE_OCTETS_MAX {
        return Err(Unreadable::new(1, format!("the file has more than {FILE_OCTETS_MAX} octets")));
    }
    let mut notes = Notes::default();
    let accounts = accounts(text, &mut notes)?;
    let mut drafts = Vec::new();
    for (name, line, account) in &accounts {
        // An account that others inherit from need not be one itself.
        let (Some((_, host)), Some((_, user))) = (account.get("host"), account.get("user")) else {
            if !accounts.iter().any(|(other, ..)| other != name) || account.contains_key("host") {
                notes.add(*line, Kind::Decide, "account", "it has no host or no user, and is left out");
            }
            continue;
        };
        let mut one = One { account, around, notes: Notes::default() };
        let mut draft = Draft::new(*line, Protocol::Pop3, host, user, Past::Mpop(String::new()));
        draft.name.clone_from(name);
        one.fill(&mut draft);
        drafts.push(draft);
        notes.0.append(&mut one.notes.0);
    }
    let mut told = HashSet::new();
    notes.0.retain(|note| told.insert((note.line, note.option.clone(), note.text.clone())));
    same_mailbox(&mut drafts, &mut notes);
    Ok(Imported { drafts, notes: notes.0, history: None })
}

fn same_mailbox(drafts: &mut [Draft], notes: &mut Notes) {
    let mut seen = HashSet::new();
    for draft in drafts.iter_mut().filter(|draft| draft.enabled) {
        if !seen.insert((draft.server.to_ascii_lowercase(), draft.username.clone())) {
            draft.enabled = false;
            notes.add(draft.line, Kind::Decide, "account", "this mailbox is named before; this collector is disabled");
        }
    }
}

fn accounts(text: &str, notes: &mut Notes) -> Result<Vec<(String, usize, Account)>, Unreadable> {
    let mut defaults = Account::new();
    let mut accounts: Vec<(String, usize, Account)> = Vec::new();
    let mut in_defaults = true;
    for (line, text) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (command, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let argument = unquoted(argument.trim());
        match command {
            "defaults" => in_defaults = true,
            "account" => {
                in_defaults = false;
                let (name, bases) = argument.split_once(':').unwrap_or((argument, ""));
                let (name, mut account) = (name.trim(), defaults.clone());
                if name.is_empty() {
                    return Err(Unreadable::new(line, "`account` takes a name"));
                }
                for base in bases.split(',').map(str::trim).filter(|base| !base.is_empty()).take(LIST_MAX) {
                    let Some((_, _, found)) = accounts.iter().find(|(known, ..)| known == base) else {
                        return Err(Unreadable::new(line, "it inherits from an account that is not above it"));
                    };
                    account.extend(found.iter().map(|(key, value)| (*key, value.clone())));
                }
                if accounts.iter().any(|(known, ..)| known == name) {
                    return Err(Unreadable::new(line, "this account is there twice"));
                }
                if accounts.len() >= COLLECTORS_MAX {
                    return Err(Unreadable::new(line, format!("more than {COLLECTORS_MAX} mailboxes in one file")));
                }
                accounts.push((name.to_owned(), line, account));
            }
            "eval" => {
                notes.add(line, Kind::Decide, "eval", "no command is run while a file is read: put its line here, or use `password: {command: …}`")
            }
            _ => {
                let Some(known) = COMMANDS.iter().find(|known| **known == command) else {
                    return Err(Unreadable::new(line, "this is no command of mpop"));
                };
                let target = match accounts.last_mut() {
                    Some((_, _, account)) if !in_defaults => account,
                    _ => &mut defaults,
                };
                target.insert(known, (line, argument.to_owned()));
            }
        }
    }
    Ok(accounts)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

struct One<'a> {
    account: &'a Account,
    around: Around<'a>,
    notes: Notes,
}

impl One<'_> {
    fn get(&self, command: &str) -> Option<&str> {
        self.account.get(command).map(|(_, argument)| argument.as_str())
    }

    /// `on`, or nothing behind the command, which means the same.
    fn is_on(&self, command: &str, default: bool) -> bool {
        self.get(command).map_or(default, |argument| argument.is_empty() || argument == "on")
    }

    fn note(&mut self, command: &str, kind: Kind, text: &str) {
        let line = self.account.get(command).map_or(1, |(line, _)| *line);
        self.notes.add(line, kind, command, text);
    }

    fn fill(&mut self, draft: &mut Draft) {
        if let Some(port) = self.get("port") {
            draft.port = port.parse().ok().filter(|port| *port > 0);
            if draft.port.is_none() {
                self.note("port", Kind::Decide, "this is no number: set `port`");
            }
        }
        if let Some(timeout) = self.get("timeout").map(str::to_owned) {
            match timeout.parse::<u32>() {
                Ok(seconds) => draft.keys.set("timeouts", Node::one("idle_data", Node::word(format!("{seconds}s")))),
                Err(_) => draft.keys.set("timeouts", Node::one("idle_data", Node::word("0s"))),
            }
        }
        self.channel(draft);
        self.login(draft);
        self.collecting(draft);
        self.delivery(draft);
        let file = self.get("uidls_file").unwrap_or("~/.mpop_uidls/%U_at_%H").replace("%U", &draft.username).replace("%H", &draft.server);
        draft.past = Past::Mpop(self.around.path(&file));
        self.the_rest(draft);
    }

    fn channel(&mut self, draft: &mut Draft) {
        if !self.is_on("tls", false) {
            if draft.without_tls(false) {
                let line = self.account.get("tls").map_or(draft.line, |(line, _)| *line);
                self.notes.add(line, Kind::Differs, "tls", "mpop speaks without TLS; here STLS is needed (`tls.mode`)");
            }
            return;
        }
        let starttls = self.is_on("tls_starttls", true) && !self.account.contains_key("tls_nostarttls");
        draft.set_in("tls", "mode", Node::word(if starttls { "starttls" } else { "implicit" }));
        for (command, key) in [("tls_trust_file", "ca_file"), ("tls_cert_file", "client_cert"), ("tls_key_file", "client_key")] {
            if let Some(path) = self.get(command).filter(|path| !path.is_empty() && *path != "system") {
                draft.set_in("tls", key, Node::text(self.around.path(path)));
            }
        }
        let checks = self.is_on("tls_certcheck", true) && !self.account.contains_key("tls_nocertcheck");
        match self.get("tls_fingerprint").map(str::to_owned).filter(|print| !print.is_empty()) {
            Some(print) if is_sha256(&print) => draft.set_in("tls", "fingerprint", Node::text(print)),
            Some(_) => self.note(
                "tls_fingerprint",
                Kind::Decide,
                "here it is of SHA-256: `mailgather test` prints it, for `tls.fingerprint`; until then the certificate is verified",
            ),
            None if !checks => {
                draft.set_in("tls", "verify", Node::word("off"));
                self.note(
                    "tls_certcheck",
                    Kind::Differs,
                    "`tls.verify: off` is warned of at each load: better name the certificate by `tls.fingerprint`",
                );
            }
            None => {}
        }
    }

    fn login(&mut self, draft: &mut Draft) {
        if let Some(password) = self.get("password").filter(|password| !password.is_empty()) {
            draft.password = Password::Plain(Secret::new(password.to_owned()));
        } else if let Some(command) = self.get("passwordeval").filter(|command| !command.is_empty()) {
            draft.password = Password::Command(vec!["sh".into(), "-c".into(), command.to_owned()]);
        }
        let method = match self.get("auth").unwrap_or("on").to_ascii_lowercase().as_str() {
            "" | "on" => None,
            "user" => Some("password"),
            "plain" => Some("plain"),
            "login" => Some("login"),
            "cram-md5" => Some("cram_md5"),
            "scram-sha-1" | "scram-sha-256" | "scram-sha-1-plus" | "scram-sha-256-plus" => Some("scram"),
            "apop" => Some("apop"),
            "ntlm" => Some("ntlm"),
            "oauthbearer" | "xoauth2" => Some("oauth2"),
            "external" => {
                draft.password = Password::NotNeeded;
                Some("external")
            }
            _ => {
                draft.enabled = false;
                self.note("auth", Kind::NoEqual, "this login is not spoken: choose `auth.method`; the collector is disabled until then");
                None
            }
        };
        if let Some(method) = method {
            draft.set_in("auth", "method", Node::word(method));
        }
        match self.get("ntlmdomain").map(str::to_owned).filter(|domain| !domain.is_empty()) {
            Some(domain) if method == Some("ntlm") => draft.set_in("auth", "domain", Node::text(domain)),
            Some(_) => self.note("ntlmdomain", Kind::Unneeded, "it is for NTLM only"),
            None => {}
        }
        if draft.password == Password::Missing {
            self.notes.add(
                draft.line,
                Kind::Decide,
                "password",
                "no password stands here (keyring and .netrc are not read): write it into the file that `password` names",
            );
        }
    }

    fn collecting(&mut self, draft: &mut Draft) {
        let (keep, new) = (self.is_on("keep", false), self.is_on("only_new", true));
        draft.keys.set("collect", Node::word(if new || keep { "new" } else { "all" }));
        draft.keys.set("after", Node::word(if keep { "keep" } else { "delete" }));
        if keep && !new {
            self.note("only_new", Kind::Differs, "with `keep` it is the same mail each time; here each message comes once");
        }
        let size = |text: Option<&str>| -> Option<u64> {
            let text = text.filter(|text| *text != "off")?.to_ascii_lowercase();
            let (digits, factor) =
                match text.strip_suffix('k').map(|digits| (digits, 1024)).or_else(|| text.strip_suffix('m').map(|digits| (digits, 1024 * 1024))) {
                    Some((digits, factor)) => (digits.to_owned(), factor),
                    None => (text, 1),
                };
            digits.parse::<u64>().ok()?.checked_mul(factor).filter(|size| *size > 0)
        };
        let (skip, kill) = (size(self.get("skipsize")), size(self.get("killsize")));
        if kill.is_some() && !keep {
            self.note("killsize", Kind::Refused, "it deletes mail that was never delivered; what is too large stays, and is reported");
        }
        if let Some(limit) = [skip, kill].into_iter().flatten().min() {
            draft.keys.set("max_message_size", Node::word(limit));
        }
    }

    fn delivery(&mut self, draft: &mut Draft) {
        let said = self.get("delivery").unwrap_or("").to_owned();
        let (method, argument) = said.split_once(char::is_whitespace).unwrap_or((&said, ""));
        let path = self.around.path(unquoted(argument.trim()));
        if method == "maildir" && !path.contains(['{', '}']) {
            draft.delivery = Node::one("maildir", Node::text(path));
        } else {
            draft.enabled = false;
            let line = self.account.get("delivery").map_or(draft.line, |(line, _)| *line);
            let text =
                "mail goes to a server or into a Maildir: choose `delivery`; the collector is disabled until then, with the server on this machine";
            self.notes.add(line, Kind::Decide, "delivery", text);
        }
        if !self.is_on("received_header", true) {
            draft.delivery.set("trace_headers", Node::one("received", Node::word(false)));
        }
        draft.for_owner();
    }

    fn the_rest(&mut self, draft: &mut Draft) {
        let empty = |one: &Self, command: &str| one.get(command).is_none_or(str::is_empty);
        for (command, text) in [
            ("proxy_host", "connections are made directly: the collector is disabled, so that none is by mistake"),
            ("socket", "connections are made to `server` and `port`: the collector is disabled until they are right"),
            ("source_ip", "connections are made from the address that the system chooses: the collector is disabled until that is right"),
            ("filter", "no program is run for a message: the collector is disabled, as what it deletes or skips would be delivered"),
        ] {
            if !empty(self, command) {
                draft.enabled = false;
                self.note(command, Kind::Decide, text);
            }
        }
        for (command, kind, text) in [
            ("proxy_port", Kind::NoEqual, "connections are made directly"),
            ("pipelining", Kind::Unneeded, "commands are sent ahead where the server offers it"),
            ("tls_crl_file", Kind::NoEqual, "no revocation lists are read"),
            ("tls_priorities", Kind::NoEqual, "the versions are chosen by `tls.min_version`"),
            ("tls_force_sslv3", Kind::NoEqual, "TLS 1.2 is the oldest that is spoken"),
            ("tls_min_dh_prime_bits", Kind::NoEqual, "nothing here does this"),
            ("tls_host_override", Kind::NoEqual, "the certificate must be that of `server`"),
        ] {
            if !empty(self, command) || (command == "tls_force_sslv3" && self.account.contains_key(command)) {
                self.note(command, kind, text);
            }
        }
        if self.get("tls_trust_file") == Some("") {
            self.note("tls_trust_file", Kind::Differs, "the certificate is verified by the system's authorities (`tls.verify`)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::flow;
    use super::*;

    const AROUND: Around<'static> = Around { home: "/home/anna", folder: "/home/anna" };

    #[test]
    fn accounts_defaults_and_inheritance() {
        let text = "# c\ndefaults\ntls on\nkeep\ndelivery maildir ~/Mail\n\naccount a\nhost pop.x.example\nuser anna\npassword \"a b\"\naccount b : a\nuser bert\npassword\npasswordeval \"pass show b\"\ntls_starttls off\nskipsize 2m\nauth scram-sha-256\nuidls_file ~/u/%H-%U\naccount base\nkeep off\n";
        let imported = read(text, AROUND).unwrap();
        let [a, b] = imported.drafts.as_slice() else { panic!("{imported:?}") };
        assert_eq!((a.name.as_str(), a.server.as_str(), a.username.as_str(), a.enabled), ("a", "pop.x.example", "anna", true));
        assert_eq!(a.password, Password::Plain(Secret::new("a b".into())));
        assert_eq!(flow(&a.keys), "{tls: {mode: starttls}, collect: new, after: keep}");
        assert_eq!((flow(&a.delivery).as_str(), flow(&a.recipient).as_str()), ("{maildir: /home/anna/Mail}", "{forward_to: anna@localhost}"));
        assert_eq!(a.past, Past::Mpop("/home/anna/.mpop_uidls/anna_at_pop.x.example".into()));
        assert_eq!(b.password, Password::Command(vec!["sh".into(), "-c".into(), "pass show b".into()]));
        assert_eq!(flow(&b.keys), "{tls: {mode: implicit}, auth: {method: scram}, collect: new, after: keep, max_message_size: 2097152}");
        assert_eq!(b.past, Past::Mpop("/home/anna/u/pop.x.example-bert".into()));
        assert_eq!(imported.notes, []);
    }

    #[test]
    fn what_has_no_equal() {
        let text = "account a\nhost h.example\nuser u\npassword p\ntls on\ndelivery mda \"procmail\"\nkillsize 0\nfilter x\nproxy_host 127.0.0.1\ntls_certcheck off\neval echo x\nonly_new off\ntls_fingerprint 01:02\nkillsize 5k";
        let imported = read(text, AROUND).unwrap();
        let told: Vec<_> = imported.notes.iter().map(|note| (note.line, note.option.as_str(), note.kind)).collect();
        for wanted in [
            (6, "delivery", Kind::Decide),
            (8, "filter", Kind::Decide),
            (9, "proxy_host", Kind::Decide),
            (11, "eval", Kind::Decide),
            (13, "tls_fingerprint", Kind::Decide),
            (14, "killsize", Kind::Refused),
        ] {
            assert!(told.contains(&wanted), "{wanted:?}: {told:?}");
        }
        assert!(!imported.drafts[0].enabled);
        assert_eq!(flow(imported.drafts[0].keys.get("collect").unwrap()), "all");
        for (text, line) in [("account a\nfoo", 2), ("account a : b", 1), ("account a\naccount a", 2), ("account", 1)] {
            assert_eq!(read(text, AROUND).unwrap_err().line, line);
        }
    }
}
