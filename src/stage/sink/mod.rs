//! Upserts from Kafka to Salesforce, their outcomes back to Kafka.
//!
//! This room only moves things: a thread reads the topic, the [`outbox`] decides what is sent, calls run as tasks, a
//! producer records outcomes. All of them report to one loop as [`Input`]s, so the order of what happened is the
//! order in which the loop took it, and nothing is shared under a lock.
//!
//! Offsets are committed after the outcomes below them are on their topic; a crash at any point means that some rows
//! are sent a second time, by external id, which changes nothing.

mod access;
pub mod budget_metrics;
mod call;
mod consumer;
mod found;
mod handover;
pub mod jobs_topic;
pub mod metrics;
pub mod outbox;
mod parents;
mod positions;
mod recorder;
mod report;
mod standstill;
mod takeover;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use self::access::{Access, Login, Shut};
use self::consumer::{Command, Control};
use self::handover::{Ending, Handover};
use self::outbox::{Answer, Effect, Outbox, Places, Request, RequestId, Settings, Settled, Usage};
use self::recorder::{Recorded, Recorder, Report};
use self::standstill::Standstill;
use self::takeover::TakenOver;
use crate::config::{Config, Invalid};
use crate::disposition::{Disposition, Wait};
use crate::health::Pulse;
use crate::kafka::fetches::Fetches;
use crate::kafka::twins::Twin;
use crate::kafka::watch::Watch;
use crate::metrics::Metrics;
use crate::note::NoteBook;
use crate::repeated::Repeated;
use crate::salesforce::{self, ApiUsage, Client};
use crate::stage::Shared;
use crate::time::Millis;
use crate::topic_table::Topic;
use metrics::{Api, CallStatus, SinkMetrics};

/// Offsets are committed this often: a crash sends at most the rows of this time again.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Records and reports taken in one go before requests are planned.
const BURST: usize = 1_000;

/// Added to the time that a request may take before a rebalance stops waiting for it: for recording its outcome.
const RECORD_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration has no Salesforce to write to")]
    Config(#[from] Invalid),
    #[error("could not set up the Salesforce client")]
    Client(#[source] salesforce::Error),
    #[error("could not start the Kafka clients of the sink")]
    Kafka(#[source] KafkaError),
    #[error("this instance is thrown out of the sink's consumer group again and again")]
    Twin(#[source] Twin),
    #[error("the thread or a task of the sink ended by itself")]
    Ended,
}

/// Everything that can happen to the loop.
enum Input {
    Record(Box<outbox::Source>),
    Control(Control),
    Recorded(Report),
    TakenOver(TakenOver),
    Answered(Box<Answered>),
    LoggedIn(Login),
    /// A timer: a backoff is over, a commit or a hand-over is due.
    Tick,
    Shutdown,
    /// A part of the sink is gone.
    Ended,
}

struct Answered {
    request: RequestId,
    api: Api,
    result: Result<Answer, salesforce::Error>,
    took: Duration,
}

struct Sink<'a> {
    config: &'a Config,
    metrics: &'a SinkMetrics,
    process: Arc<Metrics>,
    health: Arc<Pulse>,
    /// How long a rebalance waits for requests in flight.
    handover_wait: Duration,
    access: Access,
    /// Why no call may be made, where that is so.
    shut: Option<Shut>,
    outbox: Outbox,
    calls: JoinSet<Answered>,
    /// None between a revocation and the next assignment.
    assigned: Option<Vec<i32>>,
    /// Nothing is read before it has ended.
    takeover: JoinSet<TakenOver>,
    /// Rows of each of our partitions that the thread has not read yet, as far as anybody told.
    to_read: BTreeMap<i32, usize>,
    /// What the outbox is to be told once the takeover has ended.
    places: Option<Places>,
    fetches: Fetches,
    watch: Arc<Watch>,
    records: mpsc::Receiver<outbox::Source>,
    control: mpsc::UnboundedReceiver<Control>,
    commands: std_mpsc::Sender<Command>,
    recorder: Recorder,
    recorded: mpsc::UnboundedReceiver<Report>,
    /// Outcomes that the producer has no room for yet.
    unsent: VecDeque<Box<Settled>>,
    shutdown: watch::Receiver<bool>,
    stopping: bool,
    handover: Option<Handover>,
    ending: Ending,
    /// Of the partitions that were let go at the shutdown.
    last_offsets: Vec<(i32, i64)>,
    next_commit: Instant,
    waiting: Option<Wait>,
    told: report::Told,
    /// When the next report is due, where there was one a moment ago.
    report_at: Option<Instant>,
    reported: Instant,
    said: Repeated,
    notes: watch::Receiver<Option<Arc<NoteBook>>>,
    /// Somebody reads them.
    notes_followed: bool,
    standstill: Standstill,
    clock: Clock,
}

/// Runs until `shutdown` becomes true or something stands in the way that a person must mend.
pub async fn run(shared: &Shared, metrics: &SinkMetrics) -> Result<(), Error> {
    let config = &shared.config;
    let salesforce = config.require_salesforce()?;
    let client = Client::new(salesforce).map_err(Error::Client)?;
    let handover_wait = salesforce.request_timeout + RECORD_WAIT;
    let (recorder, reports) = Recorder::new(config, &shared.metrics, &shared.watch).map_err(Error::Kafka)?;
    let handle = consumer::start(shared, handover_wait).map_err(Error::Kafka)?;
    let settling = client.clone();
    let mut sink = Sink {
        config,
        metrics,
        process: Arc::clone(&shared.metrics),
        health: shared.health.sink(),
        handover_wait,
        access: Access::new(client, shared.notes.clone(), (config.sink.backoff_min, config.sink.backoff_max)),
        shut: Some(Shut::Token),
        outbox: Outbox::new(Settings::from(&config.sink)),
        calls: JoinSet::new(),
        assigned: None,
        takeover: JoinSet::new(),
        to_read: BTreeMap::new(),
        places: None,
        fetches: Fetches::default(),
        watch: Arc::clone(&shared.watch),
        records: handle.records,
        control: handle.control,
        commands: handle.commands,
        recorder,
        recorded: reports,
        unsent: VecDeque::new(),
        shutdown: shared.shutdown.watch(),
        stopping: false,
        handover: None,
        ending: Ending::new(handle.positions),
        last_offsets: Vec::new(),
        next_commit: Instant::now() + COMMIT_INTERVAL,
        waiting: None,
        told: report::Told::default(),
        report_at: None,
        reported: Instant::now(),
        said: Repeated::default(),
        notes: shared.notes.noted().changes(),
        notes_followed: true,
        standstill: Standstill::new(Instant::now()),
        clock: Clock::start(),
    };
    let result = sink.run().await;
    let mut offsets = std::mem::take(&mut sink.last_offsets);
    offsets.extend(sink.outbox.take_committable());
    let stopped = sink.commands.send(Command::Stop(sink.outbox.log(), offsets)).is_ok();
    // Hand the channels back first: a rebalance in the thread must not wait for a loop that has ended.
    drop(sink);
    // A login that was under way may have used up a refresh token, whose successor is in the answer.
    let _too_long = tokio::time::timeout(handover_wait, settling.settled()).await;
    let joined = tokio::task::spawn_blocking(move || handle.thread.join()).await;
    match (result, joined) {
        (Ok(()), Ok(Ok(()))) if !stopped => Err(Error::Ended),
        (Ok(()), Ok(Err(_)) | Err(_)) => Err(Error::Ended),
        (result, _) => result,
    }
}

impl Sink<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            self.advance()?;
            if self.stopping && self.handover.is_none() {
                return Ok(());
            }
            let input = self.next_input().await;
            self.handle(input)?;
        }
    }

    async fn next_input(&mut self) -> Input {
        let wake = self.wake_at();
        let room = !self.stopping && self.takeover.is_empty() && self.has_room();
        tokio::select! {
            biased;
            control = self.control.recv() => control.map_or(Input::Ended, Input::Control),
            recorded = self.recorded.recv() => recorded.map_or(Input::Ended, Input::Recorded),
            Some(answered) = self.calls.join_next() => {
                answered.map_or(Input::Ended, |answered| Input::Answered(Box::new(answered)))
            }
            Some(taken_over) = self.takeover.join_next() => taken_over.map_or(Input::Ended, Input::TakenOver),
            Some(gone_below) = self.ending.answered() => {
                self.ending.take(gone_below);
                Input::Tick
            }
            login = self.access.logged_in() => Input::LoggedIn(login),
            known = self.notes.changed(), if self.notes_followed => {
                self.notes_followed = known.is_ok();
                Input::Tick
            }
            result = self.shutdown.wait_for(|stop| *stop), if !self.stopping => {
                // A sender that is gone cannot ask any more: stop as well.
                drop(result);
                Input::Shutdown
            }
            record = self.records.recv(), if room => {
                record.map_or(Input::Ended, |record| Input::Record(Box::new(record)))
            }
            () = tokio::time::sleep_until(wake) => Input::Tick,
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), Error> {
        match input {
            Input::Record(source) => self.take_records(*source),
            Input::Control(Control::Assigned(partitions)) => {
                self.takeover = JoinSet::from_iter([takeover::of(self.config.clone(), partitions.clone())]);
                for partition in &partitions {
                    self.process.lag_unknown(Topic::Upserts, *partition);
                }
                self.assigned = Some(partitions);
                self.standstill.assigned();
            }
            Input::TakenOver(TakenOver { jobs, resumed, rows }) => {
                self.outbox.restore_jobs(jobs, &resumed, self.clock.now());
                self.to_read = rows;
                self.take_places();
            }
            Input::Control(Control::Placed(places)) => {
                self.places = Some(places);
                self.take_places();
            }
            Input::Control(Control::Confirmed(ours)) => self.standstill.answered(ours, Instant::now()),
            Input::Control(Control::Lags(lags)) => self.lags(&lags),
            Input::Control(Control::Revoked { partitions, unread, reply }) => self.revoked((partitions, unread), reply),
            Input::Control(Control::Twin(twin)) => return Err(Error::Twin(twin)),
            Input::Recorded(recorded) => self.take_recorded(recorded)?,
            Input::Answered(answered) => self.answered(*answered),
            Input::LoggedIn(login) => self.access.take(login),
            Input::Tick => {}
            Input::Shutdown => self.stop(),
            Input::Ended => return Err(Error::Ended),
        }
        Ok(())
    }

    fn take_records(&mut self, first: outbox::Source) {
        let now = self.clock.now();
        self.outbox.push(first, now);
        for _ in 0..BURST {
            if !self.has_room() {
                return;
            }
            let Ok(source) = self.records.try_recv() else { return };
            self.outbox.push(source, now);
        }
    }

    fn has_room(&self) -> bool {
        self.outbox.has_room(self.config.sink.rows_pending_max)
    }

    fn take_recorded(&mut self, first: Report) -> Result<(), Error> {
        let mut next = Some(first);
        for _ in 0..=BURST {
            let Some(report) = next else { return Ok(()) };
            match self.recorder.reported(report) {
                Some(Recorded::Safe(position)) => self.outbox.recorded(position),
                Some(Recorded::Job(number)) => self.outbox.job_recorded(number),
                None => {}
            }
            next = self.recorded.try_recv().ok();
        }
        // What was taken last must not be lost.
        match next {
            Some(last) => self.take_recorded(last),
            None => Ok(()),
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { request, api, result, took } = answered;
        let status = call::status(&result);
        let said = self.access.met(&result);
        self.metrics.requests.with_label_values(&[api.name(), status.name()]).inc();
        self.metrics.request_duration.with_label_values(&[api.name()]).observe(took.as_secs_f64());
        let now = self.clock.now();
        // Else nobody told anything, and the usage is that of an earlier answer.
        let told = matches!(status, CallStatus::Ok | CallStatus::Refused4xx);
        if let Some(ApiUsage { used, limit }) = self.access.client.api_usage().filter(|_| told) {
            self.metrics.budget.told_timestamp.set(now / 1_000);
            self.metrics.api_requests_used.set(used);
            self.metrics.api_requests_limit.set(limit);
            self.outbox.tell_usage(Usage { used, limit }, now);
        }
        let answer = result.unwrap_or_else(|error| {
            let waits = matches!(error.disposition(), Disposition::Wait(_));
            if !said && (!waits || self.said.again(error.code(), Instant::now().into_std()).is_some()) {
                let cause: &(dyn std::error::Error + 'static) = &error;
                warn!(api = api.name(), code = error.code(), error = cause, "call to Salesforce failed");
            }
            Answer::Failed(call::failure(&error))
        });
        self.outbox.complete(request, answer, now);
    }

    /// What follows from the state, whatever the input was.
    fn advance(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.standstill.turn(Instant::now()) {
            warn!("the process stood still; nothing is sent until the group says that the partitions are still ours");
            self.commands.send(Command::Confirm).map_err(|_| Error::Ended)?;
        }
        let room = self.has_room();
        let at_hand = self.records.len();
        let to_read = at_hand + self.to_read.values().sum::<usize>();
        self.outbox.expect_more(at_hand > 0 && room, if room { to_read } else { 0 });
        let open = self.access.look(self.outbox.in_flight() == 0, now);
        self.shut = open.err();
        if open.is_ok_and(|open| open.forget) {
            self.outbox.forget_org(now);
        }
        while self.shut.is_none()
            && !self.standstill.unsure()
            && let Some(request) = self.outbox.next_request(now)
        {
            self.call(request);
        }
        self.take_effects(now);
        self.recorder.mend();
        if Instant::now() >= self.next_commit {
            self.next_commit = Instant::now() + COMMIT_INTERVAL;
            self.commit()?;
            self.report_budget(now);
        }
        self.hand_over();
        self.report_now_and_then();
        Ok(())
    }

    fn call(&mut self, request: Request) {
        let client = self.access.client.clone();
        let api = call::api(&request.call);
        self.calls.spawn(async move {
            let started = Instant::now();
            let result = call::make(&client, request.call).await;
            Answered { request: request.id, api, result, took: started.elapsed() }
        });
    }

    fn take_effects(&mut self, now: Millis) {
        for effect in self.outbox.take_effects() {
            match effect {
                Effect::Tombstone => self.metrics.tombstones.inc(),
                Effect::Retried(retry) => self.metrics.retries.with_label_values(&[retry.name()]).inc(),
                Effect::Held { code, hint, passes } => self.tell_held(&code, hint, passes),
                // Crash here: the job stays empty, as its upload waits for the record.
                Effect::RecordJob { number, records } => self.recorder.record_job(number, &records),
                Effect::ForgetJob { job, partitions } => self.recorder.forget_job(job, &partitions),
                Effect::JobEnded { fate, code } => self.tell_job(fate, &code),
                Effect::Settled(settled) => {
                    self.count(&settled, now);
                    self.unsent.push_back(settled);
                }
            }
        }
        while let Some(settled) = self.unsent.pop_front() {
            // Crash here: Salesforce has the row, nobody has its outcome; the row is sent again, which changes nothing.
            if !self.recorder.record(&settled) {
                self.unsent.push_front(settled);
                break;
            }
        }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let offsets = self.outbox.take_committable();
        if offsets.is_empty() {
            return Ok(());
        }
        self.commands.send(Command::Commit(self.outbox.log(), offsets)).map_err(|_| Error::Ended)
    }

    fn wake_at(&self) -> Instant {
        let now = self.clock.now();
        let outbox = self
            .outbox
            .wake_at(now)
            .filter(|_| !self.standstill.unsure())
            .map(|at| Instant::now() + Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)));
        let handover = self.handover.as_ref().map(|handover| handover.deadline);
        outbox
            .into_iter()
            .chain(handover)
            .chain(self.report_at)
            .chain(self.standstill.wake_at())
            .fold(self.next_commit, Instant::min)
    }
}

/// Wall-clock milliseconds that never run backwards, so that a corrected clock does not stretch a backoff.
struct Clock {
    started: Instant,
    at: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    fn now(&self) -> Millis {
        Millis::try_from((self.at + self.started.elapsed()).as_millis()).unwrap_or(Millis::MAX)
    }
}
