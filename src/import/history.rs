//! What the other programs remember of what they collected: names of messages, as octets.

/// Most octets of such a file: a million messages.
pub const HISTORY_OCTETS_MAX: u64 = 128 * 1024 * 1024;

/// A line of fetchmail's `.fetchids`: `user@host UIDL`. User and host may hold anything, so the line is matched against those that are known.
pub fn fetchids(octets: &[u8]) -> Vec<&[u8]> {
    lines(octets).filter(|line| line.contains(&b' ') && line.contains(&b'@')).collect()
}

/// The UIDL, if the line of `.fetchids` is of this user and one of these hosts; fetchmail does not look at capitals.
pub fn fetchid<'l>(line: &'l [u8], user: &str, hosts: &[String]) -> Option<&'l [u8]> {
    hosts.iter().find_map(|host| {
        let of = format!("{user}@{host} ");
        let (head, id) = line.split_at_checked(of.len())?;
        (head.eq_ignore_ascii_case(of.as_bytes()) && !id.is_empty()).then_some(id)
    })
}

/// The names in a file of getmail: `NAME NUL TIME`. By IMAP a name is `UIDVALIDITY/UID`.
pub fn oldmail(octets: &[u8]) -> Vec<&[u8]> {
    lines(octets).filter_map(|line| line.split(|octet| *octet == 0).next().filter(|name| name.len() < line.len() && !name.is_empty())).collect()
}

/// A name of IMAP in a file of getmail; before 4.22 the folder stood in the middle.
pub fn imap_name(name: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(name).ok()?;
    let (validity, rest) = text.split_once('/')?;
    let uid = rest.rsplit('/').next()?;
    Some((validity.parse().ok()?, uid.parse().ok().filter(|uid| *uid > 0)?))
}

/// The name of getmail's file for a mailbox, or for one of its folders.
pub fn oldmail_file(server: &str, port: u16, user: &str, folder: Option<&str>) -> String {
    let base = stripped(&format!("oldmail-{server}-{port}-{user}"), '-');
    match folder {
        Some(folder) => format!("{base}-{}", stripped(folder, '.')),
        None => base,
    }
}

/// Runs of characters that are not for file names, as getmail replaces them.
fn stripped(text: &str, by: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let odd = r"/\:;<>|".contains(c);
        match (odd, inside) {
            (false, _) => out.push(c),
            (true, false) => out.push(by),
            (true, true) => {}
        }
        inside = odd;
    }
    out
}

/// A UIDL in the form that getmail writes: it keeps no slash.
pub fn as_getmail_writes(uidl: &[u8]) -> Vec<u8> {
    uidl.iter().map(|octet| if *octet == b'/' { b'-' } else { *octet }).collect()
}

/// What is remembered of one mailbox in a file of mpop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfMailbox<'a> {
    /// The server.
    pub host: &'a [u8],
    /// The login name.
    pub user: &'a [u8],
    /// The UIDLs.
    pub uidls: Vec<&'a [u8]>,
}

/// The mailboxes of a file of mpop: ` COUNT HOST USER`, and then a UIDL a line.
pub fn uidls(octets: &[u8]) -> Vec<OfMailbox<'_>> {
    let mut found: Vec<OfMailbox<'_>> = Vec::new();
    for line in lines(octets).filter(|line| !line.starts_with(b"#")) {
        match (line.strip_prefix(b" "), found.last_mut()) {
            (Some(head), _) => {
                let mut parts = head.splitn(3, |octet| *octet == b' ').skip(1);
                let (host, user) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                found.push(OfMailbox { host, user, uidls: Vec::new() });
            }
            (None, Some(mailbox)) => mailbox.uidls.push(line),
            (None, None) => {}
        }
    }
    found
}

fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    octets.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetchmails_file() {
        let file = b"an na@x.example@127.0.0.1 uid-1<a/b>\nbert@pop.example 0000000251234567\nnonsense\n\n";
        let found = fetchids(file);
        let hosts = ["label".to_owned(), "127.0.0.1".to_owned()];
        assert_eq!(found.iter().filter_map(|line| fetchid(line, "an na@x.example", &hosts)).collect::<Vec<_>>(), [&b"uid-1<a/b>"[..]]);
        assert_eq!(found.iter().filter_map(|line| fetchid(line, "bert", &["POP.example".into()])).collect::<Vec<_>>(), [b"0000000251234567"]);
        assert_eq!(found.iter().filter_map(|line| fetchid(line, "ber", &["pop.example".into()])).count(), 0);
    }

    #[test]
    fn getmails_files() {
        assert_eq!(oldmail_file("127.0.0.1", 21110, "an na@x.example/y", None), "oldmail-127.0.0.1-21110-an na@x.example-y");
        assert_eq!(oldmail_file("h", 993, "u", Some("A/:b")), "oldmail-h-993-u-A.b");
        assert_eq!(oldmail(b"uid-1<a-b>\x001795307843\n12/7\x001\nbroken\n\0x\n"), [&b"uid-1<a-b>"[..], b"12/7"]);
        assert_eq!(as_getmail_writes(b"uid-1<a/b>"), b"uid-1<a-b>");
        assert_eq!(
            (imap_name(b"12/7"), imap_name(b"12/INBOX/7"), imap_name(b"12"), imap_name(b"x/7"), imap_name(b"12/0")),
            (Some((12, 7)), Some((12, 7)), None, None, None)
        );
    }

    #[test]
    fn mpops_file() {
        let file = b"# This file was generated by mpop version 1.4.18.\n#\n 2 127.0.0.1 bert\n0000000251234567\nuid-1<a/b>\n 1 h anna@x.example\nx\n";
        let found = uidls(file);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].host, found[0].user, found[0].uidls.len()), (&b"127.0.0.1"[..], &b"bert"[..], 2));
        assert_eq!((found[1].user, found[1].uidls.as_slice()), (&b"anna@x.example"[..], &[&b"x"[..]][..]));
    }
}
