//! Subcommands that run something until it ends or is ended: the stages, an emulated org, a whole conference.

pub mod demo;
pub mod emulate;
pub mod stages;
