//! The file system of the state directory: that it is one on which a ledger can live, and that there is room.

use super::Patient;
use super::finding::Finding;
use crate::cli::no_room;
use crate::collect::disk::DiskRoom;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Fewer free inodes than this are a warning: each held message and each piece of the spool takes one.
const INODES_MIN: u64 = 10_000;

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    // The folder itself, or the one in which it is going to be made.
    let Some(dir) = patient.state_dir.ancestors().find(|dir| dir.is_dir()) else { return Vec::new() };
    let mut findings = vec![kind(dir)];
    if patient.state_dir.is_dir() {
        findings.push(locks_and_fsync(dir));
    }
    let min_free = patient.loaded.map_or(0, |loaded| loaded.config.service.min_free_space);
    findings.extend(room(dir, min_free));
    findings
}

/// What kind of file system it is (statfs(2)).
fn kind(dir: &Path) -> Finding {
    let shown = dir.display();
    let magic = match rustix::fs::statfs(dir) {
        // The field's type differs by platform; the magic numbers have 32 bits.
        Ok(stat) => stat.f_type as u64 & 0xffff_ffff,
        Err(error) => return Finding::failed("filesystem", format!("{shown}: {error}"), "the state needs a local disk"),
    };
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x6969 => "nfs",
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => "cifs",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x6573_5546 => "fuse",
        0x0102_1994 | 0x8584_58f6 => "tmpfs",
        0x794c_7630 => "overlay",
        _ => "",
    };
    match name {
        "nfs" | "cifs" | "9p" | "ceph" => Finding::failed(
            "filesystem",
            format!("{shown} is on a network file system ({name}): its locks and its fsync do not keep what the ledger needs"),
            "move the state to a local disk: docs/operations.md#moving",
        ),
        "fuse" => {
            Finding::warning("filesystem", format!("{shown} is on FUSE"), "make sure that it keeps flock(2) and fsync(2), or take a local disk")
        }
        "tmpfs" => Finding::warning(
            "filesystem",
            format!("{shown} is in memory ({name}): after a restart of the machine all mail that is kept comes again"),
            "move the state to a disk: docs/operations.md#moving",
        ),
        "overlay" => Finding::warning(
            "filesystem",
            format!("{shown} is a layer of a container, and goes with it: all mail that is kept would come again"),
            "mount a volume there",
        ),
        "" => Finding::ok("filesystem", format!("{shown}, of a kind that is not known here (0x{magic:x})")),
        name => Finding::ok("filesystem", format!("{shown} is on {name}")),
    }
}

/// A lock keeps a second one out, and fsync(2) works: tried with a file of our own, which goes again.
fn locks_and_fsync(dir: &Path) -> Finding {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let tried = || -> std::io::Result<bool> {
        let open = || File::options().create(true).write(true).truncate(false).mode(0o600).open(&path);
        let (first, second) = (open()?, open()?);
        flock(&first, FlockOperation::NonBlockingLockExclusive)?;
        let keeps_out = flock(&second, FlockOperation::NonBlockingLockExclusive).is_err();
        std::io::Write::write_all(&mut &first, b"x")?;
        first.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(keeps_out)
    };
    let tried = tried();
    let _ = std::fs::remove_file(&path);
    let shown = dir.display();
    match tried {
        Ok(true) => Finding::ok("locks", "flock and fsync work there"),
        Ok(false) => {
            Finding::failed("locks", format!("{shown}: a lock keeps nobody out: two daemons could collect at once"), "move the state to a local disk")
        }
        Err(error) => match no_room(&error) {
            Some(hint) => Finding::failed("disk", format!("{shown}: {error}"), hint),
            None => Finding::failed("locks", format!("{shown}: {error}"), "the user that runs the service must be able to write there"),
        },
    }
}

fn room(dir: &Path, min_free: u64) -> Vec<Finding> {
    if let Err(short) = (DiskRoom { dir: dir.to_owned(), min_free }).check() {
        return vec![Finding::failed(
            "disk",
            short.to_string(),
            "make room: `mailgather held list` shows what is held; sessions go on by themselves",
        )];
    }
    let Ok(stat) = rustix::fs::statvfs(dir) else { return Vec::new() };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} MiB free, min_free_space is {} MiB", free >> 20, min_free >> 20);
    let mut findings = vec![match free {
        0 => Finding::failed("disk", text, "make room: nothing can be written there"),
        _ => Finding::ok("disk", text),
    }];
    // Some file systems have none to count.
    if stat.f_files > 0 && stat.f_favail < INODES_MIN {
        let text = format!("{} inodes free", stat.f_favail);
        findings.push(Finding::warning("disk", text, "something made very many small files there: df -i, du --inodes"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_our_own_is_fine_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let text = locks_and_fsync(dir.path()).text();
        assert!(text.contains("  ok ") && text.contains("flock and fsync work"), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(locks_and_fsync(Path::new("/nonexistent")).text().contains("FAILED"));
        assert!(!kind(dir.path()).text().contains("FAILED"), "{}", kind(dir.path()).text());
        let found = |min_free| room(dir.path(), min_free).iter().map(Finding::text).collect::<String>();
        assert!(found(1).contains("MiB free") && found(u64::MAX).contains("collection paused"), "{}", found(u64::MAX));
    }
}
