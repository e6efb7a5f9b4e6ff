//! The newest entries of a list that the server returns in pages.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::{ScopeArg, Scoped};
use super::client::Client;
use super::error::CliError;
use super::screen::{Screen, print_note};
use super::table::Table;

/// Entries in one page.
const PAGE: u32 = 200;

/// The newest entries of a list.
pub(super) struct Newest<T> {
    pub(super) entries: Vec<T>,
    json: Vec<Value>,
    /// Where older entries begin; `None` if these are all.
    cursor: Option<String>,
    /// The list's name in the API, such as `jobs`.
    list: &'static str,
    limit: u32,
}

impl<T: DeserializeOwned> Newest<T> {
    /// Reads up to `limit` entries of `/api/{list}`.
    pub(super) async fn read(
        client: &Client,
        list: &'static str,
        query: &[(&'static str, String)],
        scope: &Scoped,
        limit: u32,
    ) -> Result<Self, CliError> {
        let mut query = query.to_vec();
        if scope.scope == ScopeArg::All {
            query.push(("scope", "all".to_owned()));
        }
        Self::read_at(client, &format!("/api/{list}"), list, &query, limit).await
    }

    /// Reads up to `limit` entries at this path, where the list has this name.
    pub(super) async fn read_at(
        client: &Client,
        path: &str,
        list: &'static str,
        query: &[(&'static str, String)],
        limit: u32,
    ) -> Result<Self, CliError> {
        let mut newest = Self {
            entries: Vec::new(),
            json: Vec::new(),
            cursor: None,
            list,
            limit,
        };
        let mut left = limit;
        while left > 0 {
            let mut pairs = form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(query);
            pairs.append_pair("limit", &left.min(PAGE).to_string());
            if let Some(cursor) = &newest.cursor {
                pairs.append_pair("cursor", cursor);
            }
            let path = format!("{path}?{}", pairs.finish());
            let page = client.list::<T>(&path, list).await?;
            left -= PAGE.min(left);
            newest.entries.extend(page.value);
            if let Value::Array(page) = &page.json[list] {
                newest.json.extend(page.iter().cloned());
            }
            newest.cursor = page.json["nextCursor"].as_str().map(str::to_owned);
            if newest.cursor.is_none() {
                break;
            }
        }
        Ok(newest)
    }

    /// Prints the entries as JSON, ids or a table, and whether there are older ones.
    pub(super) fn print(
        &self,
        screen: &Screen,
        id: impl Fn(&T) -> &str,
        if_empty: &str,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<(), CliError> {
        let json = json!({self.list: self.json, "nextCursor": self.cursor});
        if screen.is_done_with(&json, self.entries.iter().map(id))? {
            return Ok(());
        }
        if self.entries.is_empty() {
            print_note(if_empty);
            return Ok(());
        }
        screen.table(&table(&self.entries))?;
        if self.cursor.is_some() {
            let limit = self.limit;
            print_note(&format!(
                "Showing the newest {limit}; --limit N shows more."
            ));
        }
        Ok(())
    }
}
