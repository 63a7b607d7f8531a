//! How long a message takes from request to event.
fn main() {}
