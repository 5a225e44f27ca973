//! What is committed of one member: out of the one partition of the changelog that can hold it, and of the catalogue.
//!
//! For tools. A running instance is not asked: it knows its own partitions alone, and tools work where none runs.

use std::collections::BTreeMap;

use rdkafka::Message;
use tracing::warn;

use crate::config::Config;
use crate::event::{DecodedSession, Decoder, Headers, Record};
use crate::fold::{Aggregate, Catalogue, Piece, decode_piece};
use crate::id::{MemberKey, SalesforceId};
use crate::kafka::scan::{Next, Range, ScanError, Scanner};
use crate::route;

/// What the rows of a member are derived of.
pub struct Committed {
    pub aggregate: Aggregate,
    /// As far as it says something of the member's campaign.
    pub catalogue: Catalogue,
}

/// None: nothing is known of the member.
pub fn of(config: &Config, member: &MemberKey) -> Result<Option<Committed>, ScanError> {
    let pieces = read_pieces(config, member)?;
    if pieces.is_empty() {
        return Ok(None);
    }
    let mut aggregate = Aggregate::default();
    for (entry, piece) in pieces {
        aggregate.join_piece((!entry.is_empty()).then_some(&entry), piece);
    }
    Ok(Some(Committed { aggregate, catalogue: read_catalogue(config, member.campaign)? }))
}

/// The member's pieces by entry id, the member's own under "".
fn read_pieces(config: &Config, member: &MemberKey) -> Result<BTreeMap<String, Piece>, ScanError> {
    let (scanner, topic) = (Scanner::new(config)?, &config.topics.state);
    let partition = route::partition(&member.bytes(), scanner.partitions(topic)?);
    let range = Range::of(topic).partitions([partition]).keys(&member.bytes());
    let mut pieces = BTreeMap::new();
    scanner.read(&[range], |record| {
        if let Some(entry) = entry_of(record.key().unwrap_or_default(), member) {
            match record.payload().map(decode_piece) {
                Some(Ok(piece)) => {
                    pieces.insert(entry, piece);
                }
                Some(Err(error)) => warn!(partition, offset = record.offset(), %error, "not a piece of this version"),
                None => {
                    pieces.remove(&entry);
                }
            }
        }
        Next::On
    })?;
    Ok(pieces)
}

/// The entry id in a changelog key of this member: empty for the member's own piece.
fn entry_of(key: &[u8], member: &MemberKey) -> Option<String> {
    let rest = key.strip_prefix(&member.bytes())?;
    if rest.is_empty() {
        return Some(String::new());
    }
    std::str::from_utf8(rest.strip_prefix(b"_")?).ok().map(str::to_owned)
}

/// What the catalogue says of one campaign.
fn read_catalogue(config: &Config, campaign: SalesforceId) -> Result<Catalogue, ScanError> {
    // Records that Rollbook wrote itself: of any size, and never with a registry's schema.
    let decoder = Decoder::new(usize::MAX);
    let mut catalogue = Catalogue::default();
    let range = Range::of(&config.topics.catalogue).keys(campaign.as_str().as_bytes());
    Scanner::new(config)?.read(&[range], |record| {
        let headers: &dyn Headers = &();
        let (key, value) = (record.key(), record.payload());
        match decoder.decode_session(&Record { kind: None, key, value, timestamp: None, headers }) {
            Ok(DecodedSession::Session(session)) => {
                catalogue.apply(session);
            }
            Ok(DecodedSession::Tombstone(key)) => {
                catalogue.remove(&key);
            }
            Ok(DecodedSession::Refused(refusal)) => {
                warn!(reason = refusal.reason.code(), "a catalogue record is not of this version");
            }
            Err(needed) => warn!(%needed, "a catalogue record is not of this version"),
        }
        Next::On
    })?;
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changelog_key_belongs_to_one_member_only() {
        let id = |text: &str| SalesforceId::parse(text).unwrap();
        let member = MemberKey { campaign: id("70103000000cnFX"), person: id("00Q0300000Aczgf") };
        assert_eq!(entry_of(member.to_string().as_bytes(), &member), Some(String::new()));
        assert_eq!(entry_of(format!("{member}_1_a").as_bytes(), &member), Some("1_a".to_owned()));
        assert_eq!(entry_of(format!("{member}x").as_bytes(), &member), None);
        assert_eq!(entry_of(b"70103000000cnFXAAY", &member), None);
    }
}
