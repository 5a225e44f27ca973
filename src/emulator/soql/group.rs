//! `GROUP BY` and aggregates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::plan::{Groups, Key, Route, Source};
use super::query::Function;
use super::rows::{Context, Rows};
use crate::emulator::schema::FieldKind;

/// One group: its rows, the first of which stands for the key's spelling.
type Group<'a, R> = Vec<&'a R>;

/// A record of type `AggregateResult` for each group, in the asked order, else in that of the keys.
pub(super) fn records<R: Rows>(groups: &Groups<'_>, context: &Context<'_, R>, rows: &[&R::Row]) -> Vec<Value> {
    let mut found: BTreeMap<Vec<Option<Key>>, Group<'_, R::Row>> = BTreeMap::new();
    if groups.by.is_empty() {
        // Aggregates over everything have one row, also over nothing.
        found.insert(Vec::new(), rows.to_vec());
    } else {
        for row in rows {
            let key = groups.by.iter().map(|route| route.key(context, row)).collect();
            found.entry(key).or_default().push(row);
        }
    }
    let mut found: Vec<Group<'_, R::Row>> = found.into_values().collect();
    if !groups.order.is_empty() {
        found.sort_by_cached_key(|group| {
            let keys = groups.order.iter().map(|order| {
                let value = source_value(&order.source, groups, context, group);
                Ordered { key: sort_key(&order.source, groups, &value), direction: order.direction }
            });
            keys.collect::<Vec<_>>()
        });
    }
    found.iter().map(|group| record(groups, context, group)).collect()
}

/// A sort key that knows its direction.
struct Ordered {
    key: Option<Key>,
    direction: super::plan::Direction,
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.direction.compare(self.key.as_ref(), other.key.as_ref())
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

fn sort_key(source: &Source<'_>, groups: &Groups<'_>, value: &Value) -> Option<Key> {
    let route = match source {
        Source::Key(at) => groups.by.get(*at)?,
        Source::Aggregate(_, route) => route,
    };
    Key::of(route.field, value)
}

fn record<R: Rows>(groups: &Groups<'_>, context: &Context<'_, R>, group: &Group<'_, R::Row>) -> Value {
    let mut record = Map::new();
    record.insert("attributes".to_owned(), json!({ "type": "AggregateResult" }));
    for column in &groups.columns {
        record.insert(column.name.clone(), source_value(&column.source, groups, context, group));
    }
    Value::Object(record)
}

fn source_value<R: Rows>(
    source: &Source<'_>,
    groups: &Groups<'_>,
    context: &Context<'_, R>,
    group: &Group<'_, R::Row>,
) -> Value {
    match source {
        Source::Key(at) => match (groups.by.get(*at), group.first()) {
            (Some(route), Some(row)) => route.value(context, row),
            _ => Value::Null,
        },
        Source::Aggregate(function, route) => aggregate(*function, route, context, group),
    }
}

fn aggregate<R: Rows>(
    function: Function,
    route: &Route<'_>,
    context: &Context<'_, R>,
    group: &Group<'_, R::Row>,
) -> Value {
    let values = group.iter().map(|row| route.value(context, row));
    let keyed = values.filter_map(|value| Some((Key::of(route.field, &value)?, value)));
    match function {
        Function::Count => keyed.count().into(),
        Function::CountDistinct => keyed.map(|(key, _)| key).collect::<BTreeSet<_>>().len().into(),
        Function::Min => keyed.min_by(|(a, _), (b, _)| a.cmp(b)).map_or(Value::Null, |(_, value)| value),
        Function::Max => keyed.max_by(|(a, _), (b, _)| a.cmp(b)).map_or(Value::Null, |(_, value)| value),
        Function::Sum | Function::Avg => {
            let numbers: Vec<f64> = keyed.filter_map(|(_, value)| value.as_f64()).collect();
            if numbers.is_empty() {
                return Value::Null;
            }
            let sum: f64 = numbers.iter().sum();
            match (function, route.field.kind) {
                (Function::Avg, _) => mean(sum, numbers.len()).into(),
                #[expect(clippy::cast_possible_truncation, reason = "a sum of whole numbers")]
                (_, FieldKind::Int) => (sum as i64).into(),
                _ => sum.into(),
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no org has 2^53 rows")]
fn mean(sum: f64, count: usize) -> f64 {
    sum / count as f64
}
