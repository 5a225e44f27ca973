//! Requests that last: an org has room for a few of them, and while they are under way it refuses every new request,
//! however short that would be. Short requests are never counted, so a limit on all of them would be simpler and wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wire::Refusal;

/// How many requests may last how long.
#[derive(Clone, Copy, Debug)]
pub struct LongRequests {
    /// From here on a request is a long one.
    pub after: Duration,
    pub max: usize,
}

/// The requests under way.
pub struct UnderWay {
    limit: LongRequests,
    begun: Mutex<Vec<Instant>>,
}

/// A request under way, until it is dropped.
pub struct Ticket<'a> {
    under_way: &'a UnderWay,
    begun: Instant,
}

impl Default for LongRequests {
    /// A Developer Edition org's; others have room for 25.
    fn default() -> Self {
        Self { after: Duration::from_secs(20), max: 5 }
    }
}

impl UnderWay {
    pub fn new(limit: LongRequests) -> Self {
        Self { limit, begun: Mutex::new(Vec::new()) }
    }

    /// Lets a request in, unless too many long ones are under way.
    pub fn enter(&self) -> Result<Ticket<'_>, Refusal> {
        let mut all = self.all();
        let long = all.iter().filter(|begun| begun.elapsed() >= self.limit.after).count();
        if long >= self.limit.max {
            let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
            return Err(Refusal::new(403, "REQUEST_LIMIT_EXCEEDED", message));
        }
        let begun = Instant::now();
        all.push(begun);
        Ok(Ticket { under_way: self, begun })
    }

    fn all(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut all = self.under_way.all();
        // Two that began in the same instant are as good as each other.
        if let Some(at) = all.iter().position(|begun| *begun == self.begun) {
            all.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_requests_count() {
        let enter = |after, max| {
            let under_way = UnderWay::new(LongRequests { after, max });
            let first = under_way.enter().is_ok_and(|_ticket| under_way.enter().is_ok());
            (first, under_way.enter().is_ok())
        };
        assert_eq!(enter(Duration::ZERO, 1), (false, true), "one at a time");
        assert_eq!(enter(Duration::ZERO, 2), (true, true));
        assert_eq!(enter(Duration::from_hours(1), 1), (true, true), "short ones are not counted");
    }
}
