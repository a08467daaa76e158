//! OAuth 2.0: tokens that the program gets itself, from a server of tokens that does what the test says, for a real Dovecot that asks that server
//! whether they are good.

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod flows;
mod kills;
mod kit;
mod refused_login;
mod renewing;
mod rows;
mod telling;
mod token_server;
mod trouble;
