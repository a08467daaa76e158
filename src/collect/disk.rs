//! `service.min_free_space`: while the disk is short of room, nothing is collected.

use std::path::PathBuf;

/// The room that has to be left where the state directory is.
#[derive(Clone, Debug, Default)]
pub struct DiskRoom {
    /// The state directory.
    pub dir: PathBuf,
    /// Octets; 0: as far as it goes.
    pub min_free: u64,
}

/// There is less room than there has to be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("collection paused: {} MiB free on {}, min_free_space is {} MiB", .free >> 20, .dir.display(), .min_free >> 20)]
pub struct DiskShort {
    /// Where.
    pub dir: PathBuf,
    /// Octets that are free for us.
    pub free: u64,
    /// Octets that have to be.
    pub min_free: u64,
}

impl DiskRoom {
    /// Asks the file system; one that does not answer is left to the first write. Quick enough for the runtime's threads: no disk is read.
    pub fn check(&self) -> Result<(), DiskShort> {
        if self.min_free == 0 {
            return Ok(());
        }
        let Ok(stat) = rustix::fs::statvfs(&self.dir) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free < self.min_free {
            true => Err(DiskShort { dir: self.dir.clone(), free, min_free: self.min_free }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_is_what_has_less_than_wanted() {
        let room = |min_free| DiskRoom { dir: std::env::temp_dir(), min_free }.check();
        assert!(room(0).is_ok() && room(1).is_ok());
        let short = room(u64::MAX).unwrap_err();
        assert!(short.free > 0 && short.to_string().contains("min_free_space is"), "{short}");
        assert!(DiskRoom { dir: "/nonexistent".into(), min_free: 1 }.check().is_ok());
    }
}
