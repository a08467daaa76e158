//! Logins at a web server, NTLM above all: pyspnego, which others wrote, is the side that judges, behind a TLS server with a certificate of its own.

use crate::support::certificates::Certificates;
use crate::support::ports::Port;
use crate::support::process::Guarded;
use crate::support::{SOON, eventually, python};
use mailgather::config::{Auth, AuthMethod, Tls};
use mailgather::mail::Secret;
use mailgather::net::{Channel, Nobody, Question, TlsClient, Tracer, Web, WebLimits};
use mailgather::source::web_login::{Account, WebLogin};
use mailgather::source::{SourceError, SourceErrorKind as Kind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PASSWORD: &str = "пароль ß tanstaaf";
const LIMITS: WebLimits = WebLimits { connect: Some(Duration::from_secs(20)), idle: Some(Duration::from_secs(20)) };

struct Acceptor {
    _server: Guarded,
    port: Port,
    tls: TlsClient,
    trace: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

impl Acceptor {
    fn start() -> Acceptor {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path());
        let accounts = folder.path().join("accounts");
        std::fs::write(&accounts, format!("CORP:tim:{PASSWORD}\n:tim@corp.example:{PASSWORD}\nOTHER:tim:something else\n")).unwrap();
        let (port, console) = (Port::reserve(), folder.path().join("console"));
        let (users, number) = (format!("NTLM_USER_FILE={}", accounts.display()), port.number().to_string());
        let [certificate, key] = [&certificates.certificate, &certificates.key].map(|path| path.to_string_lossy().into_owned());
        let (program, script) = (python::program(), python::script("support/ntlm_server.py"));
        let server = Guarded::start("env", &[&users, &program, "-I", &script, &number, &certificate, &key], &console);
        eventually("the NTLM server answers", SOON, || {
            assert!(server.is_alive(), "{}", std::fs::read_to_string(&console).unwrap_or_default());
            port.answers()
        });
        let tls = TlsClient::new(&Tls { ca_file: Some(certificates.ca), ..Tls::default() }).unwrap();
        Acceptor { _server: server, port, tls, trace: Arc::default(), folder }
    }

    async fn connect(&self) -> Web {
        let shown = Arc::clone(&self.trace);
        let tracer = Tracer::new("c", move |line| shown.lock().unwrap().push(line.to_owned()));
        Web::open("localhost", self.port.number(), Some(&self.tls), LIMITS, &Nobody, &tracer).await.unwrap()
    }

    fn account(&self, method: AuthMethod, username: &str, domain: Option<&str>, password: &str) -> Account {
        let auth = Auth { method, domain: domain.map(str::to_owned), ..Auth::default() };
        Account { auth, username: username.into(), secret: Secret::new(password.into()), host: "localhost".into(), port: self.port.number() }
    }

    /// Asks once, on a connection of its own.
    async fn asks(&self, path: &str, account: Account) -> Result<serde_json::Value, SourceError> {
        let mut web = self.connect().await;
        let mut login = WebLogin::new(account, &web)?;
        told(&mut login, &mut web, path, "question").await
    }

    /// By NTLM as CORP\tim.
    async fn asks_as(&self, path: &str, username: &str, domain: Option<&str>, password: &str) -> Result<serde_json::Value, SourceError> {
        self.asks(path, self.account(AuthMethod::Ntlm, username, domain, password)).await
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console")).unwrap()
    }
}

async fn told(login: &mut WebLogin, web: &mut Web, path: &str, body: &'static str) -> Result<serde_json::Value, SourceError> {
    let answer = login.ask(web, Question::post(path, "text/xml", body), "list").await?;
    assert_eq!(answer.status, 200, "{path}");
    Ok(serde_json::from_slice(&answer.whole(10_000).await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_ntlm_keeps_the_domain_and_binds_itself_to_the_channel() {
    let acceptor = Acceptor::start();
    // Let in by each way to write the name; the server says whom it took us for.
    for (username, domain, user, sent) in [
        ("tim", Some("CORP"), "CORP\\tim", Some("CORP")),
        ("CORP\\tim", None, "CORP\\tim", Some("CORP")),
        ("tim@corp.example", None, "tim@corp.example", None),
    ] {
        for path in ["/right", "/none", "/negotiate"] {
            let told = acceptor
                .asks_as(path, username, domain, PASSWORD)
                .await
                .unwrap_or_else(|error| panic!("{path} {username}: {error:?}\n{}", acceptor.console()));
            assert_eq!((told["user"].as_str(), told["domain"].as_str()), (Some(user), sent), "{path} {username}: {told}");
            assert_eq!((told["body"].as_str(), told["target"].as_str()), (Some("question"), Some("HTTP/localhost")), "{told}");
            // All three messages are bound together, and nothing weaker goes along.
            assert_eq!((told["mic"].as_bool(), told["lm"].as_str()), (Some(true), Some("")), "{told}");
            let requests = if path == "/negotiate" { 3 } else { 2 };
            assert_eq!(told["asked"].as_u64(), Some(requests), "{told}");
        }
    }
    // A server whose certificate is another one: somebody sits in between and passes our messages on.
    let error = acceptor.asks_as("/wrong", "tim", Some("CORP"), PASSWORD).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (Kind::Auth, "login"), "{error:?}");
    assert!(error.hint.as_deref().unwrap().contains("Extended Protection"), "{error:?}");
    assert!(acceptor.console().contains("refused on /wrong: SpnegoError (4): Invalid channel bindings"), "{}", acceptor.console());
    // Wrong password, wrong domain: refused after one exchange.
    for (username, domain, password) in [("tim", Some("CORP"), "wrong-horse"), ("tim", Some("OTHER"), PASSWORD), ("tim", None, PASSWORD)] {
        let before = acceptor.console().lines().count();
        let error = acceptor.asks_as("/right", username, domain, password).await.unwrap_err();
        assert_eq!((error.kind, error.stage), (Kind::Auth, "login"), "{error:?}");
        assert_eq!(acceptor.console().lines().count(), before + 1, "one try only");
    }
    let trace = acceptor.trace.lock().unwrap().join("\n");
    assert!(!trace.contains("TlRMTVNTUAAD") && !trace.contains("TlRMTVNTUAAC") && trace.contains("NTLM"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c9_one_connection_is_let_in_once_or_for_each_request() {
    let acceptor = Acceptor::start();
    for (path, asked) in [("/right", [2, 3, 4]), ("/forgets", [2, 5, 7])] {
        let mut web = acceptor.connect().await;
        let mut login = WebLogin::new(acceptor.account(AuthMethod::Ntlm, "tim", Some("CORP"), PASSWORD), &web).unwrap();
        assert_eq!(login.way(), Some("NTLM"));
        for (body, asked) in ["one", "two", "three"].into_iter().zip(asked) {
            let told = told(&mut login, &mut web, path, body).await.unwrap();
            assert_eq!((told["body"].as_str(), told["asked"].as_u64()), (Some(body), Some(asked)), "{path}");
        }
    }
    let error = acceptor.asks_as("/closes", "tim", Some("CORP"), PASSWORD).await.unwrap_err();
    assert!(error.kind == Kind::Protocol && error.text.contains("closed the connection between the messages"), "{error:?}");
    let error = acceptor.asks_as("/kerberos", "tim", Some("CORP"), PASSWORD).await.unwrap_err();
    assert!(error.kind == Kind::Auth && error.text.contains("it wants Kerberos"), "{error:?}");
    let error = acceptor.asks_as("/basic", "tim", Some("CORP"), PASSWORD).await.unwrap_err();
    assert!(error.kind == Kind::Auth && error.text.contains("does not offer NTLM; it offers Basic"), "{error:?}");
    assert!(error.hint.unwrap().contains("password"));
    // Nobody asks for a login: the question is answered all the same.
    assert_eq!(acceptor.asks_as("/open", "tim", None, PASSWORD).await.unwrap()["body"], "question");
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_the_way_is_chosen_once_and_secrets_need_a_private_channel() {
    let acceptor = Acceptor::start();
    let account = |method, disable: &str| {
        let mut account = acceptor.account(method, "tim", Some("CORP"), PASSWORD);
        account.auth.disable = disable.split_whitespace().map(str::to_owned).collect();
        account
    };
    use AuthMethod::{Auto, CramMd5, None, OAuth2, Password};
    for (method, disable, path, key, wanted) in [
        (Auto, "", "/choice", "user", "CORP\\tim"),
        (Auto, "NTLM", "/choice", "basic", &format!("CORP\\tim:{PASSWORD}")),
        (Auto, "", "/basic", "basic", &format!("CORP\\tim:{PASSWORD}")),
        (Auto, "", "/length", "basic", &format!("CORP\\tim:{PASSWORD}")),
        (Auto, "", "/negotiate", "user", "CORP\\tim"),
        (Auto, "", "/open", "body", "question"),
        (Password, "", "/choice", "basic", &format!("CORP\\tim:{PASSWORD}")),
        (None, "", "/open", "body", "question"),
    ] {
        let told = acceptor.asks(path, account(method, disable)).await.unwrap_or_else(|error| panic!("{method:?} {disable} {path}: {error:?}"));
        assert_eq!(told[key].as_str(), Some(wanted), "{method:?} {disable} {path}: {told}");
    }
    for (method, disable, path, words) in [
        (Auto, "PLAIN", "/basic", "no way to log in is left: the server offers Basic"),
        (Password, "", "/right", "refuses the login"),
        (None, "", "/right", "wants a login"),
        (OAuth2, "", "/right", "the access token is empty, or holds something that no token has"),
        (CramMd5, "", "/right", "no login of the web"),
    ] {
        let error = acceptor.asks(path, account(method, disable)).await.unwrap_err();
        assert!(error.text.contains(words), "{method:?}: {error:?}");
    }
    // Over a channel that anybody can read nothing is said at all.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let web = Web::over(Channel::Tcp(stream), "localhost", 80, LIMITS, &Tracer::default()).await.unwrap();
    for method in [Auto, Password, OAuth2, AuthMethod::Ntlm] {
        let error = WebLogin::new(account(method, ""), &web).err().expect("it should have been refused");
        assert_eq!(error.kind, Kind::Tls, "{error:?}");
    }
}

/// What a hostile or broken server says to the messages of NTLM.
#[tokio::test]
async fn f49_ntlm_challenges_of_hostile_web_servers() {
    let none = "HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nno";
    let huge = format!("HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM {}\r\nContent-Length: 0\r\n\r\n", "A".repeat(30_000));
    for (answers, kind, words) in [
        (vec![none], Kind::Protocol, "answers its first message with no challenge"),
        (vec!["HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM %%%\r\nContent-Length: 0\r\n\r\n"], Kind::Protocol, "not base 64"),
        (vec!["HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM TlRMTVNTUAAC\r\nContent-Length: 0\r\n\r\n"], Kind::Protocol, "challenge is malformed"),
        (vec![huge.as_str()], Kind::Protocol, "challenge is too long"),
        (vec!["HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"], Kind::Auth, "does not offer NTLM; it offers nothing"),
        (vec!["HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer client_id=x\r\nContent-Length: 0\r\n\r\n"], Kind::Auth, "it offers Bearer"),
        (vec!["HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM TlRMTVNTUAAC\r\n"], Kind::Closed, "closed"),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let script: Vec<String> = answers.iter().map(ToString::to_string).collect();
        let peer = tokio::spawn(async move {
            for answer in script {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(theirs.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                assert!(request.contains("authorization: NTLM TlRMTVNTUAAB") && request.contains("content-length: 0"), "{request}");
                theirs.write_all(answer.as_bytes()).await.unwrap();
            }
            // It is the last answer that ends it, not the end of the connection.
            (kind != Kind::Closed).then_some(theirs)
        });
        let mut web = Web::over(Channel::Memory(ours), "mail.corp.example", 443, LIMITS, &Tracer::default()).await.unwrap();
        let auth = Auth { method: AuthMethod::Ntlm, ..Auth::default() };
        let account = Account { auth, username: "u".into(), secret: Secret::new("p".into()), host: "mail.corp.example".into(), port: 443 };
        let mut login = WebLogin::new(account, &web).unwrap();
        let error = login.ask(&mut web, Question::post("/EWS/Exchange.asmx", "text/xml", "x"), "list").await.unwrap_err();
        assert!(error.kind == kind && error.text.contains(words), "{words}: {error:?}");
        drop(peer.await.unwrap());
    }
}
