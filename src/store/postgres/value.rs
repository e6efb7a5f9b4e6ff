//! Converts values to and from PostgreSQL's binary format, by the type of the column.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::clock::Timestamp;
use crate::store::Value;

/// 2000-01-01 in milliseconds since 1970. PostgreSQL counts times from there.
const YEAR_2000_MS: i64 = 946_684_800_000;

/// The type that a parameter is sent as. The statement itself must determine the type of NULL.
pub(super) fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::UNKNOWN,
        Value::Int(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
        Value::Time(_) => Type::TIMESTAMPTZ,
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Null => return Ok(IsNull::Yes),
            Value::Int(int) => out.put_i64(*int),
            Value::Bytes(bytes) => out.put_slice(bytes),
            Value::Time(at) => out.put_i64((at.as_millis() - YEAR_2000_MS) * 1_000),
            // PostgreSQL does not accept a NUL in text. The server's own texts have none, so this
            // text is a client's and matches nothing.
            Value::Text(text) if text.contains('\0') => {
                return text.replace('\0', "\u{fffd}").to_sql(ty, out);
            }
            Value::Text(text) => out.put_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    /// The statement was prepared with [`type_of`].
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Returns values as parameters for the client.
pub(in crate::store) fn as_params(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

/// A column of a row, read as a [`Value`].
pub(in crate::store) struct Column(pub(in crate::store) Value);

impl<'a> FromSql<'a> for Column {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let value = match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => Value::Int(bool::from_sql(ty, raw)?.into()),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                let micros = i64::from_sql(&Type::INT8, raw)?;
                // Rounded down, so that a time that is read is never later than the time written.
                let millis = micros.div_euclid(1_000).saturating_add(YEAR_2000_MS);
                Value::Time(Timestamp::from_millis(millis))
            }
            _ => Value::Text(String::from_utf8_lossy(raw).into_owned()),
        };
        Ok(Self(value))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_round_trip() {
        for text in [
            "2026-11-24T09:30:00.123Z",
            "1999-12-31T23:59:59.999Z",
            "1970-01-01T00:00:00.000Z",
        ] {
            let at: Timestamp = text.parse().expect("a time");
            let mut raw = BytesMut::new();
            Value::Time(at)
                .to_sql(&Type::TIMESTAMPTZ, &mut raw)
                .expect("encodes");
            let Column(back) = Column::from_sql(&Type::TIMESTAMPTZ, &raw).expect("decodes");
            assert_eq!(back, Value::Time(at));
        }
    }

    #[test]
    fn a_nul_never_reaches_the_database() {
        let mut raw = BytesMut::new();
        Value::from("a\0b")
            .to_sql(&Type::TEXT, &mut raw)
            .expect("encodes");
        assert_eq!(&raw[..], "a\u{fffd}b".as_bytes());
    }
}
