//! For what each row waits, as the tests see it: a row that waits for nothing that can come is stranded.
//!
//! Safety alone is kept best by an outbox that does nothing. So the simulation asks, whenever no call is under way and
//! nothing is due, for the reason of every row that was read.

use super::queue::Spot;
use super::row::{Key, Priority};
use super::*;

impl Outbox {
    /// Panics where a row waits for nothing that is to come.
    pub(super) fn check_liveness(&self, now: Millis) {
        self.queue.check();
        for (key, slot) in self.queue.slots() {
            let tries = slot.version.tries;
            assert!(self.reason(key, now).is_some(), "{key:?} is stranded at {now}: {:?}, {tries:?}", slot.spot());
        }
        for partition in self.parked.partitions() {
            let waits_for = self.parked_for(partition);
            assert!(waits_for.is_some(), "what is parked of partition {partition} is stranded at {now}");
        }
        let comes = self.wake_at(now).is_some() || !self.in_flight.is_empty();
        assert!(comes || self.queue.slots().next().is_none(), "rows wait, and nothing is to come");
    }

    fn reason(&self, key: &Key, now: Millis) -> Option<&'static str> {
        let slot = self.queue.get(key)?;
        match slot.spot() {
            Spot::Request(id) => self.in_flight.contains_key(id).then_some("its request is under way"),
            Spot::Job(number) => self.job_goes_on(*number, now).then_some("its job is under way"),
            Spot::Later(at, _) if *at > now => Some("a pause"),
            Spot::Held(cause, _) if self.holds.get(cause)?.at() > now => Some("that its cause is gone"),
            // A parent is of a lower level.
            Spot::Parent(parent, _) => self.reason(parent, now).map(|_| "its parent's row"),
            _ if self.outage.is_some_and(|outage| now < outage.until) => Some("an outage"),
            _ if !self.budget.allows(Priority::Live) => Some("the calls of the day"),
            _ if self.calls_in_flight() > 0 => Some("other calls"),
            Spot::Lane(campaign, priority, kind, _) => {
                let locked = self.people_of(&slot.version.member).any(|person| self.busy_people.contains(&person));
                let company = self.partial_since.is_some_and(|since| self.fill_until(since) > now);
                let jobs = self.jobs_at().any(|at| at > now);
                if !self.budget.allows(*priority) {
                    Some("the calls of the day that rows like it may have")
                } else if (locked || self.busy.contains(campaign)) && jobs {
                    Some("the job that holds its campaign or person")
                } else if self.jobs.keeps(*kind) && jobs {
                    Some("a job to come")
                } else if company {
                    Some("company")
                } else {
                    None
                }
            }
            Spot::Isolated(..) if !self.jobs.all.is_empty() => Some("the job that holds its campaign or person"),
            Spot::Statuses(..)
            | Spot::Lookup(..)
            | Spot::Adoption(..)
            | Spot::Later(..)
            | Spot::Held(..)
            | Spot::Isolated(..)
            | Spot::Doubted(..) => None,
        }
    }

    fn parked_for(&self, partition: i32) -> Option<&'static str> {
        let leaves = self.leaving.contains(&partition);
        if leaves { Some("that its partition leaves") } else { self.parked.waits_for(partition) }
    }

    fn job_goes_on(&self, number: u64, now: Millis) -> bool {
        self.jobs.all.contains_key(&number) && self.wake_at(now).is_some()
    }
}
