//! Which partition a member's records belong in: that of Java's default partitioner.
//!
//! The fold owns partition *p* of every input, of the state and of the upserts, so everything about a member must
//! stand in one and the same *p*. Kafka's Java clients place keyed records by murmur2; librdkafka does so only when
//! it is told to, so a record's own partition proves nothing and is compared with this.

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const MULTIPLIER: u32 = 0x5BD1_E995;
    let len = u32::try_from(bytes.len()).expect("a Kafka key is far below 4 GiB");
    let mut hash = SEED ^ len;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

/// Partition of a key among `partitions`, which is at least 1.
pub fn partition(key: &[u8], partitions: i32) -> i32 {
    let positive = (murmur2(key) & 0x7FFF_FFFF).cast_signed();
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_the_one_of_kafka() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partitions_are_never_negative() {
        for partitions in [1, 6, 17] {
            for key in 0..1_000 {
                let partition = partition(format!("{key}").as_bytes(), partitions);
                assert!((0..partitions).contains(&partition));
            }
        }
        // The sign bit is cut off, not the number negated: 0xD0E4_7BBE becomes 0x50E4_7BBE.
        assert_eq!(partition(b"foobar", 6), 0x50E4_7BBE % 6);
    }
}
