//! What every test stands on: the real server as a process, people and agents that talk HTTP with
//! it, readers of its streams, and its database as an operator sees it. Tests are plain threads;
//! one runtime in the background does the I/O.
#![allow(
    clippy::print_stderr,
    reason = "a test that fails shows what the programs logged"
)]

mod call;
mod cluster;
mod database;
mod documented;
mod fake_agent;
mod job;
mod line;
mod person;
#[cfg(feature = "postgres")]
mod postgres;
mod presets;
mod raw;
mod real_agent;
pub mod receiver;
mod scene;
mod server;
mod sse;
mod tls;
mod wait;

/// The blocking client, for tests that talk to PostgreSQL themselves.
#[cfg(feature = "postgres")]
pub use ::postgres as postgres_client;
pub use call::{Answer, Call};
pub use cluster::Cluster;
pub use database::Database;
pub use fake_agent::{FakeAgent, bytes_chunk, chunk};
pub use job::{Field, id_of, ids_of};
pub use line::Line;
pub use person::{PASSWORD, Person};
pub use presets::write_preset;
pub use raw::Raw;
pub use real_agent::RealAgent;
pub use scene::{with_node, with_operator};
pub use server::{Server, Setup};
pub use sse::{Event, Sse};
pub use tls::{Authority, TlsLine, write as write_file};
pub use wait::{
    PATIENCE, Patience, eventually, eventually_within, joined, once_within, pass, reaches,
    unix_time, until,
};

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Does the I/O of every test; never the waiting of one.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A program that this build made: `hyprbox` or `hyprbox-agent`. Cargo puts both two folders above
/// a test's own program.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/TEST");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: plain `cargo test` builds it",
        path.display()
    );
    path
}
