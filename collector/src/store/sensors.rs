//! What each sensor last said of itself in its `Hello`; kept in the log, all of it in memory.
//!
//! Bound: [`LIMIT`] sensors.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Sensors that one collector keeps facts of.
const LIMIT: usize = 100_000;
/// So many more than there are sensors are kept of what these say of their hooks, before what nobody says
/// any more is let go.
const HOOKS_KEPT: usize = 1024;

/// Facts of a sensor and its host, as of its last `Hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorFacts {
    pub sensor_id: String,
    /// Epoch of the bulk lane; 0 when only the other lane said hello so far.
    pub epoch: u64,
    /// Epoch of the findings lane.
    #[serde(default)]
    pub findings_epoch: Option<u64>,
    pub sensor_version: Option<String>,
    pub hostname: Option<String>,
    pub os: Option<String>,
    pub kernel: Option<String>,
    pub arch: Option<String>,
    pub boot_id: Option<String>,
    pub hooks: Hooks,
    /// Unix nanoseconds.
    pub first_hello: u64,
    pub last_hello: u64,
}

/// How a sensor observes each kind of fact. Most sensors of a fleet say the same, which is kept once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Hook>", into = "Vec<Hook>")]
pub struct Hooks(Arc<[Hook]>);

/// How a sensor observes one kind of fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hook {
    pub fact: String,
    pub hook: Option<String>,
    /// live, fallback, off; `None` when the sensor did not say.
    pub status: Option<String>,
    pub reason: Option<String>,
}

#[derive(Default)]
pub(super) struct Sensors(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_id: BTreeMap<String, SensorFacts>,
    /// All of them, until one changes.
    all: Option<Arc<Vec<SensorFacts>>>,
    /// What they say of their hooks, each once.
    hooks: HashSet<Hooks>,
}

// === impl Hooks ===

impl From<Vec<Hook>> for Hooks {
    fn from(hooks: Vec<Hook>) -> Self {
        Self(hooks.into())
    }
}

impl From<Hooks> for Vec<Hook> {
    fn from(hooks: Hooks) -> Self {
        hooks.to_vec()
    }
}

impl std::ops::Deref for Hooks {
    type Target = [Hook];

    fn deref(&self) -> &[Hook] {
        &self.0
    }
}

// === impl Known ===

impl Known {
    fn insert(&mut self, mut facts: SensorFacts) {
        if self.hooks.len() > self.by_id.len() + HOOKS_KEPT {
            self.hooks.retain(|hooks| Arc::strong_count(&hooks.0) > 1);
        }
        match self.hooks.get(&facts.hooks) {
            Some(known) => facts.hooks = known.clone(),
            None => {
                self.hooks.insert(facts.hooks.clone());
            }
        }
        self.by_id.insert(facts.sensor_id.clone(), facts);
    }
}

// === impl Sensors ===

impl Sensors {
    pub fn of(known: Vec<SensorFacts>) -> Self {
        let mut sensors = Known::default();
        known.into_iter().for_each(|facts| sensors.insert(facts));
        Self(Mutex::new(sensors))
    }

    /// New facts with what stays of the ones before.
    pub fn merge(&self, mut facts: SensorFacts) -> Result<SensorFacts> {
        let known = &self.known().by_id;
        match known.get(&facts.sensor_id) {
            Some(before) => {
                facts.first_hello = before.first_hello;
                facts.findings_epoch = facts.findings_epoch.or(before.findings_epoch);
                if facts.epoch == 0 {
                    facts.epoch = before.epoch;
                }
                Ok(facts)
            }
            None if known.len() >= LIMIT => Err(Error::TooManySensors { limit: LIMIT }),
            None => Ok(facts),
        }
    }

    /// What is in the log now.
    pub fn keep(&self, facts: SensorFacts) {
        let mut known = self.known();
        known.all = None;
        known.insert(facts);
    }

    pub fn all(&self) -> Arc<Vec<SensorFacts>> {
        let Known { by_id, all, .. } = &mut *self.known();
        let all = all.get_or_insert_with(|| Arc::new(by_id.values().cloned().collect()));
        Arc::clone(all)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no holder of the sensors panics")
    }
}
