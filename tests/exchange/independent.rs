//! Whether the server that these tests stand on is Exchange in the eyes of others: `exchangelib` lists, reads, marks, moves and deletes there.

use crate::support::{Ews, python};

#[test]
fn exchangelib_takes_our_server_for_exchange() {
    let server = Ews::start();
    for number in 1..=12 {
        server.put("INBOX", format!("Subject: number {number}\r\nFrom: a@b.example\r\n\r\nbody {number}\r\n").as_bytes());
    }
    server.put("Lists/Rust", b"Subject: list\r\n\r\n");
    // Its pages are smaller than its answers.
    server.world(|world| world.store.page_max = 5);
    let said = python::run("exchange/exchangelib_session.py", &[&server.url(), "u@corp.example", "pw", "u@corp.example"]);
    let told: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    let all: Vec<String> = (1..=12).map(|number| format!("number {number}")).collect();
    assert_eq!(told["inbox"], serde_json::json!(["Posteingang", 12]));
    assert_eq!(told["subjects"], serde_json::json!(all));
    assert_eq!(told["mime"][11], "Subject: number 12\r\nFrom: a@b.example\r\n\r\nbody 12\r\n");
    assert_eq!((&told["unread"], &told["unread_then"]), (&12.into(), &11.into()));
    assert_eq!(told["left"].as_array().unwrap().len(), 10);
    assert_eq!(told["junk"], serde_json::json!(["number 2"]));
    assert_eq!((&told["created"], &told["changes"]), (&10.into(), &serde_json::json!(["delete"])));
    let folders = told["folders"].as_array().unwrap().iter().map(|folder| folder.as_str().unwrap()).collect::<Vec<_>>().join("\n");
    assert!(folders.contains("Lists/Rust") && folders.contains("Posteingang"), "{folders}");
    server.assert_no_violations();
    assert!(server.items("u@corp.example", "INBOX")[0].is_read);
    assert_eq!(server.items("u@corp.example", "#junkemail").len(), 1);
}

#[test]
fn our_server_refuses_what_the_schema_does_not_have() {
    let server = Ews::start();
    let ask = |body: &str, version: &str| {
        let document = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Header><t:RequestServerVersion Version=\"{version}\"/></s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>"
        );
        crate::kit::raw(&server, &document)
    };
    let inbox = "<t:DistinguishedFolderId Id=\"inbox\"/>";
    let shape = "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>";
    let good = format!(
        "<m:SyncFolderItems>{shape}<m:SyncFolderId>{inbox}</m:SyncFolderId><m:MaxChangesReturned>5</m:MaxChangesReturned></m:SyncFolderItems>"
    );
    assert!(ask(&good, "Exchange2013_SP1").contains("NoError"));
    for (body, version, code) in [
        (good.replace("m:MaxChangesReturned", "t:MaxChangesReturned"), "Exchange2013", "ErrorSchemaValidation"),
        (good.replace(">5<", ">513<"), "Exchange2013", "ErrorSchemaValidation"),
        (good.replace(shape, ""), "Exchange2013", "ErrorSchemaValidation"),
        (good.replace("Id=\"inbox\"", "Name=\"inbox\""), "Exchange2013", "ErrorSchemaValidation"),
        (good.clone(), "Exchange2016", "ErrorInvalidServerVersion"),
        (good.clone(), "Exchange2030", "ErrorSchemaValidation"),
        (format!("<m:GetItem>{shape}<m:ItemIds/></m:GetItem>"), "Exchange2013", "ErrorSchemaValidation"),
        (format!("<m:GetItem><m:ItemIds><t:ItemId Id=\"AAAA\"/></m:ItemIds>{shape}</m:GetItem>"), "Exchange2013", "ErrorSchemaValidation"),
        (format!("<m:GetItem>{shape}<m:ItemIds><t:ItemId Id=\"AAAA\"/></m:ItemIds></m:GetItem>"), "Exchange2013", "ErrorItemNotFound"),
        (
            "<m:DeleteItem DeleteType=\"SoftDelete\" SuppressReadReceipts=\"true\"><m:ItemIds><t:ItemId Id=\"AAAA\"/></m:ItemIds></m:DeleteItem>"
                .into(),
            "Exchange2010",
            "ErrorSchemaValidation",
        ),
        ("<m:DeleteItem><m:ItemIds><t:ItemId Id=\"AAAA\"/></m:ItemIds></m:DeleteItem>".into(), "Exchange2013", "ErrorSchemaValidation"),
    ] {
        let said = ask(&body, version);
        assert!(said.contains(code), "{body}: {said}");
    }
    assert!(!server.world(|world| world.violations.is_empty()));
}
