//! What histories have met, counted over all of them: a simulation in which nothing goes wrong would pass as well.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug)]
pub enum Seen {
    Killed,
    SessionOver,
    RefusedMember,
    RefusedEpoch,
    TransactionTimedOut,
    ProducerFenced,
    AnswerLost,
    FatalError,
    DeafMember,
    StuckTransaction,
    Stalled,
    Rebuilt,
    WarmDisk,
    TornDisk,
    Evicted,
    ForeignCommit,
    Grown,
    LogStartMoved,
    WrittenTooLate,
    Held,
    LeaderLost,
    LeaderAwaitedAlone,
    LeaderNamed,
    GrownResolved,
    GaveUpHomes,
    CopiesLost,
    GapHeld,
    TakenBack,
    LongAway,
}

const ALL: [Seen; 29] = [
    Seen::Killed,
    Seen::SessionOver,
    Seen::RefusedMember,
    Seen::RefusedEpoch,
    Seen::TransactionTimedOut,
    Seen::ProducerFenced,
    Seen::AnswerLost,
    Seen::FatalError,
    Seen::DeafMember,
    Seen::StuckTransaction,
    Seen::Stalled,
    Seen::Rebuilt,
    Seen::WarmDisk,
    Seen::TornDisk,
    Seen::Evicted,
    Seen::ForeignCommit,
    Seen::Grown,
    Seen::LogStartMoved,
    Seen::WrittenTooLate,
    Seen::Held,
    Seen::LeaderLost,
    Seen::LeaderAwaitedAlone,
    Seen::LeaderNamed,
    Seen::GrownResolved,
    Seen::GaveUpHomes,
    Seen::CopiesLost,
    Seen::GapHeld,
    Seen::TakenBack,
    Seen::LongAway,
];

static COUNTS: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

pub fn seen(what: Seen) {
    seen_often(what, 1);
}

pub fn seen_often(what: Seen, count: u64) {
    COUNTS[what as usize].fetch_add(count, Ordering::Relaxed);
}

/// What no history has met.
pub fn never_seen() -> Vec<Seen> {
    ALL.into_iter().filter(|what| COUNTS[*what as usize].load(Ordering::Relaxed) == 0).collect()
}
