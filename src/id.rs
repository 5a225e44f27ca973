//! Salesforce record ids and the member key made of two of them.
//!
//! Ids are kept in their 18-character form: `external_id__c` is compared without regard to case, and two
//! 15-character ids may differ in nothing but case.

use std::fmt;

/// A Salesforce record id: 15 case-sensitive characters and the 3-character suffix that follows from their case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SalesforceId([u8; 18]);

impl SalesforceId {
    /// Takes 15 or 18 ASCII letters and digits; an 18-character id must carry its right suffix.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let head = bytes.first_chunk::<15>()?;
        let mut id = [0; 18];
        let (place, tail) = id.split_at_mut(15);
        place.copy_from_slice(head);
        tail.copy_from_slice(&suffix(head)?);
        (bytes.len() == 15 || bytes == id).then_some(Self(id))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII letters and digits are ever stored")
    }

    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix.as_bytes())
    }
}

/// One character for each five: bit *i* is set where character *i* of the five is an upper-case letter. None where one
/// is neither a letter nor a digit. Two ids are parsed per event: the loop looks at all of them, which has no branches.
fn suffix(head: &[u8; 15]) -> Option<[u8; 3]> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let (mut capitals, mut valid) = (0_usize, true);
    for (i, character) in head.iter().enumerate() {
        capitals |= usize::from(character.is_ascii_uppercase()) << i;
        valid &= character.is_ascii_alphanumeric();
    }
    let letter = |five: usize| ALPHABET.get((capitals >> (5 * five)) % ALPHABET.len()).copied();
    if valid { Some([letter(0)?, letter(1)?, letter(2)?]) } else { None }
}

impl fmt::Debug for SalesforceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SalesforceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One person in one campaign. Displays as `{campaign_id}_{lead_id}`: the Kafka key and the member's external id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    pub campaign: SalesforceId,
    /// A Lead (00Q) or a Contact (003).
    pub person: SalesforceId,
}

impl MemberKey {
    /// Length of the key as text.
    pub const LEN: usize = 37;

    /// The key as text, without an allocation.
    pub fn bytes(&self) -> [u8; Self::LEN] {
        let mut key = [b'_'; Self::LEN];
        let (campaign, rest) = key.split_at_mut(18);
        campaign.copy_from_slice(&self.campaign.0);
        if let Some(person) = rest.get_mut(1..) {
            person.copy_from_slice(&self.person.0);
        }
        key
    }

    /// The key as text.
    pub fn text(&self) -> String {
        std::str::from_utf8(&self.bytes()).expect("only ASCII letters and digits are ever stored").to_owned()
    }

    pub fn person_is_lead(&self) -> bool {
        self.person.has_prefix("00Q")
    }
}

impl fmt::Display for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.campaign, self.person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_15_character_id_gets_its_suffix() {
        // The seed's own example: 70103000000cnFXAAY_00Q0300000AczgfEAB.
        assert_eq!(
            SalesforceId::parse("70103000000cnFX").map(|id| id.to_string()).as_deref(),
            Some("70103000000cnFXAAY")
        );
        assert_eq!(
            SalesforceId::parse("00Q0300000Aczgf").map(|id| id.to_string()).as_deref(),
            Some("00Q0300000AczgfEAB")
        );
    }

    #[test]
    fn a_wrong_suffix_is_no_id() {
        assert_eq!(SalesforceId::parse("70103000000cnFXAAZ"), None);
        assert_eq!(SalesforceId::parse("70103000000cnFXaay"), None);
        assert_eq!(SalesforceId::parse("70103000000cnF_"), None);
        assert_eq!(SalesforceId::parse(""), None);
    }
}
