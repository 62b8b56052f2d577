//! Evidence within a Python program that is a zip archive: `python app.pyz`, an archive behind a `#!` line, and
//! what shiv and pex make.
//!
//! The metadata of a distribution counts when the archive starts that distribution's agent: by its `__main__.py`, by
//! the `environment.json` of shiv or the `PEX-INFO` of pex. An agent that an archive holds for its library is none.

use serde::Deserialize;
use skep_catalogue::{Catalogue, Language};

use super::{
    archive::{Archive, Member},
    code::{self, Load},
    command::{base_name, parent},
    evidence::Piece,
    python::{self, Run},
    source::Source,
};

/// Metadata of one archive that is looked at, at most.
const METADATA_MAX: usize = 4_096;

/// What shiv and pex write down of how an archive is started.
#[derive(Deserialize)]
struct Start {
    /// `module` or `module:function`.
    entry_point: Option<String>,
    /// Name of a console script.
    #[serde(alias = "console_script")]
    script: Option<String>,
}

/// Evidence that the archive at `real` is a known agent.
pub(super) fn pieces(catalogue: &Catalogue, source: &Source, real: &[u8]) -> Vec<Piece> {
    let Some(mut archive) = Archive::open(source) else {
        return Vec::new();
    };
    let is_start = |name: &[u8]| matches!(name, b"__main__.py" | b"environment.json" | b"PEX-INFO");
    let is_metadata =
        |name: &[u8]| base_name(name) == b"METADATA" && parent(name).ends_with(b".dist-info");
    let mut members = archive.members(|name| is_start(name) || is_metadata(name));
    members.truncate(METADATA_MAX);
    let starts = Starts::of(&archive, &members);
    let known = python::known(catalogue);
    let found = known.filter_map(|(family, distribution)| {
        starts.start(distribution).then_some(())?;
        let mut metadata = members.iter().filter(|(name, _)| {
            is_metadata(name) && python::is_metadata_of(base_name(parent(name)), distribution)
        });
        let (name, version) = metadata.find_map(|(name, member)| {
            let version = python::version_in(&archive.read(*member)?, distribution)?;
            Some((name, version))
        })?;
        let path = [real, b"/", name].concat();
        Some(python::piece(
            family,
            distribution,
            &path,
            version,
            real.to_vec(),
        ))
    });
    found.collect()
}

/// What an archive starts.
#[derive(Default)]
struct Starts {
    loads: Vec<Load>,
    scripts: Vec<String>,
    main: Vec<u8>,
}

// === impl Starts ===

impl Starts {
    fn of(archive: &Archive<'_>, members: &[(Vec<u8>, Member)]) -> Self {
        let mut starts = Self::default();
        for (name, member) in members {
            if !matches!(
                name.as_slice(),
                b"__main__.py" | b"environment.json" | b"PEX-INFO"
            ) {
                continue;
            }
            let Some(bytes) = archive.read(*member) else {
                continue;
            };
            if name == b"__main__.py" {
                starts
                    .loads
                    .extend(code::scan(Language::Python, &bytes).loads);
                starts.main = bytes;
            } else if let Ok(start) = serde_json::from_slice::<Start>(&bytes) {
                if let Some(entry) = start.entry_point {
                    let module = entry.split(':').next().unwrap_or_default();
                    starts.loads.push(Load::Run(module.into()));
                    starts.loads.push(Load::Import(module.into()));
                }
                starts.scripts.extend(start.script);
            }
        }
        starts
    }

    /// Whether it starts the agent of a distribution.
    fn start(&self, distribution: &skep_catalogue::PythonDistribution) -> bool {
        let by_load = self.loads.iter().any(|load| match load {
            Load::Run(name) => python::is_agent(distribution, Run::Module(name)),
            Load::Import(name) => python::is_agent(distribution, Run::Import(name)),
            Load::Module(_) | Load::File(_) => false,
        });
        let by_text = |text: &String| memchr::memmem::find(&self.main, text.as_bytes()).is_some();
        by_load
            || self
                .scripts
                .iter()
                .any(|script| distribution.scripts.contains(script))
            || distribution.script_text.iter().any(by_text)
    }
}
