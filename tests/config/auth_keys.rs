//! `tls`, `auth` and `login`: what each becomes, and what does not go together.

use super::*;

/// The collector's lines without its `password`.
fn without_password(lines: &str) -> String {
    let text = with(lines).replace("    password: {env: P}\n", "");
    if lines.starts_with("server:") { text.replace("    server: imap.example.org\n", "") } else { text }
}

#[test]
fn m9_verify_fingerprint_and_client_certificates() {
    let tls = |lines: &str| collector(&with(lines)).server.tls;
    assert_eq!(tls(""), Tls::mode(TlsMode::Implicit));
    assert_eq!(tls("tls: {verify: full}").verify, TlsVerify::Full);
    let (a, b) = ("0f".repeat(32), vec!["AB"; 32].join(":"));
    assert_eq!(tls(&format!("tls: {{fingerprint: {a}}}")).verify, TlsVerify::Fingerprint(vec![[0x0f; 32]]));
    assert_eq!(tls(&format!("tls: {{verify: fingerprint, fingerprint: [{a}, '{b}']}}")).verify, TlsVerify::Fingerprint(vec![[0x0f; 32], [0xab; 32]]));
    let own = tls("tls: {client_cert: us.pem, client_key: /keys/us.key, min_version: 1.3}");
    let files = ClientCertificate { cert: "/etc/mailgather/us.pem".into(), key: "/keys/us.key".into() };
    assert_eq!((own.client_cert, own.min_version), (Some(files), TlsVersion::V1_3));
    assert_eq!(tls("tls: {client_cert: /us.pem}").client_cert.unwrap().key, Path::new("/us.pem"));
    for (lines, words) in [
        ("tls: {verify: fingerprint}", "`verify: fingerprint` without `fingerprint`"),
        ("tls: {verify: full, fingerprint: 0f}", "contradict each other"),
        ("tls: {verify: off, fingerprint: 0f}", "contradict each other"),
        ("tls: {fingerprint: 0f0f}", "64 hexadecimal digits"),
        ("tls: {fingerprint: da39a3ee5e6b4b0d3255bfef95601890afd80709}", "40 digits are a SHA-1"),
        ("tls: {client_key: /k}", "`client_key` without `client_cert`"),
        ("tls: {min_version: 1.0}", "spoken by `backend: openssl` only"),
        ("tls: {min_version: 2}", "`min_version` is one of"),
        ("tls: {security_level: 0}", "goes with `backend: openssl` only"),
        ("tls: {verify: no}", "write `off`"),
    ] {
        refused(&with(lines), words);
    }
    warned("tls: {verify: off}", "whoever sits on the line");
    warned(&format!("tls: {{fingerprint: {a}, ca_file: /x}}"), "`ca_file` has no effect");
    warned("tls: {mode: opportunistic}\nauth: {allow_plaintext: true}", "takes TLS away");
    assert_eq!(read(&with("tls: {mode: opportunistic}")).unwrap().warnings, []);
    assert_eq!(tls("tls: {mode: opportunistic}").mode, TlsMode::Opportunistic);
    let relay = "delivery: {smtp: localhost, tls: {mode: opportunistic}}\n";
    refused(&format!("{relay}{}", with("").split_once('\n').unwrap().1), "is for collectors");
}

/// An old server: refused with an explanation, or taken with a warning, as the build is.
#[test]
fn old_tls_is_told_about() {
    let lines = "tls: {backend: openssl, min_version: 1.0, security_level: 0}";
    if cfg!(feature = "legacy-tls") {
        warned(lines, "can be broken");
        let tls = collector(&with(lines)).server.tls;
        assert_eq!((tls.backend, tls.min_version), (TlsBackend::OpenSsl { security_level: Some(0) }, TlsVersion::V1_0));
    } else {
        refused(&with(lines), "--features legacy-tls");
    }
    refused(&with("tls: {backend: openssl, security_level: 6}"), "must be from 0 to 5");
}

#[test]
fn c8_c9_k7_p5_methods_and_what_they_need() {
    let auth = |text: &str| {
        let server = collector(text).server;
        (server.auth, server.password)
    };
    for (word, method) in [
        ("auto", AuthMethod::Auto),
        ("password", AuthMethod::Password),
        ("plain", AuthMethod::Plain),
        ("login", AuthMethod::Login),
        ("cram_md5", AuthMethod::CramMd5),
        ("scram", AuthMethod::Scram),
        ("ntlm", AuthMethod::Ntlm),
        ("oauth2", AuthMethod::OAuth2),
    ] {
        let (auth, password) = auth(&with(&format!("auth: {{method: {word}}}")));
        assert_eq!((auth.method, password), (method, SecretSource::Env("P".into())), "{word}");
    }
    assert_eq!(auth(&with("protocol: pop3\nauth: {method: apop}")).0.method, AuthMethod::Apop);
    let (oauth, token) = auth(&without_password("auth: {method: oauth2, token: {command: [get-token, a]}}"));
    let command = SecretSource::Command { argv: vec!["get-token".into(), "a".into()], timeout: Duration::from_secs(10) };
    assert_eq!((oauth.token, token), (Some(command.clone()), command));
    let (external, nothing) = auth(&without_password("tls: {client_cert: /us.pem}\nauth: {method: external}"));
    assert_eq!((external.method, nothing), (AuthMethod::External, SecretSource::Plain(mailgather::mail::Secret::new(String::new()))));
    let none = read(&without_password("tls: {mode: none}\nauth: {method: none}")).unwrap();
    assert!(none.warnings.len() == 1 && none.warnings[0].to_string().contains("nobody is logged in"));
    let ntlm = auth(&with("auth: {method: ntlm, domain: CORP}")).0;
    assert_eq!((ntlm.method, ntlm.domain.as_deref()), (AuthMethod::Ntlm, Some("CORP")));
    for (lines, words) in [
        ("auth: {method: apop}", "APOP is a login of POP3"),
        ("auth: {method: ntlm}", "`method: ntlm` and no `password`"),
        ("auth: {method: external}", "there is none"),
        ("auth: {method: oauth2}", "has no `token`, and no `client_id`"),
        ("", "has no `password`"),
    ] {
        refused(&without_password(lines), words);
    }
    for (lines, words) in [
        ("auth: {method: plain, token: {file: /t}}", "`token` goes with `method: oauth2` only"),
        ("auth: {method: plain, disable: [plain]}", "switches off the very `method`"),
        ("auth: {method: scram, disable: [scram]}", "switches off the very `method`"),
        ("auth: {method: gssapi}", "`method` is one of"),
        ("auth: {domain: ''}", "`domain` is empty"),
        ("auth: {method: cram_md5}\ntls: {mode: none}", "open channel"),
    ] {
        refused(&with(lines), words);
    }
    warned("auth: {domain: CORP}", "goes with `method: ntlm` only");
    warned("tls: {client_cert: /us.pem}\nauth: {method: external}", "`password` has no effect");
    warned("auth: {method: oauth2, token: {file: /t}}", "`password` has no effect");
}

#[test]
fn m15_mechanisms_that_are_switched_off() {
    let disable = |lines: &str| collector(&with(lines)).server.auth.disable;
    assert_eq!(disable("auth: {disable: [plain]}"), ["PLAIN"]);
    assert_eq!(disable("auth: {disable: [Plain, cram_md5, SCRAM]}"), ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-1"]);
    assert_eq!(disable("auth: {disable: []}"), [""; 0]);
    assert_eq!(disable("auth: {method: scram, disable: [SCRAM-SHA-256]}"), ["SCRAM-SHA-256"]);
    warned("auth: {disable: [PLIAN]}", "is no mechanism that would be used");
}

#[test]
fn k6_m7_p2_login_names() {
    let username = |lines: &str| collector(&with(lines)).server.username;
    assert_eq!(username(""), "a@почта.рф");
    assert_eq!(username("login: email"), "a@почта.рф");
    assert_eq!(username("login: local_part"), "a");
    assert_eq!(username("login: manual\nusername: 'dom\\juser\\J.User'"), "dom\\juser\\J.User");
    assert_eq!(username("username: ü@икс.рф"), "ü@икс.рф");
    for (lines, words) in [
        ("login: email\nusername: u", "`username` is another one"),
        ("login: local_part\nusername: u", "`username` is another one"),
        ("login: manual", "`login: manual` without `username`"),
        ("login: mail", "did you mean `email`?"),
    ] {
        refused(&with(lines), words);
    }
    let shared = collector(&format!("defaults: {{login: local_part}}\n{}", with("")));
    assert_eq!(shared.server.username, "a");
}

/// What the program needs to get tokens itself.
#[test]
fn k7_tokens_of_its_own() {
    let oauth = |lines: &str| collector(&without_password(lines)).server.auth.oauth.unwrap_or_else(|| panic!("{lines}"));
    let address = |place: &WebPlace| format!("{}{}", place.host, place.target);
    let own = oauth(
        "server: outlook.office365.com\nauth: {method: oauth2, tenant: tenant.example, client_id: id-1, client_secret: {env: S}}\nusername: box@tenant.example",
    );
    assert_eq!((own.service, own.flow), (OAuthService::Microsoft, OAuthFlow::ClientCredentials));
    assert_eq!(address(&own.token_url), "login.microsoftonline.com/tenant.example/oauth2/v2.0/token");
    assert_eq!((own.client_id.as_str(), own.scopes.as_slice()), ("id-1", ["https://outlook.office365.com/.default".to_owned()].as_slice()));
    assert_eq!((&own.proof, &own.subject), (&ClientProof::Secret(SecretSource::Env("S".into())), &None));
    let person = oauth("protocol: pop3\nauth: {method: oauth2, provider: microsoft, client_id: x}");
    assert_eq!((person.flow, &person.proof), (OAuthFlow::Device, &ClientProof::Public));
    assert_eq!(person.scopes, ["https://outlook.office.com/POP.AccessAsUser.All", "offline_access"]);
    assert_eq!(address(person.device_url.as_ref().unwrap()), "login.microsoftonline.com/common/oauth2/v2.0/devicecode");
    let national =
        oauth("server: outlook.office365.us\nauth: {method: oauth2, client_id: x, tenant: t, certificate: c.pem, certificate_key: {file: /k}}");
    assert_eq!(address(&national.token_url), "login.microsoftonline.us/t/oauth2/v2.0/token");
    assert_eq!(national.scopes, ["https://outlook.office365.us/.default"]);
    let signed = ClientProof::Certificate { certificate: "/etc/mailgather/c.pem".into(), key: SecretSource::File("/k".into()) };
    assert_eq!(national.proof, signed);
    let google = oauth("server: imap.gmail.com\nauth: {method: oauth2, service_account: {file: /g.json}}");
    assert_eq!((google.flow, google.subject.as_deref()), (OAuthFlow::ServiceAccount, Some("a@почта.рф")));
    for (lines, flow, scopes) in [
        ("server: imap.gmail.com\nauth: {method: oauth2, client_id: x}", OAuthFlow::Code, vec!["https://mail.google.com/"]),
        ("server: imap.yandex.ru\nauth: {method: oauth2, client_id: x}", OAuthFlow::Device, vec!["mail:imap_full"]),
        ("server: imap.mail.ru\nauth: {method: oauth2, client_id: x}", OAuthFlow::Code, vec!["userinfo", "mail.imap"]),
        ("auth: {method: oauth2, client_id: x, client_secret: {env: S}, token_url: 'https://t.example/'}", OAuthFlow::ClientCredentials, vec![]),
        (
            "auth: {method: oauth2, client_id: x, token_url: 'https://t.example/', auth_url: 'https://t.example/a', scopes: [a, b]}",
            OAuthFlow::Code,
            vec!["a", "b"],
        ),
        ("auth: {method: oauth2, client_id: x, token_url: 'http://127.0.0.1:1/', device_url: 'https://t.example/d'}", OAuthFlow::Device, vec![]),
    ] {
        let own = oauth(lines);
        assert_eq!((own.flow, own.scopes.clone()), (flow, scopes.into_iter().map(str::to_owned).collect()), "{lines}");
    }
    for (lines, words) in [
        ("auth: {method: plain, client_id: x}", "`client_id` goes with `method: oauth2` only"),
        ("auth: {method: oauth2, client_id: x, token: {file: /t}}", "keep one of them"),
        ("auth: {method: oauth2, provider: microsoft, client_secret: {env: S}, tenant: t}", "no `client_id`"),
        ("auth: {method: oauth2, provider: microsoft, client_id: x, client_secret: {env: S}}", "needs the `tenant`"),
        ("auth: {method: oauth2, provider: microsoft, client_id: x, tenant: 'a/b'}", "`tenant` is the tenant's domain"),
        ("auth: {method: oauth2, provider: google, client_id: x, tenant: t}", "goes with `provider: microsoft` only"),
        ("auth: {method: oauth2, provider: gogle, client_id: x}", "did you mean `google`"),
        ("auth: {method: oauth2, client_id: x}", "needs a `token_url`"),
        ("auth: {method: oauth2, provider: google, client_id: x, flow: device}", "needs a `device_url`"),
        ("auth: {method: oauth2, client_id: x, token_url: 'http://t.example/'}", "`token_url`: it is not https"),
        ("auth: {method: oauth2, client_id: 'a b', token_url: 'https://t.example/'}", "one word of printable ASCII"),
        ("auth: {method: oauth2, client_id: x, token_url: 'https://t.example/'}", "needs `client_secret` or `certificate`"),
        ("auth: {method: oauth2, client_id: x, token_url: 'https://t.example/', client_secret: {env: S}, certificate: /c}", "one of them"),
        ("auth: {method: oauth2, client_id: x, token_url: 'https://t.example/', certificate: /c}", "`certificate` without `certificate_key`"),
        (
            "auth: {method: oauth2, client_id: x, token_url: 'https://t.example/', client_secret: {env: S}, certificate_key: {file: /c}}",
            "goes with `certificate` only",
        ),
        ("auth: {method: oauth2, provider: google, flow: service_account, client_secret: {env: S}}", "does not go with `flow: service_account`"),
        ("auth: {method: oauth2, provider: google, flow: service_account}", "needs `service_account: {file: /path}`"),
    ] {
        refused(&without_password(lines), words);
    }
    warned("auth: {method: oauth2, client_id: x, client_secret: {env: S}, token_url: 'https://t.example/'}", "`password` has no effect");
    // A secret that stands there is not shown.
    let report =
        read(&without_password("auth: {method: plain, client_id: x, client_secret: hunter2, certificate_key: hunter2}")).unwrap_err().to_string();
    assert!(!report.contains("hunter2"), "{report}");
}

/// Tokens are secrets, wherever they stand in a report.
#[test]
fn tokens_are_never_shown() {
    let report = read(&with("auth: {method: plain, token: hunter2}")).unwrap_err().to_string();
    assert!(!report.contains("hunter2"), "{report}");
    let report = read(&with("auth:\n  method: plain\n  token: hunter2\n  tokn: hunter2\n")).unwrap_err().to_string();
    assert!(!report.contains("hunter2"), "{report}");
}

/// A secret of the program's own store: a file in the state directory, wherever a secret may stand; and who uses which.
#[test]
fn secrets_of_the_store_and_who_uses_them() {
    let text = "service: {state_dir: /s}\nnotify: [{webhook: 'https://hooks.example/', token: {secret: hook}}]\ndelivery: {smtp: relay.example, tls: {mode: starttls}, auth: {username: us, password: {secret: relay}}}\ncollectors:\n  \
        a: {server: h.example, email: a@h.example, password: {secret: mail.a}, recipient: {auto: {check_local: smtp}, unresolved: leave}}\n  \
        b: {server: h.example, email: b@h.example, enabled: false, auth: {method: oauth2, token: {secret: token}}, recipient: {forward_to: x@y.example}}\n";
    let config = read(text).unwrap_or_else(|report| panic!("{report}")).config;
    let password = |id: &str| config.collectors.values().find(|collector| collector.id.as_str() == id).unwrap().server.password.clone();
    assert_eq!([password("a"), password("b")], ["/s/secrets/mail.a", "/s/secrets/token"].map(|path| SecretSource::Stored(path.into())));
    let uses: Vec<String> = store::uses(&config)
        .into_iter()
        .map(|(name, uses)| {
            let uses: Vec<String> = uses.iter().map(|at| format!("{} {}", at.whose(), at.key)).collect();
            format!("{name}: {}", uses.join(", "))
        })
        .collect();
    assert_eq!(
        uses,
        [
            "hook: the service notify.token",
            "mail.a: a password",
            "relay: a delivery.auth.password, a recipient.auto.check_local.auth.password, b delivery.auth.password",
            "token: b auth.token"
        ]
    );
    for (source, words) in [
        ("{secret: ''}", "takes the name of a secret, never the secret itself"),
        ("{secret: ../x}", "takes the name of a secret, never the secret itself"),
        ("{secret: .x}", "takes the name of a secret, never the secret itself"),
        ("{secret: a, timeout: 1s}", "`timeout` goes with `command` only"),
        ("{secret: [a]}", "takes one value"),
    ] {
        refused(&with("").replace("{env: P}", source), words);
    }
    // Its name is no secret, and is shown where it stands.
    let report = read(&with("interval: x").replace("    password: {env: P}", "    password: {secret: boss, intervall: 1}")).unwrap_err().to_string();
    assert!(!report.contains("boss, intervall"), "{report}");
}
