//! A runtime's command line: what it runs, what its options and its environment load, what its code loads.
//!
//! The program comes first, then what was given to be loaded before it; the first that is an agent counts. What
//! could not be followed makes the judgement one that waits ([`Judgement::waits`]).

use std::sync::Arc;

use skep_catalogue::{Language, Runtime};
use skep_event::{Agent, Text};

use super::{
    super::{
        Candidate, Judgement,
        access::Opened,
        candidate::{CodeFrom, Unjudged},
        code::{self, Load},
        command::{self, Line, Program, absolute},
        content, evidence, modules, options, package, python,
        specifier::{Npm, Specifier},
    },
    Case, DEPTH_MAX, Search, descriptor,
    script::Found,
};

/// As much of a file of variables as is read.
const ENV_FILE_MAX: usize = 256 << 10;

/// What keeps a command line from being judged to the end.
#[derive(Default)]
struct Open {
    /// What it opens may tell.
    waits: bool,
    why: Option<(Unjudged, Option<Vec<u8>>)>,
    /// Its code is typed.
    is_typed: bool,
    /// What it runs, where that is a file that no family speaks for.
    script: Option<Opened>,
}

// === impl Open ===

impl Open {
    fn unseen(&mut self, from: CodeFrom) {
        self.waits = true;
        self.is_typed |= from == CodeFrom::Terminal;
        self.because(Unjudged::UnseenCode(from));
    }

    fn because(&mut self, why: Unjudged) {
        self.why.get_or_insert((why, None));
    }
}

// === impl Case ===

impl Case<'_> {
    /// A runtime: what counts is what it runs and loads.
    pub(in super::super) fn run(self, runtime: &Runtime) -> Judgement {
        let candidate = self.candidate;
        let line = command::line(runtime, candidate.argv);
        if !candidate.argv_truncated || !line.program.may_be_cut(candidate.argv) {
            return self.run_line(runtime, &line);
        }
        let Some(whole) = self.root.arguments(candidate.argv) else {
            self.root.looks.note(Unjudged::CutArguments, None);
            return self.run_line(runtime, &line);
        };
        let whole = Candidate {
            argv: &whole,
            argv_truncated: false,
            ..*candidate
        };
        let mut case = Case::new(self.identifier, &whole, self.root, self.doubts);
        case.depth = self.depth;
        case.run_line(runtime, &command::line(runtime, whole.argv))
    }

    fn run_line(mut self, runtime: &Runtime, line: &Line<'_>) -> Judgement {
        if runtime.loads_programs {
            return self.run_loader(runtime, line);
        }
        if self.root.is_own {
            self.doubts.push(evidence::PROCESS_ENDED);
        }
        self.look_at_environment(runtime);
        let mut open = Open::default();
        let agent = self
            .run_program(runtime, line, &mut open)
            .or_else(|| self.load_options(runtime, line, None, &mut open))
            .or_else(|| self.load_variables(runtime, line, &mut open));
        let script = open.script.take();
        let agent = agent.or_else(|| self.unknown_run(runtime, script.as_ref(), line.program));
        self.concluded(agent, open)
    }

    /// A program that is no plain runtime, and takes what to load from the environment like one.
    pub(super) fn load_by_environment(mut self, runtime: &Runtime) -> Judgement {
        self.look_at_environment(runtime);
        let mut open = Open::default();
        let agent = self.load_options_of_variables(runtime, &mut open);
        self.concluded(agent, open)
    }

    fn concluded(&self, agent: Option<Agent>, open: Open) -> Judgement {
        if agent.is_none()
            && let Some((why, place)) = &open.why
        {
            self.root.looks.note(*why, place.as_deref());
        }
        Judgement {
            waits: agent.is_none() && open.waits,
            agent: agent.map(Arc::new),
            ..Judgement::default()
        }
    }

    /// A program given to a dynamic linker, with the rest of the arguments.
    fn run_loader(self, runtime: &Runtime, line: &Line<'_>) -> Judgement {
        let Program::File { index } = line.program else {
            return Judgement::default();
        };
        let cwd = self.candidate.cwd.map(Text::as_bytes);
        match self.find(runtime, self.candidate.argv[index].as_bytes(), cwd) {
            Found::File { opened, .. } => self.load_program(opened, index),
            Found::Member { .. } | Found::Unseen(_) | Found::Nothing => Judgement::default(),
        }
    }

    fn load_program(self, opened: Opened, index: usize) -> Judgement {
        if self.depth >= DEPTH_MAX || !content::is_program(&opened.source) {
            return Judgement::default();
        }
        let exe = Text::from(opened.real.as_slice());
        let loaded = Candidate {
            file: opened.key,
            file_size: opened.source.len(),
            exe: Some(&exe),
            filename: self.candidate.argv.get(index),
            argv: &self.candidate.argv[index..],
            ..*self.candidate
        };
        let nature = self.identifier.nature_of(&opened, self.root);
        let mut case = Case::new(self.identifier, &loaded, self.root, self.doubts);
        case.depth = self.depth + 1;
        // `never` would be said of the linker.
        Judgement {
            never: false,
            ..case.judge(&nature)
        }
    }

    fn look_at_environment(&mut self, runtime: &Runtime) {
        let names = runtime.environment_values();
        if names.is_empty() {
            return;
        }
        self.variables = self.root.variables(&names);
        let Some(variables) = &self.variables else {
            return;
        };
        let path = runtime
            .path_env
            .as_deref()
            .and_then(|name| variables.get(name));
        let home = runtime.user_base.as_ref().zip(variables.get("HOME"));
        let user_base = home.map(|(folder, home)| {
            // A prefix is the directory above that of the interpreter.
            [home, b"/", folder.as_bytes()].concat()
        });
        self.search = Some(Search {
            path: path.unwrap_or_default().to_vec(),
            user_base,
        });
    }

    // --- the program ---

    fn run_program(&self, runtime: &Runtime, line: &Line<'_>, open: &mut Open) -> Option<Agent> {
        let argument = |index: usize| self.candidate.argv[index].as_bytes();
        match line.program {
            Program::None => None,
            Program::Module(name) => self.module(python::Run::Module(name), None, open),
            Program::Stdin => {
                let found = self.find_descriptor(0);
                self.handed_over(runtime, &found, open)
            }
            Program::Code { text, .. } => {
                self.code(runtime, text, "named in the code of an argument", open)
            }
            Program::Package { index } => {
                let name = argument(index);
                let npm = name.strip_prefix(b"npm:").unwrap_or(name);
                self.npm(runtime, Npm::parse(npm)?, open)
            }
            Program::File { index } => self.script(runtime, argument(index), open),
        }
    }

    fn script(&self, runtime: &Runtime, argument: &[u8], open: &mut Open) -> Option<Agent> {
        if runtime.npm_cache.is_some() {
            match Specifier::parse(argument) {
                Some(Specifier::Npm(npm)) => return self.npm(runtime, npm, open),
                Some(Specifier::Remote | Specifier::Code(_) | Specifier::Encoded) => {
                    return self.load(runtime, argument, "", open);
                }
                Some(Specifier::Path(path)) => {
                    return self.script_at(runtime, &path, open);
                }
                Some(Specifier::Bare(_) | Specifier::BuiltIn) | None => {}
            }
        }
        // `node --entry-url`
        let is_url = [&b"file:"[..], b"data:"]
            .iter()
            .any(|kind| argument.starts_with(kind));
        if is_url && runtime.language == Some(Language::JavaScript) {
            return self.load(runtime, argument, "named by its URL", open);
        }
        self.script_at(runtime, argument, open)
    }

    fn script_at(&self, runtime: &Runtime, path: &[u8], open: &mut Open) -> Option<Agent> {
        let found = self.find(runtime, path, self.cwd());
        if descriptor(path).is_some() {
            return self.handed_over(runtime, &found, open);
        }
        let names = self.names_of(&found);
        let agent = self.agent_at(runtime, &found, names, None);
        match found {
            Found::Unseen(from) => open.unseen(from),
            Found::File { opened, .. } => open.script = Some(opened),
            Found::Member { .. } | Found::Nothing => {}
        }
        agent
    }

    /// A program that came by a descriptor: it is judged as a script, and, since it lies in no package, as
    /// code.
    fn handed_over(&self, runtime: &Runtime, found: &Found, open: &mut Open) -> Option<Agent> {
        match found {
            Found::Unseen(from) => {
                open.unseen(*from);
                None
            }
            Found::File { opened, .. } => {
                self.agent_at(runtime, found, Vec::new(), None).or_else(|| {
                    let code = opened.source.read(0, code::BYTES_MAX);
                    if opened.source.len() > code.len() as u64 {
                        open.unseen(CodeFrom::Code);
                    }
                    self.code(runtime, &code, "named in the code on a descriptor", open)
                })
            }
            Found::Member { .. } | Found::Nothing => None,
        }
    }

    /// A Python module that is run or imported.
    fn module(&self, run: python::Run<'_>, how: Option<&str>, open: &mut Open) -> Option<Agent> {
        let agent = self.conclude(self.python_pieces(run));
        if agent.is_none() {
            let mut known = python::known(&self.catalogue);
            // It lies where nobody looked, or is another module of that name: its files will tell.
            if known.any(|(_, distribution)| python::is_agent(distribution, run)) {
                open.waits = true;
                if self.variables.is_none() {
                    open.because(Unjudged::UnreadEnvironment);
                }
            }
        }
        let mut agent = agent?;
        agent.evidence.extend(how.map(str::to_owned));
        Some(agent)
    }

    // --- what is loaded ---

    fn load_options(
        &self,
        runtime: &Runtime,
        line: &Line<'_>,
        variable: Option<&str>,
        open: &mut Open,
    ) -> Option<Agent> {
        if line.loads_more {
            open.unseen(CodeFrom::Code);
        }
        line.loads.iter().find_map(|load| {
            let option = String::from_utf8_lossy(load.option);
            let how = match variable {
                Some(variable) => format!("loaded by {option} in {variable}"),
                None => format!("loaded by {option}"),
            };
            self.load(runtime, load.what, &how, open)
        })
    }

    fn load_variables(&self, runtime: &Runtime, line: &Line<'_>, open: &mut Open) -> Option<Agent> {
        let by_options = self
            .load_options_of_files(runtime, line, open)
            .or_else(|| self.load_options_of_variables(runtime, open));
        if by_options.is_some() {
            return by_options;
        }
        let is_asked = line.program == Program::Stdin && (line.is_interactive || open.is_typed);
        let name = runtime.startup_env.as_deref().filter(|_| is_asked)?;
        let Some(variables) = &self.variables else {
            open.because(Unjudged::UnreadEnvironment);
            return None;
        };
        let value = variables.get(name)?;
        let how = format!("loaded by {name}");
        match runtime.language {
            Some(Language::JavaScript) => self.load(runtime, value, &how, open),
            Some(Language::Python) | None => self.file(runtime, value, &how, open),
        }
    }

    fn load_options_of_variables(&self, runtime: &Runtime, open: &mut Open) -> Option<Agent> {
        if runtime.options_env.is_empty() {
            return None;
        }
        let Some(variables) = &self.variables else {
            open.because(Unjudged::UnreadEnvironment);
            return None;
        };
        let named = runtime.options_env.iter().map(String::as_str);
        let set = named.filter_map(|name| Some((name, variables.get(name)?)));
        set.into_iter()
            .find_map(|(name, value)| self.load_value(runtime, name, value, open))
    }

    /// The variables in the files that options name.
    fn load_options_of_files(
        &self,
        runtime: &Runtime,
        line: &Line<'_>,
        open: &mut Open,
    ) -> Option<Agent> {
        line.env_files.iter().find_map(|file| {
            let path = absolute(file, self.cwd())?;
            let file = self.root.read_start(&path, ENV_FILE_MAX)?;
            runtime.options_env.iter().find_map(|name| {
                let value = options::in_file(&file, name)?;
                self.load_value(runtime, name, value, open)
            })
        })
    }

    /// The options in a variable's value.
    fn load_value(
        &self,
        runtime: &Runtime,
        name: &str,
        value: &[u8],
        open: &mut Open,
    ) -> Option<Agent> {
        let options::Words { words, more } = options::split(value);
        if more {
            open.unseen(CodeFrom::Code);
        }
        let argv: Vec<Text> = std::iter::once(Text::from(name)).chain(words).collect();
        let line = command::line(runtime, &argv);
        let loaded = self.load_options(runtime, &line, Some(name), open);
        loaded.or_else(|| match line.program {
            Program::Code { text, .. } => {
                self.code(runtime, text, &format!("named in the code of {name}"), open)
            }
            _ => None,
        })
    }

    /// What a specifier leads to.
    fn load(
        &self,
        runtime: &Runtime,
        specifier: &[u8],
        how: &str,
        open: &mut Open,
    ) -> Option<Agent> {
        match Specifier::parse(specifier)? {
            Specifier::Path(path) => self.file(runtime, &path, how, open),
            Specifier::Bare(package) => {
                let more = self.search.as_ref().map(|search| search.path.as_slice());
                let mut files = modules::files(self.root, package, self.cwd(), more);
                if files.is_empty() {
                    // Bun and Deno take a word for a file as well.
                    files.push(specifier.to_vec());
                }
                files
                    .iter()
                    .find_map(|path| self.file(runtime, path, how, open))
            }
            Specifier::Npm(npm) => self.npm(runtime, npm, open),
            Specifier::Code(code) => self.code(runtime, &code, how, open),
            Specifier::Encoded => {
                open.unseen(CodeFrom::Code);
                None
            }
            Specifier::Remote => {
                open.unseen(CodeFrom::Network);
                None
            }
            Specifier::BuiltIn => None,
        }
    }

    fn file(&self, runtime: &Runtime, path: &[u8], how: &str, open: &mut Open) -> Option<Agent> {
        let found = self.find(runtime, path, self.cwd());
        if let Found::Unseen(from) = found {
            open.unseen(from);
        }
        self.agent_at(runtime, &found, Vec::new(), Some(how.to_owned()))
    }

    /// A package of npm that the runtime fetches itself. What is not there yet is known by its name alone: the
    /// runtime will have it from its registry.
    fn npm(&self, runtime: &Runtime, npm: Npm<'_>, open: &mut Open) -> Option<Agent> {
        let name = std::str::from_utf8(npm.package.name).ok()?;
        let version = npm.version.map(String::from_utf8_lossy);
        let how = match &version {
            Some(version) => format!("named npm:{name}@{version}"),
            None => format!("named npm:{name}"),
        };
        let variables = self.variables.as_ref();
        let cache = runtime.npm_cache.as_ref();
        let directory =
            cache.and_then(|cache| modules::fetched(self.root, npm, cache, variables, self.cwd()));
        let manifest = directory.and_then(|directory| {
            let manifest = package::manifest_in(self.root, &directory)?;
            Some((directory, manifest))
        });
        let Some((directory, manifest)) = manifest else {
            let version = modules::exact(npm.version);
            let pieces = package::by_specifier(&self.catalogue, name, version);
            return self.conclude(pieces);
        };
        let subpath = std::str::from_utf8(npm.package.subpath).ok()?;
        let command = manifest.command(Some(subpath).filter(|subpath| !subpath.is_empty()));
        let files = command.into_iter().chain(manifest.targets(subpath));
        files.into_iter().find_map(|file| {
            let file = file.strip_prefix("./").unwrap_or(&file);
            let path = [directory.as_slice(), b"/", file.as_bytes()].concat();
            self.file(runtime, &path, &how, open)
        })
    }

    /// What code loads.
    fn code(&self, runtime: &Runtime, code: &[u8], how: &str, open: &mut Open) -> Option<Agent> {
        let language = runtime.language?;
        let scan = code::scan(language, code);
        let agent = scan.loads.iter().find_map(|load| match load {
            Load::Module(specifier) => self.load(runtime, specifier, how, open),
            Load::File(path) => self.file(runtime, path, how, open),
            Load::Import(name) => self.module(python::Run::Import(name), Some(how), open),
            Load::Run(name) => self.module(python::Run::Module(name), Some(how), open),
        });
        if agent.is_none() && scan.is_dynamic {
            open.unseen(CodeFrom::Code);
        }
        agent
    }

    fn cwd(&self) -> Option<&[u8]> {
        self.candidate.cwd.map(Text::as_bytes)
    }
}
