//! `delivery.headers`: what the operator may change about the edits of a header.

/// The choices, each with its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderOptions {
    /// Bcc and Resent-Bcc.
    pub bcc: BccOption,
    /// A Delivered-To that names a recipient of this delivery.
    pub delivered_to: DeliveredToOption,
    /// What spam and virus filters of others wrote.
    pub spam: SpamOption,
    /// Requests for receipts.
    pub receipts: ReceiptOption,
}

/// `delivery.headers.bcc`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BccOption {
    /// Removed in `auto` mode, once recipients are found; kept with `forward_to`.
    #[default]
    Auto,
    /// Kept.
    Keep,
    /// Removed.
    Remove,
}

/// `delivery.headers.delivered_to`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveredToOption {
    /// Those that name a recipient become X-Orig-Delivered-To: servers would take the message for a loop.
    #[default]
    Rename,
    /// All of them do.
    RenameAll,
    /// They stay.
    Keep,
}

/// `delivery.headers.spam`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpamOption {
    /// They stay.
    #[default]
    Keep,
    /// They are removed, so that they cannot steer the local filter.
    Strip,
    /// They become `X-Orig-…`.
    Prefix,
}

/// `delivery.headers.receipts`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiptOption {
    /// They stay.
    #[default]
    Keep,
    /// They are removed.
    Drop,
}
