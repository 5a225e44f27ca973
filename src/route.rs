//! Which partition a member's records belong in: that of Java's default partitioner.
//!
//! All inputs of the fold have the same partition count, so a member's events, state and upserts stand in the same
//! partition number everywhere and one instance owns them. A record is folded where it stands if that is its
//! member's partition, whatever its key says; otherwise it is re-keyed through the resolved topic.

use crate::event::MemberKey;

/// The partition that Kafka's default partitioner gives this key.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(key) & 0x7FFF_FFFF;
    i32::try_from(positive % partitions.unsigned_abs()).expect("the remainder is below a positive i32")
}

pub fn member_partition(member: &MemberKey, partitions: i32) -> i32 {
    partition_of(&member.bytes(), partitions)
}

/// `org.apache.kafka.common.utils.Utils.murmur2`, bit for bit.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const M: u32 = 0x5BD1_E995;
    let mut hash = SEED ^ u32::try_from(data.len()).expect("keys are far below 4 GiB");
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        // The vectors of Kafka's own UtilsTest.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn a_partition_is_never_negative() {
        assert_eq!(partition_of(b"21", 6), (-973_932_308_i32 & 0x7FFF_FFFF) % 6);
    }
}
