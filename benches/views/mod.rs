//! View events for benchmarks: about 137 bytes each, single-object Avro, over members with three entries, in random
//! order from one seed. Every member and entry is one play, watched in stretches of ten seconds.

use rollbook::avro::{self, Writer};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::time::Millis;

pub const ENTRIES: u32 = 3;
/// Long past on every machine: an event may not be later than its record.
pub const NOON: Millis = 1_700_000_000_000;

const CAMPAIGN: &str = "70103000000cnFXAAY";

/// Makes the events.
pub struct Views {
    random: fastrand::Rng,
    stretches: Vec<u32>,
    made: u64,
}

/// The key of a member by its number.
pub fn member(number: usize) -> MemberKey {
    let campaign = SalesforceId::parse(CAMPAIGN).expect("an id");
    MemberKey { campaign, person: SalesforceId::parse(&format!("00Q{number:012}")).expect("an id") }
}

impl Views {
    pub fn new(members: u32) -> Self {
        Self { random: fastrand::Rng::with_seed(7), stretches: vec![0; (members * ENTRIES) as usize], made: 0 }
    }

    /// An event, and whose it is.
    pub fn make(&mut self) -> (MemberKey, Vec<u8>) {
        let place = self.random.usize(..self.stretches.len());
        let (member, entry) = (member(place / ENTRIES as usize), place % ENTRIES as usize);
        let stretch = self.stretches.get_mut(place).expect("a place");
        // One stretch in sixteen is left out, so that intervals do not all grow into one.
        *stretch += 1 + u32::from(self.random.u8(..16) == 0);
        let offset = Millis::from(*stretch) * 10_000;
        self.made += 1;
        let live = entry != 0;
        let mut out = Writer::object(&avro::VIEW);
        out.option(Some(format!("{:010x}", self.made).as_str()), Writer::text);
        out.option(Some("kaltura"), Writer::text);
        out.option(Some(NOON + offset + 10_000), Writer::long);
        out.option(Some(CAMPAIGN), Writer::text);
        out.option(Some(member.person.as_str()), Writer::text);
        nulls(&mut out, 5);
        out.option(Some(format!("1_entry{entry:02}").as_str()), Writer::text);
        nulls(&mut out, 3);
        out.long(if live { 1 } else { 2 });
        out.option(Some(format!("p{place:06}").as_str()), Writer::text);
        out.option(Some(NOON + offset), Writer::long);
        out.option(Some(NOON + offset + 10_000), Writer::long);
        out.option((!live).then_some(offset), Writer::long);
        out.option((!live).then_some(offset + 10_000), Writer::long);
        for flag in [self.random.u8(..8) > 0, false, true] {
            out.option(Some(flag), Writer::bool);
        }
        nulls(&mut out, 4);
        out.long(0);
        (member, out.0)
    }
}

fn nulls(out: &mut Writer, count: usize) {
    (0..count).for_each(|_| out.long(0));
}
