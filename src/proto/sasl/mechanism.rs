//! Which mechanisms there are, and which of them a server offers.

/// A mechanism that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 2195.
    CramMd5,
    /// RFC 4616.
    Plain,
    /// Never a standard: draft-murchison-sasl-login.
    Login,
    /// MS-NLMP, NTLMv2 only.
    Ntlm,
    /// Google's and Microsoft's, before there was a standard.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
    /// RFC 4422 appendix A.
    External,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 9] = [
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::Ntlm,
        Mechanism::XOAuth2,
        Mechanism::OAuthBearer,
        Mechanism::External,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::Ntlm => "NTLM",
            Mechanism::XOAuth2 => "XOAUTH2",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// Adds the mechanism of this name; one that we do not speak is nothing to us.
    pub fn add(&mut self, name: &str) {
        if let Some(mechanism) = Mechanism::named(name) {
            self.0 |= 1 << mechanism as u16;
        }
    }

    /// True if it is in.
    pub fn has(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }

    /// Those that are not named here.
    pub fn without(self, names: &[String]) -> Mechanisms {
        let mut without = Mechanisms::default();
        names.iter().for_each(|name| without.add(name));
        Mechanisms(self.0 & !without.0)
    }
}

impl<'a> FromIterator<&'a str> for Mechanisms {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut mechanisms = Mechanisms::default();
        names.into_iter().for_each(|name| mechanisms.add(name));
        mechanisms
    }
}

/// For messages: "PLAIN, LOGIN".
impl std::fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = Mechanism::ALL.into_iter().filter(|mechanism| self.has(*mechanism)).map(Mechanism::name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}
