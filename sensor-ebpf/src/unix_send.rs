//! Datagrams to a named unix socket without a connect: LSM `unix_may_send(struct socket *sock, struct
//! socket *other)` (5.7) or fentry `security_unix_may_send` (5.5). No fallback: a tracepoint on every
//! send would tax what everything does all the time.
//!
//! The hook runs for each datagram, and for the connect of a datagram socket, which is how that is
//! reported; what goes to a peer that was connected to was reported then, and is left out.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, lsm},
    programs::{FEntryContext, LsmContext},
};
use skep_abi::{Connect, Hook, Kind, LogLine, MISSING_ADDR, MISSING_RESULT, Offset, UNIX_PATH_MAX};

use crate::{
    connect::AF_UNIX,
    interest::watched,
    kernel::{self, Address, Members, Read},
    log,
    record::{self, Draft},
    ring::Urgency,
};

/// Bytes of `sa_family_t`.
const FAMILY_BYTES: u64 = 2;

#[lsm(hook = "unix_may_send")]
pub fn lsm_unix_may_send(ctx: LsmContext) -> i32 {
    may_send(
        Hook::LsmUnixMaySend,
        Address::of(ctx.arg::<*const u8>(0)),
        Address::of(ctx.arg::<*const u8>(1)),
    );
    // The verdict of the LSM before us.
    ctx.arg::<i32>(2)
}

#[fentry(function = "security_unix_may_send")]
pub fn fentry_unix_may_send(ctx: FEntryContext) -> i32 {
    may_send(
        Hook::FentryUnixMaySend,
        Address::of(ctx.arg::<*const u8>(0)),
        Address::of(ctx.arg::<*const u8>(1)),
    );
    0
}

#[inline(always)]
fn may_send(hook: Hook, socket: Address, other: Address) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let peer = other.follow(Offset::SocketSk);
    if let (Ok(own), Ok(peer)) = (socket.follow(Offset::SocketSk), &peer)
        && let Ok(connected) = own.follow(Offset::UnixSockPeer)
        && connected == *peer
    {
        return;
    }
    let header = record::header(Kind::Connect, hook, kernel::boot_ns(), pid_tgid, &state);
    let Some(mut draft) = Draft::<Connect>::begin(Kind::Connect, &header) else {
        return;
    };
    let connect = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part, here and below.
    unsafe {
        (*connect).addr = [0; 16];
        (*connect).result = 0;
        (*connect).family = AF_UNIX;
        (*connect).port = 0;
        (*connect).proto = 0;
        (*connect).pad = 0;
        (*connect).pad2 = 0;
    }
    draft.missing(MISSING_RESULT);
    let start = draft.len();
    if peer.and_then(|peer| name(&mut draft, peer)).is_err() {
        log::debug!(hook, LogLine::NoAddress, AF_UNIX);
        draft.missing(MISSING_ADDR);
    }
    // SAFETY: as above.
    unsafe { (*connect).path_len = (draft.len() - start) as u16 };
    draft.send(Urgency::Whenever);
}

/// Appends the name a `struct unix_sock` is bound to.
#[inline(always)]
fn name(draft: &mut Draft<Connect>, sock: Address) -> Read<usize> {
    let address = sock.follow(Offset::UnixSockAddr)?;
    let len: i32 = address.read(Offset::UnixAddressLen)?;
    let name = address.member(Offset::UnixAddressName)?;
    let len = (len as u64).saturating_sub(FAMILY_BYTES);
    draft.kernel_bytes::<UNIX_PATH_MAX>(name.0 + FAMILY_BYTES, len)
}
