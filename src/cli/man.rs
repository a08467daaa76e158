//! `mailgather man`: the manual pages, from the same text as `--help`.

use super::exit::{self, Exit};
use super::peek::print;
use super::{Arguments, CONFIG, SOCKET_OF_SYSTEM};
use clap::{Args, Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, roman};
use std::io;
use std::path::{Path, PathBuf};

/// The section of user commands.
const SECTION: &str = "1";

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write mailgather.1 and a page for each subcommand into this folder; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn man(arguments: &Man) -> Exit {
    let pages = match pages() {
        Ok(pages) => pages,
        Err(error) => {
            eprintln!("error: cannot make the pages: {error}");
            return Exit::Os;
        }
    };
    let Some(dir) = &arguments.dir else {
        // The first one is that of the program itself.
        pages.first().into_iter().for_each(|(_, page)| print(page));
        return Exit::Ok;
    };
    match write(dir, &pages) {
        Ok(()) => Exit::Ok,
        Err((path, error)) => {
            eprintln!("error: {}: {error}", path.display());
            Exit::CantCreate
        }
    }
}

fn write(dir: &Path, pages: &[(String, String)]) -> Result<(), (PathBuf, io::Error)> {
    std::fs::create_dir_all(dir).map_err(|error| (dir.to_owned(), error))?;
    for (name, page) in pages {
        let path = dir.join(name);
        std::fs::write(&path, page).map_err(|error| (path, error))?;
    }
    Ok(())
}

/// All pages with the names of their files, the program's own first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut command = Arguments::command();
    command.build();
    let mut pages = Vec::new();
    add(&command, true, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, is_program: bool, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push((format!("{name}.{SECTION}"), page(command, &name, is_program)?));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add(below, false, pages))
}

fn page(command: &Command, name: &str, is_program: bool) -> io::Result<String> {
    let source = format!("mailgather {}", crate::observe::version::NUMBER);
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).section(SECTION).source(source).manual("mailgather");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if is_program {
        entries("SIGNALS", SIGNALS).to_writer(&mut page)?;
        entries("FILES", FILES).to_writer(&mut page)?;
        entries("ENVIRONMENT", ENVIRONMENT).to_writer(&mut page)?;
        lines(exit::TABLE).to_writer(&mut page)?;
    } else if let Some(after) = command.get_after_help() {
        lines(&after.to_string()).to_writer(&mut page)?;
        see_also().to_writer(&mut page)?;
    } else {
        see_also().to_writer(&mut page)?;
    }
    String::from_utf8(page).map_err(io::Error::other)
}

/// A section whose first line is its title, as it stands: a table must not be filled like a paragraph.
fn lines(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
    roff.control("SH", [title.trim_end_matches(':').to_uppercase().as_str()]);
    roff.control("nf", []);
    for line in rest.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn entries(title: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (word, meaning) in entries {
        roff.control("TP", []).text([bold(*word)]).text([roman(*meaning)]);
    }
    roff
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("mailgather"), roman(format!("({SECTION})"))]);
    roff
}

const SIGNALS: &[(&str, &str)] = &[
    ("SIGHUP", "The daemon reads its configuration again. A file that is wrong is reported, and what was in force stays in force."),
    ("SIGUSR1", "It collects now, with all enabled collectors."),
    ("SIGTERM, SIGINT", "It ends at the next message's border; a second one ends it at once, which loses nothing."),
    ("SIGQUIT", "It ends at once."),
];

const FILES: &[(&str, &str)] = &[
    (CONFIG, "The configuration."),
    (crate::config::STATE_DIR_OF_ROOT, "The ledger, held mail, large messages in transit."),
    (SOCKET_OF_SYSTEM, "The control socket of the daemon that systemd runs; without systemd it is control.sock in the state directory."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("STATE_DIRECTORY", "The state directory, if neither --state-dir nor the configuration names one; systemd sets it."),
    ("RUNTIME_DIRECTORY", "The folder of the control socket, if neither --socket nor the configuration names one; systemd sets it."),
    ("CREDENTIALS_DIRECTORY", "The folder of the secrets that the configuration calls credentials; systemd sets it."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Where and how often systemd wants to hear of the daemon."),
    ("TOKIO_WORKER_THREADS", "How many threads work; as many as there are cores by default."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "mailgather.1");
        let mut command = Arguments::command();
        command.build();
        for below in command.get_subcommands() {
            let name = format!("mailgather-{}.1", below.get_name());
            let page = &pages.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {names:?}")).1;
            for option in below.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "{name} has no --{option}");
            }
        }
        assert!(names.contains(&"mailgather-held-list.1"), "{names:?}");
    }

    #[test]
    fn a_table_stays_a_table() {
        let page = &pages().unwrap()[0].1;
        let (_, section) = page.split_once("\n.SH \"EXIT CODES\"\n.nf\n").unwrap_or_else(|| panic!("{page}"));
        let (table, _) = section.split_once("\n.fi").unwrap();
        assert_eq!(table.lines().count(), exit::TABLE.lines().count() - 1);
        assert!(page.contains("SIGUSR1") && page.contains(CONFIG) && page.contains(SOCKET_OF_SYSTEM));
    }
}
