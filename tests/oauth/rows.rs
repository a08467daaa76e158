//! The rows of the requirements: a client's id and secret, by IMAP and by POP3; what is kept of tokens.

use crate::kit::{Kit, no_secret_below, own, signed_in};
use crate::token_server::{CLIENT, SECRET};
use std::os::unix::fs::PermissionsExt;

#[test]
fn k7_client_id_and_secret_by_imap_and_pop3() {
    for (protocol, disable, method) in
        [("imap", "", "OAUTHBEARER"), ("imap", "disable: [OAUTHBEARER], ", "XOAUTH2"), ("pop3", "disable: [OAUTHBEARER], ", "XOAUTH2")]
    {
        let kit = Kit::with(protocol, "", &format!("{disable}scopes: [mail.read, mail.write], {}", own()));
        kit.collects();
        kit.collects();
        // The token is good for an hour, and was asked for once, as a program that was registered.
        let asked = kit.tokens.state().asked.clone();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let field = |name: &str| asked[0].get(name).map(String::as_str);
        assert_eq!((field("grant_type"), field("scope")), (Some("client_credentials"), Some("mail.read mail.write")));
        assert_eq!((field("client_id"), field("client_secret")), (Some(CLIENT), Some(SECRET)));
        kit.dovecot.logged(&format!("method={method}"), 1);
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&kit.file()), mode(kit.file().parent().unwrap())), (0o600, 0o700));
        no_secret_below(&kit.program.state_dir(), Some(&kit.file()));
    }
}

#[test]
fn k7_tokens_are_sealed_with_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        format!("token_key: {{file: '{}'}}, ", path.display())
    };
    let (key, other) = (write("key", "0123456789abcdef0123456789abcdef"), write("other", "fedcba9876543210fedcba9876543210"));
    let kit = Kit::with("imap", &key, &own());
    kit.collects();
    kit.collects();
    assert_eq!(kit.tokens.questions(), 1);
    no_secret_below(&kit.program.state_dir(), None);
    // With another key the program gets itself another token.
    kit.configure("imap", &other, &own());
    kit.collects();
    assert_eq!(kit.tokens.questions(), 2);
    // A person would have to sign in anew, and is told so.
    let (kit, files) = signed_in(&key);
    kit.collects();
    no_secret_below(&kit.program.state_dir(), None);
    kit.configure("imap", &other, &crate::kit::person(files.path()));
    let said = kit.fails();
    assert!(said.contains("sealed with another key") && said.contains("mailgather oauth login tim"), "{said}");
}
