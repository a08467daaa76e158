//! IMAP, to come.
