@{proc}=/proc/
# What corten's containers may do unless they ask for another profile. It stands beside the capabilities,
# the system call filter and the masked paths, and holds where one of them was opened.
profile corten-default flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
  unix,

  # The host and what runs containers on it may signal what runs here; beyond that it is among itself.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send, receive) peer=corten-default,
  ptrace (trace, read, tracedby, readby) peer=corten-default,

  # File systems are the runtime's to arrange.
  deny mount,
  deny remount,
  deny pivot_root,
  umount,

  # The kernel's memory, its switches, and the ways to have it run a program on the host.
  deny @{proc}{kcore,kmem,mem,sysrq-trigger} rwklx,
  deny @{proc}sys/kernel/{core_pattern,modprobe,hotplug,usermodehelper/**} wklx,
  deny @{proc}sys/fs/binfmt_misc/** wklx,
  deny @{proc}acpi/** rwklx,
  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wklx,
  deny /sys/fs/{bpf,ext4,f2fs,fuse,pstore,resctrl,selinux,smackfs,xfs}/** wklx,
  deny /sys/{firmware,kernel/security,kernel/debug,kernel/tracing}/{,**} rwklx,
}
