//! What sensor and collector both need to agree on. To begin with: the agent catalogue, which says
//! by what evidence each family of coding agents is recognised ([`Catalogue`]).
//!
//! Invariants:
//! - nothing here does more than read files of a directory it was given; there is no global state;
//! - what has been loaded has been checked: a [`Catalogue`] holds no pattern that does not compile,
//!   no weight out of range, no evidence that cannot be decisive together with others.
#![forbid(unsafe_code)]

mod catalogue;

pub use catalogue::{
    Catalogue, CatalogueError, Family, KnownHash, Layout, MIN_CONFIDENCE, Marker, MarkerScope,
    Multicall, NAME_WEIGHT_MAX, NameHint, NpmPackage, Pattern, Problem, PythonDistribution,
    Runtime,
};
