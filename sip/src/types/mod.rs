//! Typed views of header values: parsed when asked for, borrowing from the message, keeping the raw bytes.

mod address;
mod auth;
mod method;
mod params;
mod uri;
mod via;

use std::fmt;

pub use crate::text::{decode, unfold, unquote};
pub use address::NameAddr;
pub use auth::AuthParams;
pub use method::{CSeq, Method};
pub use params::Params;
pub use uri::{Host, Scheme, Uri};
pub use via::Via;

/// Why a header value cannot be read: a short English sentence without the value (values are personal data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldError(pub &'static str);

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for FieldError {}
