//! How many requests are under way at once, and how many rows one may hold: AIMD, the algorithm of TCP.
//!
//! Additive increase, multiplicative decrease: each window of good answers allows one request more, a sign of trouble
//! halves the window. A fixed number is wrong at both ends: an org with slow automations meets its limit of long
//! calls at a number that another org would laugh at.
//!
//! Trouble is an error that says "too much", a share of rows that met locks, or a call that took long: Salesforce counts
//! calls of 20 seconds and more against a limit that all applications share, so half of that is a sign; and a call that
//! took several times longer than is usual for its size. One burst of trouble halves once: answers to requests that
//! were sent before the last decrease say nothing new.

use crate::time::Millis;

/// Requests at the start: enough for two campaigns at once.
const WINDOW_START: f64 = 2.0;

/// Half of what Salesforce calls a long-running call.
const SLOW_MS: Millis = 10_000;

/// A call that is faster is never slow, whatever is usual: small numbers vary a lot.
const NEVER_SLOW_MS: Millis = 1_000;

/// So many times the usual is slow (as in Vector's adaptive concurrency).
const SLOW_RATIO: f64 = 2.5;

/// Weight of a new sample in what is usual.
const SAMPLE_WEIGHT: f64 = 0.1;

/// What a call costs beside its rows, in rows.
const CALL_ROWS: f64 = 50.0;

/// Rows that met a lock are trouble from this share on.
const LOCKED_SHARE: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    window: f64,
    window_max: f64,
    rows: f64,
    rows_step: f64,
    rows_max: f64,
    /// Milliseconds per row that calls usually take; None before the first.
    usual: Option<f64>,
    decreased_at: Millis,
}

/// What an answer says of the load.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub sent_at: Millis,
    pub answered_at: Millis,
    pub rows: usize,
    /// Requests under way with it, itself included.
    pub at_once: usize,
    /// Rows that another transaction held.
    pub locked: usize,
    /// The request was refused, or not answered, for what may be its load.
    pub refused: bool,
}

impl Pace {
    /// `rows_step` is one collection, `rows_max` a full call.
    pub fn new(window_max: usize, rows_step: usize, rows_max: usize) -> Self {
        let float = |number: usize| u32::try_from(number).map_or(f64::from(u32::MAX), f64::from);
        let window_max = float(window_max).max(1.0);
        Self {
            window: WINDOW_START.min(window_max),
            window_max,
            rows: float(rows_max),
            rows_step: float(rows_step),
            rows_max: float(rows_max),
            usual: None,
            decreased_at: Millis::MIN,
        }
    }

    /// Requests that may be under way.
    pub fn window(&self) -> usize {
        whole(self.window)
    }

    /// Rows that a request may hold.
    pub fn rows(&self) -> usize {
        whole(self.rows)
    }

    pub fn answered(&mut self, sample: &Sample) {
        let took = sample.answered_at.saturating_sub(sample.sent_at).max(0);
        let locked = sample.locked > 0 && ratio(sample.locked, sample.rows) >= LOCKED_SHARE;
        let slower = self.slower_than_usual(took, sample);
        if !sample.refused && !locked && !slower && took < SLOW_MS {
            // A window that was not used is not proved (TCP's congestion window validation).
            if sample.at_once >= self.window() {
                self.window = (self.window + 1.0 / self.window).min(self.window_max);
            }
            self.rows = (self.rows + self.rows_step).min(self.rows_max);
        } else if sample.sent_at >= self.decreased_at {
            self.decreased_at = sample.answered_at;
            self.window = (self.window / 2.0).max(1.0);
            // Half the rows take half as long. Nothing else is of their number, and smaller calls are more calls.
            if took >= SLOW_MS {
                self.rows = (self.rows / 2.0).max(1.0);
            }
        }
    }

    fn slower_than_usual(&mut self, took: Millis, sample: &Sample) -> bool {
        let rows = ratio(sample.rows, 1) + CALL_ROWS;
        let per_row = u32::try_from(took).map_or(f64::from(u32::MAX), f64::from) / rows;
        let usual = self.usual.unwrap_or(per_row);
        if !sample.refused {
            self.usual = Some(usual + SAMPLE_WEIGHT * (per_row - usual));
        }
        took >= NEVER_SLOW_MS && per_row > usual * SLOW_RATIO
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    let float = |number: usize| u32::try_from(number).map_or(f64::from(u32::MAX), f64::from);
    float(part) / float(whole).max(1.0)
}

/// At least 1, so that the sink never stands still by itself.
fn whole(number: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and what a usize was")]
    let whole = number.max(1.0) as usize;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(at: Millis) -> Sample {
        Sample { sent_at: at, answered_at: at + 100, rows: 1_000, at_once: 32, locked: 0, refused: false }
    }

    /// A server whose calls take `base` up to `capacity` at once and grow with each one beyond; the window settles.
    fn settled(capacity: usize, base: Millis, refuses: bool) -> f64 {
        let mut pace = Pace::new(32, 200, 1_000);
        let (mut now, mut windows) = (0, Vec::new());
        for round in 0..400 {
            let at_once = pace.window();
            let over = at_once.saturating_sub(capacity);
            let took = base + Millis::try_from(over).unwrap() * base;
            for _ in 0..at_once {
                let refused = refuses && over > 0;
                let sample = Sample { at_once, refused, ..good(now) };
                pace.answered(&Sample { answered_at: now + took, ..sample });
            }
            now += took + 1;
            if round >= 200 {
                windows.push(ratio(at_once, 1));
            }
        }
        windows.iter().sum::<f64>() / ratio(windows.len(), 1)
    }

    #[test]
    fn the_window_settles_around_what_the_org_can_bear() {
        for capacity in [3, 8, 20] {
            let bound = ratio(capacity, 1);
            for refuses in [true, false] {
                let window = settled(capacity, 4_000, refuses);
                assert!((bound * 0.5..=bound * 1.3).contains(&window), "{capacity}: {window}");
            }
        }
        assert!(settled(1_000, 100, false) > 31.0, "an org without a limit gets all there is");
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut pace = Pace::new(8, 200, 1_000);
        (0..100).for_each(|at| pace.answered(&Sample { at_once: 1, ..good(at) }));
        assert_eq!(pace.window(), 2);
    }

    #[test]
    fn one_burst_of_trouble_halves_once() {
        let mut pace = Pace::new(8, 200, 1_000);
        (0..100).for_each(|at| pace.answered(&good(at)));
        assert_eq!(pace.window(), 8);
        for _ in 0..8 {
            pace.answered(&Sample { refused: true, ..good(200) });
        }
        assert_eq!((pace.window(), pace.rows()), (4, 1_000));
        pace.answered(&Sample { refused: true, ..good(300) });
        assert_eq!(pace.window(), 2);
    }

    #[test]
    fn a_call_that_takes_long_is_made_smaller_and_grows_back_by_collections() {
        let mut pace = Pace::new(8, 200, 1_000);
        pace.answered(&good(0));
        pace.answered(&Sample { answered_at: 2_000, ..good(100) });
        assert_eq!((pace.window(), pace.rows()), (1, 1_000), "slower than usual is not long");
        let mut pace = Pace::new(8, 200, 1_000);
        pace.answered(&Sample { answered_at: 15_000, ..good(0) });
        assert_eq!((pace.window(), pace.rows()), (1, 500));
        pace.answered(&good(16_000));
        assert_eq!(pace.rows(), 700);
        (0..9).for_each(|at| pace.answered(&good(17_000 + at)));
        assert_eq!(pace.rows(), 1_000);
    }

    #[test]
    fn locks_on_a_tenth_of_the_rows_are_trouble_and_on_one_row_are_not() {
        let mut pace = Pace::new(8, 200, 1_000);
        (0..100).for_each(|at| pace.answered(&good(at)));
        pace.answered(&Sample { locked: 1, ..good(200) });
        assert_eq!(pace.window(), 8);
        pace.answered(&Sample { locked: 100, ..good(300) });
        assert_eq!(pace.window(), 4);
    }
}
