//! Requests as trees, compared with the schemas `messages.xsd` and `types.xsd`: names, namespaces, order, number and attributes.

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

pub const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
pub const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// An element.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub namespace: String,
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Node>,
    pub text: String,
}

/// A refusal: the code and the sentence.
pub type Refused = (&'static str, String);

pub fn invalid(text: impl Into<String>) -> Refused {
    ("ErrorSchemaValidation", format!("The request failed schema validation: {}", text.into()))
}

impl Node {
    pub fn parse(text: &str) -> Result<Node, Refused> {
        let mut reader = NsReader::from_str(text);
        let mut open = vec![Node::default()];
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(|error| invalid(error.to_string()))?;
            let namespace = match namespace {
                ResolveResult::Bound(namespace) => namespace.0.to_owned(),
                _ => String::new(),
            };
            match event {
                Event::Start(ref start) | Event::Empty(ref start) => {
                    let mut attributes = Vec::new();
                    for attribute in start.attributes() {
                        let attribute = attribute.map_err(|error| invalid(error.to_string()))?;
                        let key = attribute.key.as_ref().to_owned();
                        if !key.starts_with("xmlns") {
                            let value = quick_xml::escape::unescape(&attribute.value).map_err(|error| invalid(error.to_string()))?;
                            attributes.push((key, value.into_owned()));
                        }
                    }
                    let name = start.local_name().as_ref().to_owned();
                    let node = Node { namespace, name, attributes, ..Node::default() };
                    match event {
                        Event::Empty(_) => open.last_mut().unwrap().children.push(node),
                        _ => open.push(node),
                    }
                }
                Event::End(_) => {
                    let node = open.pop().unwrap();
                    open.last_mut().ok_or_else(|| invalid("an end too many"))?.children.push(node);
                }
                Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.xml10_content()),
                Event::CData(text) => open.last_mut().unwrap().text.push_str(&text.xml10_content()),
                Event::GeneralRef(name) => {
                    let char = name.resolve_char_ref().map_err(|error| invalid(error.to_string()))?;
                    let text = char.map(|char| char.to_string());
                    let known = quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned);
                    open.last_mut().unwrap().text.push_str(&text.or(known).ok_or_else(|| invalid("an entity"))?);
                }
                Event::DocType(_) => return Err(invalid("a document type")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if open.len() != 1 {
            return Err(invalid("it ends in the middle"));
        }
        open.pop().unwrap().children.pop().ok_or_else(|| invalid("nothing"))
    }

    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Children must be these, in this order: names with how many there must be and may be; names of one place are split by `|`.
    pub fn expect(&self, namespace: &str, wanted: &[(&str, usize, usize)]) -> Result<(), Refused> {
        let mut rest = self.children.as_slice();
        for (names, least, most) in wanted {
            let of_place = |node: &Node| node.namespace == namespace && (*names == "*" || names.split('|').any(|name| name == node.name));
            let count = rest.iter().take_while(|node| of_place(node)).count();
            if count < *least || count > *most {
                let found: Vec<&str> = self.children.iter().map(|node| node.name.as_str()).collect();
                return Err(invalid(format!("{}: {count} of {names}, among {found:?}", self.name)));
            }
            rest = &rest[count..];
        }
        match rest.first() {
            Some(node) => Err(invalid(format!("The element '{}' in namespace '{}' has invalid child element '{}'", self.name, namespace, node.name))),
            None => Ok(()),
        }
    }

    /// Attributes must be among these; those with `!` must be there.
    pub fn expect_attributes(&self, wanted: &[&str]) -> Result<(), Refused> {
        for (key, _) in &self.attributes {
            if !wanted.iter().any(|name| name.trim_end_matches('!') == key) {
                return Err(invalid(format!("The '{key}' attribute of {} is not declared", self.name)));
            }
        }
        for name in wanted.iter().filter_map(|name| name.strip_suffix('!')) {
            if self.attribute(name).is_none() {
                return Err(invalid(format!("The required attribute '{name}' of {} is missing", self.name)));
            }
        }
        Ok(())
    }

    /// Its text must be one of these.
    pub fn expect_text(&self, wanted: &[&str]) -> Result<(), Refused> {
        match wanted.contains(&self.text.trim()) {
            true => Ok(()),
            false => Err(invalid(format!("The '{}' element is invalid: the value '{}'", self.name, self.text))),
        }
    }
}

/// The operation of a request, and of how many things it is, as far as it can be read.
pub fn operation(text: &str) -> (String, usize) {
    let Ok(envelope) = Node::parse(text) else { return ("?".into(), 0) };
    let Some(operation) = envelope.child("Body").and_then(|body| body.children.first()) else { return ("?".into(), 0) };
    let lists = ["ItemIds", "ItemChanges", "FolderIds", "ParentFolderIds"];
    let count = lists.iter().find_map(|name| operation.child(name)).map_or(1, |list| list.children.len());
    (operation.name.clone(), count)
}

const MANY: usize = usize::MAX;

/// `FolderShape`, `ItemShape`
pub fn shape(node: &Node, modern: bool) -> Result<(), Refused> {
    let of_items = [
        ("BaseShape", 1, 1),
        ("IncludeMimeContent", 0, 1),
        ("BodyType", 0, 1),
        ("UniqueBodyType", 0, usize::from(modern)),
        ("NormalizedBodyType", 0, usize::from(modern)),
        ("FilterHtmlContent", 0, 1),
        ("ConvertHtmlCodePageToUTF8", 0, 1),
        ("InlineImageUrlTemplate", 0, usize::from(modern)),
        ("BlockExternalImages", 0, 1),
        ("AddBlankTargetToLinks", 0, usize::from(modern)),
        ("MaximumBodySize", 0, usize::from(modern)),
        ("AdditionalProperties", 0, 1),
    ];
    match node.name.as_str() {
        "FolderShape" => node.expect(TYPES, &[("BaseShape", 1, 1), ("AdditionalProperties", 0, 1)])?,
        _ => node.expect(TYPES, &of_items)?,
    }
    node.children[0].expect_text(&["IdOnly", "Default", "AllProperties"])?;
    if let Some(mime) = node.child("IncludeMimeContent") {
        mime.expect_text(&["true", "false", "1", "0"])?;
    }
    if let Some(properties) = node.child("AdditionalProperties") {
        properties.expect(TYPES, &[("FieldURI|IndexedFieldURI|ExtendedFieldURI", 1, MANY)])?;
        properties.children.iter().try_for_each(field)?;
    }
    Ok(())
}

/// `FieldURI` and its kin.
pub fn field(node: &Node) -> Result<(), Refused> {
    match node.name.as_str() {
        "FieldURI" => {
            node.expect_attributes(&["FieldURI!"])?;
            let uri = node.attribute("FieldURI").unwrap_or_default();
            let known = [
                "folder:",
                "item:",
                "message:",
                "calendar:",
                "contacts:",
                "task:",
                "meeting:",
                "meetingRequest:",
                "postitem:",
                "conversation:",
                "distributionlist:",
            ];
            match known.iter().any(|prefix| uri.starts_with(prefix) && uri[prefix.len()..].chars().all(char::is_alphanumeric)) {
                true => Ok(()),
                false => Err(invalid(format!("The 'FieldURI' attribute is invalid: the value '{uri}'"))),
            }
        }
        "IndexedFieldURI" => node.expect_attributes(&["FieldURI!", "FieldIndex!"]),
        "ExtendedFieldURI" => {
            node.expect_attributes(&["DistinguishedPropertySetId", "PropertySetId", "PropertyTag", "PropertyName", "PropertyId", "PropertyType!"])
        }
        other => Err(invalid(format!("a field by {other}"))),
    }
}

/// `FolderIds`, `ParentFolderIds`, `ToFolderId`, `SyncFolderId`
pub fn folders(node: &Node, most: usize) -> Result<(), Refused> {
    node.expect(TYPES, &[("FolderId|DistinguishedFolderId", 1, most)])?;
    for id in &node.children {
        id.expect_attributes(&["Id!", "ChangeKey"])?;
        match id.name.as_str() {
            "FolderId" => id.expect(TYPES, &[])?,
            _ => {
                id.expect(TYPES, &[("Mailbox", 0, 1)])?;
                if let Some(mailbox) = id.child("Mailbox") {
                    let wanted = [("Name", 0, 1), ("EmailAddress", 0, 1), ("RoutingType", 0, 1), ("MailboxType", 0, 1), ("ItemId", 0, 1)];
                    mailbox.expect(TYPES, &wanted)?;
                }
            }
        }
    }
    Ok(())
}

/// `ItemIds`
pub fn items(node: &Node) -> Result<(), Refused> {
    node.expect(TYPES, &[("ItemId", 1, MANY)])?;
    node.children.iter().try_for_each(|id| id.expect_attributes(&["Id!", "ChangeKey"]).and_then(|()| id.expect(TYPES, &[])))
}
