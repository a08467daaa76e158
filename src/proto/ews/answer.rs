//! An answer as it comes: what it says of items and folders, contents decoded on the way, and how each thing that was asked went.

use super::code::Code;
use super::mime::Decoder;
use super::xml::{Start, Token, Tokenizer, XmlError};
use crate::mail::outcome::harmless;
use std::time::Duration;

/// Longest sync state that is read.
pub const SYNC_STATE_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Longest other text that is kept; what is longer is cut.
const TEXT_OCTETS_MAX: usize = 4096;
/// Longest header that is kept.
const HEADER_OCTETS_MAX: usize = 256 * 1024;
/// Longest id.
const ID_OCTETS_MAX: usize = 4096;

/// Something that an answer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The answer to the next of the things that were asked begins.
    Begins,
    /// Octets of an item's content. The item itself is told at its end.
    Mime(&'a [u8]),
    /// The content is over.
    MimeEnds(MimeEnd),
    /// An item, listed or asked for.
    Item(ItemInfo),
    /// An item is gone from the folder since the sync state.
    Gone(String),
    /// A folder.
    Folder(FolderInfo),
    /// How far a page goes.
    Page(Page),
    /// The state that a later listing goes on from.
    SyncState(String),
    /// Whether nothing more has changed.
    IncludesLast(bool),
    /// How it went.
    Ends(Outcome),
    /// Nothing was done: the server took the whole request for wrong, or has no time.
    Fault(Fault),
}

/// How a content ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MimeEnd {
    /// All of it, and it was base64: so many octets.
    Whole(u64),
    /// It is no base64, or a part of one.
    NotBase64,
}

/// An item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemInfo {
    /// `Message`, `MeetingRequest`, `Contact` …
    pub kind: String,
    /// `ItemId`
    pub id: String,
    /// In the store; that of the message differs.
    pub size: Option<u64>,
    /// `DateTimeReceived`, as written (`2026-11-22T08:00:00Z`): ordered by its octets it is ordered by time.
    pub received: Option<String>,
    /// `IsRead`
    pub is_read: Option<bool>,
    /// The header as it came over the internet, if that was asked for.
    pub header: Option<String>,
}

/// A folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderInfo {
    /// `FolderId`
    pub id: String,
    /// The id of the folder that it is in.
    pub parent: String,
    /// Its name, in Unicode.
    pub name: String,
    /// `IPF.Note`
    pub class: String,
    /// `junkemail`, where the server tells (Exchange 2013).
    pub distinguished: String,
    /// How many items it holds.
    pub total: Option<u64>,
}

/// The attributes of `RootFolder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Nothing comes behind this page.
    pub is_last: bool,
    /// Where the next one begins.
    pub next: Option<u64>,
    /// How many there are in all.
    pub total: Option<u64>,
}

/// `ResponseClass`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Done.
    Success,
    /// Not tried.
    Warning,
    /// Refused, and whatever else is written there.
    #[default]
    Error,
}

/// How one of the things that were asked went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In a word.
    pub class: Class,
    /// In Exchange's.
    pub code: Code,
    /// In a sentence; harmless.
    pub text: String,
    /// How long the server wants to be left alone.
    pub back_off: Option<Duration>,
}

/// A SOAP fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Exchange's code, else that of SOAP.
    pub code: Code,
    /// In a sentence; harmless.
    pub text: String,
    /// How long the server wants to be left alone.
    pub back_off: Option<Duration>,
}

/// Reads an answer.
#[derive(Debug, Default)]
pub struct Reader {
    tokenizer: Tokenizer,
    /// Local names of the open elements.
    path: Vec<Box<str>>,
    /// What the text of the innermost element is, if it counts.
    field: Option<Field>,
    text: Vec<u8>,
    /// Depths of the elements that are being gathered: their children's names count.
    message: Option<(usize, Outcome)>,
    item: Option<(usize, ItemInfo)>,
    folder: Option<(usize, FolderInfo)>,
    fault: Option<(usize, Fault)>,
    mime: Option<Decoder>,
    /// The Body of the Envelope has ended well.
    has_body: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    MessageText,
    ResponseCode,
    BackOff,
    SyncState,
    IncludesLast,
    Size,
    Received,
    IsRead,
    DisplayName,
    FolderClass,
    Distinguished,
    TotalCount,
    FaultCode,
    FaultText,
    Header,
    Mime,
}

/// What a token came to, without a borrow of what was decoded.
enum Told {
    Nothing,
    Mime,
    Event(Event<'static>),
}

impl Reader {
    /// The next thing that the octets say; `None` if more have to come first. What was used is taken off `input`.
    pub fn next<'s>(&'s mut self, input: &mut &[u8]) -> Result<Option<Event<'s>>, XmlError> {
        loop {
            let (mut told, mut ended) = (Told::Nothing, false);
            match self.tokenizer.next(input)? {
                None => return Ok(None),
                Some(Token::Start(start)) => {
                    let reading = Reading { path: &mut self.path, message: &mut self.message, item: &mut self.item, folder: &mut self.folder };
                    let event = reading.starts(&start, &mut self.fault, &mut self.field)?;
                    self.text.clear();
                    if self.field == Some(Field::Mime) {
                        self.mime = Some(Decoder::default());
                    }
                    told = event.map_or(Told::Nothing, Told::Event);
                }
                Some(Token::Text(text)) => match (self.field, &mut self.mime) {
                    (None, _) => {}
                    (Some(Field::Mime), Some(decoder)) => {
                        if !decoder.push(text).is_empty() {
                            told = Told::Mime;
                        }
                    }
                    (Some(field), _) => gather(&mut self.text, field, text)?,
                },
                Some(Token::End) => ended = true,
            }
            if ended {
                told = self.ends()?.map_or(Told::Nothing, Told::Event);
            }
            match told {
                Told::Nothing => {}
                Told::Mime => return Ok(Some(Event::Mime(self.mime.as_ref().map_or(&[], Decoder::decoded)))),
                Told::Event(event) => return Ok(Some(event)),
            }
        }
    }

    /// The document has ended here: an error if that is too early, or if it was something else.
    pub fn finish(&self) -> Result<(), XmlError> {
        self.tokenizer.finish()?;
        if self.has_body { Ok(()) } else { Err(XmlError::Broken("it has no Body")) }
    }

    /// The innermost element ends.
    fn ends(&mut self) -> Result<Option<Event<'static>>, XmlError> {
        let depth = self.path.len();
        let field = self.field.take();
        let text = std::mem::take(&mut self.text);
        let told = match field {
            Some(Field::Mime) => {
                let end = self.mime.take().and_then(|decoder| decoder.finish()).map_or(MimeEnd::NotBase64, MimeEnd::Whole);
                Some(Event::MimeEnds(end))
            }
            Some(field) => self.field(field, &String::from_utf8_lossy(&text))?,
            None => None,
        };
        // The buffer is used again, unless it grew out of measure.
        if text.capacity() <= TEXT_OCTETS_MAX {
            self.text = text;
        }
        self.text.clear();
        let ends_here = |begun: Option<usize>| begun == Some(depth);
        let told = if told.is_some() {
            told
        } else if ends_here(self.item.as_ref().map(|(depth, _)| *depth)) {
            self.item.take().map(|(_, item)| match item.kind.as_str() {
                "Delete" => Event::Gone(item.id),
                _ => Event::Item(item),
            })
        } else if ends_here(self.folder.as_ref().map(|(depth, _)| *depth)) {
            self.folder.take().map(|(_, folder)| Event::Folder(folder))
        } else if ends_here(self.message.as_ref().map(|(depth, _)| *depth)) {
            self.message.take().map(|(_, outcome)| Event::Ends(outcome))
        } else if ends_here(self.fault.as_ref().map(|(depth, _)| *depth)) {
            self.fault.take().map(|(_, fault)| Event::Fault(fault))
        } else {
            None
        };
        if let Some(name) = self.path.pop() {
            self.has_body |= depth == 2 && &*name == "Body";
        }
        Ok(told)
    }

    /// The text of a field is whole.
    fn field(&mut self, field: Field, text: &str) -> Result<Option<Event<'static>>, XmlError> {
        let trimmed = text.trim();
        match field {
            Field::SyncState => return Ok(Some(Event::SyncState(trimmed.to_owned()))),
            Field::IncludesLast => return Ok(Some(Event::IncludesLast(truth(trimmed)))),
            Field::BackOff => {
                let back_off = trimmed.parse().ok().map(Duration::from_millis);
                if let Some((_, fault)) = &mut self.fault {
                    fault.back_off = back_off;
                } else if let Some((_, outcome)) = &mut self.message {
                    outcome.back_off = back_off;
                }
            }
            _ => {}
        }
        if let Some((_, fault)) = &mut self.fault {
            match field {
                // Exchange's own code says more than `soap:Client`, and stands behind it.
                Field::FaultCode | Field::ResponseCode => fault.code = Code::new(trimmed),
                Field::FaultText if fault.text.is_empty() => fault.text = harmless(trimmed, 300),
                _ => {}
            }
            return Ok(None);
        }
        if let Some((_, item)) = &mut self.item {
            match field {
                Field::Size => item.size = trimmed.parse().ok(),
                Field::Received => item.received = Some(trimmed.to_owned()),
                Field::IsRead => item.is_read = Some(truth(trimmed)),
                Field::Header => item.header = Some(text.to_owned()),
                _ => {}
            }
            return Ok(None);
        }
        if let Some((_, folder)) = &mut self.folder {
            match field {
                Field::DisplayName => folder.name = text.to_owned(),
                Field::FolderClass => folder.class = trimmed.to_owned(),
                Field::Distinguished => folder.distinguished = trimmed.to_owned(),
                Field::TotalCount => folder.total = trimmed.parse().ok(),
                _ => {}
            }
            return Ok(None);
        }
        if let Some((_, outcome)) = &mut self.message {
            match field {
                Field::MessageText => outcome.text = harmless(trimmed, 300),
                Field::ResponseCode => outcome.code = Code::new(trimmed),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The parts of a reader that a start tag changes.
struct Reading<'a> {
    path: &'a mut Vec<Box<str>>,
    message: &'a mut Option<(usize, Outcome)>,
    item: &'a mut Option<(usize, ItemInfo)>,
    folder: &'a mut Option<(usize, FolderInfo)>,
}

impl Reading<'_> {
    fn starts(self, start: &Start<'_>, fault: &mut Option<(usize, Fault)>, field: &mut Option<Field>) -> Result<Option<Event<'static>>, XmlError> {
        let name = start.name();
        self.path.push(name.into());
        *field = None;
        let depth = self.path.len();
        let parent = depth.checked_sub(2).and_then(|at| self.path.get(at)).map_or("", |name| &**name);
        match (depth, name) {
            (1, "Envelope") => return Ok(None),
            (1, _) => return Err(XmlError::Broken("it is no SOAP envelope")),
            (3, "Fault") if parent == "Body" => {
                *fault = Some((depth, Fault::default()));
                return Ok(None);
            }
            _ => {}
        }
        let is_back_off = || Ok::<_, XmlError>(name == "Value" && start.attribute("Name")?.as_deref() == Some("BackOffMilliseconds"));
        if fault.is_some() {
            *field = match name {
                "faultcode" => Some(Field::FaultCode),
                "ResponseCode" => Some(Field::ResponseCode),
                "faultstring" | "Text" => Some(Field::FaultText),
                _ if is_back_off()? => Some(Field::BackOff),
                _ => None,
            };
            return Ok(None);
        }
        let Some((begun, outcome)) = self.message.as_mut() else {
            if parent == "ResponseMessages" && name.ends_with("ResponseMessage") {
                let class = match start.attribute("ResponseClass")?.as_deref() {
                    Some("Success") => Class::Success,
                    Some("Warning") => Class::Warning,
                    _ => Class::Error,
                };
                *self.message = Some((depth, Outcome { class, ..Outcome::default() }));
                return Ok(Some(Event::Begins));
            }
            return Ok(None);
        };
        let _ = outcome;
        if let Some((at, item)) = self.item {
            if depth == *at + 1 {
                match name {
                    "ItemId" => item.id = id(start)?,
                    "MimeContent" => *field = Some(Field::Mime),
                    "Size" => *field = Some(Field::Size),
                    "DateTimeReceived" => *field = Some(Field::Received),
                    "IsRead" => *field = Some(Field::IsRead),
                    _ => {}
                }
            } else if (depth, parent, name) == (*at + 2, "ExtendedProperty", "Value") {
                *field = Some(Field::Header);
            }
            return Ok(None);
        }
        if let Some((at, folder)) = self.folder {
            if depth == *at + 1 {
                match name {
                    "FolderId" => folder.id = id(start)?,
                    "ParentFolderId" => folder.parent = id(start)?,
                    "DisplayName" => *field = Some(Field::DisplayName),
                    "FolderClass" => *field = Some(Field::FolderClass),
                    "DistinguishedFolderId" => *field = Some(Field::Distinguished),
                    "TotalCount" => *field = Some(Field::TotalCount),
                    _ => {}
                }
            }
            return Ok(None);
        }
        match (parent, name) {
            (_, "RootFolder") => {
                let number = |name| start.attribute(name).map(|value| value.and_then(|value| value.parse().ok()));
                let is_last = start.attribute("IncludesLastItemInRange")?.is_some_and(|value| truth(&value));
                return Ok(Some(Event::Page(Page { is_last, next: number("IndexedPagingOffset")?, total: number("TotalItemsInView")? })));
            }
            ("Items" | "Create" | "Update", _) => *self.item = Some((depth, ItemInfo { kind: name.to_owned(), ..ItemInfo::default() })),
            ("Changes", "Delete") => *self.item = Some((depth, ItemInfo { kind: name.to_owned(), ..ItemInfo::default() })),
            ("Folders", _) => *self.folder = Some((depth, FolderInfo::default())),
            _ if depth == *begun + 1 => {
                *field = match name {
                    "MessageText" => Some(Field::MessageText),
                    "ResponseCode" => Some(Field::ResponseCode),
                    "SyncState" => Some(Field::SyncState),
                    "IncludesLastItemInRange" => Some(Field::IncludesLast),
                    _ => None,
                }
            }
            ("MessageXml", "Value") if is_back_off()? => *field = Some(Field::BackOff),
            _ => {}
        }
        Ok(None)
    }
}

fn gather(gathered: &mut Vec<u8>, field: Field, text: &[u8]) -> Result<(), XmlError> {
    let most = match field {
        Field::SyncState => SYNC_STATE_OCTETS_MAX,
        Field::Header => HEADER_OCTETS_MAX,
        _ => TEXT_OCTETS_MAX,
    };
    let room = most - gathered.len();
    if text.len() > room && field == Field::SyncState {
        return Err(XmlError::TooLong("a sync state"));
    }
    gathered.extend_from_slice(&text[..text.len().min(room)]);
    Ok(())
}

fn id(start: &Start<'_>) -> Result<String, XmlError> {
    let id = start.attribute("Id")?.unwrap_or_default();
    if id.len() > ID_OCTETS_MAX { Err(XmlError::TooLong("an id")) } else { Ok(id) }
}

/// `xs:boolean`
fn truth(text: &str) -> bool {
    matches!(text, "true" | "1")
}
