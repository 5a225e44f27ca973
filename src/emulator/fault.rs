//! Trouble on order: calls that match are delayed, answered with an error, or cut off. The next ones, or some of all,
//! by a dice whose seed makes the same calls in the same order meet the same trouble again.
//!
//! A connection cut *after* the change was applied is the case that matters most: the client cannot know what
//! happened, and only an idempotent write survives it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::wire::{Call, Method};

/// What happens to calls that match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Matches where the path contains this text; empty matches every call below `/services`.
    #[serde(default)]
    pub path: String,
    /// Matches calls whose path or rows name this object.
    #[serde(default)]
    pub object: Option<String>,
    /// Matches this HTTP method only.
    #[serde(default)]
    pub method: Option<String>,
    /// How many calls are hit. Without it one, or all that the rate chooses.
    #[serde(default)]
    pub count: Option<u64>,
    /// How many matching calls pass unharmed first.
    #[serde(default)]
    pub skip: u64,
    /// Share of the matching calls that are hit, 0 to 1.
    #[serde(default)]
    pub rate: Option<f64>,
    #[serde(default)]
    pub delay_ms: u64,
    #[serde(default)]
    pub action: FaultAction,
}

/// A file of faults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultScript {
    /// Of the dice that rates throw.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub fault: Vec<Fault>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// Only the delay; then the call goes its way.
    #[default]
    Proceed,
    /// The answer, in place of the call.
    Answer { status: u16, body: String },
    /// The connection is dropped before the call was looked at.
    CutBefore,
    /// The connection is dropped after the call was carried out.
    CutAfter,
}

/// The faults that are still to come, first match first.
pub struct Faults {
    ordered: Vec<Fault>,
    dice: fastrand::Rng,
}

impl Fault {
    /// The next call whose path contains `path`.
    pub fn next(path: &str, action: FaultAction) -> Self {
        let (path, method, object) = (path.to_owned(), None, None);
        Self { path, object, method, count: None, skip: 0, rate: None, delay_ms: 0, action }
    }

    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
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

    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<String> {
        if let FaultAction::Answer { status, .. } = self.action
            && !(200..=599).contains(&status)
        {
            return Some(format!("`status` is {status}, not 200 to 599"));
        }
        let unknown = self.method.as_deref().filter(|name| Method::parse(&name.to_uppercase()).is_none());
        let method = unknown.map(|name| format!("`method` is `{name}`, which is none"));
        let wrong = self.rate.filter(|rate| !(0.0..=1.0).contains(rate));
        method.or_else(|| wrong.map(|rate| format!("`rate` is {rate}, not 0 to 1")))
    }

    fn matches(&self, call: &Call) -> bool {
        let path = format!("/{}", call.path.join("/"));
        path.starts_with("/services")
            && path.contains(&self.path)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(call.method.name()))
            && self.object.as_deref().is_none_or(|object| names(call, object))
    }
}

/// Whether the path names the object or, where calls of all objects share a path, the body does.
fn names(call: &Call, object: &str) -> bool {
    let shared = call.path.iter().any(|segment| matches!(segment.as_str(), "composite" | "jobs"));
    call.path.iter().any(|segment| segment.eq_ignore_ascii_case(object))
        || shared && serde_json::from_slice(&call.body).is_ok_and(|body| body_names(&body, object))
}

/// In the type of a row, the URL of a subrequest, or the object of a job.
fn body_names(value: &Value, object: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| body_names(item, object)),
        Value::Object(members) => members.iter().any(|(key, value)| match (key.as_str(), value) {
            ("type" | "object" | "url", Value::String(text)) => {
                text.split(['/', '?']).any(|part| part.eq_ignore_ascii_case(object))
            }
            (_, value) => body_names(value, object),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl FaultAction {
    /// An answer in Salesforce's envelope.
    pub fn refuse(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!([{ "message": message, "errorCode": code }]);
        Self::Answer { status, body: body.to_string() }
    }
}

impl FaultScript {
    /// Reads TOML; says what is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let problem = script.fault.iter().enumerate().find_map(|(at, fault)| Some((at + 1, fault.problem()?)));
        problem.map_or(Ok(script), |(number, problem)| Err(format!("fault {number}: {problem}")))
    }
}

impl FaultAction {
    /// Fit for a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proceed => "delay",
            Self::Answer { .. } => "answer",
            Self::CutBefore => "cut_before",
            Self::CutAfter => "cut_after",
        }
    }
}

impl Faults {
    pub fn new(script: FaultScript) -> Self {
        Self { ordered: script.fault, dice: fastrand::Rng::with_seed(script.seed) }
    }

    pub fn add(&mut self, fault: Fault) {
        self.ordered.push(fault);
    }

    pub fn clear(&mut self) {
        self.ordered.clear();
    }

    /// The fault that hits this call, if any; it is used up by one.
    pub fn take(&mut self, call: &Call) -> Option<(Duration, FaultAction)> {
        for at in 0..self.ordered.len() {
            let Some(fault) = self.ordered.get_mut(at).filter(|fault| fault.matches(call)) else { continue };
            if fault.skip > 0 {
                fault.skip -= 1;
                return None;
            }
            if fault.rate.is_some_and(|rate| self.dice.f64() >= rate) {
                continue;
            }
            let hit = (Duration::from_millis(fault.delay_ms), fault.action.clone());
            let left = fault.count.or(fault.rate.is_none().then_some(1)).map(|count| count.saturating_sub(1));
            fault.count = left;
            if left == Some(0) {
                self.ordered.remove(at);
            }
            return Some(hit);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_as_often_as_ordered() {
        let mut faults = Faults::new(FaultScript::default());
        faults.add(Fault::next("/composite", FaultAction::CutAfter).times(2).after(1).method("PATCH"));
        let mut take =
            |method| faults.take(&Call::new(method, "/services/data/v62.0/composite/sobjects", "")).is_some();
        assert!(!take(Method::Get));
        assert_eq!([Method::Patch; 4].map(take), [false, true, true, false]);
    }
    #[test]
    fn a_rate_hits_its_share_and_the_same_calls_again() {
        let run = |seed| {
            let text = format!("seed = {seed}\n[[fault]]\nrate = 0.25\naction = \"cut_before\"");
            let mut faults = Faults::new(FaultScript::parse(&text).expect("a good script"));
            let call = Call::new(Method::Get, "/services/data", "");
            (0..1_000).map(|_| faults.take(&call).is_some()).collect::<Vec<_>>()
        };
        let hits = run(7).into_iter().filter(|hit| *hit).count();
        assert!((200..300).contains(&hits), "{hits} of 1000");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn an_object_is_found_in_the_path_and_in_what_rows_say() {
        let fault = Fault { object: Some("CampaignMember".to_owned()), ..Fault::next("", FaultAction::CutBefore) };
        let call = |path: &str, body: &str| Call { body: body.into(), ..Call::new(Method::Post, path, "") };
        let rows = r#"{"records":[{"attributes":{"type":"CampaignMember"}}]}"#;
        let inner = r#"{"compositeRequest":[{"url":"/services/data/v62.0/sobjects/campaignmember/00v"}]}"#;
        let other = r#"{"records":[{"attributes":{"type":"Lead"},"Title":"CampaignMember"}]}"#;
        let data = "/services/data/v62.0";
        assert!(fault.matches(&call(&format!("{data}/sobjects/CAMPAIGNMEMBER/00v"), "")));
        assert!(fault.matches(&call(&format!("{data}/composite/sobjects"), rows)));
        assert!(fault.matches(&call(&format!("{data}/composite"), inner)));
        assert!(fault.matches(&call(&format!("{data}/jobs/ingest"), r#"{"object":"CampaignMember"}"#)));
        assert!(!fault.matches(&call(&format!("{data}/composite/sobjects"), other)));
        assert!(!fault.matches(&call(&format!("{data}/sobjects/Lead"), rows)));
    }

    #[test]
    fn a_script_says_what_is_wrong_with_it() {
        for (text, wrong) in [
            ("[[fault]]\nrate = 1.5", "fault 1: `rate` is 1.5, not 0 to 1"),
            ("[[fault]]\n[[fault]]\nmethod = \"FETCH\"", "fault 2: `method` is `FETCH`, which is none"),
            (
                "[[fault]]\naction = { answer = { status = 99, body = \"\" } }",
                "fault 1: `status` is 99, not 200 to 599",
            ),
            ("[[fault]]\npaht = \"x\"", "unknown field `paht`"),
        ] {
            let said = FaultScript::parse(text).expect_err(text);
            assert!(said.contains(wrong), "{said}");
        }
    }
}
