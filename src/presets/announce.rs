//! The lines by which a script tells how far it is: [`render`](super::render) writes them, whoever
//! follows a job's output reads them. `assets/steps.js` reads the same ones.

/// What the line of a step that is done already ends with.
pub(super) const DONE: &str = " (already done)";
/// What stands before a step's name once its verify has failed.
pub(super) const VERIFY_FAILED: &str = "verify failed: ";

/// A step, as its line on stdout announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced<'l> {
    /// Its number, counted from 1.
    pub number: u32,
    /// How many steps there are.
    pub of: u32,
    /// Its name.
    pub name: &'l str,
    /// Whether it is skipped.
    pub is_done: bool,
}

/// What the lines of a step begin with: `==> [2/5]`.
pub(super) fn label(number: usize, of: usize) -> String {
    format!("==> [{number}/{of}]")
}

/// The step that a line of stdout announces. A script may print such lines itself: the caller knows
/// which one can come next.
pub fn announced(line: &str) -> Option<Announced<'_>> {
    let (number, of, text) = labelled(line)?;
    let done = text.strip_suffix(DONE);
    Some(Announced {
        number,
        of,
        name: done.unwrap_or(text),
        is_done: done.is_some(),
    })
}

/// The number of the step of which a line of stderr says that its verify failed.
pub fn failed_verify(line: &str) -> Option<u32> {
    let (number, _, text) = labelled(line)?;
    text.starts_with(VERIFY_FAILED).then_some(number)
}

fn labelled(line: &str) -> Option<(u32, u32, &str)> {
    let (count, text) = line.strip_prefix("==> [")?.split_once("] ")?;
    let (number, of) = count.split_once('/')?;
    let counted = |digits: &str| {
        let is_number =
            (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    (!text.is_empty()).then_some((counted(number)?, counted(of)?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = format!("{} Set the [SSH] port", label(2, 15));
        let step = announced(&line).expect("a step");
        assert_eq!((step.number, step.of, step.is_done), (2, 15, false));
        assert_eq!(step.name, "Set the [SSH] port");
        let done = announced("==> [2/5] Update (already done)").expect("a step");
        assert_eq!((done.name, done.is_done), ("Update", true));
        assert_eq!(failed_verify("==> [3/5] verify failed: Update"), Some(3));
        assert_eq!(failed_verify("==> [3/5] Update"), None);
    }

    #[test]
    fn what_is_no_announcement_is_none() {
        for line in [
            "==> [x/5] no",
            "==> [/] no",
            " ==> [1/2] no",
            "==> [1/2]",
            "==> [1/2] ",
            "==> [+1/2] no",
            "==> [1000/2] no",
            "==> [1] no",
            "",
        ] {
            assert_eq!(announced(line), None, "{line:?}");
        }
    }
}
