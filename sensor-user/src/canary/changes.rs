//! Changes of names and attributes, each once, in a folder that is gone again afterwards.
//!
//! No file is opened for it: an open would stand for those the canary makes on purpose.

use std::{ffi::CString, io};

use super::Deeds;

/// Where the folder is made: the first of these that can be written. A service that may write next to
/// nothing still has the first two.
const PLACES: [&str; 3] = ["/run/skep", "/dev/shm", "/tmp"];

/// Does them, and gives what was done; nothing where no folder can be made.
pub fn changes() -> Deeds {
    for place in PLACES {
        let folder = format!("{place}/.skep-canary-{}", std::process::id());
        let Some(path) = text(&folder) else { continue };
        // SAFETY: a terminated string.
        if unsafe { libc::mkdir(path.as_ptr(), 0o700) } != 0 {
            continue;
        }
        let done = within(&folder);
        // SAFETY: the same.
        let removed = unsafe { libc::rmdir(path.as_ptr()) } == 0;
        return done.and(Deeds::MKDIR).and(Deeds::RMDIR.when(removed));
    }
    Deeds::NONE
}

fn within(folder: &str) -> Deeds {
    let name = |name: &str| text(&format!("{folder}/{name}"));
    let (Some(made), Some(file), Some(link), Some(pointer)) =
        (name("made"), name("file"), name("link"), name("pointer"))
    else {
        return Deeds::NONE;
    };
    let attribute = c"user.skep";
    let (made, file, link, pointer) = (
        made.as_ptr(),
        file.as_ptr(),
        link.as_ptr(),
        pointer.as_ptr(),
    );
    let stays = libc::uid_t::MAX;
    // SAFETY: terminated strings that outlive the calls; the attribute's value has no bytes.
    unsafe {
        if libc::mknod(made, libc::S_IFREG | 0o600, 0) != 0 {
            return Deeds::NONE;
        }
        let renamed = libc::rename(made, file) == 0;
        if !renamed {
            libc::unlink(made);
            return Deeds::NONE;
        }
        let linked = libc::link(file, link) == 0;
        let pointed = libc::symlink(file, pointer) == 0;
        let truncated = libc::truncate(file, 0) == 0;
        let moded = libc::chmod(file, 0o600) == 0;
        let owned = libc::chown(file, stays, stays) == 0;
        let set = libc::setxattr(file, attribute.as_ptr(), std::ptr::null(), 0, 0) == 0;
        let set = set || is_unsupported();
        let unset = libc::removexattr(file, attribute.as_ptr()) == 0 || is_unsupported();
        if linked {
            libc::unlink(link);
        }
        if pointed {
            libc::unlink(pointer);
        }
        let unlinked = libc::unlink(file) == 0;
        Deeds::RENAME
            .and(Deeds::LINK.when(linked))
            .and(Deeds::SYMLINK.when(pointed))
            .and(Deeds::TRUNCATE.when(truncated))
            .and(Deeds::CHMOD.when(moded))
            .and(Deeds::CHOWN.when(owned))
            .and(Deeds::SETXATTR.when(set))
            .and(Deeds::REMOVEXATTR.when(unset))
            .and(Deeds::UNLINK.when(unlinked))
    }
}

/// The file system has no such attributes: it is asked after the hook (fs/xattr.c).
fn is_unsupported() -> bool {
    io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn text(path: &str) -> Option<CString> {
    CString::new(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_made_and_nothing_of_it_is_left() {
        assert_eq!(changes(), Deeds::CHANGES, "{:?}", changes().missing());
        let own = format!(".skep-canary-{}", std::process::id());
        for place in PLACES {
            assert!(!std::path::Path::new(place).join(&own).exists(), "{place}");
        }
    }
}
