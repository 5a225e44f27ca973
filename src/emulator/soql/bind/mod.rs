//! Names to fields, literals to their fields' types: everything that can be wrong with a query before it meets a row.

mod condition;

use super::fault::{Code, Fault};
use super::plan::{Column, Direction, GroupOrder, Groups, Node, Order, Output, Plan, Route, Shape, Source};
use super::query::{Call, FieldSet, Function, Item, OrderKey, Path, Select};
use super::rows::{Context, Rows};
use crate::emulator::schema::{FieldDef, FieldKind, ObjectDef, Schema};

const FIELDS_LIMIT: usize = 200;
/// Relationships that a path may follow.
const HOPS_MAX: usize = 5;
const REFERENCE: &str = "Please reference your WSDL or the describe call for the appropriate names.";

/// Resolves a query against the schema. Semi-joins run here: their result is a list of literals.
pub(super) fn bind<'a, R: Rows>(select: &Select, context: &Context<'a, R>) -> Result<Plan<'a>, Fault> {
    let binder = Binder::new(select, context.schema)?;
    let output = if select.grouped() { binder.groups(select)? } else { binder.records(select)? };
    let order = if select.grouped() { Vec::new() } else { binder.order(select)? };
    let filter = select.filter.as_ref().map(|filter| binder.filter(filter, context)).transpose()?;
    Ok(Plan { object: binder.object, output, filter, order, limit: select.limit, offset: select.offset })
}

/// What the answer looks like, without running anything.
pub(super) fn output<'a>(select: &Select, schema: &'a Schema) -> Result<(&'a ObjectDef, Output<'a>), Fault> {
    let binder = Binder::new(select, schema)?;
    let output = if select.grouped() { binder.groups(select)? } else { binder.records(select)? };
    Ok((binder.object, output))
}

struct Binder<'a, 'q> {
    schema: &'a Schema,
    object: &'a ObjectDef,
    alias: Option<&'q str>,
}

impl<'a, 'q> Binder<'a, 'q> {
    fn new(select: &'q Select, schema: &'a Schema) -> Result<Self, Fault> {
        let name = &select.object;
        let object = schema.object(&name.text).ok_or_else(|| {
            let problem = format!(
                "sObject type '{}' is not supported. If you are attempting to use a custom object, be sure to append \
                 the '__c' after the entity name. {REFERENCE}",
                name.text
            );
            Fault::new(Code::InvalidType, name.at, problem)
        })?;
        Ok(Self { schema, object, alias: select.alias.as_deref() })
    }

    fn records(&self, select: &Select) -> Result<Output<'a>, Fault> {
        if let [Item::Count { .. }] = select.items.as_slice() {
            return match select.order_by.first() {
                None => Ok(Output::Count),
                Some(order) => Err(Fault::malformed(order.at(), "COUNT() takes no ORDER BY")),
            };
        }
        let mut shape = Shape { object: self.object, nodes: Vec::new() };
        for item in &select.items {
            match item {
                Item::Field { path, alias: None } => shape.add(self.route(path)?, path)?,
                Item::Field { path, alias: Some(_) } => {
                    return Err(Fault::malformed(path.at, "only aggregate expressions use field aliasing"));
                }
                Item::Fields { set, at } => self.field_set(&mut shape, *set, *at, select.limit)?,
                Item::Count { at } => return Err(Fault::malformed(*at, "unexpected token: 'COUNT'")),
                Item::Aggregate { call, .. } => {
                    return Err(Fault::malformed(call.path.at, "aggregates belong in a grouped query"));
                }
            }
        }
        Ok(Output::Records(shape))
    }

    fn field_set(&self, shape: &mut Shape<'a>, set: FieldSet, at: usize, limit: Option<usize>) -> Result<(), Fault> {
        if set != FieldSet::Standard && limit.is_none_or(|limit| limit > FIELDS_LIMIT) {
            let problem = format!("The SOQL FIELDS function must have a LIMIT of at most {FIELDS_LIMIT}");
            return Err(Fault::malformed(at, problem));
        }
        for field in &self.object.fields {
            let wanted = match set {
                FieldSet::All => true,
                FieldSet::Standard => !field.custom,
                FieldSet::Custom => field.custom,
            };
            if wanted {
                shape.add_field(field, at)?;
            }
        }
        Ok(())
    }

    fn groups(&self, select: &Select) -> Result<Output<'a>, Fault> {
        let mut by = Vec::new();
        for path in &select.group_by {
            let route = self.route(path)?;
            if long_text(route.field) || matches!(route.field.kind, FieldKind::Number { .. } | FieldKind::DateTime) {
                let problem = format!("field '{}' can not be grouped in a query call", route.field.name);
                return Err(Fault::field(path.at, problem));
            }
            by.push(route);
        }
        let mut columns: Vec<Column<'a>> = Vec::new();
        let mut unnamed = 0;
        for item in &select.items {
            let (column, at) = match item {
                Item::Field { path, alias } => {
                    let route = self.route(path)?;
                    let name = alias.clone().unwrap_or_else(|| route.field.name.clone());
                    (Column { name, source: key_of(&by, &route, path)? }, path.at)
                }
                Item::Aggregate { call, alias } => {
                    let name = alias.clone().unwrap_or_else(|| {
                        unnamed += 1;
                        format!("expr{}", unnamed - 1)
                    });
                    (Column { name, source: self.aggregate(call)? }, call.path.at)
                }
                Item::Count { at } | Item::Fields { at, .. } => {
                    return Err(Fault::malformed(*at, "Grouped query cannot use COUNT() or FIELDS()"));
                }
            };
            if columns.iter().any(|other| other.name.eq_ignore_ascii_case(&column.name)) {
                return Err(Fault::malformed(at, format!("duplicate alias: {}", column.name)));
            }
            columns.push(column);
        }
        let order = select.order_by.iter().map(|order| {
            let source = match &order.key {
                OrderKey::Field(path) => key_of(&by, &self.route(path)?, path)?,
                OrderKey::Aggregate(call) => self.aggregate(call)?,
            };
            Ok(GroupOrder { source, direction: order.direction() })
        });
        let order = order.collect::<Result<_, Fault>>()?;
        Ok(Output::Groups(Groups { by, columns, order }))
    }

    fn aggregate(&self, call: &Call) -> Result<Source<'a>, Fault> {
        let route = self.route(&call.path)?;
        let kind = route.field.kind;
        let fits = match call.function {
            Function::Count | Function::CountDistinct => !long_text(route.field),
            Function::Sum | Function::Avg => kind.numeric(),
            Function::Min | Function::Max => !long_text(route.field) && kind != FieldKind::Boolean,
        };
        if fits {
            Ok(Source::Aggregate(call.function, route))
        } else {
            let problem = format!("field {} does not support aggregate operator", route.field.name);
            Err(Fault::field(call.path.at, problem))
        }
    }

    fn order(&self, select: &Select) -> Result<Vec<Order<'a>>, Fault> {
        let bound = select.order_by.iter().map(|order| {
            let OrderKey::Field(path) = &order.key else {
                return Err(Fault::malformed(order.at(), "aggregates belong in a grouped query"));
            };
            let route = self.route(path)?;
            if long_text(route.field) {
                let problem = format!("field '{}' can not be sorted in a query call", route.field.name);
                return Err(Fault::field(path.at, problem));
            }
            Ok(Order { route, direction: order.direction() })
        });
        bound.collect()
    }

    fn route(&self, path: &Path) -> Result<Route<'a>, Fault> {
        let Some((name, relationships)) = path.segments.split_last() else {
            return Err(Fault::malformed(path.at, "unexpected token: <EOF>"));
        };
        let relationships = match relationships {
            [first, rest @ ..] if self.names_the_object(first) => rest,
            all => all,
        };
        if relationships.len() > HOPS_MAX {
            return Err(Fault::field(path.at, "a path follows at most five relationships"));
        }
        let mut object = self.object;
        let mut hops = Vec::new();
        for relationship in relationships {
            let reference = object.relationship(relationship);
            let parent = reference.and_then(|reference| self.schema.object(reference.reference_to.first()?));
            let (Some(reference), Some(parent)) = (reference, parent) else {
                let problem = format!(
                    "Didn't understand relationship '{relationship}' in field path. If you are attempting to use a \
                     custom relationship, be sure to append the '__r' after the custom relationship name. {REFERENCE}"
                );
                return Err(Fault::field(path.at, problem));
            };
            hops.push((reference, parent));
            object = parent;
        }
        let field = object.field(name).ok_or_else(|| {
            let problem = format!(
                "No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to \
                 append the '__c' after the custom field name. {REFERENCE}",
                object.name
            );
            Fault::field(path.at, problem)
        })?;
        Ok(Route { start: self.object, hops, field })
    }

    /// `SELECT l.Email FROM Lead l`, `SELECT Lead.Email FROM Lead`.
    fn names_the_object(&self, first: &str) -> bool {
        let alias = self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(first));
        alias || (self.object.name.eq_ignore_ascii_case(first) && self.object.relationship(first).is_none())
    }
}

/// Long texts can be selected and nothing else.
fn long_text(field: &FieldDef) -> bool {
    field.kind == FieldKind::TextArea && field.length > 255
}

fn key_of<'a>(by: &[Route<'a>], route: &Route<'a>, path: &Path) -> Result<Source<'a>, Fault> {
    let same = |key: &Route<'a>| {
        let hops = |route: &Route<'a>| route.hops.iter().map(|(field, _)| field.name.clone()).collect::<Vec<_>>();
        key.field.name == route.field.name && hops(key) == hops(route)
    };
    by.iter().position(same).map(Source::Key).ok_or_else(|| {
        Fault::malformed(path.at, format!("Field must be grouped or aggregated: {}", path.segments.join(".")))
    })
}

impl<'a> Shape<'a> {
    fn add(&mut self, route: Route<'a>, path: &Path) -> Result<(), Fault> {
        let mut shape = self;
        for (reference, parent) in route.hops {
            let same =
                |node: &Node<'a>| matches!(node, Node::Parent { reference: known, .. } if known.name == reference.name);
            let at = shape.nodes.iter().position(same).unwrap_or_else(|| {
                let nested = Shape { object: parent, nodes: Vec::new() };
                shape.nodes.push(Node::Parent { reference, shape: nested });
                shape.nodes.len() - 1
            });
            match shape.nodes.get_mut(at) {
                Some(Node::Parent { shape: nested, .. }) => shape = nested,
                _ => return Err(Fault::malformed(path.at, "a path ends inside of itself")),
            }
        }
        shape.add_field(route.field, path.at)
    }

    fn add_field(&mut self, field: &'a FieldDef, at: usize) -> Result<(), Fault> {
        if self.nodes.iter().any(|node| matches!(node, Node::Field(known) if known.name == field.name)) {
            return Err(Fault::field(at, format!("duplicate field selected: {}", field.name)));
        }
        self.nodes.push(Node::Field(field));
        Ok(())
    }
}

impl super::query::OrderBy {
    fn direction(&self) -> Direction {
        Direction { descending: self.descending, nulls_last: self.nulls_last }
    }

    fn at(&self) -> usize {
        match &self.key {
            OrderKey::Field(path) => path.at,
            OrderKey::Aggregate(call) => call.path.at,
        }
    }
}
