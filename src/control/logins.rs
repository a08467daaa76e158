//! Somebody signs in for a collector by a code that the API hands out: how far that is, until it is over and for as long as the daemon runs.

use super::problem::Problem;
use crate::mail::CollectorId;
use crate::mail::when::stamp;
use crate::oauth::Keeper;
use crate::oauth::answer::DeviceCode;
use crate::oauth::login::LoginError;
use crate::oauth::told;
use crate::service::command::Requester;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many are remembered, more than wait at once; those that are over go first.
const LOGINS_MAX: usize = 256;

/// All that were begun.
#[derive(Debug, Default)]
pub(super) struct Logins(Arc<Mutex<BTreeMap<CollectorId, Login>>>);

#[derive(Clone, Debug)]
struct Login {
    uri: String,
    code: String,
    until: Timestamp,
    /// `None` while somebody may still sign in; else who has, or why nobody has.
    end: Option<Result<SignedIn, String>>,
}

/// Who has signed in, as far as his token tells.
#[derive(Clone, Debug)]
struct SignedIn {
    account: Option<String>,
    /// It is not the mailbox's.
    warning: Option<String>,
}

impl Logins {
    /// A code for somebody to type; the one that was handed out, as long as it is good. The tokens are kept by themselves when he has signed in.
    /// `username` is who is to sign in.
    pub(super) async fn start(&self, keeper: Arc<Keeper>, username: &str, by: Requester) -> Result<Value, Problem> {
        let id = keeper.collector().clone();
        if let Some(waiting) = self.waiting(&id) {
            return Ok(waiting.json());
        }
        let code = keeper.begin_device().await.map_err(|error| failed(&error))?;
        let life = i64::try_from(code.life.as_secs()).unwrap_or(0);
        let until = Timestamp::from_second(Timestamp::now().as_second().saturating_add(life)).unwrap_or(Timestamp::MAX);
        let login = Login { uri: code.verification_uri.clone(), code: code.user_code.clone(), until, end: None };
        {
            let mut logins = self.lock();
            // Another request may have begun one meanwhile: its code is as good.
            if let Some(other) = logins.get(&id).filter(|login| login.waits()) {
                return Ok(other.json());
            }
            if logins.len() >= LOGINS_MAX && !logins.contains_key(&id) {
                let over = logins.iter().find(|(_, login)| !login.waits()).map(|(id, _)| id.clone());
                logins.remove(&over.ok_or_else(|| Problem::new(429, format!("{LOGINS_MAX} others are signing in")))?);
            }
            logins.insert(id, login.clone());
        }
        self.wait(keeper, username.to_owned(), code, by);
        Ok(login.json())
    }

    /// How the last one for this collector fares.
    pub(super) fn json(&self, id: &CollectorId) -> Option<Value> {
        self.lock().get(id).map(Login::json)
    }

    fn waiting(&self, id: &CollectorId) -> Option<Login> {
        self.lock().get(id).filter(|login| login.waits()).cloned()
    }

    /// Asks the provider until somebody has signed in, or the code has ended.
    fn wait(&self, keeper: Arc<Keeper>, username: String, code: DeviceCode, by: Requester) {
        let logins = Arc::clone(&self.0);
        tokio::spawn(async move {
            let end = keeper.wait_for_device(&code).await.map(|tokens| {
                let account = told::account(&tokens, keeper.oauth());
                let warning = told::other_account(account.as_deref(), &username, keeper.oauth());
                SignedIn { account, warning }
            });
            let end = end.map_err(|error| error.to_string());
            if end.is_ok() {
                by.log_signed_in(keeper.collector().as_str());
            }
            let mut logins = logins.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(login) = logins.get_mut(keeper.collector()).filter(|login| login.code == code.user_code) {
                login.end = Some(end);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CollectorId, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    fn waits(&self) -> bool {
        self.end.is_none() && Timestamp::now() < self.until
    }

    /// The code is for whoever signs in, and good for nothing else; it goes when nobody needs it any more.
    fn json(&self) -> Value {
        match &self.end {
            None if self.waits() => {
                json!({"state": "waiting", "verification_uri": self.uri, "user_code": self.code, "until": stamp(self.until)})
            }
            None => json!({"state": "failed", "reason": "nobody has signed in with the code while it was good"}),
            Some(Ok(SignedIn { account, warning })) => json!({"state": "signed_in", "account": account, "warning": warning}),
            Some(Err(why)) => json!({"state": "failed", "reason": why}),
        }
    }
}

fn failed(error: &LoginError) -> Problem {
    match error {
        LoginError::NoPlace(_) => Problem::new(409, error.to_string()).hint("`mailgather oauth login` signs in by a browser"),
        LoginError::Ask(ask) if ask.is_transient() => Problem::new(503, error.to_string()),
        LoginError::Ask(_) => Problem::new(502, error.to_string()).hint("look at how the program is registered with the provider (docs/oauth2.md)"),
        _ => Problem::new(500, error.to_string()),
    }
}
