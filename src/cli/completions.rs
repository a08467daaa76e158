//! `mailgather completions SHELL`.

use super::Arguments;
use super::exit::Exit;
use super::peek::print;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that shall complete commands and options: source what is printed, or put it where the shell looks for it.
    shell: Shell,
}

pub(super) fn completions(arguments: &Completions) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "mailgather", &mut text);
    print(&String::from_utf8_lossy(&text));
    Exit::Ok
}
