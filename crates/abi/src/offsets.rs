//! Where members stand in kernel structures.
//!
//! rustc emits no CO-RE relocations, so the daemon looks the members up in the running kernel's BTF
//! and sets the table as the global `OFFSETS` before load. It lands in frozen read-only data: the
//! verifier sees constants. A member the kernel does not have is [`ABSENT`]: code that needs it
//! reports the fact as missing; no offset is ever "0 because unknown".

/// The kernel has no such member.
pub const ABSENT: u32 = u32::MAX;

/// The table, indexed by [`Offset`]; bytes from the start of the structure.
pub type Offsets = [u32; Offset::COUNT];

macro_rules! offsets {
    ($($variant:ident = $structure:literal . $($member:literal)|+;)*) => {
        /// One member. `ALL` gives its structure and its names, newest kernel first, nested members
        /// joined by a dot.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Offset { $($variant),* }

        impl Offset {
            pub const COUNT: usize = [$(Offset::$variant),*].len();
            pub const ALL: [(Offset, &'static str, &'static [&'static str]); Offset::COUNT] =
                [$((Offset::$variant, $structure, &[$($member),+])),*];
        }
    };
}

offsets! {
    TaskTgid = "task_struct"."tgid";
    TaskRealParent = "task_struct"."real_parent";
    TaskStartBoottime = "task_struct"."start_boottime" | "real_start_time";
    TaskMm = "task_struct"."mm";
    TaskTasks = "task_struct"."tasks";
    TaskFs = "task_struct"."fs";
    TaskFiles = "task_struct"."files";
    TaskSignal = "task_struct"."signal";
    TaskCred = "task_struct"."cred";
    TaskLoginuid = "task_struct"."loginuid";
    TaskThreadPid = "task_struct"."thread_pid";
    TaskNsproxy = "task_struct"."nsproxy";
    TaskExitCode = "task_struct"."exit_code";
    TaskGroupLeader = "task_struct"."group_leader";
    SignalLive = "signal_struct"."live";
    SignalFlags = "signal_struct"."flags";
    SignalGroupExitCode = "signal_struct"."group_exit_code";
    SignalTty = "signal_struct"."tty";
    TtyName = "tty_struct"."name";
    CredUid = "cred"."uid";
    CredEuid = "cred"."euid";
    CredGid = "cred"."gid";
    CredUserNs = "cred"."user_ns";
    PidLevel = "pid"."level";
    PidNumbers = "pid"."numbers";
    UpidNs = "upid"."ns";
    NsproxyMntNs = "nsproxy"."mnt_ns";
    PidNamespaceInum = "pid_namespace"."ns.inum";
    UserNamespaceInum = "user_namespace"."ns.inum";
    MntNamespaceInum = "mnt_namespace"."ns.inum";
    MmArgStart = "mm_struct"."arg_start";
    MmArgEnd = "mm_struct"."arg_end";
    MmEnvStart = "mm_struct"."env_start";
    MmEnvEnd = "mm_struct"."env_end";
    MmExeFile = "mm_struct"."exe_file";
    FsPwd = "fs_struct"."pwd";
    FsRoot = "fs_struct"."root";
    FilesFdt = "files_struct"."fdt";
    FdtableFd = "fdtable"."fd";
    FdtableMaxFds = "fdtable"."max_fds";
    BinprmFile = "linux_binprm"."file";
    BinprmFilename = "linux_binprm"."filename";
    BinprmArgc = "linux_binprm"."argc";
    FilePath = "file"."f_path";
    FileInode = "file"."f_inode";
    FileFlags = "file"."f_flags";
    PathMnt = "path"."mnt";
    PathDentry = "path"."dentry";
    DentryParent = "dentry"."d_parent";
    DentryName = "dentry"."d_name.name";
    DentryNameHash = "dentry"."d_name.hash";
    DentryInode = "dentry"."d_inode";
    DentrySb = "dentry"."d_sb";
    VfsmountRoot = "vfsmount"."mnt_root";
    VfsmountSb = "vfsmount"."mnt_sb";
    MountParent = "mount"."mnt_parent";
    MountMountpoint = "mount"."mnt_mountpoint";
    MountMnt = "mount"."mnt";
    InodeIno = "inode"."i_ino";
    InodeSb = "inode"."i_sb";
    InodeMode = "inode"."i_mode";
    InodeSize = "inode"."i_size";
    InodeLinks = "inode"."i_nlink";
    // i_ctime became __i_ctime in 6.6 and two integers in 6.11.
    InodeCtimeSec = "inode"."i_ctime_sec" | "__i_ctime.tv_sec" | "i_ctime.tv_sec";
    InodeCtimeNsec = "inode"."i_ctime_nsec" | "__i_ctime.tv_nsec" | "i_ctime.tv_nsec";
    SuperBlockDev = "super_block"."s_dev";
    SocketSk = "socket"."sk";
    SocketType = "socket"."type";
    SockProtocol = "sock"."sk_protocol";
    RegistersDi = "pt_regs"."di";
    RegistersSi = "pt_regs"."si";
    RegistersDx = "pt_regs"."dx";
    RegistersR10 = "pt_regs"."r10";
    RegistersR8 = "pt_regs"."r8";
    UnixSockAddr = "unix_sock"."addr";
    UnixSockPeer = "unix_sock"."peer";
    UnixAddressLen = "unix_address"."len";
    UnixAddressName = "unix_address"."name";
}
