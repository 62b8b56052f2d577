//! Fuzz targets: for every parser of bytes that the process did not write, a function that takes an input
//! and panics if something is not as it has to be.
//!
//! Each asserts a property (what is read can be written and read again, cutting changes nothing, what is
//! given lies in the input …); that nothing panics or takes for ever goes without saying. `fuzz/` has a
//! program for each, `fuzz/corpus/` its inputs, and the test `replay` runs every one of these.
#![forbid(unsafe_code)]

pub mod batch;
pub mod btf;
pub mod catalogue;
pub mod command;
pub mod config;
pub mod executable;
pub mod git;
pub mod input;
pub mod journal;
pub mod log;
pub mod message;
pub mod postgres;
pub mod proc;
pub mod record;
pub mod spool;
pub mod status;
pub mod url;

/// One target.
pub type Target = fn(&[u8]);

/// Every target by the name of its program and of the folder of its corpus.
pub const TARGETS: [(&str, Target); 20] = [
    ("archive", executable::archive),
    ("batch", batch::check),
    ("btf", btf::check),
    ("bundle", executable::bundle),
    ("catalogue", catalogue::check),
    ("code", executable::code),
    ("command", command::check),
    ("config", config::check),
    ("elf", executable::elf),
    ("frames", postgres::frames),
    ("git", git::check),
    ("journal", journal::check),
    ("log", log::check),
    ("message", message::check),
    ("proc", proc::check),
    ("record", record::check),
    ("spool", spool::check),
    ("statements", postgres::statements),
    ("status", status::check),
    ("url", url::check),
];
