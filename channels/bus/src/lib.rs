//! The carrier of committed events: trait Bus and its embedded form.
