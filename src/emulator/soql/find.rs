//! Finds the rows of a plan: by an index where one narrows them down, else one by one. Semi-joins find rows too, while
//! their query is still being bound.

use super::plan::{Plan, Test};
use super::rows::{Context, Rows};

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
