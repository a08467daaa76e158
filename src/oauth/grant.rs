//! What a question needs beside its form: who the program is, and for whom a service account asks.

use super::jwt::{self, Algorithm};
use super::keeper::now;
use super::request::Proof;
use crate::config::secret::{self, SecretError, SecretErrorKind};
use crate::config::{ClientProof, OAuth, OAuthService, SecretSource};
use crate::mail::Secret;
use crate::net;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How long a statement about the program itself is good, in seconds.
const CLIENT_LIFE: i64 = 600;
/// How long one about a mailbox is: Google's most.
const BEARER_LIFE: i64 = 3600;
/// Longest certificate, in octets.
const CERTIFICATE_OCTETS_MAX: u64 = 256 * 1024;

/// For which client, endpoint and scopes tokens are: those of another configuration are not used. Nothing of a secret.
pub(super) fn made_for(oauth: &OAuth) -> String {
    let OAuth { token_url, flow, client_id, scopes, subject, .. } = oauth;
    let all = format!("{}\n{}\n{client_id}\n{}\n{}", token_url.address(), flow.word(), scopes.join(" "), subject.as_deref().unwrap_or_default());
    URL_SAFE_NO_PAD.encode(Sha256::digest(all.as_bytes()))
}

/// How the program shows who it is. Secrets are read anew each time.
pub(super) async fn proof(oauth: &OAuth) -> Result<Proof, SecretError> {
    Ok(match &oauth.proof {
        ClientProof::Public | ClientProof::ServiceAccount(_) => Proof::Public,
        ClientProof::Secret(source) => Proof::Secret(read("client_secret", source).await?),
        ClientProof::Certificate { certificate, key } => {
            let key = read("certificate_key", key).await?;
            let thumbprint = jwt::thumbprint(&certificate_of(certificate).await?).map_err(|why| wrong("certificate", why))?;
            let random: [u8; 16] = net::random_octets().map_err(|error| SecretError::from(error.to_string()))?;
            let now = now();
            let claims = json!({
                "aud": oauth.token_url.address(), "iss": oauth.client_id, "sub": oauth.client_id, "jti": URL_SAFE_NO_PAD.encode(random),
                "nbf": now, "iat": now, "exp": now + CLIENT_LIFE,
            });
            // What Microsoft recommends; others know RS256 at least.
            let algorithm = if oauth.service == OAuthService::Microsoft { Algorithm::Ps256 } else { Algorithm::Rs256 };
            let header = Map::from_iter([("x5t#S256".to_owned(), thumbprint.into())]);
            Proof::Assertion(jwt::signed(algorithm, header, &claims, &key).map_err(|why| wrong("certificate_key", why))?)
        }
    })
}

/// The statement of a service account (RFC 7523 §3) that it asks for the mailbox of `subject`.
pub(super) async fn for_somebody(oauth: &OAuth) -> Result<Secret, SecretError> {
    let ClientProof::ServiceAccount(source) = &oauth.proof else { return Err(wrong("service_account", "there is none")) };
    let file = read("service_account", source).await?;
    let account: Value = serde_json::from_str(file.expose()).map_err(|_| wrong("service_account", "it is no JSON"))?;
    let text = |name: &str| account[name].as_str().filter(|text| !text.is_empty());
    let missing = "it is no key file of a service account: client_email and private_key are missing";
    let (Some(email), Some(key)) = (text("client_email"), text("private_key")) else { return Err(wrong("service_account", missing)) };
    let key = Secret::new(key.to_owned());
    let now = now();
    let mut claims = json!({
        "iss": email, "scope": oauth.scopes.join(" "), "aud": oauth.token_url.address(), "iat": now, "exp": now + BEARER_LIFE,
    });
    if let Some(subject) = &oauth.subject {
        claims["sub"] = subject.as_str().into();
    }
    let header = text("private_key_id").map(|id| ("kid".to_owned(), Value::from(id))).into_iter().collect();
    jwt::signed(Algorithm::Rs256, header, &claims, &key).map_err(|why| wrong("service_account", why))
}

async fn read(key: &str, source: &SecretSource) -> Result<Secret, SecretError> {
    secret::read(source).await.map_err(|error| wrong(key, &error.to_string()))
}

async fn certificate_of(path: &Path) -> Result<Vec<u8>, SecretError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let size = std::fs::metadata(&path).map_err(told)?;
        if !size.is_file() || size.len() > CERTIFICATE_OCTETS_MAX {
            return Err(format!("{}: no file, or too long", path.display()));
        }
        std::fs::read(&path).map_err(told)
    });
    let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
    read.map_err(|why| wrong("certificate", &why))
}

fn wrong(key: &str, why: &str) -> SecretError {
    SecretError::new(SecretErrorKind::Unreadable, format!("`auth: {{{key}: …}}`: {why}")).hint("mailgather check")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn oauth(text: &str) -> Arc<OAuth> {
        let text = format!(
            "delivery: {{lmtp: '127.0.0.1:24'}}\ncollectors:\n  a: {{server: h.example, email: a@h.example, recipient: {{forward_to: x@y.example}}, auth: {{method: oauth2, {text}}}}}\n"
        );
        let config = crate::config::parse(&text, Path::new("t.yaml"), &Default::default()).unwrap_or_else(|report| panic!("{report}")).config;
        config.collectors.values().next().unwrap().server.auth.oauth.clone().unwrap()
    }

    fn claims(statement: &Secret) -> (Value, Value) {
        let part = |n: usize| {
            let part = statement.expose().split('.').nth(n).unwrap().to_owned();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        (part(0), part(1))
    }

    #[tokio::test]
    async fn statements_say_who_asks_and_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| {
            std::fs::write(path(name), text).unwrap();
            std::fs::set_permissions(path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        };
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        write("key.pem", &key.serialize_pem());
        write("cert.pem", &rcgen::CertificateParams::default().self_signed(&key).unwrap().pem());
        write("google.json", &json!({"client_email": "svc@p.example", "private_key": key.serialize_pem(), "private_key_id": "k7"}).to_string());
        let own = oauth(&format!(
            "provider: microsoft, tenant: t.example, client_id: id-1, certificate: '{}', certificate_key: {{file: '{}'}}",
            path("cert.pem"),
            path("key.pem")
        ));
        let Ok(Proof::Assertion(statement)) = proof(&own).await else { panic!() };
        let (header, said) = claims(&statement);
        assert_eq!((header["alg"].as_str(), header["x5t#S256"].is_string()), (Some("PS256"), true));
        assert_eq!(said["aud"], "https://login.microsoftonline.com/t.example/oauth2/v2.0/token");
        assert_eq!((&said["iss"], &said["sub"]), (&json!("id-1"), &json!("id-1")));
        let google = oauth(&format!("provider: google, service_account: {{file: '{}'}}", path("google.json")));
        let (header, said) = claims(&for_somebody(&google).await.unwrap());
        assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &json!("k7")));
        assert_eq!(
            (&said["iss"], &said["sub"], &said["scope"]),
            (&json!("svc@p.example"), &json!("a@h.example"), &json!("https://mail.google.com/"))
        );
        assert_eq!(said["aud"], "https://oauth2.googleapis.com/token");
        // Nothing of a key is in what is said about it.
        write("google.json", "{\"client_email\": \"hunter2\"}");
        let error = for_somebody(&google).await.unwrap_err();
        assert!(error.text.contains("private_key are missing") && !error.text.contains("hunter2"), "{error}");
        assert_ne!(made_for(&own), made_for(&google));
    }
}
