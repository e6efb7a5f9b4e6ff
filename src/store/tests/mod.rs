//! Tests of the store that need a database with a long history.

mod explain;
mod history;
mod query_plans;
