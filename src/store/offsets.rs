//! Where the inputs of a partition stood at a commit of each hour: the number of a commit is a place in each input's log.
//!
//! Pieces are marked with numbers of commits, since offsets of every input would make each of them larger by half. Whoever
//! folds a member again asks whether its events still reach back to its first one: they do where no log begins behind the
//! place of the mark.
//!
//! Bounded: the hours of 31 days, each in the place of the one of 31 days before, so that no records have to be taken back
//! and a partition has 744 of them at most (a quarter of a megabyte, read at a start and passed over). A mark that is older
//! than all of them has no place, and counts as not reaching back. Inputs that keep records for longer than a month and are
//! to be folded again from further back are what this costs.

use std::collections::BTreeMap;

use crate::avro::{OFFSETS, ReadError, Reader, Writer};
use crate::time::Millis;

use super::birth::{Birth, Folded, read_inputs, write_inputs};

/// Begins the keys. No key of a piece begins so.
pub(super) const KEY_PREFIX: &[u8] = b"rollbook.offsets.";

const HOUR: Millis = 60 * 60 * 1000;
/// Hours that are kept.
const HOURS: i64 = 31 * 24;

/// How far the inputs had been folded when a commit was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// What later ones folded stands at these offsets or behind them.
    pub commit: u64,
    /// When the next commit was made.
    pub at: Millis,
    /// By the topic's name.
    pub inputs: BTreeMap<String, Folded>,
}

impl Offsets {
    /// What is to be kept with a commit that is made now. None: this hour has its offsets.
    pub fn due(before: &Birth, now: Millis) -> Option<Self> {
        let of_another_hour = before.offsets_at.div_euclid(HOUR) != now.div_euclid(HOUR);
        of_another_hour.then(|| Self { commit: before.commit, at: now, inputs: before.inputs.clone() })
    }

    pub fn key(&self) -> Vec<u8> {
        let place = self.at.div_euclid(HOUR).rem_euclid(HOURS);
        [KEY_PREFIX, place.to_string().as_bytes()].concat()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&OFFSETS);
        out.long(self.commit.cast_signed());
        out.long(self.at);
        write_inputs(&mut out, &self.inputs);
        out.0
    }

    pub fn decode(record: &[u8]) -> Result<Self, ReadError> {
        let mut from = Reader::object(&OFFSETS, record)?;
        let commit = u64::try_from(from.long()?).map_err(|_| ReadError::LongOverflow)?;
        Ok(Self { commit, at: from.long()?, inputs: read_inputs(&mut from)? })
    }

    /// Where the inputs stood before a commit, of all that is kept. None: it is older than that.
    pub fn before(kept: &[Self], commit: u64) -> Option<&Self> {
        kept.iter().filter(|offsets| offsets.commit < commit).max_by_key(|offsets| offsets.commit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOON: Millis = 1_780_000_000_000;

    fn birth(commit: u64, offsets_at: Millis) -> Birth {
        let folded = Folded { topic_id: Some("id".to_owned()), next_offset: i64::try_from(commit).unwrap() * 10 };
        Birth { partitions: 6, inputs: [("views".to_owned(), folded)].into(), commit, offsets_at }
    }

    #[test]
    fn they_are_read_as_they_were_written_also_by_the_schema() {
        let offsets = Offsets::due(&birth(7, 0), NOON).unwrap();
        let record = offsets.encode();
        assert_eq!(Offsets::decode(&record).unwrap(), offsets);
        let mut body = record.strip_prefix(&OFFSETS.header).unwrap();
        let read = apache_avro::from_avro_datum(&OFFSETS.schema, &mut body, None).unwrap();
        assert!(body.is_empty() && read.validate(&OFFSETS.schema), "{read:?}");
        for end in 0..record.len() {
            assert!(Offsets::decode(&record[..end]).is_err());
        }
    }

    #[test]
    fn an_hour_has_the_offsets_of_one_commit_and_a_month_no_more_than_its_hours() {
        let (mut keys, mut kept, mut before) = (BTreeSet::new(), 0, birth(0, 0));
        for commit in 1..=24 * 40 * 4 {
            let now = NOON + i64::try_from(commit).unwrap() * HOUR / 4;
            if let Some(offsets) = Offsets::due(&before, now) {
                kept += 1;
                keys.insert(offsets.key());
                before.offsets_at = now;
            }
            before.commit = commit;
        }
        assert_eq!((kept, keys.len()), (24 * 40 + 1, 744));
    }

    #[test]
    fn a_mark_has_the_newest_place_before_its_commit() {
        let kept: Vec<Offsets> = [0, 40, 20].map(|commit| Offsets::due(&birth(commit, 0), NOON).unwrap()).into();
        let place = |commit| Offsets::before(&kept, commit).map(|offsets| offsets.commit);
        assert_eq!([1, 20, 21, 40, 41, 1_000].map(place), [0, 0, 20, 20, 40, 40].map(Some));
        assert_eq!(Offsets::before(&kept[1..], 20), None, "older than all that is kept");
    }
}
