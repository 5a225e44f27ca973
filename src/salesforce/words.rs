//! What of Salesforce's words may be shown: codes, names of fields, and why a login was refused.
//!
//! Its messages repeat values of rows, and a proxy may echo a form: whatever does not look like what it should be is
//! left out or masked.

use std::fmt;

/// Longer descriptions are cut.
const SAID_CHARS_MAX: usize = 200;
const MASK: &str = "***";

/// Words of the descriptions that Salesforce gives with a refused login. A list of what may be shown, since nobody can
/// list what may not: the form that a proxy echoes holds secrets and names.
const VOCABULARY: &str = "
    a access address admin api app application approved approval are assertion audience authentication authenticated
    authorization authorize authorized bad be been before blocked by cannot certificate change changed client clock
    code company configured connected consumer could credential credentials date day days deactivated deleted denied
    disabled do does doesn't domain due enabled endpoint error exceeded executed execution expired expiration external
    failed failure field flow for found frozen from grant granted has hasn't have host hours http https id identifier
    identity if in inactive incorrect inputs integration internal into invalid ip is isn't issued issuer it jwt key
    locked login match maintenance method mismatch missing must my name no not of on only or org organization
    organization's out pair parameter parameters password permission permissions policy pre private profile provided
    public range rate reason redirect refresh refused request requests required restricted retry revoked rotated run
    scope secret security session set signature signed single site sso state status subject supported temporarily that
    the this time to token too type unable unauthorized unavailable unknown unsupported url use used user username
    valid validate value verification version was wait with work wrong you your
    access/refresh run-as pre-authorized client_id client_secret grant_type refresh_token redirect_uri invalid_grant
    invalid_client invalid_assertion authorization_code client_credentials";

/// What Salesforce said, masked; shown as `: what it said`, or as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    pub fn masked(text: &str) -> Self {
        let words = text.split_whitespace().map(|word| if known(word) { word } else { MASK });
        let mut said = Vec::new();
        words.for_each(|word| {
            // What was masked may be a sentence, of which no count is needed.
            if word != MASK || said.last() != Some(&MASK) {
                said.push(word);
            }
        });
        Self(said.join(" ").chars().take(SAID_CHARS_MAX).collect())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

fn known(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| c.is_ascii_punctuation()).to_ascii_lowercase();
    // Nothing but a dash or the like.
    bare.is_empty() && word.len() <= 3 || VOCABULARY.split_whitespace().any(|known| known == bare)
}

/// A code goes into logs and dead letters: whatever does not look like one is cut down to "".
pub(crate) fn safe_code(code: String) -> String {
    let like_a_code = code.len() <= 80 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if like_a_code { code } else { String::new() }
}

/// The same for names of fields, which an Apex trigger or a proxy may fill with anything.
fn safe_fields(mut fields: Vec<String>) -> Vec<String> {
    let named = |field: &str| field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    fields.retain(|field| field.len() <= 160 && named(field));
    fields
}

/// The fields that a refusal names: in a list, or in its words alone, as those that are hidden or not there.
pub(crate) fn fields_of(fields: Vec<String>, message: &str) -> Vec<String> {
    let quoted = message.split_once("No such column '").and_then(|(_, rest)| rest.split_once('\''));
    match quoted {
        Some((field, _)) if fields.is_empty() => safe_fields(vec![field.to_owned()]),
        _ => safe_fields(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        Said::masked(text).to_string()
    }

    #[test]
    fn salesforces_reasons_are_told_apart() {
        for reason in [
            "no client credentials user enabled",
            "user hasn't approved this consumer",
            "audience is invalid",
            "request not supported on this domain",
            "authentication failure - Invalid Password",
            "expired access/refresh token",
            "client identifier invalid",
            "invalid client credentials",
            "inactive user",
            "IP restricted or invalid login hours",
        ] {
            assert_eq!(said(reason), format!(": {reason}"));
        }
        assert_eq!(said(""), "");
    }

    #[test]
    fn a_hidden_field_is_named_in_words() {
        let message = "No such column 'poll_10_answer__c' on sobject of type Kaltura_User_Polls__c";
        let none = || Vec::<String>::new();
        assert_eq!(fields_of(none(), message), ["poll_10_answer__c"]);
        assert_eq!(fields_of(vec!["Email".to_owned()], message), ["Email"]);
        assert_eq!(fields_of(none(), "No such column 'ann@example.com' on sobject of type Lead"), none());
        assert_eq!(fields_of(none(), "other words"), none());
    }

    #[test]
    fn what_may_be_a_secret_or_a_person_is_masked() {
        assert_eq!(said("secret s3cret/x or s3cret%2Fx of a user"), ": secret *** or *** of a user");
        assert_eq!(said("user Ann Example <ann@example.com> has no access"), ": user *** has no access");
        assert_eq!(said("bad\neyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9"), ": bad ***");
        assert_eq!(said("client_secret=abc"), ": ***");
        assert!(said(&"token ".repeat(1_000)).len() < 210);
    }
}
