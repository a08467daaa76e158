//! Pages of messages and of folders.

use super::link::{Link, Origin};
use super::request::ID_OCTETS_MAX;
use jiff::Timestamp;
use serde_json::Value;

/// Longest name of a folder.
const NAME_OCTETS_MAX: usize = 1_000;

/// A page that cannot be taken, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadablePage(String);

/// A page of a listing of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePage {
    /// What it tells, in its order.
    pub changes: Vec<Change>,
    /// More is there.
    pub next: Option<Link>,
    /// All is told; from here it goes on later.
    pub delta: Option<Link>,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The message is there.
    There(Seen),
    /// It is not there any more.
    Removed(String),
}

/// What a listing says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// When it came, in seconds since the epoch.
    pub received: Option<i64>,
    /// Whether it was read.
    pub is_read: Option<bool>,
    /// The folder that it is in, if that was asked.
    pub folder: Option<String>,
}

/// A page of a listing of folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderPage {
    /// The folders, and how many had no name that can be used.
    pub folders: Vec<RemoteMailFolder>,
    /// How many were left out, as their names are none.
    pub unreadable: usize,
    /// More is there.
    pub next: Option<Link>,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMailFolder {
    /// Its id.
    pub id: String,
    /// Its own name, without those above it; may hold anything but control characters.
    pub name: String,
    /// Folders in it.
    pub children: u64,
    /// Messages in it.
    pub messages: u64,
}

/// Reads a page of messages.
pub fn message_page(body: &[u8], origin: &Origin) -> Result<MessagePage, UnreadablePage> {
    let (entries, document) = entries(body)?;
    let changes = entries.iter().map(change).collect::<Result<_, _>>()?;
    Ok(MessagePage { changes, next: link(&document, "@odata.nextLink", origin)?, delta: link(&document, "@odata.deltaLink", origin)? })
}

/// Reads one message.
pub fn message(body: &[u8]) -> Result<Seen, UnreadablePage> {
    match change(&document(body)?)? {
        Change::There(seen) => Ok(seen),
        Change::Removed(_) => Err(unreadable("a message that says that it was removed")),
    }
}

/// Reads a page of folders.
pub fn folder_page(body: &[u8], origin: &Origin) -> Result<FolderPage, UnreadablePage> {
    let (entries, document) = entries(body)?;
    let all = entries.len();
    let folders: Vec<_> = entries.iter().map(of_folder).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    Ok(FolderPage { unreadable: all - folders.len(), folders, next: link(&document, "@odata.nextLink", origin)? })
}

/// Reads one folder.
pub fn folder(body: &[u8]) -> Result<RemoteMailFolder, UnreadablePage> {
    of_folder(&document(body)?)?.ok_or_else(|| unreadable("a folder without a name"))
}

/// The header of a message as its properties tell it: the fields as they came, where the server has them.
pub fn header(body: &[u8]) -> Result<Vec<u8>, UnreadablePage> {
    let document = document(body)?;
    let mut header = String::new();
    let mut field = |name: &str, value: &str| {
        let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
        if is_name && !value.is_empty() {
            // One line each, whatever stands in it.
            let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            header.push_str(&format!("{name}: {value}\r\n"));
        }
    };
    let fields: Vec<&Value> = document["internetMessageHeaders"].as_array().into_iter().flatten().collect();
    for entry in &fields {
        field(entry["name"].as_str().unwrap_or_default(), entry["value"].as_str().unwrap_or_default());
    }
    if fields.is_empty() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let address = |value: &Value| text(&value["emailAddress"]["address"]);
        let received = document["receivedDateTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        field("From", &address(&document["from"]));
        let to: Vec<String> = document["toRecipients"].as_array().into_iter().flatten().map(address).filter(|to| !to.is_empty()).collect();
        field("To", &to.join(", "));
        field("Subject", &text(&document["subject"]));
        field("Message-ID", &text(&document["internetMessageId"]));
        field("Date", &received.and_then(|at| jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).ok()).unwrap_or_default());
    }
    header.push_str("\r\n");
    Ok(header.into_bytes())
}

fn document(body: &[u8]) -> Result<Value, UnreadablePage> {
    let document: Value = serde_json::from_slice(body).map_err(|error| unreadable(&format!("no JSON: {error}")))?;
    if document.is_object() { Ok(document) } else { Err(unreadable("no object")) }
}

/// The entries, and what stands beside them. A page without a list is no empty one.
fn entries(body: &[u8]) -> Result<(Vec<Value>, Value), UnreadablePage> {
    let mut document = document(body)?;
    match document.get_mut("value").map(Value::take) {
        Some(Value::Array(entries)) => Ok((entries, document)),
        _ => Err(unreadable("no `value`")),
    }
}

fn change(entry: &Value) -> Result<Change, UnreadablePage> {
    let id = id(entry)?;
    if !entry["@removed"].is_null() {
        return Ok(Change::Removed(id));
    }
    let received = entry["receivedDateTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    Ok(Change::There(Seen { id, received, is_read: entry["isRead"].as_bool(), folder: entry["parentFolderId"].as_str().map(str::to_owned) }))
}

fn of_folder(entry: &Value) -> Result<Option<RemoteMailFolder>, UnreadablePage> {
    let id = id(entry)?;
    let name = entry["displayName"].as_str().filter(|name| !name.is_empty() && name.len() <= NAME_OCTETS_MAX && !name.chars().any(char::is_control));
    let count = |name: &str| entry[name].as_u64().unwrap_or(0);
    Ok(name.map(|name| RemoteMailFolder { id, name: name.to_owned(), children: count("childFolderCount"), messages: count("totalItemCount") }))
}

/// An entry without an id that can be used would be mail that nobody collects.
fn id(entry: &Value) -> Result<String, UnreadablePage> {
    let id = entry["id"].as_str().ok_or_else(|| unreadable("an entry without an id"))?;
    let is_usable = (1..=ID_OCTETS_MAX).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic());
    if is_usable { Ok(id.to_owned()) } else { Err(unreadable("an entry with an id that is none")) }
}

fn link(document: &Value, name: &str, origin: &Origin) -> Result<Option<Link>, UnreadablePage> {
    match &document[name] {
        Value::Null => Ok(None),
        Value::String(text) => match Link::follow(text, origin) {
            Some(link) => Ok(Some(link)),
            None => {
                let there: String = text.chars().take_while(|c| *c != '?').take(100).map(|c| if c.is_control() { '?' } else { c }).collect();
                Err(unreadable(&format!("{name} leads elsewhere ({there}), and our token must not")))
            }
        },
        _ => Err(unreadable(&format!("{name} is no text"))),
    }
}

fn unreadable(why: &str) -> UnreadablePage {
    UnreadablePage(format!("an answer that cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn origin() -> Origin {
        Origin { secure: true, host: "g.example".into(), port: 443, base: "/v1.0".into() }
    }

    fn there(id: &str, received: Option<i64>, is_read: Option<bool>) -> Change {
        Change::There(Seen { id: id.into(), received, is_read, folder: None })
    }

    #[test]
    fn pages_of_messages() {
        let body = json!({
            "@odata.context": "https://g.example/v1.0/$metadata#Collection(message)",
            "@odata.deltaLink": "https://g.example/v1.0/x?$deltatoken=1",
            "value": [
                {"@odata.etag": "W/\"x\"", "id": "a=", "receivedDateTime": "2026-11-22T08:00:00Z", "isRead": false},
                {"id": "b", "@removed": {"reason": "deleted"}},
                {"id": "c", "receivedDateTime": "soon"},
                {"id": "d", "receivedDateTime": "2026-11-22T08:00:00.1234567Z", "isRead": true},
            ]
        });
        let page = message_page(body.to_string().as_bytes(), &origin()).unwrap();
        let at = Some(1_795_334_400);
        assert_eq!(page.changes, [there("a=", at, Some(false)), Change::Removed("b".into()), there("c", None, None), there("d", at, Some(true))]);
        assert_eq!((page.delta.as_ref().map(Link::target), page.next), (Some("/v1.0/x?$deltatoken=1"), None));
    }

    #[test]
    fn pages_that_are_not_taken() {
        for (body, words) in [
            ("", "no JSON"),
            ("[]", "no object"),
            ("{}", "no `value`"),
            (r#"{"value": {}}"#, "no `value`"),
            (r#"{"value": ["#, "no JSON"),
            (r#"{"value": [1]}"#, "without an id"),
            (r#"{"value": [{"id": ""}]}"#, "an id that is none"),
            (r#"{"value": [{"id": "a\nb"}]}"#, "an id that is none"),
            (r#"{"value": [], "@odata.nextLink": "https://evil.example/v1.0/x?$skiptoken=secret"}"#, "leads elsewhere (https://evil.example/v1.0/x)"),
            (r#"{"value": [], "@odata.deltaLink": 1}"#, "no text"),
        ] {
            let error = message_page(body.as_bytes(), &origin()).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{body}: {error}");
        }
        let deep = format!("{{\"value\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(message_page(deep.as_bytes(), &origin()).is_err());
    }

    #[test]
    fn pages_of_folders() {
        let body = r#"{"value": [{"id": "1", "displayName": "Входящие", "childFolderCount": 2, "totalItemCount": 7}, {"id": "2", "displayName": "a\u0000b"}, {"id": "3"}]}"#;
        let page = folder_page(body.as_bytes(), &origin()).unwrap();
        assert_eq!(page.folders, [RemoteMailFolder { id: "1".into(), name: "Входящие".into(), children: 2, messages: 7 }]);
        assert_eq!(page.unreadable, 2);
        assert!(folder(br#"{"id": "1"}"#).is_err());
        assert_eq!(message(br#"{"id": "1", "parentFolderId": "f"}"#).unwrap().folder.as_deref(), Some("f"));
    }

    #[test]
    fn headers_from_properties() {
        let of = |body: Value| String::from_utf8(header(body.to_string().as_bytes()).unwrap()).unwrap();
        let as_it_came = json!({"subject": "x", "internetMessageHeaders": [
            {"name": "Received", "value": "from a\r\n by b"}, {"name": "Subject", "value": "ж"}, {"name": "X y", "value": "1"}, {"name": "Empty", "value": ""}
        ]});
        assert_eq!(of(as_it_came), "Received: from a   by b\r\nSubject: ж\r\n\r\n");
        let known = json!({"subject": "x", "from": {"emailAddress": {"address": "a@b"}}, "toRecipients": [{"emailAddress": {"address": "c@d"}}, {}],
            "receivedDateTime": "2026-11-22T08:00:00Z", "internetMessageId": "<1@b>"});
        assert_eq!(of(known), "From: a@b\r\nTo: c@d\r\nSubject: x\r\nMessage-ID: <1@b>\r\nDate: Sun, 22 Nov 2026 08:00:00 +0000\r\n\r\n");
        assert_eq!(of(json!({})), "\r\n");
    }

    proptest! {
        #[test]
        fn any_octets_are_taken(body in any::<Vec<u8>>()) {
            let _ = header(&body);
            let _ = (message_page(&body, &origin()), folder_page(&body, &origin()), message(&body), folder(&body));
        }

        /// What a server tells is what is read, in its order.
        #[test]
        fn what_is_told_is_read(told in prop::collection::vec(("[!-~]{1,60}", prop::option::of(0i64..4_000_000_000), prop::option::of(any::<bool>()), any::<bool>()), 0..40)) {
            let entries: Vec<Value> = told.iter().map(|(id, at, read, removed)| {
                let mut entry = json!({"id": id});
                at.iter().for_each(|at| entry["receivedDateTime"] = json!(Timestamp::from_second(*at).unwrap().to_string()));
                read.iter().for_each(|read| entry["isRead"] = json!(read));
                if *removed { entry["@removed"] = json!({"reason": "changed"}); }
                entry
            }).collect();
            let page = message_page(json!({"value": entries}).to_string().as_bytes(), &origin()).unwrap();
            let wanted: Vec<Change> = told.into_iter().map(|(id, at, read, removed)| if removed { Change::Removed(id) } else { there(&id, at, read) }).collect();
            prop_assert_eq!(page.changes, wanted);
        }
    }
}
