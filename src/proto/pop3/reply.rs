//! The first line of an answer: `+OK`, `-ERR`, or `+` that asks for more (RFC 1939 §3, RFC 5034 §4), with response codes (RFC 2449 §8).

/// An answer's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether the command was done.
    pub status: Status,
    /// The extended response code, if the text starts with one.
    pub code: Option<Code>,
    /// The rest of the line as it came, with what is not UTF-8 replaced; not yet harmless for logs.
    pub text: String,
}

/// Whether a command was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `+OK`
    Ok,
    /// `-ERR`
    Err,
    /// `+`: the server waits for the next line of an AUTH exchange.
    Continue,
}

/// Extended response codes that say whose fault it is (RFC 2449 §8.1, RFC 3206 §4 and §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `[AUTH]`: the credentials.
    Auth,
    /// `[IN-USE]`: another session holds the mailbox.
    InUse,
    /// `[LOGIN-DELAY]`: too soon after the last login.
    LoginDelay,
    /// `[SYS/TEMP]`: the server's trouble, passing.
    SysTemp,
    /// `[SYS/PERM]`: the server's trouble, lasting until somebody repairs it.
    SysPerm,
    /// One that we do not know.
    Other,
}

/// What a refusal means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now; later may do.
    NotNow,
    /// These credentials.
    Credentials,
    /// This mailbox, until somebody repairs it.
    Mailbox,
    /// Nothing more is known.
    Plain,
}

/// Words by which servers without response codes say "not now".
const NOT_NOW: [&str; 11] =
    ["lock", "busy", "in use", "try again", "too many", "temporar", "unavailable", "later", "already open", "throttl", "backoff time"];

impl Reply {
    /// Reads a line (without its line end), or `None` if it is no reply at all.
    pub fn parse(line: &[u8]) -> Option<Reply> {
        let (status, rest) = if let Some(rest) = strip_word(line, b"+OK") {
            (Status::Ok, rest)
        } else if let Some(rest) = strip_word(line, b"-ERR") {
            (Status::Err, rest)
        } else {
            // RFC 5034 §4: "+ " and a challenge; a bare "+" is common.
            let rest = line.strip_prefix(b"+")?;
            if !rest.is_empty() && rest[0] != b' ' {
                return None;
            }
            (Status::Continue, rest)
        };
        let text = String::from_utf8_lossy(rest.trim_ascii()).into_owned();
        Some(Reply { status, code: code_of(&text), text })
    }

    /// What a `-ERR` means: by its code, else by its words.
    pub fn refusal(&self) -> Refusal {
        match self.code {
            Some(Code::Auth) => Refusal::Credentials,
            Some(Code::InUse | Code::LoginDelay | Code::SysTemp) => Refusal::NotNow,
            Some(Code::SysPerm) => Refusal::Mailbox,
            Some(Code::Other) | None => {
                let text = self.text.to_ascii_lowercase();
                if NOT_NOW.iter().any(|word| text.contains(word)) { Refusal::NotNow } else { Refusal::Plain }
            }
        }
    }

    /// The size in `+OK 1234 octets`, as most servers answer RETR with; a hint that is never trusted.
    pub fn octets(&self) -> Option<u64> {
        let mut number = None;
        for word in self.text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',')).filter(|word| !word.is_empty()) {
            if number.is_some() && matches!(word.to_ascii_lowercase().trim_end_matches('.'), "octets" | "bytes") {
                return number;
            }
            number = if word.bytes().all(|b| b.is_ascii_digit()) { word.parse().ok() } else { None };
        }
        None
    }

    /// The two numbers of STAT's answer: messages and octets (RFC 1939 §5).
    pub fn stat(&self) -> Option<(u64, u64)> {
        let mut numbers = self.text.split_ascii_whitespace();
        let mut number = || numbers.next().filter(|n| n.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok());
        // The octets are of no use to us, and old servers let them overflow into negative numbers.
        Some((number()?, number().unwrap_or(0)))
    }
}

/// The rest behind a keyword that ends at a border of a word. Case does not matter: some servers write `+ok`.
fn strip_word<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(word.len())?;
    let at_border = rest.first().is_none_or(|b| !b.is_ascii_alphanumeric());
    (head.eq_ignore_ascii_case(word) && at_border).then_some(rest)
}

fn code_of(text: &str) -> Option<Code> {
    let (code, _) = text.strip_prefix('[')?.split_once(']')?;
    // RFC 2449 §8: levels are separated by `/`; a server may add one below those that we know.
    let code = code.to_ascii_uppercase();
    let is = |name: &str| code == name || code.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    Some(match () {
        () if is("AUTH") => Code::Auth,
        () if is("IN-USE") => Code::InUse,
        () if is("LOGIN-DELAY") => Code::LoginDelay,
        () if is("SYS/TEMP") => Code::SysTemp,
        () if is("SYS/PERM") => Code::SysPerm,
        () => Code::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_and_code() {
        use Status::*;
        let table: [(&[u8], Option<(Status, Option<Code>, &str)>); 14] = [
            (b"+OK", Some((Ok, None, ""))),
            (b"+OK hello there", Some((Ok, None, "hello there"))),
            (b"+ok\thello", Some((Ok, None, "hello"))),
            (b"+OKAY", None),
            (b"-ERR [AUTH] no", Some((Err, Some(Code::Auth), "[AUTH] no"))),
            (b"-ERR [in-use] x", Some((Err, Some(Code::InUse), "[in-use] x"))),
            (b"-ERR [LOGIN-DELAY]", Some((Err, Some(Code::LoginDelay), "[LOGIN-DELAY]"))),
            (b"-ERR [SYS/TEMP/DISK] x", Some((Err, Some(Code::SysTemp), "[SYS/TEMP/DISK] x"))),
            (b"-ERR [SYS/PERM] x", Some((Err, Some(Code::SysPerm), "[SYS/PERM] x"))),
            (b"-ERR [SYSTEM] x", Some((Err, Some(Code::Other), "[SYSTEM] x"))),
            (b"+ ", Some((Continue, None, ""))),
            (b"+", Some((Continue, None, ""))),
            (b"* OK IMAP4rev1", None),
            (b"", None),
        ];
        for (line, expect) in table {
            let got = Reply::parse(line);
            assert_eq!(got.as_ref().map(|r| (r.status, r.code, r.text.as_str())), expect, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn tells_refusals_apart() {
        let table = [
            ("-ERR [AUTH] too many failures, try again later", Refusal::Credentials),
            ("-ERR [IN-USE] x", Refusal::NotNow),
            ("-ERR [SYS/PERM] x", Refusal::Mailbox),
            ("-ERR maildrop already locked", Refusal::NotNow),
            ("-ERR Mailbox is BUSY", Refusal::NotNow),
            ("-ERR invalid password", Refusal::Plain),
            ("-ERR", Refusal::Plain),
        ];
        for (line, expect) in table {
            assert_eq!(Reply::parse(line.as_bytes()).unwrap().refusal(), expect, "{line}");
        }
    }

    #[test]
    fn finds_sizes() {
        let table = [
            ("+OK 1234 octets", Some(1234)),
            ("+OK 12 bytes.", Some(12)),
            ("+OK message 3 follows (99 octets)", Some(99)),
            ("+OK 99999999999999999999999 octets", None),
            ("+OK -5 octets", None),
            ("+OK", None),
        ];
        for (line, expect) in table {
            assert_eq!(Reply::parse(line.as_bytes()).unwrap().octets(), expect, "{line}");
        }
        let stat = |line: &str| Reply::parse(line.as_bytes()).unwrap().stat();
        assert_eq!(stat("+OK 2 320"), Some((2, 320)));
        assert_eq!(stat("+OK 2 -320"), Some((2, 0)));
        assert_eq!(stat("+OK -2 320"), None);
        assert_eq!(stat("+OK +2 320"), None);
        assert_eq!(stat("+OK you have mail"), None);
    }
}
