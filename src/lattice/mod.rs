//! The joins: small sets that only grow and registers that only move forward.
//!
//! Everything here is a join-semilattice with an identity (its `default()`): `join` is commutative, associative and
//! idempotent, and adding one fact is the join with the set of that fact alone. Whatever is built of them field by
//! field has the same laws, so they are proved here once (`laws`) and nowhere else.
//!
//! All of them are canonical: equal sets have equal contents in memory, so that equal states encode to equal bytes.
//! Counters that add would be shorter, but a record that is delivered twice would count twice.

mod few;
pub mod heap;
pub mod ids;
pub mod interval;
pub mod keyed;
#[cfg(test)]
mod laws;
pub mod name;
pub mod register;
pub mod time;

pub use ids::{Domain, IdSet};
pub use interval::IntervalSet;
pub use keyed::Keyed;
pub use name::Name;
pub use register::{Put, Register, Stamp};
pub use time::{Earliest, Latest, TimeSet};
