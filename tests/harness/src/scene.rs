//! Where most tests begin.

use super::{FakeAgent, Person, Server};

/// A server, its first ADMIN, and the agent of its one node, `n1`.
pub fn with_node() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

/// The same with an OPERATOR, `ann`, who may not do everything.
pub fn with_operator() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("n1");
    (server, ann, agent)
}
