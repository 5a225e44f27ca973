//! What a job leaves behind, as CSV in the form that the job asked for.
//!
//! The rows of an ingest job come back in another order than they went in: Salesforce promises none, and a client that
//! counts on it has to notice here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use csv::{QuoteStyle, StringRecord, Terminator, Writer, WriterBuilder};

use crate::emulator::jobs::{Format, Ingest, Kind, Outcome, State, Task, wrong_state};
use crate::emulator::service::Service;
use crate::emulator::wire::{DataCall, Method, Refusal, Reply};
use crate::id::SalesforceId;

/// From this version on failed rows tell the record's id.
const FAILED_ID_SINCE: u32 = 53;
/// Of a page of a query's results, if the client does not say.
const PAGE_ROWS: usize = 50_000;

/// `/jobs/ingest/ID/successfulResults` and its siblings.
pub fn ingest(service: &mut Service, call: &DataCall<'_>, id: &str, part: &str) -> Result<Reply, Refusal> {
    let known = matches!(part, "successfulresults" | "failedresults" | "unprocessedrecords");
    known.then_some(()).ok_or_else(Refusal::not_found)?;
    call.call.only(&[Method::Get, Method::Head])?;
    let job = service.jobs.get(Kind::Ingest, id)?;
    if !job.state.ended() {
        return Err(wrong_state(format!("Results of a Job in state {} not allowed", job.state.name())));
    }
    let Task::Ingest(ingest) = &job.task else { return Err(Refusal::not_found()) };
    let mut out = Out::new(job.format);
    match part {
        "successfulresults" => {
            out.row(&["sf__Id", "sf__Created"], &header(ingest, job.format));
            for (row, outcome) in rows(ingest, job.format).rev() {
                if let Some(Outcome::Done { id, created }) = outcome {
                    out.row(&[id.as_str(), if *created { "true" } else { "false" }], &row);
                }
            }
        }
        "failedresults" => {
            let with_id = call.version >= FAILED_ID_SINCE;
            let names: &[&str] = if with_id { &["sf__Id", "sf__Error"] } else { &["sf__Error"] };
            out.row(names, &header(ingest, job.format));
            for (row, outcome) in rows(ingest, job.format).rev() {
                if let Some(Outcome::Failed { id, error }) = outcome {
                    let id = id.as_ref().map_or("", SalesforceId::as_str);
                    let values: &[&str] = if with_id { &[id, error] } else { &[error] };
                    out.row(values, &row);
                }
            }
        }
        _ => {
            out.row(&[], &header(ingest, job.format));
            for (row, _) in rows(ingest, job.format).filter(|(_, outcome)| outcome.is_none()) {
                out.row(&[], &row);
            }
        }
    }
    Ok(Reply::text(200, "text/csv", out.end()))
}

fn header(ingest: &Ingest, format: Format) -> StringRecord {
    match &ingest.table {
        Some(table) => table.header.clone(),
        None => unread(ingest, format).into_iter().next().unwrap_or_default(),
    }
}

/// Every row as it came in, with what became of it.
fn rows(ingest: &Ingest, format: Format) -> impl DoubleEndedIterator<Item = (StringRecord, Option<&Outcome>)> {
    let rows: Vec<StringRecord> = match (&ingest.table, &ingest.content) {
        (Some(table), Some(content)) => table.rows(content, format, 0..table.len()).map(|(row, _)| row).collect(),
        _ => unread(ingest, format).into_iter().skip(1).collect(),
    };
    let outcomes: Vec<Option<&Outcome>> = (0..rows.len()).map(|at| ingest.outcomes.get(at)).collect();
    rows.into_iter().zip(outcomes)
}

/// The lines of a job that was never carried out: aborted before, or not in the form that it said.
fn unread(ingest: &Ingest, format: Format) -> Vec<StringRecord> {
    let text = String::from_utf8_lossy(ingest.content.as_deref().unwrap_or_default());
    let mut reader = csv::ReaderBuilder::new();
    let mut reader =
        reader.has_headers(false).flexible(true).delimiter(format.delimiter()).from_reader(text.as_bytes());
    reader.records().filter_map(Result::ok).collect()
}

/// `/jobs/query/ID/results`
pub fn query(service: &mut Service, call: &DataCall<'_>, id: &str) -> Result<Reply, Refusal> {
    call.call.only(&[Method::Get, Method::Head])?;
    let job = service.jobs.get(Kind::Query, id)?;
    let Task::Query(query) = &job.task else { return Err(Refusal::not_found()) };
    if job.state != State::JobComplete {
        return Err(wrong_state(format!("Results of a Job in state {} not allowed", job.state.name())));
    }
    if job.version != call.version {
        let message = format!("the job was created with API version {}.0", job.version);
        return Err(Refusal::new(409, "INVALIDVERSION", message));
    }
    let invalid = |name: &str| Refusal::bad("INVALIDVALUE", format!("InvalidValue : {name} is invalid"));
    let count = match call.call.param("maxRecords") {
        None => PAGE_ROWS,
        Some(text) => text.parse().ok().filter(|count| *count > 0).ok_or_else(|| invalid("maxRecords"))?,
    };
    let from = match call.call.param("locator").filter(|locator| !locator.is_empty()) {
        None => 0,
        Some(locator) => place(locator).filter(|from| *from < query.rows.len()).ok_or_else(|| invalid("locator"))?,
    };
    let to = query.rows.len().min(from.saturating_add(count));
    let mut out = Out::new(job.format);
    out.row(&[], &query.header.iter().collect());
    let page = query.rows.get(from..to).unwrap_or_default();
    for row in page {
        out.row(&[], row);
    }
    let more = to < query.rows.len();
    let locator = if more { STANDARD_NO_PAD.encode(to.to_string()) } else { "null".to_owned() };
    let reply = Reply::text(200, "text/csv", out.end());
    Ok(reply.with_header("Sforce-Locator", locator).with_header("Sforce-NumberOfRecords", page.len().to_string()))
}

/// The row that a locator stands for.
fn place(locator: &str) -> Option<usize> {
    String::from_utf8(STANDARD_NO_PAD.decode(locator).ok()?).ok()?.parse().ok()
}

/// CSV on its way out: every value in quotes.
struct Out(Writer<Vec<u8>>);

impl Out {
    fn new(format: Format) -> Self {
        let terminator = if format.crlf { Terminator::CRLF } else { Terminator::Any(b'\n') };
        let mut writer = WriterBuilder::new();
        let writer = writer.quote_style(QuoteStyle::Always).delimiter(format.delimiter()).terminator(terminator);
        Self(writer.flexible(true).from_writer(Vec::new()))
    }

    fn row(&mut self, before: &[&str], row: &StringRecord) {
        let values = before.iter().copied().chain(row);
        self.0.write_record(values).expect("memory takes what is written to it");
    }

    fn end(self) -> String {
        let bytes = self.0.into_inner().expect("memory takes what is written to it");
        String::from_utf8(bytes).expect("only text was written")
    }
}
