//! The joins.
