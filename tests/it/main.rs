

mod evolution;
mod records;
mod schemas;
