//! A bounded map that forgets what was not asked for lately.
//!
//! Two generations: when the young one is full it becomes the old one and the old one is dropped.
//! Holds at most twice `capacity` entries; every operation is one or two look-ups.

use std::{collections::HashMap, hash::Hash, mem};

#[derive(Clone, Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

// === impl Cache ===

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::new(4);
        for key in 0..100 {
            cache.insert(key, key * 2);
            assert!(cache.len() <= 8);
            assert_eq!(cache.get(0), Some(0), "used again and again");
        }
        assert_eq!(cache.get(99), Some(198));
        assert_eq!(cache.get(50), None);
    }
}
