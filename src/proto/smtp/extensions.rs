//! What a server offers in its answer to EHLO or LHLO (RFC 5321 §4.1.1.1).

/// The extensions that we make use of. Nothing is offered after HELO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Commands may be sent ahead of replies (RFC 2920).
    pub pipelining: bool,
    /// Octets above 127 in the content (RFC 6152).
    pub eight_bit_mime: bool,
    /// `SIZE=` is understood (RFC 1870).
    pub size: bool,
    /// The largest message that is taken, if the server says (RFC 1870 §4: 0 means that there is no fixed limit).
    pub size_max: Option<u64>,
    /// Octets above 127 in addresses (RFC 6531).
    pub smtputf8: bool,
    /// Replies carry enhanced codes (RFC 2034).
    pub enhanced_status_codes: bool,
    /// TLS can be started (RFC 3207).
    pub starttls: bool,
    /// Delivery status notifications can be asked for (RFC 3461).
    pub dsn: bool,
    /// The client attributes that XCLIENT takes, upper case, if this client may use it (Postfix, XCLIENT_README).
    pub xclient: Option<Vec<String>>,
    /// SASL mechanisms, upper case (RFC 4954).
    pub auth: Vec<String>,
}

impl Extensions {
    /// Reads the lines of the reply; the first is the greeting. What is not known, blank or odd is passed over.
    pub fn from_lines(lines: &[String]) -> Self {
        let mut offered = Extensions::default();
        for line in lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "ENHANCEDSTATUSCODES" => offered.enhanced_status_codes = true,
                "STARTTLS" => offered.starttls = true,
                "DSN" => offered.dsn = true,
                "XCLIENT" => offered.xclient.get_or_insert_default().extend(words.map(str::to_ascii_uppercase)),
                "SIZE" => {
                    offered.size = true;
                    offered.size_max = words.next().and_then(|octets| octets.parse().ok()).filter(|&octets| octets > 0);
                }
                // `AUTH=PLAIN` is how servers wrote it before RFC 2554, and some still write both.
                upper if upper == "AUTH" || upper.starts_with("AUTH=") => {
                    let first = upper.strip_prefix("AUTH=").map(str::to_owned);
                    offered.auth.extend(first.into_iter().chain(words.map(str::to_ascii_uppercase)).filter(|name| !name.is_empty()));
                }
                _ => {}
            }
        }
        offered
    }

    /// True if the server offers this SASL mechanism.
    pub fn has_auth(&self, mechanism: &str) -> bool {
        self.auth.iter().any(|offered| offered == mechanism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Extensions {
        Extensions::from_lines(&lines.iter().map(|line| line.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn a_full_offer() {
        let offered = read(&[
            "mx.example",
            "PIPELINING",
            "size 10240000",
            "STARTTLS",
            "AUTH PLAIN login",
            "EnhancedStatusCodes",
            "8BITMIME",
            "DSN",
            "XCLIENT NAME addr",
            "SMTPUTF8",
            "CHUNKING",
        ]);
        let auth = vec!["PLAIN".to_owned(), "LOGIN".to_owned()];
        let all = Extensions {
            pipelining: true,
            eight_bit_mime: true,
            size: true,
            size_max: Some(10_240_000),
            smtputf8: true,
            enhanced_status_codes: true,
            starttls: true,
            dsn: true,
            xclient: Some(vec!["NAME".to_owned(), "ADDR".to_owned()]),
            auth,
        };
        assert_eq!(offered, all);
        assert!(offered.has_auth("PLAIN") && !offered.has_auth("CRAM-MD5"));
    }

    #[test]
    fn odd_lines_are_passed_over() {
        for odd in ["", " ", "\t \t", "SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999", "AUTH", "AUTH=", "X-\u{fffd}", "=", "PIPELININGX"] {
            let offered = read(&["PIPELINING", odd]);
            assert_eq!(offered.size_max, None, "{odd:?}");
            assert_eq!(Extensions { size: false, ..offered }, Extensions::default(), "{odd:?}");
        }
        assert!(read(&["h", "AUTH=PLAIN"]).has_auth("PLAIN"));
        assert_eq!(read(&[]), Extensions::default());
    }
}
