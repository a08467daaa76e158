//! Logins and TLS: each mechanism at real servers and at scripted peers, certificates that are wrong in each way.

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod auth_cyrus;
mod auth_web;
mod autodiscover;
mod login_kit;
mod refused_login;
mod tls;
