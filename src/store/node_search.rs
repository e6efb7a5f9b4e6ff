//! The search for nodes by words.

use super::StoreError;
use super::tx::{Statement, Tx, read_all};

/// Further words of a search are ignored.
const SEARCH_WORDS_MAX: usize = 8;

/// A node that matches a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMatch {
    /// The slug.
    pub id: String,
    /// `ID` of os-release; empty if unknown.
    pub os_id: String,
    /// `ID_LIKE` of os-release.
    pub os_id_like: String,
}

/// Returns the nodes that contain every word in their id, name,
/// hostname, operating system or labels, ordered by id. Without words, returns every node.
pub fn search(tx: &mut dyn Tx, sought: &str) -> Result<Vec<NodeMatch>, StoreError> {
    let mut sql = String::from(include_str!("sql/node_search.sql"));
    let mut params = Vec::new();
    for word in sought.split_whitespace().take(SEARCH_WORDS_MAX) {
        let word = word
            .to_lowercase()
            .replace('\\', r"\\")
            .replace('%', r"\%")
            .replace('_', r"\_");
        params.push(format!("%{word}%").into());
        sql.push_str(&format!(
            include_str!("sql/node_search_word.sql"),
            word = params.len()
        ));
    }
    sql.push_str(" ORDER BY id");
    read_all(tx.query(&Statement::composed(sql), &params)?, |row| {
        Ok(NodeMatch {
            id: row.take()?,
            os_id: row.take()?,
            os_id_like: row.take()?,
        })
    })
}
