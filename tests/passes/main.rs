//! The program as a process between real servers: what arrives is what was there, once, and where it belongs.

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod families;
mod forged;
mod held;
mod held_pass;
mod identity;
mod loop_real;
mod main_job;
mod mx;
mod order_of_effects;
mod poison;
mod public_corpus;
mod support_servers;
