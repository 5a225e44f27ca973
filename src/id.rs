//! Salesforce record ids, the member key made of two of them, and the subjects that something is known of.
//!
//! Ids are kept in their 18-character form: `external_id__c` is compared without regard to case, and two
//! 15-character ids may differ in nothing but case.
//!
//! Nearly every event is about a member: its key is of a fixed size, and stands and is looked up without an allocation.
//! The text of any other subject begins with its kind and a colon, which no id has, and says how long its key is: so no key,
//! whatever it is made of, reads as that of another subject, nor as the name of a piece behind it.

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

    /// The member that a text begins with, and what follows it.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let (member, rest) = text.split_at_checked(Self::LEN)?;
        let (campaign, person) = member.split_once('_')?;
        Some((Self { campaign: SalesforceId::parse(campaign)?, person: SalesforceId::parse(person)? }, rest))
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

/// Whom or what something is known of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One person in one campaign.
    Member(MemberKey),
    /// A person over all campaigns, by key.
    Person(Box<str>),
    Campaign(Box<str>),
    /// A visit of a document.
    Visit(Box<str>),
    /// Somebody who watches without a campaign.
    Viewer(Box<str>),
}

/// Kinds of subjects, in the order of the schema's symbols after UNKNOWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    Member = 1,
    Person,
    Campaign,
    Visit,
    Viewer,
}

impl SubjectKind {
    /// Those whose text begins with their name.
    const NAMED: [(Self, &str); 4] =
        [(Self::Person, "person"), (Self::Campaign, "campaign"), (Self::Visit, "visit"), (Self::Viewer, "viewer")];
}

impl Subject {
    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Member(_) => SubjectKind::Member,
            Self::Person(_) => SubjectKind::Person,
            Self::Campaign(_) => SubjectKind::Campaign,
            Self::Visit(_) => SubjectKind::Visit,
            Self::Viewer(_) => SubjectKind::Viewer,
        }
    }

    /// The subject that a text begins with, and what follows it.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        if let Some((member, rest)) = MemberKey::split(text) {
            return Some((Self::Member(member), rest));
        }
        let (name, rest) = text.split_once(':')?;
        let (kind, _) = SubjectKind::NAMED.into_iter().find(|(_, known)| *known == name)?;
        let (length, rest) = rest.split_once(':')?;
        // One length has one text: no sign, no zero before it.
        let bytes = length.parse::<usize>().ok().filter(|bytes| *bytes > 0 && bytes.to_string() == length)?;
        let (key, rest) = rest.split_at_checked(bytes)?;
        let subject = match kind {
            SubjectKind::Member => return None,
            SubjectKind::Person => Self::Person(key.into()),
            SubjectKind::Campaign => Self::Campaign(key.into()),
            SubjectKind::Visit => Self::Visit(key.into()),
            SubjectKind::Viewer => Self::Viewer(key.into()),
        };
        Some((subject, rest))
    }

    /// The subject that a text is.
    pub fn parse(text: &str) -> Option<Self> {
        Self::split(text).filter(|(_, rest)| rest.is_empty()).map(|(subject, _)| subject)
    }
}

/// A member's `{campaign_id}_{lead_id}`, any other's `{kind}:{bytes of its key}:{key}`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self {
            Self::Member(member) => return member.fmt(f),
            Self::Person(key) | Self::Campaign(key) | Self::Visit(key) | Self::Viewer(key) => key,
        };
        let kind = self.kind();
        let name = SubjectKind::NAMED.into_iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name);
        write!(f, "{name}:{}:{key}", key.len())
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

    #[test]
    fn a_subject_is_read_as_it_is_written_and_a_member_as_ever() {
        let member = "70103000000cnFXAAY_00Q0300000AczgfEAB";
        let piece = format!("{member}_1_entry");
        let (read, rest) = Subject::split(&piece).unwrap();
        assert_eq!((read.to_string().as_str(), read.kind(), rest), (member, SubjectKind::Member, "_1_entry"));
        for key in ["a", "é", "1:b", "7_", member, "person:1:a", ":", " "] {
            let key = || key.into();
            for subject in
                [Subject::Person(key()), Subject::Campaign(key()), Subject::Visit(key()), Subject::Viewer(key())]
            {
                let text = subject.to_string();
                assert_eq!(Subject::parse(&text), Some(subject.clone()), "{text}");
                // Whatever stands behind it is no part of it, and none of it is another subject.
                for behind in ["_1_entry", "0", ":"] {
                    assert_eq!(Subject::split(&format!("{text}{behind}")), Some((subject.clone(), behind)), "{text}");
                }
                assert_eq!(MemberKey::split(&text), None);
            }
        }
    }

    #[test]
    fn what_names_no_subject_is_none() {
        for text in
            ["", "person", "person:", "person::a", "person:2:a", "person:01:a", "person:+1:a", "person:0:", "lead:1:a"]
        {
            assert_eq!(Subject::split(text), None, "{text}");
        }
        assert_eq!(Subject::split("person:1:é"), None, "half a letter");
        assert_eq!(Subject::split("rollbook.birth"), None);
    }
}
