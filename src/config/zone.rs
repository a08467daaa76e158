//! Whether this machine has the time zones that a configuration names: its database is a folder of files, one for each zone.

use super::error::{Code, Problem};
use super::{Config, Schedule};
use std::path::{Path, PathBuf};

/// Where the database is, unless `$TZDIR` says otherwise.
const ZONES: &str = "/usr/share/zoneinfo";

/// The zones of schedules that are not there, each once. Blocks on the disk.
pub fn check_zones(config: &Config) -> Vec<Problem> {
    let folder = std::env::var_os("TZDIR").map_or_else(|| PathBuf::from(ZONES), PathBuf::from);
    check_in(&folder, config)
}

fn check_in(folder: &Path, config: &Config) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for collector in config.collectors.values() {
        let (Schedule::Inside(hours) | Schedule::Outside(hours)) = &collector.schedule else { continue };
        let Some(zone) = &hours.timezone else { continue };
        let message = format!("`timezone: {zone}`: this machine knows no such time zone");
        // Its name was checked: it leads to nowhere outside of the folder. UTC needs no database.
        if zone != "UTC" && !folder.join(zone).is_file() && !problems.iter().any(|problem| problem.message == message) {
            let problem = Problem::error(Code::Value, message).note(format!("first of collector `{}`", collector.id));
            problems.push(problem.hint(format!("the names are those of {}, as in Europe/Moscow; the package is called tzdata", folder.display())));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    #[test]
    fn zones_are_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Europe")).unwrap();
        std::fs::write(folder.path().join("Europe/Moscow"), "TZif").unwrap();
        let text = |zone: &str| {
            format!(
                "delivery: {{lmtp: unix:/l}}\nservice: {{business_hours: {{days: mon-fri, timezone: {zone}}}}}\ncollectors:\n  a: {{email: a@b.example, server: c.example, password: {{env: P}}, recipient: {{forward_to: d@e.example}}, schedule: after_hours}}\n  b: {{email: b@b.example, server: c.example, password: {{env: P}}, recipient: {{forward_to: d@e.example}}, schedule: {{days: mon, timezone: {zone}}}}}\n"
            )
        };
        let problems = |zone: &str| {
            let loaded = parse(&text(zone), Path::new("x.yaml"), &Environment::default()).unwrap_or_else(|report| panic!("{report}"));
            check_in(folder.path(), &loaded.config)
        };
        assert_eq!((problems("Europe/Moscow").len(), problems("UTC").len()), (0, 0));
        let found = problems("Europe/Moskva");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("`timezone: Europe/Moskva`: this machine knows no such time zone"), "{}", found[0]);
        // A folder is no zone.
        assert_eq!(problems("Europe").len(), 1);
    }
}
