//! Which partition a member's records belong in.
