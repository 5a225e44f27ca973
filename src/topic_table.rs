//! The topics, one row each: what a topic is for, how it must be made, who reads and writes it.
//!
//! Whatever knows topics reads the table: their names in the configuration, what is created and what is refused at a
//! start, the fold's inputs, the rights that each stage asks for, metrics, documents. Lists of their own would have to be
//! found by whoever adds a topic, and the one that was forgotten says nothing. A row makes the topic's name in the code
//! (`Topic::Views`) and its setting (`topics.views`), which is why the table is a macro's.

use serde::Serialize;

use crate::dead_letter::Stage;
use crate::event::EventKind;

/// What is known of a topic, whatever it is called.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub role: Role,
    /// For a reader of the documents.
    pub holds: &'static str,
    pub record_key: &'static str,
    pub cleanup: Cleanup,
    pub partitions: Partitions,
    pub record: Bytes,
    pub oversize: Oversize,
    /// Settings that it is made with, beside the clean-up policy.
    pub made_with: &'static [(&'static str, &'static str)],
    pub reads: Reads,
    /// What each needs to do with it. Whoever reads or writes a topic describes it, too.
    pub rights: &'static [(Party, Access)],
    pub personal: Personal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Written by others: events of a kind.
    Events(EventKind),
    /// Written by others: what is known of sessions.
    Statements,
    /// Ours: events of all kinds, keyed anew.
    Rekeyed,
    Own,
}

/// What happens to old records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Delete,
    Compact,
}

impl Cleanup {
    pub fn policy(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
        }
    }
}

/// How many partitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// Made with those of the other inputs; it may grow at any time.
    Inputs,
    /// Members are divided among them: as many as `rollbook.resolved` has, for ever.
    Homes,
    /// As the configuration says; nothing hangs on it.
    Setting,
    /// Small, and in one order.
    One,
}

/// The largest record that it has to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Somebody else's topic: as they made it.
    Theirs,
    /// Batches of small records.
    Batch,
    /// A dead letter whole, the largest piece of a state, the rows of a job.
    Largest,
    /// Whatever an input lets in and the fold accepts.
    Inputs,
}

/// What becomes of a record that its topic does not take for its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Nothing can stand in its place: the topic's setting is waited for.
    Waits,
    /// A dead letter of the event that it is.
    Letter,
    /// The beginning of the letter that it is.
    Beginning,
}

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Divided among the stage's group, with committed offsets.
    Group(Stage),
    /// Whole, by every instance that runs such a stage, to its end before anything is done, and on from there
    /// (`kafka::follower`).
    Whole(Party),
    /// *p* by whoever owns *p* of what the stage's group reads, by hand, when it is taken over.
    Owner(Stage),
    /// By people.
    People,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Every instance, whatever it runs.
    Stages,
    Stage(Stage),
    /// Subcommands of people: what they look at, and what they send.
    Tools,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
}

/// What a record says of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personal {
    None,
    /// Ids of people, or digests of such.
    Ids,
    /// What they did, and who they are.
    Data,
}

const FOLD: Party = Party::Stage(Stage::Fold);
const SINK: Party = Party::Stage(Stage::Sink);
const READ: Access = Access { read: true, write: false };
const WRITE: Access = Access { read: false, write: true };
const BOTH: Access = Access { read: true, write: true };

/// The largest record of any topic.
pub const RECORD_BYTES_MAX: u64 = 10_485_760;
/// One member's polls may be more than the default megabyte, and so may the rows of one job.
const ROOM: (&str, &str) = ("max.message.bytes", "10485760");
/// 30 days: longer than anyone looks back in a write log.
const MONTH: (&str, &str) = ("retention.ms", "2592000000");
/// A dead letter is somebody's data until a person has decided.
const YEAR: (&str, &str) = ("retention.ms", "31536000000");
/// Re-keyed events of earlier versions are judged by their records' own timestamps.
const OWN_TIMES: (&str, &str) = ("message.timestamp.type", "CreateTime");

/// A topic of events that others write.
const fn events(kind: EventKind, holds: &'static str) -> Row {
    Row {
        role: Role::Events(kind),
        holds,
        record_key: "the member: `{campaign}_{lead}`",
        cleanup: Cleanup::Delete,
        partitions: Partitions::Inputs,
        record: Bytes::Theirs,
        reads: Reads::Group(Stage::Fold),
        rights: &[(FOLD, READ), (Party::Tools, WRITE)],
        personal: Personal::Data,
        ..OWN
    }
}

/// What most of our own topics have.
const OWN: Row = Row {
    role: Role::Own,
    holds: "",
    record_key: "",
    cleanup: Cleanup::Compact,
    partitions: Partitions::Setting,
    record: Bytes::Batch,
    oversize: Oversize::Waits,
    made_with: &[],
    reads: Reads::People,
    rights: &[],
    personal: Personal::None,
};

/// Name in the code, setting in `[topics]` and label, name on the broker by default, and the rest.
macro_rules! topics {
    ($($topic:ident $setting:ident $default:literal $row:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Topic { $($topic),* }

        impl Topic {
            pub const ALL: [Self; [$(Self::$topic),*].len()] = [$(Self::$topic),*];

            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$topic => const { &$row },)*
                }
            }

            /// Its setting, and its name in metrics and messages, whatever the topic is called.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$topic => stringify!($setting),)*
                }
            }

            pub const fn default_name(self) -> &'static str {
                match self {
                    $(Self::$topic => $default,)*
                }
            }

            /// Name of the topic on the broker.
            pub fn name(self, topics: &Topics) -> &str {
                match self {
                    $(Self::$topic => &topics.$setting,)*
                }
            }
        }

        /// Names and shape of the topics.
        #[derive(Clone, Debug, Serialize)]
        pub struct Topics {
            $(pub $setting: String,)*
            /// Partitions of topics that are created; existing inputs decide for the rest. Default 6: divides evenly among
            /// one, two, three and six instances.
            pub partitions: i32,
            /// Copies of topics that are created. Default 3: state and upserts must survive a broker.
            pub replication_factor: i32,
            /// Whether absent topics are created at start. Default true.
            pub create: bool,
            /// Whether the settings of existing topics are checked at start. Default true. False for brokers that do not
            /// tell them: a missing right to describe configurations, or a mock.
            pub check_settings: bool,
        }

        impl Topics {
            /// The defaults, under other names.
            pub fn named(mut name: impl FnMut(Topic) -> String) -> Self {
                Self {
                    $($setting: name(Topic::$topic),)*
                    partitions: 6,
                    replication_factor: 3,
                    create: true,
                    check_settings: true,
                }
            }
        }
    };
}

topics! {
    Registrations registrations "registrations" events(EventKind::Registration, "who registered, and what became of it");
    Attendance attendance "attendance" events(EventKind::Attendance, "when people were there");
    Polls polls "polls" events(EventKind::Poll, "answers to polls");
    Reactions reactions "reactions" events(EventKind::Reaction, "claps, hands, messages");
    Views views "views" events(EventKind::View, "what was played of recordings");
    Resolved resolved "rollbook.resolved" Row {
        role: Role::Rekeyed,
        holds: "events that were not keyed by their member, keyed anew",
        made_with: &[OWN_TIMES],
        partitions: Partitions::Homes,
        record: Bytes::Inputs,
        oversize: Oversize::Letter,
        rights: &[(FOLD, BOTH), (Party::Tools, WRITE)],
        ..events(EventKind::View, "")
    };
    Sessions sessions "sessions" Row {
        role: Role::Statements,
        record_key: "`{campaign}`, or `{campaign}_{entry}`",
        cleanup: Cleanup::Compact,
        partitions: Partitions::Setting,
        personal: Personal::None,
        ..events(EventKind::View, "what is known of campaigns and entries: names, times")
    };
    Catalogue catalogue "rollbook.catalogue" Row {
        holds: "of `sessions`, the newest statement of each key",
        record_key: "that of `sessions`",
        partitions: Partitions::One,
        reads: Reads::Whole(FOLD),
        rights: &[(FOLD, BOTH), (Party::Tools, READ)],
        ..OWN
    };
    State state "rollbook.state" Row {
        holds: "the pieces of each member's state, and how far they were folded",
        record_key: "the member, and the piece",
        partitions: Partitions::Homes,
        record: Bytes::Largest,
        made_with: &[ROOM],
        reads: Reads::Owner(Stage::Fold),
        rights: &[(FOLD, BOTH), (Party::Tools, READ)],
        personal: Personal::Data,
        ..OWN
    };
    Upserts upserts "rollbook.upserts" Row {
        holds: "the newest version of each row that is to be in Salesforce",
        record_key: "`{object}/{external_id}`",
        partitions: Partitions::Homes,
        made_with: &[ROOM],
        reads: Reads::Group(Stage::Sink),
        rights: &[(FOLD, WRITE), (SINK, READ), (Party::Tools, BOTH)],
        personal: Personal::Data,
        ..OWN
    };
    BulkJobs bulk_jobs "rollbook.bulk-jobs" Row {
        holds: "Bulk jobs that have not ended, and which rows are theirs",
        record_key: "the job's id",
        partitions: Partitions::Homes,
        record: Bytes::Largest,
        made_with: &[ROOM],
        reads: Reads::Owner(Stage::Sink),
        rights: &[(SINK, BOTH)],
        personal: Personal::Ids,
        ..OWN
    };
    Outcomes outcomes "rollbook.outcomes" Row {
        holds: "what became of each version of a row: the write log",
        record_key: "`{object}/{external_id}`",
        cleanup: Cleanup::Delete,
        made_with: &[MONTH],
        rights: &[(SINK, WRITE), (Party::Tools, READ)],
        personal: Personal::Ids,
        ..OWN
    };
    DeadLetters dead_letters "rollbook.dead-letters" Row {
        holds: "records and rows that could not be used, whole",
        record_key: "that of the record",
        cleanup: Cleanup::Delete,
        record: Bytes::Largest,
        oversize: Oversize::Beginning,
        made_with: &[YEAR, ROOM],
        rights: &[(Party::Stages, WRITE), (Party::Tools, READ)],
        personal: Personal::Data,
        ..OWN
    };
    Notes notes "rollbook.notes" Row {
        holds: "what instances remember and tell each other: the org, gaps",
        record_key: "what it is about: `org`, `gap/views/3/…`",
        partitions: Partitions::One,
        reads: Reads::Whole(Party::Stages),
        rights: &[(Party::Stages, BOTH), (Party::Tools, BOTH)],
        ..OWN
    };
}

impl Default for Topics {
    fn default() -> Self {
        Self::named(|topic| topic.default_name().to_owned())
    }
}

/// What makes a list of topics.
#[derive(Clone, Copy)]
enum Which {
    Consumed,
    Events,
    Positioned,
    Homes,
}

impl Topic {
    /// What the fold's group reads: its records end in a counted outcome.
    pub const CONSUMED: [Self; count(Which::Consumed)] = all(Which::Consumed);
    /// Topics of events, written by others or, re-keyed, by Rollbook.
    pub const EVENTS: [Self; count(Which::Events)] = all(Which::Events);
    /// Those that are read with committed offsets.
    pub const POSITIONED: [Self; count(Which::Positioned)] = all(Which::Positioned);
    /// What keeps its number of partitions for ever.
    pub const HOMES: [Self; count(Which::Homes)] = all(Which::Homes);

    const fn is(self, which: Which) -> bool {
        let row = self.row();
        match which {
            Which::Consumed => matches!(row.reads, Reads::Group(Stage::Fold)),
            Which::Events => matches!(row.role, Role::Events(_) | Role::Rekeyed),
            Which::Positioned => matches!(row.reads, Reads::Group(_)),
            Which::Homes => matches!(row.partitions, Partitions::Homes),
        }
    }

    /// The topic that events of a kind come by.
    pub fn of_events(kind: EventKind) -> Self {
        Self::EVENTS.into_iter().find(|topic| topic.events() == Some(kind)).expect("each kind has a row")
    }

    /// Kind of the events of a topic. None: their headers say it, or there are none.
    pub fn events(self) -> Option<EventKind> {
        if let Role::Events(kind) = self.row().role { Some(kind) } else { None }
    }

    /// Topics of events, written by others or, re-keyed, by Rollbook.
    pub const fn event_topic(self) -> bool {
        self.is(Which::Events)
    }

    /// Whether Rollbook alone writes it; the others are the inputs, which others write.
    pub fn own(self) -> bool {
        matches!(self.row().role, Role::Rekeyed | Role::Own)
    }

    /// What a process with these stages does with it.
    pub fn access(self, stages: &[Stage]) -> Access {
        let concerns = |party: &Party| match party {
            Party::Stages => true,
            Party::Stage(stage) => stages.contains(stage),
            Party::Tools => false,
        };
        let rights = self.row().rights.iter().filter(|(party, _)| concerns(party));
        rights.fold(Access::default(), |all, (_, one)| Access {
            read: all.read || one.read,
            write: all.write || one.write,
        })
    }
}

const fn count(which: Which) -> usize {
    let (mut count, mut rest) = (0, Topic::ALL.as_slice());
    while let [topic, others @ ..] = rest {
        count += topic.is(which) as usize;
        rest = others;
    }
    count
}

#[allow(clippy::indexing_slicing, reason = "it runs when it is compiled, which a wrong index would end")]
const fn all<const N: usize>(which: Which) -> [Topic; N] {
    let (mut found, mut count, mut rest) = ([Topic::Registrations; N], 0, Topic::ALL.as_slice());
    while let [topic, others @ ..] = rest {
        if topic.is(which) {
            found[count] = *topic;
            count += 1;
        }
        rest = others;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_topic_is_written_and_read_by_somebody_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for topic in Topic::ALL {
            let row = topic.row();
            assert!(names.insert(topic.default_name()) && names.insert(topic.label()) || !topic.own(), "{topic:?}");
            assert!(!row.holds.is_empty() && !row.record_key.is_empty(), "{topic:?}");
            let all = [Party::Stages, FOLD, SINK, Party::Tools];
            let may =
                |wanted: fn(&Access) -> bool| row.rights.iter().any(|(party, it)| wanted(it) && all.contains(party));
            assert!(may(|it| it.read) && may(|it| it.write), "{topic:?}");
            assert!(topic.own() || topic.access(&[Stage::Fold, Stage::Sink]) == READ, "{topic:?} is not ours to write");
        }
    }

    #[test]
    fn whoever_reads_a_topic_may() {
        for topic in Topic::ALL {
            let stages: &[Stage] = match topic.row().reads {
                Reads::Group(stage) | Reads::Owner(stage) | Reads::Whole(Party::Stage(stage)) => &[stage],
                Reads::Whole(_) => &[],
                Reads::People => continue,
            };
            assert!(topic.access(stages).read, "{topic:?}");
        }
    }

    #[test]
    fn the_lists_are_readings_of_the_table() {
        use Topic::{BulkJobs, Resolved, Sessions, State, Upserts, Views};
        assert!(Topic::HOMES.starts_with(&[Resolved, State, Upserts, BulkJobs]), "the first one decides");
        assert!(Topic::CONSUMED.contains(&Sessions) && !Topic::EVENTS.contains(&Sessions));
        assert!(Topic::EVENTS.ends_with(&[Views, Resolved]));
        assert!(Topic::EVENTS.iter().all(|topic| Topic::CONSUMED.contains(topic)));
        assert!(Topic::POSITIONED.starts_with(&Topic::CONSUMED) && Topic::POSITIONED.contains(&Upserts));
        for kind in EventKind::ALL {
            assert_eq!(Topic::of_events(kind).events(), Some(kind));
        }
    }
}
