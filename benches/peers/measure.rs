//! One run of one peer: from its start until its committed offsets have reached the end, and once more to its restore.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::child::{cpu_time, memory_peak};
use crate::harness::Process;
use crate::output::{self, Rows, Written};
use crate::peer::{self, Peer, Run};

/// Between two looks at the committed offsets; what a run takes is known to this.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const READY_EVERY: Duration = Duration::from_millis(20);
/// Far more than the slowest peer needs for the default number of events.
const RUN_WITHIN: Duration = Duration::from_mins(30);
const RESTORE_WITHIN: Duration = Duration::from_mins(5);
const END_WITHIN: Duration = Duration::from_mins(1);
const OFFSETS_WITHIN: Duration = Duration::from_secs(10);

pub struct Measured {
    pub figures: Figures,
    pub rows: Rows,
}

#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub wall: Duration,
    pub cpu: Duration,
    pub broker_cpu: Duration,
    pub memory_peak: u64,
    /// With nothing on disk. None: there is nothing to restore.
    pub restore: Option<Duration>,
    /// With what it kept on disk. None: not asked of this peer.
    pub warm_restore: Option<Duration>,
    pub changelog: Written,
    pub output: Written,
}

impl Figures {
    /// For whoever watches.
    pub fn line(&self, events: u64) -> String {
        let Self { wall, cpu, broker_cpu, memory_peak, restore, warm_restore, changelog, output } = self;
        let per_cpu = per_second(events, *cpu);
        let (changelog, output) = (changelog.text(), output.text());
        format!(
            "{wall:.1?}, cpu {cpu:.1?} ({per_cpu:.0}/s), broker {broker_cpu:.1?}, {} MB, restore {restore:.1?}, \
             warm {warm_restore:.1?}, changelog {changelog}, output {output}",
            memory_peak >> 20
        )
    }
}

pub fn per_second(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64().max(f64::EPSILON)
}

pub fn measure(run: &Run<'_>) -> Measured {
    run.prepare();
    let broker = run.broker.process_id().expect("the broker is ours");
    let offsets = Offsets::of(run);
    let (mut command, _) = run.command();
    let broker_before = cpu_time(broker);
    let started = Instant::now();
    let mut process = start(run, &mut command);
    await_end(run, &offsets, &mut process);
    let mut figures = Figures {
        wall: started.elapsed(),
        cpu: cpu_time(process.id()),
        broker_cpu: cpu_time(broker).saturating_sub(broker_before),
        memory_peak: memory_peak(process.id()),
        ..Figures::default()
    };
    if !run.peer.folds() {
        return Measured { figures, rows: Rows::default() };
    }
    // With the Processor API, rows may follow their offsets by one commit; that one is outside the clock.
    thread::sleep(2 * Duration::from_millis(run.options.commit_ms));
    end(run, process);
    if run.peer == Peer::Rollbook {
        figures.warm_restore = Some(restore(run));
    }
    fs::remove_dir_all(run.folder()).expect("the folder is ours");
    figures.restore = Some(restore(run));
    let read = output::read(run);
    (figures.changelog, figures.output) = (read.changelog, read.output);
    output::delete(run);
    Measured { figures, rows: read.rows }
}

fn start(run: &Run<'_>, command: &mut std::process::Command) -> Process {
    Process::spawn(&run.id(), command).unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Starts it again, until it has its state back.
fn restore(run: &Run<'_>) -> Duration {
    let (mut command, port) = run.command();
    let started = Instant::now();
    let mut process = start(run, &mut command);
    loop {
        let Err(why) = peer::ready(&process.log(), port) else {
            let took = started.elapsed();
            end(run, process);
            return took;
        };
        check(run, &mut process, started.elapsed() < RESTORE_WITHIN, &why);
        thread::sleep(READY_EVERY);
    }
}

/// In order, so that the group does not wait for the member.
fn end(run: &Run<'_>, mut process: Process) {
    process.signal("TERM");
    process.wait(END_WITHIN).unwrap_or_else(|why| panic!("{}: {why}", run.id()));
}

fn await_end(run: &Run<'_>, offsets: &Offsets, process: &mut Process) {
    let started = Instant::now();
    while !offsets.at_end() {
        check(run, process, started.elapsed() < RUN_WITHIN, "the offsets are not at the end");
        thread::sleep(LOOK_EVERY);
    }
}

fn check(run: &Run<'_>, process: &mut Process, in_time: bool, why: &str) {
    let status = process.exited();
    assert!(in_time && status.is_none(), "{}: {why}; ended: {status:?}\n{}", run.id(), process.log_tail());
}

/// Where a group's commits stand.
struct Offsets {
    asking: BaseConsumer,
    wanted: TopicPartitionList,
    ends: Vec<i64>,
}

impl Offsets {
    fn of(run: &Run<'_>) -> Self {
        let mut client: ClientConfig = run.client();
        client.set("group.id", run.group()).set("isolation.level", "read_committed");
        let mut wanted = TopicPartitionList::new();
        for (partition, _) in (0..).zip(&run.input.ends) {
            wanted.add_partition(&run.input.topic, partition);
        }
        let asking = client.create().expect("the settings are right");
        Self { asking, wanted, ends: run.input.ends.clone() }
    }

    fn at_end(&self) -> bool {
        // A coordinator that is still being found is no offset.
        let Ok(committed) = self.asking.committed_offsets(self.wanted.clone(), OFFSETS_WITHIN) else { return false };
        let elements = committed.elements();
        // A batch of librdkafka counts the end that it reports as one more record.
        elements.iter().zip(&self.ends).all(|(element, end)| element.offset().to_raw().is_some_and(|it| it >= *end))
    }
}
