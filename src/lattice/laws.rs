//! The laws of every join in this room: commutative, associative, idempotent, with an identity.

use std::fmt::Debug;

use proptest::prelude::*;

use super::{Earliest, IdSet, IntervalSet, Latest, Register, Stamp, TimeSet};

/// The join as a function of two values, so that one check serves them all.
fn check<T: Clone + Default + PartialEq + Debug>(
    join: impl Fn(&mut T, &T) -> bool,
    (a, b, c): (&T, &T, &T),
) -> Result<(), TestCaseError> {
    let joined = |left: &T, right: &T| {
        let mut left = left.clone();
        join(&mut left, right);
        left
    };
    prop_assert_eq!(joined(a, b), joined(b, a), "commutative");
    prop_assert_eq!(joined(&joined(a, b), c), joined(a, &joined(b, c)), "associative");
    prop_assert_eq!(&joined(a, a), a, "idempotent");
    prop_assert_eq!(&joined(a, &T::default()), a, "right identity");
    prop_assert_eq!(&joined(&T::default(), a), a, "left identity");
    let mut left = a.clone();
    prop_assert_eq!(join(&mut left, b), &left != a, "tells whether it changed");
    Ok(())
}

fn numbers() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::vec(prop_oneof![0_i64..12, any::<i64>()], 0..8)
}

fn ids(numbers: &[i64]) -> IdSet {
    numbers.iter().map(|number| number.cast_unsigned()).collect()
}

/// Few different values, so that ties happen.
fn register() -> impl Strategy<Value = Register<String>> {
    let part = || prop_oneof![Just(""), Just("a"), Just("é"), Just("\u{1F600}")];
    proptest::collection::vec((0_i64..3, part(), part(), part()), 0..4).prop_map(|statements| {
        let mut register = Register::default();
        for (at, source, event_id, value) in statements {
            register.put(Stamp { at, source, event_id }, value);
        }
        register
    })
}

fn intervals() -> impl Strategy<Value = IntervalSet> {
    let bound = || prop_oneof![8 => 0_i64..20, 1 => any::<i64>()];
    proptest::collection::vec((bound(), bound()), 0..8).prop_map(IntervalSet::from_iter)
}

proptest! {
    #[test]
    fn sets_obey_the_laws(a in numbers(), b in numbers(), c in numbers()) {
        check(IdSet::join, (&ids(&a), &ids(&b), &ids(&c)))?;
        let times = |numbers: &[i64]| numbers.iter().copied().collect::<TimeSet>();
        check(TimeSet::join, (&times(&a), &times(&b), &times(&c)))?;
    }

    #[test]
    fn bounds_obey_the_laws(a: i64, b in -2_i64..3, c in -2_i64..3) {
        check(|a: &mut Latest, b| a.join(b.0), (&Latest(a), &Latest(b), &Latest(c)))?;
        check(|a: &mut Earliest, b| a.join(b.0), (&Earliest(a), &Earliest(b), &Earliest(c)))?;
    }

    #[test]
    fn intervals_obey_the_laws(a in intervals(), b in intervals(), c in intervals()) {
        check(IntervalSet::join, (&a, &b, &c))?;
    }

    #[test]
    fn registers_obey_the_laws(a in register(), b in register(), c in register()) {
        check(|a: &mut Register<String>, b| a.join(b.clone()).changed, (&a, &b, &c))?;
    }
}
