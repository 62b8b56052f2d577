//! An inspector, as the sensor starts it from its own program.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use skep_sensor::{identify::Identifier, inspect::serve, start};

pub fn serve(catalogue: &Path) -> Result<()> {
    let catalogue = Arc::new(start::catalogue(catalogue)?);
    Ok(serve::serve(Identifier::new(catalogue))?)
}
