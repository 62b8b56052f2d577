//! From a file as written to what may be used: every value is compiled or refused with its line.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    Catalogue, CatalogueError, Compiled, Family, Generic, KnownHash, Language, Layout, Marker,
    MarkerScope, Multicall, NAME_WEIGHT_MAX, NameHint, NpmCache, NpmPackage, Problem,
    PythonDistribution, Runtime, UNKNOWN, generic, raw,
    value::{
        At, environment_name, folder, parse_sha256, path_pattern, path_patterns, regex, weight,
    },
};

/// Nothing is certain, so no single piece of evidence weighs 100.
const WEIGHT_MAX: u8 = 95;
/// A shorter text turns up by chance in megabytes of machine code.
const MARKER_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// A marker in a section of this name reads whole program segments, so it must say how large a
/// file has to be; below this, ordinary tools would be read.
const LARGE_SECTIONS: [&str; 3] = [".rodata", ".text", ".data"];
const LARGE_SECTION_MIN_SIZE: u64 = 32 << 20;

/// The files of one directory.
#[derive(Default)]
pub(super) struct Set {
    families: Vec<Family>,
    runtimes: Vec<Runtime>,
    generic: Option<Generic>,
    defined: HashMap<String, PathBuf>,
}

// === impl Set ===

impl Set {
    pub(super) fn add(&mut self, path: &Path, text: &str) -> Result<(), CatalogueError> {
        self.add_text(path, text)
            .map_err(|(span, problem)| CatalogueError::Invalid {
                path: path.to_owned(),
                line: line_of(text, span.start),
                problem,
            })
    }

    pub(super) fn finish(self) -> Catalogue {
        Catalogue {
            families: self.families,
            runtimes: self.runtimes,
            generic: self.generic,
        }
    }

    fn add_text(&mut self, path: &Path, text: &str) -> At<()> {
        let file: raw::File = toml::from_str(text).map_err(|error| {
            (
                error.span().unwrap_or(0..0),
                Problem::Form(error.message().to_owned()),
            )
        })?;
        let schema = *file.schema.get_ref();
        if schema != 1 {
            return Err((file.schema.span(), Problem::Schema { found: schema }));
        }
        let raw::File {
            schema: _,
            family: table,
            package,
            marker,
            hash,
            layout,
            python,
            name,
            runtime,
            generic: unknown,
        } = file;
        let has_generic = unknown.is_some();
        if let Some(unknown) = unknown {
            let span = unknown.span();
            if self.generic.is_some() {
                let id = "generic".to_owned();
                let first = path.to_owned();
                return Err((span, Problem::Duplicate { id, first }));
            }
            self.generic = Some(generic::check(unknown.into_inner())?);
        }
        let homeless = [
            ("package", package.first().map(Spanned::span)),
            ("marker", marker.first().map(Spanned::span)),
            ("hash", hash.first().map(Spanned::span)),
            ("layout", layout.first().map(Spanned::span)),
            ("python", python.first().map(Spanned::span)),
            ("name", name.first().map(Spanned::span)),
        ];
        let Some(table) = table else {
            if let Some((table, Some(span))) = homeless.into_iter().find(|(_, span)| span.is_some())
            {
                return Err((span, Problem::NoFamily { table }));
            }
            if runtime.is_empty() && !has_generic {
                return Err((0..0, Problem::Empty));
            }
            return self.add_runtimes(path, runtime);
        };
        let table_span = table.span();
        let table = table.into_inner();
        self.define("family", &table.id, path)?;
        let family = Family {
            id: table.id.into_inner(),
            title: table.title,
            vendor: table.vendor,
            plain_runtime_env: table
                .plain_runtime_env
                .into_iter()
                .map(|name| environment_name("plain_runtime_env", name))
                .collect::<At<_>>()?,
            multicall: Multicall {
                argv0: table.multicall.argv0,
                argv1: table.multicall.argv1,
            },
            packages: each(package, check_package)?,
            markers: each(marker, check_marker)?,
            hashes: each(hash, check_hash)?,
            layouts: each(layout, check_layout)?,
            python: each(python, check_python)?,
            names: each(name, check_name)?,
        };
        let by_more_than_names = !family.packages.is_empty()
            || !family.markers.is_empty()
            || !family.hashes.is_empty()
            || !family.layouts.is_empty()
            || !family.python.is_empty();
        if !by_more_than_names {
            return Err((table_span, Problem::NamesOnly { id: family.id }));
        }
        self.families.push(family);
        self.add_runtimes(path, runtime)
    }

    fn add_runtimes(&mut self, path: &Path, runtimes: Vec<Spanned<raw::Runtime>>) -> At<()> {
        for runtime in runtimes {
            self.define("runtime", &runtime.get_ref().id, path)?;
            self.runtimes.push(check_runtime(runtime.into_inner())?);
        }
        Ok(())
    }

    /// Refuses an id that is malformed or was defined before.
    fn define(&mut self, kind: &'static str, id: &Spanned<String>, path: &Path) -> At<()> {
        let text = id.get_ref();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || !text.bytes().all(fits) || text == UNKNOWN {
            let expected = "lower-case letters, digits and hyphens, and not `unknown`";
            return Err((
                id.span(),
                Problem::Value {
                    key: "id",
                    found: text.clone(),
                    expected,
                },
            ));
        }
        let key = format!("{kind} {text}");
        if let Some(first) = self.defined.get(&key) {
            return Err((
                id.span(),
                Problem::Duplicate {
                    id: text.clone(),
                    first: first.clone(),
                },
            ));
        }
        self.defined.insert(key, path.to_owned());
        Ok(())
    }
}

// === one evidence table each ===

fn each<R, T>(tables: Vec<Spanned<R>>, check: fn(R) -> At<T>) -> At<Vec<T>> {
    tables
        .into_iter()
        .map(|table| check(table.into_inner()))
        .collect()
}

fn check_package(package: raw::Package) -> At<NpmPackage> {
    Ok(NpmPackage {
        name: path_pattern("name", package.name)?,
        entry: path_patterns("entry", package.entry)?,
        version_suffix: package
            .version_suffix
            .map(|suffix| regex("version_suffix", &suffix))
            .transpose()?,
        weight: weight(&package.weight, WEIGHT_MAX)?,
    })
}

fn check_marker(marker: raw::Marker) -> At<Marker> {
    let scope = match (marker.scope.get_ref().as_str(), &marker.section) {
        ("bun", None) => MarkerScope::Bun,
        ("node-sea", None) => MarkerScope::NodeSea,
        ("script", None) => MarkerScope::Script,
        ("section", Some(section)) => MarkerScope::Section(section.get_ref().clone()),
        (found, _) => {
            let expected = "\"bun\", \"node-sea\", \"script\", or \"section\" with a key `section`";
            let problem = Problem::Value {
                key: "in",
                found: found.to_owned(),
                expected,
            };
            return Err((marker.scope.span(), problem));
        }
    };
    if !MARKER_BYTES.contains(&marker.text.get_ref().len()) {
        let problem = Problem::Value {
            key: "text",
            found: marker.text.get_ref().clone(),
            expected: "8 to 256 bytes",
        };
        return Err((marker.text.span(), problem));
    }
    if let MarkerScope::Section(section) = &scope
        && LARGE_SECTIONS.contains(&section.as_str())
        && marker.min_size < LARGE_SECTION_MIN_SIZE
    {
        let problem = Problem::Value {
            key: "min_size",
            found: marker.min_size.to_string(),
            expected: "at least 33554432 for a section that every program has",
        };
        return Err((marker.text.span(), problem));
    }
    let version = match marker.version {
        None => None,
        Some(source) => {
            let compiled = regex("version", &source)?;
            if compiled.captures_len() < 2 {
                return Err((source.span(), Problem::NoVersionGroup { key: "version" }));
            }
            Some(compiled)
        }
    };
    let language = match &marker.language {
        None => None,
        Some(language) => Some(match language.get_ref().as_str() {
            "go" => Compiled::Go,
            "rust" => Compiled::Rust,
            found => {
                let problem = Problem::Value {
                    key: "language",
                    found: found.to_owned(),
                    expected: "\"go\" or \"rust\"",
                };
                return Err((language.span(), problem));
            }
        }),
    };
    Ok(Marker {
        scope,
        text: marker.text.into_inner(),
        version,
        min_size: marker.min_size,
        static_only: marker.static_only,
        language,
        weight: weight(&marker.weight, WEIGHT_MAX)?,
    })
}

fn check_hash(hash: raw::Hash) -> At<KnownHash> {
    let sha256 = parse_sha256(hash.sha256.get_ref()).ok_or_else(|| {
        let found = hash.sha256.get_ref().clone();
        (
            hash.sha256.span(),
            Problem::Value {
                key: "sha256",
                found,
                expected: "64 hex digits",
            },
        )
    })?;
    let weight = weight(&hash.weight, WEIGHT_MAX)?;
    Ok(KnownHash {
        sha256,
        size: hash.size,
        version: hash.version,
        weight,
    })
}

fn check_layout(layout: raw::Layout) -> At<Layout> {
    let path = layout.path.get_ref();
    // A pattern with one directory only would be a name in disguise.
    if path.matches('/').count() < 2 {
        let found = path.clone();
        let expected = "a path with at least two directories";
        return Err((
            layout.path.span(),
            Problem::Value {
                key: "path",
                found,
                expected,
            },
        ));
    }
    let beside = layout.beside.into_iter().map(|name| {
        let text = name.get_ref();
        if text.is_empty() || text.contains('/') || text == ".." {
            let found = text.clone();
            let expected = "a file name";
            return Err((
                name.span(),
                Problem::Value {
                    key: "beside",
                    found,
                    expected,
                },
            ));
        }
        Ok(name.into_inner())
    });
    Ok(Layout {
        beside: beside.collect::<At<_>>()?,
        path: path_pattern("path", layout.path)?,
        weight: weight(&layout.weight, WEIGHT_MAX)?,
    })
}

fn check_python(python: raw::Python) -> At<PythonDistribution> {
    let name = python.distribution.get_ref();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(fits) {
        let found = name.clone();
        let expected = "a normalised name (PEP 503): lower case, digits, hyphens";
        let problem = Problem::Value {
            key: "distribution",
            found,
            expected,
        };
        return Err((python.distribution.span(), problem));
    }
    Ok(PythonDistribution {
        name: python.distribution.into_inner(),
        scripts: python.scripts,
        script_text: python.script_text,
        modules: python.modules,
        entry: path_patterns("entry", python.entry)?,
        weight: weight(&python.weight, WEIGHT_MAX)?,
    })
}

fn check_name(name: raw::Name) -> At<NameHint> {
    let weight = weight(&name.weight, NAME_WEIGHT_MAX)?;
    Ok(NameHint {
        name: path_pattern("name", name.name)?,
        weight,
    })
}

fn check_runtime(runtime: raw::Runtime) -> At<Runtime> {
    Ok(Runtime {
        id: runtime.id.into_inner(),
        file_name: path_patterns("file_name", runtime.file_name)?,
        defines: runtime.defines,
        imports: runtime.imports,
        needs: runtime
            .needs
            .map(|needs| path_pattern("needs", needs))
            .transpose()?,
        subcommands: runtime.subcommands,
        no_script_words: runtime.no_script_words,
        value_options: runtime.value_options,
        no_script_options: runtime.no_script_options,
        language: runtime.language.map(language).transpose()?,
        code_options: runtime.code_options,
        code_words: runtime.code_words,
        load_options: runtime.load_options,
        env_file_options: runtime.env_file_options,
        interactive_options: runtime.interactive_options,
        reads_stdin: runtime.reads_stdin,
        stdin_words: runtime.stdin_words,
        options_env: runtime
            .options_env
            .into_iter()
            .map(|name| environment_name("options_env", name))
            .collect::<At<_>>()?,
        startup_env: environment("startup_env", runtime.startup_env)?,
        path_env: environment("path_env", runtime.path_env)?,
        user_base: runtime
            .user_base
            .map(|name| folder("user_base", name))
            .transpose()?,
        specifier_words: runtime.specifier_words,
        npm_cache: runtime.npm_cache.map(check_npm_cache).transpose()?,
        module_option: runtime.module_option,
        clustered: runtime.clustered,
        extensions: runtime.extensions,
        loads_programs: runtime.loads_programs,
        plain_env: environment("plain_env", runtime.plain_env)?,
    })
}

fn environment(key: &'static str, name: Option<Spanned<String>>) -> At<Option<String>> {
    name.map(|name| environment_name(key, name)).transpose()
}

fn check_npm_cache(cache: raw::NpmCache) -> At<NpmCache> {
    Ok(NpmCache {
        env: environment_name("env", cache.env)?,
        folder: folder("folder", cache.folder)?,
    })
}

fn language(name: Spanned<String>) -> At<Language> {
    match name.get_ref().as_str() {
        "javascript" => Ok(Language::JavaScript),
        "python" => Ok(Language::Python),
        found => {
            let problem = Problem::Value {
                key: "language",
                found: found.to_owned(),
                expected: "\"javascript\" or \"python\"",
            };
            Err((name.span(), problem))
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
