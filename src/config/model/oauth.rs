//! How a collector gets its access tokens.

use super::{Protocol, SecretSource};
use crate::config::WebPlace;
use std::path::PathBuf;

/// `auth: {method: oauth2, client_id: …}`: the program gets tokens itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// Whose tokens: what is known of it has been filled in.
    pub service: OAuthService,
    /// Where tokens are given (RFC 6749 §3.2).
    pub token_url: WebPlace,
    /// Where a browser is sent (RFC 6749 §3.1).
    pub auth_url: Option<String>,
    /// Where codes for persons are given (RFC 8628 §3.1).
    pub device_url: Option<WebPlace>,
    /// Where tokens are given back (RFC 7009).
    pub revoke_url: Option<WebPlace>,
    /// How somebody, or the program itself, is let in.
    pub flow: OAuthFlow,
    /// The program as it was registered there.
    pub client_id: String,
    /// How it shows that.
    pub proof: ClientProof,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Whose mailbox a service account asks for.
    pub subject: Option<String>,
    /// Where tokens are kept: in a folder of the state directory.
    pub state_dir: PathBuf,
    /// What they are sealed with there (`service.token_key`).
    pub key: Option<SecretSource>,
}

/// `auth.provider`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthService {
    /// Gmail and Google Workspace.
    Google,
    /// Microsoft 365 and outlook.com.
    Microsoft,
    /// Yandex.
    Yandex,
    /// Mail.ru.
    MailRu,
    /// None that is known: `token_url` and the others are said.
    Other,
}

/// `auth.flow`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthFlow {
    /// A person types a code elsewhere (RFC 8628).
    Device,
    /// A person's browser brings a code (RFC 6749 §4.1 with RFC 7636).
    Code,
    /// The program itself (RFC 6749 §4.4).
    ClientCredentials,
    /// A key of Google's that stands for somebody (RFC 7523 §2.1).
    ServiceAccount,
}

impl OAuth {
    /// The secret that it names, with its key.
    pub fn secret(&self) -> Option<(&'static str, &SecretSource)> {
        match &self.proof {
            ClientProof::Public => None,
            ClientProof::Secret(source) => Some(("auth.client_secret", source)),
            ClientProof::Certificate { key, .. } => Some(("auth.certificate_key", key)),
            ClientProof::ServiceAccount(source) => Some(("auth.service_account", source)),
        }
    }
}

impl OAuthFlow {
    /// True if a person has to sign in once, by `mailgather oauth login`.
    pub fn needs_a_person(self) -> bool {
        matches!(self, OAuthFlow::Device | OAuthFlow::Code)
    }

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            OAuthFlow::Device => "device",
            OAuthFlow::Code => "code",
            OAuthFlow::ClientCredentials => "client_credentials",
            OAuthFlow::ServiceAccount => "service_account",
        }
    }
}

/// How a client shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientProof {
    /// Not at all (RFC 6749 §2.1, public).
    Public,
    /// `client_secret`
    Secret(SecretSource),
    /// `certificate` and `certificate_key`: what it says is signed (RFC 7523 §2.2).
    Certificate {
        /// The certificate that the server knows, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: SecretSource,
    },
    /// `service_account`: Google's JSON file.
    ServiceAccount(SecretSource),
}

/// `auth.cloud`: Microsoft's, each with hosts of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// Everybody's.
    #[default]
    Global,
    /// US government, GCC High.
    UsGov,
    /// US department of defense.
    UsDod,
    /// China, by 21Vianet.
    China,
}

impl Cloud {
    /// Who gives tokens.
    pub fn login_host(self) -> &'static str {
        match self {
            Cloud::Global => "login.microsoftonline.com",
            Cloud::UsGov | Cloud::UsDod => "login.microsoftonline.us",
            Cloud::China => "login.partner.microsoftonline.cn",
        }
    }

    /// Who answers Graph.
    pub fn graph_host(self) -> &'static str {
        match self {
            Cloud::Global => "graph.microsoft.com",
            Cloud::UsGov => "graph.microsoft.us",
            Cloud::UsDod => "dod-graph.microsoft.us",
            Cloud::China => "microsoftgraph.chinacloudapi.cn",
        }
    }

    /// Who has the mailboxes.
    pub fn mail_host(self) -> &'static str {
        match self {
            Cloud::Global => "outlook.office365.com",
            Cloud::UsGov => "outlook.office365.us",
            Cloud::UsDod => "webmail.apps.mil",
            Cloud::China => "partner.outlook.cn",
        }
    }
}

impl OAuthService {
    /// Where tokens, browsers and codes are: `None` where the service has none, or nothing is known of it.
    pub fn places(self, tenant: &str, cloud: Cloud) -> [Option<String>; 3] {
        let some = |text: &str| Some(text.to_owned());
        match self {
            OAuthService::Google => [
                some("https://oauth2.googleapis.com/token"),
                some("https://accounts.google.com/o/oauth2/v2/auth"),
                // Google's codes for devices are not for mail: its list of scopes for them has none of Gmail's.
                None,
            ],
            OAuthService::Microsoft => {
                let of = |what: &str| Some(format!("https://{}/{tenant}/oauth2/v2.0/{what}", cloud.login_host()));
                [of("token"), of("authorize"), of("devicecode")]
            }
            OAuthService::Yandex => {
                [some("https://oauth.yandex.ru/token"), some("https://oauth.yandex.ru/authorize"), some("https://oauth.yandex.ru/device/code")]
            }
            OAuthService::MailRu => [some("https://oauth.mail.ru/token"), some("https://oauth.mail.ru/login"), None],
            OAuthService::Other => [None, None, None],
        }
    }

    /// Where tokens are given back. Microsoft has no such place, and Mail.ru names none.
    pub fn revocation(self) -> Option<&'static str> {
        match self {
            OAuthService::Google => Some("https://oauth2.googleapis.com/revoke"),
            OAuthService::Yandex => Some("https://oauth.yandex.ru/revoke_token"),
            OAuthService::Microsoft | OAuthService::MailRu | OAuthService::Other => None,
        }
    }

    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            OAuthService::Google => "Google",
            OAuthService::Microsoft => "Microsoft",
            OAuthService::Yandex => "Yandex",
            OAuthService::MailRu => "Mail.ru",
            OAuthService::Other => "the provider",
        }
    }

    /// What has to be asked for to read, mark and delete mail by this protocol.
    pub fn scopes(self, protocol: Protocol, flow: OAuthFlow, cloud: Cloud) -> Vec<String> {
        let owned = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        match self {
            OAuthService::Microsoft => microsoft(protocol, flow, cloud),
            OAuthService::Google => owned(&["https://mail.google.com/"]),
            OAuthService::Yandex => owned(&["mail:imap_full"]),
            // Its documentation: mail.imap may be asked for only together with userinfo.
            OAuthService::MailRu => owned(&["userinfo", "mail.imap"]),
            OAuthService::Other => Vec::new(),
        }
    }

    /// What browsers are told beside what the RFCs say, so that there will be a refresh token.
    pub fn of_browsers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // Without `prompt` it gives one at the first consent only.
            OAuthService::Google => &[("access_type", "offline"), ("prompt", "consent")],
            _ => &[],
        }
    }
}

/// For the program itself everything that an administrator granted; for a person what the protocol needs, and a refresh token.
fn microsoft(protocol: Protocol, flow: OAuthFlow, cloud: Cloud) -> Vec<String> {
    let is_graph = protocol == Protocol::Graph;
    let host = match (flow, is_graph) {
        (_, true) => cloud.graph_host(),
        // The tokens of persons are made for outlook.office.com, whatever the host of the mailbox.
        (OAuthFlow::Device | OAuthFlow::Code, _) if cloud == Cloud::Global && protocol != Protocol::Exchange => "outlook.office.com",
        _ => cloud.mail_host(),
    };
    if !flow.needs_a_person() {
        return vec![format!("https://{host}/.default")];
    }
    let what = match protocol {
        Protocol::Imap => "IMAP.AccessAsUser.All",
        Protocol::Pop3 => "POP.AccessAsUser.All",
        Protocol::Exchange => "EWS.AccessAsUser.All",
        Protocol::Graph => "Mail.ReadWrite",
    };
    vec![format!("https://{host}/{what}"), "offline_access".to_owned()]
}

impl Cloud {
    /// The one that has this host.
    pub fn of_host(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let all = [Cloud::UsGov, Cloud::UsDod, Cloud::China];
        all.into_iter().find(|cloud| host == cloud.mail_host() || host == cloud.graph_host()).unwrap_or_default()
    }
}
