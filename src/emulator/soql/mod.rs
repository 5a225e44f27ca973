//! SOQL: the query language of Salesforce, as far as the emulator answers it truthfully.
//!
//! ```text
//!  text ─ lexer ─ parser ─▶ Query ─ bind (schema) ─▶ Plan ─ find, filter, order, group, project ─▶ Answer
//! ```
//!
//! What is not implemented is `MALFORMED_QUERY`, never a best effort: a query that ignores a clause would hide exactly
//! the mistakes that an emulator is there to show. Names and types are checked before the first row is read, so that a
//! wrong query fails on an empty org too. Conditions are two-valued, as in Salesforce: `Status != 'Sent'` holds for a
//! row without a status. Days are those of UTC.

mod bind;
mod columns;
mod fault;
mod find;
mod group;
mod lexer;
mod parser;
mod plan;
mod project;
mod query;
mod rows;
mod run;

pub use columns::columns;
pub use fault::{Code, Error};
pub use parser::parse;
pub use query::Query;
pub use rows::{Context, Rows};
pub use run::{Answer, run};
