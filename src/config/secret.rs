//! Reads a secret from where the configuration says it is.
