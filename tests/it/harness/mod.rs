//! What every test stands on: the real server as a process, people and agents that talk HTTP with it, readers of its
//! streams, and its database as an operator sees it. Tests are plain threads; one runtime in the background does the I/O.

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
mod scene;
mod server;
mod sse;
mod tls;
mod wait;

pub(crate) use call::{Answer, Call};
pub(crate) use cluster::Cluster;
pub(crate) use database::Database;
pub(crate) use fake_agent::{FakeAgent, bytes_chunk, chunk};
pub(crate) use job::{Field, id_of, ids_of};
pub(crate) use line::Line;
pub(crate) use person::{PASSWORD, Person};
pub(crate) use presets::write_preset;
pub(crate) use raw::Raw;
pub(crate) use real_agent::RealAgent;
pub(crate) use scene::{with_node, with_operator};
pub(crate) use server::{Server, Setup};
pub(crate) use sse::{Event, Sse};
pub(crate) use tls::{Authority, TlsLine, write as write_file};
pub(crate) use wait::{PATIENCE, eventually};

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
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
