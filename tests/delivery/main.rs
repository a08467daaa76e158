//! Delivery by SMTP and LMTP and into Maildirs, to scripted peers and real servers; and who asks there whether a recipient exists.

#[path = "../support/mod.rs"]
mod support;

mod check_local;
mod deliver_kit;
mod exim;
mod failover;
mod maildir;
mod smtp_dialogue;
mod smtp_matrix;
mod smtp_peer;
mod smtp_real;
mod xclient;
