//! Writes the load while others are killed: one chunk for each step, in small pieces.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::site::Site;
use super::storm::Sent;
use crate::harness::{Record, Writer};

/// Records that are written and waited for in one go, so that a chunk is not one burst.
const PIECE: usize = 25;

/// Where a record of a conference stands: topic, partition, offset; which day, which record.
pub type Place = ((String, i32, i64), (usize, usize));

pub struct Feeder {
    releases: Sender<()>,
    thread: JoinHandle<Vec<Place>>,
}

impl Feeder {
    pub fn start(site: &Site, chunks: Vec<Vec<Sent<'_>>>) -> Self {
        let chunk = |chunk: Vec<Sent<'_>>| {
            let records = chunk.into_iter().map(|sent| (site.names.record(sent.record), (sent.day, sent.number)));
            records.collect::<Vec<_>>()
        };
        let chunks: Vec<Vec<(Record, (usize, usize))>> = chunks.into_iter().map(chunk).collect();
        let (releases, released) = channel();
        let client = site.client();
        let thread = thread::spawn(move || feed(&client, chunks, &released));
        Self { releases, thread }
    }

    /// The next chunk may go.
    pub fn release(&self) {
        // A feeder that has panicked says so when it is waited for.
        let _ = self.releases.send(());
    }

    /// Waits until everything is written.
    pub fn finish(self) -> Vec<Place> {
        drop(self.releases);
        self.thread.join().expect("every record is written")
    }
}

fn feed(client: &rdkafka::ClientConfig, chunks: Vec<Vec<(Record, (usize, usize))>>, go: &Receiver<()>) -> Vec<Place> {
    let (writer, mut places) = (Writer::new(client), Vec::new());
    for chunk in chunks {
        if go.recv().is_err() {
            break;
        }
        for piece in chunk.chunks(PIECE) {
            let records: Vec<Record> = piece.iter().map(|(record, _)| record.clone()).collect();
            let written = writer.write(&records);
            for ((record, of), (partition, offset)) in piece.iter().zip(written) {
                places.push(((record.topic.clone(), partition, offset), *of));
            }
        }
    }
    places
}
