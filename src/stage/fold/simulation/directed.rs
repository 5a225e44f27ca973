//! Histories in which one thing happens, and nothing else goes wrong.

use std::sync::Arc;
use std::time::Duration;

use crate::config::OnGap;
use crate::kafka::positions::Stamp;

use super::feed;
use super::log::Entry;
use super::{CALM_MAX, History, SLOTS, direct, verdict};

#[test]
fn a_partition_without_a_leader_holds_up_no_other_and_is_read_when_it_has_one() {
    let one_without = |seed| {
        let mut history = History::begin(seed);
        let views = (history.config.topics.views.clone(), 1);
        {
            let mut broker = history.kafka.broker();
            broker.calm = true;
            broker.unled.insert(views.clone());
        }
        let views_unread = |history: &History| !history.kafka.broker().logs.own_offsets.contains_key(&views);
        for _ in 0..20 {
            history.send();
        }
        history.come_to_rest()?;
        assert!(views_unread(&history), "nobody leads it");
        history.kafka.broker().unled.clear();
        history.come_to_rest()?;
        assert!(!views_unread(&history), "it was read");
        verdict::verdict(&history.kafka, &history.config.topics)?;
        history.stop_all();
        history.kafka.turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..8 {
        assert_eq!(direct(move || one_without(seed)), Ok(()), "seed {seed}");
    }
}

/// `status --wait-idle` believes no other offset, and would wait for a partition in which nothing moves any more.
#[test]
fn an_offset_that_a_stranger_committed_gets_our_stamp_when_its_partition_is_taken_over() {
    let visited = |seed| {
        let mut history = History::begin(seed);
        history.kafka.broker().calm = true;
        for _ in 0..20 {
            history.send();
        }
        history.come_to_rest()?;
        history.stop_all();
        history.kafka.broker().logs.offsets.values_mut().for_each(|(_, metadata)| metadata.clear());
        (0..SLOTS).for_each(|slot| history.start(slot));
        let turns = Arc::clone(&history.kafka.turns);
        let end = turns.now() + CALM_MAX;
        let strange = |history: &History| {
            let broker = history.kafka.broker();
            let mut offsets = broker.logs.offsets.iter();
            offsets.find(|(_, (_, it))| Stamp::parse(it).is_none()).map(|(partition, _)| partition.clone())
        };
        while let Some(partition) = strange(&history) {
            assert!(turns.now() < end, "{partition:?}");
            turns.sleep(Duration::from_millis(500));
        }
        history.stop_all();
        history.kafka.turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..4 {
        assert_eq!(direct(move || visited(seed)), Ok(()), "seed {seed}");
    }
}

/// It ended every start, once the disk was lost.
#[test]
fn a_record_of_the_states_that_nobody_here_wrote_is_passed_over() {
    let visited = |seed| {
        let mut history = History::begin(seed);
        history.kafka.broker().calm = true;
        for (key, value) in [(Some(&b"k"[..]), Some(&b"{}"[..])), (None, Some(b"{}")), (Some(b"k"), None)] {
            history.kafka.append(&history.config.topics.state, 1, Entry::new(key, value, 0));
        }
        (0..20).for_each(|_| history.send());
        history.come_to_rest()?;
        history.stop_all();
        history.kafka.turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..4 {
        assert_eq!(direct(move || visited(seed)), Ok(()), "seed {seed}");
    }
}

/// Questions that an outage had left without an answer were put off for up to a minute beyond its end.
#[test]
fn a_take_over_goes_on_as_soon_as_an_outage_is_over() {
    let interrupted = |seed| {
        let mut history = History::begin(seed);
        let turns = Arc::clone(&history.kafka.turns);
        history.kafka.broker().calm = true;
        // Of states that were never born the group is asked first, which an outage does not answer.
        (0..20).for_each(|_| history.send());
        history.come_to_rest()?;
        history.stop_all();
        history.send();
        history.kafka.broker().outage_when_asked = Some(Duration::from_secs(200));
        history.start(0);
        while history.kafka.broker().outage_when_asked.is_some() {
            turns.sleep(Duration::from_millis(10));
        }
        while history.kafka.away() {
            turns.sleep(Duration::from_millis(100));
        }
        let end = turns.now() + Duration::from_secs(10);
        while !history.folded() {
            assert!(turns.now() < end, "brokers answer again");
            turns.sleep(Duration::from_millis(100));
        }
        history.stop_all();
        turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..8 {
        assert_eq!(direct(move || interrupted(seed)), Ok(()), "seed {seed}");
    }
}

/// A history took itself for at rest while the transaction that says the newer statement again stood still, of which no log
/// shows anything.
#[test]
fn the_newest_statement_is_the_last_one_also_where_its_transaction_is_given_up_first() {
    let said_twice = |seed| {
        let mut history = History::begin(seed);
        history.kafka.broker().calm = true;
        let turns = Arc::clone(&history.kafka.turns);
        let at = history.kafka.wall_clock();
        let said = turns.random(|rng| feed::two_statements(rng, 0, at));
        for sent in &said {
            history.kafka.append(&history.config.topics.sessions, sent.partition, sent.entry.clone());
        }
        history.come_to_rest()?;
        history.kafka.broker().sticking = 1;
        history.write_last(said[0].entry.clone());
        history.come_to_rest()?;
        assert_eq!(history.kafka.broker().sticking, 0, "it was said again");
        verdict::verdict(&history.kafka, &history.config.topics)?;
        history.stop_all();
        turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..4 {
        assert_eq!(direct(move || said_twice(seed)), Ok(()), "seed {seed}");
    }
}

/// Whoever took it over within the moment in which its notes were behind read on.
#[test]
fn a_gap_holds_its_partition_however_soon_somebody_takes_it_over() {
    let taken_over = |seed| {
        let mut history = History::begin(seed);
        history.config.fold.on_gap = OnGap::Hold;
        {
            let mut broker = history.kafka.broker();
            (broker.calm, broker.notes_lag) = (true, Duration::from_secs(1));
        }
        let turns = Arc::clone(&history.kafka.turns);
        (0..20).for_each(|_| history.send());
        history.come_to_rest()?;
        // Nobody reads what stands behind the gap before that is met.
        history.stop_all();
        history.lose_copies();
        (0..SLOTS).for_each(|slot| history.start(slot));
        let end = turns.now() + CALM_MAX;
        while history.open_gaps().is_empty() {
            assert!(turns.now() < end, "it is noted");
            turns.sleep(Duration::from_millis(1));
        }
        history.kafka.divide_again();
        for _ in 0..50 {
            turns.sleep(Duration::from_millis(100));
            history.gaps_hold()?;
        }
        assert!(!history.folded(), "it is held");
        history.acknowledge();
        history.come_to_rest()?;
        verdict::verdict(&history.kafka, &history.config.topics)?;
        history.stop_all();
        turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..8 {
        assert_eq!(direct(move || taken_over(seed)), Ok(()), "seed {seed}");
    }
}

/// What was read of the topic before is more than stands there now, or less.
#[test]
fn a_catalogue_that_was_made_anew_holds_what_was_known_and_what_was_said_since() {
    let remade = |seed| {
        let mut history = History::begin(seed);
        let turns = Arc::clone(&history.kafka.turns);
        history.kafka.broker().calm = true;
        (0..10).for_each(|_| history.send());
        history.come_to_rest()?;
        let catalogue = history.config.topics.catalogue.clone();
        history.kafka.broker().logs.remake(&catalogue);
        (0..2 * (seed % 8)).for_each(|_| history.send());
        // Until the topic is looked at.
        turns.sleep(Duration::from_secs(15));
        history.come_to_rest()?;
        verdict::verdict(&history.kafka, &history.config.topics)?;
        history.stop_all();
        turns.failure().map_or(Ok(()), Err)
    };
    for seed in 0..16 {
        assert_eq!(direct(move || remade(seed)), Ok(()), "seed {seed}");
    }
}
