//! `tls:`

use super::Ctx;
use super::block::{Block, Keys};
use super::values::{choice, number, one_or_more, path, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::yaml::Entry;
use crate::config::{ClientCertificate, Tls, TlsBackend, TlsMode, TlsVerify, TlsVersion};

pub(super) const TLS: Keys = Keys {
    known: &["mode", "verify", "fingerprint", "ca_file", "client_cert", "client_key", "min_version", "backend", "security_level"],
    not_yet: &[],
};
/// Most fingerprints of one server: the present certificate, the next one, and some.
const FINGERPRINTS_MAX: usize = 16;
const FINGERPRINT_HINT: &str =
    "`openssl s_client -connect HOST:PORT </dev/null | openssl x509 -noout -fingerprint -sha256` shows it; ask the server's owner whether it is his";

const MODES: [(&str, TlsMode); 6] = [
    ("implicit", TlsMode::Implicit),
    ("starttls", TlsMode::StartTls),
    ("opportunistic", TlsMode::Opportunistic),
    ("none", TlsMode::None),
    ("ssl", TlsMode::Implicit),
    ("ssl/tls", TlsMode::Implicit),
];

/// `tls:` of a collector.
pub(super) fn source_tls(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Tls {
    read(ctx, block, TlsMode::Implicit)
}

/// `tls:` of a relay: mail goes over TLS, or on purpose it does not.
pub(super) fn tls(ctx: &mut Ctx<'_>, block: &Block<'_>, default: TlsMode) -> Tls {
    let mut tls = read(ctx, block, default);
    if tls.mode == TlsMode::Opportunistic {
        let span = block.child(ctx, "tls", &TLS).get("mode").map_or(block.span, |entry| entry.value.span);
        let problem = ctx.error(Code::Value, span, "`mode: opportunistic` is for collectors");
        ctx.add(problem.hint("a target is your own: `starttls`, `implicit` or `none`"));
        tls.mode = default;
    }
    tls
}

fn read(ctx: &mut Ctx<'_>, block: &Block<'_>, default: TlsMode) -> Tls {
    let block = block.child(ctx, "tls", &TLS);
    let mode = block.get("mode").and_then(|entry| choice(ctx, entry, &MODES, &[])).unwrap_or(default);
    let ca_file = block.get("ca_file").and_then(|entry| path(ctx, entry));
    let verify = verify(ctx, &block);
    for key in TLS.known.iter().filter(|key| **key != "mode") {
        if let Some(entry) = block.get(key).filter(|_| mode == TlsMode::None && block.get("mode").is_some()) {
            ctx.add(ctx.warning(Code::Doubtful, entry.span, format!("`{key}` has no effect with `mode: none`")));
        }
    }
    if let Some(entry) = block.get("ca_file").filter(|_| verify != TlsVerify::Full) {
        ctx.add(ctx.warning(Code::Doubtful, entry.span, "`ca_file` has no effect: authorities are not asked with this `verify`"));
    }
    let client_cert = client_cert(ctx, &block);
    for key in ["ca_file", "client_cert", "client_key"] {
        if let Some(entry) = block.get(key)
            && let Some(file) = path(ctx, entry)
        {
            ctx.names(entry.value.span, Outside::File(key, file));
        }
    }
    let backend = backend(ctx, &block);
    let min_version = min_version(ctx, &block, backend);
    Tls { mode, verify, ca_file, client_cert, min_version, backend }
}

fn verify(ctx: &mut Ctx<'_>, block: &Block<'_>) -> TlsVerify {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Full,
        Fingerprint,
        Off,
    }
    let words = [("full", Word::Full), ("fingerprint", Word::Fingerprint), ("off", Word::Off)];
    let word = block.get("verify").and_then(|entry| choice(ctx, entry, &words, &[]));
    let named = block.get("fingerprint");
    let fingerprints = named.map(|entry| fingerprints(ctx, entry));
    match (word, block.get("verify"), named) {
        (Some(word @ (Word::Full | Word::Off)), _, Some(entry)) => {
            let other = if word == Word::Full { "full" } else { "off" };
            let problem = ctx.error(Code::Contradiction, entry.span, format!("`fingerprint` and `verify: {other}` contradict each other"));
            ctx.add(problem.hint("remove `verify`: with `fingerprint`, the certificate itself is what is asked for"));
        }
        (Some(Word::Fingerprint), Some(entry), None) => {
            ctx.add(ctx.error(Code::Missing, entry.span, "`verify: fingerprint` without `fingerprint`").hint(FINGERPRINT_HINT));
        }
        (Some(Word::Off), Some(entry), None) => {
            let problem = ctx.warning(Code::Doubtful, entry.span, "`verify: off`: whoever sits on the line reads the password and the mail");
            ctx.add(problem.hint(format!("name the certificate: `tls: {{fingerprint: …}}`. {FINGERPRINT_HINT}")));
        }
        _ => {}
    }
    match (fingerprints.flatten(), word) {
        (Some(fingerprints), _) => TlsVerify::Fingerprint(fingerprints),
        (None, Some(Word::Off)) => TlsVerify::Off,
        _ => TlsVerify::Full,
    }
}

fn fingerprints(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<[u8; 32]>> {
    let items = one_or_more(ctx, entry)?;
    if items.len() > FINGERPRINTS_MAX {
        ctx.add(ctx.error(Code::Range, entry.value.span, format!("`fingerprint` takes at most {FINGERPRINTS_MAX}")));
        return None;
    }
    let read = |ctx: &mut Ctx<'_>, item: &Entry| {
        let text = text(ctx, item)?;
        let parsed = parse_fingerprint(text);
        if parsed.is_none() {
            let problem = ctx.error(Code::Value, item.value.span, "`fingerprint` is a SHA-256: 64 hexadecimal digits, with colons or without");
            let digits = text.chars().filter(char::is_ascii_hexdigit).count();
            ctx.add(problem.hint(if digits == 40 { "40 digits are a SHA-1, which can be forged" } else { FINGERPRINT_HINT }));
        }
        parsed
    };
    items.iter().map(|item| read(ctx, item)).collect()
}

/// `AB:CD:…`, `abcd…`, perhaps as openssl prints it: `sha256 Fingerprint=AB:…`.
fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.rsplit_once('=').map_or(text, |(_, digits)| digits);
    let text = match text.split_once(':') {
        Some((name, digits)) if name.eq_ignore_ascii_case("sha256") || name.eq_ignore_ascii_case("sha-256") => digits,
        _ => text,
    };
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, at) in octets.iter_mut().zip((0..64).step_by(2)) {
        *octet = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(octets)
}

fn client_cert(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Option<ClientCertificate> {
    let key = block.get("client_key");
    let Some(entry) = block.get("client_cert") else {
        if let Some(key) = key {
            ctx.add(ctx.error(Code::Contradiction, key.span, "`client_key` without `client_cert`"));
        }
        return None;
    };
    let cert = path(ctx, entry)?;
    // One file may hold both.
    let key = match key {
        Some(key) => path(ctx, key)?,
        None => cert.clone(),
    };
    Some(ClientCertificate { cert, key })
}

fn backend(ctx: &mut Ctx<'_>, block: &Block<'_>) -> TlsBackend {
    let level = block.get("security_level");
    let is_openssl = block.get("backend").and_then(|entry| choice(ctx, entry, &[("rustls", false), ("openssl", true)], &[])).unwrap_or(false);
    let security_level = level.and_then(|entry| number(ctx, entry, 0..=5)).map(|level| level as u8);
    if !is_openssl {
        if let Some(level) = level {
            ctx.add(ctx.error(Code::Contradiction, level.span, "`security_level` goes with `backend: openssl` only"));
        }
        return TlsBackend::Rustls;
    }
    if let Some(entry) = block.get("backend") {
        ctx.add(if cfg!(feature = "legacy-tls") {
            let problem =
                ctx.warning(Code::Doubtful, entry.span, "`backend: openssl`: what it takes of old TLS can be broken by whoever sits on the line");
            problem.hint("for a server that cannot be renewed only; name its certificate by `fingerprint`, and keep `min_version` as high as it goes")
        } else {
            let problem = ctx.error(Code::Value, entry.span, "`backend: openssl` is not in this build");
            problem.hint("it takes a build with `--features legacy-tls` and OpenSSL's library: docs/tls.md")
        });
    }
    TlsBackend::OpenSsl { security_level }
}

fn min_version(ctx: &mut Ctx<'_>, block: &Block<'_>, backend: TlsBackend) -> TlsVersion {
    let versions = [("1.0", TlsVersion::V1_0), ("1.1", TlsVersion::V1_1), ("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let Some(entry) = block.get("min_version") else { return TlsVersion::default() };
    let version = choice(ctx, entry, &versions, &[]).unwrap_or_default();
    if version < TlsVersion::V1_2 && backend == TlsBackend::Rustls {
        let problem = ctx.error(Code::Contradiction, entry.value.span, "TLS 1.0 and 1.1 are broken, and spoken by `backend: openssl` only");
        ctx.add(problem.hint("have the server renewed; if that cannot be: docs/tls.md"));
    }
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_as_people_write_them() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        for text in [plain.clone(), colons.clone(), format!("SHA256:{plain}"), format!("sha256 Fingerprint={colons}"), vec!["0f"; 32].join(" ")] {
            assert_eq!(parse_fingerprint(&text), Some([15; 32]), "{text}");
        }
        for text in ["", "0f", &"0f".repeat(20), &"0f".repeat(33), &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse_fingerprint(text), None, "{text}");
        }
    }
}
