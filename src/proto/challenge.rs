//! What a web server asks for before it lets somebody in: the challenges of `WWW-Authenticate` (RFC 9110 §11.6.1).

/// Most challenges that are read; a server that has more has none that we speak among the rest.
const CHALLENGES_MAX: usize = 16;
/// Longest of the values that are read together, in octets. The token of NTLM is the longest that is legitimate.
const OCTETS_MAX: usize = 32 * 1024;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `Basic`, as the server spells it.
    pub scheme: String,
    /// What goes on with a dialogue, in base 64: `Negotiate TlRMTVNTUA…`.
    pub token: Option<String>,
    /// `realm="…"` and the like, names in small letters, values without their quotes.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// True if it is of this scheme.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of all fields of that name. Several may stand in one field, divided by the comma that divides parameters too.
pub fn challenges<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut left = OCTETS_MAX;
    for field in fields {
        if field.len() > left {
            break;
        }
        left -= field.len();
        for part in parts(field) {
            // `name=value` belongs to the challenge before it; `name` and `name rest` begin one.
            let word = part.find(|c: char| !is_token(c)).unwrap_or(part.len());
            let rest = part[word..].trim_start();
            let is_parameter = rest.starts_with('=') && !found.is_empty();
            if is_parameter {
                if let Some(last) = found.last_mut() {
                    last.parameters.extend(parameter(part));
                }
            } else if word > 0 && found.len() < CHALLENGES_MAX {
                let parameters: Vec<_> = parameter(rest).into_iter().collect();
                let token = (parameters.is_empty() && !rest.is_empty()).then(|| rest.to_owned());
                found.push(Challenge { scheme: part[..word].to_owned(), token, parameters });
            }
        }
    }
    found
}

/// The names of the schemes, for people; each once.
pub fn schemes(challenges: &[Challenge]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for challenge in challenges {
        if !names.iter().any(|name| challenge.is(name)) {
            names.push(&challenge.scheme);
        }
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Divides at commas, but not inside quotes.
fn parts(field: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let ends = move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return true,
            _ => {}
        }
        false
    };
    field.split(ends).map(str::trim).filter(|part| !part.is_empty())
}

/// `name=value` or `name="value"`. What ends with `=` alone is a token of base 64.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim_start());
    if name.is_empty() || !name.chars().all(is_token) || value.chars().all(|c| c == '=') {
        return None;
    }
    let value = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(quoted) => {
            let (mut text, mut escaped) = (String::new(), false);
            for c in quoted.chars() {
                match c {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => break,
                    c => {
                        text.push(c);
                        escaped = false;
                    }
                }
            }
            text
        }
    };
    Some((name.to_ascii_lowercase(), value))
}

/// RFC 9110 §5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(fields: &[&str]) -> Vec<String> {
        let found = challenges(fields.iter().copied());
        let parameters = |challenge: &Challenge| challenge.parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
        found
            .iter()
            .map(|challenge| {
                format!("{}{}{}", challenge.scheme, challenge.token.iter().map(|t| format!(" [{t}]")).collect::<String>(), parameters(challenge))
            })
            .collect()
    }

    #[test]
    fn challenges_in_one_field_and_in_several() {
        for (fields, wanted) in [
            (&["Negotiate", "NTLM", "Basic realm=\"mail.corp.example\""][..], &["Negotiate", "NTLM", "Basic realm=mail.corp.example"][..]),
            (&["Negotiate, NTLM, Basic realm=\"a, b\", charset=\"UTF-8\""], &["Negotiate", "NTLM", "Basic realm=a, b charset=UTF-8"]),
            (&["NTLM TlRMTVNTUAACAAAA=="], &["NTLM [TlRMTVNTUAACAAAA==]"]),
            (&["NTLM TlRMTVNTUAACAAA="], &["NTLM [TlRMTVNTUAACAAA=]"]),
            (&["NTLM TlRMTVNTUAACAAAA", "Negotiate"], &["NTLM [TlRMTVNTUAACAAAA]", "Negotiate"]),
            // RFC 9110 §11.6.1.
            (
                &["Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\""],
                &["Basic realm=simple", "Newauth realm=apps type=1 title=Login to \"apps\""],
            ),
            (
                &[
                    "Bearer client_id=\"00000002\", trusted_issuers=\"00000001-0000@*\", token_types=\"app_asserted_user_v1\", error=\"invalid_token\"",
                ],
                &["Bearer client_id=00000002 trusted_issuers=00000001-0000@* token_types=app_asserted_user_v1 error=invalid_token"],
            ),
            (&["basic realm = x"], &["basic realm=x"]),
            (&["Basic realm=\"never ends"], &["Basic realm=never ends"]),
            (&["", " , ,", "=x", "\"x\""], &[]),
        ] {
            assert_eq!(shown(fields), wanted, "{fields:?}");
        }
        let found = challenges(["ntlm, Basic realm=x, NTLM"]);
        assert!(found[0].is("NTLM") && found[1].parameter("realm") == Some("x") && found[1].parameter("charset").is_none());
        assert_eq!((schemes(&found).as_str(), schemes(&[]).as_str()), ("ntlm, Basic", "nothing"));
    }

    #[test]
    fn what_a_hostile_server_sends_has_an_end() {
        assert_eq!(challenges(["A, ".repeat(1000).as_str()]).len(), CHALLENGES_MAX);
        assert_eq!(challenges([format!("NTLM {}", "A".repeat(OCTETS_MAX)).as_str(), "Basic"]), []);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(fields in proptest::collection::vec(".{0,80}", 0..4), near in "[A-Za-z,=\"\\\\ ]{0,60}") {
            let fields: Vec<&str> = fields.iter().map(String::as_str).chain([near.as_str()]).collect();
            for challenge in challenges(fields) {
                prop_assert!(!challenge.scheme.is_empty() && challenge.scheme.chars().all(is_token));
            }
        }
    }
}
