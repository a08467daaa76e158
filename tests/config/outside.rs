//! What `mailgather check` finds outside of the file: secrets, programs and folders that it names.

use super::*;

/// What `mailgather check` finds outside of the file.
fn looked_at(text: &str) -> Report {
    parse_and_look(text, Path::new("/etc/mailgather/mailgather.yaml"), &env()).unwrap_or_else(|report| panic!("{text}\n{report}")).1
}

fn file_of(folder: &Path, name: &str, octets: &str, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, octets).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn what_a_file_names_is_looked_at_and_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = file_of(folder.path(), "data", "x", 0o600);
    let program = file_of(folder.path(), "program", "#!/bin/sh\n", 0o700);
    let password = |source: &str| with("").replace("{env: P}", source);
    let check = |check: &str| {
        with(&format!("password: {{env: PATH}}\nrecipient: {{auto: {{check_local: {check}}}, unresolved: leave}}"))
            .replace("    password: {env: P}\n", "")
    };
    for (text, code, words, under) in [
        (password("{file: /no/such/secret}"), Code::SecretSource, "/no/such/secret: No such file", "/no/such/secret"),
        (password("{env: MAILGATHER_NO_SUCH}"), Code::SecretSource, "the environment variable MAILGATHER_NO_SUCH is not set", "MAILGATHER_NO_SUCH"),
        (password("{credential: x}"), Code::SecretSource, "CREDENTIALS_DIRECTORY", "x"),
        (password("{command: [no-such-program]}"), Code::SecretSource, "no-such-program is in no folder of $PATH", "***"),
        (password("{command: [/no/such/program, a]}"), Code::SecretSource, "/no/such/program does not exist", "***"),
        (password(&format!("{{command: [{data}]}}")), Code::SecretSource, "is not executable", "***"),
        (check("{file: /no/such/list}"), Code::Unreadable, "`check_local`: /no/such/list: No such file", "/no/such/list"),
        (check("{command: [/no/such/check]}"), Code::Unreadable, "`check_local`: the program /no/such/check does not exist", "***"),
        (check(&format!("{{command: [{data}]}}")), Code::Unreadable, "is not executable", "***"),
        (
            check("{smtp: mx.example, tls: {mode: starttls, ca_file: /no/such/ca}}"),
            Code::Unreadable,
            "`ca_file`: /no/such/ca: No such file",
            "/no/such/ca",
        ),
    ] {
        let report = looked_at(&text);
        let problem = report.errors.first().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((report.errors.len(), problem.code), (1, code), "{report}");
        let place = problem.place.as_ref().unwrap_or_else(|| panic!("{problem}"));
        let shown: String = place.text.chars().skip(place.caret - 1).take(place.width).collect();
        assert!(problem.to_string().contains(words) && !problem.hints.is_empty(), "{words}\n{problem}");
        assert!(shown == under || under == "***", "{under}: {shown}\n{problem}");
    }
    for text in
        [password("{env: PATH}"), password("{command: [sh, -c, x]}"), password(&format!("{{command: [{program}]}}")), check("{command: [sh]}")]
    {
        assert_eq!(looked_at(&text), Report::default(), "{text}");
    }
}

#[test]
fn maildirs_that_are_missing_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (there, none) = (folder.path().display().to_string(), folder.path().join("none").display().to_string());
    let of = |path: &str, more: &str| with(&format!("delivery: {{maildir: '{path}'{more}}}")).replace("{env: P}", "{env: PATH}");
    for (path, missing) in [(format!("{there}/{{local}}"), false), (format!("{there}/box"), false), (format!("{none}/{{domain}}/{{local}}"), true)] {
        let report = looked_at(&of(&path, ""));
        assert_eq!((report.errors.len(), report.warnings.len()), (0, usize::from(missing)), "{report}");
        let hint = format!("create it: mkdir -p {none}, owned by the service's user");
        assert!(!missing || report.to_string().contains(&hint) && report.warnings[0].place.is_some(), "{report}");
    }
    // Found addresses need folders that are there; who says so either way is not asked again.
    let auto = "\nrecipient: {auto: {domains: [x.example]}, default_box: d@x.example}";
    let warnings = |more: &str, auto: &str| read(&with(&format!("delivery: {{maildir: '/m/{{local}}'{more}}}{auto}"))).unwrap().warnings;
    let asked = warnings("", auto);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].to_string().contains("`maildir_create: true`"), "{}", asked[0]);
    for (more, auto) in [(", maildir_create: true", auto), (", maildir_create: false", auto), ("", "")] {
        assert_eq!(warnings(more, auto), [], "{more}{auto}");
    }
}

#[test]
fn odd_secrets_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    for (n, (octets, words)) in [
        ("hunter2\n", None),
        ("hunter2", None),
        ("hunter2\r\n", None),
        ("correct horse", None),
        (" hunter2\n", Some("starts or ends with white space")),
        ("hunter2 \n", Some("starts or ends with white space")),
        ("hunter2\n\n", Some("more than one line")),
        ("hunter2\nold: hunter1\n", Some("more than one line")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file_of(folder.path(), &n.to_string(), octets, 0o600);
        let report = looked_at(&with("").replace("{env: P}", &format!("{{file: {path}}}")));
        assert_eq!((report.errors.len(), report.warnings.len()), (0, usize::from(words.is_some())), "{octets:?}");
        assert!(words.is_none_or(|words| report.warnings[0].to_string().contains(words)), "{report}");
        assert!(!report.to_string().contains("hunter"), "{report}");
    }
}
