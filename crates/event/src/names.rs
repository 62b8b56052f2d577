//! The names the field uses for numbers: errno, `O_*`, IP protocols, times.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use serde::{Serialize, Serializer};

use crate::UnixNanos;

/// Names that are kept for ever ([`kept`]), and how long each may be.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 64;

macro_rules! errnos {
    ($($name:ident)*) => {
        /// Name of a positive errno of this architecture, e.g. `ENOENT`.
        pub fn errno_name(errno: i32) -> Option<&'static str> {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

// errno(3); the names that are the same number on Linux (EWOULDBLOCK, EDEADLOCK, ENOTSUP) once each.
errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP
    ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL
    ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV
    ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD
    ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
    EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
    EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
    ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY
    EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE
    ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL
    EHWPOISON
}

/// `result` as JSON and the table show it: `0`, an errno name, or the bare number.
pub fn result_name(result: i32) -> String {
    match result.checked_neg().and_then(errno_name) {
        Some(name) => name.to_owned(),
        None => result.to_string(),
    }
}

/// `O_LARGEFILE` as the kernel has it; libc's constant is 0 on 64-bit. A 64-bit kernel sets it on
/// every open, so that it says nothing and is left out.
#[cfg(target_arch = "aarch64")]
const LARGEFILE: u32 = 0o400000;
#[cfg(not(target_arch = "aarch64"))]
const LARGEFILE: u32 = 0o100000;

/// Bits over others first: `O_SYNC` contains `O_DSYNC`, `O_TMPFILE` contains `O_DIRECTORY`.
const FLAGS: [(i32, &str); 15] = [
    (libc::O_CREAT, "O_CREAT"),
    (libc::O_EXCL, "O_EXCL"),
    (libc::O_NOCTTY, "O_NOCTTY"),
    (libc::O_TRUNC, "O_TRUNC"),
    (libc::O_APPEND, "O_APPEND"),
    (libc::O_NONBLOCK, "O_NONBLOCK"),
    (libc::O_SYNC, "O_SYNC"),
    (libc::O_DSYNC, "O_DSYNC"),
    (libc::O_ASYNC, "O_ASYNC"),
    (libc::O_DIRECT, "O_DIRECT"),
    (libc::O_TMPFILE, "O_TMPFILE"),
    (libc::O_DIRECTORY, "O_DIRECTORY"),
    (libc::O_NOFOLLOW, "O_NOFOLLOW"),
    (libc::O_NOATIME, "O_NOATIME"),
    (libc::O_CLOEXEC, "O_CLOEXEC"),
];

/// Flags of an open; a list of their `O_*` names in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Access mode first. Bits without a name follow as one `0x…`.
    pub fn names(self) -> Vec<String> {
        let access = match self.0 & libc::O_ACCMODE as u32 {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        };
        let mut names = vec![access.to_owned()];
        let mut rest = self.0 & !(libc::O_ACCMODE as u32) & !LARGEFILE;
        let mut take = |bits: i32, name: &str| {
            let bits = bits as u32;
            if rest & bits == bits {
                rest &= !bits;
                names.push(name.to_owned());
            }
        };
        for (bits, name) in FLAGS {
            take(bits, name);
        }
        take(libc::O_PATH, "O_PATH");
        if rest != 0 {
            names.push(format!("{rest:#x}"));
        }
        names
    }
}

impl Serialize for OpenFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// A name that the sensor has in its program (hooks, causes of losses), read back. Others are kept for
/// the life of the process; `None` when there are too many of those, or it is too long to be one.
pub(crate) fn kept(name: &str) -> Option<&'static str> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    // A panic while it was held leaves a set.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() == KEPT || name.len() > KEPT_BYTES {
        return None;
    }
    let name: &'static str = String::leak(name.to_owned());
    names.insert(name);
    Some(name)
}

/// `tcp`, `udp`, … or the protocol number.
pub fn proto_name(proto: u8) -> String {
    match i32::from(proto) {
        libc::IPPROTO_TCP => "tcp".to_owned(),
        libc::IPPROTO_UDP => "udp".to_owned(),
        libc::IPPROTO_ICMP => "icmp".to_owned(),
        libc::IPPROTO_ICMPV6 => "icmpv6".to_owned(),
        libc::IPPROTO_SCTP => "sctp".to_owned(),
        number => number.to_string(),
    }
}

/// RFC 3339 in UTC with nine digits of fraction.
pub fn time_text(time: UnixNanos) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .expect("u64 nanoseconds end in 2554, within jiff's range");
    format!("{stamp:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits_and_a_z() {
        assert_eq!(time_text(UnixNanos(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            time_text(UnixNanos(1_700_000_000_000_000_001)),
            "2023-11-14T22:13:20.000000001Z"
        );
        assert_eq!(
            time_text(UnixNanos(u64::MAX)),
            "2554-07-21T23:34:33.709551615Z"
        );
    }

    #[test]
    fn open_flags_have_their_names() {
        assert_eq!(OpenFlags(0).names(), ["O_RDONLY"]);
        assert_eq!(OpenFlags(LARGEFILE).names(), ["O_RDONLY"]);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        assert_eq!(
            OpenFlags(flags as u32).names(),
            ["O_WRONLY", "O_CREAT", "O_TRUNC"]
        );
        assert_eq!(
            OpenFlags(libc::O_SYNC as u32).names(),
            ["O_RDONLY", "O_SYNC"]
        );
        assert_eq!(
            OpenFlags(libc::O_DSYNC as u32).names(),
            ["O_RDONLY", "O_DSYNC"]
        );
        assert_eq!(
            OpenFlags(libc::O_TMPFILE as u32 | 2).names(),
            ["O_RDWR", "O_TMPFILE"]
        );
        assert_eq!(
            OpenFlags(libc::O_PATH as u32 | 1 << 30).names(),
            ["O_RDONLY", "O_PATH", "0x40000000"]
        );
    }

    #[test]
    fn results_have_errno_names() {
        assert_eq!(result_name(0), "0");
        assert_eq!(result_name(-2), "ENOENT");
        assert_eq!(result_name(-115), "EINPROGRESS");
        assert_eq!(result_name(-9999), "-9999");
        assert_eq!(result_name(i32::MIN), i32::MIN.to_string());
    }

    #[test]
    fn protocols_have_names() {
        assert_eq!([6, 17, 253].map(proto_name), ["tcp", "udp", "253"]);
    }
}
