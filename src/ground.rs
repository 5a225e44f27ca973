//! The crate `rollbook-ground`: what every room stands on, the emulator's, too.
//!
//! It is small and stays so: whoever changes it compiles everything.

pub mod id;
pub mod time;
