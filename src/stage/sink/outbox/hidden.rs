//! What refuses every row of an object: a field or a right that was taken away while it runs.
//!
//! Ending the process would stop the members, the other objects and the fold for one field of one object. Its rows wait
//! instead, and one of them is tried now and then; the reason names object and field, wherever it is told.

use super::held::Obstacle;
use super::row::Key;
use super::{AskedFor, Failure, InFlight, Outbox, RequestId};
use crate::disposition::{Disposition, Reach};
use crate::time::Millis;
use crate::upsert::Object;

/// Whether a refusal concerns all rows of an object, or of the org.
fn of_all(disposition: Disposition) -> bool {
    matches!(disposition, Disposition::Hold { reach: Reach::Object | Reach::Org, .. })
}

/// Whether a refusal concerns the row's whole object.
pub(super) fn of_object(disposition: Disposition) -> bool {
    matches!(disposition, Disposition::Hold { reach: Reach::Object, .. })
}

/// The code, the object, and the field where Salesforce named one.
fn reason(object: Object, failure: &Failure) -> String {
    let code = if failure.code.is_empty() { "no_code" } else { &failure.code };
    match failure.fields.first() {
        Some(field) => format!("{code} {}.{field}", object.api_name()),
        None => format!("{code} {}", object.api_name()),
    }
}

impl Outbox {
    /// Holds rows of a request that was refused for all of them. False: it was refused for something else.
    pub(super) fn hold_all(&mut self, keys: &[Key], failure: &Failure, now: Millis) -> bool {
        let Disposition::Hold { hint, reach } = failure.disposition else { return false };
        if !of_all(failure.disposition) {
            return false;
        }
        for key in keys {
            // What holds the whole org is one cause, whoever met it, and however.
            let code = if reach == Reach::Org { failure.code.clone() } else { reason(key.object, failure) };
            self.hold(key, Obstacle { code: &code, hint, reach, passes: false }, now);
        }
        true
    }

    /// Holds the rows that need the answer to a question that may not be asked; others go on. False: it was refused for
    /// something else, or no row needs it.
    pub(super) fn hold_asking(&mut self, id: RequestId, request: &InFlight, failure: &Failure, now: Millis) -> bool {
        let Disposition::Hold { hint, .. } = failure.disposition else { return false };
        let keys: Vec<Key> = match &request.call {
            AskedFor::Records(asked) => asked.iter().flat_map(|parent| self.queue.of_parent(parent)).collect(),
            AskedFor::ManyStatuses(asked) => {
                asked.iter().flat_map(|campaign| self.queue.of_statuses(campaign)).collect()
            }
            AskedFor::Statuses(campaign) => self.queue.of_statuses(campaign),
            AskedFor::People => request.keys.iter().filter(|key| self.queue.in_request(key, id)).cloned().collect(),
            AskedFor::Save { .. } | AskedFor::Parents(_) | AskedFor::Limits | AskedFor::Job(_) => return false,
        };
        // Of the others members are what it is about.
        let asked = if let AskedFor::Records(asked) = &request.call { asked.first() } else { None };
        let code = reason(asked.map_or(Object::CAMPAIGN_MEMBER, |key| key.object), failure);
        for key in keys {
            self.hold(&key, Obstacle { code: &code, hint, reach: Reach::Row, passes: false }, now);
        }
        true
    }
}
