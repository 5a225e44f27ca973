//! One transaction is carried out: its steps, and what follows from each error.
//!
//! An abort makes the producer fit for another try; a producer that is of no use any more is replaced, and its successor
//! aborts what it left. What neither can mend is for whoever waits: other clients (`Over`), or other partitions
//! (`MembershipLost`).

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use super::producer::{DENIED_PAUSE, Failure, Refused, TransactionalProducer, retriable};
use super::said;
use super::sizes::{Sizes, Substitutes};
use super::stall::Course;
use super::transaction::{Committed, Epoch as _, Over, Transaction};
use crate::config::Topics;

/// Pause before an aborted transaction is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The same where only the member's epoch was over; the next one comes with an answer that is under way.
const EPOCH_PAUSE: Duration = Duration::from_millis(10);
/// Producers that one transaction may wear out. More is no outage: somebody else uses the transactional id, or the
/// member itself has to be made anew.
const PRODUCERS_MAX: u32 = 5;

/// Until it is done, or cannot be, or nobody waits for it.
pub(crate) fn commit<P: TransactionalProducer>(
    producer: &mut P,
    make: impl Fn(&Course) -> Option<P>,
    (topics, substitutes): (&Topics, &Substitutes),
    transaction: &mut Transaction<P::Epoch>,
    course: &Course,
) -> Committed {
    let started = producer.now();
    let (mut aborts, mut producers) = (0, 1);
    let mut sizes = Sizes::default();
    loop {
        let Err(refused) = attempt(producer, topics, transaction, (&sizes.apart, course)) else {
            course.denied(None);
            let took = producer.now().saturating_duration_since(started);
            return Committed::Done { took, aborts, too_large: sizes.too_large };
        };
        if let Some(times) = said::again("transaction failed, aborting it") {
            warn!(error = %refused.error, aborts, times, "transaction failed, aborting it");
        }
        let refused = aborted(producer, refused, course);
        if course.given_up() {
            return Committed::Over(Over::GivenUp);
        }
        let Refused { failure, error, worn, about } = refused;
        if failure == Failure::Denied {
            course.denied(Some(right(&error, about, transaction, topics)));
            // That it is waited for is no stall.
            course.moved(producer.now());
            producer.sleep(DENIED_PAUSE);
        }
        match failure {
            Failure::Repeat | Failure::Again => producer.sleep(RETRY_PAUSE),
            Failure::TooLarge => {
                let records = (topics, &mut transaction.records);
                producer.sleep(sizes.mend(records, &producer.too_large(), |topic, record| {
                    substitutes(topic, record, producer.wall_clock())
                }));
            }
            Failure::EpochOver if transaction.epoch.renew() => producer.sleep(EPOCH_PAUSE),
            Failure::EpochOver | Failure::MembershipLost => {
                // A right that was missing before is nothing that this transaction waits for any more.
                course.denied(None);
                return Committed::MembershipLost;
            }
            Failure::Denied if !worn => {}
            Failure::Fenced | Failure::Denied if producers < PRODUCERS_MAX || failure == Failure::Denied => {
                // Its start aborts what the old one left, or waits for its commit. Crash-like in the second case: the
                // same records are written once more, which changes no state; dead letters are there twice.
                let Some(renewed) = make(course) else { return Committed::Over(Over::GivenUp) };
                *producer = renewed;
                producers += u32::from(failure == Failure::Fenced);
                producer.sleep(RETRY_PAUSE);
            }
            Failure::Fenced | Failure::Denied => return Committed::Over(Over::WornOut(error)),
            Failure::GivenUp => return Committed::Over(Over::GivenUp),
        }
        aborts += 1;
    }
}

/// Whoever takes the partitions over waits until none of their offsets is pending: what was refused because the group has
/// moved on must not stay open until the broker's patience ends, so that a producer that could not abort is replaced.
pub(crate) fn settle<P: TransactionalProducer>(producer: &mut P, make: impl Fn(&Course) -> Option<P>, course: &Course) {
    // Good where it was aborted.
    if retriable(producer, course, || producer.abort()).is_ok() {
        return;
    }
    if let Some(renewed) = make(course) {
        *producer = renewed;
    }
}

/// Aborts what was refused, where that is of use; what stands in the way of the abort counts then.
fn aborted<P: TransactionalProducer>(producer: &P, refused: Refused, course: &Course) -> Refused {
    let abort = !refused.worn && !matches!(refused.failure, Failure::Fenced | Failure::GivenUp);
    if !abort {
        return refused;
    }
    match retriable(producer, course, || producer.abort()) {
        Ok(()) => refused,
        // A producer that cannot even abort is of no use; its successor aborts.
        Err(why) if refused.failure == Failure::MembershipLost => Refused { about: why.about, ..refused },
        Err(why) if why.failure == Failure::GivenUp => why,
        // A transaction that no partition was added to is none to its coordinator, which refuses its end.
        Err(_) if refused.failure == Failure::Denied => Refused { worn: true, ..refused },
        Err(why) => Refused { failure: Failure::Fenced, ..why },
    }
}

/// What is to be allowed again, as brokers name it.
fn right<E>(error: &KafkaError, about: Option<String>, transaction: &Transaction<E>, topics: &Topics) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => "READ on the fold's consumer group".to_owned(),
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => "WRITE on the transactional id".to_owned(),
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => "IDEMPOTENT_WRITE on the cluster".to_owned(),
        _ => {
            if let Some(topic) = about {
                return format!("WRITE on topic `{topic}`");
            }
            let written: BTreeSet<&str> = transaction.records.iter().map(|(topic, _)| topic.name(topics)).collect();
            let of = if written.len() > 1 { "one of the topics" } else { "topic" };
            format!("WRITE on {of} `{}`", written.into_iter().collect::<Vec<_>>().join("`, `"))
        }
    }
}

fn attempt<P: TransactionalProducer>(
    producer: &P,
    topics: &Topics,
    transaction: &Transaction<P::Epoch>,
    (apart, course): (&BTreeSet<usize>, &Course),
) -> Result<(), Refused> {
    write(producer, topics, transaction, (apart, course)).map_err(|refused| {
        let sized = matches!(refused.failure, Failure::Repeat | Failure::Again);
        // What says so of the records may come behind another error, which is then its consequence.
        if sized && !producer.too_large().is_empty() {
            Refused { failure: Failure::TooLarge, ..refused }
        } else {
            refused
        }
    })
}

fn write<P: TransactionalProducer>(
    producer: &P,
    topics: &Topics,
    transaction: &Transaction<P::Epoch>,
    (apart, course): (&BTreeSet<usize>, &Course),
) -> Result<(), Refused> {
    retriable(producer, course, || producer.begin())?;
    for (place, (topic, record)) in transaction.records.iter().enumerate() {
        if apart.contains(&place) {
            producer.deliver(course)?;
            producer.produce(topic.name(topics), record, place)?;
            producer.deliver(course)?;
        } else {
            producer.produce(topic.name(topics), record, place)?;
        }
    }
    // The records stand in the log before the offsets are pending: whoever fetches these offsets as stable finds
    // every state that they answer for below the end of the changelog.
    producer.deliver(course)?;
    // Crash here: the transaction times out or is aborted by its successor; the events are folded again, which is
    // harmless, since the join is idempotent.
    retriable(producer, course, || producer.send_offsets(&transaction.next_offsets, &transaction.epoch))?;
    // Crash here: as above; pending offsets go with the transaction.
    retriable(producer, course, || producer.commit())
    // Crash here: everything is written; the successor starts from these offsets.
}
