//! The parts of a job that is made and filled in one request: `job` as JSON, `content` as CSV.
//!
//! The parser waits for bytes that come over a network. Here they are all there, so that it is asked once and answers at
//! once, and calls can stay functions that nothing interrupts.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest as _, Multipart};
use axum::http::{Request, header};

use crate::emulator::org::Body;
use crate::emulator::wire::{Call, Refusal};

pub struct Parts {
    pub job: Body,
    pub content: Vec<u8>,
}

/// None: the call's body is no multipart form.
pub fn parts(call: &Call) -> Result<Option<Parts>, Refusal> {
    let kind = call.header("content-type").unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        return Ok(None);
    }
    let malformed = || Refusal::bad("INVALIDJOB", "InvalidJob : the multipart request is malformed");
    let request = Request::builder().header(header::CONTENT_TYPE, kind).body(HttpBody::from(call.body.clone()));
    let request = request.map_err(|_| malformed())?;
    let form = at_once(Multipart::from_request(request, &())).and_then(Result::ok);
    let mut form = form.ok_or_else(malformed)?;
    let (mut job, mut content) = (None, None);
    while let Some(field) = at_once(form.next_field()).and_then(Result::ok).ok_or_else(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = at_once(field.bytes()).and_then(Result::ok).ok_or_else(malformed)?;
        match name.as_str() {
            "job" => job = Some(Call { body: bytes.into(), ..Call::new(call.method, "/", "") }.json()?),
            "content" => content = Some(Vec::from(bytes)),
            _ => return Err(malformed()),
        }
    }
    Ok(Some(Parts { job: job.ok_or_else(malformed)?, content: content.ok_or_else(malformed)? }))
}

fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
