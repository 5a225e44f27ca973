//! The row of UserSessionEngagement__c: one per member and entry.

use crate::avro::Writer;
use crate::fold::{Catalogue, EntryPiece, LiveLevels, Pairing};
use crate::id::MemberKey;
use crate::lattice::{IdSet, IntervalSet};
use crate::upsert::def::{Derivation, Derived, ExternalId, ObjectDef, Policy};
use crate::upsert::field::{
    EMAIL, ENTRY_ID, ENTRY_NAME, EXTERNAL_ID, EXTERNAL_ID_LENGTH, FieldDef, LEAD, decimal, integer, text,
};
use crate::upsert::number::{Hundredths, minutes, percent, ratio};
use crate::upsert::object::Object;
use crate::upsert::row::{Raw, Whose, write_row};

use super::member::MEMBER;

impl Object {
    pub const ENGAGEMENT: Self = Self::new(2);
}

pub(super) const DEF: ObjectDef = ObjectDef {
    object: Object::ENGAGEMENT,
    name: "UserSessionEngagement__c",
    external_id: ExternalId { name: EXTERNAL_ID, length: EXTERNAL_ID_LENGTH },
    level: 1,
    parents: &[MEMBER],
    fields: &FIELDS,
    typed: 30,
    policy: Policy::Upsert,
    derivation: Derivation::Entry(write),
};

const FIELDS: [FieldDef; 30] = [
    LEAD,
    ENTRY_ID,
    ENTRY_NAME,
    EMAIL,
    text("user__c", 200),
    integer("channel_id__c"),
    text("channel_name__c", 200),
    integer("plays__c"),
    decimal("vod_minutes_viewed__c"),
    decimal("live_minutes_viewed__c"),
    decimal("total_vod_completion_rate__c"),
    decimal("no_live_engagement_rate__c"),
    decimal("low_live_engagement_rate__c"),
    decimal("fair_live_engagement_rate__c"),
    decimal("good_live_engagement_rate__c"),
    decimal("high_live_engagement_rate__c"),
    integer("clap_clicked_count__c"),
    integer("heart_clicked_count__c"),
    integer("think_clicked_count__c"),
    integer("wow_clicked_count__c"),
    integer("smile_clicked_count__c"),
    integer("answered_polls__c"),
    integer("messages_sent_group__c"),
    integer("qna_threads__c"),
    decimal("combined_live_engaged_users_play_time_ratio__c"),
    integer("add_to_calendar__c"),
    decimal("mic_on__c"),
    decimal("cam_on__c"),
    integer("total_reactions_activity__c"),
    integer("raise_hand__c"),
];

/// Appends the row; there is none where no counted event named the entry.
fn write(out: &mut Writer, key: &MemberKey, entry_id: &str, piece: &EntryPiece, catalogue: &Catalogue) -> Derived {
    if !piece.counted {
        return Derived::Nothing;
    }
    let session = catalogue.get(key.campaign, Some(entry_id));
    let live = LiveTime::of(&piece.live);
    let on = |pairing| {
        let time = piece.paired(pairing, session.and_then(|session| session.actual_end));
        Raw::Decimal(Some(minutes(time.length())))
    };
    let reactions = &piece.reactions;
    let clicks = [&reactions.claps, &reactions.hearts, &reactions.thinks, &reactions.wows, &reactions.smiles];
    let channel_id = session.and_then(|session| session.channel_id).or(piece.channel_id.get().copied());
    let channel_name = session.and_then(|session| session.channel_name.as_ref()).or(piece.channel_name.get());
    let entry_name = session.and_then(|session| session.name.as_ref()).or(piece.entry_name.get());
    let values = [
        Raw::Text(key.person_is_lead().then_some(key.person.as_str())),
        Raw::Text(Some(entry_id)),
        Raw::Text(entry_name.map(String::as_str)),
        Raw::Text(piece.email.get().map(String::as_str)),
        Raw::Text(piece.user.get().map(String::as_str)),
        Raw::Integer(channel_id),
        Raw::Text(channel_name.map(String::as_str)),
        count(&piece.plays),
        Raw::Decimal(Some(minutes(piece.recorded.length()))),
        Raw::Decimal(Some(minutes(live.total))),
        Raw::Decimal(completion(&piece.playhead, session.and_then(|session| session.duration_ms))),
        Raw::Decimal(percent(live.no, live.total)),
        Raw::Decimal(percent(live.low, live.total)),
        Raw::Decimal(percent(live.fair, live.total)),
        Raw::Decimal(percent(live.good, live.total)),
        Raw::Decimal(percent(live.high, live.total)),
        count(&reactions.claps),
        count(&reactions.hearts),
        count(&reactions.thinks),
        count(&reactions.wows),
        count(&reactions.smiles),
        whole(piece.answered_polls()),
        count(&reactions.messages),
        count(&reactions.threads),
        Raw::Decimal(ratio(live.good + live.high, live.total)),
        count(&reactions.calendar_adds),
        on(Pairing::Mic),
        on(Pairing::Cam),
        whole(clicks.into_iter().map(IdSet::len).sum()),
        count(&reactions.raised_hands),
    ];
    write_row(out, &DEF, Whose { member: key, entry_id: Some(entry_id) }, &FIELDS, values)
}

/// Milliseconds of live viewing at each level, every instant at its highest.
struct LiveTime {
    high: u64,
    good: u64,
    fair: u64,
    low: u64,
    no: u64,
    total: u64,
}

impl LiveTime {
    fn of(levels: &LiveLevels) -> Self {
        let mut above = IntervalSet::default();
        let mut counted = 0;
        let mut length = |level: &IntervalSet| {
            if level.is_empty() {
                return 0;
            }
            above.join(level);
            let before = std::mem::replace(&mut counted, above.length());
            counted - before
        };
        let (high, good, fair) = (length(&levels.high), length(&levels.good), length(&levels.fair));
        let (low, no) = (length(&levels.low), length(&levels.no));
        Self { high, good, fair, low, no, total: high + good + fair + low + no }
    }
}

/// Part of the recording that was watched.
fn completion(playhead: &IntervalSet, duration: Option<i64>) -> Option<Hundredths> {
    let duration = duration.filter(|duration| *duration > 0)?;
    percent(playhead.clipped(0, duration).length(), duration.unsigned_abs())
}

fn count(ids: &IdSet) -> Raw<'static> {
    whole(ids.len())
}

fn whole(count: usize) -> Raw<'static> {
    Raw::Integer(Some(i64::try_from(count).unwrap_or(i64::MAX)))
}
