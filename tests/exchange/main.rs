//! Exchange by EWS: the source against a server of our own that an independent client takes for Exchange, and the whole program over it.

#[path = "../support/mod.rs"]
mod support;

mod books;
mod faults;
mod independent;
mod kit;
mod mailbox;
mod rows;
