//! What the demo says at the end: a table, one member in full, and whether it all holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::Options;
use super::conference::Conference;
use super::numbers::{Latency, Numbers};
use super::reference::{Fields, Rows};
use crate::upsert::Object;

/// Differences that are listed; the rest are counted.
const DIFFERENCES_SHOWN: usize = 10;

pub struct Report {
    pub options: Options,
    pub broker: String,
    pub took: Duration,
    /// Records that the demo sent.
    pub sent: usize,
    pub numbers: Numbers,
    pub faults: Faults,
    pub api_calls: u64,
    pub latency: Latency,
    /// Empty: the org equals the reference fold.
    pub differences: Vec<String>,
    pub member: Option<Shown>,
    /// Rows in the org by object.
    pub rows: BTreeMap<&'static str, usize>,
}

/// What must have been ignored and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    pub ignored: u64,
    pub refused: u64,
    pub rows_refused: u64,
}

impl Faults {
    pub fn of(conference: &Conference) -> Self {
        Self {
            ignored: conference.ignored.values().sum(),
            refused: conference.refused.values().sum(),
            rows_refused: conference.rows_refused,
        }
    }
}

/// Every row of one member.
pub struct Shown(Vec<(String, Fields)>);

impl Shown {
    /// A member with a row of each object that has any, and as few as possible.
    pub fn of(rows: &Rows) -> Option<Self> {
        let members = rows.keys().filter(|(object, _)| object == Object::CAMPAIGN_MEMBER.api_name());
        let all = members.map(|(_, member)| {
            let belongs = |external_id: &str| external_id == member || external_id.starts_with(&format!("{member}_"));
            let mut of_member: Vec<(String, Fields)> = rows
                .iter()
                .filter(|((_, id), _)| belongs(id))
                .map(|((object, _), fields)| (object.clone(), fields.clone()))
                .collect();
            of_member.sort_by_key(|(object, _)| Object::from_api_name(object));
            Self(of_member)
        });
        let objects: BTreeSet<&String> = rows.keys().map(|(object, _)| object).collect();
        let has_each = |shown: &Self| objects.iter().all(|wanted| shown.0.iter().any(|(object, _)| object == *wanted));
        all.take(MEMBERS_LOOKED_AT).filter(has_each).min_by_key(|shown| shown.0.len())
    }
}

/// Any of the first will do; looking at all of them would take longer than it is worth.
const MEMBERS_LOOKED_AT: usize = 100;

pub fn count(rows: &Rows) -> BTreeMap<&'static str, usize> {
    let of = |name: &str| rows.keys().filter(|(object, _)| object == name).count();
    Object::ALL.iter().map(|object| (object.api_name(), of(object.api_name()))).collect()
}

impl Report {
    pub fn org_equals_reference(&self) -> bool {
        self.differences.is_empty()
    }

    /// Every record that was sent is accounted for, and what was bad was found.
    pub fn balance(&self) -> bool {
        let read_once = self.numbers.consumed - self.numbers.rerouted.min(self.numbers.consumed);
        self.numbers.balance()
            && u64::try_from(self.sent).is_ok_and(|sent| sent == read_once)
            && self.numbers.ignored == self.faults.ignored
            && self.numbers.refused == self.faults.refused
    }

    pub fn holds(&self) -> bool {
        self.org_equals_reference() && self.balance()
    }

    fn members(&self) -> usize {
        self.rows.get(Object::CAMPAIGN_MEMBER.api_name()).copied().unwrap_or_default()
    }

    /// In hundredths, as it is shown. Every member of the conference is a changed one.
    fn calls_per_thousand(&self) -> Option<f64> {
        let members = u32::try_from(self.members()).ok().filter(|members| *members > 0)?;
        let calls = u32::try_from(self.api_calls).ok()?;
        Some((f64::from(calls) * 100_000.0 / f64::from(members)).round() / 100.0)
    }

    pub fn to_json(&self) -> Value {
        let member = self.member.iter().flat_map(|shown| &shown.0);
        let member: Vec<Value> = member.map(|(object, fields)| json!({ "object": object, "fields": fields })).collect();
        json!({
            "seed": self.options.seed,
            "broker": self.broker,
            "seconds": self.took.as_secs_f64(),
            "sent": self.sent,
            "numbers": self.numbers,
            "rows": self.rows,
            "rows_refused_by_the_fold": self.faults.rows_refused,
            "api_calls": self.api_calls,
            "calls_per_1000_changed_members": self.calls_per_thousand(),
            "latency_seconds": self.latency,
            "balance": self.balance(),
            "org_equals_reference": self.org_equals_reference(),
            "differences": self.differences.len(),
            "first_differences": self.differences.iter().take(DIFFERENCES_SHOWN).collect::<Vec<_>>(),
            "member": member,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Shown(rows)) = &self.member {
            writeln!(f, "One member, as Salesforce holds it:")?;
            for (object, fields) in rows {
                write!(f, "\n  {object}\n{}", listed(fields))?;
            }
            writeln!(f)?;
        }
        for (what, value) in self.lines() {
            writeln!(f, "{what:<44}{value:>14}")?;
        }
        writeln!(f)?;
        self.equation(f)?;
        self.verdict(f)
    }
}

impl Report {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let numbers = &self.numbers;
        let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.2} s"));
        let rate = self.calls_per_thousand().map_or("-".to_owned(), |calls| format!("{calls:.2}"));
        let mut lines = vec![
            ("Records sent", self.sent.to_string()),
            ("  changed an aggregate", numbers.changed.to_string()),
            ("  changed nothing (duplicates and the like)", numbers.unchanged.to_string()),
            ("  ignored", numbers.ignored.to_string()),
            ("  refused", numbers.refused.to_string()),
            ("  rerouted first (wrong key or partition)", numbers.rerouted.to_string()),
            ("Members", self.members().to_string()),
        ];
        lines.extend(self.rows.iter().skip(1).map(|(object, rows)| (*object, rows.to_string())));
        lines.extend([
            ("Upserts", numbers.upserts.to_string()),
            ("  created", numbers.rows_created.to_string()),
            ("  updated", numbers.rows_updated.to_string()),
            ("  superseded by a newer version", numbers.rows_superseded.to_string()),
            ("  refused by Salesforce", numbers.rows_dead_lettered.to_string()),
            ("Dead letters: refused records and rows", numbers.dead_letters.to_string()),
            ("API calls", self.api_calls.to_string()),
            ("API calls per 1,000 changed members", rate),
            ("Event to Salesforce, p50", seconds(self.latency.p50)),
            ("Event to Salesforce, p99", seconds(self.latency.p99)),
            ("Took", format!("{:.1} s", self.took.as_secs_f64())),
        ]);
        lines
    }

    fn equation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { consumed, changed, unchanged, ignored, refused, rerouted, .. } = self.numbers;
        let sign = if self.balance() { "=" } else { "is not" };
        writeln!(f, "consumed {sign} changed + unchanged + ignored + refused:")?;
        let read_once = consumed - rerouted.min(consumed);
        write!(f, "{read_once} {sign} {changed} + {unchanged} + {ignored} + {refused}")?;
        writeln!(f, "  (and {rerouted} read a second time after rerouting)")?;
        let Faults { ignored, refused, .. } = self.faults;
        writeln!(f, "Sent {}, of them {ignored} to be ignored and {refused} to be refused.", self.sent)
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.org_equals_reference() {
            let rows: usize = self.rows.values().sum();
            return writeln!(f, "The org equals the reference fold: {rows} rows compared, field by field.");
        }
        writeln!(
            f,
            "The org differs from the reference fold; rows and fields that differ: {}",
            self.differences.len()
        )?;
        self.differences.iter().take(DIFFERENCES_SHOWN).try_for_each(|difference| writeln!(f, "  {difference}"))
    }
}

/// The fields that hold something, then the names of the empty ones.
fn listed(fields: &Fields) -> String {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(text, "    {name:<48}{value}").expect("a string takes every text");
    }
    let empty: Vec<&str> = fields.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.as_str()).collect();
    if !empty.is_empty() {
        writeln!(text, "    empty: {}", empty.join(", ")).expect("a string takes every text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let numbers = Numbers {
            consumed: 11,
            rerouted: 1,
            changed: 6,
            unchanged: 1,
            ignored: 1,
            refused: 2,
            ..Numbers::default()
        };
        Report {
            options: Options { seed: 1, members: 2, bootstrap: None },
            broker: "mock".to_owned(),
            took: Duration::from_secs(1),
            sent: 10,
            numbers,
            faults: Faults { ignored: 1, refused: 2, rows_refused: 0 },
            api_calls: 3,
            latency: Latency { p50: Some(0.1), p99: None },
            differences: Vec::new(),
            member: None,
            rows: BTreeMap::from([("CampaignMember", 2)]),
        }
    }

    #[test]
    fn an_org_that_differs_or_a_record_unaccounted_for_fails_the_demo() {
        assert!(report().holds());
        let differs = Report { differences: vec!["a row is missing".to_owned()], ..report() };
        assert!(!differs.holds());
        assert!(differs.to_string().contains("that differ: 1"));
        assert!(!Report { sent: 11, ..report() }.holds(), "a record that was never read");
        let uncounted = Numbers { changed: 5, ..report().numbers };
        assert!(!Report { numbers: uncounted, ..report() }.holds(), "a record without an outcome");
        let excused = Numbers { unchanged: 2, refused: 1, ..report().numbers };
        assert!(!Report { numbers: excused, ..report() }.holds(), "a bad record that was taken");
    }

    #[test]
    fn calls_are_told_per_thousand_members() {
        assert_eq!(report().calls_per_thousand(), Some(1_500.0));
        assert_eq!(Report { rows: BTreeMap::new(), ..report() }.calls_per_thousand(), None);
    }
}
