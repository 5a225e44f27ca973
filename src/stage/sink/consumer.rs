//! The thread that reads the upserts topic.
//!
//! It polls without a break, also while the sink has all the rows it can hold: a consumer that stops polling is thrown
//! out of its group, and its rows are sent a second time by somebody else. So back-pressure pauses the partitions.

mod context;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::context::{Context, commit, lock};
use super::handover::LastOffsets;
use super::outbox::{Places, Position, Source};
use super::positions::{Look, Positions};
use crate::config::Config;
use crate::dead_letter::Stage;
use crate::kafka::membership::Lag;
use crate::kafka::twins::{Mending, Twin};
use crate::kafka::vigil::Verdict;
use crate::kafka::watch::Watch;
use crate::kafka::{self, MemberName, headers_of, let_go, said};
use crate::metrics::Metrics;
use crate::stage::Shared;
use crate::store::disk::random_name;

/// How long a poll waits, hence how long a command does.
const POLL_MAX: Duration = Duration::from_millis(50);

/// Records are read for so long before the thread looks at anything else: at each record it would cost more than reading.
const TURN: Duration = Duration::from_millis(10);

/// How long committed offsets are waited for.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// A consumer that leaves is waited for so long; who does not come to the end of it is missed by the group.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Records between this thread and the loop, some 25 MB. When they are full the partitions are paused, and a consumer that
/// goes on fetches anew: half a second without a record, in which calls go that are not full. So it is to be rare.
const CHANNEL_RECORDS: usize = 50_000;

/// What the thread tells the loop besides records.
#[derive(Debug)]
pub enum Control {
    /// These partitions are ours, and no others.
    Assigned(Vec<i32>),
    /// Which log these are of, and where each is read on; again where more is known.
    Placed(Places),
    /// As of the last statistics. Of a thread that pauses, no partition waits for its next record.
    Lags(Vec<Lag>),
    /// These partitions go to somebody else. The group waits until the reply, the offsets to commit, is here. `unread`:
    /// what was read behind all that is in the channel.
    Revoked { partitions: Vec<i32>, unread: Vec<Source>, reply: std_mpsc::SyncSender<LastOffsets> },
    /// Whether the group takes a commit of this member.
    Confirmed(bool),
    /// Another process has the name of this member, and has come to stay.
    Twin(Twin),
}

/// What the loop tells the thread.
#[derive(Debug)]
pub enum Command {
    /// Offsets of this log.
    Commit(u32, Vec<(i32, i64)>),
    /// Find out whether the partitions are still ours.
    Confirm,
    /// Commit, leave the group, end.
    Stop(u32, Vec<(i32, i64)>),
}

/// The loop's ends of the channels.
pub struct Handle {
    pub records: mpsc::Receiver<Source>,
    pub control: mpsc::UnboundedReceiver<Control>,
    pub commands: std_mpsc::Sender<Command>,
    pub thread: JoinHandle<()>,
    pub positions: Arc<Positions>,
}

/// Subscribes and starts the thread. `handover_wait` bounds how long a rebalance waits for requests in flight.
pub fn start(shared: &Shared, handover_wait: Duration) -> KafkaResult<Handle> {
    let config = &shared.config;
    let (control_tx, control) = mpsc::unbounded_channel();
    let (records_tx, records) = mpsc::channel(CHANNEL_RECORDS);
    let (commands, commands_rx) = std_mpsc::channel();
    let instance = config.kafka.instance.clone().unwrap_or_else(random_name);
    let joining = Joining {
        config: Arc::clone(config),
        control: control_tx,
        // The loop answers within its own bound; this one is for a loop that has ended.
        reply_wait: handover_wait + Duration::from_secs(5),
        name: MemberName { instance, member: "sink".to_owned() },
        positions: Arc::new(Positions::new(shared)?),
    };
    let positions = Arc::clone(&joining.positions);
    let reader = Reader {
        consumer: joining.join()?,
        joining,
        watch: Arc::clone(&shared.watch),
        secrets: shared.watch.secrets(),
        metrics: Arc::clone(&shared.metrics),
        mending: Mending::new(kafka::session_timeout(config), Instant::now()),
        records: records_tx,
        commands: commands_rx,
        topic: Arc::from(config.topics.upserts.clone()),
        held: VecDeque::new(),
        paused: false,
    };
    let thread = std::thread::Builder::new()
        .name("sink-consumer".to_owned())
        .spawn(move || reader.run())
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    Ok(Handle { records, control, commands, thread, positions })
}

/// How the thread joins its group, for the first time and again.
struct Joining {
    config: Arc<Config>,
    control: mpsc::UnboundedSender<Control>,
    reply_wait: Duration,
    name: MemberName,
    positions: Arc<Positions>,
}

impl Joining {
    fn join(&self) -> KafkaResult<BaseConsumer<Context>> {
        let config = &self.config;
        let mut client = kafka::client_config(config);
        kafka::set_session_timeout(&mut client);
        kafka::set_metadata_interval(&mut client);
        client
            .set("client.id", self.name.client_id(config))
            .set("group.id", kafka::group(config, Stage::Sink.name()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("statistics.interval.ms", "250")
            // librdkafka's default of a second stalls a consumer that has been paused.
            .set("fetch.queue.backoff.ms", "10");
        if let Some(instance) = &config.kafka.instance {
            let name = format!("{}-sink-{instance}", config.application);
            client.set("group.instance.id", kafka::static_id(&name, &[&config.topics.upserts]));
        }
        let context = Context {
            topic: config.topics.upserts.clone(),
            control: self.control.clone(),
            assigned: Mutex::default(),
            held: Mutex::default(),
            arrived: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            reply_wait: self.reply_wait,
            positions: Arc::clone(&self.positions),
        };
        let consumer: BaseConsumer<Context> = client.create_with_context(context)?;
        consumer.subscribe(&[&config.topics.upserts])?;
        Ok(consumer)
    }
}

pub(super) struct Reader {
    consumer: BaseConsumer<Context>,
    joining: Joining,
    watch: Arc<Watch>,
    /// The secrets that the consumer was made with, as the watch counts them.
    secrets: u64,
    metrics: Arc<Metrics>,
    mending: Mending,
    records: mpsc::Sender<Source>,
    commands: std_mpsc::Receiver<Command>,
    topic: Arc<str>,
    /// Records that the channel had no room for.
    held: VecDeque<Source>,
    paused: bool,
}

impl Reader {
    fn run(mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Commit(log, offsets)) => self.commit(log, &offsets, CommitMode::Async),
                Ok(Command::Confirm) => {
                    let ours = self.confirm();
                    let _loop_gone = self.joining.control.send(Control::Confirmed(ours));
                }
                Ok(Command::Stop(log, offsets)) => {
                    self.consumer.context().closing.store(true, Ordering::Release);
                    self.commit(log, &offsets, CommitMode::Sync);
                    return let_go(self.consumer, LEAVES_WITHIN);
                }
                // The loop is gone without a word: leave the group, commit nothing.
                Err(std_mpsc::TryRecvError::Disconnected) => {
                    self.consumer.context().closing.store(true, Ordering::Release);
                    return let_go(self.consumer, LEAVES_WITHIN);
                }
                Err(std_mpsc::TryRecvError::Empty) => {}
            }
            self.hand_on();
            self.look();
            let over = self.read_for_a_while();
            if (over.is_some() || self.stands_outside()) && !self.join_again(over.as_ref()) {
                return let_go(self.consumer, LEAVES_WITHIN);
            }
        }
    }

    /// Takes what comes, until nothing does or it is time for something else. What ends the consumer.
    fn read_for_a_while(&mut self) -> Option<KafkaError> {
        let begun = Instant::now();
        loop {
            // A rebalance hands them on.
            let holds = !self.held.is_empty();
            if holds {
                std::mem::swap(&mut *lock(&self.consumer.context().held), &mut self.held);
            }
            let polled = self.consumer.poll(POLL_MAX).map(|polled| polled.map(|message| source(&self.topic, &message)));
            if holds {
                std::mem::swap(&mut *lock(&self.consumer.context().held), &mut self.held);
            }
            match polled {
                None => return None,
                Some(Ok(source)) => self.take(source),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Some(error),
                Some(Err(error)) => {
                    if let Some(times) = said::again(&format!("reading upserts: {error}")) {
                        warn!(%error, times, "reading upserts");
                    }
                }
            }
            if begun.elapsed() >= TURN {
                return None;
            }
        }
    }

    /// Whether the group has forgotten the member, or the member the group; or there are other secrets by now.
    fn stands_outside(&mut self) -> bool {
        if self.secrets != self.watch.secrets() {
            return true;
        }
        let context = self.consumer.context();
        let arrived = context.arrived.load(Ordering::Acquire);
        let owns = !lock(&context.assigned).is_empty();
        let (now, answering) = (Instant::now(), self.watch.answering_since());
        if self.mending.vigil.look(now, (arrived, owns), answering) == Verdict::Well {
            if owns {
                self.mending.well();
            }
            return false;
        }
        let listed = self.watch.listed(&kafka::group(&self.joining.config, Stage::Sink.name()), &self.joining.name);
        // The question took a while.
        let arrived = context.arrived.load(Ordering::Acquire);
        self.mending.vigil.answered(listed, arrived, Instant::now(), answering)
    }

    /// Goes on with another consumer; what this one had is given up as in a rebalance, without a commit. False where the
    /// thread shall end.
    fn join_again(&mut self, over: Option<&KafkaError>) -> bool {
        let cause = over
            .map_or_else(|| "it stands outside of its group, or secrets were changed".to_owned(), ToString::to_string);
        warn!(cause, "the sink's consumer is made anew; rows without an outcome are read again");
        self.metrics.clients_rebuilt.inc();
        let fenced = over.and_then(KafkaError::rdkafka_error_code) == Some(RDKafkaErrorCode::FencedInstanceId);
        if fenced && self.mending.fences.fenced(Instant::now(), self.watch.undisturbed()) {
            let other = self.watch.others(&kafka::group(&self.joining.config, Stage::Sink.name()), &self.joining.name);
            let twin = Twin { instance: self.joining.name.instance.clone(), other };
            let _loop_gone = self.joining.control.send(Control::Twin(twin));
        }
        let context = Arc::clone(self.consumer.context());
        context.closing.store(true, Ordering::Release);
        self.joining.positions.let_go();
        let unread = std::mem::take(&mut self.held).into();
        self.paused = false;
        let partitions = std::mem::take(&mut *lock(&context.assigned));
        let (reply, offsets) = std_mpsc::sync_channel(1);
        if self.joining.control.send(Control::Revoked { partitions, unread, reply }).is_ok() {
            // What is in flight ends first; its offsets are nobody's to commit.
            let _committed_by_nobody = offsets.recv_timeout(self.joining.reply_wait);
        }
        loop {
            let pause = self.mending.next_pause(fenced);
            if !self.pause(pause) {
                return false;
            }
            self.secrets = self.watch.secrets();
            match self.joining.join() {
                Ok(consumer) => {
                    let_go(std::mem::replace(&mut self.consumer, consumer), LEAVES_WITHIN);
                    self.mending.vigil.heard(Instant::now());
                    return true;
                }
                Err(error) => warn!(%error, "the sink's consumer cannot be made; trying again"),
            }
        }
    }

    /// Between two consumers nothing can be committed, and nothing is ours. False where the thread shall end.
    fn pause(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            match self.commands.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Command::Commit(..)) => {}
                Ok(Command::Confirm) => {
                    let _loop_gone = self.joining.control.send(Control::Confirmed(false));
                }
                Err(std_mpsc::RecvTimeoutError::Timeout) => return true,
                Ok(Command::Stop(..)) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, mut source: Source) {
        let Position { partition, offset, .. } = source.position;
        source.position.log = self.consumer.context().positions.read(partition, offset);
        self.held.push_back(source);
        self.hand_on();
    }

    /// Where the topic was made anew the group is joined anew, so that the old rows are let go first.
    fn look(&self) {
        let positions = &self.joining.positions;
        // A broker that is away would be waited for.
        if self.watch.answering_since().is_none() || !positions.due() {
            return;
        }
        let Ok(assigned) = self.consumer.assignment() else { return };
        match positions.look(&assigned) {
            Look::Well => {}
            Look::Placed(partitions) => {
                if !partitions.is_empty() {
                    info!(?partitions, "partitions that had no leader are read on");
                }
                if !self.paused {
                    self.set_paused(false);
                }
                self.consumer.context().tell_places();
                positions.stamp_placed(&self.consumer);
            }
            Look::Anew(cause) => {
                warn!(cause, "the sink joins its group anew");
                self.consumer.unsubscribe();
                if let Err(error) = self.consumer.subscribe(&[&self.topic]) {
                    warn!(%error, "subscribing to the upserts");
                }
            }
        }
    }

    /// Gives the loop what it has room for; pauses and resumes with that.
    fn hand_on(&mut self) {
        while let Some(source) = self.held.pop_front() {
            match self.records.try_send(source) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(source)) => {
                    self.held.push_front(source);
                    break;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
        if !self.held.is_empty() {
            self.paused = true;
            self.set_paused(true);
        } else if self.paused && self.records.capacity() > CHANNEL_RECORDS / 2 {
            self.paused = false;
            self.set_paused(false);
        }
    }

    fn set_paused(&self, paused: bool) {
        self.consumer.context().paused.store(paused, Ordering::Release);
        let result = self
            .consumer
            .assignment()
            .and_then(|assigned| if paused { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) })
            .and_then(|()| self.consumer.pause(&self.joining.positions.unplaced()));
        if let Err(error) = result {
            warn!(%error, paused, "pausing or resuming partitions");
        }
    }

    /// Commits once more what is committed: the group refuses that to a former member.
    fn confirm(&self) -> bool {
        if self.consumer.assignment_lost() {
            return false;
        }
        let confirmed = self.consumer.assignment().and_then(|assigned| {
            let committed = self.consumer.committed_offsets(assigned, CONFIRM_WITHIN)?;
            // An offset without our stamp may be somebody else's, and is not to look like ours.
            let mut ours = TopicPartitionList::new();
            for element in committed.elements() {
                let known = matches!(element.offset(), Offset::Offset(_));
                let mut again = ours.add_partition(element.topic(), element.partition());
                again.set_offset(if known { element.offset() } else { Offset::Offset(0) })?;
                again.set_metadata(if known { element.metadata().to_owned() } else { self.joining.positions.stamp() });
            }
            if ours.count() == 0 { Ok(()) } else { self.consumer.commit(&ours, CommitMode::Sync) }
        });
        if let Err(error) = &confirmed {
            warn!(%error, "the group does not confirm the partitions");
        }
        confirmed.is_ok()
    }

    fn commit(&self, log: u32, offsets: &[(i32, i64)], mode: CommitMode) {
        commit(&self.consumer, &self.topic, (log, offsets), mode);
    }
}

fn source(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Source {
    Source {
        topic: Arc::clone(topic),
        position: Position { log: 0, partition: message.partition(), offset: message.offset() },
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers_of(message),
    }
}
