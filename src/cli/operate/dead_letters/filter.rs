//! Which dead letters are meant.

use std::fmt;
use std::str::FromStr;

use clap::Args;

use super::letter::Letter;
use crate::time::Millis;

#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Only this reason code; may be repeated
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// Only letters of records of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only letters of this stage: fold or sink
    #[arg(long, value_parser = ["fold", "sink"])]
    stage: Option<String>,
    /// Only letters since this time, as in 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Millis>,
}

fn parse_time(text: &str) -> Result<Millis, &'static str> {
    text.parse().map(jiff::Timestamp::as_millisecond).map_err(|_| "not a time like 2026-11-21T09:00:00Z")
}

impl Filter {
    /// What of it concerns rows that were written.
    pub(super) fn of_rows(&self) -> (Option<Millis>, &[String]) {
        (self.since, &self.reason)
    }

    pub(super) fn takes(&self, letter: &Letter) -> bool {
        (self.reason.is_empty() || self.reason.iter().any(|reason| reason == letter.reason()))
            && self.topic.as_deref().is_none_or(|topic| topic == letter.topic())
            && self.stage.as_deref().is_none_or(|stage| stage == letter.stage())
            && self.since.is_none_or(|since| letter.at() >= since)
    }
}

/// One letter, by where it stands or by where the record stood that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Letter { partition: i32, offset: i64 },
    Source { topic: String, partition: i32, offset: i64 },
}

impl Position {
    pub(super) fn names(&self, letter: &Letter) -> bool {
        match self {
            Self::Letter { partition, offset } => (letter.partition, letter.offset) == (*partition, *offset),
            Self::Source { topic, partition, offset } => {
                let content = &letter.content;
                content.topic == *topic && (content.partition, content.offset) == (*partition, *offset)
            }
        }
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected PARTITION/OFFSET or TOPIC/PARTITION/OFFSET";
        let (rest, offset) = text.rsplit_once('/').ok_or(EXPECTED)?;
        let offset = offset.parse().map_err(|_| EXPECTED)?;
        let (topic, partition) = rest.rsplit_once('/').map_or((None, rest), |(topic, rest)| (Some(topic), rest));
        let partition = partition.parse().map_err(|_| EXPECTED)?;
        Ok(match topic {
            Some(topic) => Self::Source { topic: topic.to_owned(), partition, offset },
            None => Self::Letter { partition, offset },
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter { partition, offset } => write!(f, "{partition}/{offset}"),
            Self::Source { topic, partition, offset } => write!(f, "{topic}/{partition}/{offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for text in ["3/120", "rollbook.upserts/0/7"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        assert!("views/1".parse::<Position>().is_err());
        assert!("7".parse::<Position>().is_err());
    }
}
