//! What goes wrong, when: the same from the same seed.

use std::time::Duration;

use fastrand::Rng;

use super::org::Trouble;

/// Shortest and longest time from the start of a process, or from when it is ready, to its end.
const AFTER_MS: std::ops::Range<u64> = 50..1_200;

/// Whom a series of twenty kills hits; each series is in an order of its own.
const SERIES: [Target; 20] = {
    use Target::{Broker, Fold, Org, Sink, Stages};
    [
        Fold, Fold, Fold, Fold, Fold, Fold, Sink, Sink, Sink, Sink, Sink, Stages, Stages, Stages, Stages, Stages,
        Broker, Broker, Org, Org,
    ]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Fold,
    Sink,
    /// Fold and sink at once.
    Stages,
    Broker,
    Org,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Victim {
    Fold,
    SecondFold,
    Sink,
    Broker,
    Org,
}

/// Whether the next kill waits until what was killed is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    Waited,
    /// The next one comes during the outage, or whatever is left of it.
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether there are two instances of the fold.
    pub second_fold: bool,
    pub trouble: Vec<Trouble>,
    /// Otherwise the time counts from the start, so that starts and restores are hit, too.
    pub once_ready: bool,
    pub after: Duration,
    pub victims: Vec<Victim>,
    pub outage: Outage,
}

pub fn plan(seed: u64, kills: usize, broker: bool) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let mut second_fold = false;
    let mut steps = Vec::with_capacity(kills);
    while steps.len() < kills {
        let mut series = SERIES;
        rng.shuffle(&mut series);
        for target in series {
            // Now and then one joins or goes, so that partitions change hands.
            second_fold ^= rng.u8(0..4) == 0;
            steps.push(step(&mut rng, target, second_fold, broker));
        }
    }
    steps.truncate(kills);
    steps
}

fn step(rng: &mut Rng, target: Target, second_fold: bool, broker: bool) -> Step {
    let folds = match (second_fold, rng.u8(0..3)) {
        (false, _) | (true, 0) => vec![Victim::Fold],
        (true, 1) => vec![Victim::SecondFold],
        (true, _) => vec![Victim::Fold, Victim::SecondFold],
    };
    let victims = match target {
        Target::Fold => folds,
        Target::Sink => vec![Victim::Sink],
        Target::Broker if broker => vec![Victim::Broker],
        Target::Stages | Target::Broker => [folds, vec![Victim::Sink]].concat(),
        Target::Org => vec![Victim::Org],
    };
    Step {
        second_fold,
        trouble: (0..rng.usize(0..3)).map(|_| Trouble::any(rng)).collect(),
        once_ready: rng.bool(),
        after: Duration::from_millis(rng.u64(AFTER_MS)),
        outage: if target == Target::Broker && rng.bool() { Outage::Waited } else { Outage::Ignored },
        victims,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_and_a_series_hits_everybody() {
        assert_eq!(plan(1, 60, true), plan(1, 60, true));
        assert_ne!(plan(1, 60, true), plan(2, 60, true));
        for seed in 0..50 {
            let hit = |broker| plan(seed, 20, broker).into_iter().flat_map(|step| step.victims).collect::<Vec<_>>();
            for victim in [Victim::Fold, Victim::Sink, Victim::Broker, Victim::Org] {
                assert!(hit(true).contains(&victim), "seed {seed}: {victim:?}");
            }
            assert!(!hit(false).contains(&Victim::Broker), "seed {seed}");
        }
    }
}
