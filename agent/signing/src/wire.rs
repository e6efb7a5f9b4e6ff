//! The binary format of SSH (RFC 4251): strings with a length, and integers.

/// Reads fields from the front of a byte slice. `None` if the field is not there as a whole.
pub(crate) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|one| one[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn string(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.bytes(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// A positive integer of at most 256 bits in its only valid form, as 32 bytes.
    pub(crate) fn mpint32(&mut self) -> Option<[u8; 32]> {
        let digits = self.string()?;
        let digits = match digits {
            [0, second, ..] if second & 0x80 != 0 => &digits[1..],
            [first, ..] if *first != 0 && first & 0x80 == 0 => digits,
            _ => return None,
        };
        let mut number = [0; 32];
        let start = number.len().checked_sub(digits.len())?;
        number[start..].copy_from_slice(digits);
        Some(number)
    }

    /// The fields end here: `None` if bytes are left.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(crate) fn rest(&self) -> &'b [u8] {
        self.0
    }
}

/// Appends a string with its length.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends an integer. Our own fields are far shorter than its limit.
pub(crate) fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    out.extend_from_slice(&number.to_be_bytes());
}
