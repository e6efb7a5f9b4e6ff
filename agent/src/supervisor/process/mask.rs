//! Hides secrets in a stream: every occurrence of every line of a secret becomes `***`, across chunk edges too.
//!
//! An Aho-Corasick automaton says after each byte how long the longest beginning of a secret is that ends there; only
//! that much is held back until more comes. Occurrences that overlap are hidden as one, so that no rest of one shows.

use std::collections::VecDeque;

/// Lines shorter than this are not hidden: they would turn up everywhere.
const MIN_CHARS: usize = 4;
const HIDDEN: &[u8] = b"***";
const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A state of the automaton; its children are a linked list, as nearly every state has one at most.
struct Node {
    byte: u8,
    first_child: u32,
    sibling: u32,
    /// The state for the longest proper suffix that is the beginning of a secret too.
    fail: u32,
    /// How many bytes of a secret's beginning this state has seen.
    depth: u32,
    /// The longest secret that ends here, 0 for none.
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

/// The secrets of one stream, and what is held back of it.
pub(super) struct Mask {
    nodes: Vec<Node>,
    /// True for bytes with which a secret begins: the rest is passed over quickly.
    begins: [bool; 256],
    state: u32,
    /// Bytes that are not given out yet, and where in the stream they begin.
    held: Vec<u8>,
    held_at: u64,
    /// Where in the stream secrets lie that are not given out yet; in order, apart from each other.
    found: VecDeque<(u64, u64)>,
}

impl Mask {
    /// `None` where there is nothing to hide.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut mask = Self {
            nodes: vec![Node::new(0, 0)],
            begins: [false; 256],
            state: ROOT,
            held: Vec::new(),
            held_at: 0,
            found: VecDeque::new(),
        };
        for line in secrets.flat_map(|secret| secret.split(['\n', '\r'])) {
            if line.chars().count() >= MIN_CHARS {
                mask.insert(line.as_bytes());
            }
        }
        mask.link();
        (mask.nodes.len() > 1).then_some(mask)
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

    /// Finds each state's `fail`, and with it the secrets that end there.
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

    /// Takes the stream's next bytes and appends to `out` what is safe to show.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = self.held_at + self.held.len() as u64;
        self.held.extend_from_slice(bytes);
        for byte in bytes {
            at += 1;
            if self.state == ROOT && !self.begins[usize::from(*byte)] {
                continue;
            }
            self.state = self.step(self.state, *byte);
            let longest = self.nodes[self.state as usize].longest;
            if longest > 0 {
                self.note(at - u64::from(longest), at);
            }
        }
        let open = u64::from(self.nodes[self.state as usize].depth);
        self.give_out(at - open, out);
    }

    /// The stream has ended: what was held back is no secret.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.give_out(self.held_at + self.held.len() as u64, out);
    }

    fn note(&mut self, mut from: u64, to: u64) {
        while let Some((start, _)) = self.found.pop_back_if(|(_, end)| *end > from) {
            from = from.min(start);
        }
        self.found.push_back((from, to));
    }

    /// Shows what lies before `limit`; no secret that is still to be found begins there.
    fn give_out(&mut self, mut limit: u64, out: &mut Vec<u8>) {
        // One that reaches past the limit may yet be joined by another.
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
        let given = usize::try_from(limit - self.held_at).unwrap_or(usize::MAX);
        self.held.drain(..given);
        self.held_at = limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], chunks: &[&[u8]]) -> String {
        let mut mask = Mask::new(secrets.iter().copied()).expect("something to hide");
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
        assert!(Mask::new(["abc", "\n"].into_iter()).is_none());
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
    fn only_the_beginning_of_a_secret_is_held_back() {
        let mut mask = Mask::new(["hunter2"].into_iter()).expect("something to hide");
        let mut out = Vec::new();
        mask.push(b"password: ", &mut out);
        assert_eq!(out, b"password: ");
        mask.push(b"hunt", &mut out);
        assert_eq!(out, b"password: ");
        mask.push(b"s\n", &mut out);
        assert_eq!(out, b"password: hunts\n");
    }
}
