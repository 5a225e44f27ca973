//! What an org must have before Rollbook writes to it: what it lacks, and making what can be made.
//!
//! The only room that knows both the org and what is written to it. The client (`salesforce`) knows no object of ours, so
//! that it serves every stage and tool that calls; the rows (`upsert`) know no org.

pub mod doctor;
pub mod setup;
