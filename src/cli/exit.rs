//! Exit codes (sysexits(3)).

use crate::collect::PassError;
use crate::mail::code;

/// What the codes mean, for `--help`; docs/configuration.md has the same.
pub(super) const TABLE: &str = "\
Exit codes:
   0  done; also if there was no mail
  64  the command line
  66  a file that is not there: the configuration, a message, a number
  69  a server cannot be reached
  71  an error of the system, or of ours
  73  the state directory cannot be made
  74  a disk that is full or failing, the ledger
  75  try again later: mail was deferred, the target takes none, a daemon holds the
      state directory, or of several collectors some failed
  76  a server does not speak its protocol
  77  the login was refused
  78  the configuration, or a password that cannot be read";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Fine; also "no mail".
    Ok = 0,
    /// The command line.
    Usage = 64,
    /// A message file that is none.
    Data = 65,
    /// No such file.
    NoInput = 66,
    /// A server cannot be reached.
    Unavailable = 69,
    /// Something of ours.
    Os = 71,
    /// A file or folder cannot be made.
    CantCreate = 73,
    /// Disk full or broken.
    Io = 74,
    /// Try again.
    TempFail = 75,
    /// A server does not speak its protocol.
    Protocol = 76,
    /// A login was refused.
    NoPermission = 77,
    /// The configuration.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code of the whole: the failures' own if they all are of one kind and nobody succeeded, else "some failed, try again".
    pub(super) fn overall(exits: &[Exit]) -> Exit {
        match exits {
            [] => Exit::Ok,
            [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
            _ => Exit::TempFail,
        }
    }

    /// The code of one failed collector.
    pub(super) fn of(error: &PassError) -> Exit {
        Exit::of_code(error.code(), error.is_configuration())
    }

    /// The same as the daemon tells it: by the number of its page, and whether the configuration is to be changed.
    pub(super) fn of_code(number: u16, is_configuration: bool) -> Exit {
        match number {
            _ if is_configuration => Exit::Config,
            code::SECRET => Exit::Config,
            code::LOGIN => Exit::NoPermission,
            code::DNS | code::UNREACHABLE | code::CERTIFICATE | code::OPEN_CHANNEL | code::SWITCHED_OFF => Exit::Unavailable,
            code::PROTOCOL => Exit::Protocol,
            code::DISK | code::LEDGER | code::STATE_DIR => Exit::Io,
            _ => Exit::TempFail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceError, SourceErrorKind};

    #[test]
    fn the_page_has_the_codes_of_the_help() {
        let page = include_str!("../../docs/configuration.md");
        let (_, section) = page.split_once("## Exit codes").unwrap();
        let of_page: Vec<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).filter(|word| word.parse::<u8>().is_ok()).collect();
        let of_help: Vec<&str> = TABLE.lines().filter(|line| line.as_bytes()[3].is_ascii_digit()).map(|line| line[2..4].trim()).collect();
        let all = [
            Exit::Ok,
            Exit::Usage,
            Exit::Data,
            Exit::NoInput,
            Exit::Unavailable,
            Exit::Os,
            Exit::CantCreate,
            Exit::Io,
            Exit::TempFail,
            Exit::Protocol,
            Exit::NoPermission,
            Exit::Config,
        ];
        assert_eq!(of_page, all.map(|exit| (exit as u8).to_string()));
        // No message file is given to `once`.
        assert_eq!(of_help, of_page.iter().copied().filter(|code| *code != "65").collect::<Vec<_>>());
    }

    #[test]
    fn a_password_of_ours_is_the_configuration_and_a_refused_one_is_not() {
        assert_eq!(Exit::of(&PassError::Source(SourceError::no_secret("h:993", "x"))), Exit::Config);
        let select = |kind| Exit::of(&PassError::Source(SourceError::new(kind, "select", "h:993", "x").said("NO")));
        assert_eq!((select(SourceErrorKind::Mailbox), select(SourceErrorKind::Throttled)), (Exit::Config, Exit::TempFail));
        assert_eq!(Exit::of(&PassError::Source(SourceError::new(SourceErrorKind::Auth, "login", "h:993", "x"))), Exit::NoPermission);
    }
}
