//! Layer 2: the configuration. [`load()`] is the only door: it reads the file, reports every error with its place, and yields a [`Config`].
//!
//! ```text
//! bytes ─yaml (spans kept)─▶ Node ─build (pure, collects every error)─▶ Config ─diff (pure)─▶ what a reload changes
//! ```
//!
//! In reading order: [`model`] is the result, `yaml` the tree with its places, `build` the rules, `error` what is said when one is broken,
//! and `mask` keeps secrets out of that. `outside` looks at the files and programs that it names. [`secret`] reads a password at login, not here;
//! [`store`] keeps those that no other place keeps.

mod answers;
mod build;
mod diff;
pub mod edit;
mod editor;
mod effective;
mod error;
mod harmless;
mod load;
mod mask;
pub mod model;
pub mod notices;
mod outside;
mod provider;
pub mod secret;
mod sources;
pub mod store;
mod text;
mod web_place;
pub mod words;
mod yaml;
mod zone;

pub use answers::AnswersText;
pub use build::server_place;
pub use diff::{Diff, diff};
pub use editor::{Change, EditError, Editor, Request, SCHEMA_LINE, Versions, WriteError, create_configuration, log_written, secret_within, tag_of};
pub use effective::{Origin, Setting};
pub use error::{Code, Place, Problem, Report, Severity};
pub use load::{Environment, Loaded, STATE_DIR_OF_ROOT, load, load_and_look, parse, parse_and_look};
pub use model::*;
pub use notices::{Channel, NoticeEvent, Way};
pub use provider::{Access, Provider, ProviderDomain, provider_of, provider_of_hosts};
pub use sources::{COLLECTORS, Sources};
pub use web_place::WebPlace;

impl Config {
    /// The providers that are known: the operator's own first, then those that are built in and not replaced.
    pub fn providers(&self) -> Vec<std::sync::Arc<Provider>> {
        let is_replaced = |preset: &Provider| self.own_providers.iter().any(|own| own.id == preset.id);
        self.own_providers.iter().cloned().chain(presets().into_iter().filter(|preset| !is_replaced(preset))).collect()
    }
}

/// The built-in providers, without any of an operator's own.
pub fn presets() -> Vec<std::sync::Arc<Provider>> {
    build::provider::presets()
}
