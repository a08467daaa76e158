//! Microsoft Graph as a source, over a fake of its server that an independent client accepts too.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod disposing;
mod fetching;
mod folders;
mod independent;
mod kills;
mod kit;
mod listing;
mod policies;
mod program;
mod refusals;
mod web_server;
