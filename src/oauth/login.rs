//! Somebody signs in, for a collector whose `flow` is `device` or `code`. What talks to people is the caller's.
//!
//! Device (RFC 8628): [`Keeper::begin_device`], show what it gives, then [`Keeper::wait_for_device`]. Code with PKCE (RFC 6749 §4.1, RFC 7636):
//! [`Keeper::begin_code`] with the address that the browser is sent back to, open or show [`Browser::address`], then [`Keeper::finish_code`] with what
//! came back there, or with what somebody pasted. Both keep the tokens, durable, and end a refusal that was noted before; a daemon that runs beside it
//! sees them within seconds.

use super::answer::{DeviceCode, Refused};
use super::endpoint::{self, AskError};
use super::keeper::Keeper;
use super::kept::Found;
use super::pkce::Verifier;
use super::request::{self, Ask};
use super::tokens::Tokens;
use super::{answer, grant};
use crate::config::OAuthService;
use crate::config::secret::SecretError;
use crate::mail::Secret;
use crate::mail::outcome::harmless;
use crate::net;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a server adds to the time between two questions by `slow_down` (RFC 8628 §3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);
/// Longest wait after a question that failed, unless the server wants more between any two.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest text that is taken for what a browser brought, in octets.
const RETURNED_OCTETS_MAX: usize = 16 * 1024;

/// Why nobody has signed in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The server says no, or cannot be asked.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// One of our secrets cannot be read, or the tokens cannot be kept.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// There is no such place.
    #[error("the configuration has no {0}")]
    NoPlace(&'static str),
    /// The code is good no longer.
    #[error("nobody has signed in with the code while it was good")]
    TooLate,
    /// What came back from the browser says no.
    #[error("the provider says: {0}")]
    Denied(String),
    /// What came back is the answer to another question, or none.
    #[error("{0}")]
    Strange(&'static str),
    /// No random octets.
    #[error("the system has no random octets")]
    Random,
}

/// Somebody's way through a browser.
#[derive(Debug)]
pub struct Browser {
    /// Where to begin.
    pub address: String,
    /// Where the browser comes back to.
    pub redirect: String,
    state: String,
    verifier: Verifier,
}

/// How a question ended whether somebody has signed in.
#[derive(Debug)]
pub enum Polled {
    /// He has: the tokens are kept.
    SignedIn(Box<Tokens>),
    /// Not yet; ask again after so long.
    NotYet(Duration),
}

impl Keeper {
    /// Asks for a code that somebody types elsewhere.
    pub async fn begin_device(&self) -> Result<DeviceCode, LoginError> {
        let oauth = self.oauth();
        let place = oauth.device_url.as_ref().ok_or(LoginError::NoPlace("`device_url`"))?;
        let form = request::form(&oauth.client_id, &request::Proof::Public, &oauth.scopes, &Ask::Device);
        Ok(endpoint::code(place, &form).await?)
    }

    /// Asks once whether somebody has signed in; `poll` is the time between two questions as it is now.
    pub async fn poll_device(&self, code: &DeviceCode, poll: Duration) -> Result<Polled, LoginError> {
        let oauth = self.oauth();
        let proof = grant::proof(oauth).await?;
        let ask = Ask::DeviceToken { device_code: &code.device_code, short: oauth.service == OAuthService::Yandex };
        match self.exchanged(&proof, &ask).await {
            Ok(granted) => Ok(Polled::SignedIn(Box::new(self.keep(granted).await?))),
            Err(AskError::Refused(Refused::Pending)) => Ok(Polled::NotYet(poll)),
            Err(AskError::Refused(Refused::SlowDown)) => Ok(Polled::NotYet(poll + SLOWER_BY)),
            // RFC 8628 §3.5: a question that timed out is asked again, less often; never more often, whatever `Retry-After` says.
            Err(error) if error.is_transient() => Ok(Polled::NotYet(error.after().unwrap_or(poll * 2).min(WAIT_MAX).max(poll))),
            Err(AskError::Refused(Refused::Expired(_))) => Err(LoginError::TooLate),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks until somebody has signed in, or the code is good no longer.
    pub async fn wait_for_device(&self, code: &DeviceCode) -> Result<Tokens, LoginError> {
        let until = Instant::now() + code.life;
        let mut poll = code.poll;
        loop {
            if Instant::now() + poll > until {
                return Err(LoginError::TooLate);
            }
            sleep(poll).await;
            match self.poll_device(code, poll).await? {
                Polled::SignedIn(tokens) => return Ok(*tokens),
                Polled::NotYet(next) => poll = next,
            }
        }
    }

    /// The way of a browser that comes back to `redirect`, which the provider has to know.
    pub fn begin_code(&self, redirect: &str) -> Result<Browser, LoginError> {
        let oauth = self.oauth();
        let endpoint = oauth.auth_url.as_deref().ok_or(LoginError::NoPlace("`auth_url`"))?;
        let random = || net::random_octets::<32>().map_err(|_| LoginError::Random);
        let (verifier, state) = (Verifier::of(random()?), URL_SAFE_NO_PAD.encode(random()?));
        let more = oauth.service.of_browsers();
        let address = request::authorization(endpoint, &oauth.client_id, &oauth.scopes, redirect, &state, &verifier, more);
        Ok(Browser { address, redirect: redirect.to_owned(), state, verifier })
    }

    /// Takes what came back: the whole address, its query, or the code alone as somebody pasted it.
    pub async fn finish_code(&self, browser: &Browser, returned: &str) -> Result<Tokens, LoginError> {
        let code = browser.code_in(returned)?;
        let proof = grant::proof(self.oauth()).await?;
        let ask = Ask::Code { code: &code, redirect: &browser.redirect, verifier: &browser.verifier };
        let granted = self.exchanged(&proof, &ask).await?;
        Ok(self.keep(granted).await?)
    }

    /// True if the provider takes back what was found. Tokens of another configuration are another server's: nobody here is to see them.
    pub fn is_taken_back(&self, found: &Found) -> bool {
        self.oauth().revoke_url.is_some() && matches!(found, Found::Tokens(tokens) if self.fits(tokens))
    }

    /// Gives back what is kept, where the provider takes it back (RFC 7009). What is kept here stays: [`Keeper::forget`]. False if there is no such place,
    /// or nothing to give back ([`Keeper::is_taken_back`]).
    pub async fn give_back(&self) -> Result<bool, LoginError> {
        let oauth = self.oauth();
        let found = self.kept().await?;
        let is_taken_back = self.is_taken_back(&found);
        let (Some(place), Found::Tokens(tokens), true) = (&oauth.revoke_url, found, is_taken_back) else { return Ok(false) };
        let as_access = oauth.service == OAuthService::Yandex;
        // With the refresh token goes all that came of it (RFC 7009 §2.1).
        let token = tokens.refresh.as_ref().filter(|_| !as_access).unwrap_or(&tokens.access);
        let form = request::revocation(&oauth.client_id, &grant::proof(oauth).await?, token, as_access);
        match endpoint::give_back(place, &form).await {
            // It is what was wanted: the token is good no more.
            Err(AskError::Refused(Refused::Denied { error, .. })) if error == "invalid_token" => Ok(true),
            given => Ok(given.map(|()| true)?),
        }
    }

    async fn exchanged(&self, proof: &request::Proof, ask: &Ask<'_>) -> Result<answer::Granted, AskError> {
        let oauth = self.oauth();
        let form = request::form(&oauth.client_id, proof, &oauth.scopes, ask);
        endpoint::tokens(&oauth.token_url, &form).await
    }
}

impl Browser {
    /// True if this, which a browser asked for, is the answer to our question: it has our state. Any page can send a browser to any address.
    pub fn is_answer(&self, target: &str) -> bool {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "state" && value == self.state)
    }

    /// The code in what came back (RFC 6749 §4.1.2).
    fn code_in(&self, returned: &str) -> Result<Secret, LoginError> {
        let returned = returned.trim();
        if returned.is_empty() || returned.len() > RETURNED_OCTETS_MAX {
            return Err(LoginError::Strange("nothing came back, or too much"));
        }
        let query = returned.split_once('?').map_or(returned, |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        let field = |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        // RFC 6749 §10.12, before anything else that it says: any page can send a browser here.
        if field("state").is_some_and(|state| state != self.state) {
            return Err(LoginError::Strange("what came back belongs to another attempt"));
        }
        if let Some(error) = field("error") {
            let words = field("error_description").unwrap_or_default();
            return Err(LoginError::Denied(harmless(format!("{error} {words}").trim(), 400)));
        }
        match (field("code"), field("state")) {
            (Some(code), Some(_)) if !code.is_empty() => Ok(Secret::new(code)),
            // A page that shows the code alone; whoever pastes it has seen it himself.
            (None, None) if !returned.contains(['=', '?', '&', ' ']) => Ok(Secret::new(returned.to_owned())),
            _ => Err(LoginError::Strange("there is no code in what came back, or no state beside it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_from_a_browser() {
        let browser =
            Browser { address: String::new(), redirect: "http://127.0.0.1:7/".into(), state: "st-1".into(), verifier: Verifier::of([0; 32]) };
        let of = |text: &str| browser.code_in(text).map(|code| code.expose().to_owned()).map_err(|error| error.to_string());
        for text in ["http://127.0.0.1:7/?code=c%2F1&state=st-1", "code=c%2F1&state=st-1&scope=x", " c/1\n", "/?state=st-1&code=c/1#x"] {
            assert_eq!(of(text).as_deref(), Ok("c/1"), "{text}");
        }
        for (text, words) in [
            ("http://127.0.0.1:7/?code=c&state=other", "another attempt"),
            ("http://127.0.0.1:7/?code=c", "no state beside it"),
            ("http://127.0.0.1:7/?error=access_denied&error_description=no%0Away&state=st-1", "access_denied"),
            ("http://127.0.0.1:7/?state=st-1", "no code"),
            ("", "nothing came back"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
