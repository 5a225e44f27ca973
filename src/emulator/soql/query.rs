//! A parsed query: what was asked, before anyone knows whether the fields exist.

/// A query that the grammar takes.
#[derive(Clone, Debug)]
pub struct Query {
    /// The whole text, for error messages.
    pub(super) text: String,
    pub(super) select: Select,
}

/// `SELECT … FROM …`, also the one inside of a semi-join.
#[derive(Clone, Debug)]
pub(super) struct Select {
    pub items: Vec<Item>,
    pub object: Name,
    pub alias: Option<String>,
    pub filter: Option<Condition>,
    pub group_by: Vec<Path>,
    pub order_by: Vec<OrderBy>,
    pub limit: Option<usize>,
    pub offset: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Name {
    pub text: String,
    pub at: usize,
}

/// `Campaign.Name`: relationships, then a field.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub segments: Vec<String>,
    pub at: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Field {
        path: Path,
        alias: Option<String>,
    },
    Aggregate {
        call: Call,
        alias: Option<String>,
    },
    /// `COUNT()`
    Count {
        at: usize,
    },
    Fields {
        set: FieldSet,
        at: usize,
    },
}

/// `MAX(plays__c)`
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub function: Function,
    pub path: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

/// Of `FIELDS(…)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldSet {
    All,
    Standard,
    Custom,
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare { path: Path, op: Op, value: Literal },
    In { path: Path, negated: bool, values: Vec<Literal> },
    SemiJoin { path: Path, negated: bool, select: Box<Select> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

#[derive(Clone, Debug)]
pub(super) struct Literal {
    pub value: LiteralValue,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum LiteralValue {
    Null,
    Bool(bool),
    Number(f64),
    /// Escapes still in it.
    Text(String),
    Date(jiff::civil::Date),
    Time(jiff::Timestamp),
    Days(Days),
}

/// A span of whole days relative to today: first and last day, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub first: i32,
    pub last: i32,
}

#[derive(Clone, Debug)]
pub(super) struct OrderBy {
    pub key: OrderKey,
    pub descending: bool,
    pub nulls_last: bool,
}

#[derive(Clone, Debug)]
pub(super) enum OrderKey {
    Field(Path),
    Aggregate(Call),
}

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "COUNT" => Self::Count,
            "COUNT_DISTINCT" => Self::CountDistinct,
            "SUM" => Self::Sum,
            "AVG" => Self::Avg,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return None,
        })
    }
}

impl Select {
    pub fn grouped(&self) -> bool {
        !self.group_by.is_empty() || self.items.iter().any(|item| matches!(item, Item::Aggregate { .. }))
    }
}

impl Query {
    /// Why a bulk query job does not take it: its answer would not be one row of one record.
    pub fn beyond_bulk(&self) -> Option<&'static str> {
        let items = &self.select.items;
        if self.select.grouped() || items.iter().any(|item| matches!(item, Item::Count { .. })) {
            return Some("Aggregate Relationships not supported in Bulk Query");
        }
        if items.iter().any(|item| matches!(item, Item::Fields { .. })) {
            return Some("Selecting compound data not supported in Bulk Query");
        }
        (self.select.offset > 0).then_some("OFFSET not supported in Bulk Query")
    }
}
