//! The parts of a job that is made and filled in one request: `job` as JSON, `content` as CSV.

use crate::emulator::org::Body;
use crate::emulator::wire::{Call, Refusal};

pub struct Parts {
    pub job: Body,
    pub content: Vec<u8>,
}

/// None: the call's body is no multipart form.
pub fn parts(call: &Call) -> Result<Option<Parts>, Refusal> {
    if !call.header("content-type").unwrap_or_default().starts_with("multipart/form-data") {
        return Ok(None);
    }
    let malformed = || Refusal::bad("INVALIDJOB", "InvalidJob : the multipart request is malformed");
    let (mut job, mut content) = (None, None);
    for part in &call.parts {
        match part.name.as_str() {
            "job" => job = Some(Call { body: part.content.clone(), ..Call::new(call.method, "/", "") }.json()?),
            "content" => content = Some(part.content.clone()),
            _ => return Err(malformed()),
        }
    }
    Ok(Some(Parts { job: job.ok_or_else(malformed)?, content: content.ok_or_else(malformed)? }))
}
