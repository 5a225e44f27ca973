//! That each row has one entry, where its place says: what the queue is made for, asked by tests.

use super::*;

impl Slot {
    pub fn spot(&self) -> &Spot {
        &self.spot
    }
}

impl Queue {
    /// Each row has one entry, where its place says, and there are no others.
    pub fn check(&self) {
        let Lines { lanes, statuses, lookups, parents, adoptions, later, held, isolated, doubted, in_jobs, .. } =
            &self.lines;
        let entry = |key: &Key, slot: &Slot| match &slot.spot {
            // Whether it is kept back for a job is asked of its kind alone.
            Spot::Lane(campaign, priority, kind, number) => {
                *kind == slot.version.kind(key) && lanes[campaign].lines(*priority)[kind].get(number) == Some(key)
            }
            Spot::Statuses(campaign, number) => statuses[campaign].get(number) == Some(key),
            Spot::Lookup(parent, number) => lookups[parent].get(number) == Some(key),
            Spot::Parent(parent, number) => parents[parent].get(number) == Some(key),
            Spot::Adoption(kin, number) => adoptions[kin].get(number) == Some(key),
            Spot::Later(at, number) => later.get(&(*at, *number)) == Some(key),
            Spot::Held(cause, number) => held[cause].get(number) == Some(key),
            Spot::Isolated(group, number) => isolated[group].get(number) == Some(key),
            Spot::Doubted(_, number) => doubted.get(number) == Some(key),
            Spot::Request(_) | Spot::Job(_) => true,
        };
        for (key, slot) in &self.rows {
            assert!(entry(key, slot), "{key:?} is not where it says: {slot:?}");
            assert!(slot.in_flight() || !slot.newer(), "{key:?} waits as the older of two versions: {slot:?}");
        }
        let entries = lanes.values().map(|lane| lane.rows(|_| true)).sum::<usize>()
            + all(statuses)
            + all(lookups)
            + all(parents)
            + all(adoptions)
            + all(held)
            + all(isolated)
            + later.len()
            + doubted.len();
        let in_flight = self.rows.values().filter(|slot| slot.in_flight()).count();
        assert_eq!(entries + in_flight, self.rows.len(), "an entry of no row, or of a row that is elsewhere");
        let jobs = self.rows.values().filter(|slot| matches!(slot.spot, Spot::Job(_))).count();
        assert_eq!(*in_jobs, jobs);
    }
}

fn all<K>(lines: &BTreeMap<K, Line>) -> usize {
    lines.values().map(Line::len).sum()
}
