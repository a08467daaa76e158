//! Layer 5: collecting. A [`task`] waits and runs passes; a [`pass`] walks one mailbox: list, plan, batches of fetch, resolve, deliver,
//! record, dispose. [`plan`], [`schedule`] and [`settle`] decide and do no I/O.

pub mod asks;
mod batch;
mod bookmark;
pub mod chronicle;
mod copies;
pub mod dedupe;
pub mod deliver_one;
pub mod disk;
mod disposal;
mod first_run;
pub mod folders;
mod held_back;
pub mod hours;
pub mod idle;
pub mod journal;
pub mod limits;
pub mod mx;
mod note;
pub mod pass;
pub mod plan;
mod purge;
mod renumbered;
mod repeats;
pub mod route;
pub mod schedule;
pub mod settle;
mod stand_in;
pub mod stop;
pub mod task;
mod walk;

pub use limits::Limits;
pub use pass::{Pass, PassError, PassReport};
pub use stop::Stop;
