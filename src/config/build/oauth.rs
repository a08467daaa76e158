//! `auth:` of a collector that gets its tokens itself.

use super::Ctx;
use super::auth::Login;
use super::block::Block;
use super::password::password;
use super::values::{choice, list, path, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::yaml::Entry;
use crate::config::{ClientProof, Cloud, OAuth, OAuthFlow, OAuthService, WebPlace};

const SERVICES: [(&str, OAuthService); 5] = [
    ("google", OAuthService::Google),
    ("microsoft", OAuthService::Microsoft),
    ("yandex", OAuthService::Yandex),
    ("mailru", OAuthService::MailRu),
    ("other", OAuthService::Other),
];
const FLOWS: [(&str, OAuthFlow); 4] = [
    ("device", OAuthFlow::Device),
    ("code", OAuthFlow::Code),
    ("client_credentials", OAuthFlow::ClientCredentials),
    ("service_account", OAuthFlow::ServiceAccount),
];
pub(super) const CLOUDS: [(&str, Cloud); 4] =
    [("global", Cloud::Global), ("us_gov", Cloud::UsGov), ("us_dod", Cloud::UsDod), ("china", Cloud::China)];
/// Most scopes, and the longest one.
const SCOPES_MAX: usize = 50;
const WORD_MAX: usize = 500;

/// Who gives tokens, judged by the mail server, if nobody says it.
fn service_of(host: &str) -> OAuthService {
    let host = host.to_ascii_lowercase();
    let below = |domains: &[&str]| domains.iter().any(|domain| host == *domain || host.ends_with(&format!(".{domain}")));
    match () {
        () if below(&["gmail.com", "googlemail.com"]) => OAuthService::Google,
        () if below(&["office365.com", "outlook.com", "office365.us", "partner.outlook.cn", "apps.mil"]) => OAuthService::Microsoft,
        () if below(&["graph.microsoft.com", "microsoft.us", "microsoftgraph.chinacloudapi.cn"]) => OAuthService::Microsoft,
        () if below(&["yandex.ru", "yandex.com", "yandex.net"]) => OAuthService::Yandex,
        () if below(&["mail.ru"]) => OAuthService::MailRu,
        () => OAuthService::Other,
    }
}

/// The flow that the other keys speak of, if nobody says it.
fn flow_of(auth: &Block<'_>, service: OAuthService) -> OAuthFlow {
    let has = |key: &str| auth.get(key).is_some();
    match service {
        _ if has("service_account") => OAuthFlow::ServiceAccount,
        OAuthService::Microsoft if has("client_secret") || has("certificate") => OAuthFlow::ClientCredentials,
        OAuthService::Microsoft | OAuthService::Yandex => OAuthFlow::Device,
        OAuthService::Google | OAuthService::MailRu => OAuthFlow::Code,
        OAuthService::Other if has("device_url") => OAuthFlow::Device,
        OAuthService::Other if has("auth_url") => OAuthFlow::Code,
        OAuthService::Other => OAuthFlow::ClientCredentials,
    }
}

/// What `auth` says of it.
pub(super) fn oauth(ctx: &mut Ctx<'_>, auth: &Block<'_>, login: &Login<'_>) -> Option<OAuth> {
    let service = match auth.get("provider") {
        Some(entry) => choice(ctx, entry, &SERVICES, &[])?,
        None => login.host.map_or(OAuthService::Other, service_of),
    };
    let flow = match auth.get("flow") {
        Some(entry) => choice(ctx, entry, &FLOWS, &[])?,
        None => flow_of(auth, service),
    };
    let cloud = match auth.get("cloud") {
        Some(entry) => choice(ctx, entry, &CLOUDS, &[])?,
        None => login.host.map(Cloud::of_host).unwrap_or_default(),
    };
    let Some(client_id) = client_id(ctx, auth, flow) else {
        // Proof and scopes are read so that slips in them are told as well.
        let _ = (proof(ctx, auth, flow), auth.get("scopes").map(|entry| scopes(ctx, entry)));
        return None;
    };
    let tenant = tenant(ctx, auth, service, flow);
    for key in ["tenant", "cloud"] {
        if let Some(entry) = auth.get(key).filter(|_| service != OAuthService::Microsoft) {
            ctx.add(ctx.error(Code::Contradiction, entry.span, format!("`{key}` goes with `provider: microsoft` only")));
        }
    }
    let [token, browser, device] = service.places(&tenant, cloud);
    let token_url = place(ctx, auth, "token_url", token.as_deref());
    let auth_url = place(ctx, auth, "auth_url", browser.as_deref());
    let device_url = place(ctx, auth, "device_url", device.as_deref());
    let revoke_url = place(ctx, auth, "revoke_url", service.revocation());
    let proof = proof(ctx, auth, flow);
    let scopes = match auth.get("scopes") {
        Some(entry) => scopes(ctx, entry),
        None => service.scopes(login.protocol, flow, cloud),
    };
    let missing = match flow {
        _ if token_url.is_none() => Some(("token_url", "`provider: google`, `microsoft`, `yandex` or `mailru`")),
        OAuthFlow::Device if device_url.is_none() => Some(("device_url", "`flow: code`")),
        OAuthFlow::Code if auth_url.is_none() => Some(("auth_url", "`flow: device`")),
        _ => None,
    };
    if let Some((key, other)) = missing {
        if auth.get(key).is_none() {
            let span = auth.get("flow").or_else(|| auth.get("provider")).map_or(auth.span, |entry| entry.value.span);
            let problem = ctx.error(Code::Missing, span, format!("`flow: {}` needs a `{key}`, and none is known", flow.word()));
            ctx.add(problem.hint(format!("say it, or {other}")));
        }
        return None;
    }
    let subject = login.username.map(str::to_owned).filter(|_| flow == OAuthFlow::ServiceAccount);
    Some(OAuth {
        service,
        token_url: token_url?.0,
        auth_url: auth_url.map(|(_, text)| text),
        device_url: device_url.map(|(place, _)| place),
        revoke_url: revoke_url.map(|(place, _)| place),
        flow,
        client_id,
        proof: proof?,
        scopes,
        subject,
        state_dir: ctx.secrets.parent().unwrap_or(&ctx.secrets).to_owned(),
        key: ctx.token_key.clone(),
    })
}

/// What the provider calls the program.
fn client_id(ctx: &mut Ctx<'_>, auth: &Block<'_>, flow: OAuthFlow) -> Option<String> {
    match auth.get("client_id") {
        Some(entry) => word(ctx, entry),
        // The file has it.
        None if flow == OAuthFlow::ServiceAccount => Some(String::new()),
        None => {
            let problem = ctx.error(Code::Missing, auth.span, "`method: oauth2` has no `token`, and no `client_id` to get one with");
            ctx.add(problem.hint(
                "register the program with the provider, which gives it a `client_id` (docs/oauth2.md); or `token: {command: [program, argument]}`",
            ));
            None
        }
    }
}

/// `common` takes persons of every kind; the program itself has a tenant.
fn tenant(ctx: &mut Ctx<'_>, auth: &Block<'_>, service: OAuthService, flow: OAuthFlow) -> String {
    let said = auth.get("tenant").and_then(|entry| {
        let tenant = word(ctx, entry)?;
        let fits = tenant.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.'));
        if !fits {
            ctx.add(ctx.error(Code::Value, entry.value.span, "`tenant` is the tenant's domain or its id, as in tenant.example"));
        }
        fits.then_some(tenant)
    });
    if said.is_none() && auth.get("tenant").is_none() && service == OAuthService::Microsoft && flow == OAuthFlow::ClientCredentials {
        let problem = ctx.error(Code::Missing, auth.span, "`flow: client_credentials` at Microsoft needs the `tenant`");
        ctx.add(problem.hint("`tenant: tenant.example`, a domain of the organisation, or the tenant's id"));
    }
    said.unwrap_or_else(|| "common".to_owned())
}

/// A place that is said, or that is known, and how it is written.
fn place(ctx: &mut Ctx<'_>, auth: &Block<'_>, key: &str, known: Option<&str>) -> Option<(WebPlace, String)> {
    let entry = auth.get(key);
    let text = match entry {
        Some(entry) => text(ctx, entry)?,
        None => known?,
    };
    match (WebPlace::parse(text), entry) {
        (Ok(place), _) => Some((place, text.to_owned())),
        (Err(why), Some(entry)) => {
            ctx.add(ctx.error(Code::Value, entry.value.span, format!("`{key}`: {why}")));
            None
        }
        (Err(_), None) => None,
    }
}

fn proof(ctx: &mut Ctx<'_>, auth: &Block<'_>, flow: OAuthFlow) -> Option<ClientProof> {
    let ways = ["client_secret", "certificate", "service_account"];
    let said: Vec<&Entry> = ways.iter().filter_map(|key| auth.get(key)).collect();
    if let [_, second, ..] = said[..] {
        ctx.add(ctx.error(Code::Contradiction, second.span, format!("`{}` and `{}`: one of them", said[0].key, second.key)));
        return None;
    }
    if let Some(entry) = auth.get("certificate_key").filter(|_| auth.get("certificate").is_none()) {
        ctx.add(ctx.error(Code::Contradiction, entry.span, "`certificate_key` goes with `certificate` only"));
    }
    let wants_account = flow == OAuthFlow::ServiceAccount;
    match said.first() {
        Some(entry) if (entry.key == "service_account") != wants_account => {
            let text = format!("`{}` does not go with `flow: {}`", entry.key, flow.word());
            ctx.add(ctx.error(Code::Contradiction, entry.span, text));
            None
        }
        Some(entry) if entry.key == "client_secret" => password(ctx, entry).map(ClientProof::Secret),
        Some(entry) if entry.key == "service_account" => password(ctx, entry).map(ClientProof::ServiceAccount),
        Some(entry) => {
            let certificate = path(ctx, entry)?;
            ctx.names(entry.value.span, Outside::File("certificate", certificate.clone()));
            match auth.get("certificate_key") {
                Some(key) => Some(ClientProof::Certificate { certificate, key: password(ctx, key)? }),
                None => {
                    ctx.add(ctx.error(Code::Missing, entry.span, "`certificate` without `certificate_key`").hint("`certificate_key: {file: /path}`"));
                    None
                }
            }
        }
        None if !flow.needs_a_person() => {
            let keys = if wants_account { "`service_account: {file: /path}`" } else { "`client_secret` or `certificate`" };
            ctx.add(ctx.error(Code::Missing, auth.span, format!("`flow: {}` needs {keys}", flow.word())));
            None
        }
        None => Some(ClientProof::Public),
    }
}

fn scopes(ctx: &mut Ctx<'_>, entry: &Entry) -> Vec<String> {
    let items = list(ctx, entry, "[https://mail.google.com/]").unwrap_or_default();
    if items.len() > SCOPES_MAX {
        ctx.add(ctx.error(Code::Value, entry.value.span, format!("`scopes` has more than {SCOPES_MAX} entries")));
    }
    items.iter().take(SCOPES_MAX).filter_map(|item| word(ctx, item)).collect()
}

/// One word without blanks.
fn word(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<String> {
    let text = text(ctx, entry)?;
    // RFC 6749 Appendix A: VSCHAR; no blank, so that words can be joined.
    if text.is_empty() || text.len() > WORD_MAX || !text.bytes().all(|octet| (0x21..0x7f).contains(&octet)) {
        ctx.add(ctx.error(Code::Value, entry.value.span, format!("`{}` is one word of printable ASCII", entry.key)));
        return None;
    }
    Some(text.to_owned())
}
