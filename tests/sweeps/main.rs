//! Faults and crashes at each moment of a pass, one after the other; and (`beside`) servers that misbehave in each other way, next to well-behaved ones. Most of the time goes here: `MAILGATHER_LONG_SWEEP=1` makes it a night.

#[path = "../support/mod.rs"]
mod support;

mod beside;
mod fault_sweep;
mod hostile_doors;
mod hostile_imap;
mod hostile_pop3;
mod killsweep;
mod pass_failures;
mod soak;
