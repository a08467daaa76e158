//! Outgoing mail by TLS: to a real Postfix, from the first octet (port 465) and by STARTTLS (port 587), and without (port 25).

use crate::support::certificates::Certificates;
use crate::support::corpus::letter;
use crate::support::*;

/// Lines of main.cf: a certificate, and TLS as a must.
fn tls(made: &Certificates, wrapped: bool) -> String {
    format!(
        "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = encrypt\nsmtpd_tls_wrappermode = {}\nsmtpd_tls_received_header = yes",
        made.certificate.display(),
        made.key.display(),
        if wrapped { "yes" } else { "no" }
    )
}

#[test]
fn k4_outgoing_mail_by_tls_at_once_by_starttls_and_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path());
    let source = Dovecot::start();
    for (n, mode) in ["implicit", "starttls", "none"].into_iter().enumerate() {
        let postfix = match mode {
            "none" => Postfix::start(),
            mode => Postfix::builder().extra(&tls(&made, mode == "implicit")).start(),
        };
        let user = format!("u{n}");
        (0..3).for_each(|n| source.put(&user, &letter(n, "anna@example.org")));
        let how = if mode == "none" { String::new() } else { format!(", tls: {{mode: {mode}, ca_file: {}}}", made.ca.display()) };
        let delivery = format!("{{smtp: '127.0.0.1:{}'{how}}}", postfix.port());
        let collector = CollectorYaml::imap(&source, &user).forward_to("anna@example.org").after("delete");
        let program = Mailgather::new(&config(&delivery, &[collector]));
        program.once(&[]).expect_success();
        eventually("Postfix delivers", SOON, || postfix.count("anna") >= 3);
        let messages = postfix.messages("anna");
        assert_eq!(
            (maildir::subjects(&messages), source.count(&user)),
            (["letter 0", "letter 1", "letter 2"].map(String::from).to_vec(), 0),
            "{mode}"
        );
        // Postfix's own word on the channel.
        let secured = messages.iter().filter(|message| String::from_utf8_lossy(message).contains("(using TLSv1.")).count();
        assert_eq!(secured, if mode == "none" { 0 } else { 3 }, "{mode}: {}", postfix.log());
    }
}

#[test]
fn k4_mail_waits_where_tls_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path());
    let other = tempfile::tempdir().unwrap();
    let unknown = Certificates::make(other.path());
    let source = Dovecot::start();
    let postfix = Postfix::builder().extra(&tls(&made, false)).start();
    source.put("u", &letter(0, "anna@example.org"));
    let ca = made.ca.display().to_string();
    for how in [
        // Another authority; TLS at once at the port of STARTTLS; a server that takes mail by TLS only.
        format!(", tls: {{mode: starttls, ca_file: {}}}", unknown.ca.display()),
        format!(", tls: {{mode: implicit, ca_file: {ca}}}"),
        String::new(),
    ] {
        let delivery = format!("{{smtp: '127.0.0.1:{}'{how}}}", postfix.port());
        let collector = CollectorYaml::imap(&source, "u").forward_to("anna@example.org").after("delete");
        let done = Mailgather::new(&config(&delivery, &[collector])).once(&[]);
        assert_ne!(done.status.code(), Some(0), "{how}: {}", done.stdout);
        assert!(done.stderr.contains("TLS") || done.stderr.contains("certificate"), "{how}: {}", done.stderr);
        assert_eq!((postfix.count("anna"), source.count("u")), (0, 1), "{how}");
    }
}

#[test]
fn k4_a_port_that_belongs_to_another_way_is_told_and_465_is_that_of_tls() {
    let check = |delivery: &str| {
        let yaml = config(delivery, &[CollectorYaml::at("imap", "u", 1993).forward_to("anna@example.org")]);
        Mailgather::new(&yaml.replace("tls: {mode: none}", "tls: {mode: implicit}")).check().expect_success().stderr
    };
    for (delivery, words) in [
        ("{smtp: '127.0.0.1:465', tls: {mode: starttls}}", "port 465 is that of `tls: {mode: implicit}`"),
        ("{smtp: '127.0.0.1:465'}", "port 465 is that of `tls: {mode: implicit}`"),
        ("{smtp: '127.0.0.1:587', tls: {mode: implicit}}", "port 587 is that of `tls: {mode: starttls}`"),
        ("{smtp: 127.0.0.1, tls: {mode: implicit}}", ""),
        ("{smtp: '127.0.0.1:587', tls: {mode: starttls}}", ""),
        ("{smtp: '127.0.0.1:587'}", ""),
        ("{smtp: '127.0.0.1:455', tls: {mode: implicit}}", ""),
    ] {
        let said = check(delivery);
        match words {
            "" => assert!(!said.contains(" is that of "), "{delivery}: {said}"),
            words => assert!(said.contains(words) && said.contains("hint: "), "{delivery}: {said}"),
        }
    }
}
