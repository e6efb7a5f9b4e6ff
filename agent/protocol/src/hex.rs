//! Bytes as text.

use std::fmt::Write;

/// `bytes` as lower-case hexadecimal digits.
pub fn to_hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::to_hex;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(to_hex([0x00, 0x0a, 0xff]), "000aff");
        assert_eq!(to_hex(b""), "");
    }
}
