//! The built-in probe: which headers hold the envelope recipient, in which order (stage 2).
//!
//! X-Original-To and X-Gm-Original-To hold the address before aliases were expanded, Delivered-To the one after it, which is often the
//! collected mailbox itself; Exim's Envelope-To may hold several; X-Forwarded-To is what a forwarder sent to. Hence the order.

/// One header of the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The field's name.
    pub header: &'static str,
    /// All instances are walked from the top, not the topmost alone.
    pub walk: bool,
    /// The header is written after aliases were expanded: the collected mailbox in it always says nothing.
    pub expanded: bool,
}

/// The probe, in its order.
pub const PROBES: &[Probe] = &[
    before("X-Original-To"),
    before("X-Gm-Original-To"),
    before("Envelope-To"),
    before("X-Envelope-To"),
    before("X-Real-To"),
    before("X-RCPT-To"),
    before("X-Original-Recipient"),
    before("Original-Recipient"),
    after("X-Delivered-To"),
    after("X-Resolved-To"),
    Probe { header: "Delivered-To", walk: true, expanded: true },
    before("X-Apparently-To"),
    before("Apparently-To"),
    before("X-Recipient"),
    after("X-Forwarded-To"),
];

const fn before(header: &'static str) -> Probe {
    Probe { header, walk: false, expanded: false }
}

const fn after(header: &'static str) -> Probe {
    Probe { header, walk: false, expanded: true }
}
