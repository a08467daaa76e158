//! What is told of a collector's tokens: whose they are, for what, until when; never the tokens.

use super::claims::Claims;
use super::keeper::{Keeper, now};
use super::kept::Found;
use super::tokens::Tokens;
use crate::config::{OAuth, OAuthService};
use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is asked for besides permissions: no answer has to name it.
const NO_PERMISSIONS: [&str; 5] = ["offline_access", "openid", "profile", "email", "userinfo"];
/// Most scopes that are told.
const SCOPES_MAX: usize = 50;

/// Whose mailbox the token opens, as far as it tells: a person, or the program itself.
pub fn account(tokens: &Tokens, oauth: &OAuth) -> Option<String> {
    if let Some(subject) = &oauth.subject {
        return Some(subject.clone());
    }
    let claims = Claims::of(tokens.access.expose())?;
    match claims.user {
        Some(user) => Some(user),
        None if claims.is_of_the_program() => Some(format!("the program {}", claims.client.as_deref().unwrap_or(&oauth.client_id))),
        None => None,
    }
}

/// What is to be said when the account is another one than the mailbox's.
pub fn other_account(account: Option<&str>, username: &str, oauth: &OAuth) -> Option<String> {
    let account = account?;
    let differs = oauth.flow.needs_a_person() && account.contains('@') && username.contains('@') && !account.eq_ignore_ascii_case(username);
    differs.then(|| {
        let shared = if oauth.service == OAuthService::Microsoft { ", for example as a shared mailbox with full access" } else { "" };
        format!("the mailbox is {username}, and {account} has signed in: that works only if {account} may open it{shared}")
    })
}

/// What the tokens are for: as the answer says it, else as the token does.
pub fn scopes(tokens: &Tokens) -> Vec<String> {
    if let Some(scope) = &tokens.scope {
        return scope.split_whitespace().take(SCOPES_MAX).map(|scope| harmless(scope, 200)).collect();
    }
    let claims = Claims::of(tokens.access.expose()).unwrap_or_default();
    claims.scopes.into_iter().chain(claims.roles).collect()
}

/// Permissions that were asked for and not given. Empty if nobody says what was given, which means all (RFC 6749 §5.1).
pub fn missing(tokens: &Tokens, oauth: &OAuth) -> Vec<String> {
    let given = scopes(tokens);
    // Microsoft names them with and without the service in front.
    let last = |scope: &str| scope.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let is_there = |scope: &str| given.iter().any(|given| last(given) == last(scope));
    let is_a_permission = |scope: &&String| !NO_PERMISSIONS.contains(&scope.as_str()) && last(scope) != ".default";
    match given.is_empty() {
        true => Vec::new(),
        false => oauth.scopes.iter().filter(is_a_permission).filter(|scope| !is_there(scope)).cloned().collect(),
    }
}

/// All of it, as an object. `state` is `good`, `expired` (another one is got when it is needed), `ended` (it cannot be), `missing`, `refused`,
/// `other` (of another configuration) or `unreadable`; `reason` says why.
pub async fn told(keeper: &Keeper) -> Value {
    let oauth = keeper.oauth();
    let mut told = json!({
        "collector": keeper.collector().as_str(),
        "provider": format!("{:?}", oauth.service).to_lowercase(),
        "flow": oauth.flow.word(),
        "encrypted": oauth.key.is_some(),
    });
    let needs_a_person = oauth.flow.needs_a_person();
    let because = |state, reason: &str| (state, Some(reason.to_owned()));
    let (state, reason) = match keeper.kept().await {
        Err(error) => ("unreadable", Some(error.to_string())),
        Ok(Found::Unusable(why)) => ("unreadable", Some(why)),
        Ok(Found::Nothing) if needs_a_person => because("missing", "nobody has signed in yet"),
        Ok(Found::Nothing) => because("missing", "none was got yet"),
        Ok(Found::Tokens(tokens)) => {
            let at = |seconds: Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).map(stamp);
            told["account"] = account(&tokens, oauth).into();
            told["scopes"] = scopes(&tokens).into();
            told["missing_scopes"] = missing(&tokens, oauth).into();
            told["granted"] = at(Some(tokens.granted)).into();
            told["expires"] = at(Some(tokens.expires)).into();
            told["refresh_token"] = tokens.refresh.is_some().into();
            told["refresh_since"] = at(tokens.refresh_since).into();
            told["refresh_until"] = at(tokens.refresh_until).into();
            match () {
                () if !keeper.fits(&tokens) => because("other", "the tokens were made for other keys of `auth`: they are not used"),
                () if tokens.refused.is_some() => ("refused", tokens.refused.clone()),
                () if tokens.is_good(now()) => ("good", None),
                () if needs_a_person && tokens.refresh.is_none() => because("ended", "there is no refresh token to get another one with"),
                () => because("expired", "another one is got when it is needed"),
            }
        }
    };
    told["state"] = state.into();
    told["reason"] = reason.map(|reason| harmless(&reason, 500)).into();
    told
}
