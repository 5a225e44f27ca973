//! Trouble on order: the next calls that match a path are delayed, answered with an error, or cut off.
//!
//! A connection cut *after* the change was applied is the case that matters most: the client cannot know what
//! happened, and only an idempotent write survives it.

use std::time::Duration;

use serde::Deserialize;

use super::wire::Call;

/// What happens to the next calls that match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Matches where the path contains this text; empty matches every call below `/services`.
    #[serde(default)]
    pub path: String,
    /// Matches this HTTP method only.
    #[serde(default)]
    pub method: Option<String>,
    /// How many calls are hit.
    #[serde(default = "once")]
    pub count: u64,
    /// How many matching calls pass unharmed first.
    #[serde(default)]
    pub skip: u64,
    #[serde(default)]
    pub delay_ms: u64,
    pub action: FaultAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// Only the delay; then the call goes its way.
    Proceed,
    /// The answer, in place of the call.
    Answer { status: u16, body: String },
    /// The connection is dropped before the call was looked at.
    CutBefore,
    /// The connection is dropped after the call was carried out.
    CutAfter,
}

/// The faults that are still to come, first match first.
#[derive(Default)]
pub struct Faults(Vec<Fault>);

fn once() -> u64 {
    1
}

impl Fault {
    /// The next call whose path contains `path`.
    pub fn next(path: &str, action: FaultAction) -> Self {
        Self { path: path.to_owned(), method: None, count: 1, skip: 0, delay_ms: 0, action }
    }

    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    fn matches(&self, call: &Call) -> bool {
        let path = format!("/{}", call.path.join("/"));
        path.starts_with("/services")
            && path.contains(&self.path)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(call.method.name()))
    }
}

impl FaultAction {
    /// An answer in Salesforce's envelope.
    pub fn refuse(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!([{ "message": message, "errorCode": code }]);
        Self::Answer { status, body: body.to_string() }
    }
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that hits this call, if any; it is used up by one.
    pub fn take(&mut self, call: &Call) -> Option<(Duration, FaultAction)> {
        let at = self.0.iter().position(|fault| fault.matches(call))?;
        let fault = self.0.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let hit = (Duration::from_millis(fault.delay_ms), fault.action.clone());
        fault.count = fault.count.saturating_sub(1);
        if fault.count == 0 {
            self.0.remove(at);
        }
        Some(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Method;
    use super::*;

    #[test]
    fn a_fault_hits_as_often_as_ordered() {
        let mut faults = Faults::default();
        faults.add(Fault::next("/composite", FaultAction::CutAfter).times(2).after(1).method("PATCH"));
        let mut take =
            |method| faults.take(&Call::new(method, "/services/data/v62.0/composite/sobjects", "")).is_some();
        assert!(!take(Method::Get));
        assert_eq!([Method::Patch; 4].map(take), [false, true, true, false]);
    }
}
