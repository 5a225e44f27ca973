//! Runs a query: finds rows, then order, page, output.

use serde_json::Value;

use super::fault::Error;
use super::find::matching;
use super::plan::{Key, Order, Output, Plan};
use super::query::Query;
use super::rows::{Context, Rows};
use super::{bind, group, project};

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Rows, except for `COUNT()`: what it counted.
    pub total: usize,
    /// Records with their `attributes`.
    pub records: Vec<Value>,
}

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
