//! Layer 6: the daemon. An [`Installation`] holds what belongs to the state directory; the [`supervisor`] runs one task per collector and
//! applies each new configuration by its difference from the last; [`signals`] and [`watch`] turn the outside into [`Command`]s.
//! [`notices`] tells people of trouble. Beside it, without the state directory: [`look`] opens a mailbox for looking only, [`probe`] tries a collector's connections step by step.

pub mod board;
pub mod command;
pub mod installation;
pub mod look;
mod mailbox;
pub mod notices;
pub mod probe;
pub mod refetch;
pub mod signals;
pub mod supervisor;
pub mod switches;
pub mod systemd;
pub mod watch;

pub use board::Board;
pub use command::Command;
pub use installation::{Installation, OpenError};
pub use supervisor::{Outcome, Supervisor};
