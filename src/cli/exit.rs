//! Exit codes (sysexits(3)).

use crate::collect::PassError;
use crate::source::SourceErrorKind;

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
    /// The code of one failed collector.
    pub(super) fn of(error: &PassError) -> Exit {
        match error {
            PassError::Source(error) => match error.kind {
                SourceErrorKind::Secret => Exit::Config,
                SourceErrorKind::Auth => Exit::NoPermission,
                SourceErrorKind::Dns | SourceErrorKind::Connect | SourceErrorKind::Tls => Exit::Unavailable,
                SourceErrorKind::Protocol => Exit::Protocol,
                SourceErrorKind::Disk => Exit::Io,
                SourceErrorKind::Throttled | SourceErrorKind::Timeout | SourceErrorKind::Closed | SourceErrorKind::Mailbox => Exit::TempFail,
            },
            PassError::Ledger(_) => Exit::Io,
            PassError::Dns(_) => Exit::Unavailable,
            PassError::Target(_) => Exit::TempFail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    #[test]
    fn a_password_of_ours_is_the_configuration_and_a_refused_one_is_not() {
        assert_eq!(Exit::of(&PassError::Source(SourceError::no_secret("h:993", "x"))), Exit::Config);
        assert_eq!(Exit::of(&PassError::Source(SourceError::new(SourceErrorKind::Auth, "login", "h:993", "x"))), Exit::NoPermission);
    }
}
