//! Rows that stand in the org without some of their values, out of the outcomes.
//!
//! They are no dead letters: the rows are written, and nothing is to be sent again. Whoever sends the values mends them.

use std::collections::BTreeMap;

use rdkafka::Message;
use tracing::warn;

use super::{Filter, written_since};
use crate::config::Config;
use crate::kafka::scan::{Next, ScanError, Scanner};
use crate::outcome::{Outcome, OutcomeKind};

/// The newest write of each row, where it left something out: since the filter's time, and for one of its reasons.
pub fn rows(config: &Config, filter: &Filter) -> Result<Vec<Outcome>, ScanError> {
    let mut newest: BTreeMap<String, Outcome> = BTreeMap::new();
    Scanner::new(config)?.read(&[written_since(&config.topics.outcomes, filter.since)], |record| {
        match Outcome::decode(record.payload().unwrap_or_default()) {
            Ok(outcome) if matches!(outcome.kind, OutcomeKind::Created | OutcomeKind::Updated) => {
                // All of a row stand in one partition, in their order. Of most of them nothing was left out: of these
                // nothing is kept.
                if outcome.left_out.is_empty() {
                    newest.remove(&outcome.key());
                } else {
                    newest.insert(outcome.key(), outcome);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let (partition, offset) = (record.partition(), record.offset());
                warn!(partition, offset, %error, "not an outcome of this version");
            }
        }
        Next::On
    })?;
    let of_reason = |row: &Outcome| {
        filter.reasons.is_empty() || row.left_out.iter().any(|left_out| filter.reasons.contains(&left_out.code))
    };
    let wanted = |row: &Outcome| filter.since.is_none_or(|since| row.at >= since) && of_reason(row);
    Ok(newest.into_values().filter(wanted).collect())
}
