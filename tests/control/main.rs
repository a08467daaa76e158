//! The control socket, and the commands that speak by it, with the real binary and a real server.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod commands;
mod configuration;
mod doctor;
mod editing;
mod files;
mod history;
mod http;
mod init;
mod kit;
mod logs;
mod manners;
mod metrics;
mod notices;
mod packaging;
mod secrets;
mod switches;
mod systemd;
