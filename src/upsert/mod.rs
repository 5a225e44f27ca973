//! Aggregate and catalogue to the rows that Salesforce should hold, and the record that carries a row to the sink.
//!
//! ```text
//! derive ──▶ rows: one file an object ──▶ row ──▶ record
//!              │                           ▲
//!              └──▶ def, field: the table ─┘
//! ```

mod def;
mod derive;
mod email;
mod field;
mod lane;
mod number;
mod object;
mod record;
mod refusal;
mod row;
mod rows;
mod sending;
mod status;
mod text;
mod value;

pub use def::{Derivation, Derived, ExternalId, ObjectDef, ParentDef, ParentOf, Policy, When};
pub use derive::{Facts, row, rows, write_row};
pub use email::email_fits;
pub use field::{FieldDef, FieldKind, Mode, Source};
pub use lane::Lane;
pub use object::Object;
pub use record::{ReadUpsert, Row, RowKey, Upsert};
pub use refusal::{RowRefusal, RowRefusalReason};
pub use row::{finish_upsert, row_hash, write_upsert_key};
pub use sending::{CAUSES_MAX, Sending};
pub use status::{Labels, STATUSES, Status, StatusDef, status};
pub use value::Value;
