//! Layer 1, pure: who gets a message, and why. The rules come from the envelope traces that mail systems leave in a header.

pub mod rules;

pub use rules::{Alias, HeaderRule, Headers, Rules, Take, Unresolved};
