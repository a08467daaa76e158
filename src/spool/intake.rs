//! To come.
pub struct Intake;
pub struct Spool;
pub struct SpoolError;
