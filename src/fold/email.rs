//! What counts as an email address. Judged where an event is folded, so that a newer address that Salesforce would
//! refuse does not displace an older good one.

/// Length of an Email field, in UTF-16 units.
const EMAIL_UNITS_MAX: usize = 80;

/// The trimmed address; None where it is no value.
pub(super) fn valid_email(text: &str) -> Option<&str> {
    let email = text.trim();
    let (name, host) = email.split_once('@')?;
    let valid = !name.is_empty()
        && !host.is_empty()
        && !host.contains('@')
        && !email.contains(char::is_whitespace)
        && (email.len() <= EMAIL_UNITS_MAX || email.encode_utf16().count() <= EMAIL_UNITS_MAX);
    valid.then_some(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_has_one_at_with_something_on_both_sides_and_no_blanks() {
        assert_eq!(valid_email("\u{3000}ada@example.com \n"), Some("ada@example.com"));
        for bad in ["", " ", "@", "ada@", "@example.com", "a@b@c", "a da@example.com", "ada@exam\u{a0}ple.com"] {
            assert_eq!(valid_email(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_email_has_at_most_80_utf_16_units() {
        let long = |units: usize| format!("{}@x.io", "é".repeat(units - 5));
        assert!(valid_email(&long(80)).is_some());
        assert_eq!(valid_email(&long(81)), None);
        // 40 code points beyond the first plane are 80 units.
        assert_eq!(valid_email(&format!("{}@x", "\u{1F600}".repeat(40))), None);
    }
}
