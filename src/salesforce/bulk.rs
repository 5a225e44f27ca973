//! Bulk API 2.0: a job takes a sheet of rows as one file and writes them by itself, while nobody waits for an answer.
//!
//! A job is made, filled, closed, asked after, and its results are read: six calls for what would be hundreds. Rows are
//! told apart by their external id in the results, as Salesforce keeps no order.
//!
//! In a sheet all is text, and two texts mean something else: an empty one leaves the field as it is, `#N/A` empties it.
//! Escaping them would be simpler than [`fits_bulk`], but there is no escape: such rows must go another way.

use std::time::Duration;

use bytes::Bytes;
use csv::{Reader, StringRecord, Terminator, WriterBuilder};
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Record, RowFault};
use super::{Answer, Body, Client, Error, Request, query, safe_code};
use crate::id::SalesforceId;

/// A sheet may have 100 MB, and its results are larger: as long as Salesforce itself gives a call.
const TRANSFER_TIMEOUT: Duration = Duration::from_mins(10);

/// A value that empties its field.
const NULL: &str = "#N/A";

/// What Salesforce takes in one cell.
const CELL_UNITS_MAX: usize = 32_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum JobState {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    pub state: JobState,
    /// Rows that were tried, those that failed among them.
    pub processed: u64,
    pub failed: u64,
    /// Code of the job's error; its text may hold values of rows.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    Successful,
    Failed,
    /// Never tried, as the job failed or was aborted before.
    Unprocessed,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct JobRow {
    pub external_id: String,
    pub result: RowEnd,
}

#[derive(Clone, Debug)]
pub enum RowEnd {
    Saved { id: Option<String>, created: bool },
    Refused(RowFault),
    Unprocessed,
}

/// A job as Salesforce describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    id: String,
    state: JobState,
    #[serde(default)]
    number_records_processed: u64,
    #[serde(default)]
    number_records_failed: u64,
    error_message: Option<String>,
}

impl ResultKind {
    fn resource(self) -> &'static str {
        match self {
            Self::Successful => "successfulResults",
            Self::Failed => "failedResults",
            Self::Unprocessed => "unprocessedrecords",
        }
    }

    /// The columns that its rows are read by, beside the external id.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Successful => &["sf__Id", "sf__Created"],
            Self::Failed => &["sf__Error"],
            Self::Unprocessed => &[],
        }
    }
}

impl Client {
    /// Opens a job of upserts by the external id in this field.
    pub async fn create_job(&self, object: &str, external_id: &str) -> Result<SalesforceId, Error> {
        let body = json!({
            "object": object,
            "operation": "upsert",
            "externalIdFieldName": external_id,
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        });
        let job: Described = self.call(Method::POST, &self.path("jobs/ingest"), Some(&body)).await?;
        SalesforceId::parse(&job.id).ok_or(Error::Body { status: 200 })
    }

    /// Gives an open job its rows, once.
    pub async fn upload_job(&self, job: SalesforceId, csv: Vec<u8>) -> Result<(), Error> {
        let path = self.job_path(job, "/batches");
        let body = Body::Csv(Bytes::from(csv));
        let request = Request { method: Method::PUT, path: &path, body, timeout: Some(TRANSFER_TIMEOUT) };
        let Answer { status, .. } = self.exchange(request).await?;
        // A proxy's page has another status than what Salesforce has taken.
        if status == StatusCode::CREATED { Ok(()) } else { Err(Error::Body { status: status.as_u16() }) }
    }

    /// Lets Salesforce begin with the rows.
    pub async fn close_job(&self, job: SalesforceId) -> Result<(), Error> {
        self.set_state(job, "UploadComplete").await
    }

    /// What is written by then stays written.
    pub async fn abort_job(&self, job: SalesforceId) -> Result<(), Error> {
        self.set_state(job, "Aborted").await
    }

    async fn set_state(&self, job: SalesforceId, state: &str) -> Result<(), Error> {
        let body = json!({ "state": state });
        let _described: Described = self.call(Method::PATCH, &self.job_path(job, ""), Some(&body)).await?;
        Ok(())
    }

    pub async fn job(&self, job: SalesforceId) -> Result<JobInfo, Error> {
        let described: Described = self.call(Method::GET, &self.job_path(job, ""), None).await?;
        Ok(JobInfo {
            state: described.state,
            processed: described.number_records_processed,
            failed: described.number_records_failed,
            error: described.error_message.as_deref().and_then(error_code),
        })
    }

    /// Rows of a job that has ended.
    pub async fn job_results(
        &self,
        job: SalesforceId,
        external_id: &str,
        kind: ResultKind,
    ) -> Result<Vec<JobRow>, Error> {
        let first = self.job_path(job, &format!("/{}", kind.resource()));
        let (mut path, mut rows) = (first.clone(), Vec::new());
        loop {
            let timeout = Some(TRANSFER_TIMEOUT);
            let Answer { status, headers, body } =
                self.exchange(Request { method: Method::GET, path: &path, body: Body::None, timeout }).await?;
            rows.append(&mut read_rows(&body, external_id, kind).ok_or(Error::Body { status: status.as_u16() })?);
            match next_page(&headers) {
                None => return Ok(rows),
                Some(locator) => path = format!("{first}?locator={}", query::encode(locator)),
            }
        }
    }

    fn job_path(&self, job: SalesforceId, part: &str) -> String {
        self.path(&format!("jobs/ingest/{job}{part}"))
    }
}

/// `null` says that there is none.
fn next_page(headers: &header::HeaderMap) -> Option<&str> {
    headers.get("sforce-locator")?.to_str().ok().filter(|locator| !matches!(*locator, "" | "null"))
}

/// `InvalidBatch : Field name not found : Nope__c`
fn error_code(message: &str) -> Option<String> {
    let code = message.split(':').next().unwrap_or_default().trim();
    Some(safe_code(code.to_owned())).filter(|code| !code.is_empty())
}

/// None where these are no results of the kind. Without rows there may be no header either.
fn read_rows(csv: &[u8], external_id: &str, kind: ResultKind) -> Option<Vec<JobRow>> {
    let mut reader = Reader::from_reader(csv);
    let header = reader.headers().ok()?.clone();
    let place = |name: &str| header.iter().position(|other| other == name);
    let columns = std::iter::once(external_id).chain(kind.columns().iter().copied());
    let places: Option<Vec<usize>> = columns.map(place).collect();
    let Some(places) = places else { return header.is_empty().then(Vec::new) };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record: StringRecord = record.ok()?;
        let cell = |number: usize| places.get(number).and_then(|place| record.get(*place)).unwrap_or_default();
        let result = match kind {
            ResultKind::Successful => {
                let id = Some(cell(1).to_owned()).filter(|id| !id.is_empty());
                RowEnd::Saved { id, created: cell(2).eq_ignore_ascii_case("true") }
            }
            ResultKind::Failed => RowEnd::Refused(row_fault(cell(1))),
            ResultKind::Unprocessed => RowEnd::Unprocessed,
        };
        rows.push(JobRow { external_id: cell(0).to_owned(), result });
    }
    Some(rows)
}

/// `CODE:message:Field,Field --`, where the message may hold anything.
fn row_fault(error: &str) -> RowFault {
    let (code, rest) = error.split_once(':').filter(|(code, _)| error_code(code).is_some()).unwrap_or(("", error));
    let named = |names: &str| names.split(',').all(|name| !name.trim().contains(char::is_whitespace));
    let parts = rest.trim_end().strip_suffix("--").and_then(|rest| rest.trim_end().rsplit_once(':'));
    let (message, names) = parts.filter(|(_, names)| named(names)).unwrap_or((rest, ""));
    let fields = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    RowFault { code: code.trim().to_owned(), message: message.to_owned(), fields }
}

/// The rows as a file for a job. A field that a row lacks stays as it is, as does one whose text is empty. The rows are
/// gone through twice, as their columns come first: a hundred thousand of them at once would take half a gigabyte.
pub fn sheet<R: Iterator<Item = Record>>(rows: impl Fn() -> R) -> Vec<u8> {
    let mut columns = Record::new();
    for row in rows() {
        for name in row.keys().filter(|name| *name != "attributes") {
            if !columns.contains_key(name) {
                columns.insert(name.clone(), Value::Null);
            }
        }
    }
    let mut out = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    out.write_record(columns.keys()).expect(MEMORY);
    for row in rows() {
        for column in columns.keys() {
            match row.get(column) {
                None => out.write_field(""),
                Some(Value::Null) => out.write_field(NULL),
                Some(Value::String(text)) => out.write_field(text),
                Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
                    out.write_field(other.to_string())
                }
            }
            .expect(MEMORY);
        }
        out.write_record(None::<&[u8]>).expect(MEMORY);
    }
    out.into_inner().expect(MEMORY)
}

const MEMORY: &str = "memory takes what is written to it";

/// Whether a text arrives as it is. Carriage returns are refused as ends of lines, wherever they stand; other control
/// characters are not known to arrive.
pub fn fits_bulk(text: &str) -> bool {
    let control = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    !text.is_empty()
        && !text.trim().eq_ignore_ascii_case(NULL)
        && !text.contains(control)
        && text.encode_utf16().count() <= CELL_UNITS_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(value: Value) -> Record {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_sheet_has_every_column_once_and_leaves_out_what_a_row_does_not_say() {
        let rows = [
            json!({ "attributes": { "type": "X" }, "external_id__c": "a", "plays__c": 1, "ratio__c": 0.5 }),
            json!({ "external_id__c": "b", "name__c": "x, \"y\"\nz", "plays__c": null, "done__c": true }),
        ];
        let text = String::from_utf8(sheet(|| rows.iter().cloned().map(record))).expect("UTF-8");
        let expected =
            "external_id__c,plays__c,ratio__c,name__c,done__c\na,1,0.5,,\nb,#N/A,,\"x, \"\"y\"\"\nz\",true\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_means_something_else_in_a_sheet_does_not_fit() {
        for text in ["", "#N/A", "#n/a", " #N/A ", "a\rb", "a\r\nb", "\0", &"é".repeat(32_001)] {
            assert!(!fits_bulk(text), "{text:?}");
        }
        for text in ["#N/A or so", "a\nb\tc", "\"", ",", "=1+1", " ", &"é".repeat(32_000)] {
            assert!(fits_bulk(text), "{text:?}");
        }
    }

    #[test]
    fn an_error_of_a_row_is_taken_apart() {
        for (error, code, message, fields) in [
            (
                "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [Name]",
                &["Name"][..],
            ),
            ("A_B:one: two\nthree::X__c,Y__c --", "A_B", "one: two\nthree:", &["X__c", "Y__c"]),
            ("DUPLICATE_VALUE:Already a campaign member.:--", "DUPLICATE_VALUE", "Already a campaign member.", &[]),
            ("APEX_ERROR:it failed: no such thing --", "APEX_ERROR", "it failed: no such thing --", &[]),
            ("TooManyLockFailure:", "TooManyLockFailure", "", &[]),
            ("no code: at all:--", "", "no code: at all", &[]),
            ("", "", "", &[]),
        ] {
            let fault = row_fault(error);
            assert_eq!((fault.code.as_str(), fault.message.as_str()), (code, message), "{error:?}");
            assert_eq!(fault.fields, fields, "{error:?}");
        }
    }

    #[test]
    fn results_are_read_by_the_names_of_their_columns() {
        let csv = b"\"plays__c\",\"sf__Created\",\"external_id__c\",\"sf__Id\"\n\"1\",\"true\",\"b\",\"00v1\"\n";
        let rows = read_rows(csv, "external_id__c", ResultKind::Successful).expect("rows");
        let [JobRow { external_id, result: RowEnd::Saved { id, created: true } }] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        assert_eq!((external_id.as_str(), id.as_deref()), ("b", Some("00v1")));
        assert!(
            read_rows(csv, "external_id__c", ResultKind::Failed).is_none(),
            "without a column there are no results"
        );
        for page in ["<html></html>", "external_id__c,sf__Error\na\n", "external_id__c,sf__Error\n\"\u{ff}\",x\n"] {
            let page: Vec<u8> = page.chars().map(|letter| u8::try_from(letter).expect("Latin 1")).collect();
            assert!(read_rows(&page, "external_id__c", ResultKind::Failed).is_none(), "{page:?}");
        }
        assert_eq!(read_rows(b"", "external_id__c", ResultKind::Failed).map(|rows| rows.len()), Some(0));
    }

    #[test]
    fn an_error_of_a_job_keeps_its_code_alone() {
        let code = |message| error_code(message).unwrap_or_default();
        assert_eq!(code("InvalidBatch : Field name not found : x@y"), "InvalidBatch");
        assert_eq!(code("LineEnding:LF"), "LineEnding");
        assert_eq!(code("Sorry, x@y: no"), "");
    }

    proptest! {
        #[test]
        fn what_fits_is_read_as_it_was_written(texts in proptest::collection::vec("(\\PC|[\"#N/A,\r\n \t'\u{feff}]){0,40}", 1..40)) {
            let texts: Vec<String> = texts.into_iter().filter(|text| fits_bulk(text)).collect();
            let rows = || texts.iter().map(|text| record(json!({ "external_id__c": "a", "name__c": text })));
            let csv = sheet(rows);
            let mut reader = Reader::from_reader(csv.as_slice());
            let read: Vec<String> = reader.records().map(|row| row.expect("a row")[1].to_owned()).collect();
            prop_assert_eq!(read, texts);
        }
    }
}
