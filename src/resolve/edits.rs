//! What is changed in a message's own header at a delivery, and nothing else is:
//!
//! - an mbox `From ` line and a byte order mark before the header are cut; a message without a header gets a blank line, so that the trace
//!   fields on top do not run into its body;
//! - Return-Path is removed (the last server writes its own, or the stamp does for a Maildir), and so are the droppings of mbox files and mail
//!   programs (Status, X-UID, …), which would steer the reader's program;
//! - in `auto` mode Bcc and Resent-Bcc are removed, and so is each envelope header that names more than one address, the one that decided too,
//!   or somebody else than the recipients of this transaction: they would tell each recipient about the others, whom Bcc hid;
//! - an Authentication-Results that bears our host's name is renamed to X-Orig-Authentication-Results: only the local server may speak under
//!   that name (RFC 8601 §5), and it has not seen the message yet; so is an ARC-Authentication-Results (RFC 8617 §4.1.1);
//! - a Delivered-To that equals a recipient of this delivery is renamed to X-Orig-Delivered-To: Postfix's local(8) and qmail would bounce the
//!   message as a loop. Our own loop test has been passed by then;
//! - X-Mailgather-… becomes X-Orig-Mailgather-…, whoever wrote it: local filters act upon our fields. The loop marker stays, it is signed;
//! - what [`HeaderOptions`] ask for beyond that: verdicts of spam and virus filters, requests for receipts.
//!
//! To, From, Cc and all others stay as they are, octet for octet.

use crate::mail::header::Edit;
use crate::mail::{Address, Domain, Field, HeaderBlock, Recipient};
use crate::resolve::accept::same;
use crate::resolve::addresses::addresses;
use crate::resolve::loops::MARKER_HEADER;
use crate::resolve::options::{BccOption, DeliveredToOption, HeaderOptions, ReceiptOption, SpamOption};
use crate::resolve::probe::PROBES;
use crate::resolve::resolver::Resolution;

/// Written by mbox files and mail programs, about a copy that is not ours.
const DROPPINGS: &[&str] = &[
    "Status",
    "X-Status",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
    "X-Keywords",
    "X-UID",
    "X-UIDL",
    "X-IMAP",
    "X-IMAPbase",
    "Content-Length",
    "Lines",
];

/// Beginnings of the names under which filters write their verdicts, in lower case. The list holds what local filters act upon in common
/// set-ups: SpamAssassin, rspamd (`X-Spamd-…`), amavis, MailScanner, CRM114, DSPAM, bogofilter and ClamAV by the Sieve examples of their
/// manuals, the antispam fields that Exchange and Outlook sort by, and those of the large gateways and of Kaspersky and Dr.Web. What only
/// traces a message through such a program steers nothing, and stays.
const VERDICTS: &[&str] = &[
    "x-spam",
    "x-rspam",
    "x-virus",
    "x-amavis",
    "x-quarantine-id",
    "x-mailscanner",
    "x-crm114",
    "x-dspam",
    "x-bogosity",
    "x-barracuda-spam",
    "x-antivirus",
    "x-av-checked",
    "x-clamav",
    "x-ms-exchange-organization-scl",
    "x-ms-exchange-organization-antispam",
    "x-microsoft-antispam",
    "x-forefront-antispam",
    "x-ironport-anti-spam",
    "x-ironport-av",
    "x-proofpoint-spam",
    "x-proofpoint-virus",
    "x-gmx-antispam",
    "x-yandex-spam",
    "x-mras",
    "x-kas-",
    "x-klms-",
    "x-ksmg-",
    "x-drweb",
];

/// Requests for receipts: RFC 8098 §2.1, sendmail's, and Pegasus Mail's.
const RECEIPTS: &[&str] = &["Disposition-Notification-To", "Return-Receipt-To", "X-Confirm-Reading-To"];

/// What everybody sees anyway, and is never touched: guessing names these as the header that decided.
const VISIBLE: &[&str] = &["To", "Cc", "Resent-To", "Resent-Cc", "From", "Sender", "Reply-To"];

/// The evidence of `forward_to`.
const FORWARD_TO: &str = "forward_to";

/// What is put before the name of a renamed field.
const RENAMED: &[u8] = b"X-Orig-";

/// Beginning of the names of our own fields, in lower case.
const OURS: &[u8] = b"x-mailgather-";

/// The edits for one delivery to these recipients (those of the transaction, not all of the message): ascending, not overlapping.
/// `hostname` is this host's: the authserv-id of the server that we deliver to.
pub fn edits(header: &HeaderBlock, resolution: &Resolution, recipients: &[Recipient], hostname: &str, options: &HeaderOptions) -> Vec<Edit> {
    let mut edits = Vec::new();
    let junk = header.leading_junk();
    // The blank line that ends an empty header, if it has one, is the first thing behind the junk.
    let bare_body = header.fields().is_empty() && !header.octets()[junk.end..].starts_with(b"\r\n");
    if !junk.is_empty() || bare_body {
        edits.push(Edit { cut: junk, with: if bare_body { b"\r\n".to_vec() } else { Vec::new() } });
    }
    let rules = FieldRules::new(resolution, recipients, hostname, options);
    for (index, field) in header.fields().iter().enumerate() {
        let with = match rules.fate(header, index, field) {
            Fate::Keep => continue,
            Fate::Remove => Vec::new(),
            Fate::Rename => renamed(header, field),
        };
        edits.push(Edit { cut: field.whole.clone(), with });
    }
    edits
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Remove,
    Rename,
}

struct FieldRules<'a> {
    /// Those of this transaction.
    recipients: &'a [Recipient],
    /// Those of the message.
    all: &'a [Recipient],
    hostname: &'a str,
    options: &'a HeaderOptions,
    remove_bcc: bool,
    /// The resolver found recipients: envelope headers that name others would tell about them.
    resolved: bool,
    /// The field that decided.
    used: Option<usize>,
    /// The header that was asked.
    asked: &'a str,
}

impl<'a> FieldRules<'a> {
    fn new(resolution: &'a Resolution, recipients: &'a [Recipient], hostname: &'a str, options: &'a HeaderOptions) -> Self {
        // `forward_to` has no field that was used, and no other recipients to keep quiet about; a default box sees what there is.
        let (auto, used, asked) = match resolution {
            Resolution::Recipients(_, evidence) => (evidence.header != FORWARD_TO, evidence.field, evidence.header.as_str()),
            _ => (true, None, ""),
        };
        let remove_bcc = match options.bcc {
            BccOption::Auto => auto,
            BccOption::Keep => false,
            BccOption::Remove => true,
        };
        let resolved = auto && matches!(resolution, Resolution::Recipients(..));
        FieldRules { recipients, all: resolution.recipients(), hostname, options, remove_bcc, resolved, used, asked }
    }

    fn fate(&self, header: &HeaderBlock, index: usize, field: &Field) -> Fate {
        let is = |name: &str| header.is(field, name);
        let any = |names: &[&str]| names.iter().any(|name| is(name));
        let when = |condition: bool, fate: Fate| if condition { fate } else { Fate::Keep };
        if is("Return-Path") || any(DROPPINGS) {
            return Fate::Remove;
        }
        if is_ours(header.name(field)) && !is(MARKER_HEADER) {
            return Fate::Rename;
        }
        if any(&["Bcc", "Resent-Bcc"]) {
            return when(self.remove_bcc, Fate::Remove);
        }
        if is("Delivered-To") {
            // One address is a step on this copy's own way, and what guards against loops; several are an envelope.
            return match self.options.delivered_to {
                DeliveredToOption::Keep => Fate::Keep,
                _ if self.resolved && Named::of(header, field).is_several() => Fate::Remove,
                DeliveredToOption::RenameAll => Fate::Rename,
                DeliveredToOption::Rename => when(names_one_of(header, field, self.recipients), Fate::Rename),
            };
        }
        if is("Authentication-Results") || is("ARC-Authentication-Results") {
            return when(bears(header, field, self.hostname), Fate::Rename);
        }
        if any(RECEIPTS) {
            return when(self.options.receipts == ReceiptOption::Drop, Fate::Remove);
        }
        if is_verdict(header.name(field)) {
            return match self.options.spam {
                SpamOption::Keep => Fate::Keep,
                SpamOption::Strip => Fate::Remove,
                SpamOption::Prefix => Fate::Rename,
            };
        }
        let envelope = || PROBES.iter().any(|probe| is(probe.header)) || (is(self.asked) && !any(VISIBLE));
        when(self.resolved && envelope() && self.tells_of_others(index, &Named::of(header, field)), Fate::Remove)
    }

    fn tells_of_others(&self, index: usize, named: &Named) -> bool {
        if self.used == Some(index) {
            // Its address may be another than the one that was looked up (a prefix, a pattern), so only a recipient of another transaction is
            // somebody else. The default box is sent what was meant for others, and sees for whom.
            let to_default_box = !self.recipients.iter().all(|recipient| self.all.contains(recipient));
            let mut elsewhere = self.all.iter().filter(|recipient| !self.recipients.contains(recipient));
            let names_them = named.others(self.recipients) && elsewhere.any(|other| !named.others(std::slice::from_ref(other)));
            return named.is_several() || (names_them && !to_default_box);
        }
        named.is_several() || named.others(self.recipients)
    }
}

fn is_verdict(name: &[u8]) -> bool {
    VERDICTS.iter().any(|verdict| name.get(..verdict.len()).is_some_and(|start| start.eq_ignore_ascii_case(verdict.as_bytes())))
}

fn is_ours(name: &[u8]) -> bool {
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

fn renamed(header: &HeaderBlock, field: &Field) -> Vec<u8> {
    let name = header.name(field);
    // X-Orig-Mailgather-Id, not X-Orig-X-Mailgather-Id.
    let name = if is_ours(name) { &name[b"X-".len()..] } else { name };
    [RENAMED, name, b":", &header.octets()[field.value.clone()], b"\r\n"].concat()
}

/// True if the field speaks under this host's name. So does one that is too long to be looked at: its reader may have more patience.
fn bears(header: &HeaderBlock, field: &Field, hostname: &str) -> bool {
    if header.value(field).is_empty() && !field.value.is_empty() {
        return true;
    }
    let text = header.text(field);
    // RFC 8617 §4.1.1: in the ARC field `i=1;` stands before the authserv-id.
    let text = match header.is(field, "ARC-Authentication-Results") {
        true => text.split_once(';').map_or("", |(_, rest)| rest),
        false => &text,
    };
    let id = authserv_id(text);
    let same_domain = || matches!((id.parse::<Domain>(), hostname.parse::<Domain>()), (Ok(id), Ok(host)) if id == host);
    id.eq_ignore_ascii_case(hostname) || same_domain()
}

/// The first word (RFC 8601 §2.2), quoted or not, without the comments around it and the version behind it.
fn authserv_id(text: &str) -> String {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix('(') {
        let mut depth = 1;
        let mut chars = comment.char_indices();
        let end = loop {
            match chars.next() {
                None => break comment.len(),
                Some((_, '\\')) => drop(chars.next()),
                Some((_, '(')) => depth += 1,
                Some((at, ')')) if depth == 1 => break at + 1,
                Some((_, ')')) => depth -= 1,
                Some(_) => {}
            }
        };
        rest = comment[end..].trim_start();
    }
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.chars().take_while(|c| *c != '"').filter(|c| *c != '\\').collect(),
        None => rest.split([';', ' ', '\t', '(', '/']).next().unwrap_or_default().to_owned(),
    }
}

fn names_one_of(header: &HeaderBlock, field: &Field, recipients: &[Recipient]) -> bool {
    addresses(&header.text(field)).iter().any(|address| recipients.iter().any(|recipient| same(address, &recipient.address)))
}

/// Who stands in an envelope header.
enum Named {
    Addresses(Vec<Address>),
    /// The field is too long to be looked at: whoever reads it may have more patience.
    Unknown,
}

impl Named {
    fn of(header: &HeaderBlock, field: &Field) -> Self {
        if header.value(field).is_empty() && !field.value.is_empty() {
            return Named::Unknown;
        }
        Named::Addresses(addresses(&header.text(field)))
    }

    /// True if more than one address is named.
    fn is_several(&self) -> bool {
        match self {
            Named::Addresses(found) => found.iter().skip(1).any(|address| !same(address, &found[0])),
            Named::Unknown => true,
        }
    }

    /// True if somebody is named who is none of these.
    fn others(&self, recipients: &[Recipient]) -> bool {
        let is_recipient = |address: &Address| {
            let original = |recipient: &Recipient| recipient.original.as_ref().is_some_and(|original| same(address, original));
            recipients.iter().any(|recipient| same(address, &recipient.address) || original(recipient))
        };
        match self {
            Named::Addresses(found) => !found.iter().all(is_recipient),
            Named::Unknown => true,
        }
    }
}
