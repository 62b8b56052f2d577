//! Catalogue files.

use std::{path::Path, sync::Arc};

use skep_catalogue::{Catalogue, CatalogueError, NAME_WEIGHT_MAX};
use skep_sensor::identify::Identifier;

/// Nothing is certain, as `skep_catalogue` says.
const CERTAIN: u8 = 100;

/// What is taken keeps to the weights and can be searched for; what is refused has a line.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Catalogue::of_text(Path::new("family.toml"), text) {
        Ok(catalogue) => {
            for family in catalogue.families() {
                let by_more = family.packages.iter().map(|piece| piece.weight);
                let by_more = by_more.chain(family.markers.iter().map(|piece| piece.weight));
                let by_more = by_more.chain(family.hashes.iter().map(|piece| piece.weight));
                let by_more = by_more.chain(family.layouts.iter().map(|piece| piece.weight));
                let by_more = by_more.chain(family.python.iter().map(|piece| piece.weight));
                let weights: Vec<u8> = by_more.collect();
                assert!(!weights.is_empty(), "{} has names alone", family.id);
                assert!(weights.iter().all(|weight| (1..CERTAIN).contains(weight)));
                for name in &family.names {
                    assert!(name.weight <= NAME_WEIGHT_MAX);
                    let _ = name.name.matches(bytes);
                }
                for layout in &family.layouts {
                    let _ = layout.path.version(bytes);
                }
            }
            Identifier::new(Arc::new(catalogue));
        }
        Err(CatalogueError::Invalid { line, problem, .. }) => {
            assert!((1..=text.split('\n').count()).contains(&line), "{line}");
            assert!(!problem.to_string().is_empty());
        }
        Err(error) => panic!("{error}"),
    }
}
