//! `providers detect`: by the domain, by autoconfig, by SRV, by the mail exchangers.

use crate::name_server::{NameServer, address, mx, srv};
use crate::program;
use crate::support::corpus::letter;
use crate::support::*;
use crate::web_server::{Page, WebServer};
use mailgather::config::{Environment, parse};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// What is to be written can be read, and leads to this server.
#[track_caller]
fn leads_to(yaml: &str, host: &str, port: u16) {
    let text = format!("delivery: {{lmtp: unix:/l}}\n{yaml}");
    let loaded = parse(&text, Path::new("x.yaml"), &Environment::default()).unwrap_or_else(|report| panic!("{yaml}\n{report}"));
    let collector = loaded.config.collectors.values().next().unwrap();
    assert_eq!((collector.server.host.as_str(), collector.server.port), (host, port), "{yaml}");
}

#[test]
fn k1_detection_goes_from_the_domain_to_its_records() {
    let dns = NameServer::start(vec![
        srv("_imaps._tcp.srv.example", 20, 0, 993, "second.srv.example"),
        srv("_imaps._tcp.srv.example", 10, 5, 1993, "first.srv.example"),
        srv("_pop3._tcp.srv.example", 0, 1, 110, "pop.srv.example"),
        srv("_imaps._tcp.none.example", 0, 0, 0, ""),
        srv("_imap._tcp.open.example", 0, 1, 143, "imap.open.example"),
        srv("_imaps._tcp.at.example", 0, 1, 993, "imap.mail.ru"),
        mx("hosted.example", 10, "mx1.filter.example"),
        mx("hosted.example", 20, "aspmx.l.google.com"),
        mx("none.example", 10, "mx.none.example"),
    ]);
    let program = program(dns.port);
    let detect = |address: &str, more: &[&str]| program.run_to_end("providers", &[&["detect", address], more].concat());
    // By the domain alone: nobody is asked.
    for (address, words) in [
        ("anna@corp.example", "corp.example belongs to provider corp (Корпоративная почта, from the configuration)"),
        ("anna@sales.corp.example", "belongs to provider corp"),
        ("boss@Mail.RU", "mail.ru belongs to provider mailru (Почта Mail, built in)"),
        ("gmail.com", "gmail.com belongs to provider gmail"),
    ] {
        let done = detect(address, &[]).expect_success();
        assert!(done.stdout.contains(words), "{words}\n{}", done.stdout);
        assert!(done.stderr.contains("note: "), "its quirks\n{}", done.stderr);
    }
    leads_to(detect("boss@mail.ru", &[]).stdout.split_once("\n\n").unwrap().1, "imap.mail.ru", 993);
    assert_eq!(dns.asked(), 0);
    // SRV, the first choice first.
    let json: Value = serde_json::from_str(&detect("anna@srv.example", &["--json"]).expect_success().stdout).unwrap();
    assert_eq!((&json["by"], &json["provider"], json["servers"].as_array().unwrap().len()), (&Value::from("srv"), &Value::Null, 2));
    leads_to(json["yaml"].as_str().unwrap(), "first.srv.example", 1993);
    let done = detect("anna@open.example", &[]).expect_success();
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.open.example", 143);
    let done = detect("anna@at.example", &[]).expect_success();
    assert!(done.stdout.contains("name imap imap.mail.ru, of provider mailru"), "{}", done.stdout);
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.mail.ru", 993);
    // The mail exchangers of a known provider.
    let done = detect("anna@hosted.example", &[]).expect_success();
    assert!(done.stdout.contains("hosted.example takes its mail at aspmx.l.google.com, of provider gmail"), "{}", done.stdout);
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.gmail.com", 993);
    // Nothing: "." in SRV says that there is no such service (RFC 2782), and the mail exchanger is nobody's.
    let done = detect("anna@none.example", &[]).expect_code(66);
    assert!(
        done.stderr.contains("no provider is known for none.example; neither its autoconfig nor its SRV and MX records name one"),
        "{}",
        done.stderr
    );
    let before = dns.asked();
    assert!(detect("anna@hosted.example", &["--offline"]).expect_code(66).stderr.contains("nobody was asked (--offline)"));
    assert_eq!(dns.asked(), before);
    assert!(detect("no address", &[]).expect_code(64).stderr.contains("neither an address nor a domain"));
}

#[test]
fn k1_name_servers_that_fail_are_no_answer() {
    let dns = NameServer::failing();
    let done = program(dns.port).run_to_end("providers", &["detect", "anna@srv.example"]).expect_code(69);
    assert!(done.stderr.contains("the SRV records of srv.example cannot be looked up") && done.stderr.contains("--offline"), "{}", done.stderr);
}

const DOCUMENT: &str = "<?xml version=\"1.0\"?>\n<clientConfig version=\"1.1\"><emailProvider id=\"corp\"><displayName>Corp &amp; Co</displayName>
  <incomingServer type=\"pop3\"><hostname>pop.%EMAILDOMAIN%</hostname><port>995</port><socketType>SSL</socketType><username>%EMAILADDRESS%</username></incomingServer>
  <incomingServer type=\"imap\"><hostname>imap.%EMAILDOMAIN%</hostname><port>143</port><socketType>plain</socketType><username>%EMAILADDRESS%</username></incomingServer>
  <incomingServer type=\"imap\"><hostname>IMAP_HOST</hostname><port>IMAP_PORT</port><socketType>SSL</socketType><username>%EMAILLOCALPART%</username></incomingServer>
</emailProvider></clientConfig>";

/// An answer with this body, in chunks.
fn page(body: &str) -> Page {
    let chunks: String = body.as_bytes().chunks(100).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))).collect();
    Page {
        octets: format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes(),
        slow: false,
    }
}

fn redirect(to: &str) -> Page {
    Page { octets: format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes(), slow: false }
}

fn document(host: &str, port: u16) -> Page {
    page(&DOCUMENT.replace("IMAP_HOST", host).replace("IMAP_PORT", &port.to_string()))
}

const WEB: &str = "/mail/config-v1.1.xml";

#[test]
fn k1_autoconfig_comes_before_the_records() {
    let pages = [
        (format!("autoconfig.own.example{WEB}"), document("imap.%EMAILDOMAIN%", 993)),
        ("wellknown.example/.well-known/autoconfig/mail/config-v1.1.xml".to_owned(), document("imap.hoster.example", 1993)),
        (format!("autoconfig.moved.example{WEB}"), redirect("https://wellknown.example/.well-known/autoconfig/mail/config-v1.1.xml")),
        (format!("autoconfig.google.example{WEB}"), document("imap.gmail.com", 993)),
        ("autoconfig.thunderbird.net/v1.1/asked.example".to_owned(), document("imap.asked.example", 993)),
    ];
    let hosts =
        ["autoconfig.own.example", "wellknown.example", "autoconfig.moved.example", "autoconfig.google.example", "autoconfig.thunderbird.net"];
    let web = WebServer::start(&hosts, HashMap::from(pages));
    let mut records: Vec<_> = hosts.iter().map(|host| address(host, web.ip())).collect();
    // What the domain itself says by HTTPS is better than what DNS says, and both are better than the mail exchanger.
    records.push(srv("_imaps._tcp.own.example", 0, 1, 993, "srv.own.example"));
    records.push(mx("own.example", 10, "aspmx.l.google.com"));
    records.push(mx("asked.example", 10, "aspmx.l.google.com"));
    let dns = NameServer::start(records);
    let program = program(dns.port).env("SSL_CERT_FILE", web.ca().to_str().unwrap());
    let before = std::fs::read(program.config_file()).unwrap();
    let detect = |address: &str, more: &[&str]| program.run_to_end("providers", &[&["detect", address], more].concat()).expect_success();
    let json = |address: &str, more: &[&str]| -> Value { serde_json::from_str(&detect(address, &[&["--json"], more].concat()).stdout).unwrap() };

    let done = detect("anna.s@own.example", &[]);
    let words = "the autoconfig of own.example at autoconfig.own.example (Corp & Co) names imap imap.own.example and pop3 pop.own.example";
    assert!(done.stdout.contains(words) && done.stderr.is_empty(), "{}{}", done.stdout, done.stderr);
    leads_to(done.stdout.split_once("\n\n").unwrap().1, "imap.own.example", 993);
    assert!(done.stdout.contains("\n    login: local_part\n"), "{}", done.stdout);
    assert!(
        web.requests().contains(&"autoconfig.own.example /mail/config-v1.1.xml?emailaddress=anna.s%40own.example".to_owned()),
        "{:?}",
        web.requests()
    );
    let own = json("anna.s@own.example", &[]);
    assert_eq!((&own["by"], &own["login"], &own["authentication"]), (&"autoconfig".into(), &"local_part".into(), &"password".into()));

    let found = json("anna@wellknown.example", &[]);
    leads_to(found["yaml"].as_str().unwrap(), "imap.hoster.example", 1993);
    leads_to(json("anna@moved.example", &[])["yaml"].as_str().unwrap(), "imap.hoster.example", 1993);
    // A known provider behind it is named.
    let found = json("anna@google.example", &[]);
    assert_eq!((&found["by"], &found["provider"]), (&"autoconfig".into(), &"gmail".into()));
    leads_to(found["yaml"].as_str().unwrap(), "imap.gmail.com", 993);

    // Nobody is told a domain that is not his, unless the operator says so; the address itself is told to nobody else.
    assert_eq!(json("anna@asked.example", &[])["by"], "mx");
    assert!(!dns.was_asked_for("autoconfig.thunderbird.net"));
    let found = json("anna@asked.example", &["--ispdb"]);
    assert_eq!((&found["by"], &found["servers"][0]["server"]), (&"ispdb".into(), &"imap.asked.example".into()));
    assert!(web.requests().contains(&"autoconfig.thunderbird.net /v1.1/asked.example".to_owned()), "{:?}", web.requests());
    // Offline asks nobody, and a suggestion changes nothing.
    let asked = (dns.asked(), web.requests().len());
    program.run_to_end("providers", &["detect", "anna@own.example", "--offline"]).expect_code(66);
    assert_eq!((dns.asked(), web.requests().len()), asked);
    assert_eq!(std::fs::read(program.config_file()).unwrap(), before);
    assert_eq!(web.open_requests(), 0, "never without TLS");
}

/// Whatever a web server answers, the next source is asked, and the operator is told what was odd.
#[test]
fn k1_autoconfig_that_is_broken_or_hostile_is_noted() {
    let bomb = format!("<!DOCTYPE x [<!ENTITY a \"{}\">]><clientConfig>&a;</clientConfig>", "a".repeat(1000));
    let clear = document("x.example", 143).octets;
    let clear = Page { octets: String::from_utf8(clear).unwrap().replace("SSL", "NIL").into_bytes(), slow: false };
    let cases: Vec<(&str, Page, &str)> = vec![
        ("doctype", page(&bomb), "document type declaration"),
        ("entity", page("<clientConfig>&xxe;</clientConfig>"), "entity"),
        ("html", page("<html><body>welcome</body></html>"), "no clientConfig"),
        ("cut", page("<clientConfig><emailProvider>"), "it ends in the middle"),
        ("long", page(&format!("<clientConfig>{}</clientConfig>", " ".repeat(70_000))), "more than 65536 octets"),
        ("http", redirect("http://autoconfig.html.example/mail/config-v1.1.xml"), "which is no https place"),
        ("loop", redirect("https://autoconfig.loop.example/mail/config-v1.1.xml"), "redirects more than 3 times"),
        ("port", redirect("https://autoconfig.html.example:8443/"), "which is no https place"),
        ("clear", clear, "names 3 servers, and none for IMAP or POP3 by TLS"),
        ("server-error", Page { octets: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(), slow: false }, "answers 500"),
        ("slow", Page { slow: true, ..page(DOCUMENT) }, "no whole answer in 10 s"),
        ("gone", Page { octets: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), slow: false }, ""),
    ];
    let names: Vec<String> = cases.iter().map(|(name, ..)| format!("autoconfig.{name}.example")).collect();
    let pages = cases.iter().map(|(name, page, _)| (format!("autoconfig.{name}.example{WEB}"), page.clone())).collect();
    let web = WebServer::start(&names.iter().map(String::as_str).collect::<Vec<_>>(), pages);
    let mut records: Vec<_> = names.iter().map(|host| address(host, web.ip())).collect();
    // The certificate is not for this name, and nobody is at that address.
    records.push(address("autoconfig.name.example", web.ip()));
    let free = LoopbackAddress::reserve();
    records.push(address("autoconfig.nobody.example", free.ip()));
    let more = [("name", "certificate"), ("nobody", "connection refused"), ("nothing", "")];
    let all: Vec<(&str, &str)> = cases.iter().map(|(name, _, words)| (*name, *words)).chain(more).collect();
    records.extend(all.iter().map(|(name, _)| srv(&format!("_imaps._tcp.{name}.example"), 0, 1, 993, "imap.srv.example")));
    let dns = NameServer::start(records);
    let program = program(dns.port).env("SSL_CERT_FILE", web.ca().to_str().unwrap());
    for (name, words) in all {
        let done = program.run_to_end("providers", &["detect", &format!("anna@{name}.example")]).expect_success();
        assert!(done.stdout.contains(&format!("the SRV records of {name}.example name imap imap.srv.example")), "{name}: {}", done.stdout);
        let noted = format!("note: autoconfig at autoconfig.{name}.example: ");
        match words {
            "" => assert!(!done.stderr.contains("note: "), "{name}: {}", done.stderr),
            words => assert!(done.stderr.contains(&noted) && done.stderr.contains(words), "{name}: {}", done.stderr),
        }
        assert!(done.took < Duration::from_secs(60), "{name}");
    }
    // An authority that nobody knows.
    let program = crate::program(dns.port);
    let done = program.run_to_end("providers", &["detect", "anna@gone.example"]).expect_success();
    assert!(done.stderr.contains("certificate"), "{}", done.stderr);
    assert_eq!(web.open_requests(), 0, "never without TLS");
}

/// What autoconfig suggests, written down, collects.
#[test]
fn k1_what_autoconfig_suggests_collects() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let pages = HashMap::from([(format!("autoconfig.own.example{WEB}"), document("127.0.0.1", server.imaps()))]);
    let web = WebServer::start(&["autoconfig.own.example"], pages);
    let dns = NameServer::start(vec![address("autoconfig.own.example", web.ip())]);
    let program = program(dns.port).env("SSL_CERT_FILE", web.ca().to_str().unwrap());
    let found = program.run_to_end("providers", &["detect", "anna@own.example"]).expect_success().stdout;
    (0..3).for_each(|n| server.put("anna", &letter(n, "anna@own.example")));
    let yaml = found.split_once("\n\n").unwrap().1;
    let yaml = yaml.replace("{file: /etc/mailgather/secrets/anna}", &format!("{{env: {}}}", process::PASSWORD_VARIABLE));
    program.configure(&format!("delivery: {}\ndefaults: {{tls: {{ca_file: {}}}}}\n{yaml}", boxes.delivery(), server.ca().display()));
    program.once(&[]).expect_success();
    assert_eq!(boxes.subjects("someone@here.example"), ["letter 0", "letter 1", "letter 2"], "{yaml}");
    assert_eq!(server.count("anna"), 3, "kept");
}
