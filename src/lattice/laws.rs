//! The laws of every join in this room: commutative, associative, idempotent, with an identity.

use std::fmt::Debug;

use proptest::prelude::*;

use super::{Earliest, IdSet, IntervalSet, Keyed, Latest, Register, Stamp, TimeSet};

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

fn pairs() -> impl Strategy<Value = Vec<(u8, i64)>> {
    proptest::collection::vec((0_u8..8, 0_i64..4), 0..8)
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

    /// With a bound that a few elements reach: the smallest of a union are the smallest of the smallest of its parts.
    #[test]
    fn full_sets_obey_the_laws(a in numbers(), b in numbers(), c in numbers()) {
        const MAX: usize = 3;
        let few = |numbers: &[i64]| IdSet::smallest(ids(numbers).iter(), MAX);
        check(|a: &mut IdSet, b| a.join_within(b, MAX), (&few(&a), &few(&b), &few(&c)))?;
        let first = |numbers: &[i64]| {
            let mut times = TimeSet::default();
            for at in numbers {
                times.insert_within(*at, MAX);
            }
            times
        };
        check(|a: &mut TimeSet, b| a.join_within(b, MAX), (&first(&a), &first(&b), &first(&c)))?;
        let (mut one_by_one, mut all) = (first(&a), a.clone());
        for at in &b {
            let before = one_by_one.clone();
            prop_assert_eq!(one_by_one.insert_within(*at, MAX), one_by_one != before);
        }
        all.extend(&b);
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX);
        prop_assert!(one_by_one.iter().eq(all), "those that are the first of all");
    }

    #[test]
    fn full_maps_obey_the_laws(a in pairs(), b in pairs(), c in pairs()) {
        const MAX: usize = 3;
        let map = |pairs: &[(u8, i64)]| {
            let mut map = Keyed::<u8, Latest>::default();
            for (key, at) in pairs {
                map.at_within(key, MAX, |key| *key).map(|latest| latest.join(*at));
            }
            map
        };
        let join = |a: &mut Keyed<u8, Latest>, b: &Keyed<u8, Latest>| {
            a.join_within(b.clone(), MAX, |ours, theirs| ours.join(theirs.0))
        };
        check(join, (&map(&a), &map(&b), &map(&c)))?;
        let mut one_by_one = map(&a);
        join(&mut one_by_one, &map(&b));
        prop_assert_eq!(one_by_one, map(&[a, b].concat()), "joined or put one by one");
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
