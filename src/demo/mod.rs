//! The demo.

pub mod reference;
