//! A server of tokens (RFC 6749, RFC 7636, RFC 7662, RFC 8628) that gives, rotates and withdraws them, and fails as it is told to.

use crate::support::web::{Request, Response, WebServer, answer, hang_up, json, pieces, with};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The program's registration.
pub const CLIENT: &str = "client-4711";
/// Its secret.
pub const SECRET: &str = "canary-client-secret";
/// What every token holds: nothing that is printed may hold it.
pub const CANARY: &str = "canary-token";

/// What is answered in place of the right answer, once.
#[derive(Clone, Debug)]
pub enum Instead {
    /// A refusal with this word.
    Error(&'static str),
    /// This status, with `Retry-After` if there is one.
    Status(u16, Option<u64>),
    /// A page to sign in.
    Html,
    /// More than 64 kB of JSON, a little at a time.
    Huge,
    /// No answer.
    HangUp,
    /// The right answer, after so long.
    Late(Duration),
    /// This status, with the form as it came.
    Repeats(u16),
}

pub struct State {
    /// How long access tokens live, in seconds.
    pub life: u64,
    /// What comes next, in place of the right answers.
    pub instead: VecDeque<Instead>,
    /// No access token is good, however young.
    pub takes_none: bool,
    /// A refresh token is good once, and the one before the last no more.
    pub rotates: bool,
    /// With rotation: the former one is taken once more.
    pub takes_former: bool,
    /// The access token that is given in place of one of the server's own, and that opens nothing.
    pub access: Option<String>,
    /// Forms of the questions for tokens, as they came.
    pub asked: Vec<BTreeMap<String, String>>,
    given: Vec<(String, Instant)>,
    refresh: Vec<String>,
    count: usize,
    pending: usize,
    codes: BTreeMap<String, String>,
}

pub struct TokenServer {
    web: WebServer,
    state: Arc<Mutex<State>>,
}

impl TokenServer {
    pub fn start() -> TokenServer {
        let state = State {
            life: 3600,
            instead: VecDeque::new(),
            takes_none: false,
            rotates: false,
            takes_former: false,
            access: None,
            asked: Vec::new(),
            given: Vec::new(),
            refresh: Vec::new(),
            count: 0,
            pending: 0,
            codes: BTreeMap::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let web = WebServer::plain(move |request| {
            let shared = Arc::clone(&shared);
            async move { served(&shared, request).await }
        });
        TokenServer { web, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is answered next.
    pub fn next(&self, instead: &[Instead]) {
        self.state().instead = instead.iter().cloned().collect();
    }

    /// How many questions for tokens there were.
    pub fn questions(&self) -> usize {
        self.state().asked.len()
    }

    /// Every access token is withdrawn, whatever its time.
    pub fn withdraw(&self) {
        self.state().given.clear();
    }

    /// Every refresh token is.
    pub fn withdraw_grants(&self) {
        self.state().refresh.clear();
    }

    pub fn port(&self) -> u16 {
        self.web.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.web.url())
    }

    /// Somebody goes to the browser's address: what he is sent back with.
    pub fn browse(&self, address: &str) -> String {
        let query = address.split_once('?').unwrap().1;
        let fields: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!((fields["response_type"].as_str(), fields["client_id"].as_str()), ("code", CLIENT));
        assert_eq!(fields["code_challenge_method"], "S256");
        self.state().codes.insert("code-1".into(), fields["code_challenge"].clone());
        format!("{}?code=code-1&state={}", fields["redirect_uri"], fields["state"])
    }

    /// How many refresh tokens are good.
    pub fn grants(&self) -> usize {
        self.state().refresh.len()
    }

    /// So many questions with a device code find nobody signed in.
    pub fn sign_in_after(&self, questions: usize) {
        self.state().pending = questions;
    }
}

async fn served(state: &Mutex<State>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/introspect" {
        let query = request.uri().query().unwrap_or_default();
        let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
        let state = state.lock().unwrap();
        let is_good = !state.takes_none && state.given.iter().any(|(given, until)| token.as_ref() == Some(given) && Instant::now() < *until);
        return json(200, &if is_good { json!({"active": true, "username": "tim@example.org"}) } else { json!({"active": false}) });
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(request.body()).into_owned().collect();
    if path == "/device" {
        assert_eq!(form.get("client_id").map(String::as_str), Some(CLIENT));
        return json(
            200,
            &json!({"device_code": format!("{CANARY}-device"), "user_code": "F7KQ-2XNB", "verification_uri": "https://example.org/device", "expires_in": 60, "interval": 1}),
        );
    }
    if path == "/revoke" {
        let mut state = state.lock().unwrap();
        assert_eq!((form.get("client_id").map(String::as_str), form.get("client_secret").map(String::as_str)), (Some(CLIENT), Some(SECRET)));
        match state.instead.pop_front() {
            Some(Instead::Status(status, _)) => return answer(status, "text/plain", "later"),
            Some(Instead::Repeats(status)) => return repeated(status, &request),
            _ => {}
        }
        let before = state.refresh.len();
        state.refresh.retain(|token| form.get("token") != Some(token));
        return if state.refresh.len() < before { json(200, &json!({})) } else { json(400, &json!({"error": "invalid_token"})) };
    }
    let instead = {
        let mut state = state.lock().unwrap();
        state.asked.push(form.clone());
        state.instead.pop_front()
    };
    match instead {
        Some(Instead::Error(word)) => json(400, &json!({"error": word, "error_description": "as the test says"})),
        Some(Instead::Status(status, after)) => {
            let response = answer(status, "text/plain", "later");
            match after {
                Some(after) => with(response, "retry-after", &after.to_string()),
                None => response,
            }
        }
        Some(Instead::Html) => answer(200, "text/html", "<html><body>Sign in</body></html>"),
        Some(Instead::Huge) => {
            let body = json!({"access_token": format!("{CANARY}-huge"), "padding": "x".repeat(200_000)}).to_string();
            let mut response = answer(200, "application/json", "");
            *response.body_mut() = pieces(body, Duration::from_millis(1));
            response
        }
        Some(Instead::HangUp) => hang_up(),
        Some(Instead::Repeats(status)) => repeated(status, &request),
        Some(Instead::Late(wait)) => {
            tokio::time::sleep(wait).await;
            granted(&mut state.lock().unwrap(), &form)
        }
        None => granted(&mut state.lock().unwrap(), &form),
    }
}

/// A page where it is out of order, else a refusal.
fn repeated(status: u16, request: &Request) -> Response {
    let form = String::from_utf8_lossy(request.body()).into_owned();
    match status {
        500.. => answer(status, "text/plain", form),
        _ => json(status, &json!({"error": "invalid_request", "error_description": form})),
    }
}

fn granted(state: &mut State, form: &BTreeMap<String, String>) -> Response {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let refused = |word: &str| json(400, &json!({"error": word, "error_description": "no"}));
    let grant = field("grant_type");
    // A service account shows who it is by its statement.
    if !grant.ends_with("jwt-bearer") && (field("client_id") != CLIENT || (field("client_secret") != SECRET && field("client_assertion").is_empty()))
    {
        return json(401, &json!({"error": "invalid_client", "error_description": "who is that?"}));
    }
    let with_refresh = match grant {
        "client_credentials" => false,
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let claims = URL_SAFE_NO_PAD.decode(field("assertion").split('.').nth(1).unwrap_or_default()).unwrap_or_default();
            let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
            if claims["sub"] != "tim@example.org" || claims["iss"] != "svc@project.example" {
                return refused("invalid_grant");
            }
            false
        }
        "refresh_token" => {
            let Some(at) = state.refresh.iter().position(|token| token == field("refresh_token")) else { return refused("invalid_grant") };
            if state.rotates {
                let last = state.refresh.len() - 1;
                let is_allowed = at == last || (state.takes_former && at + 1 == last);
                if !is_allowed {
                    return refused("invalid_grant");
                }
            }
            state.rotates
        }
        "authorization_code" => {
            let challenge = state.codes.remove(field("code"));
            let verified = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
            if challenge != Some(verified) {
                return refused("invalid_grant");
            }
            true
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            if state.pending > 0 {
                state.pending -= 1;
                return refused(if state.pending == 1 { "slow_down" } else { "authorization_pending" });
            }
            true
        }
        _ => return refused("unsupported_grant_type"),
    };
    state.count += 1;
    let access = state.access.clone().unwrap_or_else(|| format!("{CANARY}-access-{}", state.count));
    let until = Instant::now() + Duration::from_secs(state.life);
    if state.access.is_none() {
        state.given.push((access.clone(), until));
    }
    let mut answer = json!({"token_type": "Bearer", "access_token": access, "expires_in": state.life});
    if with_refresh {
        let refresh = format!("{CANARY}-refresh-{}", state.count);
        answer["refresh_token"] = refresh.as_str().into();
        state.refresh.push(refresh);
    }
    json(200, &answer)
}
