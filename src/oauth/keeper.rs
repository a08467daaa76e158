//! Keeps the access token of one collector good: one question at a time, whoever wants a token, in this process and in others.
//!
//! What a `kill -9` does, line by line of [`Keeper::ask`]:
//!
//! | between | the next start finds | what follows |
//! |---|---|---|
//! | the mark and the question | the former refresh token, marked | it is asked with |
//! | the question and the file | the former refresh token, marked | asked with again: most servers take it for a while; one that does not refuses it, and the mark tells why |
//! | the file and the login | the new tokens | nothing is lost |
//!
//! A question that surely brought nothing takes its own mark off again; one that was there before stays.
//!
//! The access token is given out only when the refresh token that came with it is durable.

use super::answer::Refused;
use super::endpoint::{self, AskError};
use super::grant;
use super::kept::{Found, Kept};
use super::request::{self, Ask};
use super::tokens::Tokens;
use crate::config::secret::{SecretError, SecretErrorKind, SecretReader};
use crate::config::{OAuth, OAuthFlow};
use crate::mail::{CollectorId, Secret};
use crate::observe::Counters;
use crate::observe::counters::Refresh;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// After a question that failed the server is left alone for so long; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// But never longer.
const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// Longest time for which a server is left alone because it says so.
const TOLD_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a refusal that a new secret may mend.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// So long what was read is believed: a session of HTTP asks for each request.
const BELIEVED: Duration = Duration::from_secs(2);

/// The tokens of one collector.
pub struct Keeper {
    collector: CollectorId,
    oauth: Arc<OAuth>,
    kept: Kept,
    made_for: String,
    counters: Option<Arc<Counters>>,
    state: Mutex<State>,
    questions: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What the file held, and when it was read.
    read: Option<(Tokens, Instant)>,
    /// What could not be kept: the answer that brought it may not come again.
    unsaved: Option<Unsaved>,
    /// The token that was given out last.
    given: Option<Secret>,
    /// Questions in a row that failed.
    failures: u32,
    /// Until when nothing is asked, and what is said meanwhile.
    pause: Option<(Instant, SecretError)>,
}

/// Tokens that are in memory only.
struct Unsaved {
    tokens: Tokens,
    /// What they were got with: if the file has another refresh token by now, somebody has signed in since.
    with: Option<Secret>,
}

impl Keeper {
    /// For this collector, whose tokens are got so.
    pub fn new(collector: &CollectorId, oauth: &Arc<OAuth>) -> Self {
        Keeper {
            collector: collector.clone(),
            oauth: Arc::clone(oauth),
            kept: Kept::of(collector, oauth),
            made_for: grant::made_for(oauth),
            counters: None,
            state: Mutex::default(),
            questions: AtomicU64::new(0),
        }
    }

    /// Notes in these counters until when tokens are good, and how questions end.
    pub fn counted(self, counters: &Arc<Counters>) -> Self {
        Keeper { counters: Some(Arc::clone(counters)), ..self }
    }

    /// Reads the token as a password is read.
    pub fn reader(self: &Arc<Self>) -> SecretReader {
        let keeper = Arc::clone(self);
        Arc::new(move || {
            let keeper = Arc::clone(&keeper);
            Box::pin(async move { keeper.token().await })
        })
    }

    /// A token that is good, for some time if that can be.
    pub async fn token(self: &Arc<Self>) -> Result<Secret, SecretError> {
        self.undisturbed(false).await
    }

    /// Another token in place of the one that was given out last, although it should still be good: a server refused it. False if there is none
    /// to be had now.
    pub async fn renew(self: &Arc<Self>) -> bool {
        self.undisturbed(true).await.is_ok()
    }

    /// Asks for another one at once, whatever there is: for an operator who wants to see whether that works.
    pub async fn refresh(self: &Arc<Self>) -> Result<Tokens, SecretError> {
        let keeper = Arc::clone(self);
        let refreshed = tokio::spawn(async move {
            let mut state = keeper.state.lock().await;
            let _lock = keeper.kept.lock().await?;
            let found = keeper.found(&mut state).await?;
            keeper.ask(&mut state, found.as_ref()).await
        });
        refreshed.await.unwrap_or_else(|error| Err(SecretError::from(error.to_string())))
    }

    /// How many questions were asked so far.
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// The configuration.
    pub fn oauth(&self) -> &Arc<OAuth> {
        &self.oauth
    }

    /// Whose tokens they are.
    pub fn collector(&self) -> &CollectorId {
        &self.collector
    }

    /// What is kept now, as it is: for those who only want to see it.
    pub async fn kept(&self) -> Result<Found, SecretError> {
        self.kept.read().await
    }

    /// True if these tokens were made for the configuration as it is now.
    pub fn fits(&self, tokens: &Tokens) -> bool {
        tokens.made_for == self.made_for
    }

    /// Removes what is kept. False if there was nothing.
    pub async fn forget(&self) -> Result<bool, SecretError> {
        let mut state = self.state.lock().await;
        let _lock = self.kept.lock().await?;
        *state = State::default();
        self.kept.remove().await
    }

    /// Keeps what somebody's signing in brought, in place of whatever there is: durable when it returns.
    pub(super) async fn keep(&self, granted: super::answer::Granted) -> Result<Tokens, SecretError> {
        let mut state = self.state.lock().await;
        let _lock = self.kept.lock().await?;
        let tokens = Tokens::of(granted, now(), &self.made_for, None);
        self.kept.write(&tokens).await?;
        self.kept.sign().await;
        *state = State::default();
        self.count(&tokens, Some(Refresh::Ok));
        Ok(tokens)
    }

    /// In a task of its own: a caller who goes away in the middle must not take an answer with him that does not come again.
    async fn undisturbed(self: &Arc<Self>, is_refused: bool) -> Result<Secret, SecretError> {
        let keeper = Arc::clone(self);
        let given = tokio::spawn(async move { keeper.give(is_refused).await }).await;
        given.unwrap_or_else(|error| Err(SecretError::from(error.to_string())))
    }

    async fn give(&self, is_refused: bool) -> Result<Secret, SecretError> {
        let mut state = self.state.lock().await;
        let refused = state.given.clone().filter(|_| is_refused);
        let is_fine = |tokens: &Tokens| !tokens.is_due(now()) && refused.as_ref().is_none_or(|refused| tokens.access != *refused);
        if let Some((tokens, _)) = state.read.as_ref().filter(|(tokens, at)| at.elapsed() < BELIEVED && is_fine(tokens)) {
            return Ok(tokens.access.clone());
        }
        let unsaved = self.keep_late(&mut state).await?;
        let mut found = match unsaved {
            Some(tokens) => Some(tokens),
            None => self.found(&mut state).await?,
        };
        if !found.as_ref().is_some_and(is_fine) {
            match self.renewed(&mut state, &is_fine).await {
                Ok(tokens) => found = Some(tokens),
                // It may still do for this time.
                Err(error) => match found.filter(|tokens| !is_refused && tokens.is_good(now())) {
                    Some(still_good) => found = Some(still_good),
                    None => return Err(error),
                },
            }
        }
        let tokens = found.ok_or_else(|| self.nobody())?;
        state.given = Some(tokens.access.clone());
        Ok(tokens.access.clone())
    }

    /// Keeps what could not be kept before. What still cannot is given back, if it may be used without.
    async fn keep_late(&self, state: &mut State) -> Result<Option<Tokens>, SecretError> {
        let Some(Unsaved { tokens, with }) = &state.unsaved else { return Ok(None) };
        let keeping = async {
            let _lock = self.kept.lock().await?;
            let is_newest = match self.kept.read().await? {
                Found::Tokens(found) => found.refresh == *with,
                Found::Nothing | Found::Unusable(_) => with.is_none(),
            };
            if is_newest { self.kept.write(tokens).await } else { Ok(()) }
        };
        match keeping.await {
            Ok(()) => {
                state.unsaved = None;
                Ok(None)
            }
            // A new refresh token has to be durable before its access token is used.
            Err(_) if tokens.refresh == *with => Ok(Some(tokens.clone())),
            Err(error) => Err(error),
        }
    }

    /// What is kept, if it can be used.
    async fn found(&self, state: &mut State) -> Result<Option<Tokens>, SecretError> {
        let tokens = match self.kept.read().await? {
            Found::Tokens(tokens) if self.fits(&tokens) => Some(*tokens),
            Found::Tokens(_) | Found::Nothing => None,
            // The program gets another one by itself.
            Found::Unusable(_) if !self.oauth.flow.needs_a_person() => None,
            Found::Unusable(why) => {
                return Err(SecretError::new(
                    SecretErrorKind::Unreadable,
                    format!("the tokens that were kept: {}: {why}", self.kept.path().display()),
                )
                .hint(format!("{} makes new ones", self.login())));
            }
        };
        state.read = tokens.clone().map(|tokens| (tokens, Instant::now()));
        if let Some(tokens) = &tokens {
            self.count(tokens, None);
        }
        Ok(tokens)
    }

    /// New tokens: another process's, or by a question of ours.
    async fn renewed(&self, state: &mut State, is_fine: &(impl Fn(&Tokens) -> bool + Sync)) -> Result<Tokens, SecretError> {
        if let Some((until, error)) = &state.pause {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                let mut error = error.clone();
                if let SecretErrorKind::Unavailable { retry_after: Some(wait) } = &mut error.kind {
                    *wait = left;
                }
                return Err(error);
            }
        }
        let _lock = self.kept.lock().await?;
        // Whoever had the lock before may have done it.
        let found = self.found(state).await?;
        if let Some(tokens) = found.as_ref().filter(|tokens| is_fine(tokens)) {
            return Ok(tokens.clone());
        }
        let asked = self.ask(state, found.as_ref()).await;
        match &asked {
            Ok(_) => (state.failures, state.pause) = (0, None),
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let pause = match error.kind {
                    SecretErrorKind::Unavailable { retry_after: Some(told) } => told.min(TOLD_MAX),
                    SecretErrorKind::Unavailable { retry_after: None } => {
                        let factor = 1u32.checked_shl(state.failures - 1).unwrap_or(u32::MAX);
                        BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX)
                    }
                    SecretErrorKind::Refused | SecretErrorKind::Unreadable => REFUSED_PAUSE,
                };
                state.pause = Some((Instant::now() + pause, error.clone()));
            }
        }
        asked
    }

    /// Asks the server, with the lock held.
    async fn ask(&self, state: &mut State, found: Option<&Tokens>) -> Result<Tokens, SecretError> {
        let oauth = &self.oauth;
        let proof = grant::proof(oauth).await?;
        let answer = match oauth.flow {
            OAuthFlow::ClientCredentials => self.question(&proof, &Ask::ClientCredentials).await,
            OAuthFlow::ServiceAccount => {
                let assertion = grant::for_somebody(oauth).await?;
                self.question(&proof, &Ask::Bearer(&assertion)).await
            }
            OAuthFlow::Device | OAuthFlow::Code => {
                let Some(found) = found else { return Err(self.nobody()) };
                if let Some(words) = &found.refused {
                    return Err(self.ended(words));
                }
                let Some(refresh) = &found.refresh else { return Err(self.nobody()) };
                // A disk without room is met before the server has given away what cannot be kept. The mark tells later that an answer was lost.
                self.kept.write(&Tokens { asked: Some(now()), ..found.clone() }).await?;
                self.question(&proof, &Ask::Refresh(refresh)).await
            }
        };
        match answer {
            Ok(granted) => {
                let tokens = Tokens::of(granted, now(), &self.made_for, found);
                let with = found.and_then(|found| found.refresh.clone());
                let is_rotated = tokens.refresh != with;
                if let Err(error) = self.kept.write(&tokens).await {
                    tracing::error!(event = "oauth_refresh_failed", collector = %self.collector, reason = %error, next = "the tokens are in memory only; kept as soon as that can be");
                    self.count(&tokens, Some(Refresh::Failed));
                    state.unsaved = Some(Unsaved { tokens: tokens.clone(), with });
                    return if is_rotated { Err(error) } else { Ok(tokens) };
                }
                self.count(&tokens, Some(Refresh::Ok));
                state.read = Some((tokens.clone(), Instant::now()));
                let expires = crate::mail::when::stamp(jiff::Timestamp::from_second(tokens.expires).unwrap_or_default());
                tracing::info!(event = "oauth_refreshed", collector = %self.collector, server = %oauth.token_url.host, expires, rotated = is_rotated);
                Ok(tokens)
            }
            Err(AskError::Refused(Refused::InvalidGrant(words) | Refused::Expired(words))) if oauth.flow.needs_a_person() => {
                let lost = found.and_then(|found| found.asked).map_or("", |_| "; an answer to an earlier question was lost, which may be why");
                let words = format!("{words}{lost}");
                if let Some(found) = found {
                    let marked = Tokens { refused: Some(words.clone()), asked: None, ..found.clone() };
                    // If that fails it is asked once more after the next start.
                    if self.kept.write(&marked).await.is_ok() {
                        state.read = None;
                        self.count(&marked, None);
                    }
                }
                self.counted_as(Refresh::Refused);
                let error = self.ended(&words);
                tracing::error!(event = "oauth_expired", collector = %self.collector, server = %oauth.token_url.host, reason = %words, hint = error.hint.as_deref().unwrap_or_default());
                Err(error)
            }
            Err(error) => {
                if let Some(found) = found.filter(|_| oauth.flow.needs_a_person() && error.gave_nothing()) {
                    // No answer was lost by this question; one to an earlier question may have been. If that fails, only later words are wrong.
                    let _ = self.kept.write(found).await;
                }
                let server = &oauth.token_url.host;
                let text = format!("{server} gives no token: {error}");
                let failed = if error.is_transient() {
                    self.counted_as(Refresh::Failed);
                    SecretError::new(SecretErrorKind::Unavailable { retry_after: error.after() }, text)
                        .hint("the server of tokens is tried again later; see whether it can be reached from here")
                } else {
                    self.counted_as(Refresh::Refused);
                    SecretError::new(SecretErrorKind::Refused, text).hint(self.about_refusal(&error))
                };
                tracing::warn!(event = "oauth_refresh_failed", collector = %self.collector, reason = %failed, next = "asked again later");
                Err(failed)
            }
        }
    }

    async fn question(&self, proof: &request::Proof, ask: &Ask<'_>) -> Result<super::answer::Granted, AskError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let form = request::form(&self.oauth.client_id, proof, &self.oauth.scopes, ask);
        endpoint::tokens(&self.oauth.token_url, &form).await
    }

    fn about_refusal(&self, error: &AskError) -> String {
        let word = match error {
            AskError::Refused(Refused::Denied { error, .. }) => error.as_str(),
            _ => "invalid_grant",
        };
        match word {
            "invalid_client" | "unauthorized_client" => {
                "`client_id`, its secret or its certificate are not what the server knows: a secret may have expired there".to_owned()
            }
            "invalid_scope" => "`scopes` has what the server does not give to this program".to_owned(),
            "invalid_grant" if self.oauth.flow == OAuthFlow::ServiceAccount => {
                "the service account may not act for this mailbox (domain-wide delegation, with these scopes), or this machine's clock is wrong"
                    .to_owned()
            }
            _ => "look at how the program is registered with the provider, and at `auth` of this collector".to_owned(),
        }
    }

    fn login(&self) -> String {
        format!("`mailgather oauth login {}`", self.collector)
    }

    fn nobody(&self) -> SecretError {
        SecretError::new(
            SecretErrorKind::Refused,
            "nobody has signed in for this collector yet, or not since `client_id`, addresses or `scopes` were changed",
        )
        .hint(format!("{} does it", self.login()))
    }

    fn ended(&self, words: &str) -> SecretError {
        let text = format!("{} refuses what somebody's signing in once gave: invalid_grant: {words}", self.oauth.token_url.host);
        let hint = format!(
            "it has expired or was withdrawn, for example by a new password: {} signs in anew; the server is asked no more until then",
            self.login()
        );
        SecretError::new(SecretErrorKind::Refused, text).hint(hint)
    }

    fn count(&self, tokens: &Tokens, result: Option<Refresh>) {
        if let Some(counters) = &self.counters {
            counters.token(tokens.expires, tokens.refused.is_some(), tokens.refresh_until);
        }
        if let Some(result) = result {
            self.counted_as(result);
        }
    }

    fn counted_as(&self, result: Refresh) {
        if let Some(counters) = &self.counters {
            counters.refreshed(result);
        }
    }
}

/// Seconds of Unix time.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
