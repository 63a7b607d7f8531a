//! The conversation standard: log records, events, identifiers and ownership.
