//! Answers as Exchange writes them, cut and changed; requests in the schema's order.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::time::Duration;

/// An answer with these response messages.
fn envelope(operation: &str, messages: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header>\
         <h:ServerVersionInfo MajorVersion=\"15\" xmlns:h=\"http://schemas.microsoft.com/exchange/services/2006/types\"/></s:Header>\
         <s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><m:{operation}Response \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><m:ResponseMessages>{messages}</m:ResponseMessages>\
         </m:{operation}Response></s:Body></s:Envelope>"
    )
}

fn success(operation: &str, inside: &str) -> String {
    format!("<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inside}</m:{operation}ResponseMessage>")
}

fn item(id: &str, content: &[u8]) -> String {
    let mime = STANDARD.encode(content);
    success(
        "GetItem",
        &format!(
            "<m:Items><t:Message><t:MimeContent CharacterSet=\"UTF-8\">{mime}</t:MimeContent><t:ItemId Id=\"{id}\" ChangeKey=\"CQ\"/>\
             <t:Subject>a &amp; b</t:Subject><t:Size>{}</t:Size></t:Message></m:Items>",
            content.len()
        ),
    )
}

/// What an answer says, in words; contents whole.
fn told(document: &[u8], size: usize) -> (Vec<String>, Result<(), xml::XmlError>) {
    let (mut reader, mut out, mut content) = (Reader::default(), Vec::new(), Vec::new());
    for mut piece in document.chunks(size) {
        loop {
            match reader.next(&mut piece) {
                Err(error) => return (out, Err(error)),
                Ok(None) => break,
                Ok(Some(Event::Mime(octets))) => content.extend_from_slice(octets),
                Ok(Some(Event::MimeEnds(end))) => {
                    out.push(format!("{end:?} {}", String::from_utf8_lossy(&std::mem::take(&mut content))));
                }
                Ok(Some(event)) => out.push(format!("{event:?}")),
            }
        }
    }
    (out, reader.finish())
}

/// The messages of an answer to GetItem: those that a source would take.
fn messages(document: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut reader, mut out, mut content, mut whole) = (Reader::default(), Vec::new(), Vec::new(), false);
    for mut piece in document.chunks(size) {
        loop {
            match reader.next(&mut piece) {
                Err(_) => return out,
                Ok(None) => break,
                Ok(Some(Event::Begins)) => (content, whole) = (Vec::new(), false),
                Ok(Some(Event::Mime(octets))) => content.extend_from_slice(octets),
                Ok(Some(Event::MimeEnds(end))) => whole = end == MimeEnd::Whole(content.len() as u64),
                Ok(Some(Event::Ends(outcome))) if outcome.class == Class::Success && whole => out.push(std::mem::take(&mut content)),
                Ok(Some(_)) => {}
            }
        }
    }
    out
}

#[test]
fn items_with_their_contents_in_any_pieces() {
    let refused = "<m:GetItemResponseMessage ResponseClass=\"Error\"><m:MessageText>The specified object was not found in the store.</m:MessageText>\
        <m:ResponseCode>ErrorItemNotFound</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey><m:Items/></m:GetItemResponseMessage>";
    let document = envelope("GetItem", &[item("AAA=", b"Subject: x\r\n\r\n1"), refused.to_owned(), item("B&lt;B", b"Subject: y\r\n\r\n22")].concat());
    for size in [1, 2, 3, 7, 64, 100_000] {
        let (told, end) = told(document.as_bytes(), size);
        assert_eq!(end, Ok(()));
        let of = |id: &str, size| format!("Item({:?})", ItemInfo { kind: "Message".into(), id: id.into(), size: Some(size), ..ItemInfo::default() });
        let wanted = [
            "Begins".to_owned(),
            "Whole(15) Subject: x\r\n\r\n1".into(),
            of("AAA=", 15),
            format!("Ends({:?})", Outcome { class: Class::Success, code: Code::new("NoError"), ..Outcome::default() }),
            "Begins".into(),
            format!(
                "Ends({:?})",
                Outcome {
                    class: Class::Error,
                    code: Code::new("ErrorItemNotFound"),
                    text: "The specified object was not found in the store.".into(),
                    back_off: None
                }
            ),
            "Begins".into(),
            "Whole(16) Subject: y\r\n\r\n22".into(),
            of("B<B", 16),
            format!("Ends({:?})", Outcome { class: Class::Success, code: Code::new("NoError"), ..Outcome::default() }),
        ];
        assert_eq!(told, wanted, "{size}");
    }
}

#[test]
fn changes_pages_and_folders() {
    let changes = "<m:SyncState>H4sI&#x41;=</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange><m:Changes>\
        <t:Create><t:Message><t:ItemId Id=\"1\"/><t:DateTimeReceived>2026-11-22T08:00:00Z</t:DateTimeReceived><t:IsRead>false</t:IsRead></t:Message></t:Create>\
        <t:Update><t:MeetingRequest><t:ItemId Id=\"2\"/><t:Size>7</t:Size></t:MeetingRequest></t:Update>\
        <t:Delete><t:ItemId Id=\"3\"/></t:Delete><t:ReadFlagChange><t:ItemId Id=\"4\"/><t:IsRead>true</t:IsRead></t:ReadFlagChange></m:Changes>";
    let (events, end) = told(envelope("SyncFolderItems", &success("SyncFolderItems", changes)).as_bytes(), 9);
    assert_eq!(end, Ok(()));
    assert_eq!(events[1], "SyncState(\"H4sIA=\")");
    assert_eq!(events[2], "IncludesLast(false)");
    assert!(events[3].contains("id: \"1\"") && events[3].contains("2026-11-22T08:00:00Z") && events[3].contains("is_read: Some(false)"));
    assert!(events[4].contains("kind: \"MeetingRequest\", id: \"2\", size: Some(7)"), "{}", events[4]);
    assert_eq!((events[5].as_str(), events.len()), ("Gone(\"3\")", 7));

    let folders = "<m:RootFolder IndexedPagingOffset=\"2\" TotalItemsInView=\"9\" IncludesLastItemInRange=\"false\"><t:Folders>\
        <t:Folder><t:FolderId Id=\"F\" ChangeKey=\"c\"/><t:ParentFolderId Id=\"P\"/><t:FolderClass>IPF.Note</t:FolderClass>\
        <t:DisplayName>Werbung &amp; mehr</t:DisplayName><t:TotalCount>12</t:TotalCount></t:Folder></t:Folders></m:RootFolder>";
    let (events, end) = told(envelope("FindFolder", &success("FindFolder", folders)).as_bytes(), 11);
    assert_eq!(end, Ok(()));
    assert_eq!(events[1], format!("Page({:?})", Page { is_last: false, next: Some(2), total: Some(9) }));
    let folder = FolderInfo {
        id: "F".into(),
        parent: "P".into(),
        name: "Werbung & mehr".into(),
        class: "IPF.Note".into(),
        distinguished: String::new(),
        total: Some(12),
    };
    assert_eq!(events[2], format!("Folder({folder:?})"));
}

#[test]
fn faults_and_back_off() {
    let fault = "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault>\
        <faultcode xmlns:a=\"x\">a:ErrorServerBusy</faultcode><faultstring xml:lang=\"en-US\">The server cannot service this request right now.</faultstring>\
        <detail><e:ResponseCode xmlns:e=\"y\">ErrorServerBusy</e:ResponseCode><e:Message xmlns:e=\"y\">Try again later.</e:Message>\
        <t:MessageXml xmlns:t=\"z\"><t:Value Name=\"BackOffMilliseconds\">297749</t:Value></t:MessageXml></detail></s:Fault></s:Body></s:Envelope>";
    let (events, end) = told(fault.as_bytes(), 5);
    assert_eq!(end, Ok(()));
    let wanted = Fault {
        code: Code::new("ErrorServerBusy"),
        text: "The server cannot service this request right now.".into(),
        back_off: Some(Duration::from_millis(297_749)),
    };
    assert_eq!(events, [format!("Fault({wanted:?})")]);
    assert_eq!(wanted.code.kind(), CodeKind::Busy);
    // The same for one of many.
    let message = "<m:GetItemResponseMessage ResponseClass=\"Error\"><m:MessageText>busy</m:MessageText><m:ResponseCode>ErrorServerBusy</m:ResponseCode>\
        <m:MessageXml><t:Value Name=\"Other\">1</t:Value><t:Value Name=\"BackOffMilliseconds\">500</t:Value></m:MessageXml></m:GetItemResponseMessage>";
    let (events, _) = told(envelope("GetItem", message).as_bytes(), 5);
    assert!(events[1].contains("back_off: Some(500ms)"), "{}", events[1]);
}

#[test]
fn what_is_no_answer() {
    for (document, words) in [
        ("<html><body>Outlook</body></html>".to_owned(), "no SOAP envelope"),
        ("<!DOCTYPE html><html></html>".into(), "document type"),
        ("<!DOCTYPE a [<!ENTITY x \"y\">]><s:Envelope/>".into(), "document type"),
        ("<s:Envelope/>".into(), "no Body"),
        (envelope("GetItem", "<m:GetItemResponseMessage><m:MessageText>&lol;</m:MessageText></m:GetItemResponseMessage>"), "an entity"),
        ("The page cannot be found".into(), "text outside"),
        (envelope("GetItem", &item("A", b"x"))[..400].to_owned(), "in the middle"),
    ] {
        let (_, end) = told(document.as_bytes(), 13);
        let error = end.expect_err(&document).to_string();
        assert!(error.contains(words), "{document}: {error}");
    }
    let huge = success("SyncFolderItems", &format!("<m:SyncState>{}</m:SyncState>", "x".repeat(SYNC_STATE_OCTETS_MAX + 1)));
    let (_, end) = told(envelope("SyncFolderItems", &huge).as_bytes(), 65_536);
    assert_eq!(end, Err(xml::XmlError::TooLong("a sync state")));
    // A sentence is cut, not refused.
    let wordy = format!("<m:GetItemResponseMessage><m:MessageText>{}</m:MessageText></m:GetItemResponseMessage>", "x".repeat(1 << 20));
    assert_eq!(told(envelope("GetItem", &wordy).as_bytes(), 65_536).1, Ok(()));
}

#[test]
fn contents_that_are_none() {
    let with = |mime: &str| {
        let inside = format!("<m:Items><t:Message><t:MimeContent>{mime}</t:MimeContent><t:ItemId Id=\"1\"/></t:Message></m:Items>");
        told(envelope("GetItem", &success("GetItem", &inside)).as_bytes(), 17).0
    };
    assert!(with("").contains(&"Whole(0) ".to_owned()));
    assert!(with("YW Jj\r\n").contains(&"Whole(3) abc".to_owned()));
    for broken in ["YWJ", "YWJj!", "Y=Jj", "<b/>YWJj", "YWJj&#0;"] {
        let events = with(broken);
        assert!(!events.iter().any(|event| event.starts_with("Whole")), "{broken}: {events:?}");
    }
}

#[test]
fn requests_in_the_order_of_the_schema() {
    let requests = Requests { version: Version::Exchange2013Sp1, mailbox: None, impersonate: false };
    let inbox = FolderRef::WellKnown("inbox".into());
    let order = |request: &str, elements: &[&str]| {
        let at: Vec<usize> = elements.iter().map(|element| request.find(element).unwrap_or_else(|| panic!("{element}: {request}"))).collect();
        assert!(at.is_sorted(), "{elements:?}: {request}");
    };
    order(
        &requests.find_items(&inbox, Filter { unread: true, not_before: Some(0) }, false, 1000, 500),
        &[
            "Version=\"Exchange2013_SP1\"",
            "<m:FindItem ",
            "<m:ItemShape>",
            "MaxEntriesReturned=\"500\" Offset=\"1000\"",
            "<m:Restriction><t:And>",
            "1970-01-01T00:00:00Z",
            "<m:SortOrder>",
            "Ascending",
            "<m:ParentFolderIds><t:DistinguishedFolderId Id=\"inbox\"/>",
        ],
    );
    order(&requests.sync(&inbox, Some("a<b"), 512), &["<m:ItemShape>", "<m:SyncFolderId>", "<m:SyncState>a&lt;b<", "<m:MaxChangesReturned>512<"]);
    order(&requests.get_items(["a\"b"], true), &["<t:BaseShape>IdOnly", "IncludeMimeContent>true", "AdditionalProperties", "Id=\"a&quot;b\""]);
    let marks = requests.change(["1", "2"], &Change::MarkRead);
    order(&marks, &["SuppressReadReceipts=\"true\"", "<t:ItemId Id=\"1\"/><t:Updates>", "message:IsRead", "<t:ItemId Id=\"2\"/>"]);
    assert!(requests.change(["1"], &Change::Delete).contains("DeleteType=\"SoftDelete\""));
    order(&requests.change(["1"], &Change::Move(FolderRef::Id("F".into()))), &["<m:ToFolderId><t:FolderId Id=\"F\"/>", "<m:ItemIds>"]);
    order(&requests.find_folders(&inbox, 0, 500), &["Traversal=\"Deep\"", "<m:FolderShape>", "<m:IndexedPageFolderView ", "<m:ParentFolderIds>"]);

    let old = Requests { version: Version::Exchange2007Sp1, mailbox: Some("a&b@corp.example".into()), impersonate: false };
    assert!(!old.change(["1"], &Change::MarkRead).contains("Suppress"));
    assert!(old.get_folders(&[inbox]).contains("<t:Mailbox><t:EmailAddress>a&amp;b@corp.example</t:EmailAddress></t:Mailbox>"));
    let other = Requests { version: Version::Exchange2016, impersonate: true, ..old };
    let request = other.get_folders(&[FolderRef::WellKnown("inbox".into())]);
    order(&request, &["<s:Header>", "<t:ConnectingSID><t:SmtpAddress>a&amp;b@corp.example<", "</s:Header>", "DistinguishedFolderId Id=\"inbox\"/>"]);
    // Each of them is a document that we would read.
    let mut tokenizer = xml::Tokenizer::default();
    let mut octets = request.as_bytes();
    while tokenizer.next(&mut octets).unwrap().is_some() {}
    assert_eq!(tokenizer.finish(), Ok(()));
}

proptest! {
    // Each case is read as often as it has octets.
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_cut_answer_yields_only_whole_messages(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4), size in 1usize..200) {
        let all: String = contents.iter().enumerate().map(|(number, content)| item(&number.to_string(), content)).collect();
        let document = envelope("GetItem", &all);
        prop_assert_eq!(&messages(document.as_bytes(), size), &contents);
        for cut in 0..document.len() {
            let read = messages(&document.as_bytes()[..cut], size);
            prop_assert!(contents.starts_with(&read), "{}", cut);
            prop_assert!(told(&document.as_bytes()[..cut], size).1.is_err());
        }
    }

}

proptest! {
    #[test]
    fn a_changed_answer_yields_no_shorter_message(content in proptest::collection::vec(any::<u8>(), 1..40), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let document = envelope("GetItem", &item("1", &content));
        let mut changed = document.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = octet;
        for read in messages(&changed, 50) {
            // A `=` in place of the last character is another text that ends well: nothing in it tells.
            prop_assert!(read.len() + 1 >= content.len(), "{}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
        let _ = told(&octets, size);
    }
}
