//! Why a mailbox of Microsoft's does not open with a token, as far as the token tells: which of time, audience, permission, account and mailbox is wrong.
//! Pure; nothing is decided by it but what an operator reads.

use super::claims::Claims;
use crate::config::Protocol;

/// Exchange Online and Graph, as tokens of the first kind name them.
const EXCHANGE_ID: &str = "00000002-0000-0ff1-ce00-000000000000";
const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";
/// Hosts for which tokens open mailboxes by IMAP, POP3 and EWS, in all clouds.
const EXCHANGE_HOSTS: [&str; 7] = [
    "outlook.office365.com",
    "outlook.office.com",
    "outlook.office365.us",
    "outlook-dod.office365.us",
    "webmail.apps.mil",
    "partner.outlook.cn",
    "ps.outlook.com",
];
/// Those for Graph.
const GRAPH_HOSTS: [&str; 4] = ["graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"];

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has ended.
    Time,
    /// It is for another service.
    Audience,
    /// The person did not allow what is needed, or was not asked.
    Scope,
    /// No administrator allowed it to the program.
    Role,
    /// Another person signed in.
    Account,
    /// Nothing that the token tells: the mailbox does not let it in.
    Mailbox,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub wrong: Wrong,
    /// In words.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// What a token should open.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// By what.
    pub protocol: Protocol,
    /// Who logs in.
    pub username: &'a str,
    /// The time, in seconds of Unix time.
    pub now: i64,
}

/// What is wrong with a token that was refused. `None` of tokens that tell nothing, or that are not Microsoft's.
pub fn of_refused(token: &str, wanted: Wanted<'_>) -> Option<Verdict> {
    let claims = Claims::of(token).filter(is_microsofts)?;
    Some(of_claims(&claims, wanted).unwrap_or_else(|| mailbox(&claims, wanted)))
}

/// What is wrong with a token that nobody has refused yet.
pub fn of_kept(token: &str, wanted: Wanted<'_>) -> Option<Verdict> {
    of_claims(&Claims::of(token).filter(is_microsofts)?, wanted).filter(|verdict| verdict.wrong != Wrong::Time)
}

fn is_microsofts(claims: &Claims) -> bool {
    claims.tenant.is_some() && claims.audience.is_some()
}

fn of_claims(claims: &Claims, wanted: Wanted<'_>) -> Option<Verdict> {
    let verdict = |wrong, text: String, hint: String| Some(Verdict { wrong, text, hint });
    if claims.expires.is_some_and(|until| until <= wanted.now) {
        let ago = wanted.now - claims.expires.unwrap_or_default();
        let hint = "what yields the token gave an old one; or this machine's clock is wrong (`timedatectl`)".to_owned();
        return verdict(Wrong::Time, format!("time: the token ended {ago} s ago"), hint);
    }
    let is_graph = wanted.protocol == Protocol::Graph;
    let (hosts, id, resource): (&[&str], _, _) = match is_graph {
        true => (&GRAPH_HOSTS, GRAPH_ID, "https://graph.microsoft.com"),
        false => (&EXCHANGE_HOSTS, EXCHANGE_ID, "https://outlook.office365.com"),
    };
    let audience = claims.audience.as_deref().unwrap_or_default();
    let host = audience.trim_start_matches("https://").trim_end_matches('/');
    if !hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) && !audience.eq_ignore_ascii_case(id) {
        let text = format!("audience: the token is for {audience}, and {} takes those for {resource}", name(wanted.protocol));
        let scope = if claims.is_of_the_program() { ".default" } else { permission(wanted.protocol, false)[0] };
        return verdict(Wrong::Audience, text, format!("`scopes: [{resource}/{scope}]`, or leave `scopes` away"));
    }
    let of_program = claims.is_of_the_program();
    let (needed, has) = (permission(wanted.protocol, of_program), if of_program { &claims.roles } else { &claims.scopes });
    if !has.iter().any(|has| needed.iter().any(|needed| needed.eq_ignore_ascii_case(has))) {
        let had = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        let (kind, list) = if of_program { ("role", "application") } else { ("scope", "delegated") };
        let text = format!("{kind}: {} is missing; the token has {had}", needed[0]);
        let how = if of_program { "and grant the administrator's consent" } else { "and sign in again: `mailgather oauth login NAME`" };
        let hint = format!("add the {list} permission {} to the program at Microsoft Entra (API permissions), {how}", needed[0]);
        return verdict(if of_program { Wrong::Role } else { Wrong::Scope }, text, hint);
    }
    None
}

/// All that the token tells is right.
fn mailbox(claims: &Claims, wanted: Wanted<'_>) -> Verdict {
    let username = wanted.username;
    let verdict = |wrong, text: String, hint: String| Verdict { wrong, text, hint };
    if claims.is_of_the_program() {
        let object = claims.object.as_deref().unwrap_or("OBJECT-ID");
        let client = claims.client.as_deref().unwrap_or("CLIENT-ID");
        let text = format!("mailbox: audience, role and time of the token are right, so {username} does not let the program {client} in");
        let hint = match wanted.protocol {
            Protocol::Graph => "is the mailbox there, and does an application access policy or RBAC for applications leave it out? New permissions take up to an hour".to_owned(),
            _ => format!(
                "in Exchange Online: New-ServicePrincipal -AppId {client} -ObjectId {object} (the object id of the enterprise application, not of the \
                 registration), then Add-MailboxPermission -Identity {username} -User {object} -AccessRights FullAccess; and the mailbox's IMAP or POP3 must be on"
            ),
        };
        return verdict(Wrong::Mailbox, text, hint);
    }
    match &claims.user {
        Some(user) if !user.eq_ignore_ascii_case(username) => verdict(
            Wrong::Account,
            format!("mailbox: {user} has signed in, and may not open {username}"),
            format!("sign in as {username}; or give {user} full access to that mailbox (Add-MailboxPermission), which takes up to an hour"),
        ),
        _ => verdict(
            Wrong::Mailbox,
            format!(
                "mailbox: audience, scope and time of the token are right, so {} is off for {username}, or a rule of the tenant forbids it",
                name(wanted.protocol)
            ),
            format!(
                "Set-CASMailbox -Identity {username} -ImapEnabled $true (-PopEnabled, -EwsEnabled); see the sign-in log of Microsoft Entra for conditional access"
            ),
        ),
    }
}

/// What opens a mailbox: the one to ask for, and others that do as well.
fn permission(protocol: Protocol, of_program: bool) -> &'static [&'static str] {
    match (protocol, of_program) {
        (Protocol::Imap, true) => &["IMAP.AccessAsApp", "full_access_as_app"],
        (Protocol::Imap, false) => &["IMAP.AccessAsUser.All"],
        (Protocol::Pop3, true) => &["POP.AccessAsApp", "full_access_as_app"],
        (Protocol::Pop3, false) => &["POP.AccessAsUser.All"],
        (Protocol::Exchange, true) => &["full_access_as_app"],
        (Protocol::Exchange, false) => &["EWS.AccessAsUser.All"],
        (Protocol::Graph, true) => &["Mail.ReadWrite", "Mail.Read"],
        (Protocol::Graph, false) => &["Mail.ReadWrite", "Mail.ReadWrite.Shared", "Mail.Read", "Mail.Read.Shared"],
    }
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "IMAP",
        Protocol::Pop3 => "POP3",
        Protocol::Exchange => "EWS",
        Protocol::Graph => "Graph",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    fn verdict(claims: Value, protocol: Protocol) -> Option<Verdict> {
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        of_refused(&token, Wanted { protocol, username: "tim@tenant.example", now: 1_000 })
    }

    #[test]
    fn each_that_can_be_wrong_is_told_from_the_others() {
        use Protocol::{Exchange, Graph, Imap, Pop3};
        let person = |aud: &str, scp: &str, upn: &str| json!({"tid": "t", "aud": aud, "scp": scp, "upn": upn, "exp": 2_000});
        let program = |aud: &str, roles: &[&str]| json!({"tid": "t", "aud": aud, "roles": roles, "appid": "app", "oid": "obj", "exp": 2_000});
        let (outlook, graph) = ("https://outlook.office365.com", "https://graph.microsoft.com");
        for (claims, protocol, wrong, text, hint) in [
            (
                person(graph, "IMAP.AccessAsUser.All", "tim@tenant.example"),
                Imap,
                Wrong::Audience,
                "is for https://graph.microsoft.com, and IMAP",
                "https://outlook.office365.com/IMAP.AccessAsUser.All",
            ),
            (program(outlook, &["Mail.ReadWrite"]), Graph, Wrong::Audience, "audience", "https://graph.microsoft.com/.default"),
            (
                person("https://outlook.office.com/", "openid POP.AccessAsUser.All", "tim@tenant.example"),
                Imap,
                Wrong::Scope,
                "IMAP.AccessAsUser.All is missing; the token has openid, POP",
                "sign in again",
            ),
            (person(GRAPH_ID, "Mail.Send", "tim@tenant.example"), Graph, Wrong::Scope, "scope: Mail.ReadWrite", "delegated"),
            (program(EXCHANGE_ID, &[]), Pop3, Wrong::Role, "role: POP.AccessAsApp is missing; the token has none", "consent"),
            (program(outlook, &["IMAP.AccessAsApp"]), Exchange, Wrong::Role, "full_access_as_app", "application permission"),
            (
                program(outlook, &["IMAP.AccessAsApp"]),
                Imap,
                Wrong::Mailbox,
                "does not let the program app in",
                "New-ServicePrincipal -AppId app -ObjectId obj",
            ),
            (program(graph, &["Mail.ReadWrite"]), Graph, Wrong::Mailbox, "mailbox", "access policy"),
            (
                person(outlook, "IMAP.AccessAsUser.All", "anna@tenant.example"),
                Imap,
                Wrong::Account,
                "anna@tenant.example has signed in, and may not open tim@",
                "full access",
            ),
            (person(outlook, "IMAP.AccessAsUser.All", "Tim@tenant.example"), Imap, Wrong::Mailbox, "IMAP is off for tim@", "Set-CASMailbox"),
            (
                json!({"tid": "t", "aud": outlook, "scp": "IMAP.AccessAsUser.All", "exp": 1_000}),
                Imap,
                Wrong::Time,
                "time: the token ended 0 s ago",
                "clock",
            ),
        ] {
            let found = verdict(claims.clone(), protocol).unwrap();
            assert!(found.wrong == wrong && found.text.contains(text) && found.hint.contains(hint), "{claims}: {found:?}");
        }
        // Not Microsoft's, or not to be read.
        assert_eq!(verdict(json!({"aud": "x"}), Imap), None);
        assert_eq!(of_refused("ya29.opaque", Wanted { protocol: Imap, username: "a", now: 0 }), None);
        // Before anybody has refused it, a mailbox may be right, and an old token is renewed.
        let kept = |claims: Value| {
            of_kept(
                &format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string())),
                Wanted { protocol: Imap, username: "tim@tenant.example", now: 1_000 },
            )
        };
        assert_eq!(kept(person(outlook, "IMAP.AccessAsUser.All", "anna@tenant.example")), None);
        assert_eq!(kept(json!({"tid": "t", "aud": outlook, "exp": 1})), None);
        assert_eq!(kept(program(outlook, &[])).unwrap().wrong, Wrong::Role);
    }
}
