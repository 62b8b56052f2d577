//! Loading, attaching and taking down of single programs.

use std::{fs::File, io::ErrorKind};

use aya::{
    BtfError, Ebpf,
    programs::{
        CgroupAttachMode, Program as AyaProgram, ProgramError, TracePoint,
        trace_point::{TracePointError, TracePointLink},
    },
};

use super::candidates::{Attach, ProgramSpec};
use crate::causes::with_causes;

/// The reason of a program whose function this kernel does not have.
pub const NOT_THERE: &str = "this kernel has no such function";

/// The kernel's types, which only LSM, fentry and fexit programs need, to name their hook: some ten megabytes,
/// read when one of those is first attached.
#[derive(Default)]
pub struct KernelTypes(Option<Option<aya::Btf>>);

impl KernelTypes {
    fn get(&mut self) -> Result<&aya::Btf, String> {
        let types = self.0.get_or_insert_with(|| aya::Btf::from_sys_fs().ok());
        types
            .as_ref()
            .ok_or_else(|| "no kernel type information".to_owned())
    }
}

/// Loads a program that is not loaded, and attaches it; nothing of it stays loaded on refusal. Gives the links of
/// one that is attached to many tracepoints: dropping one detaches it there, which takes its time.
pub fn load_and_attach(
    object: &mut Ebpf,
    types: &mut KernelTypes,
    cgroup: &File,
    spec: ProgramSpec,
) -> Result<Vec<TracePointLink>, String> {
    let ProgramSpec { name, attach } = spec;
    let loaded = object
        .program_mut(name)
        .ok_or_else(|| format!("program {name} is not in the kernel object"))?;
    let mut links = Vec::new();
    let result = match (loaded, attach) {
        (AyaProgram::RawTracePoint(p), Attach::RawTracepoint(hook)) => {
            p.load().and_then(|()| p.attach(hook).map(drop))
        }
        (AyaProgram::TracePoint(p), Attach::Tracepoint(hook)) => {
            p.load().and_then(|()| p.attach("syscalls", hook).map(drop))
        }
        (AyaProgram::TracePoint(p), Attach::Tracepoints(hooks)) => {
            p.load().and_then(|()| attach_each(p, hooks, &mut links))
        }
        (AyaProgram::Lsm(p), Attach::Lsm(hook)) => p
            .load(hook, types.get()?)
            .and_then(|()| p.attach().map(drop)),
        (AyaProgram::FEntry(p), Attach::Fentry(hook)) => p
            .load(hook, types.get()?)
            .and_then(|()| p.attach().map(drop)),
        (AyaProgram::FExit(p), Attach::Fexit(hook)) => p
            .load(hook, types.get()?)
            .and_then(|()| p.attach().map(drop)),
        // A cgroup link (5.7) shares the cgroup with others by itself, and takes no flags.
        (AyaProgram::CgroupSockAddr(p), Attach::Cgroup) => p
            .load()
            .and_then(|()| p.attach(cgroup, CgroupAttachMode::Single).map(drop)),
        _ => return Err(format!("program {name} is of another type")),
    };
    if result.is_ok()
        && let Some(Ok(info)) = object.program(name).map(AyaProgram::info)
    {
        // Instructions the verifier walked, of which it refuses a million (5.2,
        // `BPF_COMPLEXITY_LIMIT_INSNS`); bytes it left, and what they were compiled to.
        tracing::debug!(
            program = name,
            verified = info.verified_instruction_count(),
            xlated = info.size_translated(),
            jited = info.size_jitted(),
            "attached"
        );
    }
    match result {
        Ok(()) => Ok(links),
        Err(error) => {
            // Loaded but not attached: take it down again.
            drop(links);
            unload(object, name);
            Err(program_error(&error))
        }
    }
}

/// Attaches to each tracepoint that this kernel has, and to the first in any case.
fn attach_each(
    program: &mut TracePoint,
    hooks: &[&str],
    links: &mut Vec<TracePointLink>,
) -> Result<(), ProgramError> {
    for (index, hook) in hooks.iter().enumerate() {
        match program.attach("syscalls", hook) {
            Ok(link) => links.push(program.take_link(link)?),
            Err(ProgramError::TracePointError(TracePointError::FileError { io_error, .. }))
                if index > 0 && io_error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Detaches and unloads a program; one that is not loaded is left as it is.
pub fn unload(object: &mut Ebpf, name: &str) {
    if let Some(program) = object.program_mut(name) {
        unload_program(program);
    }
}

/// The same of a program at hand.
pub fn unload_program(program: &mut AyaProgram) {
    // The errors say "not loaded", which is what is wanted.
    let _ = match program {
        AyaProgram::RawTracePoint(p) => p.unload(),
        AyaProgram::TracePoint(p) => p.unload(),
        AyaProgram::Lsm(p) => p.unload(),
        AyaProgram::FEntry(p) => p.unload(),
        AyaProgram::FExit(p) => p.unload(),
        AyaProgram::CgroupSockAddr(p) => p.unload(),
        _ => Ok(()),
    };
}

/// One line for people; the verifier's log goes to the debug log.
fn program_error(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            tracing::debug!(%verifier_log, "the verifier refused a program");
            let log = verifier_log.to_string();
            // The verdict stands before the statistics.
            let last = log.lines().rev().find(|line| {
                !line.is_empty()
                    && !["processed ", "verification time", "stack depth"]
                        .iter()
                        .any(|statistic| line.starts_with(statistic))
            });
            match last {
                Some(last) => format!("load refused: {io_error}: {last}"),
                None => format!("load refused: {io_error}"),
            }
        }
        ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }) => NOT_THERE.to_owned(),
        error => with_causes(error),
    }
}
