//! What the fake answers.

use super::super::web::{self, Request, Response};
use super::mailbox::{Folder, Mailbox, Message, Mime, RECOVERABLE, large_start};
use super::{AT_ONCE, Fault, State};
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};

/// Messages of a page for those who do not say how many.
const PAGE: usize = 10;
/// Most messages of a page.
const PAGE_MAX: usize = 1000;
/// Octets of a piece of a body.
const PIECE: usize = 16 * 1024;
const OF_MESSAGE: [&str; 11] = [
    "id",
    "receivedDateTime",
    "isRead",
    "parentFolderId",
    "subject",
    "internetMessageId",
    "isDraft",
    "isReadReceiptRequested",
    "from",
    "internetMessageHeaders",
    "toRecipients",
];
const OF_FOLDER: [&str; 7] = ["id", "displayName", "parentFolderId", "childFolderCount", "totalItemCount", "unreadItemCount", "isHidden"];

/// An error answer.
struct No(u16, &'static str, String, Option<u32>);

fn no(status: u16, code: &'static str, message: impl Into<String>) -> No {
    No(status, code, message.into(), None)
}

impl No {
    fn response(self) -> Response {
        let No(status, code, message, wait) = self;
        let inner = json!({"date": "2026-11-22T08:00:00", "request-id": "11111111-2222-3333-4444-555555555555", "client-request-id": "x"});
        let response = web::json(status, &json!({"error": {"code": code, "message": message, "innerError": inner}}));
        match wait {
            Some(seconds) => web::with(response, "retry-after", &seconds.to_string()),
            None => response,
        }
    }
}

/// A request that counts for its mailbox until its answer is sent.
struct InFlight(Arc<Mutex<State>>, String);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(mailbox) = self.0.lock().unwrap().mailboxes.get_mut(&self.1) {
            mailbox.in_flight -= 1;
        }
    }
}

/// What was asked, taken apart.
struct Asked {
    method: String,
    /// Behind the mailbox, decoded.
    path: Vec<String>,
    /// As it came, without the query.
    bare: String,
    options: Vec<(String, String)>,
    body: Value,
    immutable: bool,
    page: Option<usize>,
    /// `http://host`
    host: String,
    base: String,
}

pub(super) async fn answer(state: Arc<Mutex<State>>, request: Request) -> Response {
    // What is preferred belongs to it: `GET /v1.0/… odata.maxpagesize=500`.
    let preferred = request.headers().get("prefer").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
    let line = format!("{} {} {}", request.method(), request.uri(), preferred.rsplit(' ').next().unwrap_or_default());
    let fault = {
        let mut state = state.lock().unwrap();
        let found = state.faults.iter_mut().find(|(text, times, _)| *times > 0 && line.contains(text.as_str()));
        let found = found.map(|(_, times, fault)| {
            *times -= 1;
            fault.clone()
        });
        match &mut state.strike {
            Some((number, _)) if *number > 1 => {
                *number -= 1;
                found
            }
            None => found,
            struck => struck.take().map(|(_, fault)| fault),
        }
    };
    match fault {
        Some(Fault::Error(status, code, wait)) => return No(status, code, "A test asked for it.".into(), wait).response(),
        Some(Fault::HangUp) => return web::hang_up(),
        Some(Fault::Says(document)) => return web::answer(200, "application/json", document),
        Some(Fault::Html(status)) => return web::answer(status, "text/html", "<html><body>Bad gateway</body></html>"),
        Some(Fault::Late(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let (address, asked) = match take_apart(&state, &request) {
        Ok(asked) => asked,
        Err(no) => return no.response(),
    };
    let latency = {
        let mut state = state.lock().unwrap();
        let mailbox = state.mailboxes.get_mut(&address).expect("it was found");
        mailbox.in_flight += 1;
        let now = mailbox.in_flight;
        state.most_at_once = state.most_at_once.max(now);
        if now > AT_ONCE {
            state.refused_at_once += 1;
            state.mailboxes.get_mut(&address).expect("it was found").in_flight -= 1;
            return no(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.").response();
        }
        state.latency
    };
    let in_flight = InFlight(Arc::clone(&state), address.clone());
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let answered = respond(&mut state.lock().unwrap(), &address, &asked);
    match answered {
        _ if matches!(fault, Some(Fault::HangUpAfter)) => web::hang_up(),
        Err(no) => no.response(),
        Ok(Answer::Json(status, mut document)) => {
            if matches!(fault, Some(Fault::ForeignLink)) {
                for name in ["@odata.nextLink", "@odata.deltaLink"] {
                    if let Some(link) = document[name].as_str() {
                        document[name] = json!(link.replace(&asked.host, "https://evil.example"));
                    }
                }
            }
            cut(web::json(status, &document), document.to_string().into(), fault)
        }
        Ok(Answer::None) => web::empty(204),
        Ok(Answer::Mime(mime)) => match fault {
            Some(Fault::BreakOff(_) | Fault::ShortLength(_)) => cut(web::empty(200), mime.whole(), fault),
            _ => web::with(Response::new(streamed(mime, in_flight)), "content-type", "text/plain"),
        },
    }
}

/// The answer with its body broken off, if that is the fault.
fn cut(response: Response, body: Bytes, fault: Option<Fault>) -> Response {
    let (octets, length) = match fault {
        Some(Fault::BreakOff(octets)) => (octets, None),
        Some(Fault::ShortLength(octets)) => (octets, Some(body.len())),
        _ => return response,
    };
    let mut response = response.map(|_| web::broken_off(body.slice(..octets.min(body.len()))));
    response.headers_mut().remove("content-length");
    match length {
        Some(length) => web::with(response, "content-length", &length.to_string()),
        None => response,
    }
}

/// In chunks, as the real one does.
fn streamed(mime: Mime, in_flight: InFlight) -> web::Body {
    let (mut start, mut rest) = match mime {
        Mime::Octets(octets) => (octets, 0),
        Mime::Large(subject, octets) => {
            let start = large_start(&subject);
            let rest = octets - start.len() as u64;
            (start.into(), rest)
        }
        Mime::None(_) => (Bytes::new(), 0),
    };
    web::streamed(stream::poll_fn(move |_| {
        let _ = &in_flight;
        let piece = match (start.len(), rest) {
            (0, 0) => None,
            (0, _) => {
                let octets = rest.min(PIECE as u64);
                rest -= octets;
                Some(Bytes::from(vec![b'x'; octets as usize]))
            }
            (octets, _) => Some(start.split_to(octets.min(PIECE))),
        };
        std::task::Poll::Ready(piece.map(Ok::<_, io::Error>))
    }))
}

/// Whose mailbox it is and what is asked of it, if the token may.
fn take_apart(state: &Mutex<State>, request: &Request) -> Result<(String, Asked), No> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let path: Vec<String> = request.uri().path().split('/').skip(1).map(decoded).collect();
    let (address, rest) = match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["v1.0", "users", address, rest @ ..] => (address.to_lowercase(), rest.iter().map(ToString::to_string).collect()),
        _ => return Err(no(400, "BadRequest", "Resource not found for the segment.")),
    };
    let state = state.lock().unwrap();
    let token = text("authorization");
    let rights = token.strip_prefix("Bearer ").and_then(|token| state.tokens.get(token));
    let rights = rights.ok_or_else(|| no(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid."))?;
    if rights.mailboxes.as_ref().is_some_and(|own| !own.iter().any(|own| own.eq_ignore_ascii_case(&address)))
        || (!rights.write && request.method() != web::Method::GET)
        || (!rights.contents && request.uri().path().ends_with("/$value"))
    {
        return Err(no(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
    }
    match state.mailboxes.get(&address) {
        None => return Err(no(404, "ErrorInvalidUser", format!("The requested user '{address}' is invalid."))),
        Some(mailbox) if mailbox.is_elsewhere => {
            return Err(no(404, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise."));
        }
        Some(_) => {}
    }
    let prefer = text("prefer");
    let mut page = None;
    for preference in prefer.split(',').map(str::trim).filter(|preference| !preference.is_empty()) {
        match preference.split_once('=') {
            Some(("odata.maxpagesize", number)) => page = number.parse().ok(),
            Some(("IdType", "\"ImmutableId\"")) => {}
            _ => return Err(no(400, "BadRequest", format!("Prefer: {preference}"))),
        }
    }
    let options = request.uri().query().unwrap_or_default().split('&').filter(|option| !option.is_empty());
    let options = options.map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        (decoded(name), decoded(&value.replace('+', " ")))
    });
    let body = match request.body() {
        body if body.is_empty() => Value::Null,
        body if text("content-type").starts_with("application/json") => {
            serde_json::from_slice(body).map_err(|_| no(400, "BadRequest", "Unable to read JSON request payload."))?
        }
        _ => return Err(no(415, "RequestBodyRead", "The content type is not supported.")),
    };
    let scheme = if request.extensions().get::<web::Connection>().is_some_and(|connection| connection.tls) { "https" } else { "http" };
    let host = format!("{scheme}://{}", text("host"));
    let asked = Asked {
        method: request.method().to_string(),
        path: rest,
        bare: request.uri().path().to_owned(),
        options: options.collect(),
        body,
        immutable: prefer.contains("IdType=\"ImmutableId\""),
        page,
        base: format!("{host}{}", request.uri().path()),
        host,
    };
    Ok((address, asked))
}

enum Answer {
    Json(u16, Value),
    Mime(Mime),
    None,
}

impl Asked {
    /// Only these options of a query are known here.
    fn only(&self, known: &[&str]) -> Result<(), No> {
        match self.options.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(no(400, "BadRequest", format!("Query option '{name}' was specified but is not known."))),
            None => Ok(()),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<usize>, No> {
        let number = self.option(name).map(|text| text.parse().map_err(|_| no(400, "BadRequest", format!("Invalid value '{text}' for {name}"))));
        number.transpose()
    }

    /// The properties that are wanted of these.
    fn shown(&self, known: &[&str], entry: Value) -> Result<Value, No> {
        let Some(select) = self.option("$select") else { return Ok(entry) };
        let wanted: Vec<&str> = select.split(',').collect();
        if let Some(odd) = wanted.iter().find(|name| !known.contains(name)) {
            return Err(no(400, "RequestBroker--ParseUri", format!("Could not find a property named '{odd}'.")));
        }
        let keep = |name: &str| name.starts_with('@') || name == "id" || wanted.contains(&name);
        let entry = entry.as_object().into_iter().flatten().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone()));
        Ok(Value::Object(entry.collect()))
    }

    /// A page of these, `skip` from the start.
    fn paged(&self, all: Vec<Value>, known: &[&str]) -> Result<Answer, No> {
        let (top, skip) = (self.number("$top")?, self.number("$skip")?.unwrap_or(0));
        let size = top.or(self.page).unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let entries = all.iter().skip(skip).take(size).map(|entry| self.shown(known, entry.clone())).collect::<Result<Vec<_>, _>>()?;
        let mut document = json!({"@odata.context": format!("{}/v1.0/$metadata", self.host), "value": entries});
        if skip + size < all.len() {
            let mut options: Vec<String> =
                self.options.iter().filter(|(name, _)| name != "$skip").map(|(n, v)| format!("{n}={}", encoded(v))).collect();
            options.push(format!("$skip={}", skip + size));
            document["@odata.nextLink"] = json!(format!("{}?{}", self.base, options.join("&")));
        }
        Ok(Answer::Json(200, document))
    }
}

fn respond(state: &mut State, address: &str, asked: &Asked) -> Result<Answer, No> {
    let (generation, receipts_refused, any_folder) = (state.generation, state.receipts_refused, state.any_folder);
    let mailbox = state.mailboxes.get_mut(address).expect("it was found");
    let missing = || no(404, "ErrorItemNotFound", "The specified object was not found in the store.");
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let of_list = ["$select", "$top", "$skip", "$filter", "$orderby", "$count"];
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["mailFolders"]) | ("GET", ["mailFolders", _, "childFolders"]) => {
            asked.only(&["$select", "$top", "$skip", "$filter", "includeHiddenFolders"])?;
            let parent = match path.get(1) {
                Some(id) => Some(mailbox.folder(id).ok_or_else(missing)?),
                None => None,
            };
            let name = match asked.option("$filter") {
                None => None,
                Some(filter) => {
                    let quoted = filter.strip_prefix("displayName eq '").and_then(|rest| rest.strip_suffix('\''));
                    Some(
                        quoted
                            .ok_or_else(|| no(400, "ErrorInvalidUrlQueryFilter", "The query filter contains one or more invalid nodes."))?
                            .replace("''", "'"),
                    )
                }
            };
            let is_wanted = |folder: &Folder| {
                let named = name.as_ref().is_none_or(|name| folder.name.to_lowercase() == name.to_lowercase());
                folder.parent == parent && folder.well_known != Some(RECOVERABLE) && named
            };
            let all = (0..mailbox.folders.len()).filter(|at| is_wanted(&mailbox.folders[*at])).map(|at| mailbox.folder_json(at)).collect();
            asked.paged(all, &OF_FOLDER)
        }
        ("POST", ["mailFolders"]) | ("POST", ["mailFolders", _, "childFolders"]) => {
            let parent = match path.get(1) {
                Some(id) => Some(mailbox.folder(id).ok_or_else(missing)?),
                None => None,
            };
            let name = asked.body["displayName"].as_str().ok_or_else(|| no(400, "ErrorInvalidRequest", "displayName is missing."))?;
            if mailbox.folders.iter().any(|folder| folder.parent == parent && folder.name.to_lowercase() == name.to_lowercase()) {
                return Err(no(409, "ErrorFolderExists", "A folder with the specified name already exists."));
            }
            let at = mailbox.make_folder(parent, name, None);
            Ok(Answer::Json(201, mailbox.folder_json(at)))
        }
        ("GET", ["mailFolders", id]) => {
            asked.only(&["$select"])?;
            let at = mailbox.folder(id).ok_or_else(missing)?;
            Ok(Answer::Json(200, asked.shown(&OF_FOLDER, mailbox.folder_json(at))?))
        }
        ("GET", ["mailFolders", id, "messages"]) => {
            asked.only(&of_list)?;
            let at = mailbox.folder(id).ok_or_else(missing)?;
            asked.paged(listed(mailbox, Some(at), asked)?, &OF_MESSAGE)
        }
        ("GET", ["messages"]) => {
            asked.only(&of_list)?;
            asked.paged(listed(mailbox, None, asked)?, &OF_MESSAGE)
        }
        ("GET", ["mailFolders", id, "messages", "delta" | "delta()" | "microsoft.graph.delta()"]) => {
            asked.only(&["$select", "$deltatoken", "$skiptoken"])?;
            let at = mailbox.folder(id).ok_or_else(missing)?;
            changes(mailbox, at, generation, asked)
        }
        // The real one's manual has it, and the real one has not.
        (_, ["mailFolders", _, "messages", _, "$value"]) => Err(no(405, "ErrorInvalidRequest", "The OData request is not supported.")),
        (_, ["mailFolders", folder, "messages", id, rest @ ..]) => {
            let at = mailbox.folder(folder).ok_or_else(missing)?;
            let number = mailbox.find(id).filter(|number| any_folder || mailbox.messages[number].folder == at).ok_or_else(missing)?;
            let receipts = one(mailbox, number, rest, asked, receipts_refused)?;
            state.receipts += usize::from(receipts.1);
            Ok(receipts.0)
        }
        (_, ["messages", id, rest @ ..]) => {
            let number = mailbox.find(id).ok_or_else(missing)?;
            let receipts = one(mailbox, number, rest, asked, receipts_refused)?;
            state.receipts += usize::from(receipts.1);
            Ok(receipts.0)
        }
        _ => Err(no(400, "BadRequest", format!("Resource not found: {} {}", asked.method, asked.bare))),
    }
}

/// A listing with its conditions, all pages of it.
fn listed(mailbox: &Mailbox, folder: Option<usize>, asked: &Asked) -> Result<Vec<Value>, No> {
    let invalid = || no(400, "ErrorInvalidUrlQueryFilter", "The query filter contains one or more invalid nodes.");
    let (mut since, mut unread, mut first) = (i64::MIN, None, "");
    for condition in asked.option("$filter").unwrap_or_default().split(" and ").filter(|condition| !condition.is_empty()) {
        let parts: Vec<&str> = condition.split(' ').collect();
        let [name, operator, value] = parts.as_slice() else { return Err(invalid()) };
        if first.is_empty() {
            first = name;
        }
        match (*name, *operator) {
            ("receivedDateTime", "ge") => since = value.parse::<Timestamp>().map_err(|_| invalid())?.as_second(),
            ("isRead", "eq") => unread = Some(!value.parse::<bool>().map_err(|_| invalid())?),
            _ => return Err(invalid()),
        }
    }
    let mut found: Vec<&Message> = mailbox.messages.values().filter(|message| folder.is_none_or(|at| at == message.folder)).collect();
    found.retain(|message| message.received >= since && unread.is_none_or(|unread| unread != message.is_read));
    match asked.option("$orderby") {
        None | Some("receivedDateTime desc") => found.sort_by_key(|message| std::cmp::Reverse((message.received, message.number))),
        Some("receivedDateTime" | "receivedDateTime asc") => found.sort_by_key(|message| (message.received, message.number)),
        Some(_) => return Err(no(400, "BadRequest", "Cannot sort by this.")),
    }
    if asked.option("$orderby").is_some() && !first.is_empty() && first != "receivedDateTime" {
        return Err(no(400, "InefficientFilter", "The restriction or sort order is too complex for this operation."));
    }
    Ok(found.into_iter().map(|message| mailbox.message_json(message, asked.immutable)).collect())
}

/// A page of what changed since a token.
fn changes(mailbox: &Mailbox, folder: usize, generation: u64, asked: &Asked) -> Result<Answer, No> {
    let token = asked.option("$deltatoken").or(asked.option("$skiptoken"));
    let lost = || no(410, "SyncStateNotFound", "The sync state generation is not found.");
    // Generation, folder, where it goes on, and where the round began.
    let (from, begun, select) = match token {
        None => (0, 0, asked.option("$select").unwrap_or_default().to_owned()),
        Some(token) => {
            let mut parts = token.splitn(5, '.');
            let mut number = || parts.next().and_then(|text| text.parse::<u64>().ok()).ok_or_else(lost);
            let (of, at, from, begun) = (number()?, number()?, number()?, number()?);
            if of != generation || at != folder as u64 || from > mailbox.clock {
                return Err(lost());
            }
            (from, begun, parts.next().unwrap_or_default().to_owned())
        }
    };
    // Whoever was told nothing yet needs not know what is gone.
    let is_first_page = from == 0 && begun == 0;
    let mut all: Vec<(u64, Value)> = Vec::new();
    for message in mailbox.messages.values().filter(|message| message.folder == folder && message.changed > from && !message.is_hidden) {
        all.push((message.changed, mailbox.message_json(message, asked.immutable)));
    }
    for (when, id) in mailbox.folders[folder].removed.iter().filter(|(when, _)| *when > from && !is_first_page) {
        let is_back = mailbox.find(id).is_some_and(|number| mailbox.messages[&number].folder == folder);
        if !is_back {
            all.push((*when, json!({"id": id, "@removed": {"reason": "deleted"}})));
        }
    }
    all.sort_by_key(|(when, _)| *when);
    let size = asked.page.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let more = all.len() > size;
    all.truncate(size);
    let last = all.last().map_or(mailbox.clock, |(when, _)| *when);
    // Like the real one, each further request of a round needs no option but its token.
    let shown = Asked { options: vec![("$select".into(), select.clone())], ..asked.copy() };
    let shown = if select.is_empty() { asked.copy() } else { shown };
    let entries = all.into_iter().map(|(_, entry)| if entry["@removed"].is_null() { shown.shown(&OF_MESSAGE, entry) } else { Ok(entry) });
    let mut document =
        json!({"@odata.context": format!("{}/v1.0/$metadata#Collection(message)", asked.host), "value": entries.collect::<Result<Vec<_>, _>>()?});
    let (name, option, from, begun) = match more {
        true => ("@odata.nextLink", "$skiptoken", last, begun),
        false => ("@odata.deltaLink", "$deltatoken", mailbox.clock, mailbox.clock.max(1)),
    };
    document[name] = json!(format!("{}?{option}={generation}.{folder}.{from}.{begun}.{}", asked.base, encoded(&select)));
    Ok(Answer::Json(200, document))
}

impl Asked {
    fn copy(&self) -> Asked {
        Asked {
            method: self.method.clone(),
            path: self.path.clone(),
            bare: self.bare.clone(),
            options: Vec::new(),
            body: Value::Null,
            immutable: self.immutable,
            page: self.page,
            host: self.host.clone(),
            base: self.base.clone(),
        }
    }
}

/// What is done with one message, and whether that sent a receipt.
fn one(mailbox: &mut Mailbox, number: u64, rest: &[&str], asked: &Asked, receipts_refused: bool) -> Result<(Answer, bool), No> {
    let json = |mailbox: &Mailbox, status| {
        let document = asked.shown(&OF_MESSAGE, mailbox.message_json(&mailbox.messages[&number], asked.immutable))?;
        Ok((Answer::Json(status, document), false))
    };
    match (asked.method.as_str(), rest) {
        ("GET", []) => {
            asked.only(&["$select"])?;
            json(mailbox, 200)
        }
        ("GET", ["$value"]) => {
            asked.only(&[])?;
            match &mailbox.messages[&number].mime {
                Mime::None(_) => Err(no(500, "ErrorMimeContentConversionFailed", "MIME conversion failed for content.")),
                mime => Ok((Answer::Mime(mime.clone()), false)),
            }
        }
        ("DELETE", []) => {
            let deleted = mailbox.folder(RECOVERABLE).expect("each mailbox has it");
            mailbox.move_to(number, deleted);
            Ok((Answer::None, false))
        }
        ("PATCH", []) => {
            let body = asked.body.as_object().ok_or_else(|| no(400, "BadRequest", "Empty payload."))?;
            for name in body.keys() {
                match name.as_str() {
                    "isRead" | "@odata.type" => {}
                    "isReadReceiptRequested" if !receipts_refused => {}
                    _ => return Err(no(400, "ErrorInvalidPropertySet", format!("Property {name} cannot be set."))),
                }
            }
            let (mut sent, read, receipt) =
                (false, body.get("isRead").and_then(Value::as_bool), body.get("isReadReceiptRequested").and_then(Value::as_bool));
            mailbox.change(number, |message| {
                message.wants_receipt = receipt.unwrap_or(message.wants_receipt);
                sent = read == Some(true) && !message.is_read && message.wants_receipt;
                message.is_read = read.unwrap_or(message.is_read);
            });
            // The real one tells all of the message, its text too.
            let Answer::Json(_, mut document) = json(mailbox, 200)?.0 else { unreachable!("a document") };
            document["body"] = json!({"contentType": "text", "content": String::from_utf8_lossy(&mailbox.messages[&number].mime.whole())});
            Ok((Answer::Json(200, document), sent))
        }
        ("POST", ["move"]) => {
            // Names of parameters are the same in any case.
            let to = ["destinationId", "DestinationId"].iter().find_map(|name| asked.body[name].as_str()).and_then(|id| mailbox.folder(id));
            let to = to.ok_or_else(|| no(404, "ErrorItemNotFound", "The specified folder could not be found in the store."))?;
            mailbox.move_to(number, to);
            json(mailbox, 201)
        }
        _ => Err(no(400, "BadRequest", format!("Resource not found: {} {}", asked.method, asked.bare))),
    }
}

fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let octet = (*first == b'%' && behind.len() >= 2).then(|| std::str::from_utf8(&behind[..2]).ok()).flatten();
        match octet.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => (out.push(octet), rest = &behind[2..]).1,
            None => (out.push(*first), rest = behind).1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|octet| if octet.is_ascii_alphanumeric() || b"-._~,".contains(&octet) { (octet as char).to_string() } else { format!("%{octet:02X}") })
        .collect()
}
