//! System calls by what they are for.

/// Files: opening, reading, writing, naming, and what is known of them.
const FILES: &str = "
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown
    fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat
    _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat
    openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat
    readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64
    statx symlink symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range
    arm_fadvise64_64 syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
    utimensat_time64 utimes vmsplice write writev listmount statmount";

/// Extended attributes.
const ATTRIBUTES: &str = "
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
    llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat file_getattr
    file_setattr";

/// Waiting for files, and being told of changes.
const EVENTS: &str = "
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd
    signalfd4 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit";

/// Memory of the process itself.
const MEMORY: &str = "
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_mrelease remap_file_pages";

/// Processes, threads, their limits and their scheduling.
const PROCESSES: &str = "
    execve execveat exit exit_group fork vfork getcpu getpgid getpgrp getpid getppid getpriority
    getrandom getrlimit getrusage getsid get_robust_list get_thread_area gettid ioprio_get
    ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq
    sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield setpgid setpriority setrlimit
    set_robust_list setsid set_thread_area set_tid_address sysinfo tgkill tkill times ugetrlimit
    uname wait4 waitid waitpid uretprobe uprobe rseq_slice_yield";

/// Who the process is, and what it may do.
const IDENTITY: &str = "
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
    setresuid setresuid32 setreuid setreuid32 setuid setuid32 seccomp landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr";

/// Signals.
const SIGNALS: &str = "
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending
    sigprocmask sigreturn sigsuspend";

/// Clocks and timers.
const TIME: &str = "
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
    setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64";

/// Talking to others: sockets (but for making one), pipes, System V and POSIX IPC, futexes.
const TALKING: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall
    socketpair futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat
    shmctl shmdt shmget";

/// What some architectures have of their own.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
const MACHINE: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const MACHINE: &str = "breakpoint cacheflush set_tls";
#[cfg(target_arch = "riscv64")]
const MACHINE: &str = "riscv_flush_icache riscv_hwprobe";
#[cfg(target_arch = "s390x")]
const MACHINE: &str = "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr";
#[cfg(target_arch = "powerpc64")]
const MACHINE: &str = "swapcontext";
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "s390x",
    target_arch = "powerpc64"
)))]
const MACHINE: &str = "";

/// What every container may call.
pub(super) fn always() -> impl Iterator<Item = &'static str> {
    [
        FILES, ATTRIBUTES, EVENTS, MEMORY, PROCESSES, IDENTITY, SIGNALS, TIME, TALKING, MACHINE,
    ]
    .into_iter()
    .flat_map(str::split_whitespace)
}

/// What a container may call that has the capability.
pub(super) const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd \
         setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    (
        "SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("SYS_RAWIO", "ioperm iopl"),
    (
        "SYS_TIME",
        "clock_settime clock_settime64 settimeofday stime",
    ),
    ("SYS_TTY_CONFIG", "vhangup"),
    (
        "SYS_NICE",
        "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    ),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Looking into other processes: safe to allow since the kernel checks it before filters run.
pub(super) const TRACING: &str = "ptrace process_vm_readv process_vm_writev";

/// Known calls that are refused with EPERM, so that programs see a lack of permission, where what
/// is not known at all looks like an older kernel (ENOSYS) and makes them fall back.
const REFUSED: &str = "
    pivot_root swapon swapoff add_key request_key keyctl kexec_load kexec_file_load nfsservctl
    uselib ustat userfaultfd vm86 vm86old io_uring_setup io_uring_enter io_uring_register
    create_module get_kernel_syms query_module _sysctl sysfs vserver personality clone unshare";

/// All calls that may be refused with EPERM when nothing allows them.
pub(super) fn refusable() -> impl Iterator<Item = &'static str> {
    WITH_CAPABILITY
        .iter()
        .flat_map(|(_, names)| names.split_whitespace())
        .chain(TRACING.split_whitespace())
        .chain(REFUSED.split_whitespace())
}
