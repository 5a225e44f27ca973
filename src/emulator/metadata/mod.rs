//! The Metadata API, by REST and by SOAP: brings deployments in and tells how they went.

mod rest;
mod soap;

pub use rest::{start as start_rest, status as status_rest};
pub use soap::respond as respond_soap;
