//! `url` and what goes with it: mailboxes behind a web service.

use super::{collector, read, refused};
use mailgather::config::{Protocol, Server, TlsMode};
use mailgather::proto::ews::Version;

fn with(keys: &str) -> String {
    format!("delivery: {{lmtp: unix:/x}}\ncollectors:\n  box:\n    password: {{env: P}}\n    recipient: {{forward_to: a@x.example}}\n    {keys}\n")
}

fn server(keys: &str) -> Server {
    collector(&with(keys)).server
}

/// C6: for Exchange the address has a scheme, and the server of IMAP and POP3 has none.
#[test]
fn c6_a_url_has_a_scheme_and_a_server_has_none() {
    let exchange = server("protocol: exchange\n    username: svc\n    url: https://mail.corp.example/EWS/Exchange.asmx");
    assert_eq!(
        (exchange.protocol, exchange.host.as_str(), exchange.port, exchange.tls.mode),
        (Protocol::Exchange, "mail.corp.example", 443, TlsMode::Implicit)
    );
    assert_eq!((exchange.web.path.as_deref(), exchange.web.address), (Some("/EWS/Exchange.asmx"), None));
    let bare = server("protocol: exchange\n    username: svc\n    url: https://Mail.corp.example:8443");
    assert_eq!((bare.host.as_str(), bare.port, bare.web.path.as_deref()), ("mail.corp.example", 8443, Some("/EWS/Exchange.asmx")));
    let exchange = |keys: &str| with(&format!("protocol: exchange\n    username: svc\n    {keys}"));
    refused(&exchange("url: mail.corp.example"), "`url`: it does not start with https://");
    refused(&exchange("url: http://mail.corp.example/EWS/Exchange.asmx"), "it is not https, and its host is not this machine");
    refused(&exchange("url: https://u:hunter2@mail.corp.example/"), "it holds a user or a password");
    refused(&exchange("url: https://mail.corp.example\n    server: mail.corp.example"), "`server` has no effect with EWS");
    refused(&exchange("url: https://mail.corp.example\n    port: 443"), "`port` has no effect with EWS");
    refused(&exchange("url: https://mail.corp.example\n    tls: {mode: starttls}"), "the scheme of `url` says it");
    refused(&exchange(""), "has neither `url` nor `email`");
    refused(&with("email: a@b.example\n    server: https://mail.corp.example/EWS/Exchange.asmx"), "`protocol: exchange` with `url:`");
    for protocol in ["imap", "pop3"] {
        let keys = format!("email: a@b.example\n    server: mail.b.example\n    protocol: {protocol}\n    url: https://mail.b.example");
        refused(&with(&keys), "`url` has no effect with");
    }
}

/// C13: the version that is asked for.
#[test]
fn c13_versions_by_their_names() {
    let of = |word: &str| server(&format!("protocol: exchange\n    email: a@b.example\n    exchange_version: {word}")).web.version;
    for version in Version::ALL {
        assert_eq!(of(version.word()), Some(version));
    }
    assert_eq!(of("auto"), None);
    refused(&with("protocol: exchange\n    email: a@b.example\n    exchange_version: Exchange2013_SP2"), "did you mean `Exchange2010_SP2`?");
    refused(&with("server: x.example\n    email: a@b.example\n    exchange_version: auto"), "`exchange_version` has no effect with IMAP");
}

#[test]
fn whose_mailbox_it_is() {
    let address =
        |keys: &str| server(&format!("protocol: exchange\n    url: https://m.example\n    {keys}")).web.address.map(|address| address.to_string());
    assert_eq!(address("email: svc@corp.example"), None, "the login's own");
    assert_eq!(address("email: it@corp.example\n    username: svc@corp.example").as_deref(), Some("it@corp.example"));
    assert_eq!(address("email: svc@corp.example\n    impersonate: true").as_deref(), Some("svc@corp.example"));
    refused(&with("protocol: exchange\n    url: https://m.example\n    username: svc\n    impersonate: true"), "`impersonate` without `email`");
    // One login, two mailboxes; and nobody's state is another one's.
    let shared =
        |name: &str| server(&format!("protocol: exchange\n    url: https://m.example\n    email: {name}@corp.example\n    username: svc")).mailbox();
    assert_ne!(shared("it"), shared("hr"));
    let found = server("protocol: exchange\n    email: it@corp.example");
    // Who says later where the server is, collects the same mailbox.
    assert_eq!(found.mailbox(), server("protocol: exchange\n    email: it@corp.example\n    url: https://mail.corp.example").mailbox());
    assert_eq!((found.host.as_str(), found.web.path), ("corp.example", None), "by autodiscover");
}

#[test]
fn graph_takes_tokens_only() {
    let keys = "protocol: graph\n    email: shared@tenant.example\n    auth: {method: oauth2, token: {env: P}}";
    let text = with(keys).replace("    password: {env: P}\n", "");
    let graph = collector(&text).server;
    assert_eq!((graph.host.as_str(), graph.web.path.as_deref()), ("graph.microsoft.com", Some("/v1.0")));
    assert_eq!(graph.web.address.unwrap().to_string(), "shared@tenant.example");
    for (cloud, host) in [("us_gov", "graph.microsoft.us"), ("us_dod", "dod-graph.microsoft.us"), ("china", "microsoftgraph.chinacloudapi.cn")] {
        let auth = format!("{{method: oauth2, provider: microsoft, cloud: {cloud}, tenant: t.example, client_id: x, client_secret: {{env: P}}}}");
        let national = text.replace("{method: oauth2, token: {env: P}}", &auth);
        assert_eq!(collector(&national).server.host, host);
    }
    refused(&with("protocol: graph\n    email: shared@tenant.example"), "Graph takes tokens only");
    refused(&text.replace("email: shared@tenant.example", "username: x"), "has no `email`");
    refused(&text.replace("protocol: graph", "protocol: graph\n    impersonate: true"), "`impersonate` has no effect with Graph");
    refused(&with("protocol: exchange\n    email: a@b.example\n    auth: {method: scram}"), "know other logins");
    for key in ["idle: on", "compress: true", "expunge: {every_messages: 5}", "keep_without_uidl: true"] {
        let name = key.split(':').next().unwrap();
        refused(
            &text.replace("protocol: graph", &format!("protocol: graph\n    after: delete\n    {key}")),
            &format!("`{name}` has no effect with Graph"),
        );
    }
}

#[test]
fn exchange_online_is_warned_of() {
    let loaded = read(&with("protocol: exchange\n    email: a@b.example\n    url: https://outlook.office365.com/EWS/Exchange.asmx")).unwrap();
    assert!(loaded.warnings.iter().any(|warning| warning.message.contains("switched off by Microsoft")), "{:?}", loaded.warnings);
}
