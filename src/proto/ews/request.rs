//! What is asked. The order of elements is the schema's: Exchange refuses what stands elsewhere.

use quick_xml::escape::escape;
use std::fmt::Write;

/// A schema version (`RequestServerVersion`), the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Version {
    Exchange2007Sp1,
    Exchange2010,
    Exchange2010Sp1,
    Exchange2010Sp2,
    Exchange2013,
    Exchange2013Sp1,
    Exchange2016,
}

impl Version {
    /// All of them.
    pub const ALL: [Version; 7] = [
        Version::Exchange2007Sp1,
        Version::Exchange2010,
        Version::Exchange2010Sp1,
        Version::Exchange2010Sp2,
        Version::Exchange2013,
        Version::Exchange2013Sp1,
        Version::Exchange2016,
    ];

    /// As the schema has it.
    pub fn word(self) -> &'static str {
        match self {
            Version::Exchange2007Sp1 => "Exchange2007_SP1",
            Version::Exchange2010 => "Exchange2010",
            Version::Exchange2010Sp1 => "Exchange2010_SP1",
            Version::Exchange2010Sp2 => "Exchange2010_SP2",
            Version::Exchange2013 => "Exchange2013",
            Version::Exchange2013Sp1 => "Exchange2013_SP1",
            Version::Exchange2016 => "Exchange2016",
        }
    }

    /// What is asked first, where nobody says what the server is: nothing that we use is newer.
    pub const FIRST: Version = Version::Exchange2013Sp1;

    /// What is asked of a server that does not know this one.
    pub fn older(self) -> Option<Version> {
        match self {
            Version::Exchange2016 => Some(Version::Exchange2013Sp1),
            Version::Exchange2013Sp1 | Version::Exchange2013 => Some(Version::Exchange2010Sp1),
            Version::Exchange2010Sp2 | Version::Exchange2010Sp1 | Version::Exchange2010 => Some(Version::Exchange2007Sp1),
            Version::Exchange2007Sp1 => None,
        }
    }

    /// The server can be told to send no receipts.
    fn suppresses_receipts(self) -> bool {
        self >= Version::Exchange2013Sp1
    }
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderRef {
    /// By a name that each mailbox has: `inbox`.
    WellKnown(String),
    /// By its id.
    Id(String),
}

/// Which items a FindItem is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only unread ones.
    pub unread: bool,
    /// Only those received at this time or later, in seconds since the epoch.
    pub not_before: Option<i64>,
}

/// What becomes of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are read. No receipt is sent, where the server can be told so.
    MarkRead,
    /// They go to the recoverable items, as what an IMAP client expunges.
    Delete,
    /// They go to another folder.
    Move(FolderRef),
}

/// Writes requests to one mailbox.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The schema.
    pub version: Version,
    /// Whose mailbox, if it is not that of who logs in.
    pub mailbox: Option<String>,
    /// Speak as its owner; else by the rights that we have in it.
    pub impersonate: bool,
}

impl Requests {
    /// GetFolder: ids, names, numbers of items.
    pub fn get_folders(&self, folders: &[FolderRef]) -> String {
        let mut ids = String::new();
        folders.iter().for_each(|folder| self.folder(&mut ids, folder));
        self.envelope(&format!("<m:GetFolder>{}<m:FolderIds>{ids}</m:FolderIds></m:GetFolder>", self.folder_shape()))
    }

    /// FindFolder: a page of all folders below this one.
    pub fn find_folders(&self, below: &FolderRef, offset: u64, most: usize) -> String {
        let mut parent = String::new();
        self.folder(&mut parent, below);
        // Pages came with Exchange 2010.
        let page = match self.version >= Version::Exchange2010 {
            true => format!("<m:IndexedPageFolderView MaxEntriesReturned=\"{most}\" Offset=\"{offset}\" BasePoint=\"Beginning\"/>"),
            false => String::new(),
        };
        let shape = self.folder_shape();
        self.envelope(&format!("<m:FindFolder Traversal=\"Deep\">{shape}{page}<m:ParentFolderIds>{parent}</m:ParentFolderIds></m:FindFolder>"))
    }

    /// SyncFolderItems: what has changed since a state, or all there is.
    pub fn sync(&self, folder: &FolderRef, state: Option<&str>, most: usize) -> String {
        let mut id = String::new();
        self.folder(&mut id, folder);
        let state = state.map(|state| format!("<m:SyncState>{}</m:SyncState>", escape(state))).unwrap_or_default();
        self.envelope(&format!(
            "<m:SyncFolderItems>{ITEM_SHAPE}<m:SyncFolderId>{id}</m:SyncFolderId>{state}<m:MaxChangesReturned>{most}</m:MaxChangesReturned>\
             </m:SyncFolderItems>"
        ))
    }

    /// FindItem: a page of those that a filter lets through, by the time of receipt.
    pub fn find_items(&self, folder: &FolderRef, filter: Filter, newest_first: bool, offset: u64, most: usize) -> String {
        let mut id = String::new();
        self.folder(&mut id, folder);
        let order = if newest_first { "Descending" } else { "Ascending" };
        self.envelope(&format!(
            "<m:FindItem Traversal=\"Shallow\">{ITEM_SHAPE}<m:IndexedPageItemView MaxEntriesReturned=\"{most}\" Offset=\"{offset}\" \
             BasePoint=\"Beginning\"/>{}<m:SortOrder><t:FieldOrder Order=\"{order}\"><t:FieldURI FieldURI=\"item:DateTimeReceived\"/>\
             </t:FieldOrder></m:SortOrder><m:ParentFolderIds>{id}</m:ParentFolderIds></m:FindItem>",
            restriction(filter)
        ))
    }

    /// GetItem: whole messages, or only what is known of them.
    pub fn get_items<'a>(&self, ids: impl IntoIterator<Item = &'a str>, mime: bool) -> String {
        let mime = if mime { "<t:IncludeMimeContent>true</t:IncludeMimeContent>" } else { "" };
        self.envelope(&format!(
            "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>{mime}{ITEM_PROPERTIES}</m:ItemShape>{}</m:GetItem>",
            item_ids(ids)
        ))
    }

    /// GetItem: the header as it came over the internet (PR_TRANSPORT_MESSAGE_HEADERS), which is there without any MIME.
    pub fn get_header(&self, id: &str) -> String {
        self.envelope(&format!(
            "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:ExtendedFieldURI PropertyTag=\"0x007D\" \
             PropertyType=\"String\"/></t:AdditionalProperties></m:ItemShape>{}</m:GetItem>",
            item_ids([id])
        ))
    }

    /// UpdateItem, DeleteItem or MoveItem.
    pub fn change<'a>(&self, ids: impl IntoIterator<Item = &'a str>, change: &Change) -> String {
        let silent = if self.version.suppresses_receipts() { " SuppressReadReceipts=\"true\"" } else { "" };
        let body = match change {
            Change::MarkRead => {
                let mut changes = String::new();
                for id in ids {
                    let _ = write!(
                        changes,
                        "<t:ItemChange>{}<t:Updates><t:SetItemField><t:FieldURI FieldURI=\"message:IsRead\"/><t:Message><t:IsRead>true</t:IsRead>\
                         </t:Message></t:SetItemField></t:Updates></t:ItemChange>",
                        item_id(id)
                    );
                }
                format!(
                    "<m:UpdateItem MessageDisposition=\"SaveOnly\" ConflictResolution=\"AlwaysOverwrite\" \
                     SendMeetingInvitationsOrCancellations=\"SendToNone\"{silent}><m:ItemChanges>{changes}</m:ItemChanges></m:UpdateItem>"
                )
            }
            Change::Delete => format!(
                "<m:DeleteItem DeleteType=\"SoftDelete\" SendMeetingCancellations=\"SendToNone\" \
                 AffectedTaskOccurrences=\"SpecifiedOccurrenceOnly\"{silent}>{}</m:DeleteItem>",
                item_ids(ids)
            ),
            Change::Move(folder) => {
                let mut to = String::new();
                self.folder(&mut to, folder);
                format!("<m:MoveItem><m:ToFolderId>{to}</m:ToFolderId>{}</m:MoveItem>", item_ids(ids))
            }
        };
        self.envelope(&body)
    }

    fn envelope(&self, body: &str) -> String {
        let impersonated = self.mailbox.as_deref().filter(|_| self.impersonate);
        let impersonation = impersonated.map_or_else(String::new, |mailbox| {
            // Exchange 2007 knows no other address than the primary one.
            let element = if self.version >= Version::Exchange2010 { "SmtpAddress" } else { "PrimarySmtpAddress" };
            let mailbox = escape(mailbox);
            format!("<t:ExchangeImpersonation><t:ConnectingSID><t:{element}>{mailbox}</t:{element}></t:ConnectingSID></t:ExchangeImpersonation>")
        });
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Header><t:RequestServerVersion Version=\"{}\"/>\
             {impersonation}</s:Header><s:Body>{body}</s:Body></s:Envelope>",
            self.version.word()
        )
    }

    fn folder(&self, out: &mut String, folder: &FolderRef) {
        let _ = match folder {
            FolderRef::Id(id) => write!(out, "<t:FolderId Id=\"{}\"/>", escape(id.as_str())),
            FolderRef::WellKnown(name) => match self.mailbox.as_deref().filter(|_| !self.impersonate) {
                Some(mailbox) => write!(
                    out,
                    "<t:DistinguishedFolderId Id=\"{}\"><t:Mailbox><t:EmailAddress>{}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>",
                    escape(name.as_str()),
                    escape(mailbox)
                ),
                None => write!(out, "<t:DistinguishedFolderId Id=\"{}\"/>", escape(name.as_str())),
            },
        };
    }

    fn folder_shape(&self) -> String {
        // A name of its own for each well-known folder came with Exchange 2013.
        let distinguished = match self.version >= Version::Exchange2013 {
            true => "<t:FieldURI FieldURI=\"folder:DistinguishedFolderId\"/>",
            false => "",
        };
        format!(
            "<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI=\"folder:ParentFolderId\"/>\
             <t:FieldURI FieldURI=\"folder:DisplayName\"/><t:FieldURI FieldURI=\"folder:TotalCount\"/>\
             <t:FieldURI FieldURI=\"folder:FolderClass\"/>{distinguished}</t:AdditionalProperties></m:FolderShape>"
        )
    }
}

/// What a listing tells of an item.
const ITEM_PROPERTIES: &str = "<t:AdditionalProperties><t:FieldURI FieldURI=\"item:DateTimeReceived\"/><t:FieldURI FieldURI=\"item:Size\"/>\
     </t:AdditionalProperties>";
const ITEM_SHAPE: &str = "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI=\"item:DateTimeReceived\"/>\
     <t:FieldURI FieldURI=\"item:Size\"/><t:FieldURI FieldURI=\"message:IsRead\"/></t:AdditionalProperties></m:ItemShape>";

fn item_id(id: &str) -> String {
    format!("<t:ItemId Id=\"{}\"/>", escape(id))
}

fn item_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
    let ids: String = ids.into_iter().map(item_id).collect();
    format!("<m:ItemIds>{ids}</m:ItemIds>")
}

fn restriction(filter: Filter) -> String {
    let unread = "<t:IsEqualTo><t:FieldURI FieldURI=\"message:IsRead\"/><t:FieldURIOrConstant><t:Constant Value=\"false\"/>\
         </t:FieldURIOrConstant></t:IsEqualTo>";
    let since = filter.not_before.map(|seconds| {
        let time = jiff::Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
        let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
        format!(
            "<t:IsGreaterThanOrEqualTo><t:FieldURI FieldURI=\"item:DateTimeReceived\"/><t:FieldURIOrConstant><t:Constant Value=\"{time}\"/>\
             </t:FieldURIOrConstant></t:IsGreaterThanOrEqualTo>"
        )
    });
    match (filter.unread, since) {
        (false, None) => String::new(),
        (true, None) => format!("<m:Restriction>{unread}</m:Restriction>"),
        (false, Some(since)) => format!("<m:Restriction>{since}</m:Restriction>"),
        (true, Some(since)) => format!("<m:Restriction><t:And>{unread}{since}</t:And></m:Restriction>"),
    }
}
