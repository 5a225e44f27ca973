//! The first token, before any row needs one.
//!
//! Without it, credentials that Salesforce refuses would be seen with the first row, which may be days after the start,
//! and an instance that can write nothing would call itself ready. An org that cannot be reached is waited for.

use std::time::Duration;

use tracing::warn;

use crate::config;
use crate::disposition::Disposition;
use crate::salesforce::{Client, Error};

/// Ends with a token, or with an error that does not pass by itself.
pub async fn first(client: Client, settings: config::Sink) -> Result<(), Error> {
    let mut backoff = settings.backoff_min;
    loop {
        let Err(error) = client.log_in().await else { return Ok(()) };
        match error.disposition() {
            Disposition::Wait(_) => warn_of(&error, backoff),
            Disposition::Delivered
            | Disposition::Retry(_)
            | Disposition::Isolate
            | Disposition::DeadLetter { .. }
            | Disposition::Hold { .. }
            | Disposition::Halt { .. } => return Err(error),
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(settings.backoff_max);
    }
}

fn warn_of(error: &Error, backoff: Duration) {
    let cause: &(dyn std::error::Error + 'static) = error;
    warn!(error = cause, ?backoff, "no token from Salesforce yet, waiting");
}
