//! The server from outside: its real binary as a process, spoken to over HTTP as people and agents
//! do. A file per behaviour; `harness` is what they all stand on.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    reason = "a test that fails shows what the programs logged"
)]

extern crate hyprbox_testkit as harness;

mod agent;
mod agent_check;
mod agent_upgrade;
mod auth;
mod backup;
mod caddy;
mod cancel;
mod check_jobs;
mod claim;
mod cli;
mod complete;
mod complete_with_output;
mod config;
mod confirm;
mod copied_agent;
mod crash;
mod credentials;
mod docs;
mod docs_run;
mod docs_start;
mod doctor;
mod door;
mod drift;
mod due;
mod enrol;
mod events;
mod exact;
mod exec;
mod export;
mod facts;
mod fail;
#[cfg(feature = "postgres")]
mod failover;
mod history_pages;
mod http;
mod http_values;
mod install;
mod keep;
mod lease;
mod ledger;
mod list;
mod list_pages;
mod log;
mod logging;
mod many_jobs;
mod memory;
mod metrics;
#[cfg(feature = "postgres")]
mod migrate_store;
mod node_edit;
mod node_pages;
mod nodes;
mod notify;
mod old_programs;
mod open_polls;
mod openapi;
mod ops;
mod output;
mod output_calls;
mod palette;
mod postgres;
mod postgres_tls;
mod presets;
mod queue;
mod replica_storm;
mod replicas;
mod review;
mod runs;
mod saved_presets;
mod schedule_clock;
mod schedule_forms;
mod schedule_pages;
mod schedule_replicas;
mod schedules;
mod secret_pages;
mod seed;
mod selector;
mod server_address;
mod sign_in;
mod signed_jobs;
mod signed_upgrade;
mod step_times;
mod stepped_clock;
mod stop;
mod stored_secrets;
mod stream;
mod stream_hashes;
mod stream_resume;
mod stream_viewers;
mod tls;
mod truth;
mod upgrade;
