//! Names of code that are no plain paths: URLs, packages of npm, built-in modules, code in a `data:` URL.
//!
//! Parsing only; where the files are is `modules.rs`.

use std::borrow::Cow;

/// What a specifier names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Specifier<'a> {
    /// A path, absolute or relative to who names it.
    Path(Cow<'a, [u8]>),
    /// A package that is looked for in the `node_modules` directories.
    Bare(Package<'a>),
    /// A package of a registry, which the runtime fetches itself.
    Npm(Npm<'a>),
    /// Code that stands in the specifier.
    Code(Vec<u8>),
    /// Code in it, in an encoding that is not read here.
    Encoded,
    /// From the network.
    Remote,
    /// A module of the runtime's own.
    BuiltIn,
}

/// A package and a path within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Package<'a> {
    /// With its scope: `@google/gemini-cli`.
    pub name: &'a [u8],
    /// Without a slash before it; empty for the package itself.
    pub subpath: &'a [u8],
}

/// `npm:name@version/subpath`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Npm<'a> {
    pub package: Package<'a>,
    /// A version or a range of them, as it stands there.
    pub version: Option<&'a [u8]>,
}

// === impl Specifier ===

impl<'a> Specifier<'a> {
    /// As JavaScript runtimes read it; `None` when it is none.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let after = |prefix: &[u8]| text.strip_prefix(prefix);
        if let Some(url) = after(b"file:") {
            // `file:///x`, `file://localhost/x` and `file:/x`
            let path = match url.strip_prefix(b"//") {
                Some(rest) => &rest[memchr::memchr(b'/', rest)?..],
                None => url,
            };
            return Some(Self::Path(decoded(until_query(path))));
        }
        if let Some(data) = after(b"data:") {
            let comma = memchr::memchr(b',', data)?;
            let (kind, code) = (&data[..comma], &data[comma + 1..]);
            if kind.ends_with(b";base64") {
                return Some(Self::Encoded);
            }
            return Some(Self::Code(decoded(code).into_owned()));
        }
        if let Some(npm) = after(b"npm:") {
            return Npm::parse(npm).map(Self::Npm);
        }
        if after(b"node:").or_else(|| after(b"bun:")).is_some() {
            return Some(Self::BuiltIn);
        }
        let is_remote = |prefix: &&[u8]| text.starts_with(prefix);
        if [&b"http:"[..], b"https:", b"jsr:", b"blob:"]
            .iter()
            .any(is_remote)
        {
            return Some(Self::Remote);
        }
        let is_path = |prefix: &&[u8]| text.starts_with(prefix);
        if [&b"/"[..], b"./", b"../"].iter().any(is_path) || text == b"." || text == b".." {
            return Some(Self::Path(Cow::Borrowed(text)));
        }
        Package::parse(text).map(Self::Bare)
    }
}

impl<'a> Package<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let slash = |from: usize| {
            let found = memchr::memchr(b'/', text.get(from..)?)?;
            Some(from + found)
        };
        let end = match text.first()? {
            b'@' => slash(slash(0)? + 1),
            b'.' | b'#' => return None,
            _ => slash(0),
        };
        let end = end.unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        // A name of npm leads out of no directory.
        let is_name = !name.is_empty() && !name.contains(&b'\\') && !name.ends_with(b"/..");
        is_name.then(|| Self {
            name,
            subpath: rest.strip_prefix(b"/").unwrap_or(rest),
        })
    }
}

impl<'a> Npm<'a> {
    /// What stands behind `npm:`.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let Package { name, subpath } = Package::parse(text)?;
        // A version stands behind the name's last part, and a range may hold a slash no more than that.
        let scope = memchr::memchr(b'/', name).map_or(0, |at| at + 1);
        let at = memchr::memchr(b'@', &name[scope..]).map(|at| scope + at);
        let at = at.filter(|at| *at > scope);
        Some(match at {
            Some(at) => Self {
                package: Package {
                    name: &name[..at],
                    subpath,
                },
                version: Some(&name[at + 1..]).filter(|version| !version.is_empty()),
            },
            None => Self {
                package: Package { name, subpath },
                version: None,
            },
        })
    }
}

/// Without query and fragment.
fn until_query(url: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', url);
    &url[..end.unwrap_or(url.len())]
}

/// With `%xx` decoded.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let pair = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match pair.and_then(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?)) {
            Some(value) => {
                // Two digits: below 256.
                out.push(value as u8);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn npm(text: &str) -> Option<[String; 3]> {
        let Some(Specifier::Npm(npm)) = Specifier::parse(text.as_bytes()) else {
            return None;
        };
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Package { name, subpath } = npm.package;
        Some([
            shown(name),
            shown(npm.version.unwrap_or_default()),
            shown(subpath),
        ])
    }

    #[test]
    fn packages_of_npm_have_a_scope_a_version_and_a_path() {
        for (text, wanted) in [
            ("npm:x", ["x", "", ""]),
            ("npm:/x@1", ["x", "1", ""]),
            ("npm:@google/gemini-cli", ["@google/gemini-cli", "", ""]),
            (
                "npm:@google/gemini-cli@0.9.0",
                ["@google/gemini-cli", "0.9.0", ""],
            ),
            (
                "npm:@google/gemini-cli@^0.9/gemini",
                ["@google/gemini-cli", "^0.9", "gemini"],
            ),
            (
                "npm:@google/gemini-cli/a/b.js",
                ["@google/gemini-cli", "", "a/b.js"],
            ),
        ] {
            assert_eq!(npm(text), Some(wanted.map(str::to_owned)), "{text}");
        }
        for none in ["npm:", "npm:@google", "npm:..", "npm:@x/.."] {
            assert_eq!(npm(none), None, "{none}");
        }
    }

    #[test]
    fn urls_and_paths_are_told_apart() {
        let path = |text: &str| match Specifier::parse(text.as_bytes()) {
            Some(Specifier::Path(path)) => String::from_utf8(path.into_owned()).ok(),
            _ => None,
        };
        assert_eq!(path("file:///a%20b/c.js?x#y").as_deref(), Some("/a b/c.js"));
        assert_eq!(path("file://localhost/c.js").as_deref(), Some("/c.js"));
        assert_eq!(path("../c.js").as_deref(), Some("../c.js"));
        let parsed = |text: &'static str| Specifier::parse(text.as_bytes());
        assert_eq!(parsed("node:fs"), Some(Specifier::BuiltIn));
        assert_eq!(parsed("https://x/y.js"), Some(Specifier::Remote));
        assert_eq!(
            parsed("data:text/javascript,import%20%27x%27"),
            Some(Specifier::Code(b"import 'x'".to_vec()))
        );
        assert_eq!(
            parsed("data:text/javascript;base64,eA=="),
            Some(Specifier::Encoded)
        );
        let bare = Package {
            name: b"@a/b",
            subpath: b"c/d",
        };
        assert_eq!(parsed("@a/b/c/d"), Some(Specifier::Bare(bare)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(text in prop::collection::vec(any::<u8>(), 0..60)) {
            for prefix in [&b""[..], b"npm:", b"file:", b"file://", b"data:", b"@"] {
                let text = [prefix, &text].concat();
                Specifier::parse(&text);
                Npm::parse(&text);
            }
        }
    }
}
