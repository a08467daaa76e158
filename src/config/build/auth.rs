//! `auth:`, `login:`, `username:` and `password:` of a collector.

use super::Ctx;
use super::block::{Block, Keys};
use super::oauth;
use super::password::password;
use super::values::{boolean, choice, list, text};
use crate::config::error::Code;
use crate::config::yaml::Entry;
use crate::config::{Auth, AuthMethod, OAuth, Protocol, SecretSource, Tls, TlsMode};
use crate::mail::{Address, Secret};
use crate::proto::sasl::Mechanism;
use std::sync::Arc;

pub(super) const AUTH: Keys = Keys {
    known: &[
        "method",
        "disable",
        "domain",
        "allow_plaintext",
        "token",
        // From here on OAuth2's.
        "provider",
        "tenant",
        "cloud",
        "flow",
        "client_id",
        "client_secret",
        "certificate",
        "certificate_key",
        "service_account",
        "scopes",
        "token_url",
        "auth_url",
        "device_url",
        "revoke_url",
    ],
    not_yet: &[],
};
/// Of these, the ones that only a login by OAuth2 has.
const OAUTH: &[&str] = AUTH.known.split_at(5).1;
const LOGIN_OCTETS_MAX: usize = 1_000;
const PASSWORD_HINT: &str = "`password: {secret: NAME}` (`mailgather secret set NAME`), `{file: /path}`, `{credential: name}`, `{env: NAME}` or `{command: [program, argument]}`";

const METHODS: [(&str, AuthMethod); 11] = [
    ("auto", AuthMethod::Auto),
    ("password", AuthMethod::Password),
    ("plain", AuthMethod::Plain),
    ("login", AuthMethod::Login),
    ("cram_md5", AuthMethod::CramMd5),
    ("scram", AuthMethod::Scram),
    ("apop", AuthMethod::Apop),
    ("ntlm", AuthMethod::Ntlm),
    ("oauth2", AuthMethod::OAuth2),
    ("external", AuthMethod::External),
    ("none", AuthMethod::None),
];

/// Where somebody logs in, as what.
pub(super) struct Login<'a> {
    /// By which protocol.
    pub protocol: Protocol,
    /// Over what.
    pub tls: &'a Tls,
    /// At which host, as far as it is known.
    pub host: Option<&'a str>,
    /// As whom, as far as that is known.
    pub username: Option<&'a str>,
}

/// How to log in, and where the password or token is.
pub(super) fn auth(ctx: &mut Ctx<'_>, block: &Block<'_>, login: &Login<'_>) -> (Auth, Option<SecretSource>) {
    let Login { protocol, tls, .. } = *login;
    let auth = block.child(ctx, "auth", &AUTH);
    let method = auth.get("method").and_then(|entry| choice(ctx, entry, &METHODS, &[])).unwrap_or_default();
    let span = auth.get("method").map_or(block.span, |entry| entry.value.span);
    let allow_plaintext = auth.get("allow_plaintext").and_then(|entry| boolean(ctx, entry)).unwrap_or(false);
    match method {
        AuthMethod::Apop if protocol == Protocol::Imap => {
            ctx.add(ctx.error(Code::Contradiction, span, "APOP is a login of POP3, and this is IMAP").hint("`auth: {method: scram}` or `cram_md5`"));
        }
        AuthMethod::External if tls.client_cert.is_none() || tls.mode == TlsMode::None => {
            let problem = ctx.error(Code::Contradiction, span, "`method: external` is the login by a client certificate, and there is none");
            ctx.add(problem.hint("`tls: {client_cert: /path, client_key: /path}`, with TLS"));
        }
        AuthMethod::None => {
            let problem = ctx.warning(Code::Doubtful, span, "`method: none`: nobody is logged in");
            ctx.add(problem.hint("for servers that know us otherwise (IMAP: they greet with PREAUTH)"));
        }
        _ => {}
    }
    open_channel(ctx, block, &auth, method, tls.mode, allow_plaintext);
    let disable = match auth.get("disable") {
        Some(entry) => disable(ctx, entry, method),
        None => Vec::new(),
    };
    let domain = auth.get("domain").and_then(|entry| domain(ctx, entry, method, protocol));
    let token = auth.get("token").and_then(|entry| token(ctx, entry, method));
    let oauth = own_tokens(ctx, block, &auth, method, login);
    let secret = match (&token, &oauth) {
        (None, Some(_)) => {
            if let Some(entry) = block.get("password") {
                ctx.add(ctx.warning(Code::Doubtful, entry.span, "`password` has no effect: tokens are what logs in"));
            }
            Some(nothing())
        }
        _ => secret(ctx, block, method, auth.get("token").is_some(), token.as_ref()),
    };
    (Auth { method, disable, domain, allow_plaintext, token, oauth: oauth.flatten().map(Arc::new) }, secret)
}

/// What is said of tokens that the program gets itself; the inner `None` if something is wrong with it.
fn own_tokens(ctx: &mut Ctx<'_>, block: &Block<'_>, auth: &Block<'_>, method: AuthMethod, login: &Login<'_>) -> Option<Option<OAuth>> {
    let first = OAUTH.iter().find_map(|key| auth.get(key));
    if let Some(entry) = first.filter(|_| method != AuthMethod::OAuth2) {
        ctx.add(ctx.error(Code::Contradiction, entry.span, format!("`{}` goes with `method: oauth2` only", entry.key)));
        return None;
    }
    if let (Some(entry), Some(token)) = (first, auth.get("token")) {
        let text = format!("`token` says where tokens come from, and `{}` how to get them", entry.key);
        ctx.add(ctx.error(Code::Contradiction, token.span, text).hint("keep one of them"));
        return None;
    }
    // Without any of these keys a token stands where a password does.
    let wanted = first.is_some() || (method == AuthMethod::OAuth2 && auth.get("token").is_none() && block.get("password").is_none());
    wanted.then(|| oauth::oauth(ctx, auth, login))
}

/// A secret over an open channel, on purpose or by default.
fn open_channel(ctx: &mut Ctx<'_>, block: &Block<'_>, auth: &Block<'_>, method: AuthMethod, mode: TlsMode, allowed: bool) {
    if mode == TlsMode::None && !allowed && method.has_secret() {
        let tls = block.child(ctx, "tls", &super::tls::TLS);
        let span = tls.get("mode").map_or(block.span, |entry| entry.value.span);
        let problem = ctx.error(Code::Contradiction, span, format!("{} would send its password over an open channel", block.name));
        ctx.add(problem.hint("`tls: {mode: implicit}` or `starttls`; on a trusted link only: `auth: {allow_plaintext: true}`"));
    }
    if let Some(entry) = auth.get("allow_plaintext").filter(|_| mode == TlsMode::Opportunistic && allowed) {
        let text = "with `tls: {mode: opportunistic}` whoever sits on the line takes TLS away, and reads the password";
        ctx.add(ctx.warning(Code::Doubtful, entry.span, text).hint("`tls: {mode: starttls}` if the server has it"));
    }
}

/// Names of SASL mechanisms, in any case; `cram_md5` is CRAM-MD5, and SCRAM stands for all of its kind.
fn disable(ctx: &mut Ctx<'_>, entry: &Entry, method: AuthMethod) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in list(ctx, entry, "[PLAIN]").unwrap_or_default() {
        let Some(word) = text(ctx, &item) else { continue };
        let name = word.to_ascii_uppercase().replace('_', "-");
        let known: Vec<&str> = match name.as_str() {
            "SCRAM" => vec!["SCRAM-SHA-256", "SCRAM-SHA-1"],
            other => Mechanism::named(other).into_iter().map(Mechanism::name).collect(),
        };
        if known.is_empty() {
            let quoted = ctx.quoted(word, item.value.span);
            let all = Mechanism::ALL.map(Mechanism::name).join(", ");
            ctx.add(ctx.warning(Code::Doubtful, item.value.span, format!("`disable`: {quoted} is no mechanism that would be used")).hint(all));
        }
        names.extend(known.into_iter().map(str::to_owned));
    }
    let all_off = |mechanisms: &[Mechanism]| mechanisms.iter().all(|mechanism| names.iter().any(|name| name == mechanism.name()));
    let wanted: &[Mechanism] = match method {
        AuthMethod::Plain => &[Mechanism::Plain],
        AuthMethod::Login => &[Mechanism::Login],
        AuthMethod::CramMd5 => &[Mechanism::CramMd5],
        AuthMethod::Scram => &[Mechanism::ScramSha256, Mechanism::ScramSha1],
        AuthMethod::Ntlm => &[Mechanism::Ntlm],
        AuthMethod::OAuth2 => &[Mechanism::OAuthBearer, Mechanism::XOAuth2],
        AuthMethod::External => &[Mechanism::External],
        AuthMethod::Auto | AuthMethod::Password | AuthMethod::Apop | AuthMethod::None => return names,
    };
    if all_off(wanted) {
        ctx.add(ctx.error(Code::Contradiction, entry.span, "`disable` switches off the very `method` that is configured"));
    }
    names
}

fn domain(ctx: &mut Ctx<'_>, entry: &Entry, method: AuthMethod, protocol: Protocol) -> Option<String> {
    let domain = text(ctx, entry)?;
    if domain.is_empty() || domain.len() > LOGIN_OCTETS_MAX || domain.chars().any(char::is_control) {
        ctx.add(ctx.error(Code::Value, entry.value.span, "`domain` is empty, too long, or holds control characters"));
        return None;
    }
    // Exchange knows names of a domain by Basic as well, and `auto` may come to either.
    let with_name = matches!(method, AuthMethod::Auto | AuthMethod::Password | AuthMethod::Plain | AuthMethod::Login);
    if method != AuthMethod::Ntlm && !(protocol == Protocol::Exchange && with_name) {
        let problem = ctx.warning(Code::Doubtful, entry.span, "`domain` goes with `method: ntlm` only");
        ctx.add(problem.hint("for other methods it is a part of the name: `username: 'DOMAIN\\user'`"));
    }
    Some(domain.to_owned())
}

fn token(ctx: &mut Ctx<'_>, entry: &Entry, method: AuthMethod) -> Option<SecretSource> {
    if method != AuthMethod::OAuth2 {
        ctx.add(ctx.error(Code::Contradiction, entry.span, "`token` goes with `method: oauth2` only"));
    }
    password(ctx, entry)
}

/// What is read at each login: the token of `oauth2`, else the password.
fn secret(ctx: &mut Ctx<'_>, block: &Block<'_>, method: AuthMethod, has_token: bool, token: Option<&SecretSource>) -> Option<SecretSource> {
    match (method, block.get("password")) {
        (AuthMethod::None | AuthMethod::External, configured) => {
            if let Some(entry) = configured {
                ctx.add(ctx.warning(Code::Doubtful, entry.span, "`password` has no effect: this `auth: {method: …}` has none"));
            }
            Some(nothing())
        }
        (AuthMethod::OAuth2, configured) if has_token => {
            if let Some(entry) = configured {
                ctx.add(ctx.warning(Code::Doubtful, entry.span, "`password` has no effect: `auth: {token: …}` is what logs in"));
            }
            token.cloned()
        }
        (_, Some(entry)) => password(ctx, entry),
        // What is missing has been said.
        (AuthMethod::OAuth2, None) => None,
        (AuthMethod::Ntlm, None) => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has `method: ntlm` and no `password`", block.name));
            ctx.add(problem.hint(PASSWORD_HINT));
            None
        }
        (_, None) => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `password`", block.name));
            ctx.add(problem.hint(PASSWORD_HINT));
            None
        }
    }
}

fn nothing() -> SecretSource {
    SecretSource::Plain(Secret::new(String::new()))
}

/// The login name: `login` says how it is formed (K6).
pub(super) fn username(ctx: &mut Ctx<'_>, block: &Block<'_>, email: Option<&Address>) -> Option<String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Login {
        Email,
        LocalPart,
        Manual,
    }
    let forms = [("email", Login::Email), ("local_part", Login::LocalPart), ("manual", Login::Manual)];
    let login = block.get("login").and_then(|entry| choice(ctx, entry, &forms, &[]));
    let (configured, form) = (block.get("username"), block.get("login"));
    match (login, form, configured) {
        (Some(Login::Email | Login::LocalPart), Some(form), Some(_)) => {
            let problem = ctx.error(Code::Contradiction, form.span, "`login` forms the name from `email`, and `username` is another one");
            ctx.add(problem.hint("keep one of them; `login: manual` goes with `username`"));
        }
        (Some(Login::Manual), Some(form), None) => {
            ctx.add(ctx.error(Code::Missing, form.span, "`login: manual` without `username`"));
            return None;
        }
        _ => {}
    }
    let Some(entry) = configured else {
        if block.get("email").is_none() {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has neither `email` nor `username`", block.name));
            ctx.add(problem.hint("`email` is the address of the mailbox and the login name, unless `username` is set"));
        }
        return email.map(|email| if login == Some(Login::LocalPart) { email.local().to_owned() } else { email.to_string() });
    };
    let name = text(ctx, entry)?;
    if name.is_empty() || name.len() > LOGIN_OCTETS_MAX || name.chars().any(char::is_control) {
        ctx.add(ctx.error(Code::Value, entry.value.span, "`username` is empty, too long, or holds control characters"));
        return None;
    }
    Some(name.to_owned())
}
