//! Looks at a server as a delivery would find it: greeting, TLS, hello, login, QUIT. No MAIL is sent.

use super::connection::failed;
use super::pool::Pool;
use crate::deliver::Inspection;
use crate::mail::outcome::harmless;
use crate::mail::{Address, Blame, Diagnosis, Reply, Stage};
use crate::net::{Seen, Witness};
use crate::proto::smtp::Extensions;
use std::sync::{Mutex, PoisonError};

/// What is seen on the way.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Witness for Notes {
    fn saw(&self, seen: Seen) {
        let note = match seen {
            Seen::Greeted(text) => format!("said {}", harmless(&text, Reply::TEXT_OCTETS_MAX)),
            Seen::Secured(handshake) => handshake.version,
            Seen::Resolved(_) | Seen::Connected(_) | Seen::LoggingIn(_) | Seen::LoggedIn(_) => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// One server.
pub(super) async fn run(pool: &Pool, recipients: &[Address]) -> Inspection {
    let notes = Notes::default();
    let (found, doubts) = match look(pool, recipients, &notes).await {
        Ok((offers, doubts)) => {
            let mut notes = notes.0.into_inner().unwrap_or_else(PoisonError::into_inner);
            notes.push(offers);
            (Ok(notes.join("; ")), doubts)
        }
        Err(diagnosis) => (Err(diagnosis), Vec::new()),
    };
    Inspection { place: pool.name(), found, doubts }
}

async fn look(pool: &Pool, recipients: &[Address], notes: &Notes) -> Result<(String, Vec<String>), Diagnosis> {
    // Beside the connections that are counted: whoever looks waits for nobody, and takes nobody's place.
    let connection = pool.open_seen(notes).await?;
    let offered = connection.extensions.clone();
    connection.quit().await;
    let with_utf8 = offered.smtputf8 && pool.relay.smtputf8;
    if let Some(address) = recipients.iter().find(|address| address.needs_smtputf8() && !with_utf8) {
        let why = if offered.smtputf8 { "`smtputf8: off` is set" } else { "the server does not offer SMTPUTF8" };
        let text = format!("{why}, which the address {} needs", harmless(&address.to_string(), 400));
        return Err(Diagnosis { blame: Blame::Recipient, ..failed(Stage::RcptTo, text) });
    }
    let login = pool.relay.auth.as_ref().map(|auth| format!("; logged in as {}", harmless(&auth.username, 200)));
    Ok((format!("offers {}{}", in_words(&offered), login.unwrap_or_default()), doubts(&offered)))
}

/// What matters for us of what a server offers.
fn in_words(offered: &Extensions) -> String {
    let known = [
        (offered.pipelining, "PIPELINING"),
        (offered.eight_bit_mime, "8BITMIME"),
        (offered.smtputf8, "SMTPUTF8"),
        (offered.starttls, "STARTTLS"),
        (offered.dsn, "DSN"),
        (offered.xclient.is_some(), "XCLIENT"),
    ];
    let mut words: Vec<String> = known.into_iter().filter(|(is_there, _)| *is_there).map(|(_, word)| word.to_owned()).collect();
    match offered.size_max {
        Some(limit) if limit > 0 => words.push(format!("SIZE {limit}")),
        _ if offered.size => words.push("SIZE".to_owned()),
        _ => {}
    }
    if !offered.auth.is_empty() {
        words.push(format!("AUTH {}", harmless(&offered.auth.join(" "), 100)));
    }
    if words.is_empty() { "nothing beyond RFC 821".to_owned() } else { words.join(", ") }
}

fn doubts(offered: &Extensions) -> Vec<String> {
    let mut doubts = Vec::new();
    if !offered.smtputf8 {
        doubts.push("without SMTPUTF8 mail to or from an address like пример@почта.рф cannot be delivered there".to_owned());
    }
    if !offered.eight_bit_mime {
        doubts.push("without 8BITMIME see `delivery.eight_bit` in docs/delivery.md".to_owned());
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_in_words() {
        let lines = |text: &str| Extensions::from_lines(&text.split('|').map(str::to_owned).collect::<Vec<_>>());
        for (text, words, doubted) in [
            ("mx", "nothing beyond RFC 821", 2),
            (
                "mx|PIPELINING|SIZE 1000|8BITMIME|SMTPUTF8|STARTTLS|AUTH PLAIN LOGIN",
                "PIPELINING, 8BITMIME, SMTPUTF8, STARTTLS, SIZE 1000, AUTH PLAIN LOGIN",
                0,
            ),
            ("mx|SIZE 0|8BITMIME", "8BITMIME, SIZE", 1),
        ] {
            let offered = lines(text);
            assert_eq!((in_words(&offered).as_str(), doubts(&offered).len()), (words, doubted), "{text}");
        }
    }
}
