//! What was passed over and nobody has acknowledged, as the status shows it.

use std::collections::BTreeMap;
use std::fmt::Formatter;

use serde::{Deserialize, Serialize};

use super::picture::{grouped, line};

/// Of the whole group; what is held is of this instance alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many, by `topic cause`.
    pub unacknowledged: BTreeMap<String, i64>,
    /// Partitions that wait for `rollbook gaps ack`.
    pub held_partitions: i64,
    /// Members of our groups that are none of ours.
    pub strangers: i64,
}

impl Gaps {
    /// Nothing where there is nothing to do.
    pub(super) fn lines(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if !self.unacknowledged.is_empty() {
            let each: Vec<String> =
                self.unacknowledged.iter().map(|(what, count)| format!("{what} {}", grouped(*count))).collect();
            line(f, "gaps", &format!("{}; see `rollbook gaps list`", each.join(", ")))?;
        }
        if self.held_partitions > 0 {
            line(f, "held", &format!("{} partitions wait for `rollbook gaps ack`", grouped(self.held_partitions)))?;
        }
        if self.strangers > 0 {
            let members = grouped(self.strangers);
            line(
                f,
                "strangers",
                &format!("{members} members of our groups are other applications'; the log names them"),
            )?;
        }
        Ok(())
    }
}
