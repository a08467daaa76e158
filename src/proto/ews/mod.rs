//! Exchange Web Services: what is asked, and what is answered (MS-OXWS*, the schemas `messages.xsd` and `types.xsd`). Requests are whole documents, as they
//! are small; answers are read as they come, because the contents of messages stand in them.

mod answer;
mod code;
mod mime;
mod request;
pub mod xml;

#[cfg(test)]
mod tests;

pub use answer::{Class, Event, Fault, FolderInfo, ItemInfo, MimeEnd, Outcome, Page, Reader, SYNC_STATE_OCTETS_MAX};
pub use code::{Code, CodeKind};
pub use request::{Change, Filter, FolderRef, Requests, Version};
