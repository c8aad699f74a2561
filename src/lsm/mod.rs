//! Security modules of the kernel that confine containers by name: AppArmor by profiles, SELinux by labels.

pub mod apparmor;
pub mod mcs;
pub mod relabel;
pub mod selinux;
