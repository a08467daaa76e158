//! Layer 2: the configuration. [`load`] is the only door: it reads the file, reports every error with its place, and yields a [`Config`].
//!
//! ```text
//! bytes ─yaml (spans kept)─▶ Node ─build (pure, collects every error)─▶ Config ─diff (pure)─▶ what a reload changes
//! ```

pub mod model;
pub mod secret;

pub use model::*;
