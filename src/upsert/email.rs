//! Which addresses an Email field of Salesforce takes.
//!
//! Only for whoever sends events: a row with another address is written without it, and Salesforce decides which that is.
//! Its rule is documented in words alone (Salesforce Help, "Email Address Format Technical Standards"): the characters of
//! the RFCs, non-Latin ones too, and periods in a row or before the at sign, but not at the beginning.

/// Beside letters and digits, in what stands before the at sign.
const MARKS: &str = "!#$%&'*/=?^_+-`{|}~.";

/// Whether Salesforce takes the address, as far as its rule is known.
pub fn email_fits(address: &str) -> bool {
    let Some((user, host)) = address.split_once('@') else { return false };
    let user_fits =
        !user.is_empty() && !user.starts_with('.') && user.chars().all(|c| c.is_alphanumeric() || MARKS.contains(c));
    let label_fits = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    user_fits && host.contains('.') && host.split('.').all(label_fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_told_from_addresses() {
        for good in ["ann@example.org", "a..b.@example.co.uk", "o'neill+x@ex-ample.org", "jürgen@exämple.org"] {
            assert!(email_fits(good), "{good}");
        }
        for bad in [
            "ann@example,org",
            "ann@example",
            "ann@@example.org",
            "ann.example.org",
            "@example.org",
            "ann@",
            ".ann@example.org",
            "ann@example..org",
            "ann@-example.org",
            "ann@example.org.",
            "ann example@example.org",
            "Ann <ann@example.org>",
            "ann@example.org;bob@example.org",
            "ann@exam_ple.org",
            "ann(work)@example.org",
            "ann@example.org/",
        ] {
            assert!(!email_fits(bad), "{bad}");
        }
    }
}
