//! Sets of a piece to bytes, and back: of intervals, of times, of ids.

use crate::avro::{ReadError, Reader, Writer};
use crate::lattice::{IdSet, IntervalSet, TimeSet};
use crate::time::Millis;

/// As gaps: the first start since `base`, its length, the gap to the next start, its length, …
pub(super) fn write_intervals(out: &mut Writer, set: &IntervalSet, base: i64) {
    if !set.is_empty() {
        out.length(2 * set.iter().len());
        let mut last = base;
        for bound in set.iter().flat_map(|(start, end)| [start, end]) {
            // Wraps for intervals longer than 63 bits, and wraps back where it is read.
            out.long(bound.wrapping_sub(last));
            last = bound;
        }
    }
    out.long(0);
}

pub(super) fn read_intervals(from: &mut Reader<'_>, base: i64) -> Result<IntervalSet, ReadError> {
    let mut set = IntervalSet::default();
    let mut last = base;
    let mut open = None;
    from.array(|from| {
        last = last.wrapping_add(from.long()?);
        match open.take() {
            None => open = Some(last),
            Some(start) => {
                set.insert(start, last);
            }
        }
        Ok(())
    })?;
    if open.is_some() { Err(ReadError::Length) } else { Ok(set) }
}

pub(super) fn write_times(out: &mut Writer, times: &TimeSet, base: Millis) {
    let mut last = base;
    out.array(times.iter(), |out, at| {
        out.long(at.wrapping_sub(last));
        last = at;
    });
}

pub(super) fn read_times(from: &mut Reader<'_>, base: Millis) -> Result<TimeSet, ReadError> {
    let mut times = Vec::new();
    let mut last = base;
    from.array(|from| {
        last = last.wrapping_add(from.long()?);
        times.push(last);
        Ok(())
    })?;
    Ok(times.into_iter().collect())
}

pub(super) fn write_ids(out: &mut Writer, ids: &IdSet) {
    out.length(8 * ids.len());
    for id in ids.iter() {
        out.0.extend_from_slice(&id.to_be_bytes());
    }
}

pub(super) fn read_ids(from: &mut Reader<'_>) -> Result<IdSet, ReadError> {
    let (ids, rest) = from.bytes()?.as_chunks();
    if !rest.is_empty() {
        return Err(ReadError::Length);
    }
    Ok(ids.iter().map(|id| u64::from_be_bytes(*id)).collect())
}
