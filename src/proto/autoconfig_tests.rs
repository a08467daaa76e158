//! Documents as providers publish them, hostile ones, and whatever octets: what is suggested is fit to be written into a configuration.

use super::*;
use proptest::prelude::*;

fn anna() -> Address {
    "anna@corp.example".parse().unwrap()
}

fn best(servers: &str) -> Vec<Incoming> {
    let text = format!("<?xml version=\"1.0\"?>\n<clientConfig version=\"1.1\"><emailProvider id=\"x\">{servers}</emailProvider></clientConfig>");
    ClientConfig::read(text.as_bytes()).unwrap().best(&anna())
}

fn server(kind: &str, host: &str, port: &str, socket: &str, rest: &str) -> String {
    format!("<incomingServer type=\"{kind}\"><hostname>{host}</hostname><port>{port}</port><socketType>{socket}</socketType>{rest}</incomingServer>")
}

#[test]
fn a_whole_document() {
    let text = include_str!("autoconfig_sample.xml");
    let config = ClientConfig::read(text.as_bytes()).unwrap();
    assert_eq!((config.display_name.as_str(), config.servers()), ("Corp & Söhne", 5));
    let imap = Incoming {
        protocol: IncomingProtocol::Imap,
        host: "imap.corp.example".into(),
        port: 993,
        implicit_tls: true,
        login: Login::LocalPart,
        authentication: Authentication::Password,
    };
    let pop3 = Incoming {
        protocol: IncomingProtocol::Pop3,
        host: "pop.corp.example".into(),
        port: 110,
        implicit_tls: false,
        login: Login::Email,
        ..imap.clone()
    };
    assert_eq!(config.best(&anna()), [imap, pop3]);
}

#[test]
fn imap_before_pop3_and_tls_before_starttls_and_nothing_in_clear() {
    let hosts = |servers: &str| best(servers).into_iter().map(|server| server.host).collect::<Vec<_>>();
    let (clear, by_command) = (server("imap", "clear.x", "143", "plain", ""), server("imap", "command.x", "143", "STARTTLS", ""));
    let (tls, second) = (server("imap", "tls.x", "993", "SSL", ""), server("imap", "second.x", "993", "ssl", ""));
    let pop = server("pop3", "pop.x", "995", "SSL", "");
    assert_eq!(hosts(&[pop.as_str(), &clear, &by_command, &tls, &second].concat()), ["tls.x", "pop.x"]);
    assert_eq!(hosts(&[clear.as_str(), &by_command].concat()), ["command.x"]);
    assert!(hosts(&clear).is_empty());
    for odd in [
        server("smtp", "a.x", "993", "SSL", ""),
        server("exchange", "a.x", "993", "SSL", ""),
        server("imap", "a", "993", "SSL", ""),
        server("imap", "a.x:993", "993", "SSL", ""),
        server("imap", "a.x/b", "993", "SSL", ""),
        server("imap", "", "993", "SSL", ""),
        server("imap", "a.x", "0", "SSL", ""),
        server("imap", "a.x", "66000", "SSL", ""),
        server("imap", "a.x", "", "SSL", ""),
        server("imap", "a.x", "993", "", ""),
        server("imap", "a.x", "993", "SSL", "<authentication>GSSAPI</authentication>"),
        server("imap", "a.x", "993", "SSL", "<username>a&#10;b</username>"),
        server("imap", "a.x", "993", "SSL", &format!("<username>{}</username>", "x".repeat(600))),
    ] {
        assert_eq!(hosts(&odd), Vec::<String>::new(), "{odd}");
    }
    assert_eq!(hosts(&server("imap", "почта.рф", "993", "SSL", "")), ["xn--80a1acny.xn--p1ai"]);
    assert_eq!(hosts(&server("imap", "192.0.2.7", "993", "SSL", "")), ["192.0.2.7"]);
}

#[test]
fn logins_and_placeholders() {
    for (name, login) in [
        ("%EMAILADDRESS%", Login::Email),
        (" %EMAILLOCALPART% ", Login::LocalPart),
        ("%EMAILLOCALPART%@%EMAILDOMAIN%", Login::Email),
        ("", Login::Email),
        ("CORP\\%EMAILLOCALPART%", Login::Name("CORP\\anna".into())),
        ("%EMAILLOCALPART%.corp%x%", Login::Name("anna.corp%x%".into())),
        ("&lt;%EMAILLOCALPART%&gt;", Login::Name("<anna>".into())),
    ] {
        let found = best(&server("imap", "imap.%EMAILDOMAIN%", "993", "SSL", &format!("<username>{name}</username>")));
        assert_eq!((found[0].host.as_str(), &found[0].login), ("imap.corp.example", &login), "{name}");
    }
    // What is filled in is not filled in again.
    let odd: Address = "%EMAILDOMAIN%@corp.example".parse().unwrap();
    assert_eq!(filled_in("%EMAILLOCALPART%", &odd), "%EMAILDOMAIN%");
}

#[test]
fn ways_to_log_in() {
    for (kinds, expected) in [
        (&["password-cleartext"][..], Some(Authentication::Password)),
        (&["password-encrypted"], Some(Authentication::Password)),
        (&["OAuth2", "password-cleartext"], Some(Authentication::Password)),
        (&["GSSAPI", "OAuth2"], Some(Authentication::OAuth2)),
        (&["NTLM", "OAuth2"], Some(Authentication::Ntlm)),
        (&["TLS-client-cert", "client-IP-address", "none"], None),
        (&[], Some(Authentication::Password)),
    ] {
        let kinds: String = kinds.iter().map(|kind| format!("<authentication>{kind}</authentication>")).collect();
        assert_eq!(best(&server("imap", "a.x", "993", "SSL", &kinds)).first().map(|found| found.authentication), expected, "{kinds}");
    }
}

#[test]
fn hostile_documents() {
    let read = |text: &str| ClientConfig::read(text.as_bytes());
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><clientConfig><emailProvider><displayName>&b;</displayName></emailProvider></clientConfig>";
    assert_eq!(read(bomb), Err(DocumentError::Doctype));
    let outside = "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><clientConfig/>";
    assert_eq!(read(outside), Err(DocumentError::Doctype));
    assert_eq!(read("<clientConfig><emailProvider>&xxe;</emailProvider></clientConfig>"), Err(DocumentError::Entity));
    assert_eq!(read(&format!("<clientConfig>{}", "<a>".repeat(16))), Err(DocumentError::TooDeep(16)));
    assert_eq!(read("<html><body>404</body></html>"), Err(DocumentError::Other("clientConfig")));
    assert_eq!(read("not found"), Err(DocumentError::Other("clientConfig")));
    assert_eq!(read(""), Err(DocumentError::Other("clientConfig")));
    assert!(matches!(read("<clientConfig><emailProvider>"), Err(DocumentError::NotXml(_))));
    assert!(matches!(read("<clientConfig></emailProvider>"), Err(DocumentError::NotXml(_))));
    assert_eq!(read(&" ".repeat(OCTETS_MAX + 1)), Err(DocumentError::TooLong(OCTETS_MAX)));
    assert_eq!(ClientConfig::read(b"<clientConfig>\xff</clientConfig>"), Err(DocumentError::NotUtf8));
    // The servers behind the last that is read change nothing of it, and attributes without end take no time.
    let many = [server("imap", "a.x", "143", "STARTTLS", "").repeat(SERVERS_MAX), server("imap", "evil.x", "993", "SSL", "")].concat();
    assert_eq!(best(&many)[0].host, "a.x");
    let attributes: String = (0..5_000).map(|n| format!(" a{n}='1'")).collect();
    assert_eq!(best(&server("imap", "a.x", "993", "SSL", "").replace(" type", &format!("{attributes} type"))), []);
}

/// Pieces of documents, so that garbage gets deep into the reader.
fn pieces() -> impl Strategy<Value = String> {
    let whole = prop::sample::select(vec![
        "<clientConfig>",
        "</clientConfig>",
        "<emailProvider>",
        "</emailProvider>",
        "<incomingServer type='imap'>",
        "<incomingServer type=\"pop3\"/>",
        "</incomingServer>",
        "<hostname>",
        "</hostname>",
        "<port>",
        "</port>",
        "<socketType>SSL</socketType>",
        "<socketType>plain</socketType>",
        "<username>",
        "</username>",
        "993",
        "a.example",
        "%EMAILADDRESS%",
        "%EMAIL",
        "&amp;",
        "&#0;",
        "&#x0a;",
        "&x;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?x",
        "?>",
        "<!DOCTYPE",
        "\0",
        "\u{202e}",
        "почта.рф",
    ]);
    prop::collection::vec(prop_oneof![8 => whole.prop_map(str::to_owned), 1 => ".{0,8}"], 0..40).prop_map(|parts| parts.concat())
}

/// What is suggested is fit to be written into a configuration, whatever the document says.
fn assert_fit(octets: &[u8]) {
    let Ok(config) = ClientConfig::read(octets) else { return };
    assert!(config.servers() <= SERVERS_MAX && config.display_name.len() <= TEXT_OCTETS_MAX);
    let found = config.best(&anna());
    assert!(found.len() <= 2);
    for server in found {
        assert!(server.port > 0);
        assert!(
            server.host.parse::<IpAddr>().is_ok() || server.host.parse::<Domain>().is_ok_and(|host| host.as_ascii() == server.host),
            "{server:?}"
        );
        if let Login::Name(name) = &server.login {
            assert!(!name.is_empty() && name.len() <= TEXT_OCTETS_MAX && !name.contains(char::is_control), "{server:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..2_000)) {
        assert_fit(&octets);
    }

    #[test]
    fn any_pieces(text in pieces()) {
        assert_fit(text.as_bytes());
    }

    #[test]
    fn any_text_in_each_element(host in ".{0,40}", port in ".{0,6}", name in "(%[A-Z]{1,15}%|.){0,20}", kind in "[a-zA-Z0-9-]{0,20}") {
        let escaped = |text: &str| quick_xml::escape::escape(text).into_owned();
        let rest = format!("<username>{}</username><authentication>{kind}</authentication>", escaped(&name));
        let text = server("imap", &escaped(&host), &escaped(&port), "SSL", &rest);
        assert_fit(format!("<clientConfig><emailProvider>{text}</emailProvider></clientConfig>").as_bytes());
    }

    #[test]
    fn a_document_that_is_cut_is_refused(at in 1_usize..1_000) {
        let text = include_str!("autoconfig_sample.xml");
        let cut = &text.as_bytes()[..text.trim_end().len() - at.min(text.len() / 2)];
        prop_assert!(ClientConfig::read(cut).is_err());
    }
}
