//! From a name to the most specific pattern that matches it, and from there to all others.
//!
//! Each pattern is a node. Its parent is the next less specific pattern that matches
//! whatever it matches, so that the patterns that match a name are a chain from one node
//! up. Node 0 matches everything.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sealwire_names::{Kind, PeerId, TrustDomain};

use crate::trie::Trie;
use crate::{NamePattern, PeerPattern, Principal};

/// The node that matches everything.
pub(crate) const ROOT: u32 = 0;

/// One pattern, of which something of type `T` may be said.
#[derive(Clone, Copy, Debug)]
struct Node<T> {
    parent: Option<u32>,
    is_exact: bool,
    /// Whether a rule names it.
    ruled: bool,
    /// The nearest node from here up that a rule names.
    nearest_ruled: Option<u32>,
    /// What is said of it.
    said: Option<T>,
}

#[derive(Clone, Debug)]
struct Nodes<T>(Vec<Node<T>>);

impl<T: Copy> Nodes<T> {
    fn new() -> Self {
        let mut nodes = Self(Vec::new());
        nodes.add(false);
        nodes
    }

    fn add(&mut self, is_exact: bool) -> u32 {
        let node = Node { parent: None, is_exact, ruled: false, nearest_ruled: None, said: None };
        self.0.push(node);
        (self.0.len() - 1) as u32
    }

    fn at(&mut self, node: u32) -> &mut Node<T> {
        &mut self.0[node as usize]
    }

    /// Once each parent is known: looks up the chain of each node, and remembers.
    fn finish(&mut self) {
        for node in 0..self.0.len() {
            let mut at = Some(node as u32);
            let (mut nearest_ruled, mut said) = (None, None);
            while let Some(here) = at {
                let here_node = &self.0[here as usize];
                if nearest_ruled.is_none() && here_node.ruled {
                    nearest_ruled = Some(here);
                }
                said = said.or(here_node.said);
                at = here_node.parent;
            }
            self.0[node].nearest_ruled = nearest_ruled;
            // What is said of a pattern holds for those below that say nothing. Nodes are
            // not met again with another meaning: the nearest wins either way.
            self.0[node].said = said;
        }
    }

    /// What there is to know of a node, without looking at it again.
    #[inline]
    fn standing(&self, node: u32) -> Standing<T> {
        let Node { nearest_ruled, said, .. } = self.0[node as usize];
        Standing { nearest_ruled, said }
    }

    fn chain(&self, nearest_ruled: Option<u32>) -> Chain<'_, T> {
        Chain { nodes: self, at: nearest_ruled }
    }
}

/// What holds for a peer. Kept beside its name, as each look elsewhere in the memory of a
/// large policy costs more than all else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<T> {
    nearest_ruled: Option<u32>,
    /// What is said of the nearest pattern.
    pub(crate) said: Option<T>,
}

/// The patterns that rules name and that match, most specific first.
#[derive(Clone)]
pub(crate) struct Chain<'a, T> {
    nodes: &'a Nodes<T>,
    at: Option<u32>,
}

impl<T: Copy> Iterator for Chain<'_, T> {
    /// The node, and whether it is of one name alone.
    type Item = (u32, bool);

    #[inline]
    fn next(&mut self) -> Option<(u32, bool)> {
        let node = self.at?;
        let here = &self.nodes.0[node as usize];
        self.at = here.parent.and_then(|parent| self.nodes.0[parent as usize].nearest_ruled);
        Some((node, here.is_exact))
    }
}

/// Patterns over names of one space.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    exact: HashMap<Box<str>, u32, RandomState>,
    prefixes: Trie,
    nodes: Nodes<u32>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let mut prefixes = Trie::default();
        prefixes.insert("", ROOT);
        Self { exact: HashMap::default(), prefixes, nodes: Nodes::new() }
    }

    /// The node of this pattern, made if it is new.
    pub(crate) fn node(&mut self, pattern: &NamePattern) -> u32 {
        match pattern {
            NamePattern::Exact(name) => match self.exact.get(name) {
                Some(node) => *node,
                None => {
                    let node = self.nodes.add(true);
                    self.exact.insert(name.clone(), node);
                    node
                }
            },
            NamePattern::Prefix(prefix) => self.prefixes.exactly(prefix).unwrap_or_else(|| {
                let node = self.nodes.add(false);
                self.prefixes.insert(prefix, node);
                // Found again when parents are looked for.
                node
            }),
        }
    }

    pub(crate) fn rule(&mut self, node: u32) {
        self.nodes.at(node).ruled = true;
    }

    /// Says something of a pattern; what was said first stays.
    pub(crate) fn say(&mut self, node: u32, what: u32) {
        self.nodes.at(node).said.get_or_insert(what);
    }

    /// Finds the parents. `patterns` are those that have been put in.
    pub(crate) fn finish<'p>(&mut self, patterns: impl Iterator<Item = &'p NamePattern>) {
        for pattern in patterns {
            let node = self.node(pattern);
            let (name, below) = match pattern {
                NamePattern::Exact(name) => (name, usize::MAX),
                NamePattern::Prefix(prefix) => (prefix, prefix.len()),
            };
            let parent = self.prefixes.longest(name, below);
            self.nodes.at(node).parent = parent.filter(|parent| *parent != node);
        }
        self.nodes.finish();
    }

    #[inline]
    pub(crate) fn find(&self, name: &str) -> u32 {
        match self.exact.get(name) {
            Some(node) => *node,
            None => self.prefixes.longest(name, usize::MAX).unwrap_or(ROOT),
        }
    }

    #[inline]
    pub(crate) fn chain(&self, node: u32) -> Chain<'_, u32> {
        self.nodes.chain(self.nodes.0[node as usize].nearest_ruled)
    }

    /// What is said of the nearest pattern.
    #[inline]
    pub(crate) fn said(&self, node: u32) -> Option<u32> {
        self.nodes.0[node as usize].said
    }
}

/// Patterns over peers.
#[derive(Clone, Debug)]
pub(crate) struct Peers<T> {
    /// What holds for each is known once all patterns are.
    exact: HashMap<PeerId, (u32, Standing<T>), RandomState>,
    /// One for each trust domain and kind that a pattern is about: a handful.
    families: Vec<(TrustDomain, Kind, Trie)>,
    local: u32,
    nodes: Nodes<T>,
}

impl<T: Copy> Peers<T> {
    pub(crate) fn new() -> Self {
        let mut nodes = Nodes::new();
        let local = nodes.add(true);
        nodes.at(local).parent = Some(ROOT);
        Self { exact: HashMap::default(), families: Vec::new(), local, nodes }
    }

    /// The node of this pattern, made if it is new.
    pub(crate) fn node(&mut self, pattern: &PeerPattern) -> u32 {
        match pattern {
            PeerPattern::Any => ROOT,
            PeerPattern::Local => self.local,
            PeerPattern::Exact(peer) => {
                let nodes = &mut self.nodes;
                let add = || {
                    let node = nodes.add(true);
                    (node, nodes.standing(node))
                };
                self.exact.entry(peer.clone()).or_insert_with(add).0
            }
            PeerPattern::Prefix(domain, kind, prefix) => {
                let at = self.families.iter().position(|(d, k, _)| d == domain && k == kind);
                let at = at.unwrap_or_else(|| {
                    self.families.push((domain.clone(), *kind, Trie::default()));
                    self.families.len() - 1
                });
                let trie = &mut self.families[at].2;
                trie.exactly(prefix).unwrap_or_else(|| {
                    let node = self.nodes.add(false);
                    trie.insert(prefix, node);
                    node
                })
            }
        }
    }

    pub(crate) fn rule(&mut self, node: u32) {
        self.nodes.at(node).ruled = true;
    }

    pub(crate) fn say(&mut self, node: u32, what: T) {
        self.nodes.at(node).said.get_or_insert(what);
    }

    /// Finds the parents. `patterns` are those that have been put in.
    pub(crate) fn finish<'p>(&mut self, patterns: impl Iterator<Item = &'p PeerPattern>) {
        for pattern in patterns {
            let node = self.node(pattern);
            let parent = match pattern {
                PeerPattern::Any => continue,
                PeerPattern::Local => Some(ROOT),
                PeerPattern::Exact(peer) => self.longest(peer, usize::MAX),
                PeerPattern::Prefix(domain, kind, prefix) => {
                    self.family(domain, *kind).and_then(|trie| trie.longest(prefix, prefix.len()))
                }
            };
            self.nodes.at(node).parent = Some(parent.unwrap_or(ROOT));
        }
        self.nodes.finish();
        for (node, standing) in self.exact.values_mut() {
            *standing = self.nodes.standing(*node);
        }
    }

    #[inline]
    pub(crate) fn find(&self, principal: Principal<'_>) -> Standing<T> {
        let Principal::Peer(peer) = principal else { return self.nodes.standing(self.local) };
        match self.exact.get(peer) {
            Some((_, standing)) => *standing,
            None => self.nodes.standing(self.longest(peer, usize::MAX).unwrap_or(ROOT)),
        }
    }

    #[inline]
    pub(crate) fn chain(&self, standing: &Standing<T>) -> Chain<'_, T> {
        self.nodes.chain(standing.nearest_ruled)
    }

    fn longest(&self, peer: &PeerId, below: usize) -> Option<u32> {
        self.family(peer.trust_domain(), peer.kind())?.longest(peer.name(), below)
    }

    fn family(&self, domain: &TrustDomain, kind: Kind) -> Option<&Trie> {
        self.families.iter().find(|(d, k, _)| d == domain && *k == kind).map(|(_, _, trie)| trie)
    }
}
