//! What a token endpoint is asked: forms (RFC 6749 §4 to §6, RFC 7636 §4.5, RFC 8628 §3, RFC 7523 §2): pure.

use super::pkce::Verifier;
use crate::mail::Secret;
use form_urlencoded::Serializer;

/// How a client shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It has no secret (RFC 6749 §2.1).
    Public,
    /// The secret that the server gave it.
    Secret(Secret),
    /// A statement that it signed (RFC 7523 §2.2).
    Assertion(Secret),
}

/// A question.
#[derive(Clone, Debug)]
pub enum Ask<'a> {
    /// The next access token (RFC 6749 §6).
    Refresh(&'a Secret),
    /// For the program itself (RFC 6749 §4.4).
    ClientCredentials,
    /// With what a browser brought back (RFC 6749 §4.1.3).
    Code {
        /// It.
        code: &'a Secret,
        /// Where the browser was sent back to, to the letter.
        redirect: &'a str,
        /// Who asked for it.
        verifier: &'a Verifier,
    },
    /// A code for a person (RFC 8628 §3.1).
    Device,
    /// Whether that person has signed in (RFC 8628 §3.4).
    DeviceToken {
        /// What the first answer said.
        device_code: &'a Secret,
        /// Yandex knows the grant by its short name only.
        short: bool,
    },
    /// With a statement about somebody that a service account signed (RFC 7523 §2.1).
    Bearer(&'a Secret),
}

/// A form, ready to be sent.
pub fn form(client_id: &str, proof: &Proof, scopes: &[String], ask: &Ask<'_>) -> Secret {
    let mut form = Form::new();
    let scope = scopes.join(" ");
    let with_scope = |form: &mut Form| {
        if !scope.is_empty() {
            form.push("scope", &scope);
        }
    };
    match ask {
        Ask::Refresh(token) => {
            form.push("grant_type", "refresh_token");
            form.push("refresh_token", token.expose());
            // Without it a server grants what the token was made for, which is what is wanted.
        }
        Ask::ClientCredentials => {
            form.push("grant_type", "client_credentials");
            with_scope(&mut form);
        }
        Ask::Code { code, redirect, verifier } => {
            form.push("grant_type", "authorization_code");
            form.push("code", code.expose());
            form.push("redirect_uri", redirect);
            form.push("code_verifier", verifier.secret().expose());
        }
        Ask::Device => with_scope(&mut form),
        Ask::DeviceToken { device_code, short } => {
            form.push("grant_type", if *short { "device_code" } else { "urn:ietf:params:oauth:grant-type:device_code" });
            // The RFC's name and Yandex's.
            form.push(if *short { "code" } else { "device_code" }, device_code.expose());
        }
        Ask::Bearer(assertion) => {
            form.push("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.push("assertion", assertion.expose());
            return form.done();
        }
    }
    form.push("client_id", client_id);
    // Who only asks for a code needs no proof, and Microsoft refuses one.
    if !matches!(ask, Ask::Device) {
        form.prove(proof);
    }
    form.done()
}

/// A token that is given back (RFC 7009 §2.1). `as_access` is Yandex's own way, which takes the access token.
pub fn revocation(client_id: &str, proof: &Proof, token: &Secret, as_access: bool) -> Secret {
    let mut form = Form::new();
    match as_access {
        true => form.push("access_token", token.expose()),
        false => form.push("token", token.expose()),
    }
    form.push("client_id", client_id);
    form.prove(proof);
    form.done()
}

/// The address that a browser is sent to (RFC 6749 §4.1.1, RFC 7636 §4.3). `more` are the server's own: `access_type=offline`.
pub fn authorization(
    endpoint: &str,
    client_id: &str,
    scopes: &[String],
    redirect: &str,
    state: &str,
    verifier: &Verifier,
    more: &[(&str, &str)],
) -> String {
    let mut form = Form::new();
    form.push("response_type", "code");
    form.push("client_id", client_id);
    form.push("redirect_uri", redirect);
    form.push("scope", &scopes.join(" "));
    form.push("state", state);
    form.push("code_challenge", &verifier.challenge());
    form.push("code_challenge_method", "S256");
    more.iter().for_each(|(name, value)| form.push(name, value));
    format!("{endpoint}{}{}", if endpoint.contains('?') { '&' } else { '?' }, form.0.finish())
}

/// Fields as forms and queries hold them (RFC 6749 Appendix B).
struct Form(Serializer<'static, String>);

impl Form {
    fn new() -> Self {
        Form(Serializer::new(String::new()))
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.append_pair(name, value);
    }

    fn prove(&mut self, proof: &Proof) {
        match proof {
            Proof::Public => {}
            Proof::Secret(secret) => self.push("client_secret", secret.expose()),
            Proof::Assertion(assertion) => {
                self.push("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                self.push("client_assertion", assertion.expose());
            }
        }
    }

    fn done(mut self) -> Secret {
        Secret::new(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn tokens_are_given_back_as_each_provider_wants_it() {
        let (token, secret) = (Secret::new("t/1".into()), Proof::Secret(Secret::new("s".into())));
        assert_eq!(revocation("id", &secret, &token, false).expose(), "token=t%2F1&client_id=id&client_secret=s");
        assert_eq!(revocation("id", &Proof::Public, &token, true).expose(), "access_token=t%2F1&client_id=id");
    }

    #[test]
    fn each_grant_has_its_form() {
        let scopes = ["https://mail.google.com/".to_owned(), "offline_access".to_owned()];
        let verifier = Verifier::of([0; 32]);
        let of = |proof: &Proof, ask: &Ask<'_>| form("id 1", proof, &scopes, ask).expose().to_owned();
        let with_secret = Proof::Secret(secret("s&c"));
        for (proof, ask, wanted) in [
            (&with_secret, Ask::Refresh(&secret("r/1+")), "grant_type=refresh_token&refresh_token=r%2F1%2B&client_id=id+1&client_secret=s%26c"),
            (
                &with_secret,
                Ask::ClientCredentials,
                "grant_type=client_credentials&scope=https%3A%2F%2Fmail.google.com%2F+offline_access&client_id=id+1&client_secret=s%26c",
            ),
            (&with_secret, Ask::Device, "scope=https%3A%2F%2Fmail.google.com%2F+offline_access&client_id=id+1"),
            (
                &Proof::Public,
                Ask::DeviceToken { device_code: &secret("d"), short: false },
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d&client_id=id+1",
            ),
            (&Proof::Public, Ask::DeviceToken { device_code: &secret("d"), short: true }, "grant_type=device_code&code=d&client_id=id+1"),
            (
                &Proof::Assertion(secret("a.b.c")),
                Ask::Code { code: &secret("c"), redirect: "http://127.0.0.1:1/", verifier: &verifier },
                "grant_type=authorization_code&code=c&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2F&code_verifier=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&\
                 client_id=id+1&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c",
            ),
            (&Proof::Public, Ask::Bearer(&secret("a.b.c")), "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"),
        ] {
            assert_eq!(of(proof, &ask), wanted);
        }
    }

    #[test]
    fn a_browser_is_sent_with_a_challenge_and_never_with_a_secret() {
        let verifier = Verifier::of([0; 32]);
        let address =
            authorization("https://a.example/auth", "id", &["s".to_owned()], "http://127.0.0.1:7/", "st", &verifier, &[("access_type", "offline")]);
        assert_eq!(
            address,
            format!(
                "https://a.example/auth?response_type=code&client_id=id&redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2F&scope=s&state=st&code_challenge={}&\
                 code_challenge_method=S256&access_type=offline",
                verifier.challenge()
            )
        );
        assert!(!address.contains(verifier.secret().expose()));
    }
}
