//! Which brackets are open at a place of a JSON text.

/// A stack of bits: set for an object, clear for an array. Nearly every message fits into the
/// one word; deeper texts spill, so that they too are scanned to their end and answered under
/// their own id.
pub(super) struct Brackets {
    /// The innermost ones, the last in the lowest bit, above them a 1 that marks the end.
    inner: u64,
    /// Full words of those outside.
    outer: Vec<u64>,
    open: usize,
    deepest: usize,
}

const NONE: u64 = 1;
const FULL: u64 = 1 << 63;

impl Brackets {
    pub(super) fn new() -> Self {
        Self { inner: NONE, outer: Vec::new(), open: 0, deepest: 0 }
    }

    /// How many are open.
    #[inline(always)]
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many were open at most.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    #[inline(always)]
    pub(super) fn push(&mut self, is_object: bool) {
        if self.inner >= FULL {
            self.outer.push(std::mem::replace(&mut self.inner, NONE));
        }
        self.inner = self.inner << 1 | u64::from(is_object);
        self.open += 1;
        self.deepest = self.deepest.max(self.open);
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) {
        self.inner >>= 1;
        if self.inner == NONE
            && let Some(word) = self.outer.pop()
        {
            self.inner = word;
        }
        self.open -= 1;
    }

    #[inline(always)]
    pub(super) fn innermost_is_object(&self) -> bool {
        self.inner & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_stack(steps in proptest::collection::vec(proptest::option::weighted(0.7, any::<bool>()), 0..2000)) {
            let (mut brackets, mut model, mut deepest) = (Brackets::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Some(is_object) => {
                        brackets.push(is_object);
                        model.push(is_object);
                    }
                    None if model.pop().is_some() => brackets.pop(),
                    None => {}
                }
                deepest = deepest.max(model.len());
                prop_assert_eq!((brackets.open(), brackets.deepest()), (model.len(), deepest));
                if let Some(is_object) = model.last() {
                    prop_assert_eq!(brackets.innermost_is_object(), *is_object);
                }
            }
        }
    }
}
