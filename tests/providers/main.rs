//! Providers: `mailgather providers`, detection by scripted name and web servers, and what a provider fills in against real servers. Tests of
//! requirements are named after their rows.

#[path = "../support/mod.rs"]
mod support;

mod detection;
mod dns_faults;
mod name_server;
mod outgoing;
mod reload;
mod rows;
mod web_server;

use mailgather::config::{Access, Provider, TlsMode};
use serde_json::Value;
use std::path::Path;
use support::*;

/// A configuration with these name servers, and a provider of one's own.
fn program(dns: u16) -> Mailgather {
    Mailgather::new(&format!(
        "service: {{dns: '127.0.0.1:{dns}'}}\nproviders:\n  corp:\n    title: Корпоративная почта\n    domains: [corp.example, '*.corp.example']\n    server: imap.corp.example\n    tls: {{mode: starttls}}\n    quirks: a quirk of theirs\ndelivery: {{lmtp: 127.0.0.1:24}}\ncollectors:\n  sales: {{email: sales@corp.example, password: {{env: P}}, recipient: {{forward_to: x@y.example}}}}\n  boss: {{email: boss@mail.ru, password: {{env: P}}, recipient: {{forward_to: x@y.example}}}}\n"
    ))
}

#[test]
fn k8_the_list_says_who_uses_a_provider() {
    let program = program(1);
    let list = program.run_to_end("providers", &["list"]).expect_success().stdout;
    let line = |name: &str| list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}\n{list}"));
    assert!(list.lines().nth(1).unwrap().starts_with("corp "), "one's own first\n{list}");
    assert!(line("corp").contains(" 1 ") && line("corp").contains("Корпоративная почта (own): corp.example, *.corp.example"), "{list}");
    assert!(line("mailru").contains("imap.mail.ru") && line("mailru").contains("pop.mail.ru"), "{list}");
    // One object a line, as all lists.
    let json = program.run_to_end("providers", &["list", "--json"]).expect_success().stdout;
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| json.iter().find(|provider| provider["name"] == name).unwrap().clone();
    assert_eq!((&of("mailru")["used_by"][0], &of("mailru")["imap"]["port"]), (&Value::from("boss"), &Value::from(993)));
    assert_eq!((&of("corp")["built_in"], &of("corp")["imap"]["tls"]), (&Value::from(false), &Value::from("starttls")));
    let shown = program.run_to_end("providers", &["show", "corp"]).expect_success().stdout;
    for words in ["corp: Корпоративная почта", "imap.corp.example port 143, starttls", "a quirk of theirs", "used by          sales"]
    {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let gmail: Value = serde_json::from_str(&program.run_to_end("providers", &["show", "gmail", "--json"]).expect_success().stdout).unwrap();
    assert_eq!(gmail["special_folders"]["\\Junk"], "[Gmail]/Spam");
    assert!(program.run_to_end("providers", &["show", "gmial"]).expect_code(64).stderr.contains("did you mean `gmail`?"));
    assert!(program.run_to_end("providers", &["show", "nobody"]).expect_code(64).stderr.contains("there is no provider `nobody`"));
    // A provider in use does not go: not at a check, and not at a reload, which keeps what runs.
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    program.configure(&text.replace("email: boss@mail.ru", "email: boss@mail.ru, provider: gone"));
    let refused = program.check().expect_code(78).stderr;
    assert!(refused.contains("there is no provider `gone`") && refused.contains("used by collector `boss`"), "{refused}");
    // A broken file does not keep anybody from looking.
    let listed = program.run_to_end("providers", &["list"]).expect_success();
    assert!(listed.stdout.contains("gmail") && listed.stderr.contains("1 errors (`mailgather check`)"), "{}", listed.stderr);
}

/// docs/providers.md holds what is built in, word for word. `UPDATE_EXPECTED=1` writes that part anew: read the difference.
#[test]
fn the_page_about_providers_says_what_is_built_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, _) = page.split_once("## The built-in providers\n").expect("its heading");
    let sections: String = mailgather::config::presets().iter().map(|provider| section(provider)).collect();
    let expected = format!("{head}## The built-in providers\n{sections}");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

fn section(provider: &Provider) -> String {
    let mut text = format!("\n### {}\n\n`{}`\n\n", provider.title, provider.id);
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            text += &format!("- {label}: {value}\n");
        }
    };
    let code = |items: Vec<String>| items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    line("domains", code(provider.domains.iter().map(ToString::to_string).collect()));
    let mode = |access: &Access| if access.tls == TlsMode::Implicit { "TLS" } else { "STARTTLS" };
    let server = |access: &Option<Access>| access.as_ref().map(|a| format!("`{}`, port {}, {}", a.host, a.port, mode(a))).unwrap_or_default();
    line("IMAP", server(&provider.imap));
    line("POP3", server(&provider.pop3));
    line("login", provider.login.as_ref().map(|login| format!("`{login}`")).unwrap_or_default());
    line("`received_hosts`", code(provider.received_hosts.clone()));
    line("folders", provider.special_folders.iter().map(|(of, name)| format!("`{of}` is `{name}`")).collect::<Vec<_>>().join(", "));
    provider.limits.iter().for_each(|limit| line("limit", limit.clone()));
    provider.quirks.iter().for_each(|quirk| line("note", quirk.clone()));
    line("help", provider.help.iter().map(|page| format!("<{page}>")).collect());
    text
}
