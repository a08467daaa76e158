//! What is collected, and what becomes of it at the source: the keys `collect`, `after`, `expunge`, `first_run`, `folders`, `max_*`, `on_hold`,
//! `service.min_free_space`, each with the program as a process against real servers. Every test counts what arrived, and looks at what is left.

#[path = "../support/mod.rs"]
mod support;

mod delete_after;
mod expunge;
mod first_run;
mod folders;
mod gmail;
mod holding;
mod kills;
mod kit;
mod limits;
mod moving;
mod pairs;
mod poison;
mod quirks;
mod rows;
