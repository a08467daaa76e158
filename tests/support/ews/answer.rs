//! What the server answers.

use super::schema::{MESSAGES, Node, Refused, SOAP, TYPES, field, folders, invalid, items, shape};
use super::store::{Event, Folder, Item, Kind, Trouble};
use super::{VERSIONS, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quick_xml::escape::escape;
use std::fmt::Write;

/// In place of a code: there is no answer.
pub const HANG_UP: &str = "hang up";

/// A SOAP fault.
pub fn fault(code: &str, text: &str, back_off: Option<u64>) -> String {
    let back_off = back_off.map_or_else(String::new, |wait| {
        format!("<t:MessageXml xmlns:t=\"{TYPES}\"><t:Value Name=\"BackOffMilliseconds\">{wait}</t:Value></t:MessageXml>")
    });
    let text = escape(text);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Body><s:Fault><faultcode xmlns:a=\"{TYPES}\">a:{code}</faultcode>\
         <faultstring xml:lang=\"en-US\">{text}</faultstring><detail>\
         <e:ResponseCode xmlns:e=\"http://schemas.microsoft.com/exchange/services/2006/errors\">{code}</e:ResponseCode>\
         <e:Message xmlns:e=\"http://schemas.microsoft.com/exchange/services/2006/errors\">{text}</e:Message>{back_off}</detail></s:Fault></s:Body></s:Envelope>"
    )
}

fn envelope(operation: &str, messages: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Header><h:ServerVersionInfo MajorVersion=\"15\" \
         MinorVersion=\"0\" MajorBuildNumber=\"1497\" MinorBuildNumber=\"2\" Version=\"V2_23\" xmlns:h=\"{TYPES}\"/></s:Header>\
         <s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><m:{operation}Response xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\">\
         <m:ResponseMessages>{messages}</m:ResponseMessages></m:{operation}Response></s:Body></s:Envelope>"
    )
}

fn done(operation: &str, inside: &str) -> String {
    format!("<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inside}</m:{operation}ResponseMessage>")
}

fn refused(operation: &str, code: &str, back_off: Option<u64>) -> String {
    let back_off =
        back_off.map_or_else(String::new, |wait| format!("<m:MessageXml><t:Value Name=\"BackOffMilliseconds\">{wait}</t:Value></m:MessageXml>"));
    let items = if operation == "GetItem" { "<m:Items/>" } else { "" };
    format!(
        "<m:{operation}ResponseMessage ResponseClass=\"Error\"><m:MessageText>{code}, in words.</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>\
         <m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{back_off}{items}</m:{operation}ResponseMessage>"
    )
}

/// The same refusal for each.
pub fn each(operation: &str, count: usize, code: &str, back_off: Option<u64>) -> String {
    envelope(operation, &refused(operation, code, back_off).repeat(count))
}

/// The answer to a request of this user.
pub fn answer(world: &mut World, user: &str, text: &str) -> Result<String, Refused> {
    let request = Node::parse(text)?;
    if (request.name.as_str(), request.namespace.as_str()) != ("Envelope", SOAP) {
        return Err(invalid("no envelope"));
    }
    request.expect(SOAP, &[("Header", 0, 1), ("Body", 1, 1)])?;
    let mut as_user = user.to_owned();
    let mut asked = "Exchange2007_SP1";
    for field in request.child("Header").into_iter().flat_map(|header| &header.children) {
        match field.name.as_str() {
            "RequestServerVersion" => {
                let version = field.attribute("Version").unwrap_or_default();
                asked = VERSIONS.into_iter().find(|known| *known == version).ok_or_else(|| invalid(format!("the version {version}")))?;
            }
            "ExchangeImpersonation" => {
                field.expect(TYPES, &[("ConnectingSID", 1, 1)])?;
                let names = if asked == "Exchange2007_SP1" {
                    "PrincipalName|SID|PrimarySmtpAddress"
                } else {
                    "PrincipalName|SID|PrimarySmtpAddress|SmtpAddress"
                };
                field.children[0].expect(TYPES, &[(names, 1, 1)])?;
                if !world.impersonators.iter().any(|name| name == user) {
                    return Err(("ErrorImpersonateUserDenied", "The account does not have permission to impersonate the requested user.".into()));
                }
                as_user = field.children[0].children[0].text.clone();
                if world.store.well_known(&as_user, "inbox").is_none() {
                    return Err(("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.".into()));
                }
            }
            "TimeZoneContext" | "MailboxCulture" | "DateTimePrecision" => {}
            other => return Err(invalid(format!("the header {other}"))),
        }
    }
    let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
    if place(asked) > place(world.version) {
        return Err(("ErrorInvalidServerVersion", "The specified server version is invalid.".into()));
    }
    let at_least = |version: &str| place(asked) >= place(version);
    let body = &request.children[request.children.len() - 1];
    body.expect(MESSAGES, &[("*", 1, 1)])?;
    let operation = &body.children[0];
    let messages = match operation.name.as_str() {
        "GetFolder" => get_folder(world, &as_user, operation, at_least("Exchange2013"))?,
        "FindFolder" => find_folder(world, &as_user, operation, at_least("Exchange2010"))?,
        "SyncFolderItems" => sync_items(world, &as_user, operation, at_least("Exchange2010_SP1"))?,
        "FindItem" => find_item(world, &as_user, operation)?,
        "GetItem" => get_item(world, &as_user, operation)?,
        "UpdateItem" | "DeleteItem" | "MoveItem" => change(world, &as_user, operation, at_least("Exchange2013_SP1"))?,
        other => return Err(("ErrorInvalidRequest", format!("no operation {other}"))),
    };
    Ok(envelope(&operation.name, &messages))
}

/// The folder that is meant, or the code of why not.
fn found<'w>(world: &'w World, user: &str, id: &Node) -> Result<&'w Folder, &'static str> {
    let name = id.attribute("Id").unwrap_or_default();
    let folder = if id.name == "FolderId" {
        if STANDARD.decode(name).is_err() {
            return Err("ErrorInvalidIdMalformed");
        }
        world.store.by_id(name)
    } else {
        let mailbox = id.child("Mailbox").and_then(|mailbox| mailbox.child("EmailAddress")).map_or(user, |address| address.text.as_str());
        if world.store.well_known(mailbox, "inbox").is_none() {
            return Err("ErrorNonExistentMailbox");
        }
        world.store.well_known(mailbox, name)
    };
    let folder = folder.ok_or("ErrorFolderNotFound")?;
    if world.may(user, &folder.mailbox) { Ok(folder) } else { Err("ErrorAccessDenied") }
}

fn folder_text(world: &World, folder: &Folder, modern: bool) -> String {
    let element = match folder.class {
        "IPF.Appointment" => "CalendarFolder",
        "IPF.Contact" => "ContactsFolder",
        _ => "Folder",
    };
    let all = world.store.of_folder(&folder.id);
    let children = world.store.folders.iter().filter(|child| child.parent == folder.id).count();
    let class = if folder.class.is_empty() { String::new() } else { format!("<t:FolderClass>{}</t:FolderClass>", folder.class) };
    let parent = if folder.parent.is_empty() { "AAAA" } else { &folder.parent };
    let known = match modern && !folder.well_known.is_empty() {
        true => format!("<t:DistinguishedFolderId>{}</t:DistinguishedFolderId>", folder.well_known),
        false => String::new(),
    };
    format!(
        "<t:{element}><t:FolderId Id=\"{}\" ChangeKey=\"AQAA\"/><t:ParentFolderId Id=\"{parent}\" ChangeKey=\"AQAA\"/>{class}<t:DisplayName>{}</t:DisplayName>\
         <t:TotalCount>{}</t:TotalCount><t:ChildFolderCount>{children}</t:ChildFolderCount>{known}</t:{element}>",
        folder.id,
        escape(folder.name.as_str()),
        all.len(),
    )
}

fn get_folder(world: &World, user: &str, operation: &Node, modern: bool) -> Result<String, Refused> {
    operation.expect(MESSAGES, &[("FolderShape", 1, 1), ("FolderIds", 1, 1)])?;
    shape(&operation.children[0], true)?;
    distinguished(&operation.children[0], modern)?;
    folders(&operation.children[1], usize::MAX)?;
    let of = |id: &Node| match found(world, user, id) {
        Ok(folder) => done("GetFolder", &format!("<m:Folders>{}</m:Folders>", folder_text(world, folder, modern))),
        Err(code) => refused("GetFolder", code, None),
    };
    Ok(operation.children[1].children.iter().map(of).collect())
}

/// The property came with Exchange 2013.
fn distinguished(shape: &Node, modern: bool) -> Result<(), Refused> {
    let asks = shape
        .child("AdditionalProperties")
        .is_some_and(|properties| properties.children.iter().any(|field| field.attribute("FieldURI") == Some("folder:DistinguishedFolderId")));
    if asks && !modern { Err(invalid("the value 'folder:DistinguishedFolderId'")) } else { Ok(()) }
}

/// A page of these; its attributes, and whether there are more.
fn page<T: Clone>(view: Option<&Node>, all: &[T], page_max: usize) -> Result<(Vec<T>, String), Refused> {
    let number = |node: &Node, name: &str| node.attribute(name).map(|value| value.parse::<usize>().map_err(|_| invalid(name))).transpose();
    let (offset, most) = match view {
        Some(view) => {
            view.expect_attributes(&["MaxEntriesReturned", "Offset!", "BasePoint!"])?;
            if view.attribute("BasePoint") != Some("Beginning") {
                return Err(invalid("BasePoint"));
            }
            (number(view, "Offset")?.unwrap_or(0), number(view, "MaxEntriesReturned")?.unwrap_or(usize::MAX))
        }
        None => (0, usize::MAX),
    };
    let from = offset.min(all.len());
    let to = from.saturating_add(most.min(page_max)).min(all.len());
    let is_last = to == all.len();
    let next = if view.is_some() { format!(" IndexedPagingOffset=\"{to}\"") } else { String::new() };
    Ok((all[from..to].to_vec(), format!("{next} TotalItemsInView=\"{}\" IncludesLastItemInRange=\"{is_last}\"", all.len())))
}

fn find_folder(world: &World, user: &str, operation: &Node, pages: bool) -> Result<String, Refused> {
    operation.expect_attributes(&["Traversal!"])?;
    operation.expect(
        MESSAGES,
        &[
            ("FolderShape", 1, 1),
            ("IndexedPageFolderView|FractionalPageFolderView", 0, usize::from(pages)),
            ("Restriction", 0, 1),
            ("ParentFolderIds", 1, 1),
        ],
    )?;
    shape(&operation.children[0], true)?;
    distinguished(&operation.children[0], world.version >= "Exchange2013")?;
    let parents = operation.child("ParentFolderIds").unwrap();
    folders(parents, usize::MAX)?;
    let deep = match operation.attribute("Traversal") {
        Some("Deep") => true,
        Some("Shallow") => false,
        other => return Err(invalid(format!("Traversal {other:?}"))),
    };
    let mut messages = String::new();
    for id in &parents.children {
        let top = match found(world, user, id) {
            Ok(folder) => folder,
            Err(code) => {
                messages += &refused("FindFolder", code, None);
                continue;
            }
        };
        let is_below = |folder: &Folder| {
            let mut at = folder;
            loop {
                if at.parent == top.id {
                    return true;
                }
                match world.store.by_id(&at.parent).filter(|_| deep) {
                    Some(parent) => at = parent,
                    None => return false,
                }
            }
        };
        let below: Vec<Folder> = world.store.folders.iter().filter(|folder| is_below(folder)).cloned().collect();
        let (below, attributes) = page(operation.child("IndexedPageFolderView"), &below, world.store.page_max)?;
        let texts: String = below.iter().map(|folder| folder_text(world, folder, world.version >= "Exchange2013")).collect();
        messages += &done("FindFolder", &format!("<m:RootFolder{attributes}><t:Folders>{texts}</t:Folders></m:RootFolder>"));
    }
    Ok(messages)
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An item, with these octets in base64 in front.
fn item_text(item: &Item, mime: Option<String>, header: bool) -> String {
    let element = match item.kind {
        Kind::Message => "Message",
        Kind::MeetingRequest => "MeetingRequest",
        Kind::Contact => "Contact",
        Kind::CalendarItem => "CalendarItem",
    };
    let mut text = format!("<t:{element}>");
    if let Some(mime) = mime {
        let _ = write!(text, "<t:MimeContent CharacterSet=\"UTF-8\">{mime}</t:MimeContent>");
    }
    let subject = String::from_utf8_lossy(&item.mime);
    let subject = subject.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned();
    let _ = write!(
        text,
        "<t:ItemId Id=\"{}\" ChangeKey=\"CQAAABYA\"/><t:ParentFolderId Id=\"{}\" ChangeKey=\"AQAA\"/><t:ItemClass>IPM.Note</t:ItemClass>\
         <t:Subject>{}</t:Subject><t:DateTimeReceived>{}</t:DateTimeReceived><t:Size>{}</t:Size>",
        item.id,
        item.folder,
        escape(subject.as_str()),
        time(item.received),
        item.size(),
    );
    if header {
        let octets = String::from_utf8_lossy(&item.mime);
        let header = octets.split("\r\n\r\n").next().unwrap_or_default();
        let _ = write!(
            text,
            "<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x7d\" PropertyType=\"String\"/><t:Value>{}</t:Value></t:ExtendedProperty>",
            escape(header)
        );
    }
    if matches!(item.kind, Kind::Message | Kind::MeetingRequest) {
        let _ = write!(text, "<t:IsRead>{}</t:IsRead>", item.is_read);
    }
    text + &format!("</t:{element}>")
}

fn sync_items(world: &World, user: &str, operation: &Node, scope: bool) -> Result<String, Refused> {
    operation.expect(
        MESSAGES,
        &[
            ("ItemShape", 1, 1),
            ("SyncFolderId", 1, 1),
            ("SyncState", 0, 1),
            ("Ignore", 0, 1),
            ("MaxChangesReturned", 1, 1),
            ("SyncScope", 0, usize::from(scope)),
        ],
    )?;
    shape(&operation.children[0], true)?;
    folders(&operation.children[1], 1)?;
    if operation.children[0].child("IncludeMimeContent").is_some_and(|mime| matches!(mime.text.trim(), "true" | "1")) {
        return Err(("ErrorInvalidOperation", "MIME content is not for this operation.".into()));
    }
    let most = operation.child("MaxChangesReturned").unwrap().text.parse::<usize>().ok().filter(|most| (1..=512).contains(most));
    let most = most.ok_or_else(|| invalid("MaxChangesReturned"))?;
    let folder = match found(world, user, &operation.children[1].children[0]) {
        Ok(folder) => folder,
        Err(code) => return Ok(refused("SyncFolderItems", code, None)),
    };
    let from = match operation.child("SyncState").filter(|state| !state.text.is_empty()) {
        None => 0,
        Some(state) => {
            let plain = STANDARD.decode(&state.text).ok().and_then(|plain| String::from_utf8(plain).ok()).unwrap_or_default();
            let mut parts = plain.split(' ');
            let (generation, id, at) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            match at.parse::<usize>() {
                Ok(at) if generation == world.store.generation.to_string() && id == folder.id => at,
                _ => return Ok(refused("SyncFolderItems", "ErrorInvalidSyncStateData", None)),
            }
        }
    };
    let most = if world.store.ignores_limits { usize::MAX } else { most };
    let to = from.saturating_add(most.min(world.store.page_max)).min(folder.history.len());
    let mut changes = String::new();
    for event in &folder.history[from.min(to)..to] {
        let there = |id: &String| world.store.items.get(id).filter(|item| item.folder == folder.id);
        match event {
            Event::Created(id) => {
                if let Some(item) = there(id) {
                    let _ = write!(changes, "<t:Create>{}</t:Create>", item_text(item, None, false));
                }
            }
            Event::Changed(id) => {
                if let Some(item) = there(id) {
                    let _ = write!(changes, "<t:Update>{}</t:Update>", item_text(item, None, false));
                }
            }
            Event::Read(id) => {
                if let Some(item) = there(id) {
                    let _ = write!(
                        changes,
                        "<t:ReadFlagChange><t:ItemId Id=\"{id}\" ChangeKey=\"CQ\"/><t:IsRead>{}</t:IsRead></t:ReadFlagChange>",
                        item.is_read
                    );
                }
            }
            Event::Gone(id) => {
                let _ = write!(changes, "<t:Delete><t:ItemId Id=\"{id}\" ChangeKey=\"CQ\"/></t:Delete>");
            }
        }
    }
    let state = STANDARD.encode(format!("{} {} {to}", world.store.generation, folder.id));
    let is_last = to == folder.history.len();
    Ok(done(
        "SyncFolderItems",
        &format!(
            "<m:SyncState>{state}</m:SyncState><m:IncludesLastItemInRange>{is_last}</m:IncludesLastItemInRange><m:Changes>{changes}</m:Changes>"
        ),
    ))
}

fn find_item(world: &World, user: &str, operation: &Node) -> Result<String, Refused> {
    operation.expect_attributes(&["Traversal!"])?;
    operation.expect(
        MESSAGES,
        &[
            ("ItemShape", 1, 1),
            ("IndexedPageItemView|FractionalPageItemView|CalendarView|ContactsView", 0, 1),
            ("GroupBy|DistinguishedGroupBy", 0, 1),
            ("Restriction", 0, 1),
            ("SortOrder", 0, 1),
            ("ParentFolderIds", 1, 1),
            ("QueryString", 0, 1),
        ],
    )?;
    shape(&operation.children[0], true)?;
    if operation.children[0].child("IncludeMimeContent").is_some_and(|mime| matches!(mime.text.trim(), "true" | "1")) {
        return Err(("ErrorInvalidPropertyRequest", "Property is not valid for this operation.".into()));
    }
    let parents = operation.child("ParentFolderIds").unwrap();
    folders(parents, usize::MAX)?;
    if operation.attribute("Traversal") != Some("Shallow") {
        return Err(invalid("Traversal"));
    }
    let mut messages = String::new();
    for id in &parents.children {
        let folder = match found(world, user, id) {
            Ok(folder) => folder,
            Err(code) => {
                messages += &refused("FindItem", code, None);
                continue;
            }
        };
        let mut all = world.store.of_folder(&folder.id);
        if let Some(restriction) = operation.child("Restriction") {
            restriction.expect(TYPES, &[("*", 1, 1)])?;
            let mut kept = Vec::new();
            for item in all {
                if fits(&item, &restriction.children[0])? {
                    kept.push(item);
                }
            }
            all = kept;
        }
        if let Some(order) = operation.child("SortOrder") {
            order.expect(TYPES, &[("FieldOrder", 1, 3)])?;
            for one in order.children.iter().rev() {
                one.expect_attributes(&["Order!"])?;
                one.expect(TYPES, &[("FieldURI|IndexedFieldURI|ExtendedFieldURI", 1, 1)])?;
                field(&one.children[0])?;
                match one.attribute("Order") {
                    Some("Ascending") => all.sort_by_key(|item| item.received),
                    Some("Descending") => all.sort_by_key(|item| std::cmp::Reverse(item.received)),
                    other => return Err(invalid(format!("Order {other:?}"))),
                }
            }
        }
        let (all, attributes) = page(operation.child("IndexedPageItemView"), &all, world.store.page_max)?;
        let texts: String = all.iter().map(|item| item_text(item, None, false)).collect();
        messages += &done("FindItem", &format!("<m:RootFolder{attributes}><t:Items>{texts}</t:Items></m:RootFolder>"));
    }
    Ok(messages)
}

/// Whether an item is let through.
fn fits(item: &Item, test: &Node) -> Result<bool, Refused> {
    match test.name.as_str() {
        "And" | "Or" => {
            test.expect(TYPES, &[("*", 2, usize::MAX)])?;
            let all = test.children.iter().map(|test| fits(item, test)).collect::<Result<Vec<bool>, Refused>>()?;
            Ok(if test.name == "And" { all.into_iter().all(|fits| fits) } else { all.into_iter().any(|fits| fits) })
        }
        "Not" => {
            test.expect(TYPES, &[("*", 1, 1)])?;
            Ok(!fits(item, &test.children[0])?)
        }
        "IsEqualTo" | "IsGreaterThanOrEqualTo" | "IsGreaterThan" | "IsLessThan" | "IsLessThanOrEqualTo" => {
            test.expect(TYPES, &[("FieldURI", 1, 1), ("FieldURIOrConstant", 1, 1)])?;
            field(&test.children[0])?;
            test.children[1].expect(TYPES, &[("Constant", 1, 1)])?;
            let constant = test.children[1].children[0].attribute("Value").ok_or_else(|| invalid("Value"))?;
            let order = match test.children[0].attribute("FieldURI") {
                Some("message:IsRead") => item.is_read.cmp(&matches!(constant.to_lowercase().as_str(), "true" | "1")),
                Some("item:DateTimeReceived") => {
                    let constant = constant.parse::<jiff::Timestamp>().map_err(|_| invalid("a time"))?;
                    item.received.cmp(&constant.as_second())
                }
                other => return Err(("ErrorUnsupportedPathForQuery", format!("{other:?}"))),
            };
            Ok(match test.name.as_str() {
                "IsEqualTo" => order.is_eq(),
                "IsGreaterThanOrEqualTo" => order.is_ge(),
                "IsGreaterThan" => order.is_gt(),
                "IsLessThan" => order.is_lt(),
                _ => order.is_le(),
            })
        }
        other => Err(invalid(format!("the restriction {other}"))),
    }
}

fn item<'w>(world: &'w World, user: &str, id: &Node) -> Result<&'w Item, &'static str> {
    let id = id.attribute("Id").unwrap_or_default();
    if id.is_empty() {
        return Err("ErrorInvalidIdEmpty");
    }
    if STANDARD.decode(id).is_err() {
        return Err("ErrorInvalidIdMalformed");
    }
    let item = world.store.items.get(id).ok_or("ErrorItemNotFound")?;
    if world.may(user, &item.mailbox) { Ok(item) } else { Err("ErrorAccessDenied") }
}

fn get_item(world: &World, user: &str, operation: &Node) -> Result<String, Refused> {
    operation.expect(MESSAGES, &[("ItemShape", 1, 1), ("ItemIds", 1, 1)])?;
    shape(&operation.children[0], true)?;
    items(&operation.children[1])?;
    let with_mime = operation.children[0].child("IncludeMimeContent").is_some_and(|mime| matches!(mime.text.trim(), "true" | "1"))
        || operation.children[0]
            .child("AdditionalProperties")
            .is_some_and(|all| all.children.iter().any(|field| field.attribute("FieldURI") == Some("item:MimeContent")));
    let with_header = operation.children[0]
        .child("AdditionalProperties")
        .is_some_and(|all| all.children.iter().any(|field| matches!(field.attribute("PropertyTag"), Some("0x007D" | "0x7d"))));
    let mut messages = String::new();
    for id in &operation.children[1].children {
        let item = match item(world, user, id) {
            Ok(item) => item,
            Err(code) => {
                messages += &refused("GetItem", code, None);
                continue;
            }
        };
        let mime = match (&item.trouble, with_mime) {
            (_, false) | (Some(Trouble::NoMime), true) => None,
            (Some(Trouble::Code(code)), true) => {
                messages += &refused("GetItem", code, None);
                continue;
            }
            (Some(Trouble::Fault(code)), true) => return Err((code, "The whole request failed.".into())),
            (Some(Trouble::Status(status)), true) => return Err((status, "no SOAP".into())),
            (Some(Trouble::HangUp), true) => return Err((HANG_UP, String::new())),
            (Some(Trouble::Raw(raw)), true) => Some((*raw).to_owned()),
            (None, true) => Some(STANDARD.encode(&item.mime)),
        };
        messages += &done("GetItem", &format!("<m:Items>{}</m:Items>", item_text(item, mime, with_header)));
    }
    Ok(messages)
}

fn change(world: &mut World, user: &str, operation: &Node, silent: bool) -> Result<String, Refused> {
    let receipts = if silent { "SuppressReadReceipts" } else { "" };
    let is_silent = operation.attribute("SuppressReadReceipts") == Some("true");
    let mut messages = String::new();
    match operation.name.as_str() {
        "UpdateItem" => {
            operation.expect_attributes(&["ConflictResolution!", "MessageDisposition", "SendMeetingInvitationsOrCancellations", receipts])?;
            operation.expect(MESSAGES, &[("SavedItemFolderId", 0, 1), ("ItemChanges", 1, 1)])?;
            if operation.attribute("MessageDisposition").is_none() {
                return Err(("ErrorMessageDispositionRequired", "Message disposition is required for message items.".into()));
            }
            let changes = operation.child("ItemChanges").unwrap();
            changes.expect(TYPES, &[("ItemChange", 1, usize::MAX)])?;
            for change in &changes.children {
                change.expect(TYPES, &[("ItemId", 1, 1), ("Updates", 1, 1)])?;
                change.children[0].expect_attributes(&["Id!", "ChangeKey"])?;
                change.children[1].expect(TYPES, &[("SetItemField|DeleteItemField|AppendToItemField", 1, usize::MAX)])?;
                let update = &change.children[1].children[0];
                update.expect(TYPES, &[("FieldURI|IndexedFieldURI|ExtendedFieldURI", 1, 1), ("Message|Item|MeetingRequest", 1, 1)])?;
                field(&update.children[0])?;
                if update.children[0].attribute("FieldURI") != Some("message:IsRead") {
                    return Err(("ErrorInvalidPropertySet", "This server changes IsRead alone.".into()));
                }
                update.children[1].expect(TYPES, &[("IsRead", 1, 1)])?;
                update.children[1].children[0].expect_text(&["true", "false", "1", "0"])?;
                let read = matches!(update.children[1].children[0].text.trim(), "true" | "1");
                match item(world, user, &change.children[0]).map(|item| item.id.clone()) {
                    Ok(id) => {
                        world.receipts += usize::from(read && !is_silent);
                        world.store.mark(&id, read);
                        let inside = format!(
                            "<m:Items><t:Message><t:ItemId Id=\"{id}\" ChangeKey=\"CQAAABYB\"/></t:Message></m:Items><m:ConflictResults><t:Count>0</t:Count>\
                             </m:ConflictResults>"
                        );
                        messages += &done("UpdateItem", &inside);
                    }
                    Err(code) => messages += &refused("UpdateItem", code, None),
                }
            }
        }
        "DeleteItem" => {
            operation.expect_attributes(&["DeleteType!", "SendMeetingCancellations", "AffectedTaskOccurrences", receipts])?;
            operation.expect(MESSAGES, &[("ItemIds", 1, 1)])?;
            items(&operation.children[0])?;
            let to = match operation.attribute("DeleteType") {
                Some("HardDelete") => None,
                Some("SoftDelete") => Some("recoverableitemsdeletions"),
                Some("MoveToDeletedItems") => Some("deleteditems"),
                other => return Err(invalid(format!("DeleteType {other:?}"))),
            };
            for id in &operation.children[0].children {
                match item(world, user, id).map(|item| (item.id.clone(), item.mailbox.clone(), item.is_read)) {
                    Ok((id, mailbox, is_read)) => {
                        world.receipts += usize::from(!is_read && !is_silent);
                        match to.and_then(|to| world.store.well_known(&mailbox, to)).map(|folder| folder.id.clone()) {
                            Some(to) => drop(world.store.move_to(&id, &to)),
                            None => drop(world.store.remove(&id)),
                        }
                        messages += &done("DeleteItem", "");
                    }
                    Err(code) => messages += &refused("DeleteItem", code, None),
                }
            }
        }
        _ => {
            operation.expect(MESSAGES, &[("ToFolderId", 1, 1), ("ItemIds", 1, 1), ("ReturnNewItemIds", 0, 1)])?;
            folders(&operation.children[0], 1)?;
            items(&operation.children[1])?;
            let to = found(world, user, &operation.children[0].children[0]).map(|folder| folder.id.clone());
            for id in &operation.children[1].children {
                let moved = item(world, user, id).map(|item| item.id.clone()).and_then(|id| to.clone().map(|to| (id, to)));
                match moved {
                    Ok((id, to)) => {
                        let new = world.store.move_to(&id, &to).unwrap();
                        let inside = format!("<m:Items><t:Message><t:ItemId Id=\"{new}\" ChangeKey=\"CQ\"/></t:Message></m:Items>");
                        messages += &done("MoveItem", &inside);
                    }
                    Err(code) => messages += &refused("MoveItem", code, None),
                }
            }
        }
    }
    Ok(messages)
}
