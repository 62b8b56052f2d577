//! The sensor's configuration.

use std::path::Path;

use skep_sensor::config::{Catalogue, Config, ConfigError};

/// What is taken can be shown and taken again; what is refused is refused at a place in the text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = Path::new("sensor.toml");
    match Config::of_text(file, text) {
        Ok(config) => {
            // One that a file names has to exist.
            let catalogue = Catalogue {
                directory: "/".into(),
            };
            let config = Config {
                catalogue,
                ..config
            };
            let again = Config::of_text(file, &config.effective());
            assert_eq!(again.expect("what is in effect is valid"), config);
        }
        Err(ConfigError::Invalid { place, reason, .. }) => {
            let lines: Vec<&str> = text.split('\n').collect();
            let line = lines.get(place.line - 1).expect("a line of the text");
            assert!(place.column <= line.chars().count() + 1, "{place}");
            assert!(!reason.is_empty());
        }
        Err(error) => panic!("{error}"),
    }
}
