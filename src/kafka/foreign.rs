//! Records on our own topics that are none of ours.
//!
//! Whoever may write to a topic may write anything, and a compacted one keeps it. What is not ours says nothing, so that
//! nothing is lost by passing over it; to end for it would let one line of a console producer stop every start. It is said
//! once for all that were met in one reading, with the place of the first: a line for each would be there at each start.

use std::fmt::Display;

use tracing::warn;

#[derive(Debug, Default)]
pub struct Foreign {
    records: u64,
    /// Partition, offset, and what is wrong with it.
    first: Option<(i32, i64, String)>,
}

impl Foreign {
    pub fn add(&mut self, partition: i32, offset: i64, why: impl Display) {
        self.records += 1;
        self.first.get_or_insert_with(|| (partition, offset, why.to_string()));
    }

    /// Says what was met since this was called last, and how many there were.
    pub fn tell(&mut self, topic: &str) -> u64 {
        let Self { records, first } = std::mem::take(self);
        if let Some((partition, offset, why)) = first {
            warn!(topic, records, partition, offset, why, "records that Rollbook did not write are passed over");
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stands_for_all_until_they_were_told() {
        let mut foreign = Foreign::default();
        assert_eq!(foreign.tell("notes"), 0);
        for offset in 5..105 {
            foreign.add(0, offset, format!("number {offset}"));
        }
        assert_eq!(foreign.first, Some((0, 5, "number 5".to_owned())));
        assert_eq!((foreign.tell("notes"), foreign.tell("notes")), (100, 0));
    }
}
