//! Tests of the store of transactions, and of a database with a long history.

mod after_commit;
mod claim_work;
mod explain;
mod history;
mod pages;
mod query_plans;
