//! Which dead letters are meant.

use std::fmt;
use std::str::FromStr;

use super::Letter;
use crate::time::Millis;

/// What all letters that are meant have in common.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these reason codes; empty: any.
    pub reasons: Vec<String>,
    /// Of records of this topic.
    pub topic: Option<String>,
    /// By this stage.
    pub stage: Option<String>,
    pub since: Option<Millis>,
}

impl Filter {
    pub fn takes(&self, letter: &Letter) -> bool {
        (self.reasons.is_empty() || self.reasons.iter().any(|reason| reason == letter.reason()))
            && self.topic.as_deref().is_none_or(|topic| topic == letter.topic())
            && self.stage.as_deref().is_none_or(|stage| stage == letter.stage())
            && self.since.is_none_or(|since| letter.at() >= since)
    }
}

/// One letter, by where it stands or by where the record stood that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    Letter { partition: i32, offset: i64 },
    Source { topic: String, partition: i32, offset: i64 },
}

impl Position {
    pub fn names(&self, letter: &Letter) -> bool {
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
