//! Where output may be cut without splitting a character.

/// The longest prefix of `bytes` that does not end inside a UTF-8 character: all of them, or up to
/// three fewer. Bytes that can't be completed to a character are not held back.
pub fn last_character_boundary(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let start = bytes.len() - length;
        let tail = &bytes[start..];
        let is_continuation = tail[0] & 0b1100_0000 == 0b1000_0000;
        if is_continuation {
            continue;
        }
        let incomplete =
            matches!(std::str::from_utf8(tail), Err(error) if error.error_len().is_none());
        return if incomplete { start } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_character_is_held_back() {
        for (bytes, held_back) in [
            (&b"abc"[..], 0),
            (b"a\xc3", 1),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"a\xc3\xa9", 0),
            (b"\x80\x80\x80\x80", 0),
            (b"a\xff", 0),
            (b"a\xe0\x80", 0),
            (b"", 0),
        ] {
            let boundary = last_character_boundary(bytes);
            assert_eq!(bytes.len() - boundary, held_back, "{bytes:?}");
        }
    }
}
