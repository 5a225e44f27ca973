//! The joins: small sets that only grow and registers that only move forward.
//!
//! Everything here is a join-semilattice with an identity (its `default()`): `join` is commutative, associative and
//! idempotent, and adding one fact is the join with the set of that fact alone. Whatever is built of them field by
//! field has the same laws, so they are proved here once (`laws`) and nowhere else.
//!
//! All of them are canonical: equal sets have equal contents in memory, so that equal states encode to equal bytes.
//! Counters that add would be shorter, but a record that is delivered twice would count twice.
//!
//! What grows with every new key has a bound: a set keeps its smallest elements, a map its smallest keys, so many of them.
//! The smallest of a union are among the smallest of its parts, so that this is a join, too, and no order of events makes
//! another set. A bound on bytes, or one that keeps what came first, would not be one. The sets of intervals have no such
//! order; see there.

/// Elements that a set keeps, and keys that a map does. Far more than one person makes in one entry, and few enough that
/// whoever floods an entry makes a state of a few hundred kilobytes.
pub const KEYS_MAX: usize = 20_000;
/// Intervals that a set of them has before gaps close.
pub const STRETCHES_MAX: usize = 50_000;

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
