//! Subcommands that look and change nothing: the configuration, a running instance, what is known of a member.

pub mod check;
pub mod ignored;
pub mod state;
pub mod status;
