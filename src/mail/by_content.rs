//! What a message is called that its server gives no id of its own: by its content. No server can send such a name, for it starts with a NUL.
//!
//! ```text
//! NUL  [id's digest, 32 hex digits]  =  content's digest, 32 hex digits  [* which of several alike]
//! ```
//!
//! The id's digest is there where several messages share one id. As long as a name with it is known, a message with that id is called by its
//! content, even when it is alone by now: it could be any of them.

use super::RemoteUid;

/// The name of the `copy`-th message (from 1) with this content, among those with this id, or without any.
pub fn name(id: Option<u128>, content: u128, copy: u32) -> RemoteUid {
    let id = id.map_or(String::new(), |id| format!("{id:032x}"));
    let copy = if copy > 1 { format!("*{copy}") } else { String::new() };
    RemoteUid::Opaque(format!("\0{id}={content:032x}{copy}").into_bytes().into())
}

/// True if this is a message's name by its content.
pub fn is_name(uid: &RemoteUid) -> bool {
    parts(uid).is_some()
}

/// The digest of the id that this message shared with others, if it is called by its content for that.
pub fn shared_id(uid: &RemoteUid) -> Option<u128> {
    u128::from_str_radix(parts(uid)?, 16).ok()
}

/// What stands before the `=`.
fn parts(uid: &RemoteUid) -> Option<&str> {
    let RemoteUid::Opaque(name) = uid else { return None };
    let (&0, name) = name.split_first()? else { return None };
    let (id, _) = std::str::from_utf8(name).ok()?.split_once('=')?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reads() {
        let (alone, second) = (name(None, 7, 1), name(Some(9), 7, 2));
        assert_eq!(alone.to_string(), format!("\\x00={:032x}", 7));
        assert_eq!(second.to_string(), format!("\\x00{:032x}={:032x}*2", 9, 7));
        assert_eq!((is_name(&alone), shared_id(&alone)), (true, None));
        assert_eq!((is_name(&second), shared_id(&second)), (true, Some(9)));
        for other in [&b"a=b"[..], b"\x004", b"", b"\0"] {
            assert!(!is_name(&RemoteUid::Opaque(other.into())));
        }
        assert!(!is_name(&RemoteUid::Number(1)));
    }
}
