//! What a runtime was told to run: its script, by its arguments.
//!
//! The catalogue says which options of a runtime take a value and after which there is no script;
//! an unknown option is taken for one without a value.

use skep_catalogue::{Catalogue, Runtime};
use skep_event::Text;

use super::Candidate;

/// The program a runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program<'a> {
    /// The argument of this index.
    File { index: usize },
    /// A Python module.
    Module(&'a [u8]),
    /// Read from standard input.
    Stdin,
    /// Code in an argument, or nothing to run.
    None,
}

impl Program<'_> {
    /// Whether it would be another one if arguments had been cut off at the end.
    pub(super) fn may_be_cut(&self, argv: &[Text]) -> bool {
        match self {
            Self::File { index } => index + 1 == argv.len(),
            // A lone hyphen is not the end of something.
            Self::Stdin => argv.last().is_none_or(|last| last.as_bytes() != b"-"),
            Self::Module(_) | Self::None => false,
        }
    }
}

pub(super) fn program<'a>(runtime: &Runtime, argv: &'a [Text]) -> Program<'a> {
    let has = |list: &[String], word: &[u8]| list.iter().any(|known| known.as_bytes() == word);
    let mut index = 1;
    let mut may_be_subcommand = true;
    while let Some(argument) = argv.get(index).map(Text::as_bytes) {
        if argument == b"--" {
            let next = index + 1;
            return if next < argv.len() {
                Program::File { index: next }
            } else {
                Program::Stdin
            };
        }
        if argument == b"-" {
            return Program::Stdin;
        }
        if !argument.starts_with(b"-") {
            if may_be_subcommand && has(&runtime.no_script_words, argument) {
                return Program::None;
            }
            if may_be_subcommand && has(&runtime.subcommands, argument) {
                may_be_subcommand = false;
                index += 1;
                continue;
            }
            return Program::File { index };
        }
        if runtime.clustered && !argument.starts_with(b"--") {
            match cluster(runtime, argument) {
                Cluster::Flags => index += 1,
                Cluster::TakesNext => index += 2,
                Cluster::NoScript => return Program::None,
                Cluster::Module { rest } if !rest.is_empty() => return Program::Module(rest),
                Cluster::Module { .. } => {
                    let next = argv.get(index + 1).map(Text::as_bytes);
                    return next.map_or(Program::None, Program::Module);
                }
            }
            continue;
        }
        let (name, has_value) = match argument.iter().position(|byte| *byte == b'=') {
            Some(at) => (&argument[..at], true),
            None => (argument, false),
        };
        if has(&runtime.no_script_options, name) {
            return Program::None;
        }
        index += if !has_value && has(&runtime.value_options, name) {
            2
        } else {
            1
        };
    }
    if argv.is_empty() {
        Program::None
    } else {
        Program::Stdin
    }
}

/// The argument that is the script, as far as the program's name tells that it is a runtime: for words, where
/// nobody could look.
pub(crate) fn script_by_name<'a>(
    catalogue: &Catalogue,
    candidate: &Candidate<'a>,
) -> Option<&'a Text> {
    let name = base_name(candidate.exe?.as_bytes());
    let is = |runtime: &&Runtime| {
        runtime
            .file_name
            .iter()
            .any(|pattern| pattern.matches(name))
    };
    let runtime = catalogue.runtimes().iter().find(is)?;
    match program(runtime, candidate.argv) {
        Program::File { index } => candidate.argv.get(index),
        Program::Module(_) | Program::Stdin | Program::None => None,
    }
}

enum Cluster<'a> {
    Flags,
    TakesNext,
    NoScript,
    Module { rest: &'a [u8] },
}

/// Joined single-letter options: the first that takes a value ends the run.
fn cluster<'a>(runtime: &Runtime, argument: &'a [u8]) -> Cluster<'a> {
    for (at, letter) in argument.iter().enumerate().skip(1) {
        let option = [b'-', *letter];
        let is = |known: &String| known.as_bytes() == option;
        let rest = &argument[at + 1..];
        if runtime.module_option.as_ref().is_some_and(is) {
            return Cluster::Module { rest };
        }
        if runtime.no_script_options.iter().any(is) {
            return Cluster::NoScript;
        }
        if runtime.value_options.iter().any(is) {
            return if rest.is_empty() {
                Cluster::TakesNext
            } else {
                Cluster::Flags
            };
        }
    }
    Cluster::Flags
}

/// The last component of a path.
pub(super) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// `path` from `directory` on; `None` when it is relative and the directory is not known.
pub(super) fn absolute(path: &[u8], directory: Option<&[u8]>) -> Option<Vec<u8>> {
    if path.first() == Some(&b'/') {
        return Some(path.to_vec());
    }
    let directory = directory.filter(|directory| directory.first() == Some(&b'/'))?;
    Some([directory, b"/", path].concat())
}

/// The directory part of an absolute path, without a slash at the end (empty for the root).
pub(super) fn parent(path: &[u8]) -> &[u8] {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(runtime: &str, line: &str) -> String {
        let catalogue = Catalogue::embedded();
        let runtime = catalogue
            .runtimes()
            .iter()
            .find(|r| r.id == runtime)
            .expect("known");
        let argv: Vec<Text> = line.split(' ').map(Text::from).collect();
        match program(runtime, &argv) {
            Program::File { index } => argv[index].escaped(),
            Program::Module(name) => format!("module {}", String::from_utf8_lossy(name)),
            Program::Stdin => "stdin".to_owned(),
            Program::None => "none".to_owned(),
        }
    }

    #[test]
    fn node_finds_its_script_behind_its_options() {
        assert_eq!(run("node", "node cli.js /x/other.js"), "cli.js");
        assert_eq!(
            run(
                "node",
                "node --max-old-space-size=4096 --expose-gc cli.js -p hi"
            ),
            "cli.js"
        );
        assert_eq!(run("node", "node -r ./hook.js --title x cli.js"), "cli.js");
        assert_eq!(run("node", "node --require=./hook.js cli.js"), "cli.js");
        assert_eq!(run("node", "node inspect cli.js"), "cli.js");
        assert_eq!(run("node", "node --inspect cli.js"), "cli.js");
        assert_eq!(run("node", "node -- cli.js"), "cli.js");
    }

    #[test]
    fn node_with_code_in_an_argument_runs_no_script() {
        for line in [
            "node -e 1 cli.js",
            "node --eval=1 cli.js",
            "node -p 1 cli.js",
            "node --test cli.js",
        ] {
            assert_eq!(run("node", line), "none", "{line}");
        }
        assert_eq!(run("node", "node"), "stdin");
        assert_eq!(run("node", "node - cli.js"), "stdin");
    }

    #[test]
    fn python_options_may_be_joined() {
        assert_eq!(
            run("python", "python3 /v/bin/aider --model x"),
            "/v/bin/aider"
        );
        assert_eq!(run("python", "python3 -Es -X dev -Wignore a.py"), "a.py");
        assert_eq!(run("python", "python3 -W ignore a.py"), "a.py");
        assert_eq!(run("python", "python3 -Im aider --x"), "module aider");
        assert_eq!(run("python", "python3 -maider"), "module aider");
        assert_eq!(run("python", "python3 -uc code aider"), "none");
        assert_eq!(run("python", "python3 -m"), "none");
    }

    #[test]
    fn bun_and_deno_run_a_script_with_or_without_a_word_before_it() {
        assert_eq!(run("bun", "bun run --cwd /x cli.js"), "cli.js");
        assert_eq!(run("bun", "bun cli.js"), "cli.js");
        assert_eq!(run("bun", "bun install cli.js"), "none");
        assert_eq!(run("bun", "bun run install"), "install");
        assert_eq!(
            run("deno", "deno run --allow-all -c deno.json cli.js"),
            "cli.js"
        );
        assert_eq!(run("deno", "deno eval 1"), "none");
    }

    #[test]
    fn a_dynamic_linker_names_the_program_it_loads() {
        let line = "ld-linux-x86-64.so.2 --library-path /lib /usr/bin/node cli.js";
        assert_eq!(run("dynamic-linker", line), "/usr/bin/node");
        assert_eq!(run("dynamic-linker", "ld.so --list /usr/bin/node"), "none");
    }

    #[test]
    fn a_script_is_named_by_the_name_of_its_runtime_alone() {
        let catalogue = Catalogue::embedded();
        let named = |exe: &str, line: &str| {
            let (exe, argv) = (
                Text::from(exe),
                line.split(' ').map(Text::from).collect::<Vec<_>>(),
            );
            let candidate = Candidate {
                pid: 1,
                file: skep_abi::FileKey::UNKNOWN,
                file_size: 0,
                exe: Some(&exe),
                filename: None,
                argv: &argv,
                argv_truncated: false,
                cwd: None,
                uid: None,
                since: None,
            };
            script_by_name(&catalogue, &candidate).map(Text::escaped)
        };
        assert_eq!(
            named("/usr/bin/node", "node --x /h/x.js").as_deref(),
            Some("/h/x.js")
        );
        assert_eq!(named("/usr/bin/node", "node -e 1"), None);
        assert_eq!(named("/usr/bin/cat", "cat /h/x.js"), None);
    }

    #[test]
    fn a_relative_path_without_a_directory_is_not_guessed() {
        assert_eq!(absolute(b"cli.js", None), None);
        assert_eq!(
            absolute(b"cli.js", Some(b"/w")),
            Some(b"/w/cli.js".to_vec())
        );
        assert_eq!(absolute(b"/cli.js", None), Some(b"/cli.js".to_vec()));
    }
}
