//! A hash over all rows of a table.

use hyprbox_protocol::to_hex;

use crate::crypto::Sha256;
use crate::store::Value;

/// Hashes rows in order. Each value is hashed with its type and, if it has one, its length, so that
/// different tables never produce the same input.
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn new() -> Self {
        Self(Sha256::default())
    }

    pub(super) fn add(&mut self, row: &[Value]) {
        for value in row {
            match value {
                Value::Null => self.0.update([0]),
                Value::Int(int) => self.fixed(1, *int),
                Value::Time(at) => self.fixed(2, at.as_millis()),
                Value::Text(text) => self.sized(3, text.as_bytes()),
                Value::Bytes(bytes) => self.sized(4, bytes),
            }
        }
        self.0.update([255]);
    }

    fn fixed(&mut self, tag: u8, number: i64) {
        self.0.update([tag]);
        self.0.update(number.to_be_bytes());
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// Returns the hash in hexadecimal.
    pub(super) fn finish(self) -> String {
        to_hex(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_rows_have_different_hashes() {
        let digest = |rows: &[Vec<Value>]| {
            let mut digest = Digest::new();
            rows.iter().for_each(|row| digest.add(row));
            digest.finish()
        };
        let text = |text: &str| Value::from(text);
        let tables = [
            vec![],
            vec![vec![text("ab"), text("c")]],
            vec![vec![text("a"), text("bc")]],
            vec![vec![text("ab")], vec![text("c")]],
            vec![vec![Value::Bytes(b"ab".to_vec()), text("c")]],
            vec![vec![Value::Null, text("c")]],
            vec![vec![Value::Int(0), text("c")]],
        ];
        let digests: std::collections::BTreeSet<String> =
            tables.iter().map(|rows| digest(rows)).collect();
        assert_eq!(digests.len(), tables.len());
    }
}
