//! What a member did in one entry: a session, video or document.
//!
//! Viewing time is kept per live level as the intervals in which the level was reported; that a higher level wins where
//! two overlap is decided when the rates are derived, since the higher one may arrive later.

use std::ops::Deref;
use std::sync::LazyLock;

use crate::event::{Act, Event, Reaction, View, email_holds};
use crate::lattice::heap::{block, block_of, recount};
use crate::lattice::{Domain, IdSet, IntervalSet, KEYS_MAX, Keyed, Latest, Put, Register, STRETCHES_MAX, Stamp, ids};
use crate::time::Millis;

use super::connection::{Connection, Pairing, paired};
use super::marks::Marks;
use super::poll::{PollPiece, put_text};

/// The piece of a member and one entry. Its facts are field for field the record `EntryFacts` of the schema `state`.
#[derive(Clone, Debug, Default)]
pub struct EntryPiece {
    /// Whether a counted event named the entry. Registrations and visits do not count.
    pub counted: bool,
    /// Latest time or interval end of any event of the member here.
    pub last_sign_at: Latest,
    pub entry_name: Register<String>,
    pub channel_id: Register<i64>,
    pub channel_name: Register<String>,
    pub email: Register<String>,
    pub user: Register<String>,
    pub live: LiveLevels,
    /// Wall-clock time of recorded views.
    pub recorded: IntervalSet,
    /// Positions that recorded views covered. The part before 0 is no position.
    pub playhead: IntervalSet,
    pub plays: IdSet,
    pub reactions: Reactions,
    /// By hash of the connection id; 0: events without one.
    pub connections: Keyed<u64, Connection>,
    /// By poll id.
    pub polls: Keyed<Box<str>, PollPiece>,
    /// Not part of the lattice.
    pub marks: Marks<2, 2>,
    /// Changed since the caller last cleared it. Not part of the lattice.
    pub dirty: bool,
    /// Somebody waits for some of what has changed since then. Not part of the lattice.
    pub awaited: bool,
    /// Bytes of the heap when it was last written or read. Not part of the lattice.
    pub memory: u32,
}

/// Live viewing as it was reported; the levels may overlap.
#[derive(Clone, Debug, Default)]
pub struct LiveLevels {
    /// In focus and full screen.
    pub high: IntervalSet,
    /// In focus, sound on.
    pub good: IntervalSet,
    /// Not in focus, sound on.
    pub fair: IntervalSet,
    /// In focus, muted.
    pub low: IntervalSet,
    /// Not in focus, muted.
    pub no: IntervalSet,
}

/// Distinct reactions of each kind. Most pieces have none and pay a pointer for it.
#[derive(Clone, Debug, Default)]
pub struct Reactions(Option<Box<ReactionSets>>);

/// See [`Reactions`].
#[derive(Clone, Debug, Default)]
pub struct ReactionSets {
    pub claps: IdSet,
    pub hearts: IdSet,
    pub thinks: IdSet,
    pub wows: IdSet,
    pub smiles: IdSet,
    pub raised_hands: IdSet,
    pub calendar_adds: IdSet,
    pub messages: IdSet,
    pub threads: IdSet,
}

impl EntryPiece {
    pub(super) fn apply(&mut self, event: &Event<'_>) -> Put {
        let stamp = Stamp { at: event.occurred_at, source: &event.source, event_id: &event.event_id };
        let mut put = self.put_texts(stamp, event);
        put.changed |= self.last_sign_at.join(sign_at(event));
        if !matches!(event.act, Act::Registration(_) | Act::Visit { .. }) {
            put.changed |= !self.counted;
            self.counted = true;
        }
        put.changed |= match &event.act {
            Act::Registration(_) | Act::Visit { .. } => false,
            Act::Join { connection } => self.connection(connection.as_deref(), |it| it.joins.insert(stamp.at)),
            Act::Leave { connection } => self.connection(connection.as_deref(), |it| it.leaves.insert(stamp.at)),
            Act::Presence { connection, start, end } => self.connection(connection.as_deref(), |it| {
                let joined = it.joins.insert(*start);
                end.is_some_and(|end| it.leaves.insert(end)) || joined
            }),
            Act::Device { connection, device, on } => {
                self.connection(connection.as_deref(), |it| it.switch(*device, *on).insert(stamp.at))
            }
            Act::Poll(poll) => {
                if let Some(ours) = self.polls.at_within(&*poll.poll_id, KEYS_MAX, |id| id.into()) {
                    put |= ours.apply(stamp, poll);
                }
                false
            }
            Act::Reaction(reaction) => self.reactions.sets_mut().insert(stamp, reaction),
            Act::View(view) => {
                let (changed, closed) = self.view(view);
                put.closed += closed;
                changed
            }
        };
        self.dirty |= put.changed;
        put
    }

    /// The set of times that this act may add to.
    pub fn grown_by(&self, act: &Act<'_>) -> Option<&IntervalSet> {
        match act {
            Act::View(view) if view.live => Some(self.live.of(view)),
            Act::View(_) => Some(&self.recorded),
            Act::Registration(_)
            | Act::Visit { .. }
            | Act::Join { .. }
            | Act::Leave { .. }
            | Act::Presence { .. }
            | Act::Device { .. }
            | Act::Poll(_)
            | Act::Reaction(_) => None,
        }
    }

    /// Every set of times and, last, of positions; in the order of the schema.
    pub fn intervals(&self) -> [&IntervalSet; 7] {
        let LiveLevels { high, good, fair, low, no } = &self.live;
        [high, good, fair, low, no, &self.recorded, &self.playhead]
    }

    /// In the same order.
    pub(super) fn intervals_mut(&mut self) -> [&mut IntervalSet; 7] {
        let LiveLevels { high, good, fair, low, no } = &mut self.live;
        [high, good, fair, low, no, &mut self.recorded, &mut self.playhead]
    }

    pub(super) fn close_gaps(&mut self) {
        for set in self.intervals_mut() {
            set.close_gaps(STRETCHES_MAX);
        }
    }

    /// Whether one of its sets is full, so that what is derived of it may be too little, or of times too much.
    pub fn saturated(&self) -> bool {
        self.plays.full()
            || self.reactions.any().is_some_and(|sets| sets.all().iter().any(|ids| ids.full()))
            || self.polls.len() >= KEYS_MAX
            || self.connections.len() >= KEYS_MAX
            || self.connections.iter().any(|(_, connection)| connection.sets().iter().any(|times| times.full()))
            || self.intervals().iter().any(|set| set.full())
    }

    /// Gives up half of what takes most of it: for a piece that no record has room for in spite of all bounds. Outside the
    /// laws of the joins. False where there is nothing to give up.
    pub fn shed(&mut self) -> bool {
        let (polls, connections) = (self.heap_of_polls(), self.connections.heap(|_, it| it.heap()));
        if polls > connections && self.polls.len() > 1 {
            self.polls.keep(self.polls.len() / 2);
            return true;
        }
        if self.connections.len() > 1 {
            self.connections.keep(self.connections.len() / 2);
            return true;
        }
        let longest = self.intervals_mut().into_iter().max_by_key(|set| set.iter().len());
        longest.is_some_and(|set| {
            let kept = set.iter().len() / 2;
            set.close_gaps(kept.max(1));
            kept > 0
        })
    }

    fn heap_of_polls(&self) -> usize {
        let text = |register: &Register<String>| register.heap(|text| block(text.capacity()));
        let poll = |poll: &PollPiece| {
            let texts = [&poll.answer, &poll.poll_type, &poll.question];
            texts.map(text).iter().sum::<usize>() + poll.position.heap(|_| 0)
        };
        self.polls.heap(|id, it| block(id.len()) + poll(it))
    }

    /// Whether an event said one of the texts, or the channel's number.
    pub(super) fn says_something(&self) -> bool {
        let texts = [&self.entry_name, &self.channel_name, &self.email, &self.user];
        self.channel_id.get().is_some() || texts.iter().any(|text| text.get().is_some())
    }

    /// Takes note of the bytes of the heap that it holds. Returns by how many they have grown.
    pub fn count_memory(&mut self) -> isize {
        let now = self.heap();
        recount(&mut self.memory, now)
    }

    fn heap(&self) -> usize {
        let text = |register: &Register<String>| register.heap(|text| block(text.capacity()));
        let texts = [&self.entry_name, &self.channel_name, &self.email, &self.user].map(text);
        texts.iter().sum::<usize>()
            + self.channel_id.heap(|_| 0)
            + self.intervals().iter().map(|set| set.heap()).sum::<usize>()
            + self.plays.heap()
            + self.reactions.any().map_or(0, ReactionSets::heap)
            + self.connections.heap(|_, connection| connection.heap())
            + self.heap_of_polls()
            + self.marks.heap()
    }

    fn put_texts(&mut self, stamp: Stamp<'_>, event: &Event<'_>) -> Put {
        let mut put = put_text(&mut self.entry_name, stamp, event.entry_name.as_deref());
        put |= put_text(&mut self.channel_name, stamp, event.channel_name.as_deref());
        put |= put_text(&mut self.user, stamp, event.user.as_deref());
        put |= put_text(&mut self.email, stamp, event.email.as_deref().filter(|email| email_holds(email.trim())));
        if let Some(channel) = &event.channel_id {
            put |= self.channel_id.put(stamp, channel);
        }
        put
    }

    /// Changes a connection. False where nothing has changed, or there are so many that this one is not kept.
    fn connection(&mut self, id: Option<&str>, change: impl FnOnce(&mut Connection) -> bool) -> bool {
        // 0 stands for "none".
        let id = id.map_or(0, |id| ids::hash(Domain::Connection, &[id]).max(1));
        self.connections.at_within(&id, KEYS_MAX, |id| *id).is_some_and(change)
    }

    /// Whether it has changed, and how many gaps were closed.
    fn view(&mut self, view: &View<'_>) -> (bool, u32) {
        let mut changed =
            view.play_id.as_deref().is_some_and(|play| self.plays.insert(ids::hash(Domain::Play, &[play])));
        let time = if view.live { self.live.at(view) } else { &mut self.recorded };
        changed |= view.end.is_some_and(|end| time.insert(view.start, end));
        let mut closed = time.close_gaps(STRETCHES_MAX);
        if let (false, Some((from, to))) = (view.live, view.playhead) {
            changed |= self.playhead.insert(from.max(0), to);
            closed += self.playhead.close_gaps(STRETCHES_MAX);
        }
        (changed, closed)
    }

    pub fn join(&mut self, other: Self) -> Put {
        let mut put = Put { changed: other.counted && !self.counted, ..Put::default() };
        self.counted |= other.counted;
        put.changed |= self.last_sign_at.join(other.last_sign_at.0);
        put |= self.entry_name.join(other.entry_name);
        put |= self.channel_id.join(other.channel_id);
        put |= self.channel_name.join(other.channel_name);
        put |= self.email.join(other.email);
        put |= self.user.join(other.user);
        put.changed |= self.live.join(&other.live);
        put.changed |= self.recorded.join(&other.recorded);
        put.changed |= self.playhead.join(&other.playhead);
        put.changed |= self.plays.join(&other.plays);
        put.changed |= self.reactions.join(other.reactions);
        put.changed |= self.connections.join_within(other.connections, KEYS_MAX, |ours, theirs| ours.join(&theirs));
        let mut conflict = false;
        put.changed |= self.polls.join_within(other.polls, KEYS_MAX, |ours, theirs| {
            let poll = ours.join(theirs);
            conflict |= poll.conflict;
            poll.changed
        });
        put.conflict |= conflict;
        self.close_gaps();
        self.marks.fill(other.marks);
        self.dirty |= put.changed;
        put
    }

    /// Time on, over all connections. What never ended lasts until the session's end, else the last sign of life.
    pub fn paired(&self, pairing: Pairing, session_end: Option<Millis>) -> IntervalSet {
        paired(&self.connections, pairing, session_end.unwrap_or(self.last_sign_at.0))
    }

    pub fn answered_polls(&self) -> usize {
        self.polls.iter().filter(|(_, poll)| poll.answered()).count()
    }
}

/// A level of a live view.
#[derive(Clone, Copy)]
enum Level {
    High,
    Good,
    Fair,
    Low,
    No,
}

impl Level {
    fn of(view: &View<'_>) -> Self {
        match (view.in_focus, view.sound_on) {
            (true, _) if view.full_screen => Self::High,
            (true, true) => Self::Good,
            (false, true) => Self::Fair,
            (true, false) => Self::Low,
            (false, false) => Self::No,
        }
    }
}

impl LiveLevels {
    fn of(&self, view: &View<'_>) -> &IntervalSet {
        match Level::of(view) {
            Level::High => &self.high,
            Level::Good => &self.good,
            Level::Fair => &self.fair,
            Level::Low => &self.low,
            Level::No => &self.no,
        }
    }

    fn at(&mut self, view: &View<'_>) -> &mut IntervalSet {
        match Level::of(view) {
            Level::High => &mut self.high,
            Level::Good => &mut self.good,
            Level::Fair => &mut self.fair,
            Level::Low => &mut self.low,
            Level::No => &mut self.no,
        }
    }

    fn join(&mut self, other: &Self) -> bool {
        let mut grew = self.high.join(&other.high);
        grew |= self.good.join(&other.good);
        grew |= self.fair.join(&other.fair);
        grew |= self.low.join(&other.low);
        grew |= self.no.join(&other.no);
        grew
    }
}

impl Deref for Reactions {
    type Target = ReactionSets;

    fn deref(&self) -> &ReactionSets {
        static NONE: LazyLock<ReactionSets> = LazyLock::new(ReactionSets::default);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl From<ReactionSets> for Reactions {
    fn from(sets: ReactionSets) -> Self {
        Self(sets.all().iter().any(|ids| !ids.is_empty()).then(|| Box::new(sets)))
    }
}

impl Reactions {
    /// None: there are none.
    pub(super) fn any(&self) -> Option<&ReactionSets> {
        self.0.as_deref()
    }

    fn sets_mut(&mut self) -> &mut ReactionSets {
        self.0.get_or_insert_default()
    }

    fn join(&mut self, other: Self) -> bool {
        other.0.is_some_and(|other| self.sets_mut().join(&other))
    }
}

impl ReactionSets {
    fn insert(&mut self, stamp: Stamp<'_>, reaction: &Reaction<'_>) -> bool {
        let event = || ids::hash(Domain::Event, &[stamp.source, stamp.event_id]);
        match reaction {
            Reaction::Clap => self.claps.insert(event()),
            Reaction::Heart => self.hearts.insert(event()),
            Reaction::Think => self.thinks.insert(event()),
            Reaction::Wow => self.wows.insert(event()),
            Reaction::Smile => self.smiles.insert(event()),
            Reaction::RaiseHand => self.raised_hands.insert(event()),
            Reaction::AddToCalendar => self.calendar_adds.insert(event()),
            Reaction::Message { message_id } => {
                let id = message_id.as_deref();
                self.messages.insert(id.map_or_else(event, |id| ids::hash(Domain::Message, &[id])))
            }
            Reaction::Question { thread_id } => {
                let id = thread_id.as_deref();
                self.threads.insert(id.map_or_else(event, |id| ids::hash(Domain::Thread, &[id])))
            }
        }
    }

    fn join(&mut self, other: &Self) -> bool {
        self.all_mut().into_iter().zip(other.all()).fold(false, |grew, (ours, theirs)| ours.join(theirs) || grew)
    }

    fn heap(&self) -> usize {
        block_of::<Self>(1) + self.all().iter().map(|ids| ids.heap()).sum::<usize>()
    }

    /// In the order of the schema.
    pub(super) fn all(&self) -> [&IdSet; 9] {
        [
            &self.claps,
            &self.hearts,
            &self.thinks,
            &self.wows,
            &self.smiles,
            &self.raised_hands,
            &self.calendar_adds,
            &self.messages,
            &self.threads,
        ]
    }

    /// In the order of the schema.
    pub(super) fn all_mut(&mut self) -> [&mut IdSet; 9] {
        [
            &mut self.claps,
            &mut self.hearts,
            &mut self.thinks,
            &mut self.wows,
            &mut self.smiles,
            &mut self.raised_hands,
            &mut self.calendar_adds,
            &mut self.messages,
            &mut self.threads,
        ]
    }
}

/// The latest moment at which the event shows the member alive.
fn sign_at(event: &Event<'_>) -> Millis {
    let at = event.occurred_at;
    match &event.act {
        // A presence is a join at its start and a leave at its end.
        Act::Presence { start, end, .. } => at.max(*start).max(end.unwrap_or(at)),
        Act::View(view) => at.max(view.end.unwrap_or(at)),
        Act::Registration(_)
        | Act::Visit { .. }
        | Act::Join { .. }
        | Act::Leave { .. }
        | Act::Device { .. }
        | Act::Poll(_)
        | Act::Reaction(_) => at,
    }
}
