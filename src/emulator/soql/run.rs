//! Runs a query: candidate rows, filter, order, page, output.

use serde_json::Value;

use super::fault::Error;
use super::plan::{Key, Order, Output, Plan, Test};
use super::query::Query;
use super::{Answer, Context, Rows, bind, group, project};

/// Answers a query, or says why it can not be.
pub fn run<R: Rows>(query: &Query, context: &Context<'_, R>) -> Result<Answer, Error> {
    let plan = bind::bind(&query.select, context).map_err(|fault| fault.tell(&query.text))?;
    let mut rows = matching(&plan, context);
    let answer = match &plan.output {
        Output::Count => Answer { total: page(&plan, rows).len(), records: Vec::new() },
        Output::Records(shape) => {
            sort(&mut rows, &plan.order, context);
            let records: Vec<Value> =
                page(&plan, rows).into_iter().map(|row| project::record(shape, context, row)).collect();
            Answer { total: records.len(), records }
        }
        Output::Groups(groups) => {
            let records = page(&plan, group::records(groups, context, &rows));
            Answer { total: records.len(), records }
        }
    };
    Ok(answer)
}

/// The rows that the filter lets through, oldest first.
pub(super) fn matching<'a, R: Rows>(plan: &Plan<'_>, context: &Context<'a, R>) -> Vec<&'a R::Row> {
    let passes = |row: &&'a R::Row| {
        let visible = context.deleted || !context.rows.deleted(row);
        visible && plan.filter.as_ref().is_none_or(|filter| filter.holds(context, row))
    };
    match plan.filter.as_ref().and_then(|filter| indexed(filter, plan, context)) {
        Some(candidates) => candidates.into_iter().filter(passes).collect(),
        None => context.rows.scan(plan.object).filter(passes).collect(),
    }
}

/// The fewest rows that an index narrows the filter down to. Every row that passes is among them; not every one among
/// them passes.
fn indexed<'a, R: Rows>(filter: &Test<'_>, plan: &Plan<'_>, context: &Context<'a, R>) -> Option<Vec<&'a R::Row>> {
    let parts = if let Test::And(parts) = filter { parts.as_slice() } else { std::slice::from_ref(filter) };
    let found = parts.iter().filter_map(|part| looked_up(part, plan, context));
    let mut fewest = found.min_by_key(Vec::len)?;
    // Oldest first, as a scan has them: record ids are given in ascending order.
    if let Some(id) = plan.object.field("Id").filter(|_| fewest.len() > 1) {
        fewest.sort_by_cached_key(|row| context.rows.value(plan.object, row, id).as_str().map(str::to_owned));
    }
    Some(fewest)
}

fn looked_up<'a, R: Rows>(test: &Test<'_>, plan: &Plan<'_>, context: &Context<'a, R>) -> Option<Vec<&'a R::Row>> {
    let Test::Any(route, members) = test else { return None };
    if members.null || !route.hops.is_empty() {
        return None;
    }
    if route.field.name == "Id" {
        return Some(members.lookups.iter().filter_map(|id| context.rows.by_id(plan.object, id)).collect());
    }
    // Indexes hold live rows only.
    if context.deleted {
        return None;
    }
    let mut rows = Vec::new();
    for value in &members.lookups {
        rows.extend(context.rows.find(plan.object, route.field, value)?);
    }
    // `IN ()` by way of a semi-join that found nothing.
    Some(rows)
}

fn sort<R: Rows>(rows: &mut Vec<&R::Row>, order: &[Order<'_>], context: &Context<'_, R>) {
    if order.is_empty() {
        return;
    }
    let keys = |row: &R::Row| order.iter().map(|by| by.route.key(context, row)).collect::<Vec<Option<Key>>>();
    let mut keyed: Vec<_> = rows.drain(..).map(|row| (keys(row), row)).collect();
    keyed.sort_by(|(a, _), (b, _)| {
        let compared =
            order.iter().zip(a.iter().zip(b)).map(|(by, (a, b))| by.direction.compare(a.as_ref(), b.as_ref()));
        compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    rows.extend(keyed.into_iter().map(|(_, row)| row));
}

fn page<T>(plan: &Plan<'_>, all: Vec<T>) -> Vec<T> {
    all.into_iter().skip(plan.offset).take(plan.limit.unwrap_or(usize::MAX)).collect()
}
