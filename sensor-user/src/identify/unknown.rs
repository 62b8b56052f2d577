//! The judgement of programs of no family, and what is remembered of their scripts.
//!
//! A script is remembered by device, inode and change time, with or without an agent: the files that it loads
//! are read once. What was changed among those, and not in the script itself, is not noticed then; installers
//! write all of them anew.

use std::sync::Arc;

use skep_abi::FileKey;
use skep_catalogue::Runtime;
use skep_event::{Agent, Text};

use super::{
    Judgement,
    access::{Opened, Switch},
    cache::Cache,
    command::{Program, base_name},
    content::SCRIPT_HEAD,
    generic::{self, Subject, native::Unknown, npm},
    judge::Case,
    package, python,
};

/// What was found out about scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    known: Cache<FileKey, Option<Arc<Agent>>>,
    /// The one that was looked at last.
    pub last: Option<FileKey>,
}

// === impl Scripts ===

impl Scripts {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            known: Cache::new(capacity),
            last: None,
        }
    }

    pub(super) fn get(&mut self, file: FileKey) -> Option<Option<Arc<Agent>>> {
        self.known.get(file)
    }

    pub(super) fn insert(&mut self, file: FileKey, agent: Option<Arc<Agent>>) {
        self.known.insert(file, agent);
    }
}

// === impl Case ===

impl Case<'_> {
    /// A program that holds generic evidence.
    pub(super) fn unknown_program(self, unknown: &Unknown) -> Judgement {
        let catalogue = Arc::clone(&self.catalogue);
        let runtime = unknown
            .runtime
            .and_then(|index| catalogue.runtimes().get(index));
        if let Some(runtime) = runtime
            && let Some(switch) = &runtime.plain_env
            && self.root.switch(switch) == Switch::On
        {
            return self.run(runtime);
        }
        let agent = catalogue.generic().and_then(|generic| {
            let real = self
                .candidate
                .exe
                .and_then(|exe| self.verified(exe.as_bytes()));
            let subject = self.subject(generic, unknown, real.as_deref())?;
            let agent = generic::conclude(generic, unknown.signs.clone(), subject)?;
            generic::doubted(agent, &self.doubts)
        });
        Judgement {
            agent: agent.map(Arc::new),
            ..Judgement::default()
        }
    }

    /// What the program belongs to; `None`: to a package of a family.
    fn subject(
        &self,
        generic: &skep_catalogue::Generic,
        unknown: &Unknown,
        real: Option<&[u8]>,
    ) -> Option<Subject> {
        let path = real.or(self.candidate.exe.map(Text::as_bytes));
        let in_package = |real: &&[u8]| memchr::memmem::find(real, b"/node_modules/").is_some();
        let package = real
            .filter(in_package)
            .and_then(|real| Some((real, package::nearest(self.root, real)?)));
        if let Some((real, nearest)) = package {
            if generic::is_of_family(&self.catalogue, &nearest.name) {
                return None;
            }
            let mut subject = npm::subject(generic, &nearest, nearest.file(real));
            subject.text = format!("{}, {}", subject.text, unknown.place);
            return Some(subject);
        }
        let name = path.map(|path| String::from_utf8_lossy(base_name(path)).into_owned());
        let name = unknown.name.clone().or(name);
        Some(Subject {
            described: name.clone().unwrap_or_default().replace(['-', '/'], " "),
            text: format!(
                "{} {}",
                unknown.place,
                name.as_deref().unwrap_or("of no name")
            ),
            name,
            version: unknown.version.clone(),
            install: path.map(<[u8]>::to_vec),
        })
    }

    /// The agent of no family that a runtime runs.
    pub(super) fn unknown_run(
        &mut self,
        runtime: &Runtime,
        script: Option<&Opened>,
        program: Program<'_>,
    ) -> Option<Agent> {
        let agent = match script {
            Some(opened) => {
                self.identifier.scripts.last = Some(opened.key);
                match self.identifier.scripts.get(opened.key) {
                    Some(known) => known,
                    None => {
                        let found = self.look_at_script(runtime, opened).map(Arc::new);
                        // Of what could not be read nothing is remembered.
                        if self.root.looks.noted().is_none() {
                            self.identifier.scripts.insert(opened.key, found.clone());
                        }
                        found
                    }
                }
            }
            None => match program {
                Program::Module(name) => self
                    .look_at_python(runtime, python::Run::Module(name))
                    .map(Arc::new),
                Program::File { .. }
                | Program::Package { .. }
                | Program::Code { .. }
                | Program::Stdin
                | Program::None => None,
            },
        };
        generic::doubted(Agent::clone(&*agent?), &self.doubts)
    }

    fn look_at_script(&self, runtime: &Runtime, opened: &Opened) -> Option<Agent> {
        let generic = self.catalogue.generic()?;
        if runtime.module_option.is_some() {
            let head = opened.source.read(0, SCRIPT_HEAD);
            let real = &opened.real;
            return self.look_at_python(runtime, python::Run::File { real, head: &head });
        }
        let texts = &self.identifier.texts;
        npm::script(&self.catalogue, generic, texts, self.root, opened)
    }

    fn look_at_python(&self, runtime: &Runtime, run: python::Run<'_>) -> Option<Agent> {
        let generic = self.catalogue.generic()?;
        runtime.module_option.as_ref()?;
        let interpreters = self.places().interpreters;
        let texts = &self.identifier.texts;
        generic::python::run(
            &self.catalogue,
            generic,
            texts,
            self.root,
            run,
            &interpreters,
        )
    }
}
