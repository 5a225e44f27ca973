//! The demo.

pub mod conference;
pub mod reference;
