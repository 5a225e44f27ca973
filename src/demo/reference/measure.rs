//! Lengths of time by testing every piece, exact rounding, and texts as fields take them.

use std::collections::BTreeSet;

use serde_json::Value;

/// From its start up to, but not including, its end. Backwards or without length: empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: i64,
    pub end: i64,
}

impl Span {
    fn covers(self, piece: Self) -> bool {
        self.start <= piece.start && piece.end <= self.end
    }

    pub fn length(self) -> i128 {
        (i128::from(self.end) - i128::from(self.start)).max(0)
    }
}

/// The pieces between any two neighbouring end points: within one of them nothing begins or ends.
pub fn pieces(spans: &[Span]) -> Vec<Span> {
    let points: BTreeSet<i64> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
    let ends = points.iter().skip(1);
    points.iter().zip(ends).map(|(&start, &end)| Span { start, end }).collect()
}

/// The spans that are there during the whole of a piece.
pub fn covering<T>(spans: &[(Span, T)], piece: Span) -> impl Iterator<Item = &T> {
    spans.iter().filter(move |(span, _)| span.covers(piece)).map(|(_, what)| what)
}

/// Length of the union.
pub fn union(spans: &[Span]) -> i128 {
    let covered = pieces(spans).into_iter().filter(|&piece| spans.iter().any(|span| span.covers(piece)));
    covered.map(Span::length).sum()
}

/// Milliseconds as minutes with two decimals.
pub fn minutes(milliseconds: i128) -> Value {
    two_decimals(milliseconds, 60_000)
}

/// Percent with two decimals; null where there is nothing to divide by.
pub fn percent(part: i128, whole: i128) -> Value {
    if whole > 0 { two_decimals(part * 100, whole) } else { Value::Null }
}

/// A share of one with two decimals; null where there is nothing to divide by.
pub fn ratio(part: i128, whole: i128) -> Value {
    if whole > 0 { two_decimals(part, whole) } else { Value::Null }
}

/// Rounds a fraction that is not negative to hundredths, half away from zero.
fn two_decimals(numerator: i128, denominator: i128) -> Value {
    let scaled = numerator * 100;
    let (whole, rest) = (scaled / denominator, scaled % denominator);
    let hundredths = if rest * 2 >= denominator { whole + 1 } else { whole };
    let digits = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    digits.parse::<f64>().expect("digits around a point are a number").into()
}

pub fn count(items: usize) -> Value {
    items.into()
}

/// A text without blanks at its ends; None where nothing is left.
pub fn not_blank(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

/// A text as a field of that many UTF-16 units holds it.
pub fn cut(text: Option<&str>, units_max: usize) -> Value {
    let Some(text) = text.and_then(not_blank) else { return Value::Null };
    let mut kept = String::new();
    for letter in text.chars() {
        if kept.encode_utf16().count() + letter.len_utf16() > units_max {
            break;
        }
        kept.push(letter);
    }
    not_blank(kept.trim_end()).map_or(Value::Null, Value::from)
}

/// An email address that the org would take, trimmed.
pub fn email(text: &str) -> Option<&str> {
    let text = text.trim();
    let parts: Vec<&str> = text.split('@').collect();
    let one_at = parts.len() == 2 && parts.iter().all(|part| !part.is_empty());
    let short = text.encode_utf16().count() <= 80;
    (one_at && short && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: i64, end: i64) -> Span {
        Span { start, end }
    }

    #[test]
    fn a_union_counts_overlaps_once_and_neighbours_whole() {
        assert_eq!(union(&[]), 0);
        assert_eq!(union(&[span(0, 10), span(5, 15), span(15, 20), span(30, 31)]), 21);
        assert_eq!(union(&[span(10, 10), span(20, 5)]), 0);
        assert_eq!(union(&[span(20, 5), span(0, 7)]), 7);
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        // 300 ms are 0.005 minutes; 299 ms are less.
        assert_eq!(minutes(300), 0.01);
        assert_eq!(minutes(299), 0.0);
        assert_eq!(percent(1, 3), 33.33);
        assert_eq!(percent(2, 3), 66.67);
        assert_eq!(ratio(1, 8), 0.13);
        assert_eq!(percent(1, 0), Value::Null);
        assert_eq!(percent(0, 5), 0.0);
    }

    #[test]
    fn texts_are_cut_by_utf_16_units_between_code_points() {
        assert_eq!(cut(Some("\u{a0} name \u{3000}"), 200), "name");
        assert_eq!(cut(Some("ab\u{1F600}c"), 3), "ab");
        assert_eq!(cut(Some("ab\u{1F600}c"), 4), "ab\u{1F600}");
        assert_eq!(cut(Some("ab  cd"), 4), "ab");
        assert_eq!(cut(Some(" \t"), 4), Value::Null);
        assert_eq!(cut(None, 4), Value::Null);
    }

    #[test]
    fn what_is_no_email_is_no_value() {
        assert_eq!(email(" a@b.example "), Some("a@b.example"));
        for bad in ["", "a", "a@", "@b", "a@b@c", "a b@c", "a@b\u{2003}c"] {
            assert_eq!(email(bad), None, "{bad}");
        }
        let at_most = format!("{}@b", "a".repeat(78));
        assert_eq!(email(&at_most), Some(at_most.as_str()));
        assert_eq!(email(&format!("a{at_most}")), None);
    }
}
