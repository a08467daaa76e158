//! `mailgather import`: what the real fetchmail, getmail and mpop collected does not come again, and everything else comes.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod over;
