//! A text to what a field of a given length can hold.
//!
//! Salesforce counts UTF-16 units and refuses what is longer; it trims, and takes an empty text for null.

/// Trims blanks, cuts to `length` UTF-16 units between two code points, trims the end again. None where nothing is left.
pub fn fitted(text: &str, length: usize) -> Option<&str> {
    let text = text.trim();
    let cut = cut(text, length).trim_end();
    (!cut.is_empty()).then_some(cut)
}

fn cut(text: &str, length: usize) -> &str {
    // No text has more units than bytes.
    if text.len() <= length {
        return text;
    }
    let mut units = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        units += c.len_utf16();
        (units > length).then_some(at)
    });
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Length as Salesforce counts it.
pub fn utf16_units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_halves_a_surrogate_pair() {
        assert_eq!(fitted("ab\u{1F600}", 3), Some("ab"));
        assert_eq!(fitted("ab\u{1F600}", 4), Some("ab\u{1F600}"));
        assert_eq!(fitted("\u{1F600}", 1), None);
    }

    #[test]
    fn blanks_go_before_and_after_the_cut() {
        assert_eq!(fitted("\u{3000} ab c", 3), Some("ab"));
        assert_eq!(fitted("ab  ", 2), Some("ab"));
        assert_eq!(fitted(" \t\u{2028}", 9), None);
        assert_eq!(fitted("", 9), None);
    }

    #[test]
    fn units_are_counted_not_bytes() {
        let text = "é".repeat(255);
        assert_eq!(fitted(&text, 255), Some(text.as_str()));
        assert_eq!(fitted(&text, 254).map(utf16_units), Some(254));
    }
}
