//! Colours, and text that is cut to a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::store::job::JobStatus;

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Paint {
    pub(super) fn of(self, text: &str, colors: bool) -> String {
        let code = match self {
            _ if !colors => return text.to_owned(),
            Self::Plain => return text.to_owned(),
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The colour of a job's state.
    pub(super) fn of_status(status: JobStatus) -> Self {
        match status {
            JobStatus::Queued => Self::Dim,
            JobStatus::Running => Self::Cyan,
            JobStatus::Succeeded => Self::Green,
            JobStatus::Failed => Self::Red,
            JobStatus::Cancelled => Self::Yellow,
        }
    }
}

/// Truncates text to a width in columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut end = 0;
    let mut is_joined = false;
    // Joined characters, and marks with their character, are kept or left out as a whole.
    for (at, c) in text.char_indices() {
        let wide = c.width().unwrap_or(0);
        if wide > 0 && !is_joined {
            end = at;
        }
        if wide > left {
            break;
        }
        left -= wide;
        is_joined = c == '\u{200d}';
    }
    format!("{}\u{2026}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_its_width() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab\u{2026}");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}\u{2026}");
        assert_eq!(cut("a\u{1f468}\u{200d}\u{1f469}bcd", 4), "a\u{2026}");
        assert_eq!(cut("\u{65e5}\u{672c}\u{8a9e}", 4), "\u{65e5}\u{2026}");
    }
}
