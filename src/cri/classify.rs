//! Which kind of failure each error of the daemon is.
//!
//! Errors say what failed; what a caller makes of it is decided here alone.

use std::io;

use super::status::{Classify, Kind};
use crate::{
    container::{error::ContainerError, mapped::MappedError, volumes::VolumeError},
    events::SubscribeError,
    image::{ErrorKind, ImageError},
    lsm::{apparmor::ApparmorError, relabel::RelabelError},
    monitor::{MonitorError, Stage},
    network::{
        NetworkError,
        cni::{chain::ChainError, plugin::PluginError},
        hostport::HostPortError,
        native::{IpamError, NativeError},
        pod_cidr::PodCidrError,
        process::ProcessError,
    },
    oci::{
        RuntimeError,
        absent::AbsentError,
        cgroup::CgroupError,
        device::DeviceError,
        handler::HandlerError,
        message::{self, Meaning},
        mount::MountError,
        rootfs::RootfsError,
        seccomp::SeccompError,
        spec::SpecError,
        user::UserError,
    },
    pod::{error::PodError, limits::LimitsError},
    stats::StatsError,
    storage::StorageError,
    store::StoreError,
    stream::server::UrlError,
    sys::{namespaces::NamespaceError, users::UsersError},
};

impl Classify for PodError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::Gone(_) => Kind::NotFound,
            Self::Exists { .. } => Kind::AlreadyExists,
            Self::Handler(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::File { source, .. } => of_io(source),
            Self::Users(_) => Kind::FailedPrecondition,
            Self::Annotations(_) | Self::Contents(_) => Kind::InvalidArgument,
            Self::Namespaces(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Apparmor(error) => error.kind(),
            Self::NoLevel => Kind::ResourceExhausted,
            Self::Relabel(error) => error.kind(),
            Self::DynamicMonitor(_) => Kind::FailedPrecondition,
            Self::InfraSpec(error) => error.kind(),
            Self::InfraMonitor(error) => error.kind(),
            Self::InfraRuntime(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Limits(error) => error.kind(),
            Self::InfraLost(_) | Self::Lost { .. } | Self::Panicked(_) => Kind::Internal,
        }
    }
}

impl Classify for SubscribeError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooMany => Kind::ResourceExhausted,
            Self::Closed => Kind::Unavailable,
        }
    }
}

impl Classify for ContainerError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::ImageNotFound(_) => Kind::NotFound,
            Self::PodNotReady { state, .. } if *state == "not there" => Kind::NotFound,
            Self::PodNotReady { .. }
            | Self::WrongState { .. }
            | Self::EndedMeanwhile(_)
            | Self::BelowUsage { .. } => Kind::FailedPrecondition,
            Self::Recovering(_) => Kind::Unavailable,
            Self::Unsupported(_) => Kind::Unimplemented,
            Self::Image(error) => Classify::kind(error),
            Self::Target(_) | Self::StopSignal(_) | Self::PidMode { .. } | Self::Users { .. } => {
                Kind::InvalidArgument
            }
            Self::File { source, .. } => of_io(source),
            Self::Rootfs(error) => error.kind(),
            Self::User(error) => error.kind(),
            Self::Mount(error) => error.kind(),
            Self::Mapped(error) => error.kind(),
            Self::Volume(error) => error.as_ref().kind(),
            Self::Device(error) => error.kind(),
            Self::Spec(error) => error.kind(),
            Self::Monitor(error) | Self::Exec(error) => error.kind(),
            Self::Handler(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Apparmor(error) => error.kind(),
            Self::Relabel(error) => error.kind(),
            Self::Prepare(error) => error.kind(),
            Self::Runtime { source, .. } => source.kind(),
            Self::Unkillable { .. } | Self::NoAnswer(_) => Kind::DeadlineExceeded,
            Self::Record(error) => error.kind(),
            Self::SpecFile { .. } | Self::Signal { .. } | Self::Panicked(_) => Kind::Internal,
        }
    }
}

impl Classify for MappedError {
    fn kind(&self) -> Kind {
        match self {
            Self::Users {
                source: UsersError::Mappings(_),
                ..
            } => Kind::InvalidArgument,
            Self::Map { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                Kind::FailedPrecondition
            }
            _ => Kind::Internal,
        }
    }
}

impl Classify for ImageError {
    fn kind(&self) -> Kind {
        match self.kind() {
            ErrorKind::InvalidArgument => Kind::InvalidArgument,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Kind::PermissionDenied,
            ErrorKind::Unavailable => Kind::Unavailable,
            ErrorKind::ResourceExhausted => Kind::ResourceExhausted,
            ErrorKind::FailedPrecondition => Kind::FailedPrecondition,
            ErrorKind::DataLoss | ErrorKind::Internal => Kind::Internal,
        }
    }
}

impl Classify for MonitorError {
    fn kind(&self) -> Kind {
        match self {
            Self::Create(failure) if failure.stage == Stage::Timeout => Kind::DeadlineExceeded,
            Self::Create(failure) => of_runtime_words(&failure.text),
            Self::ExecRuntime { stderr, .. } => of_runtime_words(stderr),
            Self::ExecStart { words, .. } => of_runtime_words(words),
            Self::Timeout { .. } => Kind::DeadlineExceeded,
            Self::Refused { .. } => Kind::FailedPrecondition,
            _ => Kind::Internal,
        }
    }
}

impl Classify for UrlError {
    fn kind(&self) -> Kind {
        match self {
            Self::Full(_) => Kind::ResourceExhausted,
            Self::Random(_) => Kind::Internal,
        }
    }
}

impl Classify for RuntimeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoContainer { .. } | Self::NotRunning { .. } => Kind::FailedPrecondition,
            Self::Timeout { .. } => Kind::DeadlineExceeded,
            Self::Failed { message, .. } => of_runtime_words(message),
            _ => Kind::Internal,
        }
    }
}

impl Classify for LimitsError {
    fn kind(&self) -> Kind {
        match self {
            Self::BelowUsage { .. } | Self::NoController(_) => Kind::FailedPrecondition,
            Self::Write { source, .. } => of_io(source),
        }
    }
}

impl Classify for NetworkError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotReady(_) => Kind::Unavailable,
            Self::Chain(ChainError::Plugin {
                source: PluginError::Process(ProcessError::Timeout { .. }),
                ..
            }) => Kind::DeadlineExceeded,
            Self::Chain(ChainError::Native { source, .. }) => match &**source {
                NativeError::Ipam(IpamError::Exhausted(_)) => Kind::ResourceExhausted,
                _ => Kind::Internal,
            },
            Self::Args(_) => Kind::InvalidArgument,
            Self::Template(PodCidrError::Write(_, source)) => of_io(source),
            Self::HostPort(HostPortError::Conflict(_)) | Self::Template(_) => {
                Kind::FailedPrecondition
            }
            _ => Kind::Internal,
        }
    }
}

impl Classify for NamespaceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Sysctl(_) | Self::Hostname { .. } => Kind::InvalidArgument,
            Self::Users(UsersError::Mappings(_)) => Kind::InvalidArgument,
            _ => Kind::Internal,
        }
    }
}

impl Classify for HandlerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::Name(_) => Kind::InvalidArgument,
            Self::Unavailable { .. } => Kind::Unavailable,
        }
    }
}

impl Classify for CgroupError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

impl Classify for SpecError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPidNamespace(_)
            | Self::NoUserNamespaces
            | Self::NoSeccomp
            | Self::NoApparmor(_) => Kind::FailedPrecondition,
            _ => Kind::InvalidArgument,
        }
    }
}

impl Classify for RelabelError {
    fn kind(&self) -> Kind {
        match self {
            // A label that the policy does not know.
            Self::Set { source, .. } if source.raw_os_error() == libc::EINVAL => {
                Kind::InvalidArgument
            }
            Self::Set { source, .. } | Self::Read { source, .. } => of_io(&(*source).into()),
            Self::System(_) | Self::TooMany(_) => Kind::InvalidArgument,
            Self::Open { .. } => Kind::FailedPrecondition,
        }
    }
}

impl Classify for ApparmorError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotLoaded(_) | Self::List { .. } => Kind::FailedPrecondition,
            _ => Kind::Internal,
        }
    }
}

impl Classify for SeccompError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

impl Classify for UserError {
    fn kind(&self) -> Kind {
        match self {
            Self::OpenRoot { .. } | Self::Read { .. } => Kind::Internal,
            _ => Kind::InvalidArgument,
        }
    }
}

impl Classify for VolumeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotHere { .. } => Kind::NotFound,
            Self::Image { source, .. } => Classify::kind(source),
            Self::SubPath { .. } => Kind::InvalidArgument,
            Self::Mount { source, .. } => source.kind(),
        }
    }
}

impl Classify for AbsentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Dangling { .. } | Self::NoName { .. } => Kind::InvalidArgument,
            Self::LookUp { source, .. } => of_io(source),
            Self::Open { .. } => Kind::FailedPrecondition,
            Self::Make { source, .. } => of_io(&(*source).into()),
        }
    }
}

impl Classify for MountError {
    fn kind(&self) -> Kind {
        match self {
            Self::LookUp { .. } | Self::NoView(..) => Kind::Internal,
            Self::Absent { source, .. } => source.kind(),
            Self::NotShared { .. } | Self::NotSharedOrSlave { .. } => Kind::FailedPrecondition,
            _ => Kind::InvalidArgument,
        }
    }
}

impl Classify for DeviceError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

impl Classify for RootfsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Open { .. } => Kind::Internal,
            _ => Kind::FailedPrecondition,
        }
    }
}

impl Classify for StorageError {
    fn kind(&self) -> Kind {
        if self.is_no_space() {
            Kind::ResourceExhausted
        } else {
            Kind::Internal
        }
    }
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        if self.is_full() {
            Kind::ResourceExhausted
        } else {
            Kind::Internal
        }
    }
}

impl Classify for StatsError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

fn of_io(error: &io::Error) -> Kind {
    error
        .raw_os_error()
        .and_then(Kind::of_errno)
        .unwrap_or(Kind::Internal)
}

/// What a runtime's own words mean. It has no error codes, and these two matter to callers: a command
/// that cannot be run will never run, and a full disk or a limit may have room again.
fn of_runtime_words(text: &str) -> Kind {
    let full = [
        "no space left on device",
        "disk quota exceeded",
        "too many open files",
    ];
    // Runtimes are written in languages that begin the kernel's words differently.
    let text = text.to_lowercase();
    if full.iter().any(|words| text.contains(words)) {
        Kind::ResourceExhausted
    } else if text.contains("read-only file system")
        || text.contains("cannot map ids")
        || text.contains("is not supported by this runtime")
    {
        Kind::FailedPrecondition
    } else if message::meaning(&text) == Meaning::NoCommand {
        Kind::InvalidArgument
    } else {
        Kind::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_runtime_are_understood() {
        for (text, kind) in [
            ("write x: no space left on device", Kind::ResourceExhausted),
            (
                "writing x: No space left on device (os error 28)",
                Kind::ResourceExhausted,
            ),
            (
                "making x: Read-only file system (os error 30)",
                Kind::FailedPrecondition,
            ),
            (
                "mapping IDs of x: its file system cannot map IDs",
                Kind::FailedPrecondition,
            ),
            (
                "hooks is not supported by this runtime; configure another",
                Kind::FailedPrecondition,
            ),
            (
                "exec: \"/x\": stat /x: no such file or directory",
                Kind::InvalidArgument,
            ),
            ("anything else", Kind::Internal),
        ] {
            assert_eq!(of_runtime_words(text), kind, "{text}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_the_callers_mistake() {
        let error = RuntimeError::Failed {
            verb: "runc create".into(),
            message: "exec: \"nope\": executable file not found in $PATH".into(),
        };
        assert_eq!(Classify::kind(&error), Kind::InvalidArgument);
        assert_eq!(
            of_runtime_words("write /x: no space left on device"),
            Kind::ResourceExhausted
        );
        assert_eq!(of_runtime_words("something else"), Kind::Internal);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = ContainerError::File {
            step: "writing",
            path: "/x".into(),
            source: io::Error::from_raw_os_error(libc::ENOSPC),
        };
        assert_eq!(full.kind(), Kind::ResourceExhausted);
        let broken = ContainerError::File {
            step: "writing",
            path: "/x".into(),
            source: io::Error::from_raw_os_error(libc::EIO),
        };
        assert_eq!(broken.kind(), Kind::Internal);
    }
}
