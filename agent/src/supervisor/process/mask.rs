//! Masks secrets in a stream: every occurrence of every line of a secret, and of its [`spellings`],
//! becomes `***`, also across chunk edges.
//!
//! After each byte, an Aho-Corasick automaton knows the longest prefix of a secret that ends there.
//! Only that prefix is held back until more bytes come. Overlapping occurrences are masked as one,
//! so that no part of either shows. The `aho-corasick` crate can't search a stream for overlapping
//! occurrences.

use std::collections::VecDeque;
use std::rc::Rc;

use hyprbox_protocol::PerStream;

use super::spellings;

/// The most states that spellings may add, at 24 bytes each: enough for some kilobytes of secrets.
/// Further spellings of larger secrets are not masked.
const MOST_STATES: usize = 1 << 20;
const HIDDEN: &[u8] = b"***";
const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A state of the automaton. Its children are a linked list, because most states have at most one.
struct Node {
    byte: u8,
    first_child: u32,
    sibling: u32,
    /// The state for the longest proper suffix that is also a prefix of a secret.
    fail: u32,
    /// Length of the prefix that this state stands for.
    depth: u32,
    /// Length of the longest secret that ends here; 0 if none does.
    longest: u32,
}

impl Node {
    fn new(byte: u8, depth: u32) -> Self {
        Self {
            byte,
            first_child: NONE,
            sibling: NONE,
            fail: ROOT,
            depth,
            longest: 0,
        }
    }
}

/// The automaton that finds the secrets.
struct Automaton {
    nodes: Vec<Node>,
    /// True for bytes that begin a secret. All others are skipped quickly.
    begins: [bool; 256],
}

/// Masks the secrets in one stream.
pub(super) struct Mask {
    automaton: Rc<Automaton>,
    state: u32,
    /// Bytes that are held back.
    held: Vec<u8>,
    /// The offset of `held` in the stream.
    held_at: u64,
    /// Ranges of secrets in `held`, as offsets in the stream, sorted and disjoint.
    found: VecDeque<(u64, u64)>,
}

impl Automaton {
    fn new<'a>(secrets: impl Iterator<Item = &'a str> + Clone) -> Self {
        let mut automaton = Self {
            nodes: vec![Node::new(0, 0)],
            begins: [false; 256],
        };
        for line in secrets.clone().flat_map(spellings::lines) {
            automaton.insert(line.as_bytes());
        }
        let most = automaton.nodes.len() + MOST_STATES;
        for spelling in secrets.flat_map(spellings::of) {
            if automaton.nodes.len() + spelling.len() > most {
                break;
            }
            automaton.insert(&spelling);
        }
        automaton.link();
        automaton
    }

    fn insert(&mut self, line: &[u8]) {
        self.begins[usize::from(line[0])] = true;
        let mut state = ROOT;
        for (depth, byte) in (1..).zip(line) {
            state = self.child(state, *byte).unwrap_or_else(|| {
                let new = u32::try_from(self.nodes.len()).expect("secrets are far smaller");
                let mut node = Node::new(*byte, depth);
                node.sibling = self.nodes[state as usize].first_child;
                self.nodes.push(node);
                self.nodes[state as usize].first_child = new;
                new
            });
        }
        let node = &mut self.nodes[state as usize];
        node.longest = node.depth;
    }

    /// Sets each state's `fail` and `longest`.
    fn link(&mut self) {
        let mut queue = VecDeque::from([ROOT]);
        while let Some(parent) = queue.pop_front() {
            let mut child = self.nodes[parent as usize].first_child;
            while child != NONE {
                let fail = if parent == ROOT {
                    ROOT
                } else {
                    let byte = self.nodes[child as usize].byte;
                    self.step(self.nodes[parent as usize].fail, byte)
                };
                let inherited = self.nodes[fail as usize].longest;
                let node = &mut self.nodes[child as usize];
                node.fail = fail;
                node.longest = node.longest.max(inherited);
                queue.push_back(child);
                child = node.sibling;
            }
        }
    }

    fn child(&self, state: u32, byte: u8) -> Option<u32> {
        let mut child = self.nodes[state as usize].first_child;
        while child != NONE {
            let node = &self.nodes[child as usize];
            if node.byte == byte {
                return Some(child);
            }
            child = node.sibling;
        }
        None
    }

    fn step(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            if let Some(next) = self.child(state, byte) {
                return next;
            }
            if state == ROOT {
                return ROOT;
            }
            state = self.nodes[state as usize].fail;
        }
    }
}

impl Mask {
    /// Returns a mask for each stream; `None` if there are no secrets.
    pub(super) fn pair<'a>(
        secrets: impl Iterator<Item = &'a str> + Clone,
    ) -> PerStream<Option<Self>> {
        let automaton = Rc::new(Automaton::new(secrets));
        PerStream::from_fn(|_| {
            (automaton.nodes.len() > 1).then(|| Self {
                automaton: Rc::clone(&automaton),
                state: ROOT,
                held: Vec::new(),
                held_at: 0,
                found: VecDeque::new(),
            })
        })
    }

    /// Consumes the stream's next bytes, and appends to `out` what is safe to show.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = self.held_at + self.held.len() as u64;
        self.held.extend_from_slice(bytes);
        for byte in bytes {
            at += 1;
            if self.state == ROOT && !self.automaton.begins[usize::from(*byte)] {
                continue;
            }
            self.state = self.automaton.step(self.state, *byte);
            let longest = self.automaton.nodes[self.state as usize].longest;
            if longest > 0 {
                self.add_match(at - u64::from(longest), at);
            }
        }
        let open = u64::from(self.automaton.nodes[self.state as usize].depth);
        self.release(at - open, out);
    }

    /// Releases everything that is held back: no further bytes can complete a secret.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.state = ROOT;
        self.release(self.held_at + self.held.len() as u64, out);
    }

    fn add_match(&mut self, mut from: u64, to: u64) {
        while let Some((start, _)) = self.found.pop_back_if(|(_, end)| *end > from) {
            from = from.min(start);
        }
        self.found.push_back((from, to));
    }

    /// Releases the bytes before `limit`. No secret that is still incomplete begins there.
    fn release(&mut self, mut limit: u64, out: &mut Vec<u8>) {
        // A secret that extends past the limit may still overlap with another one.
        if let Some((start, _)) = self.found.iter().find(|(_, end)| *end > limit) {
            limit = limit.min(*start);
        }
        let mut at = self.held_at;
        let held = |from: u64, to: u64| {
            let index = |offset: u64| usize::try_from(offset - self.held_at).unwrap_or(usize::MAX);
            &self.held[index(from)..index(to)]
        };
        while let Some((start, end)) = self.found.pop_front_if(|(_, end)| *end <= limit) {
            out.extend_from_slice(held(at, start));
            out.extend_from_slice(HIDDEN);
            at = end;
        }
        out.extend_from_slice(held(at, limit));
        let released = usize::try_from(limit - self.held_at).unwrap_or(usize::MAX);
        self.held.drain(..released);
        self.held_at = limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Option<Mask> {
        let [mask, _] = Mask::pair(secrets.iter().copied()).into_values();
        mask
    }

    fn masked(secrets: &[&str], chunks: &[&[u8]]) -> String {
        let mut mask = mask(secrets).expect("there are secrets");
        let mut out = Vec::new();
        for chunk in chunks {
            mask.push(chunk, &mut out);
        }
        mask.finish(&mut out);
        String::from_utf8(out).expect("the tests use text")
    }

    #[test]
    fn every_line_from_four_characters_on_is_hidden() {
        let key = "-----BEGIN-----\nabcdefgh\r\nxyz\n\u{e9}\u{e9}\u{e9}\n";
        let text = "x abcdefgh y abcdefgh\nxyz \u{e9}\u{e9}\u{e9} -----BEGIN-----";
        assert_eq!(
            masked(&[key], &[text.as_bytes()]),
            "x *** y ***\nxyz \u{e9}\u{e9}\u{e9} ***"
        );
        assert!(mask(&["abc", "\n"]).is_none());
    }

    #[test]
    fn overlapping_secrets_leave_no_rest() {
        assert_eq!(masked(&["abcd", "cdef"], &[b"1abcdef2"]), "1***2");
        assert_eq!(masked(&["abcd", "zabcdz"], &[b"1zabcdz2"]), "1***2");
        assert_eq!(masked(&["abcd", "zabcdz"], &[b"1zabcdy2"]), "1z***y2");
        assert_eq!(masked(&["abab"], &[b"ababab."]), "***.");
        assert_eq!(masked(&["hunter2"], &[b"hunter2hunter2"]), "******");
    }

    #[test]
    fn cuts_change_nothing() {
        let secrets = ["hunter2", "terra", "2hunt", "abcabcabd"];
        let text = b"hunter2hunterrahunt abcabcabcabd 2hunter2 hunte\nr2 hunter";
        let whole = masked(&secrets, &[text]);
        for first in 0..text.len() {
            for second in first..text.len() {
                let cut = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(masked(&secrets, &cut), whole);
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(masked(&secrets, &bytes), whole);
        for secret in secrets {
            assert!(!whole.contains(secret), "{whole}");
        }
    }

    #[test]
    fn only_a_prefix_of_a_secret_is_held_back() {
        let mut mask = mask(&["hunter2"]).expect("there are secrets");
        let mut out = Vec::new();
        mask.push(b"password: ", &mut out);
        assert_eq!(out, b"password: ");
        mask.push(b"hunt", &mut out);
        assert_eq!(out, b"password: ");
        mask.push(b"s\n", &mut out);
        assert_eq!(out, b"password: hunts\n");
    }

    /// Returns what a bash script prints that has a secret in `$s`.
    fn bash(script: &str, value: &str, locale: &str) -> Vec<u8> {
        let output = std::process::Command::new("/bin/bash")
            .args(["-c", &format!("exec 2>&1; {script}")])
            .env_clear()
            .env("s", value)
            .env("LC_ALL", locale)
            .env("PATH", "/usr/bin:/bin")
            .output()
            .expect("bash runs");
        output.stdout
    }

    const VALUES: [&str; 9] = [
        "Zq9'quo\"te",
        "a b$c`d\\e!f;g|h&i<j>k(l)m{n}o[p]q*r?s^t,u",
        "#begins ~with:~this=~that",
        "tab\tand \x1b[1mescape\x07\x08\x0b\x0c\x01",
        "gr\u{fc}\u{df}e \u{20ac} \u{1f600}",
        "gr\u{fc}\u{df}e\twith tab",
        "line one'\nline \"two\"\nl\u{e4}st",
        "plain0123456789",
        "~tilde/and#hash%percent+plus=x@y:z",
    ];

    #[test]
    fn quotings_of_bash_are_masked() {
        let scripts = [
            r#"printf '%q\n' "$s""#,
            r#"printf '%s\n' "${s@Q}""#,
            "declare -p s",
            "export -p | grep -A9 ' s='",
            "set -x; : \"$s\"",
            "set -x; x=$s",
            "set -x; : \"before $s after\"",
            "set -x; [[ x == \"$s\" ]] || :",
            "set -x; [[ x =~ $s ]] || :; [[ x =~ \"$s\" ]] || :",
            "set -x; [[ $s == x ]] || :",
            "set | grep -A9 '^s='",
            r#"x=("$s"); declare -p x"#,
            r#"printf '%q\n' "x=$s y:$s""#,
        ];
        for value in VALUES {
            for script in scripts {
                for locale in ["C.UTF-8", "C"] {
                    let output = bash(script, value, locale);
                    let shown = masked(&[value], &[&output]);
                    let output = String::from_utf8_lossy(&output);
                    assert!(shown.contains("***"), "{script} {locale}: {output:?}");
                    // No three consecutive letters of the value are left.
                    for letters in runs(value) {
                        assert!(
                            !shown.contains(letters) || script.contains(letters),
                            "{script} {locale}: {letters} of {output:?} is left in {shown:?}"
                        );
                    }
                }
            }
        }
    }

    /// Returns the runs of at least three letters and digits in each line that is masked.
    fn runs(value: &str) -> impl Iterator<Item = &str> {
        spellings::lines(value)
            .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()))
            .filter(|run| run.len() >= 3)
    }

    #[test]
    fn encodings_are_masked() {
        for (value, encoded) in [
            ("it's \"a\\b\"/<&>", r#"it's \"a\\b\"/<&>"#),
            ("it's \"a\\b\"/<&>", r#"it's \"a\\b\"\/<&>"#),
            ("it's \"a\\b\"/<&>", r#"it's \"a\\b\"/\u003c\u0026\u003e"#),
            ("gr\u{fc}n \u{1f600}\t", r"gr\u00fcn \ud83d\ude00\t"),
            ("gr\u{fc}n \u{1f600}\t", r"gr\u00FCn \uD83D\uDE00\t"),
            ("a b/c+d=\u{e9}~*'", "a%20b%2Fc%2Bd%3D%C3%A9~%2A%27"),
            ("a b/c+d=\u{e9}~*'", "a%20b%2fc%2bd%3d%c3%a9~%2a%27"),
            ("a b/c+d=\u{e9}~*'", "a%20b/c%2Bd%3D%C3%A9~%2A%27"),
            ("a b/c+d=\u{e9}~*'", "a%20b%2Fc%2Bd%3D%C3%A9~*'"),
            ("a b/c+d=\u{e9}~*'", "a%20b/c+d=%C3%A9~*'"),
            ("a b/c+d=\u{e9}~*'", "a+b%2Fc%2Bd%3D%C3%A9%7E*%27"),
            ("a b/c+d=\u{e9}~*'", "a+b%2Fc%2Bd%3D%C3%A9~%2A%27"),
            ("hunter2", "aHVudGVyMg=="),
            ("hunter2", "aHVudGVyMgo="),
            ("hunter2", "aHVudGVyMg"),
            ("a?>b?>c~", "YT8+Yj8+Y34="),
            ("a?>b?>c~", "YT8-Yj8-Y34="),
        ] {
            assert_eq!(
                masked(&[value], &[format!("<{encoded}>").as_bytes()])
                    .replace("***g>", "***>")
                    .as_str(),
                "<***>",
                "{value}"
            );
        }
    }

    #[test]
    fn base64_is_masked_at_each_alignment_and_over_several_lines() {
        use base64::Engine;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let value = "correct?horse>battery~staple";
        for before in ["", "x", "xy", "user:", "xyzxyz"] {
            for after in ["", "\n", "z", "zz", "zzzz"] {
                let text = format!("{before}{value}{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let shown = masked(&[value], &[encoded.as_bytes()]);
                    let hidden = encoded.len() - (shown.len() - 3);
                    assert!(shown.contains("***"), "{text:?}: {shown}");
                    assert!(hidden >= value.len() * 4 / 3 - 2, "{text:?}: {shown}");
                }
            }
        }
        let long: String = (0..300).map(|n| format!("{n:x}-")).collect();
        for wrap in [64, 76] {
            let encoded = STANDARD.encode(&long);
            let rows = encoded.as_bytes().chunks(wrap);
            let text: String = rows
                .map(|row| format!("{}\n", String::from_utf8_lossy(row)))
                .collect();
            let shown = masked(&[&long], &[text.as_bytes()]);
            assert!(shown.lines().all(|line| line == "***"), "{shown}");
        }
    }

    #[test]
    fn spellings_are_masked_across_cuts() {
        let secrets = ["it's \"so\"", "gr\u{fc}\u{df}e"];
        let text = r#"'it'\''s "so"' it%27s aXQncyAic28i gr\303\274\303\237e {"a":"it's \"so\""}"#;
        let whole = masked(&secrets, &[text.as_bytes()]);
        assert_eq!(whole, r#"'***' it%27s *** *** {"a":"***"}"#);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(masked(&secrets, &bytes), whole);
    }

    #[test]
    fn spellings_of_a_huge_secret_take_bounded_memory() {
        let huge: String = ('\u{4e00}'..='\u{9000}').cycle().take(65_536).collect();
        let secrets = [&huge[..]; 4];
        let plain = Automaton::new([&huge[..0]].into_iter()).nodes.len() + huge.len();
        let automaton = Automaton::new(secrets.into_iter());
        assert!(automaton.nodes.len() <= plain + MOST_STATES);
    }

    #[test]
    fn a_finished_mask_can_be_used_again() {
        let mut mask = mask(&["hunter2"]).expect("there are secrets");
        let mut out = Vec::new();
        mask.push(b"hunt", &mut out);
        mask.finish(&mut out);
        mask.push(b"er2 hunter2\n", &mut out);
        mask.finish(&mut out);
        assert_eq!(out, b"hunter2 ***\n");
    }
}
