//! `held drop`: throws held mail away, after a question that cannot be answered by a slip of the finger.

use super::print::{at_source, cut, size};
use super::{Common, Drop, Exit, chosen, failed, look, open, runtime, say, start_logging};
use crate::ledger::{AtSource, HeldEnd, HeldMail};
use crate::observe::logging::audit;
use crate::service::command::Requester;
use std::io::{BufRead, IsTerminal, Write};

/// Most messages that are named in the question.
const NAMED_MAX: usize = 20;

pub(super) fn drop(arguments: &Drop, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    start_logging(common, &loaded);
    runtime()?.block_on(async {
        let installation = open(&loaded).await?;
        let rows = chosen(&arguments.which, &look(&loaded, common)?.unwrap_or_default(), |(mail, _)| mail.id)?;
        if rows.is_empty() {
            return Ok(Exit::Ok);
        }
        describe(&rows);
        if !arguments.yes {
            ask(&rows)?;
        }
        for (mail, copy) in &rows {
            tracing::warn!(target: audit::TARGET, event = "held_dropped", by = %Requester::cli(), collector = %mail.key.collector, key = %mail.key, id = %mail.trace_id, held = %mail.id, from = mail.from, subject = mail.subject, octets = mail.octets, at_source = copy.code());
            installation.held().end(mail, HeldEnd::Dropped).await.map_err(|error| failed(&error))?;
            say(&format!("{}: dropped", mail.id));
        }
        Ok(Exit::Ok)
    })
}

fn describe(rows: &[(HeldMail, AtSource)]) {
    for (mail, copy) in rows.iter().take(NAMED_MAX) {
        eprintln!("{}  from {}  {}  {}", mail.id, cut(&mail.from, 60), cut(&mail.subject, 60), size(mail.octets));
        eprintln!("  {}", at_source(*copy));
    }
    let only = rows.iter().filter(|(_, copy)| *copy != AtSource::Stays).count();
    if rows.len() > NAMED_MAX {
        eprintln!("… and {} more; of all {}, {only} may be the only copy", rows.len() - NAMED_MAX, rows.len());
    }
}

/// One message is named by its number, several by how many they are.
fn ask(rows: &[(HeldMail, AtSource)]) -> Result<(), Exit> {
    if !std::io::stdin().is_terminal() {
        eprintln!("error: nobody is there to be asked; say `--yes`");
        return Err(Exit::Usage);
    }
    let (what, password) = match rows {
        [(mail, _)] => ("its number".to_owned(), mail.id.to_string()),
        rows => (format!("how many messages these are ({})", rows.len()), rows.len().to_string()),
    };
    eprint!("Dropping cannot be undone. To go on, type {what}: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && is_yes(&answer, &password) {
        return Ok(());
    }
    eprintln!("nothing was dropped");
    Err(Exit::TempFail)
}

fn is_yes(answer: &str, password: &str) -> bool {
    let same_number = |id: crate::ledger::HeldId| id.to_string() == password;
    answer.trim() == password || (password.starts_with("H-") && answer.trim().parse().is_ok_and(same_number))
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_the_number_is_a_yes() {
        for (answer, password, yes) in [
            ("H-0193\n", "H-0193", true),
            ("193", "H-0193", true),
            ("h-193 ", "H-0193", true),
            ("H-0194", "H-0193", false),
            ("y", "H-0193", false),
            ("", "H-0193", false),
            ("12\n", "12", true),
            ("H-0012", "12", false),
            ("1", "12", false),
        ] {
            assert_eq!(is_yes(answer, password), yes, "{answer:?}");
        }
    }
}
