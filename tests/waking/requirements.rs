//! docs/requirements.md is true.
