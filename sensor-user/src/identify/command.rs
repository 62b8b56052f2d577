//! What a runtime was told to run and to load, by its arguments.
//!
//! The catalogue says which options of a runtime take a value, which load code, and after which there is no
//! script; an unknown option is taken for one without a value.

use skep_catalogue::{Catalogue, Runtime};
use skep_event::Text;

use super::Candidate;

/// Options of one command line that load code, at most.
const LOADS_MAX: usize = 32;

/// The program a runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program<'a> {
    /// The argument of this index.
    File { index: usize },
    /// The argument of this index, the name of an npm package without `npm:`.
    Package { index: usize },
    /// A Python module.
    Module(&'a [u8]),
    /// Read from standard input.
    Stdin,
    /// Code in the argument of this index.
    Code { index: usize, text: &'a [u8] },
    /// Nothing to run.
    None,
}

/// What an option loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load<'a> {
    pub option: &'a [u8],
    pub what: &'a [u8],
}

/// A command line of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub program: Program<'a>,
    /// In their order, at most [`LOADS_MAX`].
    pub loads: Vec<Load<'a>>,
    /// There were more.
    pub loads_more: bool,
    /// Files of environment variables, at most [`LOADS_MAX`].
    pub env_files: Vec<&'a [u8]>,
    /// It was told to read commands from a person.
    pub is_interactive: bool,
}

impl Program<'_> {
    /// Whether it would be another one if arguments had been cut off at the end.
    pub(super) fn may_be_cut(&self, argv: &[Text]) -> bool {
        match self {
            Self::File { index } | Self::Package { index } | Self::Code { index, .. } => {
                index + 1 == argv.len()
            }
            // A lone hyphen is not the end of something, unless it is the last that is there.
            Self::Stdin => {
                let before = argv.split_last().map_or(argv, |(_, before)| before);
                before.iter().all(|argument| argument.as_bytes() != b"-")
            }
            Self::Module(_) | Self::None => false,
        }
    }
}

impl<'a> Line<'a> {
    fn with(mut self, program: Program<'a>) -> Self {
        self.program = program;
        self
    }

    fn load(&mut self, option: &'a [u8], what: &'a [u8]) {
        if self.loads.len() < LOADS_MAX {
            self.loads.push(Load { option, what });
        } else {
            self.loads_more = true;
        }
    }

    fn env_file(&mut self, file: &'a [u8]) {
        if self.env_files.len() < LOADS_MAX {
            self.env_files.push(file);
        } else {
            self.loads_more = true;
        }
    }
}

fn has(list: &[String], word: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == word)
}

/// What follows a subcommand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Script,
    Code,
    Package,
}

pub(super) fn line<'a>(runtime: &Runtime, argv: &'a [Text]) -> Line<'a> {
    let mut line = Line {
        program: Program::None,
        loads: Vec::new(),
        loads_more: false,
        env_files: Vec::new(),
        is_interactive: false,
    };
    let mut index = 1;
    let mut may_be_subcommand = true;
    let mut expected = Expected::Script;
    // Code that an option gave: more options may follow.
    let mut code: Option<Program<'a>> = None;
    let positional = |index: usize, expected| match expected {
        Expected::Script => Program::File { index },
        Expected::Package => Program::Package { index },
        Expected::Code => Program::Code {
            index,
            text: argv[index].as_bytes(),
        },
    };
    while let Some(argument) = argv.get(index).map(Text::as_bytes) {
        if argument == b"--" {
            let next = index + 1;
            let program = if next < argv.len() {
                positional(next, expected)
            } else {
                Program::Stdin
            };
            return line.with(code.unwrap_or(program));
        }
        if argument == b"-" {
            return line.with(code.unwrap_or(Program::Stdin));
        }
        if !argument.starts_with(b"-") {
            if let Some(code) = code {
                return line.with(code);
            }
            if may_be_subcommand {
                may_be_subcommand = false;
                if has(&runtime.no_script_words, argument) {
                    return line.with(Program::None);
                }
                if has(&runtime.stdin_words, argument) {
                    line.is_interactive = true;
                    return line.with(Program::Stdin);
                }
                expected = match argument {
                    word if has(&runtime.subcommands, word) => Expected::Script,
                    word if has(&runtime.code_words, word) => Expected::Code,
                    word if has(&runtime.specifier_words, word) => Expected::Package,
                    _ => return line.with(positional(index, expected)),
                };
                index += 1;
                continue;
            }
            return line.with(positional(index, expected));
        }
        if runtime.clustered && !argument.starts_with(b"--") {
            let next = argv.get(index + 1).map(Text::as_bytes);
            match cluster(runtime, argument, &mut line.is_interactive) {
                Cluster::Flags => index += 1,
                Cluster::TakesNext => index += 2,
                Cluster::NoScript => return line.with(Program::None),
                Cluster::Code { rest } if !rest.is_empty() => {
                    return line.with(Program::Code { index, text: rest });
                }
                Cluster::Code { .. } => {
                    let index = index + 1;
                    let code = next.map(|text| Program::Code { index, text });
                    return line.with(code.unwrap_or(Program::None));
                }
                Cluster::Module { rest } if !rest.is_empty() => {
                    return line.with(Program::Module(rest));
                }
                Cluster::Module { .. } => {
                    return line.with(next.map_or(Program::None, Program::Module));
                }
            }
            continue;
        }
        let (name, value) = match argument.iter().position(|byte| *byte == b'=') {
            Some(at) => (&argument[..at], Some(&argument[at + 1..])),
            None => (argument, None),
        };
        if has(&runtime.no_script_options, name) {
            return line.with(Program::None);
        }
        line.is_interactive |= has(&runtime.interactive_options, name);
        let next = argv.get(index + 1).map(Text::as_bytes);
        if has(&runtime.code_options, name) && expected != Expected::Code {
            // Without one it is a flag: `node -p -e code`.
            let follows = next.filter(|next| value.is_none() && !next.starts_with(b"-"));
            let at = index + usize::from(follows.is_some());
            if let Some(text) = value.or(follows) {
                code = Some(Program::Code { index: at, text });
            }
            index = at + 1;
            continue;
        }
        if has(&runtime.load_options, name)
            && let Some(what) = value.or(next)
        {
            line.load(name, what);
        }
        if has(&runtime.env_file_options, name)
            && let Some(file) = value.or(next)
        {
            line.env_file(file);
        }
        let takes_next = value.is_none() && has(&runtime.value_options, name);
        index += 1 + usize::from(takes_next);
    }
    let reads = runtime.reads_stdin && !argv.is_empty() && expected == Expected::Script;
    let program = match code {
        Some(code) => code,
        None if reads => Program::Stdin,
        None => Program::None,
    };
    line.with(program)
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
    match line(runtime, candidate.argv).program {
        Program::File { index } | Program::Package { index } => candidate.argv.get(index),
        Program::Module(_) | Program::Stdin | Program::Code { .. } | Program::None => None,
    }
}

enum Cluster<'a> {
    Flags,
    TakesNext,
    NoScript,
    Module { rest: &'a [u8] },
    Code { rest: &'a [u8] },
}

/// Joined single-letter options: the first that takes a value ends the run.
fn cluster<'a>(runtime: &Runtime, argument: &'a [u8], is_interactive: &mut bool) -> Cluster<'a> {
    for (at, letter) in argument.iter().enumerate().skip(1) {
        let option = [b'-', *letter];
        let is = |known: &String| known.as_bytes() == option;
        let rest = &argument[at + 1..];
        if runtime.module_option.as_ref().is_some_and(is) {
            return Cluster::Module { rest };
        }
        if runtime.code_options.iter().any(is) {
            return Cluster::Code { rest };
        }
        if runtime.no_script_options.iter().any(is) {
            return Cluster::NoScript;
        }
        *is_interactive |= runtime.interactive_options.iter().any(is);
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

    fn run(runtime: &str, words: &str) -> String {
        let catalogue = Catalogue::embedded();
        let runtime = catalogue
            .runtimes()
            .iter()
            .find(|r| r.id == runtime)
            .expect("known");
        let argv: Vec<Text> = words.split(' ').map(Text::from).collect();
        match line(runtime, &argv).program {
            Program::File { index } => argv[index].escaped(),
            Program::Package { index } => format!("package {}", argv[index].escaped()),
            Program::Code { text, .. } => format!("code {}", String::from_utf8_lossy(text)),
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
    fn node_with_code_in_an_argument_runs_that_code() {
        for line in [
            "node -e 1 cli.js",
            "node --eval=1 cli.js",
            "node -p 1 cli.js",
            "node -p -e 1 cli.js",
            "node -pe 1",
            "node -e 1 --require ./x.js",
        ] {
            assert_eq!(run("node", line), "code 1", "{line}");
        }
        assert_eq!(run("node", "node --test cli.js"), "none");
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
        assert_eq!(run("python", "python3 -uc code aider"), "code code");
        assert_eq!(run("python", "python3 -ccode"), "code code");
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
        assert_eq!(run("deno", "deno eval -p 1"), "code 1");
        assert_eq!(run("deno", "deno x -A gemini"), "package gemini");
        assert_eq!(run("deno", "deno repl"), "stdin");
        assert_eq!(run("bun", "bun"), "none");
        assert_eq!(run("bun", "bun run -"), "stdin");
        assert_eq!(run("bun", "bun -e 1"), "code 1");
    }

    #[test]
    fn what_options_load_is_found_before_and_behind_the_code() {
        let catalogue = Catalogue::embedded();
        let loads = |runtime: &str, text: &str| {
            let mut runtimes = catalogue.runtimes().iter();
            let runtime = runtimes.find(|known| known.id == runtime).expect("known");
            let argv: Vec<Text> = text.split(' ').map(Text::from).collect();
            let loads = line(runtime, &argv).loads;
            let shown = loads.iter().map(|load| {
                let [option, what] = [load.option, load.what].map(String::from_utf8_lossy);
                format!("{option} {what}")
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(
            loads("node", "node -r ./a --import=b -e 1 --loader c d.js -r e"),
            ["-r ./a", "--import b", "--loader c"]
        );
        assert_eq!(
            loads("bun", "bun --preload ./a run b.ts"),
            ["--preload ./a"]
        );
        assert_eq!(loads("bun", "bun --loader .x:js b.ts"), [""; 0]);
        assert_eq!(loads("deno", "deno run --require a b.ts"), ["--require a"]);
        let many = "node ".to_owned() + &"-r x ".repeat(100);
        assert_eq!(loads("node", many.trim_end()).len(), LOADS_MAX);
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
                switches: None,
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
