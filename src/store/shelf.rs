//! The states of one partition on disk.

use fjall::{Database, Keyspace};

use crate::avro::{Reader, Writer};
use crate::id::MemberKey;
use crate::time::Millis;

use super::error::{DiskError, guarded};

/// Keys that begin so are no members'; they sort before these.
const RESERVED: &[u8] = b"\0";
const MARKER_KEY: &[u8] = b"\0marker";
const TOKEN_KEY: &[u8] = b"\0token";
/// Raised when the form of what stands on disk changes.
const FORMAT: i64 = 2;

/// Whose states they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub topic: String,
}

/// What a partition's states on disk answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Everything in the changelog below this offset is in the states.
    pub next_offset: i64,
    /// Digest of the session catalogue with which every row was derived; 0: rows were still to be derived again.
    pub catalogue: u64,
    pub saved_at: Millis,
}

/// The states of one partition.
#[derive(Clone)]
pub struct Shelf {
    partition: i32,
    identity: Identity,
    database: Database,
    keyspace: Keyspace,
}

impl Shelf {
    pub(super) fn new(partition: i32, identity: &Identity, database: Database, keyspace: Keyspace) -> Self {
        Self { partition, identity: identity.clone(), database, keyspace }
    }

    /// The state of a member, as `blob` wrote it.
    pub fn get(&self, member: &MemberKey) -> Result<Option<fjall::UserValue>, DiskError> {
        self.read(&member.bytes())
    }

    fn read(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, DiskError> {
        guarded(|| self.keyspace.get(key)).map_err(DiskError::Torn)
    }

    pub(super) fn is_empty(&self) -> bool {
        guarded(|| self.keyspace.is_empty()).unwrap_or(false)
    }

    pub(super) fn delete(self) -> Result<(), DiskError> {
        let Self { database, keyspace, .. } = self;
        guarded(|| database.delete_keyspace(keyspace)).map_err(DiskError::of_opening)
    }

    /// Leaves a sign by which the shelf is known again.
    pub(super) fn claim(&self, token: u64) -> Result<(), DiskError> {
        guarded(|| self.keyspace.insert(TOKEN_KEY, token.to_le_bytes())).map_err(DiskError::Write)
    }

    pub(super) fn claimed_by(&self, token: u64) -> Result<bool, DiskError> {
        Ok(self.read(TOKEN_KEY)?.is_some_and(|found| *found == token.to_le_bytes()))
    }

    /// Members whose keys begin so, after this one, in order, at most so many.
    pub fn members(&self, prefix: &[u8], after: &[u8], count: usize) -> Result<Vec<Vec<u8>>, DiskError> {
        let start = if after.is_empty() { prefix } else { after };
        let scan = || {
            let found = self.keyspace.range(start.to_vec()..).map(|item| item.key().map(|key| key.to_vec()));
            let inside = |key: &Result<Vec<u8>, _>| key.as_ref().map_or(true, |key| key.starts_with(prefix));
            let of_member = |key: &Vec<u8>| !key.starts_with(RESERVED) && key != after;
            let wanted = |key: &Result<Vec<u8>, _>| key.as_ref().map_or(true, of_member);
            found.take_while(inside).filter(wanted).take(count).collect()
        };
        guarded(scan).map_err(DiskError::Torn)
    }

    /// Writes states, all or none, and with them what they answer for. An empty state is removed.
    pub fn save<'a>(
        &self,
        states: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        marker: Option<Marker>,
    ) -> Result<(), DiskError> {
        let mut batch = self.database.batch();
        for (key, state) in states {
            if state.is_empty() {
                batch.remove(&self.keyspace, key);
            } else {
                batch.insert(&self.keyspace, key, state);
            }
        }
        if let Some(marker) = marker {
            batch.insert(&self.keyspace, MARKER_KEY, self.marker_bytes(marker));
        }
        guarded(|| batch.commit()).map_err(DiskError::Write)
    }

    fn marker_bytes(&self, marker: Marker) -> Vec<u8> {
        let mut out = Writer::default();
        out.long(FORMAT);
        out.bytes(&crate::avro::STATE.header);
        out.text(&self.identity.cluster);
        out.text(&self.identity.topic);
        out.long(self.partition.into());
        out.long(marker.next_offset);
        out.long(marker.catalogue.cast_signed());
        out.long(marker.saved_at);
        out.0
    }

    /// None: there is none, or it is of another cluster, topic, partition or version.
    pub(super) fn marker(&self) -> Result<Option<Marker>, DiskError> {
        let Some(bytes) = self.read(MARKER_KEY)? else { return Ok(None) };
        let mut from = Reader(&bytes);
        let mut read = || {
            let ours = from.long()? == FORMAT
                && from.bytes()? == crate::avro::STATE.header
                && from.text()? == self.identity.cluster
                && from.text()? == self.identity.topic
                && from.long()? == i64::from(self.partition);
            let next_offset = if ours { from.long()? } else { return Ok(None) };
            let (catalogue, saved_at) = (from.long()?.cast_unsigned(), from.long()?);
            Ok(Some(Marker { next_offset, catalogue, saved_at }))
        };
        read().map_err(|_: crate::avro::ReadError| DiskError::Content)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Disk, Store, piece_key};

    const NOON: Millis = 1_780_000_000_000;
    const KEY: &str = "70103000000cnFXAAY_00Q0300000AczgfEAB";

    #[test]
    fn a_disk_of_another_version_is_made_anew_and_its_states_are_read_from_the_topic() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: "cluster".to_owned(), topic: "rollbook.state".to_owned() };
        let disk = Disk::open(&folder.path().join("states"), "application", 1).unwrap();
        let (shelf, _) = disk.shelf(0, &identity, NOON).unwrap();
        let marker = Marker { next_offset: 7, catalogue: 7, saved_at: NOON };
        let of_before = include_str!("../../schemas/earlier/state/2.avsc");
        let of_before = crate::avro::embed("state/2", of_before).header;
        let now = shelf.marker_bytes(marker);
        let at = now.windows(of_before.len()).position(|bytes| bytes == crate::avro::STATE.header).unwrap();
        let before = [&now[..at], &of_before, &now[at + of_before.len()..]].concat();
        shelf.keyspace.insert(MARKER_KEY, before).unwrap();
        shelf.keyspace.insert(KEY.as_bytes(), b"a state of before".as_slice()).unwrap();
        drop(shelf);
        let (shelf, marker) = disk.shelf(0, &identity, NOON).unwrap();
        let (member, _) = MemberKey::split(KEY).unwrap();
        assert!(marker.is_none() && shelf.get(&member).unwrap().is_none());
        let mut store = Store::default();
        let partition = store.partition(0);
        partition.put_on(shelf, marker);
        assert_eq!(partition.restored_to, 0, "all of the topic is read");
        let aggregate = crate::fold::Aggregate::default();
        partition.restore(&piece_key(&member, None), &aggregate.member.encode()).unwrap();
        assert!(partition.aggregate(&member).is_some());
    }
}
