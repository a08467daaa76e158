//! What the tests share: a Dovecot that takes the tokens, the program's configuration, somebody who signs in.

use crate::support::corpus::letter;
use crate::support::process::Finished;
use crate::support::{Boxes, Dovecot, Mailgather, config};
use crate::token_server::{CANARY, CLIENT, SECRET, TokenServer};
use mailgather::config::{Environment, load};
use mailgather::oauth::Keeper;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that collects one mailbox.
pub struct Kit {
    pub tokens: TokenServer,
    pub dovecot: Dovecot,
    pub boxes: Boxes,
    pub program: Mailgather,
    letters: std::cell::Cell<usize>,
}

impl Kit {
    /// With these keys in `auth`, by IMAP.
    pub fn new(auth: &str) -> Kit {
        Kit::with("imap", "", auth)
    }

    /// With `service` and `auth` of this collector; `{tokens}` in them is the server's address.
    pub fn with(protocol: &str, service: &str, auth: &str) -> Kit {
        let tokens = TokenServer::start();
        let dovecot = token_dovecot(&tokens);
        let boxes = Boxes::new();
        let program = Mailgather::new("").env("CLIENT_SECRET", SECRET);
        let kit = Kit { tokens, dovecot, boxes, program, letters: 0.into() };
        kit.configure(protocol, service, auth);
        kit
    }

    pub fn configure(&self, protocol: &str, service: &str, auth: &str) {
        let port = if protocol == "imap" { self.dovecot.imaps() } else { self.dovecot.pop3s() };
        let auth = auth.replace("{tokens}", &self.tokens.url(""));
        let text = format!(
            "{}  tim:\n    email: tim@example.org\n    server: localhost\n    protocol: {protocol}\n    port: {port}\n    interval: 5s\n    tls: {{ca_file: {}}}\n    \
             recipient: {{forward_to: box@example.org}}\n    auth: {{method: oauth2, {auth}}}\n",
            config(&self.boxes.delivery(), &[]).replace("service: {", &format!("service: {{{service}")),
            self.dovecot.ca().display()
        );
        self.program.configure(&text);
    }

    /// One more letter in the mailbox.
    pub fn letter(&self) {
        self.letters.set(self.letters.get() + 1);
        self.dovecot.put("tim@example.org", &letter(self.letters.get(), "anna@pop.example"));
    }

    /// Letters that have arrived.
    pub fn arrived(&self) -> usize {
        self.boxes.subjects("box@example.org").len()
    }

    /// A letter, and a pass that brings it.
    #[track_caller]
    pub fn collects(&self) {
        let before = self.arrived();
        self.letter();
        let done = self.program.once(&[]);
        no_secret_in(&done);
        done.expect_success();
        assert_eq!(self.arrived(), before + 1);
    }

    /// A pass that fails; what it says.
    #[track_caller]
    pub fn fails(&self) -> String {
        let done = self.program.once(&[]);
        no_secret_in(&done);
        assert!(!done.status.success(), "{}{}", done.stdout, done.stderr);
        format!("{}{}", done.stdout, done.stderr)
    }

    /// The file of the tokens.
    pub fn file(&self) -> PathBuf {
        self.program.state_dir().join("oauth/c.tim")
    }

    /// What signs in, in this process: it shares the file with the program.
    pub fn keeper(&self) -> Arc<Keeper> {
        let env = Environment { state_dir: Some(self.program.state_dir()), ..Environment::default() };
        let loaded = load(&self.program.config_file(), &env).unwrap_or_else(|report| panic!("{report}"));
        let collector = loaded.config.collectors.values().next().unwrap();
        Arc::new(Keeper::new(&collector.id, collector.server.auth.oauth.as_ref().expect("tokens of its own")))
    }

    /// Somebody signs in by a browser.
    pub fn signs_in(&self) {
        let keeper = self.keeper();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let browser = keeper.begin_code("http://127.0.0.1:7/").unwrap();
        let back = self.tokens.browse(&browser.address);
        runtime.block_on(keeper.finish_code(&browser, &back)).unwrap();
    }
}

/// `client_secret` in a file that this process can read as well.
pub fn secret_file(folder: &Path) -> String {
    let file = folder.join("client-secret");
    std::fs::write(&file, SECRET).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    format!("{{file: '{}'}}", file.display())
}

/// The keys of a program that logs in as itself.
pub fn own() -> String {
    format!("client_id: {CLIENT}, client_secret: {{env: CLIENT_SECRET}}, token_url: '{{tokens}}/token'")
}

/// The keys of a person who signs in by a browser.
pub fn person(folder: &Path) -> String {
    format!("client_id: {CLIENT}, client_secret: {}, token_url: '{{tokens}}/token', auth_url: 'https://login.example/auth'", secret_file(folder))
}

/// A kit of a person who has signed in.
pub fn signed_in(service: &str) -> (Kit, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let kit = Kit::with("imap", service, &person(folder.path()));
    kit.signs_in();
    (kit, folder)
}

/// Nothing that is shown holds a secret.
#[track_caller]
pub fn no_secret_in(done: &Finished) {
    for text in [&done.stdout, &done.stderr] {
        assert!(!text.contains(CANARY) && !text.contains(SECRET), "{text}");
    }
}

/// No file below holds a secret, but for those with this name.
#[track_caller]
pub fn no_secret_below(folder: &Path, but: Option<&Path>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => no_secret_below(&path, but),
            false if but == Some(&path) => {}
            false => {
                let octets = std::fs::read(&path).unwrap_or_default();
                let has = |word: &str| octets.windows(word.len()).any(|part| part == word.as_bytes());
                assert!(!has(CANARY) && !has(SECRET), "{} holds a secret", path.display());
            }
        }
    }
}

fn token_dovecot(tokens: &TokenServer) -> Dovecot {
    let folder = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let conf = folder.path().join("oauth2.conf");
    let text = format!(
        "introspection_url = http://127.0.0.1:{}/introspect?token=\nintrospection_mode = get\nforce_introspection = yes\n\
         username_attribute = username\nactive_attribute = active\nactive_value = true\n",
        tokens.port()
    );
    std::fs::write(&conf, text).unwrap();
    let passdb = format!("passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {}\n}}", conf.display());
    Dovecot::builder().extra(&format!("auth_mechanisms = plain xoauth2 oauthbearer\nauth_username_chars =\nauth_cache_size = 0\n{passdb}")).start()
}
