//! What providers mean by their refusals, and how long they want to be left alone. Pure.

use std::time::Duration;

/// What Exchange says before a number of milliseconds, in small letters.
const BACKOFF_TIME: &str = "suggested backoff time:";
/// Longest wait that a server may ask for: a nonsensical number must not put a mailbox to sleep.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);

/// Words in a refusal, in small letters, and what to do about it. The first that is found counts.
const BY_TEXT: [(&str, &str); 16] = [
    ("application-specific password", "this provider wants an app password: make one in the account's security settings and use it as `password`"),
    ("application password", "this provider wants an app password: make one in the account's security settings and use it as `password`"),
    ("parol prilozheniya", "this provider wants an app password: make one in the account's security settings and use it as `password`"),
    ("app password", "this provider wants an app password: make one in the account's security settings and use it as `password`"),
    ("web login required", "the provider wants somebody to log in with a browser first and confirm that it was you"),
    ("web browser", "the provider wants somebody to log in with a browser first and confirm that it was you"),
    ("basicauthblocked", "this provider takes no passwords any more: `auth: {method: oauth2, token: …}`"),
    ("basic authentication is disabled", "this provider takes no passwords any more: `auth: {method: oauth2, token: …}`"),
    ("imap is disabled", "check the password; if it is right, switch IMAP on in the mailbox's settings"),
    ("imap access is disabled", "switch IMAP on in the mailbox's settings, or ask the domain's administrator"),
    ("not enabled for imap", "switch IMAP on in the mailbox's settings"),
    ("pop3 disabled", "check the password; if it is right, switch POP3 on in the mailbox's settings"),
    ("not enabled for pop", "switch POP3 on in the mailbox's settings"),
    ("no such user", "check the name; Proton Mail Bridge wants the name and the password that Bridge shows, not those of Proton"),
    ("expired", "the password has expired: set a new one"),
    ("locked", "the account is locked: unlock it at the provider before anything else"),
];

/// Hosts, and what their plain "no" usually means.
const BY_HOST: [(&str, &str); 12] = [
    ("gmail.com", "Google wants an app password (which needs two-step verification), or `auth: {method: oauth2}`"),
    ("googlemail.com", "Google wants an app password (which needs two-step verification), or `auth: {method: oauth2}`"),
    ("office365.com", "Microsoft takes no passwords here: `auth: {method: oauth2, token: …}`"),
    ("outlook.com", "Microsoft takes no passwords here: `auth: {method: oauth2, token: …}`"),
    ("yahoo.com", "Yahoo wants an app password, made in the account's security settings"),
    ("aol.com", "AOL wants an app password, made in the account's security settings"),
    ("mail.me.com", "iCloud wants an app-specific password, and as a name the part before @ or the whole address"),
    ("mail.ru", "Mail.ru wants a password for external applications, made in the mailbox's security settings"),
    ("yandex.ru", "Yandex wants an app password, and IMAP or POP3 switched on in the mailbox's settings"),
    ("yandex.com", "Yandex wants an app password, and IMAP or POP3 switched on in the mailbox's settings"),
    ("gmx.net", "switch POP3 and IMAP on in the mailbox's settings; with two factors an app password is needed"),
    ("web.de", "switch POP3 and IMAP on in the mailbox's settings; with two factors an app password is needed"),
];

const GENERAL: &str = "check username and password; many providers want an app password, or IMAP and POP3 switched on in their settings";

/// What to do about a refused login.
pub(super) fn login(peer: &str, code: &str, text: &str) -> &'static str {
    match code {
        "CONTACTADMIN" => return "the server says that its administrator has to be asked",
        "AUTHORIZATIONFAILED" => return "name and password are right, but this name may not open this mailbox: check `username`",
        "EXPIRED" => return "the password has expired: set a new one",
        _ => {}
    }
    let text = text.to_lowercase();
    if let Some((_, hint)) = BY_TEXT.iter().find(|(words, _)| text.contains(words)) {
        return hint;
    }
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host).to_ascii_lowercase();
    let is_of = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    BY_HOST.iter().find(|(domain, _)| is_of(domain)).map_or(GENERAL, |(_, hint)| hint)
}

/// What to do about a server that has no time.
pub(super) fn not_now(text: &str) -> &'static str {
    match text.to_ascii_lowercase() {
        text if text.contains("authenticated but not connected") => {
            "Exchange says this when it is overloaded, when the name may not open the mailbox, or when IMAP is switched off for it; it is tried again later"
        }
        text if is_about_connections(&text) => {
            "too many programs are connected to this mailbox; ours are the passes (`service: {max_sessions_per_host: …}`) and, beside them, one for \
             each folder that IDLE watches (`idle: 'off'`, or fewer `folders`); it is tried again later"
        }
        _ => "the server has no time for this account now; it is tried again later",
    }
}

/// True if a refusal, in small letters, is about how many connections there are.
pub(super) fn is_about_connections(text: &str) -> bool {
    text.contains("simultaneous") || text.contains("connections") || text.contains("too many sessions")
}

/// "Suggested Backoff Time: 281961 milliseconds", in any case.
pub(super) fn suggested_wait(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let (_, rest) = text.split_once(BACKOFF_TIME)?;
    let rest = rest.trim_start();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = rest.split_at(digits);
    if number.is_empty() || !unit.trim_start().starts_with("millisecond") {
        return None;
    }
    // Only digits are left: what does not fit is too much.
    let wait = number.parse().map_or(BACKOFF_MAX, Duration::from_millis).min(BACKOFF_MAX);
    (!wait.is_zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_say_what_they_mean_in_their_own_words() {
        for (peer, code, text, words) in [
            (
                "imap.gmail.com:993",
                "ALERT",
                "Application-specific password required: https://support.google.com/accounts/answer/185833",
                "app password",
            ),
            ("imap.gmail.com:993", "AUTHENTICATIONFAILED", "Invalid credentials (Failure)", "Google wants"),
            ("imap.gmail.com:993", "WEBALERT", "Web login required.", "browser"),
            ("imap.mail.ru:993", "", "NEOBHODIM parol prilozheniya https://help.mail.ru / Application password is REQUIRED", "app password"),
            ("pop.mail.ru:995", "AUTH", "invalid user or password", "Mail.ru wants"),
            ("imap.yandex.ru:993", "AUTHENTICATIONFAILED", "LOGIN invalid credentials or IMAP is disabled sc=x", "switch IMAP on"),
            ("pop.yandex.ru:995", "AUTH", "login failure or POP3 disabled, try later. sc=x", "switch POP3 on"),
            ("outlook.office365.com:993", "", "LOGIN failed.", "oauth2"),
            ("imap.example.org:993", "", "LOGIN BasicAuthBlocked", "oauth2"),
            ("127.0.0.1:1143", "AUTHENTICATIONFAILED", "no such user", "Proton"),
            ("imap.mail.me.com:993", "AUTHENTICATIONFAILED", "Authentication Failed", "app-specific"),
            ("imap.example.org:993", "EXPIRED", "", "set a new one"),
            ("imap.example.org:993", "AUTHORIZATIONFAILED", "no", "may not open"),
            ("imap.example.org:993", "CONTACTADMIN", "no", "administrator"),
            ("notgmail.com:993", "", "no", "check username"),
            ("[::1]:993", "", "", "check username"),
        ] {
            assert!(login(peer, code, text).contains(words), "{peer} {text}: {}", login(peer, code, text));
        }
        assert!(not_now("User is authenticated but not connected.").contains("Exchange"));
        assert!(not_now("Too many simultaneous connections. (Failure)").contains("too many programs"));
        assert!(not_now("x").contains("later"));
    }
}
