//! The longest of many beginnings that a name has.

/// A trie over bytes, whose walk is as long as the name at most, however many beginnings
/// it holds.
#[derive(Clone, Debug)]
pub(crate) struct Trie {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default)]
struct Step {
    /// What follows, in the order of bytes.
    next: Vec<(u8, u32)>,
    /// The node of the beginning that ends here.
    node: Option<u32>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { steps: vec![Step::default()] }
    }
}

impl Trie {
    /// Puts a beginning in; yields the node that it had before, if it had one.
    pub(crate) fn insert(&mut self, prefix: &str, node: u32) -> Option<u32> {
        let mut at = 0;
        for byte in prefix.bytes() {
            at = match self.steps[at].next.binary_search_by_key(&byte, |(byte, _)| *byte) {
                Ok(found) => self.steps[at].next[found].1 as usize,
                Err(place) => {
                    let new = self.steps.len();
                    // Patterns are bounded by the size of the configuration, far below 4 GiB.
                    self.steps[at].next.insert(place, (byte, new as u32));
                    self.steps.push(Step::default());
                    new
                }
            };
        }
        self.steps[at].node.replace(node)
    }

    /// The node of exactly this beginning.
    pub(crate) fn exactly(&self, prefix: &str) -> Option<u32> {
        let mut at = 0;
        for byte in prefix.bytes() {
            at = self.follow(at, byte)?;
        }
        self.steps[at].node
    }

    /// The node of the longest beginning of `name` that is shorter than `below` bytes.
    pub(crate) fn longest(&self, name: &str, below: usize) -> Option<u32> {
        let mut at = 0;
        let mut longest = None;
        for byte in name.bytes().take(below) {
            longest = self.steps[at].node.or(longest);
            match self.follow(at, byte) {
                Some(next) => at = next,
                None => return longest,
            }
        }
        if name.len() < below { self.steps[at].node.or(longest) } else { longest }
    }

    fn follow(&self, at: usize, byte: u8) -> Option<usize> {
        let next = &self.steps[at].next;
        let found = next.binary_search_by_key(&byte, |(byte, _)| *byte).ok()?;
        Some(next[found].1 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_counts() {
        let mut trie = Trie::default();
        for (node, prefix) in ["", "read_", "read_f", "é"].into_iter().enumerate() {
            assert_eq!(trie.insert(prefix, node as u32), None);
        }
        let longest = |name: &str| trie.longest(name, usize::MAX);
        assert_eq!(longest(""), Some(0));
        assert_eq!(longest("rea"), Some(0));
        assert_eq!(longest("read_"), Some(1));
        assert_eq!(longest("read_file"), Some(2));
        assert_eq!(longest("éa"), Some(3));
        assert_eq!(trie.longest("read_f", 6), Some(1), "a shorter one");
        assert_eq!(trie.longest("", 0), None);
        assert_eq!(trie.exactly("read_"), Some(1));
        assert_eq!(trie.exactly("read"), None);
    }
}
