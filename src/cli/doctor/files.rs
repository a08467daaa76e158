//! Whose the files are, and who may touch them.

use super::Patient;
use super::finding::Finding;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most files of the state directory that are looked at.
const LOOKED_AT_MAX: usize = 20_000;
/// How deep below the state directory.
const DEPTH_MAX: usize = 3;

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let owner = std::fs::metadata(&patient.state_dir).ok().map(|meta| meta.uid());
    let mut findings = vec![user(patient, owner)];
    findings.extend(configuration(patient, owner));
    findings.extend(state(&patient.state_dir));
    findings
}

/// Who looks: another user than the service's sees other things.
fn user(patient: &Patient<'_>, owner: Option<u32>) -> Finding {
    let ours = rustix::process::geteuid().as_raw();
    match owner {
        Some(owner) if owner != ours => {
            let name = name_of(owner);
            let again = patient.common.again("doctor");
            // runuser(1) is for root, and nobody needs it to become root.
            let hint = match (ours, owner) {
                (0, _) if name.starts_with('#') => format!("look as that user: setpriv --reuid {owner} --clear-groups -- {again}"),
                (0, _) => format!("look as that user: runuser -u {name} -- {again}"),
                (_, 0) => format!("look as root: sudo {again}"),
                _ => format!("look as that user: sudo -u '{name}' {again}"),
            };
            Finding::warning("user", format!("{}; the state belongs to {name}, who may see other things than you", name_of(ours)), hint)
        }
        _ => Finding::ok("user", name_of(ours)),
    }
}

/// The files of the configuration may be read by the service, and written by nobody who could turn mail elsewhere.
fn configuration(patient: &Patient<'_>, owner: Option<u32>) -> Vec<Finding> {
    let Some(loaded) = patient.loaded else { return Vec::new() };
    let ours = rustix::process::geteuid().as_raw();
    let mut findings = Vec::new();
    for file in &loaded.files {
        let Ok(meta) = std::fs::metadata(file) else { continue };
        let path = file.display();
        if meta.mode() & 0o002 != 0 {
            findings.push(Finding::failed(
                "files",
                format!("{path}: everybody may write there, and so turn mail elsewhere"),
                format!("chmod o-w {path}"),
            ));
        } else if ![0, ours].contains(&meta.uid()) && Some(meta.uid()) != owner {
            let text = format!("{path} belongs to {}, who may turn mail elsewhere", name_of(meta.uid()));
            findings.push(Finding::warning("files", text, format!("chown root {path}")));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("files", "nobody else may change the configuration"));
    }
    findings
}

/// The state directory and what is in it belong to one user, and nobody else may look.
fn state(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    let meta = match std::fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return vec![Finding::failed("state", format!("{shown} is no folder"), "name a folder with `service.state_dir`")],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok("state", format!("{shown} is not there yet: it is made at the first start"))];
        }
        Err(error) => return vec![Finding::failed("state", format!("{shown}: {error}"), "look as the user that runs the service")],
    };
    let mut findings = Vec::new();
    let mode = meta.mode() & 0o7777;
    if mode & 0o002 != 0 {
        let text =
            format!("{shown} has mode {mode:04o}: everybody may write there, and so read passwords and mail, or put collectors of their own there");
        findings.push(Finding::failed("state", text, format!("chmod 700 {shown}")));
    } else if mode & 0o077 != 0 {
        let text = format!("{shown} has mode {mode:04o}: others may look at what was collected");
        findings.push(Finding::warning("state", text, format!("chmod 700 {shown}")));
    }
    let (strangers, seen) = strangers(dir, &meta);
    if let Some((path, uid)) = strangers.first() {
        let (owner, all) = (name_of(meta.uid()), strangers.len());
        let text = format!("{} belongs to {}, the state directory to {owner} ({all} such files)", path.display(), name_of(*uid));
        let again = match meta.uid() {
            0 => "run the service and the commands as root, or give all of it to the service's user".to_owned(),
            _ => format!("from now on `runuser -u {owner} -- mailgather …`"),
        };
        let hint = format!("a command was run as another user: chown -R {owner}: {shown}; {again}");
        findings.push(Finding::failed("state", text, hint));
    }
    let secrets = dir.join(crate::config::store::FOLDER);
    if let Ok(meta) = std::fs::symlink_metadata(&secrets)
        && (!meta.is_dir() || meta.mode() & 0o077 != 0)
    {
        let path = secrets.display();
        findings.push(Finding::failed("state", format!("{path} is no folder, or open to others"), format!("chmod 700 {path}")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("state", format!("{shown} and the {seen} files in it belong to {}", name_of(meta.uid()))));
    }
    findings
}

/// What belongs to somebody else than the state directory does; and how much was looked at.
fn strangers(dir: &Path, meta: &Metadata) -> (Vec<(PathBuf, u32)>, usize) {
    let (mut folders, mut found, mut seen) = (vec![(dir.to_owned(), 0)], Vec::new(), 0);
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if seen == LOOKED_AT_MAX {
                return (found, seen);
            }
            // A symbolic link is not followed. What goes away meanwhile is not there.
            let Ok(of_entry) = entry.metadata() else { continue };
            seen += 1;
            if of_entry.uid() != meta.uid() {
                found.push((entry.path(), of_entry.uid()));
            }
            if of_entry.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    (found, seen)
}

/// A user's name (passwd(5)), or its number: a directory service is not asked.
pub(super) fn name_of(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    text.lines().find_map(of_line).unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_state_directory_that_others_have_been_in() {
        let dir = tempfile::tempdir().unwrap();
        let state_of = |dir: &Path| state(dir).iter().map(Finding::text).collect::<String>();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(dir.path().join("ledger.db"), "").unwrap();
        assert!(state_of(dir.path()).contains("  ok      ") && state_of(dir.path()).contains("the 1 files"), "{}", state_of(dir.path()));
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(state_of(dir.path()).contains("warning "), "{}", state_of(dir.path()));
        assert!(state_of(dir.path()).contains("chmod 700") && !state_of(dir.path()).contains("FAILED"));
        for open in [0o777, 0o703, 0o1777] {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(open)).unwrap();
            assert!(state_of(dir.path()).contains("FAILED  ") && state_of(dir.path()).contains("everybody may write"), "{}", state_of(dir.path()));
        }
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        std::fs::set_permissions(dir.path().join("secrets"), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(state_of(dir.path()).contains("FAILED  "));
        assert!(state_of(&dir.path().join("none")).contains("not there yet"));
        assert!(state_of(&dir.path().join("ledger.db")).contains("is no folder"));
        assert_eq!((name_of(0).as_str(), name_of(4_000_000_000).as_str()), ("root", "#4000000000"));
    }
}
