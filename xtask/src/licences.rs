//! The licence check: every package that is built, against the allow-list of `deny.toml`.
//!
//! A package passes if its SPDX expression can be satisfied by allowed licences alone. One without
//! an expression fails: a text in a file is for a person to read, who then adds an entry here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::command::Run;
use crate::workspace;

/// Platform whose packages are checked: the only one the project is built for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    /// What single packages may have besides.
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    package: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

/// Checks the workspace and the kernel crate, prints a summary, and fails if any package is not
/// allowed.
pub fn check() -> Result<()> {
    let file = workspace::root().join("deny.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let policy: Policy =
        toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let allowed = policy.licenses;
    let trees = [
        (
            "workspace",
            packages(&workspace::root().join("Cargo.toml"), &[])?,
        ),
        (
            "kernel object",
            packages(
                &workspace::kernel_crate().join("Cargo.toml"),
                &["--features", "kernel"],
            )?,
        ),
    ];
    let mut refused = Vec::new();
    for (tree, packages) in &trees {
        let mut by_licence: BTreeMap<&str, usize> = BTreeMap::new();
        for package in packages {
            let licence = package.license.as_deref().unwrap_or("no SPDX expression");
            *by_licence.entry(licence).or_default() += 1;
            if !is_allowed(package.license.as_deref(), &allowed.of(&package.name)) {
                refused.push(format!(
                    "{} {}: {licence} ({tree})",
                    package.name, package.version
                ));
            }
        }
        println!("{tree}: {} packages", packages.len());
        for (licence, count) in by_licence {
            println!("  {count:4}  {licence}");
        }
    }
    if !refused.is_empty() {
        bail!("not allowed by deny.toml:\n{}", refused.join("\n"));
    }
    Ok(())
}

impl Licenses {
    /// The licences that one package may have.
    fn of(&self, package: &str) -> BTreeSet<String> {
        let exceptions = self.exceptions.iter().filter(|e| e.package == package);
        let exceptions = exceptions.flat_map(|exception| &exception.allow);
        self.allow.iter().chain(exceptions).cloned().collect()
    }
}

/// The packages that are built, among all that the lock file knows.
fn packages(manifest: &Path, features: &[&str]) -> Result<Vec<Package>> {
    let text = workspace::cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", PLATFORM, "--manifest-path"])
        .arg(manifest)
        .args(features)
        .quiet_output()?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot read the answer of cargo metadata")?;
    let built: BTreeSet<_> = metadata
        .resolve
        .nodes
        .into_iter()
        .map(|node| node.id)
        .collect();
    Ok(metadata
        .packages
        .into_iter()
        .filter(|package| built.contains(&package.id))
        .collect())
}

fn is_allowed(expression: Option<&str>, allowed: &BTreeSet<String>) -> bool {
    // Older packages write "MIT/Apache-2.0".
    let mode = ParseMode {
        allow_slash_as_or_operator: true,
        ..ParseMode::STRICT
    };
    expression
        .and_then(|text| Expression::parse_mode(text, mode).ok())
        .is_some_and(|parsed| parsed.evaluate(|licence| allowed.contains(&licence.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: Option<&str>) -> bool {
        let list = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        is_allowed(expression, &list.map(str::to_owned).into())
    }

    #[test]
    fn a_choice_passes_if_one_side_is_allowed_and_a_conjunction_if_both_are() {
        assert!(allowed(Some("MIT OR GPL-2.0-only")));
        assert!(allowed(Some("MIT/Apache-2.0")));
        assert!(!allowed(Some("MIT AND GPL-2.0-only")));
    }

    #[test]
    fn a_licence_of_one_package_is_not_one_of_all() {
        let policy = r#"allow = ["MIT"]
            exceptions = [{ crate = "one", allow = ["MPL-2.0"] }]"#;
        let policy: Licenses = toml::from_str(policy).unwrap();
        assert!(is_allowed(Some("MIT AND MPL-2.0"), &policy.of("one")));
        assert!(!is_allowed(Some("MPL-2.0"), &policy.of("another")));
    }

    #[test]
    fn an_exception_must_be_allowed_by_name() {
        assert!(allowed(Some("Apache-2.0 WITH LLVM-exception")));
        assert!(!allowed(Some("Apache-2.0 WITH Classpath-exception-2.0")));
    }

    #[test]
    fn a_package_without_an_expression_is_refused() {
        assert!(!allowed(None));
        assert!(!allowed(Some("see LICENSE file")));
    }
}
