//! What values take of the heap, for the count of memory.
//!
//! Counted by capacity, and as the allocator deals it out. A multiple of the length of a value's record would be simpler
//! and is wrong by half where members have dozens of connections: a set of two times is four bytes of a record, and in
//! memory a block of its own.

/// What a block of so many bytes takes: glibc puts a word before it and deals out steps of 16 bytes, 32 at least.
pub fn block(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// A block of so many values.
pub fn block_of<T>(count: usize) -> usize {
    block(count * size_of::<T>())
}

/// Takes note of what is counted now. Returns by how much it has grown.
pub fn recount(counted: &mut u32, now: usize) -> isize {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let before = std::mem::replace(counted, now);
    (now as usize).cast_signed() - (before as usize).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_what_glibc_deals_out() {
        // By `malloc_usable_size`, and the word before the block.
        assert_eq!([0, 1, 24, 25, 40, 41, 304].map(block), [0, 32, 32, 48, 48, 64, 320]);
    }
}
