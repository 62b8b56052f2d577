//! connect, and datagrams to a named peer, by tier:
//!
//! - inet: cgroup `connect4/6` and `sendmsg4/6` on the root of cgroup v2 (4.17; the current pid is
//!   available to them since 6.1): sees every IP connect of every process, whatever made it,
//!   io_uring included, with the protocol; runs before the outcome. They can also deny.
//! - unix, best: fentry `unix_stream_connect(struct socket *sock, struct sockaddr *address, int
//!   addrlen, int flags)` (5.5), which no other connect passes; datagram sockets are `unix_send`'s;
//! - unix, else: LSM `socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`
//!   (5.7) or fentry `security_socket_connect` (5.5); also inet where cgroup programs are refused.
//! - other families (vsock, bluetooth …): the same two, in a program that leaves out the families that
//!   have better ones;
//! - last: tracepoint `sys_exit_connect`, alone (5.15) or together with `sys_enter_connect`
//!   ([`crate::syscall`]), which know the outcome but neither the protocol nor io_uring nor 32-bit system
//!   calls.
//!
//! Left out: `AF_UNSPEC`, which ends a connection, and `AF_NETLINK`, which leads into the kernel.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{cgroup_sock_addr, fentry, lsm, tracepoint},
    programs::{FEntryContext, LsmContext, SockAddrContext, TracePointContext},
};
use skep_abi::{
    Cause, Connect, Hook, Kind, LogLine, MISSING_ADDR, MISSING_PROTO, MISSING_RESULT, Offset,
    ProcessState, UNIX_PATH_MAX,
};

use crate::{
    account,
    interest::{may_be_watched, watched},
    kernel::{self, Address, Members, Read, Typed, Unreadable},
    log,
    maps::Call,
    record::{self, Draft},
    ring::Urgency,
    syscall::{Entered, argument, enter, result, take},
};

/// `AF_*` (linux/socket.h).
const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;
pub const AF_VSOCK: u16 = 40;
/// `enum sock_type` (linux/net.h).
pub const SOCK_DGRAM: u16 = 2;
/// Bytes of `sa_family_t`.
const FAMILY_BYTES: u64 = 2;
/// A cgroup program's "go on".
const ALLOW: i32 = 1;

/// Set by the daemon before load: 1 when cgroup programs report inet, so the others leave it out.
#[unsafe(no_mangle)]
static CGROUP_INET: u8 = 0;

/// What a program is there to report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Families {
    /// Whatever the cgroup programs do not.
    All,
    Unix,
    /// Neither unix nor inet.
    Other,
}

#[inline(always)]
fn wanted(family: u16, families: Families) -> bool {
    match family {
        AF_UNSPEC | AF_NETLINK => false,
        AF_UNIX => families != Families::Other,
        AF_INET | AF_INET6 => {
            // SAFETY: a plain global; volatile because the daemon changes it before load.
            let cgroup_inet = unsafe { core::ptr::read_volatile(&raw const CGROUP_INET) };
            families == Families::All && cgroup_inet == 0
        }
        _ => families != Families::Unix,
    }
}

// === inet: cgroup ===

#[cgroup_sock_addr(connect4)]
pub fn cgroup_connect4(ctx: SockAddrContext) -> i32 {
    try_cgroup(Hook::CgroupConnect4, AF_INET, ctx.sock_addr);
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub fn cgroup_connect6(ctx: SockAddrContext) -> i32 {
    try_cgroup(Hook::CgroupConnect6, AF_INET6, ctx.sock_addr);
    ALLOW
}

#[cgroup_sock_addr(sendmsg4)]
pub fn cgroup_sendmsg4(ctx: SockAddrContext) -> i32 {
    try_cgroup(Hook::CgroupSendmsg4, AF_INET, ctx.sock_addr);
    ALLOW
}

#[cgroup_sock_addr(sendmsg6)]
pub fn cgroup_sendmsg6(ctx: SockAddrContext) -> i32 {
    try_cgroup(Hook::CgroupSendmsg6, AF_INET6, ctx.sock_addr);
    ALLOW
}

#[inline(always)]
fn try_cgroup(hook: Hook, family: u16, ctx: *const bpf_sock_addr) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let mut header = record::header(Kind::Connect, hook, kernel::boot_ns(), pid_tgid, &state);
    header.missing |= MISSING_RESULT;
    header.len = size_of::<Connect>() as u32;
    let mut words = [0u32; 4];
    // SAFETY: reads of the context, 4 bytes each and one by one, as the verifier demands.
    let (port, proto) = unsafe {
        if family == AF_INET {
            words[0] = core::ptr::read_volatile(&raw const (*ctx).user_ip4);
        } else {
            words[0] = core::ptr::read_volatile(&raw const (*ctx).user_ip6[0]);
            words[1] = core::ptr::read_volatile(&raw const (*ctx).user_ip6[1]);
            words[2] = core::ptr::read_volatile(&raw const (*ctx).user_ip6[2]);
            words[3] = core::ptr::read_volatile(&raw const (*ctx).user_ip6[3]);
        }
        (
            core::ptr::read_volatile(&raw const (*ctx).user_port),
            core::ptr::read_volatile(&raw const (*ctx).protocol),
        )
    };
    let connect = Connect {
        header,
        // The words are in network order already.
        addr: zerocopy::transmute!(words),
        result: 0,
        family,
        port: u16::from_be(port as u16),
        proto: proto as u8,
        pad: 0,
        path_len: 0,
        pad2: 0,
    };
    record::send_fixed(Kind::Connect, state.session, &connect);
}

// === LSM and fentry ===

#[lsm(hook = "socket_connect")]
pub fn lsm_socket_connect(ctx: LsmContext) -> i32 {
    try_socket_connect(
        Hook::LsmSocketConnect,
        Families::All,
        ctx.arg::<*const u8>(0),
        ctx.arg::<*const u8>(1),
        ctx.arg::<i32>(2),
    );
    // The verdict of the LSM before us.
    ctx.arg::<i32>(3)
}

#[fentry(function = "security_socket_connect")]
pub fn fentry_socket_connect(ctx: FEntryContext) -> i32 {
    try_socket_connect(
        Hook::FentrySocketConnect,
        Families::All,
        ctx.arg::<*const u8>(0),
        ctx.arg::<*const u8>(1),
        ctx.arg::<i32>(2),
    );
    0
}

#[fentry(function = "security_socket_connect")]
pub fn fentry_other_connect(ctx: FEntryContext) -> i32 {
    try_socket_connect(
        Hook::FentrySocketConnect,
        Families::Other,
        ctx.arg::<*const u8>(0),
        ctx.arg::<*const u8>(1),
        ctx.arg::<i32>(2),
    );
    0
}

#[fentry(function = "unix_stream_connect")]
pub fn fentry_unix_stream_connect(ctx: FEntryContext) -> i32 {
    try_socket_connect(
        Hook::FentryUnixStreamConnect,
        Families::Unix,
        ctx.arg::<*const u8>(0),
        ctx.arg::<*const u8>(1),
        ctx.arg::<i32>(2),
    );
    0
}

#[inline(always)]
fn try_socket_connect(
    hook: Hook,
    families: Families,
    socket: *const u8,
    address: *const u8,
    len: i32,
) {
    // The family first, which tells most connects apart from those that are wanted here. It is the first
    // member of every socket address, and the kernel's copy has room for it whatever `len` says.
    // SAFETY: the verifier checks the load, and the kernel turns a fault into 0.
    let family = unsafe { address.cast::<u16>().read_volatile() };
    if !wanted(family, families) {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let socket = Typed(socket);
    // A datagram socket's connect asks `unix_may_send` as well, and is reported there.
    if family == AF_UNIX && matches!(socket.read::<u16>(Offset::SocketType), Ok(SOCK_DGRAM)) {
        return;
    }
    let proto = socket
        .follow(Offset::SocketSk)
        .and_then(|sock| sock.read::<u16>(Offset::SockProtocol))
        .map(|proto| proto as u8);
    let peer = Peer {
        memory: Memory::Kernel,
        address: address as u64,
        len: len as u64,
    };
    if peer.len < FAMILY_BYTES {
        let cause = Cause::Unreadable;
        return account::lost(hook as u8, Kind::Connect, cause, state.session);
    }
    send(hook, pid_tgid, &state, peer, family, proto.ok(), None);
}

// === tracepoints ===

#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn exit_connect(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(state) = watched(pid_tgid) {
        let entered = Entered::now();
        match (entered.argument(1), entered.argument(2)) {
            (Ok(pointer), Ok(len)) => tell(&ctx, pid_tgid, &state, pointer, len),
            _ => unreadable(state.session),
        }
    }
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_connect")]
pub fn enter_connect(ctx: TracePointContext) -> u32 {
    let (address, len) = (argument(&ctx, 1), argument(&ctx, 2));
    enter(Hook::TpConnect, Kind::Connect, address, len, -1);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn leave_connect(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if may_be_watched(pid_tgid)
        && let Some(Call { pointer, extra, .. }) = take(pid_tgid)
        && let Some(state) = watched(pid_tgid)
    {
        tell(&ctx, pid_tgid, &state, pointer, extra);
    }
    0
}

#[inline(always)]
fn unreadable(session: u64) {
    let hook = Hook::TpConnect as u8;
    account::lost(hook, Kind::Connect, Cause::Unreadable, session);
}

/// Reports a connect that has returned.
#[inline(always)]
fn tell(ctx: &TracePointContext, pid_tgid: u64, state: &ProcessState, address: u64, len: u64) {
    let peer = Peer {
        memory: Memory::User,
        address,
        len,
    };
    let result = result(ctx) as i32;
    let Ok(family) = peer.read::<u16>(0) else {
        // A call with no readable address fails in the kernel too; it connects to nothing.
        if result == 0 {
            unreadable(state.session);
        }
        return;
    };
    if wanted(family, Families::All) {
        send(
            Hook::TpConnect,
            pid_tgid,
            state,
            peer,
            family,
            None,
            Some(result),
        );
    }
}

// === socket addresses ===

/// Where a socket address lies.
#[derive(Clone, Copy)]
enum Memory {
    Kernel,
    User,
}

#[derive(Clone, Copy)]
struct Peer {
    memory: Memory,
    address: u64,
    len: u64,
}

impl Peer {
    /// Value at `offset` of the address, which must lie within it.
    #[inline(always)]
    fn read<T>(self, offset: u64) -> Read<T> {
        if offset + size_of::<T>() as u64 > self.len {
            return Err(Unreadable);
        }
        match self.memory {
            Memory::Kernel => Address(self.address + offset).value(),
            Memory::User => {
                // SAFETY: the helper checks the address.
                unsafe { bpf_probe_read_user((self.address + offset) as *const T) }
                    .map_err(|_| Unreadable)
            }
        }
    }

    /// Appends the path of a `sockaddr_un`.
    #[inline(always)]
    fn path(self, draft: &mut Draft<Connect>) -> Read<usize> {
        let len = self.len.saturating_sub(FAMILY_BYTES);
        match self.memory {
            Memory::Kernel => draft.kernel_bytes::<UNIX_PATH_MAX>(self.address + FAMILY_BYTES, len),
            Memory::User => draft.user_bytes::<UNIX_PATH_MAX>(self.address + FAMILY_BYTES, len),
        }
    }
}

#[inline(always)]
fn send(
    hook: Hook,
    pid_tgid: u64,
    state: &ProcessState,
    peer: Peer,
    family: u16,
    proto: Option<u8>,
    result: Option<i32>,
) {
    let header = record::header(Kind::Connect, hook, kernel::boot_ns(), pid_tgid, state);
    let Some(mut draft) = Draft::<Connect>::begin(Kind::Connect, &header) else {
        return;
    };
    let connect = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part, here and below.
    unsafe {
        (*connect).addr = [0; 16];
        (*connect).result = result.unwrap_or(0);
        (*connect).family = family;
        (*connect).port = 0;
        (*connect).proto = proto.unwrap_or(0);
        (*connect).pad = 0;
        (*connect).pad2 = 0;
    }
    if result.is_none() {
        draft.missing(MISSING_RESULT);
    }
    if proto.is_none() {
        draft.missing(MISSING_PROTO);
    }
    let start = draft.len();
    if fill(&mut draft, peer, family).is_err() {
        log::debug!(hook, LogLine::NoAddress, family, peer.len);
        draft.missing(MISSING_ADDR);
    }
    // SAFETY: as above.
    unsafe { (*connect).path_len = (draft.len() - start) as u16 };
    draft.send(Urgency::Whenever);
}

/// Reads address and port (`sockaddr_in`, `sockaddr_in6`, `sockaddr_vm`) or path (`sockaddr_un`). What
/// an address of another family says is not read.
#[inline(always)]
fn fill(draft: &mut Draft<Connect>, peer: Peer, family: u16) -> Read<()> {
    let connect = draft.fixed();
    if family == AF_UNIX {
        peer.path(draft)?;
        return Ok(());
    }
    // SAFETY: the fixed part of a draft; it was set to zeroes.
    unsafe {
        let addr = &raw mut (*connect).addr;
        match family {
            AF_INET => addr.cast::<[u8; 4]>().write(peer.read(4)?),
            AF_INET6 => addr.write(peer.read(8)?),
            AF_VSOCK => {
                addr.cast::<[u8; 8]>().write(peer.read(4)?);
                return Ok(());
            }
            _ => return Err(Unreadable),
        }
        (*connect).port = u16::from_be(peer.read(2)?);
    }
    Ok(())
}
