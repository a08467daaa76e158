//! Mailboxes, folders, items, and what happened to them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::Arc;

/// The time of the first item; each one comes a minute after the one before.
const FIRST: i64 = 1_790_000_000;

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    pub kind: Kind,
    pub mime: Arc<[u8]>,
    pub received: i64,
    pub is_read: bool,
    pub trouble: Option<Trouble>,
    pub mailbox: String,
    pub folder: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message,
    MeetingRequest,
    Contact,
    CalendarItem,
}

/// What goes wrong with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// GetItem with MIME refuses with this code.
    Code(&'static str),
    /// The answer has no MimeContent.
    NoMime,
    /// What stands there.
    Raw(&'static str),
    /// The whole request fails.
    Fault(&'static str),
    /// What stands in front of the server answers in its place, with this status.
    Status(&'static str),
    /// The connection ends without an answer.
    HangUp,
}

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    pub id: String,
    pub mailbox: String,
    pub parent: String,
    pub name: String,
    pub class: &'static str,
    pub well_known: &'static str,
    /// What happened, in this order.
    pub history: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created(String),
    Changed(String),
    Read(String),
    Gone(String),
}

/// All of it.
#[derive(Debug)]
pub struct Store {
    pub folders: Vec<Folder>,
    /// By id, with the order in which they came.
    pub items: HashMap<String, Item>,
    pub order: Vec<String>,
    /// Sync states of another generation are of no use.
    pub generation: u32,
    /// Most entries of a page, whatever is asked for.
    pub page_max: usize,
    /// Gives so many changes even to those who want fewer.
    pub ignores_limits: bool,
    counted: u64,
}

impl Item {
    pub fn new(mime: &[u8]) -> Item {
        Item {
            id: String::new(),
            kind: Kind::Message,
            mime: mime.into(),
            received: 0,
            is_read: false,
            trouble: None,
            mailbox: String::new(),
            folder: String::new(),
        }
    }

    pub fn kind(self, kind: Kind) -> Item {
        Item { kind, ..self }
    }

    pub fn trouble(self, trouble: Trouble) -> Item {
        Item { trouble: Some(trouble), ..self }
    }

    pub fn received(self, received: i64) -> Item {
        Item { received, ..self }
    }

    pub fn read(self) -> Item {
        Item { is_read: true, ..self }
    }

    /// What the store thinks its size is.
    pub fn size(&self) -> usize {
        self.mime.len() + 700
    }
}

impl Store {
    /// With one mailbox.
    pub fn new(mailbox: &str) -> Store {
        let mut store =
            Store { folders: Vec::new(), items: HashMap::new(), order: Vec::new(), generation: 1, page_max: 1000, ignores_limits: false, counted: 0 };
        store.mailbox(mailbox);
        store
    }

    /// One more mailbox, with the folders that each has.
    pub fn mailbox(&mut self, mailbox: &str) {
        let root = self.folder_of(mailbox, "", "root", "", "root");
        let top = self.folder_of(mailbox, &root, "Top of Information Store", "", "msgfolderroot");
        for (name, class, well_known) in [
            ("Posteingang", "IPF.Note", "inbox"),
            ("Gesendete Elemente", "IPF.Note", "sentitems"),
            ("Gelöschte Elemente", "IPF.Note", "deleteditems"),
            ("Junk-E-Mail", "IPF.Note", "junkemail"),
            ("Entwürfe", "IPF.Note", "drafts"),
            ("Kalender", "IPF.Appointment", "calendar"),
            ("Kontakte", "IPF.Contact", "contacts"),
        ] {
            self.folder_of(mailbox, &top, name, class, well_known);
        }
        self.folder_of(mailbox, &root, "Recoverable Items Deletions", "IPF.Note", "recoverableitemsdeletions");
    }

    /// A folder of mail by its path; those above it are made as well.
    pub fn folder(&mut self, mailbox: &str, path: &str) -> String {
        let mut at = self.well_known(mailbox, "msgfolderroot").expect("the mailbox is there").id.clone();
        for (depth, name) in path.split('/').enumerate() {
            let known = match name {
                "INBOX" if depth == 0 => self.well_known(mailbox, "inbox"),
                _ => self.folders.iter().find(|folder| folder.parent == at && folder.name == name),
            };
            at = match known.map(|folder| folder.id.clone()) {
                Some(id) => id,
                None => self.folder_of(mailbox, &at.clone(), name, "IPF.Note", ""),
            };
        }
        at
    }

    fn folder_of(&mut self, mailbox: &str, parent: &str, name: &str, class: &'static str, well_known: &'static str) -> String {
        self.counted += 1;
        // As long as those of Exchange, and with the characters that base64 has.
        let id = STANDARD.encode(format!("{:0>80}folder{}", mailbox, self.counted));
        self.folders.push(Folder {
            id: id.clone(),
            mailbox: mailbox.into(),
            parent: parent.into(),
            name: name.into(),
            class,
            well_known,
            history: Vec::new(),
        });
        id
    }

    pub fn well_known(&self, mailbox: &str, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.mailbox == mailbox && folder.well_known == name)
    }

    pub fn by_id(&self, id: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == id)
    }

    fn by_id_mut(&mut self, id: &str) -> &mut Folder {
        self.folders.iter_mut().find(|folder| folder.id == id).expect("the folder is there")
    }

    /// Puts an item into a folder by its path.
    pub fn put(&mut self, mailbox: &str, path: &str, item: Item) -> String {
        let folder = self.folder(mailbox, path);
        self.put_at(mailbox, &folder, item)
    }

    fn put_at(&mut self, mailbox: &str, folder: &str, item: Item) -> String {
        self.counted += 1;
        let id = STANDARD.encode(format!("{:0>100}+item/{}", mailbox, self.counted));
        let received = if item.received == 0 { FIRST + 60 * self.counted as i64 } else { item.received };
        let item = Item { id: id.clone(), received, mailbox: mailbox.into(), folder: folder.into(), ..item };
        self.items.insert(id.clone(), item);
        self.order.push(id.clone());
        self.by_id_mut(folder).history.push(Event::Created(id.clone()));
        id
    }

    /// The items of a folder by its path, oldest first.
    pub fn items(&mut self, mailbox: &str, path: &str) -> Vec<Item> {
        let folder = match path.strip_prefix('#') {
            Some(well_known) => self.well_known(mailbox, well_known).expect("it is there").id.clone(),
            None => self.folder(mailbox, path),
        };
        self.of_folder(&folder)
    }

    pub fn of_folder(&self, folder: &str) -> Vec<Item> {
        let all = self.order.iter().filter_map(|id| self.items.get(id));
        let mut items: Vec<Item> = all.filter(|item| item.folder == folder).cloned().collect();
        items.sort_by_key(|item| item.received);
        items
    }

    /// Takes an item out of its folder.
    pub fn remove(&mut self, id: &str) -> Option<Item> {
        let item = self.items.remove(id)?;
        self.order.retain(|other| other != id);
        self.by_id_mut(&item.folder.clone()).history.push(Event::Gone(id.to_owned()));
        Some(item)
    }

    /// The mailbox comes from a backup, or moves to another organisation: every item gets another id, and no sync state is of use any more.
    pub fn restore(&mut self) {
        self.generation += 1;
        self.folders.iter_mut().for_each(|folder| folder.history.clear());
        for id in std::mem::take(&mut self.order) {
            let item = self.items.remove(&id).expect("it is in order");
            let (mailbox, folder) = (item.mailbox.clone(), item.folder.clone());
            self.put_at(&mailbox, &folder, item);
        }
    }

    /// Moves an item: it gets a new id, as with Exchange.
    pub fn move_to(&mut self, id: &str, folder: &str) -> Option<String> {
        let mailbox = self.by_id(folder)?.mailbox.clone();
        let item = self.remove(id)?;
        Some(self.put_at(&mailbox, folder, item))
    }

    pub fn mark(&mut self, id: &str, read: bool) -> bool {
        let Some(item) = self.items.get_mut(id) else { return false };
        item.is_read = read;
        let folder = item.folder.clone();
        self.by_id_mut(&folder).history.push(Event::Read(id.to_owned()));
        true
    }
}
