//! Logins by an access token: XOAUTH2, and its standard, OAUTHBEARER (RFC 7628).

use super::{Credentials, SaslError};
use crate::mail::Secret;

/// `user=…^Aauth=Bearer …^A^A`
pub(super) fn xoauth2(username: &str, token: &Secret) -> Result<Secret, SaslError> {
    check(username, token)?;
    Ok(Secret::new(format!("user={username}\x01auth=Bearer {}\x01\x01", token.expose())))
}

/// `n,a=…,^Ahost=…^Aport=…^Aauth=Bearer …^A^A` (RFC 7628 §3.1)
pub(super) fn oauthbearer(credentials: &Credentials) -> Result<Secret, SaslError> {
    let Credentials { username, password, host, port, .. } = credentials;
    check(username, password)?;
    let name = super::scram::saslname(username);
    Ok(Secret::new(format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {}\x01\x01", password.expose())))
}

fn check(username: &str, token: &Secret) -> Result<(), SaslError> {
    if username.chars().any(char::is_control) {
        return Err(SaslError::Unsendable("the login name has a control character in it"));
    }
    // RFC 6750 §2.1: a token is made of some visible ASCII.
    if token.expose().is_empty() || !token.expose().bytes().all(|octet| matches!(octet, b'!'..=b'~')) {
        return Err(SaslError::Unsendable("the access token is empty, or has blanks or other than visible ASCII in it"));
    }
    Ok(())
}
