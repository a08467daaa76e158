//! Where the mailbox of an address is, as Exchange tells its clients: the question and the answer of POX autodiscover (MS-OXDSCLI §2.2).
//!
//! What is read comes from a server that the address's domain names, and says where the password goes next. What a place may be is the caller's to judge.

use super::document::{self, Attributes, DocumentError, Kind, Visitor};
use crate::mail::Address;
use crate::mail::outcome::harmless;
use quick_xml::escape::escape;

/// Where each host has it.
pub const PATH: &str = "/autodiscover/autodiscover.xml";
/// The service by which a domain names another host (RFC 2782).
pub const SERVICE: &str = "_autodiscover._tcp";
/// The media type of the question.
pub const CONTENT_TYPE: &str = "text/xml; charset=utf-8";
/// Longest answer. Those of Exchange have some ten thousand octets.
pub const OCTETS_MAX: usize = 256 * 1024;
const KIND: Kind = Kind { what: "answer of autodiscover", root: "Autodiscover", octets_max: OCTETS_MAX, depth_max: 24, text_octets_max: 2_000 };
/// Most places that are read; what follows is left out.
const PLACES_MAX: usize = 32;

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pox {
    /// The addresses of the web services, as the server writes them: from outside (EXPR) first, then from inside (EXCH), then those of other kinds. May be
    /// none: a mailbox that is not on this server, or web services that are switched off.
    Services(Vec<String>),
    /// Ask again for this address (`redirectAddr`).
    Address(String),
    /// Ask at this place (`redirectUrl`).
    Place(String),
    /// The server knows the question and has no answer: a number (600: the question is wrong, 500: no such mailbox) and words, made harmless.
    Refused(u32, String),
}

/// The question (§2.2.3).
pub fn question(address: &Address) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\"><Request>\
         <EMailAddress>{}</EMailAddress>\
         <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>\
         </Request></Autodiscover>",
        escape(address.to_string())
    )
}

/// The answer (§2.2.4).
pub fn read(octets: &[u8]) -> Result<Pox, DocumentError> {
    let mut reading = Reading::default();
    document::read(&KIND, octets, &mut reading)?;
    if reading.is_ours { Ok(reading.answer()) } else { Err(DocumentError::Other(KIND.what)) }
}

#[derive(Default)]
struct Reading {
    is_ours: bool,
    action: String,
    address: String,
    place: String,
    code: Option<u32>,
    message: String,
    /// The kinds of the open `Protocol` elements, and where in the path they are.
    kinds: Vec<(usize, String)>,
    /// Of each place: the kind of the outermost protocol, whether it is named as EWS, the place.
    services: Vec<(String, bool, String)>,
}

impl Visitor for Reading {
    fn open(&mut self, path: &[&str], attributes: Attributes<'_>) {
        self.is_ours |= matches!(path, [_, "Response"]);
        if path.last() == Some(&"Protocol") {
            // `<Protocol Type="mapiHttp">`, or with an element `Type` inside.
            self.kinds.push((path.len(), attributes.get("Type").unwrap_or_default()));
        }
    }

    fn close(&mut self, path: &[&str], text: Option<&str>) {
        // One that is too long is good for nothing.
        let text = text.unwrap_or_default().trim().to_owned();
        match path {
            ["Autodiscover", "Response", "Account", "Action"] => self.action = text,
            ["Autodiscover", "Response", "Account", "RedirectAddr"] => self.address = text,
            ["Autodiscover", "Response", "Account", "RedirectUrl"] => self.place = text,
            ["Autodiscover", "Response", "Error", "ErrorCode"] => self.code = text.parse().ok().or(Some(0)),
            ["Autodiscover", "Response", "Error", "Message"] => self.message = text,
            ["Autodiscover", "Response", "Account", "Protocol", .., name] => match *name {
                "Type" => {
                    let depth = path.len() - 1;
                    self.kinds.iter_mut().filter(|(own, _)| *own == depth).for_each(|(_, kind)| text.clone_into(kind));
                }
                // The availability service has the same place as the rest; servers of 2007 name no other.
                "EwsUrl" | "ASUrl" if self.services.len() < PLACES_MAX && !text.is_empty() => {
                    let kind = self.kinds.first().map(|(_, kind)| kind.clone()).unwrap_or_default();
                    self.services.push((kind, *name == "EwsUrl", text));
                }
                _ => {}
            },
            _ => {}
        }
        if self.kinds.last().is_some_and(|(depth, _)| *depth == path.len()) {
            self.kinds.pop();
        }
    }
}

impl Reading {
    fn answer(mut self) -> Pox {
        if let Some(code) = self.code {
            return Pox::Refused(code, harmless(&self.message, 300));
        }
        if self.action.eq_ignore_ascii_case("redirectAddr") && !self.address.is_empty() {
            return Pox::Address(self.address);
        }
        if self.action.eq_ignore_ascii_case("redirectUrl") && !self.place.is_empty() {
            return Pox::Place(self.place);
        }
        let rank = |kind: &str| ["EXPR", "EXCH", "WEB"].iter().position(|known| kind.eq_ignore_ascii_case(known)).unwrap_or(3);
        self.services.sort_by_key(|(kind, is_ews, _)| (rank(kind), !is_ews));
        let mut places: Vec<String> = Vec::new();
        for (_, _, place) in self.services {
            if !places.iter().any(|known| known.eq_ignore_ascii_case(&place)) {
                places.push(place);
            }
        }
        Pox::Services(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(inside: &str) -> String {
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\r\n\
             <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">{inside}</Response></Autodiscover>"
        )
    }

    /// As Exchange 2016 answers, shortened.
    fn settings() -> String {
        response(
            "<User><DisplayName>Тим</DisplayName><EMailAddress>tim@corp.example</EMailAddress></User>
             <Account><AccountType>email</AccountType><Action>settings</Action>
              <Protocol><Type>EXCH</Type><Server>x@corp.example</Server><ASUrl>https://in.corp.example/EWS/Exchange.asmx</ASUrl>
               <EwsUrl>https://in.corp.example/EWS/Exchange.asmx</EwsUrl><OABUrl>https://in.corp.example/OAB/</OABUrl></Protocol>
              <Protocol><Type>EXPR</Type><Server>mail.corp.example</Server><SSL>On</SSL><EwsUrl>https://mail.corp.example/EWS/Exchange.asmx?a=1&amp;b=2</EwsUrl></Protocol>
              <Protocol><Type>WEB</Type><Internal><OWAUrl AuthenticationMethod=\"Fba\">https://in.corp.example/owa/</OWAUrl>
               <Protocol><Type>EXCH</Type><ASUrl>https://web.corp.example/EWS/Exchange.asmx</ASUrl></Protocol></Internal></Protocol>
              <Protocol Type=\"mapiHttp\" Version=\"1\"><MailStore><InternalUrl>https://in/mapi</InternalUrl></MailStore></Protocol>
             </Account>",
        )
    }

    #[test]
    fn places_from_outside_come_first() {
        let wanted = [
            "https://mail.corp.example/EWS/Exchange.asmx?a=1&b=2",
            "https://in.corp.example/EWS/Exchange.asmx",
            "https://web.corp.example/EWS/Exchange.asmx",
        ];
        assert_eq!(read(settings().as_bytes()), Ok(Pox::Services(wanted.map(str::to_owned).to_vec())));
        let none = response("<Account><Action>settings</Action><Protocol><Type>EXCH</Type><EwsUrl></EwsUrl></Protocol></Account>");
        assert_eq!(read(none.as_bytes()), Ok(Pox::Services(vec![])));
        // Exchange 2007 has no EwsUrl.
        let old = response("<Account><Protocol><Type>EXPR</Type><ASUrl><![CDATA[https://a/b]]></ASUrl></Protocol></Account>");
        assert_eq!(read(old.as_bytes()), Ok(Pox::Services(vec!["https://a/b".into()])));
    }

    #[test]
    fn redirects_and_refusals() {
        for (inside, wanted) in [
            (
                "<Account><Action>redirectAddr</Action><RedirectAddr>tim@other.example</RedirectAddr></Account>",
                Pox::Address("tim@other.example".into()),
            ),
            ("<Account><Action>redirectUrl</Action><RedirectUrl>https://a/x.xml</RedirectUrl></Account>", Pox::Place("https://a/x.xml".into())),
            ("<Account><Action>redirectUrl</Action></Account>", Pox::Services(vec![])),
            (
                "<Error Time=\"1\" Id=\"2\"><ErrorCode>500</ErrorCode><Message>The e-mail address can't be\u{7} found.</Message><DebugData/></Error>",
                Pox::Refused(500, "The e-mail address can't be found.".into()),
            ),
            ("<Error><ErrorCode>x</ErrorCode></Error>", Pox::Refused(0, String::new())),
        ] {
            let got = read(response(inside).as_bytes()).unwrap();
            match (&got, &wanted) {
                (Pox::Refused(code, words), Pox::Refused(wanted, begin)) => {
                    assert!(code == wanted && words.starts_with(&begin[..begin.len().min(20)]), "{got:?}")
                }
                _ => assert_eq!(got, wanted, "{inside}"),
            }
        }
    }

    #[test]
    fn what_is_not_believed() {
        for document in ["<html><body>Welcome</body></html>", "<Autodiscover/>", "Welcome", ""] {
            assert_eq!(read(document.as_bytes()), Err(DocumentError::Other(KIND.what)), "{document}");
        }
        assert_eq!(read(b"<!DOCTYPE x [<!ENTITY e \"y\">]><Autodiscover><Response/></Autodiscover>"), Err(DocumentError::Doctype));
        // Numbers have limits: more places than any server has, and one longer than any is.
        let many: String = (0..1000).map(|i| format!("<EwsUrl>https://h/{i}</EwsUrl>")).collect();
        let Ok(Pox::Services(places)) = read(response(&format!("<Account><Protocol>{many}</Protocol></Account>")).as_bytes()) else { panic!() };
        assert_eq!(places.len(), PLACES_MAX);
        let long = format!("<Account><Protocol><EwsUrl>https://h/{}</EwsUrl></Protocol></Account>", "x".repeat(KIND.text_octets_max));
        assert_eq!(read(response(&long).as_bytes()), Ok(Pox::Services(vec![])));
    }

    #[test]
    fn the_question_is_escaped() {
        let address: Address = "\"a<b>&\"@corp.example".parse().unwrap();
        let text = question(&address);
        assert!(text.contains("a&lt;b&gt;&amp;") && !text.contains("<b>"), "{text}");
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..1500, octet: u8, cut in 0usize..1500) {
            let _ = read(&octets);
            let mut near = settings().into_bytes();
            let at = at % near.len();
            near[at] = octet;
            near.truncate(cut.max(1));
            let _ = read(&near);
        }
    }
}
