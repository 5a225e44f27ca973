//! Subcommands that operate on topics: they make them, send to them, and see to what was refused or passed over.

pub mod dead_letters;
pub mod gaps;
pub mod produce;
pub mod topics;
