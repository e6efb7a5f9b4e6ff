//! A transaction that records the query plan of each statement.

use std::fmt::Write as _;

use crate::store::{AfterCommit, Change, Row, Statement, StoreError, Tx, Value};

/// Runs each statement and keeps its plan.
pub(super) struct ExplainingTx<'t> {
    pub(super) tx: &'t mut dyn Tx,
    pub(super) plans: Vec<(String, String)>,
}

impl ExplainingTx<'_> {
    fn explain(&mut self, statement: &Statement, params: &[Value]) -> Result<(), StoreError> {
        let mut plan = String::new();
        if self.tx.is_shared() {
            #[cfg(feature = "postgres")]
            {
                let types = list(params, |value| type_of(value).to_owned());
                let prepare = format!("PREPARE explained{types} AS {}", statement.for_postgres());
                self.tx.execute(&Statement::composed(prepare), &[])?;
                let explain = format!("EXPLAIN EXECUTE explained{}", list(params, literal));
                // After five executions PostgreSQL may switch to a generic plan, as it does for the
                // server's prepared statements.
                for _ in 0..7 {
                    self.read_plan(&explain, &mut plan)?;
                }
                let deallocate = Statement::new("DEALLOCATE explained");
                self.tx.execute(&deallocate, &[])?;
            }
        } else {
            let sql = format!("EXPLAIN QUERY PLAN {}", statement.for_sqlite());
            for mut row in self.tx.query(&Statement::composed(sql), params)? {
                let _numbers: (i64, i64, i64) = (row.take()?, row.take()?, row.take()?);
                writeln!(plan, "{}", row.take::<String>()?).expect("memory");
            }
        }
        self.plans.push((statement.for_sqlite().to_owned(), plan));
        Ok(())
    }

    #[cfg(feature = "postgres")]
    fn read_plan(&mut self, explain: &str, plan: &mut String) -> Result<(), StoreError> {
        let explain = Statement::composed(explain.to_owned());
        for mut row in self.tx.query(&explain, &[])? {
            writeln!(plan, "{}", row.take::<String>()?).expect("memory");
        }
        Ok(())
    }
}

/// `(a, b)`, or nothing without parameters.
#[cfg(feature = "postgres")]
fn list(params: &[Value], word: impl Fn(&Value) -> String) -> String {
    let words: Vec<String> = params.iter().map(word).collect();
    if words.is_empty() {
        String::new()
    } else {
        format!("({})", words.join(", "))
    }
}

#[cfg(feature = "postgres")]
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bytes(bytes) => format!("'\\x{}'", hyprbox_protocol::to_hex(bytes)),
        Value::Time(at) => format!("'{at}'"),
    }
}

#[cfg(feature = "postgres")]
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "unknown",
        Value::Int(_) => "bigint",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytea",
        Value::Time(_) => "timestamptz",
    }
}

impl Tx for ExplainingTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.explain(statement, params)?;
        self.tx.query(statement, params)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.explain(statement, params)?;
        self.tx.execute(statement, params)
    }

    fn publish(&mut self, change: Change) {
        self.tx.publish(change);
    }

    fn after_commit(&mut self, act: AfterCommit) {
        self.tx.after_commit(act);
    }

    fn is_shared(&self) -> bool {
        self.tx.is_shared()
    }
}
