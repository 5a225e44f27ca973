//! The load: conferences one after the other, their records in disorder and some of them twice.

use std::ops::Range;

use fastrand::Rng;
use rollbook::demo::conference::{self, Conference, Feed, People, Record};
use rollbook::demo::reference::{Rows, expected};

/// Kills during one conference: its statements of the catalogue are spread over them.
const KILLS_PER_DAY: usize = 20;
/// Who takes part in one.
pub const MEMBERS: usize = 60;
/// How far a record may be late, in records.
const LATE_MAX: u64 = 200;

/// A record as it is sent: which one of which day.
pub struct Sent<'s> {
    pub record: &'s Record,
    pub day: usize,
    pub number: usize,
}

pub struct Storm {
    pub days: Vec<Conference>,
    /// Day and number of each record, in the order of sending; some more than once.
    order: Vec<(usize, usize)>,
}

pub fn days(kills: usize) -> usize {
    kills.div_ceil(KILLS_PER_DAY).max(1)
}

impl Storm {
    pub fn brew(seed: u64, kills: usize, people: &[People]) -> Self {
        let mut rng = Rng::with_seed(seed);
        assert_eq!(people.len(), days(kills), "each day has people of its own");
        let days: Vec<Conference> =
            people.iter().map(|people| conference::generate(rng.u64(..), MEMBERS, people)).collect();
        let mut order = Vec::new();
        for (day, conference) in days.iter().enumerate() {
            order.extend(disorder(&mut rng, conference).into_iter().map(|number| (day, number)));
        }
        Self { days, order }
    }

    /// What is sent during each of so many steps.
    pub fn chunks(&self, steps: usize) -> Vec<Vec<Sent<'_>>> {
        let steps = steps.max(1);
        let bound = |step: usize| self.order.len() * step / steps;
        let ranges = (0..steps).map(|step| bound(step)..bound(step + 1));
        ranges.map(|range| self.sent(range)).collect()
    }

    fn sent(&self, range: Range<usize>) -> Vec<Sent<'_>> {
        let sent = |(day, number): &(usize, usize)| {
            let (day, number) = (*day, *number);
            Sent { record: &self.days[day].records[number], day, number }
        };
        self.order[range].iter().map(sent).collect()
    }

    /// The whole org, by the reference fold.
    pub fn expected(&self) -> Rows {
        let of_day = |day: &Conference| expected(&day.records);
        self.days.iter().flat_map(of_day).collect()
    }
}

/// Every record late by a little, every third event once more by any time. Statements of the catalogue keep their
/// order: between a statement and its tombstone the order of the partition decides.
fn disorder(rng: &mut Rng, conference: &Conference) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = Vec::new();
    let count = u64::try_from(conference.records.len()).expect("few");
    for (at, (number, record)) in (0..).zip(conference.records.iter().enumerate()) {
        if record.feed == Feed::Sessions {
            order.push((at, number));
            continue;
        }
        order.push((at + rng.u64(0..LATE_MAX), number));
        if rng.u8(0..3) == 0 {
            order.push((rng.u64(at..count + LATE_MAX), number));
        }
    }
    order.sort_unstable();
    order.into_iter().map(|(_, number)| number).collect()
}
