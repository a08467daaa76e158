//! The commands that look and change nothing: `explain`, `policy test`, `audit`, and the pages of the documentation with what they print.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod explain;
mod recipients_doc;
