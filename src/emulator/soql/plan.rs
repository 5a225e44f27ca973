//! A query whose names are resolved and whose literals are of their fields' types, ready to run.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::Value;

use super::lexer::Piece;
use super::query::Function;
use super::rows::{Context, Rows};
use crate::emulator::schema::{FieldDef, FieldKind, ObjectDef};

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub object: &'a ObjectDef,
    pub output: Output<'a>,
    pub filter: Option<Test<'a>>,
    pub order: Vec<Order<'a>>,
    pub limit: Option<usize>,
    pub offset: usize,
}

#[derive(Debug)]
pub(super) enum Output<'a> {
    /// `COUNT()`
    Count,
    Records(Shape<'a>),
    Groups(Groups<'a>),
}

/// The fields of one record in the answer, parents nested.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub object: &'a ObjectDef,
    pub nodes: Vec<Node<'a>>,
}

#[derive(Debug)]
pub(super) enum Node<'a> {
    Field(&'a FieldDef),
    Parent { reference: &'a FieldDef, shape: Shape<'a> },
}

/// `GROUP BY`, or aggregates over everything.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    pub by: Vec<Route<'a>>,
    pub columns: Vec<Column<'a>>,
    pub order: Vec<GroupOrder<'a>>,
}

/// A column of a grouped answer.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub name: String,
    pub source: Source<'a>,
}

#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Position among the `GROUP BY` fields.
    Key(usize),
    Aggregate(Function, Route<'a>),
}

#[derive(Debug)]
pub(super) struct GroupOrder<'a> {
    pub source: Source<'a>,
    pub direction: Direction,
}

/// A field, and the references to follow to its record.
#[derive(Clone, Debug)]
pub(super) struct Route<'a> {
    pub start: &'a ObjectDef,
    /// Reference on the record, object it leads to.
    pub hops: Vec<(&'a FieldDef, &'a ObjectDef)>,
    pub field: &'a FieldDef,
}

#[derive(Debug)]
pub(super) struct Order<'a> {
    pub route: Route<'a>,
    pub direction: Direction,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Direction {
    pub descending: bool,
    pub nulls_last: bool,
}

/// A condition on a row.
#[derive(Debug)]
pub(super) enum Test<'a> {
    And(Vec<Test<'a>>),
    Or(Vec<Test<'a>>),
    Not(Box<Test<'a>>),
    /// The value is one of these; `null` may be among them.
    Any(Route<'a>, Members),
    /// The value is not null and stands like this to the bound.
    Compare(Route<'a>, Relation, Key),
    Like(Route<'a>, Vec<Piece>),
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    pub keys: BTreeSet<Key>,
    pub null: bool,
    /// The literals as an index takes them, one for each key.
    pub lookups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value in the form in which it is compared: text in lower case unless the field tells cases apart.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Bool(bool),
    Number(f64),
    /// Also ids, dates and times: their text sorts as they do.
    Text(String),
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            // Adding zero makes -0.0 and 0.0 the same.
            (Self::Number(a), Self::Number(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl Key {
    /// None for null. The empty text is null, as Salesforce stores it.
    pub fn of(field: &FieldDef, value: &Value) -> Option<Self> {
        match value {
            // A checkbox of a parent that does not exist is false.
            Value::Null => (field.kind == FieldKind::Boolean).then_some(Self::Bool(false)),
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(Self::text(field, text)),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub fn text(field: &FieldDef, text: &str) -> Self {
        let folds = field.kind.textual() && !field.case_sensitive;
        Self::Text(if folds { text.to_lowercase() } else { text.to_owned() })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Direction {
    /// Nulls come first unless told otherwise, also when descending.
    pub fn compare(self, a: Option<&Key>, b: Option<&Key>) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if self.nulls_last => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => self.compare(b, a).reverse(),
            (Some(a), Some(b)) if self.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
        }
    }
}

impl Route<'_> {
    /// The value at the end; null where a parent on the way is missing.
    pub fn value<R: Rows>(&self, context: &Context<'_, R>, row: &R::Row) -> Value {
        let rows = context.rows;
        let (mut object, mut at) = (self.start, row);
        for (reference, parent) in &self.hops {
            let id = rows.value(object, at, reference);
            let found = id.as_str().and_then(|id| rows.by_id(parent, id));
            match found.filter(|row| context.deleted || !rows.deleted(row)) {
                Some(row) => (object, at) = (*parent, row),
                None => return Value::Null,
            }
        }
        rows.value(object, at, self.field)
    }

    pub fn key<R: Rows>(&self, context: &Context<'_, R>, row: &R::Row) -> Option<Key> {
        Key::of(self.field, &self.value(context, row))
    }
}

impl Test<'_> {
    pub fn holds<R: Rows>(&self, context: &Context<'_, R>, row: &R::Row) -> bool {
        match self {
            Self::And(all) => all.iter().all(|test| test.holds(context, row)),
            Self::Or(any) => any.iter().any(|test| test.holds(context, row)),
            Self::Not(test) => !test.holds(context, row),
            Self::Any(route, members) => match route.key(context, row) {
                Some(key) => members.keys.contains(&key),
                None => members.null,
            },
            Self::Compare(route, relation, bound) => {
                route.key(context, row).is_some_and(|key| relation.holds(key.cmp(bound)))
            }
            Self::Like(route, pattern) => match route.key(context, row) {
                Some(Key::Text(text)) => like(&text.chars().collect::<Vec<_>>(), pattern),
                _ => false,
            },
            Self::Nothing => false,
        }
    }
}

/// Greedy match that goes back to the last `%` only: linear in practice, never exponential.
fn like(text: &[char], pattern: &[Piece]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(Piece::Any), _) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some(Piece::One), Some(_)) => {
                (t, p) = (t + 1, p + 1);
                continue;
            }
            (Some(Piece::Char(wanted)), Some(found)) if wanted == found => {
                (t, p) = (t + 1, p + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((from, at)) if at < text.len() => {
                retry = Some((from, at + 1));
                (p, t) = (from, at + 1);
            }
            _ => return false,
        }
    }
}
