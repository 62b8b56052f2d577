//! The programs the sensor is compared with, from Debian's packages: `opensnoop` and `execsnoop` of
//! libbpf-tools, and the audit daemon. Unpacked into the cache and never installed; a guest gets
//! each with the libraries it is linked with, of the same packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::Run;
use crate::setup;
use crate::vm::guest::{Content, GuestFile};
use crate::workspace;

/// The packages of the peers themselves.
const PEERS: [&str; 2] = ["libbpf-tools", "auditd"];
/// Those of their libraries.
const LIBRARIES: [&str; 16] = [
    "libc6",
    "libelf1",
    "zlib1g",
    "libaudit1",
    "libauparse0",
    "libcap-ng0",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libkrb5support0",
    "libk5crypto3",
    "libcom-err2",
    "libkeyutils1",
    "libwrap0",
    "libnsl2",
    "libtirpc3",
    "libssl3",
];
const PROGRAMS: [&str; 4] = [
    "usr/sbin/opensnoop",
    "usr/sbin/execsnoop",
    "sbin/auditd",
    "sbin/auditctl",
];
/// The dynamic linker, as a program asks for it and where its package has it.
const LINKER: &str = "lib64/ld-linux-x86-64.so.2";
const LINKER_IN_PACKAGE: &str = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
const LIBRARY_FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
/// File of the cache that lists the packages, as `NAME VERSION` lines.
const LIST: &str = "packages";

/// The peers, unpacked.
pub struct Peers {
    /// Programs, libraries and configuration.
    pub files: Vec<GuestFile>,
    /// `NAME VERSION` of the packages of the peers themselves.
    pub versions: Vec<String>,
}

/// From the cache, or from Debian.
pub fn fetch() -> Result<Peers> {
    let folder = workspace::cache("peers")?.join("debian");
    if !folder.join(LIST).is_file() {
        download(&folder).context("cannot fetch the packages of opensnoop and auditd")?;
    }
    let list = std::fs::read_to_string(folder.join(LIST))?;
    let is_peer = |line: &&str| {
        PEERS
            .iter()
            .any(|peer| line.split(' ').next() == Some(peer))
    };
    let versions = list.lines().filter(is_peer).map(str::to_owned).collect();

    let mut files = vec![
        GuestFile {
            path: LINKER.to_owned(),
            content: Content::Program(folder.join(LINKER_IN_PACKAGE)),
        },
        GuestFile::text(
            "etc/audit/auditd.conf",
            &std::fs::read_to_string(folder.join("etc/audit/auditd.conf"))?,
        ),
        // The audit daemon looks up the owner of its log.
        GuestFile::text("etc/group", "root:x:0:\nadm:x:4:\n"),
    ];
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let program = folder.join(program);
        libraries.extend(libraries_of(&program, &folder)?);
        let name = program.file_name().expect("a program has a name");
        files.push(GuestFile::program(&name.to_string_lossy(), &program));
    }
    for library in libraries {
        let name = library.file_name().expect("a library has a name");
        files.push(GuestFile {
            path: format!("{}/{}", LIBRARY_FOLDERS[0], name.to_string_lossy()),
            content: Content::Program(library),
        });
    }
    Ok(Peers { files, versions })
}

/// The libraries a program is linked with, as the packages' own dynamic linker finds them.
fn libraries_of(program: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let search: Vec<_> = LIBRARY_FOLDERS
        .iter()
        .map(|libraries| folder.join(libraries).to_string_lossy().into_owned())
        .collect();
    let listed = Command::new(folder.join(LINKER_IN_PACKAGE))
        .arg("--library-path")
        .arg(search.join(":"))
        .arg("--list")
        .arg(program)
        .quiet_output()?;
    Ok(found(&listed, folder))
}

/// The files below the folder that a list of libraries names.
fn found(listed: &str, folder: &Path) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_once(" => ")?.1.split(' ').next())
        .map(PathBuf::from)
        .filter(|file| file.starts_with(folder) && !file.ends_with(LINKER_IN_PACKAGE))
        .collect()
}

/// Downloads beside the final place and renames, so that an interrupted download leaves nothing.
fn download(folder: &Path) -> Result<()> {
    let partial = folder.with_extension(format!("partial.{}", std::process::id()));
    std::fs::create_dir_all(&partial)?;
    let outcome = download_into(&partial).and_then(|()| Ok(std::fs::rename(&partial, folder)?));
    if outcome.is_err() {
        // The error that matters is the one above.
        let _ = std::fs::remove_dir_all(&partial);
    }
    outcome
}

fn download_into(folder: &Path) -> Result<()> {
    let mut fetch = Command::new("apt-get");
    fetch
        .args(["-o", "APT::Sandbox::User=root", "-q", "download"])
        .args(PEERS)
        .args(LIBRARIES)
        .current_dir(folder);
    if fetch.run().is_err() {
        // The lists may be older than what the archive still has.
        setup::update_package_lists()?;
        fetch.run()?;
    }
    let mut list = String::new();
    for entry in std::fs::read_dir(folder)? {
        let package = entry?.path();
        if package
            .extension()
            .is_none_or(|extension| extension != "deb")
        {
            continue;
        }
        let mut query = Command::new("dpkg-deb");
        query
            .args(["-W", "--showformat=${Package} ${Version}\\n"])
            .arg(&package);
        list.push_str(&query.quiet_output()?);
        Command::new("dpkg")
            .arg("-x")
            .arg(&package)
            .arg(folder)
            .run()?;
        std::fs::remove_file(&package)?;
    }
    std::fs::write(folder.join(LIST), list)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_of_the_packages_and_not_of_the_host() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\
             \tlibz.so.1 => /c/lib/x86_64-linux-gnu/libz.so.1 (0x2)\n\
             \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x3)\n\
             \t/lib64/ld-linux-x86-64.so.2 => /c/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 (0x4)\n";
        let libraries = found(listed, Path::new("/c"));
        assert_eq!(libraries, [Path::new("/c/lib/x86_64-linux-gnu/libz.so.1")]);
    }
}
