//! Says which commit the program is built from: what `MAILGATHER_COMMIT` says, else what the files of git say, else nothing. git itself is not
//! needed. It runs again only when the variable or HEAD changes.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// How many octets of a commit are shown.
const SHOWN: usize = 12;
/// Longest value of the variable.
const GIVEN_OCTETS_MAX: usize = 64;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MAILGATHER_COMMIT");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let given = variable("MAILGATHER_COMMIT");
    let commit = match given.trim() {
        "" => of_git(&Path::new(&variable("CARGO_MANIFEST_DIR")).join(".git")),
        given if is_name(given) => Some(given.to_owned()),
        given => {
            println!("cargo::error=MAILGATHER_COMMIT is {given:?}: a commit has 1 to {GIVEN_OCTETS_MAX} letters, digits and `.-_+`");
            return;
        }
    };
    let version = variable("CARGO_PKG_VERSION");
    match commit {
        Some(commit) => {
            let shown = if is_hash(&commit) { &commit[..SHOWN] } else { &commit };
            println!("cargo::rustc-env=MAILGATHER_BUILD_COMMIT={shown}");
            println!("cargo::rustc-env=MAILGATHER_BUILD_VERSION={version} ({shown})");
        }
        None => println!("cargo::rustc-env=MAILGATHER_BUILD_VERSION={version}"),
    }
}

/// The commit that is checked out (gitrepository-layout(5)).
fn of_git(dot_git: &Path) -> Option<String> {
    // In a worktree `.git` is a file that names the folder.
    let git = match fs::read_to_string(dot_git) {
        Ok(text) => dot_git.parent()?.join(text.strip_prefix("gitdir: ")?.trim_end()),
        Err(_) => dot_git.to_owned(),
    };
    // A worktree has its HEAD for itself and shares the branches.
    let common = line(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    let head = line(&git.join("HEAD"))?;
    // The log of HEAD grows with each commit and checkout. What is not there is not watched: cargo would run this each time.
    let watch = |path: PathBuf| {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display())
        }
    };
    watch(git.join("HEAD"));
    watch(git.join("logs/HEAD"));
    let Some(branch) = head.strip_prefix("ref: ") else { return Some(head).filter(|head| is_hash(head)) };
    let (loose, packed) = (common.join(branch), common.join("packed-refs"));
    let commit = match line(&loose) {
        Some(commit) => {
            watch(loose);
            commit
        }
        None => {
            let refs = fs::read_to_string(&packed).ok()?;
            watch(packed);
            refs.lines().find_map(|line| line.strip_suffix(branch)?.strip_suffix(' ')).map(str::to_owned)?
        }
    };
    Some(commit).filter(|commit| is_hash(commit))
}

fn line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_name(text: &str) -> bool {
    text.len() <= GIVEN_OCTETS_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
}
