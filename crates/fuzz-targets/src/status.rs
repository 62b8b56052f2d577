//! The answer of a running sensor, and the page made of it.

use skep_sensor::status::{Status, page};

/// The page changes nothing in the reader's terminal.
pub fn check(bytes: &[u8]) {
    if let Ok(status) = serde_json::from_slice::<Status>(bytes) {
        let page = page::render(&status);
        let hidden = page.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(hidden, None, "{page:?}");
    }
}
