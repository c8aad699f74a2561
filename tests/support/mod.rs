//! What the tests stand on: a daemon to talk to, images to run, registries to pull from, and a check
//! that nothing stays behind.

mod calls;
mod command;
mod config;
mod fake;
mod leftovers;
mod logs;
mod named;
mod node;
mod oci;
mod poll;
mod process;
mod registry;
mod runtime;
mod scratch;
mod steps;
mod stream;
mod talk;

pub(crate) use command::{Done, run};
pub(crate) use config::{
    IMAGE, args, container, image_spec, insecure, linux, namespaces, pod, pod_linux, pod_net,
    profile, security, shell, userless,
};
pub(crate) use fake::{Behaviour, FakeRegistry};
pub(crate) use leftovers::{Leftovers, cgroup_directories, processes_naming};
pub(crate) use logs::{LogLine, read_log};
pub(crate) use named::check_is_there;
pub(crate) use node::{Node, Options, Programs, monitor_program, node, node_with};
pub(crate) use oci::{Blob, Entry, Image, ImageFormat, Packing, busybox, busybox_entries};
pub(crate) use poll::{patience, until, until_some};
pub(crate) use process::Process;
pub(crate) use registry::{Registry, RegistryOptions};
pub(crate) use runtime::{old_runtime, runtime, runtime_behind, runtime_program};
pub(crate) use scratch::{Mounted, Scratch};
pub(crate) use stream::{Socket, Streams, ask, status, upgrade};
pub(crate) use talk::{free_port, talk};
