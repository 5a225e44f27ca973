//! What is noted on a piece beside its facts: since when it is there, and what was made of it.
//!
//! Marks are no part of the lattice: no law compares them, and two pieces are the same byte for byte whatever their marks
//! say. They move with the piece and are written by whoever commits it.
//!
//! A commit is told by its number in the partition; the partition keeps where its inputs stood at a commit of each hour, so
//! that a mark is a place in each input's log. A piece of an earlier version has none: it is not known since when it is
//! there, and a later commit does not make it known.
//!
//! Every piece pays for its marks: the hashes of its usual rows and one word. What few have stands in a box.

use crate::avro::{ReadError, Reader, Writer};
use crate::lattice::heap::{block, block_of};

/// Of the word that says since when. More commits than a partition makes in thirty years at a thousand a second.
const COMMIT_BITS: u32 = 40;
/// The first commit, where it is not known.
const NOT_KNOWN: u64 = (1 << COMMIT_BITS) - 1;
/// How many commits later something was taken from the re-keyed ones, plus one: of a piece that took it in facts which are
/// not committed yet.
const PENDING: u64 = (1 << (u64::BITS - COMMIT_BITS)) - 1;
/// The most that is told. What came even later counts as if it had come then: whoever reads from there on misses nothing.
const LATER_MAX: u64 = PENDING - 1;

/// What is noted on a piece whose usual rows are of `COUNT` objects, by number from `FIRST` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks<const FIRST: u8, const COUNT: usize> {
    /// The first commit, 0 where there was none yet; and above it how much later the first that took from the re-keyed ones
    /// was, plus one, or 0.
    since: u64,
    /// Of the usual rows.
    hashes: [u64; COUNT],
    rare: Option<Box<Rare>>,
}

/// What was sent of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowMark {
    /// Of the row that was last sent, or of its refusal; 0: none.
    pub hash: u64,
    /// A row was ever sent.
    pub sent: bool,
}

/// What a piece was last counted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub campaign: Box<str>,
    pub numbers: Box<[i64]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    /// By bit of the usual rows: the hash does not say whether one was sent. There is one of a refusal alone, or there is
    /// none any more.
    unlike: u8,
    /// Of other objects, ascending by number.
    others: Vec<(u8, RowMark)>,
    counted: Option<Counted>,
    target: Option<Box<str>>,
}

impl<const FIRST: u8, const COUNT: usize> Default for Marks<FIRST, COUNT> {
    fn default() -> Self {
        Self { since: 0, hashes: [0; COUNT], rare: None }
    }
}

impl<const FIRST: u8, const COUNT: usize> Marks<FIRST, COUNT> {
    /// Of a piece that an earlier version wrote: the hashes of its usual rows.
    pub(super) fn of_earlier(hashes: [u64; COUNT]) -> Self {
        Self { since: NOT_KNOWN, hashes, rare: None }
    }

    fn place(object: u8) -> Option<usize> {
        object.checked_sub(FIRST).map(usize::from).filter(|place| *place < COUNT)
    }

    /// Number of the commit that first wrote the piece. None: none has, or it is not known.
    pub fn first_commit(&self) -> Option<u64> {
        Some(self.since & NOT_KNOWN).filter(|commit| *commit != 0 && *commit != NOT_KNOWN)
    }

    /// Number of the first commit that took facts from the re-keyed events. None: none has, or it is not known.
    pub fn first_resolved(&self) -> Option<u64> {
        let later = Some(self.since >> COMMIT_BITS).filter(|later| *later != 0 && *later != PENDING)?;
        Some(self.first_commit()? + later - 1)
    }

    fn set(&mut self, commit: u64, later: u64) {
        self.since = later << COMMIT_BITS | commit;
    }

    /// Some of the facts that are not committed yet came by way of the re-keyed events.
    pub fn took_resolved(&mut self) {
        let commit = self.since & NOT_KNOWN;
        if self.since == commit && commit != NOT_KNOWN {
            self.set(commit, PENDING);
        }
    }

    /// This commit writes the piece.
    pub fn written_by(&mut self, commit: u64) {
        let (first, later) = (self.since & NOT_KNOWN, self.since >> COMMIT_BITS);
        if first != 0 && later != PENDING {
            return;
        }
        let first = if first == 0 { commit.min(NOT_KNOWN) } else { first };
        let later = if later == PENDING { (commit.saturating_sub(first) + 1).min(LATER_MAX) } else { later };
        self.set(first, if first == NOT_KNOWN { 0 } else { later });
    }

    /// Of the row that was last sent, or of its refusal; 0: none.
    pub fn hash(&self, object: u8) -> u64 {
        match Self::place(object) {
            Some(place) => self.hashes.get(place).copied().unwrap_or_default(),
            None => self.row(object).hash,
        }
    }

    /// What was sent of a row.
    pub fn row(&self, object: u8) -> RowMark {
        let Some(place) = Self::place(object) else {
            let others = self.rare.as_deref().map_or(&[][..], |rare| &rare.others);
            return others.iter().find(|(known, _)| *known == object).map_or_else(RowMark::default, |(_, row)| *row);
        };
        let hash = self.hashes.get(place).copied().unwrap_or_default();
        let unlike = self.rare.as_deref().is_some_and(|rare| rare.unlike >> place & 1 == 1);
        RowMark { hash, sent: (hash != 0) != unlike }
    }

    /// Takes note of the hash of a row, or of its refusal. What was sent once was sent.
    pub fn note_row(&mut self, object: u8, row: RowMark) {
        let RowMark { hash, .. } = row;
        let sent = row.sent || self.row(object).sent;
        let Some(place) = Self::place(object) else {
            return self.change_rare(|rare| {
                rare.others.retain(|(known, _)| *known != object);
                if hash != 0 || sent {
                    let at = rare.others.partition_point(|(known, _)| *known < object);
                    rare.others.insert(at, (object, RowMark { hash, sent }));
                }
            });
        };
        if let Some(ours) = self.hashes.get_mut(place) {
            *ours = hash;
        }
        let unlike = sent != (hash != 0);
        if unlike || self.rare.is_some() {
            self.change_rare(|rare| rare.unlike = rare.unlike & !(1 << place) | u8::from(unlike) << place);
        }
    }

    /// Whatever the row is, it is sent again.
    pub fn forget_row(&mut self, object: u8) {
        self.note_row(object, RowMark::default());
    }

    /// Whether any of its rows was ever sent.
    pub fn any_sent(&self) -> bool {
        self.rows().any(|(_, row)| row.sent)
    }

    /// What is noted of rows, ascending by object.
    pub fn rows(&self) -> impl Iterator<Item = (u8, RowMark)> + '_ {
        let others = || self.rare.iter().flat_map(|rare| rare.others.iter().copied());
        let usual = (FIRST..).take(COUNT).map(|object| (object, self.row(object)));
        let usual = usual.filter(|(_, row)| *row != RowMark::default());
        others()
            .filter(|(object, _)| *object < FIRST)
            .chain(usual)
            .chain(others().filter(|(object, _)| *object >= FIRST))
    }

    /// What it was last counted for.
    pub fn counted(&self) -> Option<&Counted> {
        self.rare.as_deref()?.counted.as_ref()
    }

    pub fn set_counted(&mut self, counted: Option<Counted>) {
        self.change_rare(|rare| rare.counted = counted);
    }

    /// The subject that it last contributed to, as text.
    pub fn target(&self) -> Option<&str> {
        self.rare.as_deref()?.target.as_deref()
    }

    pub fn set_target(&mut self, target: Option<Box<str>>) {
        self.change_rare(|rare| rare.target = target);
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let rare = self.rare.get_or_insert_default();
        change(rare);
        if **rare == Rare::default() {
            self.rare = None;
        }
    }

    /// Whether nothing was made of the piece.
    pub(super) fn says_nothing(&self) -> bool {
        self.hashes.iter().all(|hash| *hash == 0) && self.rare.is_none()
    }

    /// Where two copies of a piece meet: what is noted here stands, and the rest is the other's.
    pub(super) fn fill(&mut self, other: Self) {
        if self.since == 0 {
            self.since = other.since;
        }
        for (object, row) in other.rows() {
            if self.row(object) == RowMark::default() {
                self.note_row(object, row);
            }
        }
        let Some(rare) = other.rare else { return };
        let Rare { counted, target, .. } = *rare;
        if self.counted().is_none() && counted.is_some() {
            self.set_counted(counted);
        }
        if self.target().is_none() && target.is_some() {
            self.set_target(target);
        }
    }

    /// Bytes of the heap.
    pub(super) fn heap(&self) -> usize {
        self.rare.as_deref().map_or(0, |rare| {
            let counted = rare.counted.as_ref();
            let counted = counted.map_or(0, |it| block(it.campaign.len()) + block_of::<i64>(it.numbers.len()));
            let target = rare.target.as_ref().map_or(0, |target| block(target.len()));
            block_of::<Rare>(1) + block_of::<(u8, RowMark)>(rare.others.capacity()) + counted + target
        })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let number = |commit: Option<u64>| commit.unwrap_or_default().cast_signed();
        out.long(number(self.first_commit()));
        out.long(number(self.first_resolved()));
        let rows = self.rows().count();
        if rows > 0 {
            out.length(rows);
            for (object, RowMark { hash, sent }) in self.rows() {
                out.long(object.into());
                out.0.extend_from_slice(&hash.to_be_bytes());
                out.bool(sent);
            }
        }
        out.long(0);
        out.option(self.counted(), |out, counted| {
            out.text(&counted.campaign);
            out.array(counted.numbers.iter(), |out, number| out.long(*number));
        });
        out.option(self.target(), Writer::text);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        let mut marks = Self::default();
        let commit = |number: i64| u64::try_from(number).ok().filter(|commit| *commit != 0 && *commit < NOT_KNOWN);
        let (first, resolved) = (commit(from.long()?), commit(from.long()?));
        let later = first.zip(resolved).and_then(|(first, resolved)| resolved.checked_sub(first));
        marks.set(first.unwrap_or(NOT_KNOWN), later.map_or(0, |later| (later + 1).min(LATER_MAX)));
        from.array(|from| {
            let object = u8::try_from(from.long()?).map_err(|_| ReadError::Branch)?;
            let hash = from.take(size_of::<u64>())?.first_chunk().copied().ok_or(ReadError::Short)?;
            let row = RowMark { hash: u64::from_be_bytes(hash), sent: from.bool()? };
            marks.note_row(object, row);
            Ok(())
        })?;
        let counted = from.option(|from| {
            let campaign = from.text()?.into();
            let mut numbers = Vec::new();
            from.array(|from| {
                numbers.push(from.long()?);
                Ok(())
            })?;
            Ok(Counted { campaign, numbers: numbers.into() })
        })?;
        let target = from.option(|from| Ok(from.text()?.into()))?;
        if counted.is_some() || target.is_some() {
            marks.set_counted(counted);
            marks.set_target(target);
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Two = Marks<2, 2>;

    fn again(marks: &Two) -> Two {
        let mut out = Writer::default();
        marks.write(&mut out);
        let mut from = Reader(&out.0);
        let read = Two::read(&mut from).unwrap();
        assert!(from.0.is_empty());
        read
    }

    #[test]
    fn the_first_commit_stays_and_so_does_the_first_that_took_a_re_keyed_event() {
        let mut marks = Two::default();
        assert_eq!((marks.first_commit(), marks.first_resolved()), (None, None));
        marks.written_by(7);
        marks.written_by(8);
        assert_eq!((marks.first_commit(), marks.first_resolved()), (Some(7), None));
        marks.took_resolved();
        assert_eq!(marks.first_resolved(), None, "not before it is committed");
        marks.written_by(9);
        marks.took_resolved();
        marks.written_by(10);
        assert_eq!((marks.first_commit(), marks.first_resolved()), (Some(7), Some(9)));
        assert_eq!(again(&marks), marks);
        let mut at_once = Two::default();
        at_once.took_resolved();
        at_once.written_by(3);
        assert_eq!((at_once.first_commit(), at_once.first_resolved()), (Some(3), Some(3)));
    }

    #[test]
    fn what_is_not_known_stays_not_known() {
        for mut marks in [Two::of_earlier([5, 0]), again(&Two::default())] {
            marks.took_resolved();
            marks.written_by(7);
            marks.took_resolved();
            marks.written_by(8);
            let marks = again(&marks);
            assert_eq!((marks.first_commit(), marks.first_resolved()), (None, None));
        }
    }

    #[test]
    fn what_lies_too_far_apart_to_be_told_is_told_as_earlier_and_never_as_later() {
        let mut marks = Two::default();
        marks.written_by(1);
        marks.took_resolved();
        marks.written_by(1 << 30);
        assert_eq!(marks.first_resolved(), Some(LATER_MAX));
        assert_eq!(again(&marks), marks);
    }

    #[test]
    fn rows_are_told_by_object_and_what_was_sent_was_sent() {
        let mut marks = Two::default();
        let refused = RowMark { hash: 5, sent: false };
        let sent = RowMark { hash: 6, sent: true };
        for object in [3, 200, 1, 2] {
            marks.note_row(object, refused);
            assert_eq!((marks.row(object), marks.hash(object)), (refused, 5), "{object}");
        }
        assert!(!marks.any_sent());
        assert_eq!(marks.rows().map(|(object, _)| object).collect::<Vec<_>>(), [1, 2, 3, 200]);
        assert_eq!(again(&marks).rows().collect::<Vec<_>>(), marks.rows().collect::<Vec<_>>());
        for object in [1, 2, 3, 200] {
            marks.note_row(object, sent);
            marks.note_row(object, refused);
            assert_eq!(marks.row(object), RowMark { hash: 5, sent: true }, "{object}");
            marks.forget_row(object);
            assert_eq!(marks.row(object), RowMark { hash: 0, sent: true }, "{object}");
        }
        assert!(again(&marks).any_sent());
        assert_eq!(again(&marks).rows().collect::<Vec<_>>(), marks.rows().collect::<Vec<_>>());
    }

    #[test]
    fn usual_marks_take_no_box_and_a_box_is_given_back() {
        let mut marks = Two::default();
        marks.note_row(2, RowMark { hash: 5, sent: true });
        marks.note_row(3, RowMark { hash: 5, sent: true });
        marks.took_resolved();
        marks.written_by(1);
        assert_eq!((marks.heap(), size_of::<Two>(), size_of::<Marks<1, 1>>()), (0, 32, 24));
        let counted = Counted { campaign: "c".into(), numbers: [1, 2].into() };
        marks.set_counted(Some(counted.clone()));
        marks.set_target(Some("t".into()));
        let read = again(&marks);
        assert_eq!((read.counted(), read.target()), (Some(&counted), Some("t")));
        assert!(marks.heap() > 0);
        marks.set_counted(None);
        marks.set_target(None);
        assert_eq!(marks.heap(), 0);
    }
}
