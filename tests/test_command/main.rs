//! `mailgather test` against real servers and scripted peers, and the catalogue of errors. Tests of requirements are named after their rows.

#[path = "../support/mod.rs"]
mod support;

mod catalogue;
mod destination;
mod failures;
mod kit;
mod page;
mod success;
mod trace;
