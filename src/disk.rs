//! Layer 1: what a disk without room means: which file system it is, and what is left on it. Asks the file system, changes nothing.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// True if there was no room for what was to be written: on the disk, or within the quota of this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What the system said about this file or folder; if there is no room, also on which file system, and how much is left there.
pub fn told(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => format!("{error}: {}", full(path)),
        ErrorKind::QuotaExceeded => format!("{error}: the quota of this user is used up: {}", free(path)),
        _ => error.to_string(),
    }
}

/// The disk of this file or folder is full: in words.
pub fn full(path: &Path) -> String {
    format!("the disk is full: {}", free(path))
}

/// `12 KiB and 310 files free on /var, the file system of /var/lib/mailgather`: for us, without what is kept for root.
pub fn free(path: &Path) -> String {
    let there = existing(path);
    let mount = mount_of(&there);
    let place = format!("{}, the file system of {}", mount.display(), path.display());
    match rustix::fs::statvfs(&there) {
        // Some file systems do not count files.
        Ok(stat) if stat.f_files == 0 => format!("{} free on {place}", size(stat.f_bavail.saturating_mul(stat.f_frsize))),
        Ok(stat) => format!("{} and {} files free on {place}", size(stat.f_bavail.saturating_mul(stat.f_frsize)), stat.f_favail),
        Err(error) => format!("on {place}, which does not say what is free ({error})"),
    }
}

/// The path, or the nearest folder above it that is there.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|folder| folder.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Where its file system begins.
fn mount_of(path: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    let own = device(path);
    path.ancestors().take_while(|folder| device(folder) == own).last().unwrap_or(path).to_owned()
}

fn size(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", octets / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", octets / 1_048_576),
        _ => format!("{:.1} GiB", octets as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_without_room_is_told_of() {
        let path = Path::new("/proc/self/no/such/file");
        let of = |code| told(path, &io::Error::from_raw_os_error(code));
        // ENOSPC, EDQUOT, EACCES.
        assert!(
            of(28).contains(": the disk is full: ") && of(28).ends_with("free on /proc, the file system of /proc/self/no/such/file"),
            "{}",
            of(28)
        );
        assert!(of(122).contains(": the quota of this user is used up: ") && of(122).contains("/proc"), "{}", of(122));
        assert!(!of(13).contains("free") && !is_full(&io::Error::from_raw_os_error(13)) && is_full(&io::Error::from_raw_os_error(28)));
        let here = free(&std::env::temp_dir());
        assert!(here.contains(" free on /") && here.contains("B and ") || here.contains("B free"), "{here}");
        assert_eq!([0, 1023, 1024, 1_048_576, 3_221_225_472].map(size), ["0 B", "1023 B", "1 KiB", "1 MiB", "3.0 GiB"]);
    }
}
