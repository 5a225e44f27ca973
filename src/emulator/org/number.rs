//! What a row's number becomes: its id, and the text of an automatic number.

use crate::id::SalesforceId;

/// The id that an object's first row gets.
pub(super) fn first_id(prefix: &str) -> SalesforceId {
    numbered_id(prefix, 1)
}

/// The id of an object's `number`th row: key prefix, a fixed instance part, the number in base 62.
pub fn numbered_id(prefix: &str, number: u64) -> SalesforceId {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = number;
    let mut digits = [b'0'; 7];
    for digit in digits.iter_mut().rev() {
        let at = usize::try_from(rest % 62).expect("less than 62");
        *digit = *DIGITS.get(at).expect("62 digits");
        rest /= 62;
    }
    let digits = std::str::from_utf8(&digits).expect("ASCII digits");
    SalesforceId::parse(&format!("{prefix}RB000{digits}")).expect("15 letters and digits")
}

/// `USE-{000000}` and 42: `USE-000042`.
pub(super) fn auto_number(format: &str, number: u64) -> String {
    let Some((before, (zeros, after))) =
        format.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return format!("{format}{number}");
    };
    format!("{before}{number:0width$}{after}", width = zeros.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_in_base_62_and_carry_their_suffix() {
        assert_eq!(numbered_id("701", 1).as_str().get(..15), Some("701RB0000000001"));
        assert_eq!(numbered_id("701", 61 * 62 + 10).as_str().get(..15), Some("701RB00000000zA"));
    }

    #[test]
    fn an_auto_number_fills_its_zeros() {
        assert_eq!(auto_number("USE-{000000}", 42), "USE-000042");
        assert_eq!(auto_number("A{0}B", 1_234), "A1234B");
    }
}
