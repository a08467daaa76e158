//! NTLM (MS-NLMP), NTLMv2 responses only: neither LM nor NTLMv1 is ever sent, whatever the server asks for, and nothing is signed or sealed
//! afterwards. The proof says to which service it goes and over which TLS channel, so that whoever gets hold of it cannot use it elsewhere (what Windows
//! calls Extended Protection). Each offset and length in the server's message is checked before it is used (CVE-2012-3482 and its like).

use super::{Credentials, SaslError};
use crate::mail::Secret;
use hmac::{Hmac, Mac};
use md4::{Digest, Md4};
use md5::Md5;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// MS-NLMP §2.2.2.5.
const UNICODE: u32 = 0x0000_0001;
const REQUEST_TARGET: u32 = 0x0000_0004;
const NTLM: u32 = 0x0000_0200;
const ALWAYS_SIGN: u32 = 0x0000_8000;
const EXTENDED_SESSION_SECURITY: u32 = 0x0008_0000;
const TARGET_INFO: u32 = 0x0080_0000;
const FLAGS: u32 = UNICODE | REQUEST_TARGET | NTLM | ALWAYS_SIGN | EXTENDED_SESSION_SECURITY;
/// MS-NLMP §2.2.2.1.
const AV_EOL: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;
const AV_TARGET_NAME: u16 = 9;
const AV_CHANNEL_BINDINGS: u16 = 10;
/// In MsvAvFlags: the message has a MIC.
const AV_FLAG_MIC: u32 = 2;
/// From 1601 to 1970, in seconds.
const FILETIME_EPOCH: u64 = 11_644_473_600;

/// NEGOTIATE_MESSAGE (§2.2.1.1): names neither domain nor workstation.
pub(super) const NEGOTIATE: [u8; 32] = negotiate();

const fn negotiate() -> [u8; 32] {
    let mut message = [0; 32];
    let mut at = 0;
    while at < 8 {
        message[at] = SIGNATURE[at];
        at += 1;
    }
    message[8] = 1;
    let flags = FLAGS.to_le_bytes();
    while at < 12 {
        message[at + 4] = flags[at - 8];
        at += 1;
    }
    message
}

pub(super) struct Ntlm {
    user: String,
    domain: String,
    password: Secret,
    client_challenge: [u8; 8],
    now: u64,
    /// `HTTP/mail.example.com`
    target_name: String,
    end_point: Option<Vec<u8>>,
}

/// What CHALLENGE_MESSAGE (§2.2.1.2) holds for us.
struct Challenge {
    flags: u32,
    nonce: [u8; 8],
    target_info: Vec<(u16, Vec<u8>)>,
}

impl Ntlm {
    pub(super) fn new(credentials: &Credentials) -> Result<Ntlm, SaslError> {
        // `DOMAIN\name` is how people write both.
        let (domain, user) = match (&credentials.domain, credentials.username.split_once('\\')) {
            (Some(domain), None) => (domain.clone(), credentials.username.clone()),
            (Some(domain), Some((_, user))) => (domain.clone(), user.to_owned()),
            (None, Some((domain, user))) => (domain.to_owned(), user.to_owned()),
            (None, None) => (String::new(), credentials.username.clone()),
        };
        // A field's length is a u16 of octets in UTF-16.
        if user.len() > 1000 || domain.len() > 1000 || credentials.host.len() > 1000 {
            return Err(SaslError::Unsendable("the login name, the domain or the server's name is too long"));
        }
        let mut client_challenge = [0; 8];
        client_challenge.copy_from_slice(&credentials.random[..8]);
        Ok(Ntlm {
            user,
            domain,
            password: credentials.password.clone(),
            client_challenge,
            now: credentials.now,
            target_name: format!("{}/{}", credentials.service, credentials.host),
            end_point: credentials.end_point.clone(),
        })
    }

    /// AUTHENTICATE_MESSAGE (§2.2.1.3).
    pub(super) fn authenticate(&self, challenge_message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let challenge = Challenge::read(challenge_message).ok_or(SaslError::Malformed("the server's NTLM challenge is malformed"))?;
        let answer = self.answer(&challenge);
        let text = |text: &str| match challenge.flags & UNICODE {
            0 if text.is_ascii() => Ok(text.as_bytes().to_vec()),
            0 => Err(SaslError::Unsendable("the login name or the domain is not ASCII, and the server does not take Unicode")),
            _ => Ok(utf16(text)),
        };
        let fields = [answer.lm, answer.nt, text(&self.domain)?, text(&self.user)?, Vec::new(), Vec::new()];
        let head = if answer.session_key.is_some() { 88 } else { 64 };
        let mut message = Vec::with_capacity(head + 512);
        message.extend_from_slice(SIGNATURE);
        message.extend_from_slice(&3u32.to_le_bytes());
        let mut offset = head;
        for field in &fields {
            let length = u16::try_from(field.len()).map_err(|_| SaslError::Malformed("the server's NTLM challenge is too long"))?;
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(&(offset as u32).to_le_bytes());
            offset += field.len();
        }
        message.extend_from_slice(&(challenge.flags & FLAGS | challenge.flags & TARGET_INFO).to_le_bytes());
        // Version and MIC, or neither.
        message.resize(head, 0);
        fields.iter().for_each(|field| message.extend_from_slice(field));
        if let Some(key) = answer.session_key {
            let mic = keyed(&key, &[&NEGOTIATE, challenge_message, &message]);
            message[72..88].copy_from_slice(&mic);
        }
        Ok(message)
    }

    /// §3.3.2.
    fn answer(&self, challenge: &Challenge) -> Answer {
        let key = response_key(&self.user, &self.domain, self.password.expose());
        let stamp = challenge.target_info.iter().find(|(id, value)| *id == AV_TIMESTAMP && value.len() == 8).map(|(_, value)| value.clone());
        let time = stamp.clone().unwrap_or_else(|| filetime(self.now).to_vec());
        let mut pairs = challenge.target_info.clone();
        if stamp.is_some() {
            // With the server's own time in hand the three messages are bound together (§3.1.5.1.2).
            let flags = match pairs.iter().position(|(id, value)| *id == AV_FLAGS && value.len() == 4) {
                Some(at) => u32::from_le_bytes(pairs.remove(at).1.try_into().unwrap_or_default()),
                None => 0,
            };
            pairs.push((AV_FLAGS, (flags | AV_FLAG_MIC).to_le_bytes().to_vec()));
        }
        // Where and over what the proof goes is ours to say, whatever the server put there (§3.1.5.1.2). Without a list of its own it takes none.
        if challenge.flags & TARGET_INFO != 0 {
            pairs.retain(|(id, _)| !matches!(*id, AV_TARGET_NAME | AV_CHANNEL_BINDINGS));
            pairs.push((AV_TARGET_NAME, utf16(&self.target_name)));
            pairs.extend(self.end_point.as_deref().map(|hash| (AV_CHANNEL_BINDINGS, channel_bindings(hash).to_vec())));
        }
        let mut temp = vec![1, 1, 0, 0, 0, 0, 0, 0];
        temp.extend_from_slice(&time);
        temp.extend_from_slice(&self.client_challenge);
        temp.extend_from_slice(&[0; 4]);
        for (id, value) in pairs.iter().chain([&(AV_EOL, Vec::new())]) {
            temp.extend_from_slice(&id.to_le_bytes());
            // They were read with such lengths.
            temp.extend_from_slice(&(value.len() as u16).to_le_bytes());
            temp.extend_from_slice(value);
        }
        temp.extend_from_slice(&[0; 4]);
        let proof = keyed(&key, &[&challenge.nonce, &temp]);
        let session_key = keyed(&key, &[&proof]);
        let nt = [&proof[..], &temp].concat();
        let lm = match stamp {
            Some(_) => vec![0; 24],
            None => [&keyed(&key, &[&challenge.nonce, &self.client_challenge])[..], &self.client_challenge].concat(),
        };
        Answer { lm, nt, session_key: stamp.map(|_| session_key) }
    }
}

struct Answer {
    lm: Vec<u8>,
    nt: Vec<u8>,
    /// If the message gets a MIC.
    session_key: Option<[u8; 16]>,
}

impl Challenge {
    /// `None` if it is not one, or points outside itself.
    fn read(message: &[u8]) -> Option<Challenge> {
        if message.get(..8)? != SIGNATURE || u32_at(message, 8)? != 2 {
            return None;
        }
        let flags = u32_at(message, 20)?;
        let nonce = message.get(24..32)?.try_into().ok()?;
        let mut target_info = Vec::new();
        if flags & TARGET_INFO != 0 {
            let length = usize::from(u16_at(message, 40)?);
            let start = usize::try_from(u32_at(message, 44)?).ok()?;
            let mut rest = message.get(start..start.checked_add(length)?)?;
            while !rest.is_empty() {
                let (id, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
                if id == AV_EOL {
                    break;
                }
                target_info.push((id, rest.get(4..4 + length)?.to_vec()));
                rest = &rest[4 + length..];
            }
        }
        Some(Challenge { flags, nonce, target_info })
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

/// MsvAvChannelBindings (§2.2.2.1): the MD5 of a gss_channel_bindings_struct (RFC 2744 §3.11) without addresses, whose data name the kind of binding
/// (RFC 5056 §2.1).
fn channel_bindings(end_point: &[u8]) -> [u8; 16] {
    let data = [&b"tls-server-end-point:"[..], end_point].concat();
    // Two types of address and their lengths, none; a hash is never longer than a u32 can say.
    Md5::new().chain_update([0; 16]).chain_update((data.len() as u32).to_le_bytes()).chain_update(data).finalize().into()
}

/// NTOWFv2 (§3.3.2).
fn response_key(user: &str, domain: &str, password: &str) -> [u8; 16] {
    let hash: [u8; 16] = Md4::digest(utf16(password)).into();
    keyed(&hash, &[&utf16(&upper(user)), &utf16(domain)])
}

/// As Windows does it: letter by letter, so that ß stays ß.
fn upper(text: &str) -> String {
    text.chars()
        .map(|letter| {
            let mut upper = letter.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => letter,
            }
        })
        .collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Tenths of microseconds since 1601.
fn filetime(seconds: u64) -> [u8; 8] {
    seconds.saturating_add(FILETIME_EPOCH).saturating_mul(10_000_000).to_le_bytes()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else { return [0; 16] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::super::cram::hex;
    use super::*;
    use proptest::prelude::*;

    fn ntlm(username: &str, domain: Option<&str>, now: u64) -> Ntlm {
        let credentials = Credentials {
            username: username.into(),
            password: Secret::new("Password".into()),
            domain: domain.map(str::to_owned),
            host: "h".into(),
            port: 143,
            random: [0xaa; 24],
            now,
            service: "IMAP",
            end_point: None,
        };
        Ntlm::new(&credentials).unwrap()
    }

    /// MS-NLMP §4.2.1 and §4.2.4: user `User`, domain `Domain`, password `Password`, the time 0.
    fn example() -> Challenge {
        Challenge {
            flags: UNICODE | TARGET_INFO,
            nonce: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
            target_info: vec![(2, utf16("Domain")), (1, utf16("Server"))],
        }
    }

    /// The same as it comes over the wire.
    pub(super) fn message(flags: u32, pairs: &[(u16, &[u8])]) -> Vec<u8> {
        let mut info = Vec::new();
        for (id, value) in pairs.iter().chain([&(0, &b""[..])]) {
            info.extend(id.to_le_bytes());
            info.extend((value.len() as u16).to_le_bytes());
            info.extend(*value);
        }
        let mut message = SIGNATURE.to_vec();
        message.extend(2u32.to_le_bytes());
        message.extend([0; 8]);
        message.extend(flags.to_le_bytes());
        message.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        message.extend([0; 8]);
        message.extend((info.len() as u16).to_le_bytes());
        message.extend((info.len() as u16).to_le_bytes());
        message.extend(56u32.to_le_bytes());
        message.extend([0; 8]);
        message.extend(info);
        message
    }

    #[test]
    fn vectors_of_ms_nlmp_4_2_4() {
        assert_eq!(hex(&response_key("User", "Domain", "Password")), "0c868a403bfd7a93a3001ef22ef02e3f");
        let mut ntlm = ntlm("User", Some("Domain"), 0);
        let answer = ntlm.answer(&example());
        assert_eq!(hex(&answer.lm), "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa");
        // The example's time is 0, which is 1601.
        assert_eq!(filetime(0), 116_444_736_000_000_000u64.to_le_bytes());
        ntlm.now = 0u64.wrapping_sub(FILETIME_EPOCH);
        let mut challenge = example();
        challenge.target_info.push((AV_TIMESTAMP, vec![0; 8]));
        let key = response_key("User", "Domain", "Password");
        let pairs: Vec<u8> =
            example().target_info.iter().flat_map(|(id, v)| [&id.to_le_bytes()[..], &(v.len() as u16).to_le_bytes(), v].concat()).collect();
        let temp = [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0; 8], &[0xaa; 8], &[0; 4], &pairs, &[0; 4], &[0; 4]].concat();
        let proof = keyed(&key, &[&challenge.nonce, &temp]);
        assert_eq!(hex(&proof), "68cd0ab851e51c96aabc927bebef6a1c");
        assert_eq!(hex(&keyed(&key, &[&proof])), "8de40ccadbc14a82f15cb0ad0de95ca3");
        // Ours is over the same, with the server's time in the list.
        let answer = ntlm.answer(&challenge);
        assert_eq!((answer.lm, answer.session_key.is_some()), (vec![0; 24], true));
        assert_eq!(&answer.nt[16..24], &temp[..8]);
        assert!(answer.nt.windows(8).any(|window| window == [6, 0, 4, 0, 2, 0, 0, 0]), "MsvAvFlags says that there is a MIC");
    }

    #[test]
    fn messages_are_laid_out_as_ms_nlmp_has_it() {
        assert_eq!(&NEGOTIATE[..12], b"NTLMSSP\0\x01\0\0\0");
        assert_eq!(u32_at(&NEGOTIATE, 12), Some(FLAGS));
        let field = |message: &[u8], at: usize| {
            let (length, offset) = (usize::from(u16_at(message, at).unwrap()), u32_at(message, at + 4).unwrap() as usize);
            message[offset..offset + length].to_vec()
        };
        for (username, domain) in [("User", Some("Domain")), ("Domain\\User", None), ("other\\User", Some("Domain"))] {
            for (pairs, head) in [(vec![(2, &b"D\0"[..])], 64), (vec![(7, &[1u8; 8][..])], 88)] {
                let challenge = message(UNICODE | TARGET_INFO | NTLM, &pairs);
                let answer = ntlm(username, domain, 1_700_000_000).authenticate(&challenge).unwrap();
                assert_eq!(&answer[..12], b"NTLMSSP\0\x03\0\0\0");
                assert_eq!((field(&answer, 28), field(&answer, 36)), (utf16("Domain"), utf16("User")));
                assert_eq!((field(&answer, 12).len(), u32_at(&answer, 16)), (24, Some(head)));
                assert_eq!(answer.len(), head as usize + field(&answer, 12).len() + field(&answer, 20).len() + 12 + 8);
                assert!(!answer.windows(16).any(|octets| octets == utf16("Password")));
                // The MIC is over all three messages, with zeros in its own place.
                if head == 88 {
                    let mut zeroed = answer.clone();
                    zeroed[72..88].fill(0);
                    let nt = field(&answer, 20);
                    let session_key = keyed(&response_key("User", "Domain", "Password"), &[&nt[..16]]);
                    assert_eq!(answer[72..88], keyed(&session_key, &[&NEGOTIATE, &challenge, &zeroed]));
                }
            }
        }
        let oem = ntlm("User", Some("Domain"), 0).authenticate(&message(NTLM, &[])).unwrap();
        assert_eq!((field(&oem, 28), field(&oem, 36)), (b"Domain".to_vec(), b"User".to_vec()));
        assert!(ntlm("Üser", None, 0).authenticate(&message(NTLM, &[])).is_err());
        assert_eq!(upper("straße é"), "STRAßE É");
    }

    #[test]
    fn the_proof_names_its_service_and_its_channel() {
        // As another implementation has it, for a hash of the octets 0 to 31.
        let hash: Vec<u8> = (0..32).collect();
        assert_eq!(hex(&channel_bindings(&hash)), "8f1214c9c9cab8dc3bf866da9aba57a7");
        let mut ntlm = ntlm("User", Some("Domain"), 0);
        ntlm.end_point = Some(hash);
        let has = |answer: &Answer, id: u16, value: &[u8]| {
            let pair = [&id.to_le_bytes(), &(value.len() as u16).to_le_bytes(), value].concat();
            answer.nt.windows(pair.len()).filter(|window| *window == pair).count()
        };
        // What the server says of them is not taken, whether it comes with its time or not.
        for stamp in [None, Some((AV_TIMESTAMP, vec![7; 8]))] {
            let mut challenge = example();
            challenge.target_info.extend([(AV_CHANNEL_BINDINGS, vec![9; 16]), (AV_TARGET_NAME, utf16("IMAP/evil"))]);
            challenge.target_info.extend(stamp);
            let answer = ntlm.answer(&challenge);
            assert_eq!(
                (has(&answer, AV_CHANNEL_BINDINGS, &channel_bindings(ntlm.end_point.as_deref().unwrap())), has(&answer, 10, &[9; 16])),
                (1, 0)
            );
            assert_eq!((has(&answer, AV_TARGET_NAME, &utf16("IMAP/h")), has(&answer, 9, &utf16("IMAP/evil"))), (1, 0));
            assert_eq!((has(&answer, 2, &utf16("Domain")), has(&answer, 1, &utf16("Server"))), (1, 1), "the server's own list is kept");
        }
        // A server of before this has no list, and gets none.
        let answer = ntlm.answer(&Challenge { flags: UNICODE, target_info: vec![], ..example() });
        assert_eq!((has(&answer, AV_TARGET_NAME, &utf16("IMAP/h")), answer.nt.len()), (0, 16 + 28 + 4 + 4));
    }

    #[test]
    fn names_with_and_without_a_domain() {
        for (username, domain, wanted) in [
            ("tim", None, ("", "tim")),
            ("tim", Some("CORP"), ("CORP", "tim")),
            ("CORP\\tim", None, ("CORP", "tim")),
            ("OTHER\\tim", Some("CORP"), ("CORP", "tim")),
            // The name of a principal has its domain in it, and goes as it is.
            ("tim@corp.example", None, ("", "tim@corp.example")),
        ] {
            let made = ntlm(username, domain, 0);
            assert_eq!((made.domain.as_str(), made.user.as_str()), wanted, "{username} {domain:?}");
        }
    }

    #[test]
    fn f49_challenges_that_point_outside_themselves() {
        let good = message(UNICODE | TARGET_INFO, &[(2, b"D\0"), (7, &[0; 8])]);
        assert!(Challenge::read(&good).is_some());
        for length in 0..32 {
            assert!(Challenge::read(&good[..length]).is_none(), "{length}");
        }
        for (at, octets) in
            [(0, &b"X"[..]), (8, &[3]), (40, &[0xff, 0xff]), (44, &[0xff, 0xff, 0xff, 0xff]), (44, &[0xff, 0xff, 0xff, 0x7f]), (58, &[0xff, 0xff])]
        {
            let mut bad = good.clone();
            bad[at..at + octets.len()].copy_from_slice(octets);
            assert!(Challenge::read(&bad).is_none(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..300), at in 8usize..60, value in any::<u8>()) {
            let _ = ntlm("u", None, 0).authenticate(&octets);
            let mut near = message(UNICODE | TARGET_INFO, &[(2, b"D\0"), (6, &[0; 4]), (7, &[0; 8])]);
            near[at] = value;
            let _ = ntlm("u", None, 0).authenticate(&near);
        }
    }
}
