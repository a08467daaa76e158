//! Whether this machine has the time zones that a configuration names: its database is a folder of files, one for each zone.

use super::error::{Code, Problem};
use super::text::{Span, Text};
use std::path::{Path, PathBuf};

/// Where the database is, unless `$TZDIR` says otherwise.
const ZONES: &str = "/usr/share/zoneinfo";

/// What is wrong with a zone, if it is not there. Blocks on the disk.
pub(super) fn check(text: &Text<'_>, span: Span, zone: &str) -> Option<Problem> {
    let folder = std::env::var_os("TZDIR").map_or_else(|| PathBuf::from(ZONES), PathBuf::from);
    if is_in(&folder, zone) {
        return None;
    }
    let problem = text.error(Code::Value, span, format!("`timezone`: this machine knows no time zone `{zone}`"));
    Some(problem.hint(format!("the names are those of {}, as in Europe/Moscow; the package is called tzdata", folder.display())))
}

/// The form of the name was checked: it leads to nowhere outside of the folder. UTC needs no database.
fn is_in(folder: &Path, zone: &str) -> bool {
    zone == "UTC" || folder.join(zone).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse_and_look};

    #[test]
    fn zones_are_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Europe")).unwrap();
        std::fs::write(folder.path().join("Europe/Moscow"), "TZif").unwrap();
        for (zone, wanted) in [("Europe/Moscow", true), ("UTC", true), ("Europe/Moskva", false), ("Europe", false)] {
            assert_eq!(is_in(folder.path(), zone), wanted, "{zone}");
        }
    }

    /// With its place, each once, and beside whatever else is wrong.
    #[test]
    fn a_zone_that_is_not_there_has_its_place() {
        let text = |interval: &str| {
            format!(
                "delivery: {{lmtp: unix:/l}}\nservice:\n  business_hours: {{days: mon-fri, timezone: Europe/Moskva}}\ncollectors:\n  a: {{email: a@b.example, server: c.example, password: x, recipient: {{forward_to: d@e.example}}, schedule: after_hours}}\n  b:\n    {{email: b@b.example, server: c.example, password: x, recipient: {{forward_to: d@e.example}}, interval: {interval}, schedule: {{days: mon, timezone: UTC}}}}\n"
            )
        };
        let look = |text: &str| parse_and_look(text, Path::new("x.yaml"), &Environment::default());
        let (_, found) = look(&text("5m")).unwrap_or_else(|report| panic!("{report}"));
        let broken = look(&text("soon")).unwrap_err();
        assert_eq!((found.errors.len(), broken.errors.len()), (1, 2), "{broken}");
        for problem in [&found.errors[0], &broken.errors[0]] {
            let place = problem.place.as_ref().unwrap();
            assert_eq!((place.line, place.width), (3, "Europe/Moskva".len()));
            assert!(problem.to_string().contains("no time zone `Europe/Moskva`"), "{problem}");
        }
    }
}
