//! Sockets whose peers no connect hook sees: raw, ICMP, packet and others. That one was made is
//! reported; what goes through it is not.
//!
//! - best: fentry `security_socket_post_create(struct socket *sock, int family, int type, int protocol,
//!   int kern)` (5.5), LSM `socket_post_create` (5.7): after the socket was made, whatever asked for it;
//! - last: tracepoint `sys_exit_socket`, alone (5.15) or together with `sys_enter_socket`
//!   ([`crate::syscall`]), which do not see io_uring (5.19) and 32-bit system calls.
//!
//! Ordinary sockets, of which every program makes many, end in [`is_told`].

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, lsm, tracepoint},
    programs::{FEntryContext, LsmContext, TracePointContext},
};
use skep_abi::{Hook, Kind, ProcessState, Socket};

use crate::{
    connect::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, AF_VSOCK, SOCK_DGRAM},
    interest::{may_be_watched, watched},
    kernel::{self, Read},
    record,
    syscall::{Entered, argument, enter, result, take},
};

/// `AF_*` (linux/socket.h): keys of IPsec, and the kernel's ciphers. They lead nowhere.
const AF_KEY: u16 = 15;
const AF_ALG: u16 = 38;
/// `enum sock_type` (linux/net.h).
const SOCK_STREAM: u16 = 1;
const SOCK_SEQPACKET: u16 = 5;
/// `SOCK_TYPE_MASK` (linux/net.h): the rest of the argument are flags.
const SOCK_TYPE_MASK: u64 = 0xf;
/// `IPPROTO_*` (linux/in.h); 0 is the type's own.
const IPPROTO_IP: u32 = 0;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;

/// What was asked of `socket`.
#[derive(Clone, Copy)]
struct Made {
    family: u16,
    kind: u16,
    protocol: u32,
}

impl Made {
    /// By the arguments of the system call.
    #[inline(always)]
    fn asked([family, kind, protocol]: [u64; 3]) -> Self {
        Self {
            family: family as u16,
            kind: (kind & SOCK_TYPE_MASK) as u16,
            protocol: protocol as u32,
        }
    }
}

// === LSM and fentry ===

#[fentry(function = "security_socket_post_create")]
pub fn fentry_socket_post_create(ctx: FEntryContext) -> i32 {
    let made = Made {
        family: ctx.arg::<i32>(1) as u16,
        kind: ctx.arg::<i32>(2) as u16,
        protocol: ctx.arg::<i32>(3) as u32,
    };
    try_post_create(Hook::FentrySocketPostCreate, made, ctx.arg::<i32>(4));
    0
}

#[lsm(hook = "socket_post_create")]
pub fn lsm_socket_post_create(ctx: LsmContext) -> i32 {
    let made = Made {
        family: ctx.arg::<i32>(1) as u16,
        kind: ctx.arg::<i32>(2) as u16,
        protocol: ctx.arg::<i32>(3) as u32,
    };
    try_post_create(Hook::LsmSocketPostCreate, made, ctx.arg::<i32>(4));
    // The verdict of the LSM before us.
    ctx.arg::<i32>(5)
}

/// `kern`: the kernel makes the socket for itself.
#[inline(always)]
fn try_post_create(hook: Hook, made: Made, kern: i32) {
    if kern != 0 || !is_told(made) {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(state) = watched(pid_tgid) {
        send(hook, pid_tgid, &state, made);
    }
}

// === tracepoints ===

#[tracepoint(category = "syscalls", name = "sys_exit_socket")]
pub fn exit_socket(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if result(&ctx) >= 0
        && may_be_watched(pid_tgid)
        && let Ok(made) = entered()
        && is_told(made)
        && let Some(state) = watched(pid_tgid)
    {
        send(Hook::TpSocket, pid_tgid, &state, made);
    }
    0
}

#[inline(always)]
fn entered() -> Read<Made> {
    let entered = Entered::now();
    Ok(Made::asked([
        entered.argument(0)?,
        entered.argument(1)?,
        entered.argument(2)?,
    ]))
}

#[tracepoint(category = "syscalls", name = "sys_enter_socket")]
pub fn enter_socket(ctx: TracePointContext) -> u32 {
    let made = Made::asked([argument(&ctx, 0), argument(&ctx, 1), argument(&ctx, 2)]);
    if is_told(made) {
        let kind_and_family = (made.kind as u64) << 16 | made.family as u64;
        let protocol = made.protocol as u64;
        enter(Hook::TpSocket, Kind::Socket, kind_and_family, protocol, -1);
    }
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_socket")]
pub fn leave_socket(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if may_be_watched(pid_tgid)
        && let Some(call) = take(pid_tgid)
        && result(&ctx) >= 0
        && let Some(state) = watched(pid_tgid)
    {
        let made = Made {
            family: call.pointer as u16,
            kind: (call.pointer >> 16) as u16,
            protocol: call.extra as u32,
        };
        send(Hook::TpSocket, pid_tgid, &state, made);
    }
    0
}

// === both ===

/// Whether the connect hooks do not see all that goes through such a socket.
#[inline(always)]
fn is_told(made: Made) -> bool {
    match made.family {
        AF_UNIX | AF_NETLINK | AF_KEY | AF_ALG => false,
        AF_INET | AF_INET6 => !matches!(
            (made.kind, made.protocol),
            (SOCK_STREAM, IPPROTO_IP | IPPROTO_TCP | IPPROTO_MPTCP)
                | (SOCK_DGRAM, IPPROTO_IP | IPPROTO_UDP)
        ),
        AF_VSOCK => !matches!(made.kind, SOCK_STREAM | SOCK_SEQPACKET),
        _ => true,
    }
}

#[inline(always)]
fn send(hook: Hook, pid_tgid: u64, state: &ProcessState, made: Made) {
    let mut header = record::header(Kind::Socket, hook, kernel::boot_ns(), pid_tgid, state);
    header.len = size_of::<Socket>() as u32;
    let socket = Socket {
        header,
        family: made.family,
        kind: made.kind,
        protocol: made.protocol,
    };
    record::send_fixed(Kind::Socket, state.session, &socket);
}
