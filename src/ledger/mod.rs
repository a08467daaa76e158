//! Layer 3: the ledger.
