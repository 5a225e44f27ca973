//! Exact arithmetic of the derived numbers: integers until the one rounding at the end.
//!
//! Floating point would be shorter, but sums of rounded minutes depend on their order, and 0.1 + 0.2 shows.

/// A number of scale 2, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hundredths(pub u64);

/// Hundredths are `scale` × part ÷ whole, rounded half away from zero. None without a whole.
fn rounded(part: u64, scale: u64, whole: u64) -> Option<Hundredths> {
    let (part, scale, whole) = (u128::from(part), u128::from(scale), u128::from(whole));
    // Nothing here is negative, so that away from zero is up.
    let rounded = (2 * part * scale + whole).checked_div(2 * whole)?;
    Some(Hundredths(u64::try_from(rounded).unwrap_or(u64::MAX)))
}

/// Per cent of the whole; none without a whole.
pub fn percent(part: u64, whole: u64) -> Option<Hundredths> {
    rounded(part, 100 * 100, whole)
}

/// Share of the whole, 0 to 1; none without a whole.
pub fn ratio(part: u64, whole: u64) -> Option<Hundredths> {
    rounded(part, 100, whole)
}

/// Minutes of so many milliseconds.
pub fn minutes(milliseconds: u64) -> Hundredths {
    rounded(milliseconds, 100, 60_000).expect("a minute has milliseconds")
}

impl Hundredths {
    /// The closest double; never -0.0.
    pub fn to_f64(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact below 2^53, which is 2.8 billion years in minutes of scale 2"
        )]
        let hundredths = self.0 as f64;
        hundredths / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_hundredth_is_rounded_up() {
        assert_eq!(minutes(299), Hundredths(0));
        assert_eq!(minutes(300), Hundredths(1));
        assert_eq!(minutes(899), Hundredths(1));
        assert_eq!(minutes(900), Hundredths(2));
        assert_eq!(percent(1, 3), Some(Hundredths(3333)));
        assert_eq!(percent(2, 3), Some(Hundredths(6667)));
        assert_eq!(percent(1, 20_000), Some(Hundredths(1)));
        assert_eq!(percent(1, 20_001), Some(Hundredths(0)));
        assert_eq!(ratio(1, 200), Some(Hundredths(1)));
    }

    #[test]
    fn without_a_whole_there_is_no_rate() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(ratio(5, 0), None);
    }

    #[test]
    fn the_largest_numbers_do_not_wrap() {
        assert_eq!(percent(u64::MAX, u64::MAX), Some(Hundredths(10_000)));
        assert_eq!(percent(u64::MAX, 1), Some(Hundredths(u64::MAX)));
        assert!(Hundredths(0).to_f64().is_sign_positive());
    }
}
