//! Whether a host under a provider's domain looks like a customer's machine.
//!
//! Providers name the lines and machines of their customers under their own domain: `static.….clients.your-server.de`, `vps-….vps.ovh.net`,
//! `c-203-0-113-7.hsd1.ma.comcast.net`. Who rents one is not the provider. Such names hold the address, or a word for what is rented out; a
//! provider's mail servers are not named so. A name that is wrongly taken for a customer's costs recipients that go to the default box, until the
//! operator writes `trusted_hosts`; the other error would let a stranger write what is believed.

use crate::mail::Domain;
use std::net::IpAddr;

/// Words for what is rented out or given to the passing crowd.
const WORDS: &[&str] = &[
    "client",
    "clients",
    "customer",
    "customers",
    "cust",
    "dyn",
    "dynamic",
    "pool",
    "dsl",
    "adsl",
    "cable",
    "dial",
    "dialup",
    "ppp",
    "dhcp",
    "static",
    "vps",
    "vds",
    "cloud",
    "compute",
    "kunden",
    "user",
    "users",
    "broadband",
    "res",
    "residential",
];

/// Shortest run of digits that is looked for without separators: `1.1.1.1` in any number with four ones would be too much.
const RUN_MIN: usize = 6;

/// True if a name under `parent`, of the peer with this address, looks like a customer's.
pub(super) fn looks_rented(name: &Domain, parent: &Domain, ip: IpAddr) -> bool {
    let Some(labels) = name.as_ascii().strip_suffix(parent.as_ascii()).and_then(|rest| rest.strip_suffix('.')) else { return false };
    let labels = labels.to_ascii_lowercase();
    labels.split('.').any(has_word) || holds_address(&labels, ip)
}

/// `dsl-17`, `vps3`, `ip-10-0-0-1`, `ip17`: a word between what is no letter.
fn has_word(label: &str) -> bool {
    let mut words = label.split(|c: char| !c.is_ascii_alphabetic());
    let mut end = 0;
    words.any(|word| {
        let start = end;
        end = start + word.len() + 1;
        // `ip` alone says nothing: a number has to follow.
        let numbered = || label[start + word.len()..].trim_start_matches(['-', '_']).starts_with(|c: char| c.is_ascii_digit());
        WORDS.contains(&word) || (word == "ip" && numbered())
    })
}

fn holds_address(labels: &str, ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => holds_octets(labels, ip.octets()),
        IpAddr::V6(ip) => holds_groups(labels, ip.segments()),
    }
}

/// All four octets in any order, decimal or hexadecimal, or in a row without separators, forwards or backwards.
fn holds_octets(labels: &str, octets: [u8; 4]) -> bool {
    let holds_all = |found: Vec<u32>| {
        let mut found = found;
        octets.iter().all(|octet| found.iter().position(|n| *n == u32::from(*octet)).map(|at| found.swap_remove(at)).is_some())
    };
    let decimals = labels.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect();
    let hexadecimals = labels.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() <= 3);
    let hexadecimals = hexadecimals.filter_map(|word| u32::from_str_radix(word.trim_start_matches('x'), 16).ok()).collect();
    let mut backwards = octets;
    backwards.reverse();
    let rows = [octets, backwards].into_iter().flat_map(|octets| {
        let row = |show: fn(u8) -> String| octets.into_iter().map(show).collect::<String>();
        [row(|n| format!("{n}")), row(|n| format!("{n:03}")), row(|n| format!("{n:02x}"))]
    });
    let joined = joined(labels);
    holds_all(decimals) || holds_all(hexadecimals) || rows.filter(|row| row.len() >= RUN_MIN).any(|row| joined.contains(&row))
}

/// All groups that are not zero, or all nibbles in a row, forwards or backwards; the host's half of them is enough.
fn holds_groups(labels: &str, groups: [u16; 8]) -> bool {
    let found: Vec<u16> = labels.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| u16::from_str_radix(word, 16).ok()).collect();
    let holds_all = |groups: &[u16]| {
        let told: Vec<_> = groups.iter().filter(|group| **group != 0).collect();
        told.len() > 1 && told.into_iter().all(|group| found.contains(group))
    };
    let row: String = groups.iter().map(|group| format!("{group:04x}")).collect();
    let backwards: String = row.chars().rev().collect();
    let host = row.trim_end_matches('0').len() > 17;
    let joined = joined(labels);
    holds_all(&groups) || holds_all(&groups[4..]) || joined.contains(&row) || joined.contains(&backwards) || (host && joined.contains(&row[16..]))
}

fn joined(labels: &str) -> String {
    labels.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_and_servers() {
        for (name, parent, ip, want) in [
            ("static.7.113.0.203.clients.your-server.de", "your-server.de", "203.0.113.7", true),
            ("static.1.2.3.4.clients.your-server.de", "your-server.de", "203.0.113.7", true),
            ("vps-1a2b3c4d.vps.ovh.net", "ovh.net", "203.0.113.7", true),
            ("vps771.ovh.net", "ovh.net", "203.0.113.7", true),
            ("ip7.ip-203-0-113.eu", "ip-203-0-113.eu", "203.0.113.7", true),
            ("ip-17.provider.de", "provider.de", "203.0.113.7", true),
            ("c-203-0-113-7.hsd1.ma.comcast.net", "comcast.net", "203.0.113.7", true),
            ("pool-203-0-113-7.bstnma.fios.verizon.net", "verizon.net", "203.0.113.7", true),
            ("p5b034af6.dip0.t-ipconnect.de", "t-ipconnect.de", "91.3.74.246", true),
            ("p5B034AF6.dip0.t-ipconnect.de", "t-ipconnect.de", "91.3.74.246", true),
            ("7-113-000-203.provider.de", "provider.de", "203.0.113.7", true),
            ("host203000113007.provider.de", "provider.de", "203.0.113.7", true),
            ("h20301137.provider.de", "provider.de", "203.0.113.7", true),
            ("cb-0-71-7.provider.de", "provider.de", "203.0.113.7", true),
            ("x77100cb.provider.de", "provider.de", "203.0.113.7", false),
            ("070071cb.provider.de", "provider.de", "203.0.113.7", false),
            ("077100cb.provider.de", "provider.de", "203.0.113.7", true),
            ("broadband-77-37-1-2.ip.moscow.rt.ru", "rt.ru", "203.0.113.7", true),
            ("adsl17.provider.fr", "provider.fr", "203.0.113.7", true),
            ("cust-17.provider.nl", "provider.nl", "203.0.113.7", true),
            ("dhcp3.users.provider.example", "provider.example", "203.0.113.7", true),
            ("ec2-203-0-113-7.compute.provider.example", "provider.example", "203.0.113.7", true),
            ("s17.kunden.provider.de", "provider.de", "203.0.113.7", true),
            ("p200300c1070707070000000000000007.dip0.t-ipconnect.de", "t-ipconnect.de", "2003:c1:707:707::7", true),
            ("2001-db8-1-2-3-4-5-6.provider.de", "provider.de", "2001:db8:1:2:3:4:5:6", true),
            ("h-3-4-5-6.provider.de", "provider.de", "2001:db8:1:2:3:4:5:6", true),
            ("x1.a.0003000400050006.provider.de", "provider.de", "2001:db8:1:2:3:4:5:6", true),
            ("7.113.0.203.provider.de", "provider.de", "::ffff:203.0.113.7", true),
            // Mail servers.
            ("mx1.provider.de", "provider.de", "203.0.113.7", false),
            ("mail-out-3.provider.de", "provider.de", "203.0.113.7", false),
            ("mx203-7.provider.de", "provider.de", "203.0.113.7", false),
            ("mail1.provider.de", "provider.de", "1.1.1.1", false),
            ("mx1.provider.de", "provider.de", "2001:db8::1", false),
            ("mxfront12o.mail.yandex.net", "yandex.net", "2001:db8::12", false),
            ("iva5-abc.qloud-c.yandex.net", "yandex.net", "203.0.113.7", false),
            ("mo4-p00-ob.smtp.rzone.de", "rzone.de", "203.0.113.7", false),
            ("mout.gmx.net", "gmx.net", "203.0.113.7", false),
            ("mail-sor-f41.google.com", "google.com", "209.85.220.41", false),
            ("ipmail06.adl2.internode.on.net", "on.net", "203.0.113.7", false),
            ("clientmail.provider.de", "provider.de", "203.0.113.7", false),
            ("zip-2.provider.de", "provider.de", "203.0.113.7", false),
            ("ip.provider.de", "provider.de", "203.0.113.7", false),
            // The words of the provider's own name say nothing.
            ("mx1.cloud.example", "cloud.example", "203.0.113.7", false),
            ("provider.de", "provider.de", "203.0.113.7", false),
        ] {
            let (name_, parent) = (name.parse().unwrap(), parent.parse().unwrap());
            assert_eq!(looks_rented(&name_, &parent, ip.parse().unwrap()), want, "{name} at {ip}");
        }
    }
}
