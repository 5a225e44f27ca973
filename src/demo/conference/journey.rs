//! What one member does, from the invitation to the replay.

use std::borrow::Cow;

use fastrand::Rng;

use super::programme::Talk;
use super::{DAY, HOUR, MINUTE, OPENING};
use crate::event::{Act, Device, Event, EventKind, PollAnswer, Reaction, RegistrationAction, View, VisitPhase};
use crate::id::MemberKey;
use crate::lattice::Name;
use crate::time::Millis;

const SOURCES: [&str; 3] = ["kaltura/eu", "kaltura/us", "backoffice"];
const NAMES: [&str; 8] = ["Ada", "Søren", "José", "山田", "Zoë", "Łukasz", "Мария", "O’Neil"];
const QUESTIONS: [&str; 4] =
    ["How many partitions do you run?", "好きな言語は？", "Une question ouverte ?", "Pick two"];
const ANSWERS: [&str; 5] = ["12", "Rust; Java", "プロデューサー", "not sure 🤷", "  plenty  "];

/// Every accepted event of the member, in no particular order.
pub fn journey(rng: &mut Rng, number: usize, member: MemberKey, talks: &[Talk]) -> Vec<Event<'static>> {
    let name = rng.choice(NAMES).unwrap_or_default();
    let mut diary = Diary { rng, number, member, name, talk: None, events: Vec::new() };
    let talks: Vec<&Talk> = talks.iter().filter(|talk| talk.campaign == member.campaign).collect();
    let opening = talks.iter().filter_map(|talk| talk.live).map(|(start, _)| start).min().unwrap_or(OPENING);
    diary.register(opening);
    if diary.chance(15) {
        return diary.events;
    }
    for talk in talks {
        if diary.chance(55) {
            diary.talk = Some(talk);
            diary.attend(talk);
            diary.talk = None;
        }
    }
    diary.events
}

/// The pen of one member: fills in what all events have.
struct Diary<'a> {
    rng: &'a mut Rng,
    number: usize,
    member: MemberKey,
    name: &'static str,
    /// The entry that is being written about.
    talk: Option<&'a Talk>,
    events: Vec<Event<'static>>,
}

impl Diary<'_> {
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn minutes(&mut self, from: i64, to: i64) -> Millis {
        self.rng.i64(from * MINUTE..to * MINUTE)
    }

    fn note(&mut self, at: Millis, kind: EventKind, act: Act<'static>) {
        let names_entry = self.talk.is_some() && self.chance(40);
        let tells_person = self.chance(60);
        let tells_user = self.chance(40);
        let email = tells_person.then(|| self.email());
        self.events.push(Event {
            member: self.member,
            kind,
            source: self.rng.choice(SOURCES).unwrap_or_default().into(),
            event_id: format!("{}-{}-{}", kind.name(), self.number, self.events.len()).into(),
            occurred_at: at,
            entry_id: self.talk.map(|talk| Name::from(talk.entry_id.as_str())),
            entry_name: self.talk.filter(|_| names_entry).map(|talk| Cow::Borrowed(talk.name)),
            channel_id: self.talk.filter(|_| names_entry).map(|talk| talk.channel_id),
            channel_name: self.talk.filter(|_| names_entry).map(|talk| Cow::Borrowed(talk.channel_name)),
            email,
            user: tells_user.then(|| format!("{}.{}", self.name, self.number).into()),
            act,
        });
    }

    /// An address that changes now and then, and is sometimes none.
    fn email(&mut self) -> Cow<'static, str> {
        let number = self.number;
        match self.rng.u8(0..20) {
            0 => "not an address".into(),
            1 => format!("  member{number}@home.example ").into(),
            2 => format!("{}@too-long.example", "m".repeat(80)).into(),
            _ => format!("member{number}@work.example").into(),
        }
    }

    fn register(&mut self, opening: Millis) {
        use RegistrationAction::{
            AutoConfirmed, Blocked, Confirmed, Created, EmailOpened, EmailSent, GuestAdded, Invited, Registered,
            Unblocked, Unregistered,
        };
        let mut steps = match self.rng.u8(0..10) {
            0 => vec![Created],
            1 => vec![Invited],
            2 => vec![GuestAdded, EmailSent, EmailOpened, Registered],
            3..=5 => vec![Invited, Registered, Confirmed],
            6 | 7 => vec![Registered, Confirmed],
            _ => vec![Created, AutoConfirmed],
        };
        match self.rng.u8(0..25) {
            0 => steps.push(Unregistered),
            1 => steps.extend([Unregistered, Registered]),
            2 => steps.push(Blocked),
            3 => steps.extend([Blocked, Unblocked]),
            _ => {}
        }
        let mut at = opening - 12 * DAY;
        for step in steps {
            at += self.minutes(1, 1_440);
            self.note(at, EventKind::Registration, Act::Registration(step));
        }
        if self.chance(30) {
            let at = opening + self.minutes(-120, 600);
            let phase =
                *self.rng.choice(&[None, None, Some(VisitPhase::PreEvent), Some(VisitPhase::During)]).unwrap_or(&None);
            self.note(at, EventKind::Attendance, Act::Visit { phase });
        }
    }

    fn attend(&mut self, talk: &Talk) {
        if let Some((start, end)) = talk.live
            && self.chance(75)
        {
            self.be_there(start, end);
            self.watch_live(start, end);
            self.react(start, end);
            self.answer(talk, start, end);
        }
        if talk.live.is_none() || self.chance(25) {
            self.watch_recording(talk);
        }
    }

    fn connection(&mut self) -> Option<Cow<'static, str>> {
        self.rng.choice([None, Some("laptop"), Some("phone")]).flatten().map(Cow::Borrowed)
    }

    /// Joins and leaves, or a whole interval; the leave is missing now and then.
    fn be_there(&mut self, start: Millis, end: Millis) {
        let (joined_at, left_at) = (start + self.minutes(-10, 8), end + self.minutes(-9, 2));
        let connection = self.connection();
        let leaves = self.chance(85);
        if self.chance(30) {
            let end = leaves.then_some(left_at);
            self.note(
                left_at,
                EventKind::Attendance,
                Act::Presence { connection: connection.clone(), start: joined_at, end },
            );
        } else {
            self.note(joined_at, EventKind::Attendance, Act::Join { connection: connection.clone() });
            if leaves {
                self.note(left_at, EventKind::Attendance, Act::Leave { connection: connection.clone() });
            }
        }
        for device in [Device::Mic, Device::Cam] {
            for _ in 0..self.rng.u8(0..3) {
                let on_at = joined_at + self.minutes(1, 20);
                let device_event = |on| Act::Device { connection: connection.clone(), device, on };
                self.note(on_at, EventKind::Attendance, device_event(true));
                if self.chance(70) {
                    let off_at = on_at + self.minutes(0, 9);
                    self.note(off_at, EventKind::Attendance, device_event(false));
                }
            }
        }
    }

    /// Stretches of the stream, in one tab or two at a time.
    fn watch_live(&mut self, start: Millis, end: Millis) {
        for tab in 0..=u8::from(self.chance(20)) {
            let play_id = format!("live-{}-{tab}-{start}", self.number);
            let mut from = start + self.minutes(-2, 15);
            while from < end {
                let to = from + self.minutes(1, 12);
                let view = View {
                    live: true,
                    play_id: self.chance(90).then(|| play_id.clone().into()),
                    start: from,
                    end: self.chance(95).then_some(to),
                    playhead: None,
                    in_focus: self.rng.bool(),
                    full_screen: self.chance(30),
                    sound_on: self.chance(70),
                };
                // A player reports when the stretch begins, or when it is over.
                let at = if self.rng.bool() { from } else { to };
                self.note(at, EventKind::View, Act::View(view));
                from = to + self.minutes(-1, 4).max(0);
            }
        }
    }

    fn react(&mut self, start: Millis, end: Millis) {
        for _ in 0..self.rng.u8(0..9) {
            let at = self.rng.i64(start..end);
            let id = |what: &str, number: u8| Cow::Owned(format!("{what}-{start}-{number}"));
            let number = self.rng.u8(0..4);
            let reaction = match self.rng.u8(0..12) {
                0 | 1 => Reaction::Clap,
                2 | 3 => Reaction::Heart,
                4 => Reaction::Think,
                5 => Reaction::Wow,
                6 => Reaction::Smile,
                7 => Reaction::RaiseHand,
                8 => Reaction::AddToCalendar,
                9 => Reaction::Message { message_id: None },
                10 => Reaction::Message { message_id: Some(id("message", number)) },
                _ => Reaction::Question { thread_id: (number > 0).then(|| id("thread", number)) },
            };
            self.note(at, EventKind::Reaction, Act::Reaction(reaction));
        }
    }

    /// Answers, second thoughts and withdrawals.
    fn answer(&mut self, talk: &Talk, start: Millis, end: Millis) {
        for number in 0..talk.polls {
            for _ in 0..self.rng.u8(0..3) {
                let at = self.rng.i64(start..end);
                let withdrawn = self.chance(20);
                let answer = if withdrawn { Cow::Borrowed("") } else { self.words() };
                let answer = PollAnswer {
                    poll_id: format!("poll-{number}").into(),
                    poll_type: self.chance(70).then_some("crowd vote".into()),
                    question: self.chance(80).then(|| Cow::Borrowed(*self.rng.choice(&QUESTIONS).unwrap_or(&""))),
                    answer,
                    position: if number % 3 == 2 { None } else { i64::try_from(20 - number).ok() },
                };
                self.note(at, EventKind::Poll, Act::Poll(answer));
            }
        }
    }

    /// One answer in ten is longer than its field.
    fn words(&mut self) -> Cow<'static, str> {
        if self.chance(10) {
            let words = self.rng.usize(240..270);
            return format!("{}🙂 and more", "é".repeat(words)).into();
        }
        Cow::Borrowed(self.rng.choice(ANSWERS).unwrap_or_default())
    }

    /// Stretches of the recording, some of them seen twice, some backwards, some beyond its end.
    fn watch_recording(&mut self, talk: &Talk) {
        let evening = talk.live.map_or(OPENING, |(_, end)| end) + self.rng.i64(2 * HOUR..30 * HOUR);
        let play_id = format!("recorded-{}-{evening}", self.number);
        for part in 0..self.rng.i64(1..5) {
            let from = self.rng.i64(-5_000..talk.recording_ms);
            let length = self.minutes(1, 20);
            let start = evening + part * 15 * MINUTE;
            let view = View {
                live: false,
                play_id: self.chance(95).then(|| play_id.clone().into()),
                start,
                end: self.chance(95).then_some(start + length),
                playhead: self.chance(90).then_some(if self.chance(5) {
                    (from, from - 1)
                } else {
                    (from, from + length)
                }),
                in_focus: self.rng.bool(),
                full_screen: self.rng.bool(),
                sound_on: true,
            };
            self.note(start, EventKind::View, Act::View(view));
        }
    }
}
