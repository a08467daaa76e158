//! Looks at Maildirs as a delivery would find them. Nothing is made, nothing is written.

use super::Shared;
use super::folder::{FOLDER, subfolder};
use super::outcome::{diagnosis, no_base};
use crate::deliver::Inspection;
use crate::mail::{Address, Blame, Diagnosis};
use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, CWD, Mode};
use rustix::io::Errno;
use std::path::Path;

/// Most addresses whose folders are looked at.
const ADDRESSES_MAX: usize = 20;

impl Shared {
    /// The folder in which all are, and those of these addresses. Blocks on the disk.
    pub(super) fn inspect(&self, addresses: &[Address]) -> Inspection {
        let mut doubts = Vec::new();
        let found = self.look(addresses, &mut doubts);
        Inspection { place: format!("maildir {}", self.template.text), found, doubts }
    }

    fn look(&self, addresses: &[Address], doubts: &mut Vec<String>) -> Result<String, Diagnosis> {
        let base = &self.template.base;
        let folder = rustix::fs::openat(CWD, base, FOLDER, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => no_base(base),
            error => target(format!("cannot open {}: {error}", base.display())),
        })?;
        let free = rustix::fs::fstatvfs(&folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let mut words = Vec::new();
        for address in addresses.iter().take(ADDRESSES_MAX) {
            words.push(self.look_for(address, &folder)?);
        }
        if addresses.is_empty() {
            if self.create {
                writable(&folder, base)?;
            }
            words.push(format!("{} is there; each recipient's folder {}", base.display(), if self.create { "is made" } else { "must be there" }));
        }
        if addresses.len() > ADDRESSES_MAX {
            doubts.push(format!("{} further folders were not looked at", addresses.len() - ADDRESSES_MAX));
        }
        match free {
            Ok(octets) => words.push(format!("{} free", in_words(octets))),
            Err(error) => doubts.push(format!("nobody knows how much room there is: {error}")),
        }
        Ok(words.join("; "))
    }

    /// The folder of an address, from component to component as a delivery goes.
    fn look_for(&self, address: &Address, base: &OwnedFd) -> Result<String, Diagnosis> {
        let may_create = self.create || self.always_create.contains(address);
        let mut shown = self.template.base.clone();
        let mut folder = base.try_clone().map_err(|error| target(format!("{}: {error}", shown.display())))?;
        for component in self.template.components(address).map_err(wrong)? {
            let parent = shown.clone();
            shown.push(&component);
            folder = match subfolder(&folder, &component, false) {
                Ok((opened, _)) => opened,
                Err(Errno::NOENT) if may_create => {
                    writable(&folder, &parent)?;
                    return Ok(format!("{} will be made at the first delivery", shown.display()));
                }
                Err(Errno::NOENT) => {
                    return Err(wrong(format!("no such mailbox: {} does not exist, and maildir_create is not true", shown.display())));
                }
                Err(error) => return Err(wrong(format!("cannot open {}: {error}", shown.display()))),
            };
        }
        for name in ["tmp", "new", "cur"] {
            match subfolder(&folder, name, false) {
                Ok((opened, _)) if name != "cur" => writable(&opened, &shown.join(name))?,
                Ok(_) => {}
                Err(Errno::NOENT) if may_create => writable(&folder, &shown)?,
                Err(Errno::NOENT) => return Err(wrong(format!("{} is no Maildir: it has no folder {name}", shown.display()))),
                Err(error) => return Err(wrong(format!("cannot open {}/{name}: {error}", shown.display()))),
            }
        }
        Ok(format!("{} is there and writable", shown.display()))
    }
}

/// By the user who asks, not by the service's.
fn writable(folder: &OwnedFd, shown: &Path) -> Result<(), Diagnosis> {
    let may = rustix::fs::accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    may.map_err(|error| target(format!("{} cannot be written by this user: {error}", shown.display())))
}

fn target(text: String) -> Diagnosis {
    diagnosis(Blame::Target, text)
}

fn wrong(text: String) -> Diagnosis {
    diagnosis(Blame::Recipient, text)
}

/// `12.3 GiB`
fn in_words(octets: u64) -> String {
    let mut value = octets as f64;
    for unit in ["octets", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "octets" { format!("{octets} octets") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::super::MaildirDestination;
    use super::*;

    #[test]
    fn a_maildir_is_looked_at_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let address = |text: &str| text.parse::<Address>().unwrap();
        let anna = [address("anna@example.org")];
        let template = |below: &str| folder.path().join(below).display().to_string();
        let look = |path: &str, create: bool, always: &[Address], addresses: &[Address]| {
            MaildirDestination::new(path, create, always.to_vec()).shared.inspect(addresses).found
        };
        let said = |found: Result<String, Diagnosis>| found.map_err(|diagnosis| diagnosis.text);
        let missing = said(look(&template("none/{local}"), false, &anna, &anna)).unwrap_err();
        assert!(missing.contains("none: No such file"), "{missing}");
        let path = template("{domain}/{local}");
        let will = said(look(&path, false, &anna, &anna)).unwrap();
        assert!(will.contains("example.org will be made") && will.contains(" free"), "{will}");
        let never = said(look(&path, false, &[], &anna)).unwrap_err();
        assert!(never.contains("no such mailbox"), "{never}");
        assert!(said(look(&path, false, &[], &[])).unwrap().contains("must be there"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was made");
        let own = folder.path().join("example.org/anna");
        std::fs::create_dir_all(own.join("new")).unwrap();
        let none = said(look(&path, false, &[], &anna)).unwrap_err();
        assert!(none.contains("no Maildir: it has no folder tmp"), "{none}");
        ["tmp", "cur"].iter().for_each(|name| std::fs::create_dir(own.join(name)).unwrap());
        assert!(said(look(&path, false, &[], &anna)).unwrap().contains("anna is there and writable"));
        let odd = [Address::new("..", "example.org".parse().unwrap()).unwrap_or_else(|_| address("a/b@example.org"))];
        assert!(look(&path, true, &[], &odd).is_err());
    }

    #[test]
    fn sizes_in_words() {
        for (octets, words) in [(0, "0 octets"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")] {
            assert_eq!(in_words(octets), words);
        }
    }
}
