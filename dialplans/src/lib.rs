//! Dialplans as data: the TOML language, its proofs, and the pure stepper.
