//! The form of a catalogue file, as written. Values that are checked later carry their place.

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub schema: Spanned<i64>,
    pub family: Option<Spanned<FamilyTable>>,
    #[serde(default)]
    pub package: Vec<Spanned<Package>>,
    #[serde(default)]
    pub marker: Vec<Spanned<Marker>>,
    #[serde(default)]
    pub hash: Vec<Spanned<Hash>>,
    #[serde(default)]
    pub layout: Vec<Spanned<Layout>>,
    #[serde(default)]
    pub python: Vec<Spanned<Python>>,
    #[serde(default)]
    pub name: Vec<Spanned<Name>>,
    #[serde(default)]
    pub runtime: Vec<Spanned<Runtime>>,
    pub generic: Option<Spanned<Generic>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FamilyTable {
    pub id: Spanned<String>,
    pub title: String,
    pub vendor: String,
    #[serde(default)]
    pub plain_runtime_env: Vec<Spanned<String>>,
    #[serde(default)]
    pub multicall: Multicall,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Multicall {
    #[serde(default)]
    pub argv0: Vec<String>,
    #[serde(default)]
    pub argv1: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub name: Spanned<String>,
    pub entry: Vec<Spanned<String>>,
    pub version_suffix: Option<Spanned<String>>,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    /// `bun`, `node-sea`, `script` or `section`.
    #[serde(rename = "in")]
    pub scope: Spanned<String>,
    pub section: Option<Spanned<String>>,
    pub text: Spanned<String>,
    pub version: Option<Spanned<String>>,
    #[serde(default)]
    pub min_size: u64,
    #[serde(default)]
    pub static_only: bool,
    /// `go` or `rust`.
    pub language: Option<Spanned<String>>,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hash {
    pub sha256: Spanned<String>,
    pub size: u64,
    pub version: String,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    pub path: Spanned<String>,
    #[serde(default)]
    pub beside: Vec<Spanned<String>>,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Python {
    pub distribution: Spanned<String>,
    #[serde(default)]
    pub scripts: Vec<String>,
    #[serde(default)]
    pub script_text: Vec<String>,
    #[serde(default)]
    pub modules: Vec<String>,
    #[serde(default)]
    pub entry: Vec<Spanned<String>>,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    pub name: Spanned<String>,
    pub weight: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runtime {
    pub id: Spanned<String>,
    pub file_name: Vec<Spanned<String>>,
    #[serde(default)]
    pub defines: Vec<String>,
    #[serde(default)]
    pub imports: Vec<String>,
    pub needs: Option<Spanned<String>>,
    #[serde(default)]
    pub subcommands: Vec<String>,
    #[serde(default)]
    pub no_script_words: Vec<String>,
    #[serde(default)]
    pub value_options: Vec<String>,
    #[serde(default)]
    pub no_script_options: Vec<String>,
    /// `javascript` or `python`.
    pub language: Option<Spanned<String>>,
    #[serde(default)]
    pub code_options: Vec<String>,
    #[serde(default)]
    pub code_words: Vec<String>,
    #[serde(default)]
    pub load_options: Vec<String>,
    #[serde(default)]
    pub env_file_options: Vec<String>,
    #[serde(default)]
    pub interactive_options: Vec<String>,
    #[serde(default)]
    pub reads_stdin: bool,
    #[serde(default)]
    pub stdin_words: Vec<String>,
    #[serde(default)]
    pub options_env: Vec<Spanned<String>>,
    pub startup_env: Option<Spanned<String>>,
    pub path_env: Option<Spanned<String>>,
    pub user_base: Option<Spanned<String>>,
    #[serde(default)]
    pub specifier_words: Vec<String>,
    pub npm_cache: Option<NpmCache>,
    pub module_option: Option<String>,
    #[serde(default)]
    pub clustered: bool,
    #[serde(default)]
    pub extensions: Vec<String>,
    #[serde(default)]
    pub loads_programs: bool,
    pub plain_env: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generic {
    pub required: Vec<Vec<Spanned<String>>>,
    #[serde(default)]
    pub others: usize,
    pub platform_suffix: Option<Spanned<String>>,
    pub kind: Vec<Spanned<GenericKind>>,
    #[serde(default)]
    pub against: Vec<Against>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenericKind {
    pub id: Spanned<String>,
    pub says: String,
    pub weight: Spanned<i64>,
    #[serde(default)]
    pub npm: Vec<Spanned<String>>,
    #[serde(default)]
    pub pypi: Vec<Spanned<String>>,
    #[serde(default)]
    pub go: Vec<Spanned<String>>,
    #[serde(default)]
    pub rust: Vec<Spanned<String>>,
    /// One of them.
    #[serde(default)]
    pub text: Vec<Spanned<String>>,
    /// One of each list.
    #[serde(default)]
    pub text_all: Vec<Vec<Spanned<String>>>,
    pub words: Option<Spanned<String>>,
    pub not_words: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Against {
    pub says: String,
    pub points: Spanned<i64>,
    pub words: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NpmCache {
    pub env: Spanned<String>,
    pub folder: Spanned<String>,
}
