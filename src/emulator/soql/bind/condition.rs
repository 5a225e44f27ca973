//! `WHERE`: each literal must be of its field's type, each operator one that the field has.

use super::{Binder, long_text};
use crate::emulator::schema::{FieldDef, FieldKind};
use crate::emulator::soql::fault::Fault;
use crate::emulator::soql::find::matching;
use crate::emulator::soql::lexer::{Piece, plain, unescape};
use crate::emulator::soql::plan::{Key, Members, Output, Relation, Route, Test};
use crate::emulator::soql::query::{Condition, Days, Item, Literal, LiteralValue, Op, Path, Select};
use crate::emulator::soql::rows::{Context, Rows};
use crate::id::SalesforceId;

/// A literal that fits its field.
enum Bound {
    Null,
    /// The form to compare, and the form that an index takes.
    Key(Key, String),
    /// First moment of the span, first moment after it.
    Span(Key, Key),
}

impl<'a> Binder<'a, '_> {
    pub(super) fn filter<R: Rows>(&self, condition: &Condition, context: &Context<'a, R>) -> Result<Test<'a>, Fault> {
        // Semi-joins may stand here and among the parts of a top-level AND.
        let top = |part: &Condition| {
            if let Condition::SemiJoin { path, negated, select } = part {
                let members = self.semi_join(path, select, context)?;
                Ok(negate(members, *negated))
            } else {
                self.condition(part, context.now)
            }
        };
        match condition {
            Condition::And(parts) => Ok(Test::And(parts.iter().map(top).collect::<Result<_, _>>()?)),
            Condition::Or(_)
            | Condition::Not(_)
            | Condition::Compare { .. }
            | Condition::In { .. }
            | Condition::SemiJoin { .. } => top(condition),
        }
    }

    fn condition(&self, condition: &Condition, now: i64) -> Result<Test<'a>, Fault> {
        let all = |parts: &[Condition]| parts.iter().map(|part| self.condition(part, now)).collect::<Result<_, _>>();
        match condition {
            Condition::And(parts) => Ok(Test::And(all(parts)?)),
            Condition::Or(parts) => Ok(Test::Or(all(parts)?)),
            Condition::Not(part) => Ok(Test::Not(Box::new(self.condition(part, now)?))),
            Condition::Compare { path, op, value } => self.compare(path, *op, value, now),
            Condition::In { path, negated, values } => {
                let route = self.filtered(path)?;
                let mut members = Members::default();
                for value in values {
                    match bound(route.field, value, now)? {
                        Bound::Null => members.null = true,
                        Bound::Key(key, lookup) => members.insert(key, lookup),
                        Bound::Span(..) => return Err(mismatch(route.field, value)),
                    }
                }
                Ok(negate(Test::Any(route, members), *negated))
            }
            Condition::SemiJoin { path, .. } => Err(Fault::malformed(
                path.at,
                "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE \
                 expressions.",
            )),
        }
    }

    fn filtered(&self, path: &Path) -> Result<Route<'a>, Fault> {
        let route = self.route(path)?;
        if long_text(route.field) {
            let problem = format!("field '{}' can not be filtered in a query call", route.field.name);
            return Err(Fault::field(path.at, problem));
        }
        Ok(route)
    }

    fn compare(&self, path: &Path, op: Op, literal: &Literal, now: i64) -> Result<Test<'a>, Fault> {
        let route = self.filtered(path)?;
        let relation = match op {
            Op::Like => return like(route, literal),
            Op::Equal | Op::NotEqual => None,
            Op::Less => Some(Relation::Less),
            Op::LessOrEqual => Some(Relation::LessOrEqual),
            Op::Greater => Some(Relation::Greater),
            Op::GreaterOrEqual => Some(Relation::GreaterOrEqual),
        };
        let bound = bound(route.field, literal, now)?;
        let Some(relation) = relation else {
            return Ok(negate(equal(route, bound), op == Op::NotEqual));
        };
        match bound {
            _ if route.field.kind == FieldKind::Boolean => {
                Err(Fault::operator(path.at, "invalid operator on boolean field"))
            }
            Bound::Null => Err(Fault::operator(literal.at, "null can only be compared with = and !=")),
            Bound::Key(key, _) => Ok(Test::Compare(route, relation, key)),
            // Before or after the whole span; the bounds themselves are its first moment and the one after it.
            Bound::Span(first, after) => Ok(match relation {
                Relation::Less => Test::Compare(route, Relation::Less, first),
                Relation::LessOrEqual => Test::Compare(route, Relation::Less, after),
                Relation::Greater => Test::Compare(route, Relation::GreaterOrEqual, after),
                Relation::GreaterOrEqual => Test::Compare(route, Relation::GreaterOrEqual, first),
            }),
        }
    }

    /// `LeadId IN (SELECT Id FROM Lead WHERE …)`
    fn semi_join<R: Rows>(&self, path: &Path, select: &Select, context: &Context<'a, R>) -> Result<Test<'a>, Fault> {
        let route = self.filtered(path)?;
        if !route.field.kind.identifier() {
            let problem =
                format!("The left operand of a semi join must be an id or reference field: {}", route.field.name);
            return Err(Fault::malformed(path.at, problem));
        }
        if select.limit.is_some() || select.offset > 0 || !select.order_by.is_empty() || nests(select) {
            return Err(Fault::malformed(select.object.at, "a semi join sub-select takes a WHERE clause only"));
        }
        let plan = super::bind(select, context)?;
        let inner = match (select.items.as_slice(), &plan.output) {
            ([Item::Field { path, .. }], Output::Records(_)) => Binder::new(select, self.schema)?.route(path)?,
            _ => return Err(Fault::malformed(select.object.at, "a semi join sub-select must select one field")),
        };
        if !inner.field.kind.identifier() {
            let problem =
                format!("The sub-select of a semi join must select an id or reference field: {}", inner.field.name);
            return Err(Fault::malformed(select.object.at, problem));
        }
        let mut members = Members::default();
        for row in matching(&plan, context) {
            if let Some(key @ Key::Text(_)) = inner.key(context, row) {
                let lookup = if let Key::Text(id) = &key { id.clone() } else { String::new() };
                members.insert(key, lookup);
            }
        }
        Ok(Test::Any(route, members))
    }
}

fn nests(select: &Select) -> bool {
    fn any(condition: &Condition) -> bool {
        match condition {
            Condition::And(parts) | Condition::Or(parts) => parts.iter().any(any),
            Condition::Not(part) => any(part),
            Condition::SemiJoin { .. } => true,
            Condition::Compare { .. } | Condition::In { .. } => false,
        }
    }
    select.filter.as_ref().is_some_and(any)
}

fn negate(test: Test<'_>, negated: bool) -> Test<'_> {
    if negated { Test::Not(Box::new(test)) } else { test }
}

fn equal(route: Route<'_>, bound: Bound) -> Test<'_> {
    let mut members = Members::default();
    match bound {
        Bound::Null => members.null = true,
        Bound::Key(key, lookup) => members.insert(key, lookup),
        Bound::Span(first, after) => {
            let from = Test::Compare(route.clone(), Relation::GreaterOrEqual, first);
            return Test::And(vec![from, Test::Compare(route, Relation::Less, after)]);
        }
    }
    Test::Any(route, members)
}

fn like<'a>(route: Route<'a>, literal: &Literal) -> Result<Test<'a>, Fault> {
    let field = route.field;
    if !field.kind.textual() {
        let kind = if field.kind.identifier() { "id" } else { kind_name(field.kind) };
        return Err(Fault::operator(literal.at, format!("invalid operator on {kind} field")));
    }
    let LiteralValue::Text(raw) = &literal.value else { return Err(mismatch(field, literal)) };
    let mut pattern = unescape(raw, true, literal.at)?;
    if !field.case_sensitive {
        pattern = pattern.into_iter().flat_map(lower_case).collect();
    }
    // Nothing is like an empty pattern: an empty text is null.
    Ok(if pattern.is_empty() { Test::Nothing } else { Test::Like(route, pattern) })
}

/// As the compared text is: some letters become two.
fn lower_case(piece: Piece) -> Vec<Piece> {
    match piece {
        Piece::Char(c) => c.to_lowercase().map(Piece::Char).collect(),
        Piece::Any | Piece::One => vec![piece],
    }
}

impl Members {
    fn insert(&mut self, key: Key, lookup: String) {
        if self.keys.insert(key) {
            self.lookups.push(lookup);
        }
    }
}

fn bound(field: &FieldDef, literal: &Literal, now: i64) -> Result<Bound, Fault> {
    let wrong = || mismatch(field, literal);
    match (&literal.value, field.kind) {
        // A checkbox is never null: asked for null, it is asked for false.
        (LiteralValue::Null, FieldKind::Boolean) => Ok(Bound::Key(Key::Bool(false), "false".to_owned())),
        (LiteralValue::Null, _) => Ok(Bound::Null),
        (LiteralValue::Bool(value), FieldKind::Boolean) => Ok(Bound::Key(Key::Bool(*value), value.to_string())),
        (LiteralValue::Number(value), kind) if kind.numeric() => Ok(Bound::Key(Key::Number(*value), value.to_string())),
        (LiteralValue::Date(day), FieldKind::Date) => {
            let text = day.to_string();
            Ok(Bound::Key(Key::Text(text.clone()), text))
        }
        (LiteralValue::Time(time), FieldKind::DateTime) => {
            let text = moment(*time);
            Ok(Bound::Key(Key::Text(text.clone()), text))
        }
        (LiteralValue::Days(days), FieldKind::Date | FieldKind::DateTime) => {
            span(*days, field.kind, now).ok_or_else(wrong)
        }
        (LiteralValue::Text(raw), kind) if kind.identifier() => {
            let text = plain(raw, literal.at)?;
            if text.is_empty() {
                return Ok(Bound::Null);
            }
            let id = SalesforceId::parse(&text)
                .ok_or_else(|| Fault::operator(literal.at, format!("invalid ID field: {text}")))?;
            Ok(Bound::Key(Key::Text(id.as_str().to_owned()), id.as_str().to_owned()))
        }
        (LiteralValue::Text(raw), kind) if kind.textual() => {
            let text = plain(raw, literal.at)?;
            Ok(if text.is_empty() { Bound::Null } else { Bound::Key(Key::text(field, &text), text) })
        }
        _ => Err(wrong()),
    }
}

/// Times as rows hold them: `2026-01-31T10:00:00.000+0000`.
fn moment(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

fn span(days: Days, kind: FieldKind, now: i64) -> Option<Bound> {
    let today = jiff::Timestamp::from_millisecond(now).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let key = |days: i32| -> Option<Key> {
        let day = today.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
        if kind == FieldKind::Date {
            return Some(Key::Text(day.to_string()));
        }
        let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Key::Text(moment(midnight)))
    };
    Some(Bound::Span(key(days.first)?, key(days.last.checked_add(1)?)?))
}

fn mismatch(field: &FieldDef, literal: &Literal) -> Fault {
    let (name, kind) = (&field.name, kind_name(field.kind));
    let quoted = matches!(literal.value, LiteralValue::Text(_));
    let wants_quotes = field.kind.textual() || field.kind.identifier();
    let advice = match (wants_quotes, quoted) {
        (true, false) => " and should be enclosed in quotes",
        (false, true) => " and should not be enclosed in quotes",
        _ => "",
    };
    Fault::field(literal.at, format!("value of filter criterion for field '{name}' must be of type {kind}{advice}"))
}

/// As SOQL's messages call the types.
fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Id | FieldKind::Reference => "ID",
        FieldKind::Number { .. } => "double",
        FieldKind::Int => "int",
        FieldKind::Boolean => "boolean",
        FieldKind::Date => "date",
        FieldKind::DateTime => "dateTime",
        FieldKind::Text
        | FieldKind::TextArea
        | FieldKind::Email
        | FieldKind::Phone
        | FieldKind::Url
        | FieldKind::Picklist => "string",
    }
}
