//! Partitions whose next record does not come, though it stands in the log.
//!
//! librdkafka says nothing of some reasons and repeats others for ever, and a partition that stands still with a handful of
//! records behind it looks like one that is nearly done. So the place itself is watched: where it does not move, and
//! nothing that was fetched waits to be read, the partition is waited for, however little is behind it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::membership::Lag;
use crate::topic_table::Topic;

/// Far longer than any fetch of a broker that is well.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// Statistics come several times in it. Who has not looked for longer was busy with something else, like a registry or a
/// disk that was waited for, and read nothing meanwhile.
const LOOKS_WITHIN: Duration = Duration::from_secs(5);
/// How often the log says so.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Where each partition waits, and since when.
#[derive(Default)]
pub struct Fetches {
    partitions: BTreeMap<(Topic, i32), Waits>,
    looked: Option<Instant>,
}

struct Waits {
    at: i64,
    since: Instant,
    /// None: it is not stalled.
    said: Option<Instant>,
    /// Nobody fetches from it for the time being.
    paused: bool,
}

/// Where a partition waits for its next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    At(i64),
    /// It is not fetched from, be it that it stood still before.
    Paused,
    /// What comes next is here, or there is nothing.
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Well,
    /// `say`: it is time to say so.
    Stalled {
        say: bool,
    },
    /// It was stalled.
    Moves,
}

impl Fetches {
    /// What is waited for, of the partitions that are read here. The others are forgotten.
    pub fn reason(&mut self, reads: impl Fn(Topic, i32) -> bool) -> Option<String> {
        self.partitions.retain(|(topic, partition), _| reads(*topic, *partition));
        let mut stalled = self.partitions.iter().filter(|(_, waits)| waits.said.is_some() && !waits.paused);
        let ((topic, partition), _) = stalled.next()?;
        let others = match stalled.count() {
            0 => String::new(),
            others => format!(", and of {others} more"),
        };
        Some(format!("the next record of {}/{partition}{others} does not come", topic.label()))
    }

    /// Takes a look at a partition that is read, and says what it sees: true where it stands still.
    pub fn look_at(&mut self, (topic, name): (Topic, &str), lag: &Lag, now: Instant) -> bool {
        let place = if lag.paused { Place::Paused } else { lag.waits_at.map_or(Place::Nowhere, Place::At) };
        let look = self.look((topic, lag.partition), place, now);
        let (topic, partition, records) = (name, lag.partition, lag.records);
        match look {
            Look::Stalled { say: true } => warn!(
                topic,
                partition,
                offset = lag.waits_at,
                records,
                "the next record does not come and is waited for; hint: RollbookPartitionStalled in deploy/runbook.md"
            ),
            Look::Moves => info!(topic, partition, "records come again"),
            Look::Stalled { say: false } | Look::Well => {}
        }
        matches!(look, Look::Stalled { .. })
    }

    /// What stood still and is where it was stands still, whatever happened meanwhile: that it moves is said when it does.
    fn look(&mut self, partition: (Topic, i32), place: Place, now: Instant) -> Look {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) > LOOKS_WITHIN) {
            for waits in self.partitions.values_mut() {
                waits.since = now;
            }
        }
        self.looked = Some(now);
        let known = self.partitions.remove(&partition);
        let was_stalled = known.as_ref().is_some_and(|waits| waits.said.is_some());
        let at = match place {
            Place::At(at) => at,
            Place::Nowhere => return if was_stalled { Look::Moves } else { Look::Well },
            Place::Paused => {
                let paused = known.map(|waits| (partition, Waits { since: now, paused: true, ..waits }));
                self.partitions.extend(paused);
                return Look::Well;
            }
        };
        let known = known.filter(|waits| waits.at == at);
        let mut waits = known.unwrap_or(Waits { at, since: now, said: None, paused: false });
        waits.paused = false;
        let stalled = waits.said.is_some() || now.saturating_duration_since(waits.since) >= STALLED_AFTER;
        let say = stalled && waits.said.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY);
        if say {
            waits.said = Some(now);
        }
        self.partitions.insert(partition, waits);
        match (stalled, was_stalled) {
            (true, _) => Look::Stalled { say },
            (false, true) => Look::Moves,
            (false, false) => Look::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_with_one_record_behind_it_is_stalled() {
        let (mut fetches, start) = (Fetches::default(), Instant::now());
        let mut at = 0;
        // Statistics come all the while.
        let mut look = |second: u64, waits_at: Option<i64>| {
            let place = waits_at.map_or(Place::Nowhere, Place::At);
            let mut found = Look::Well;
            for now in at..=second {
                found = fetches.look((Topic::Views, 1), place, start + Duration::from_secs(now));
                if now < second && found == (Look::Stalled { say: true }) {
                    return (now, found);
                }
            }
            at = second + 1;
            (second, found)
        };
        assert_eq!(look(0, Some(7)), (0, Look::Well));
        assert_eq!(look(19, Some(7)), (19, Look::Well));
        assert_eq!(look(20, Some(8)), (20, Look::Well), "it moves");
        assert_eq!(look(39, Some(8)), (39, Look::Well));
        assert_eq!(look(40, Some(8)), (40, Look::Stalled { say: true }));
        assert_eq!(look(99, Some(8)), (99, Look::Stalled { say: false }));
        assert_eq!(look(100, Some(8)), (100, Look::Stalled { say: true }), "after a minute");
        assert_eq!(look(101, None), (101, Look::Moves));
        assert_eq!(look(102, Some(9)), (102, Look::Well));
        assert_eq!(look(300, None), (300, Look::Well), "nothing is left to fetch");
    }

    #[test]
    fn a_time_in_which_nobody_looked_does_not_count() {
        let (mut fetches, start) = (Fetches::default(), Instant::now());
        let mut look = |second| fetches.look((Topic::Views, 1), Place::At(7), start + Duration::from_secs(second));
        assert_eq!(look(0), Look::Well);
        for second in (1_000..1_020).step_by(5) {
            assert_eq!(look(second), Look::Well, "the registry was waited for");
        }
        assert_eq!(look(1_020), Look::Stalled { say: true });
    }

    #[test]
    fn what_stood_still_before_nobody_looked_or_fetched_is_not_said_to_move() {
        let (mut fetches, start) = (Fetches::default(), Instant::now());
        let mut look = |second, place| {
            let look = fetches.look((Topic::Views, 1), place, start + Duration::from_secs(second));
            (look, fetches.reason(|_, _| true).is_some())
        };
        for second in (0..20).step_by(5) {
            assert_eq!(look(second, Place::At(7)), (Look::Well, false));
        }
        assert_eq!(look(20, Place::At(7)), (Look::Stalled { say: true }, true));
        assert_eq!(look(100, Place::At(7)), (Look::Stalled { say: true }, true), "nobody looked for longer");
        assert_eq!(look(101, Place::Paused), (Look::Well, false), "it is waited for something else");
        assert_eq!(look(102, Place::At(7)), (Look::Stalled { say: false }, true));
        assert_eq!(look(103, Place::Paused), (Look::Well, false));
        assert_eq!(look(104, Place::At(8)), (Look::Moves, false));
        assert_eq!(look(105, Place::Paused), (Look::Well, false));
        for second in (110..125).step_by(5) {
            assert_eq!(look(second, Place::At(8)), (Look::Well, false), "the pause does not count");
        }
    }
}
