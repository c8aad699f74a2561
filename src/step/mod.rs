//! Named steps of the daemon's work on the world outside, so that tests can kill it at each of them.
//!
//! Where an operation has just changed something that outlives the daemon, or is about to have another program do so,
//! it says which step that is. In a release build that is nothing. In a debug build that is told of a directory by
//! [`VARIABLE`], the step is added to the file `trace` there, if there is one, and the daemon kills itself when the
//! file `armed` says so: it holds the name of a step and how often that is to be reached from then on.

#[cfg(debug_assertions)]
mod armed;
mod journal;

pub(crate) use journal::{Written, written};

/// Environment variable that names the directory.
pub const VARIABLE: &str = "DEBUG_CORTEN_STEPS";

/// Declares the steps with their names.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step, named for what has just been done, or for what is about to be called.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($(#[$doc])* $step,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$step,)*];

            /// Its name, one word.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// A note over a sandbox's record is written aside.
    SandboxNoteStaged = "sandbox-note-staged",
    /// It is in its place.
    SandboxNoted = "sandbox-noted",
    /// A sandbox's record is written aside, and synced.
    SandboxRecordStaged = "sandbox-record-staged",
    /// It is in its place.
    SandboxRecorded = "sandbox-recorded",
    /// Its directory is synced too.
    SandboxRecordSynced = "sandbox-record-synced",
    /// A sandbox's record is deleted, the note over it is not.
    SandboxForgotten = "sandbox-forgotten",
    /// A note over a container's record is written aside.
    ContainerNoteStaged = "container-note-staged",
    /// It is in its place.
    ContainerNoted = "container-noted",
    /// A container's record is written aside, and synced.
    ContainerRecordStaged = "container-record-staged",
    /// It is in its place.
    ContainerRecorded = "container-recorded",
    /// Its directory is synced too.
    ContainerRecordSynced = "container-record-synced",
    /// A container's record is deleted, the note over it is not.
    ContainerForgotten = "container-forgotten",
    /// An image's record is written aside, and synced.
    ImageRecordStaged = "image-record-staged",
    /// It is in its place.
    ImageRecorded = "image-recorded",
    /// Its directory is synced too.
    ImageRecordSynced = "image-record-synced",
    /// An image's record is deleted.
    ImageForgotten = "image-forgotten",
    /// At a start: a record that was only written aside is deleted.
    StagedRecordSwept = "staged-record-swept",

    /// A sandbox's directory is made.
    SandboxDirectoryMade = "sandbox-directory-made",
    /// The files that need no address are in it.
    SandboxFilesWritten = "sandbox-files-written",
    /// Its shared memory is mounted.
    ShmMounted = "shm-mounted",
    /// The directory of its pinned namespaces is made.
    PinsDirectoryMade = "pins-directory-made",
    /// Its namespaces are made, and nothing but a thread keeps them.
    NamespacesMade = "namespaces-made",
    /// The file that a namespace is to be mounted on is made.
    PinPlaced = "pin-placed",
    /// A namespace is pinned.
    NamespacePinned = "namespace-pinned",
    /// The file of hosts is written.
    HostsWritten = "hosts-written",

    /// The intent to attach a pod is written aside.
    NetworkIntentStaged = "network-intent-staged",
    /// It is in its place.
    NetworkIntentWritten = "network-intent-written",
    /// A network plugin is about to be called to ADD.
    CniAddCalled = "cni-add-called",
    /// It has answered.
    CniAdded = "cni-added",
    /// An address is reserved for a pod.
    AddressReserved = "address-reserved",
    /// The bridge of the pods is there, up and with its addresses.
    BridgeReady = "bridge-ready",
    /// A pod's link is made, and down.
    PodLinkMade = "pod-link-made",
    /// A pod calls the world by the host's address.
    PodMasqueraded = "pod-masqueraded",
    /// A pod's link has its addresses and routes.
    PodLinkConfigured = "pod-link-configured",
    /// What the plugins answered is written aside.
    NetworkResultStaged = "network-result-staged",
    /// It is in its place.
    NetworkResultWritten = "network-result-written",
    /// A network plugin or `nft` has been told what to do, and goes on whatever becomes of the daemon.
    PluginRuns = "plugin-runs",
    /// The packet filter is about to be changed.
    NftCalled = "nft-called",
    /// It is changed.
    NftDone = "nft-done",
    /// 127.0.0.1 leads to pods.
    LocalnetSet = "localnet-set",
    /// A network plugin is about to be called to DEL.
    CniDelCalled = "cni-del-called",
    /// It has answered.
    CniDeleted = "cni-deleted",
    /// A pod calls the world by the host's address no more.
    PodUnmasqueraded = "pod-unmasqueraded",
    /// A pod's link is deleted.
    PodLinkDeleted = "pod-link-deleted",
    /// A pod's addresses are free.
    AddressesReleased = "addresses-released",
    /// The plugins' answer is forgotten.
    NetworkResultForgotten = "network-result-forgotten",
    /// So is the intent.
    NetworkIntentForgotten = "network-intent-forgotten",
    /// At a start: a network record that was only written aside is deleted.
    NetworkRecordSwept = "network-record-swept",

    /// A directory of a container, or of an infra process, is made.
    ContainerDirectoryMade = "container-directory-made",
    /// The configuration of a bundle is written.
    ConfigWritten = "config-written",
    /// A record of the storage is written aside.
    StorageRecordStaged = "storage-record-staged",
    /// It is in its place.
    StorageRecorded = "storage-recorded",
    /// The writable directory of a root file system is made.
    UpperMade = "upper-made",
    /// A root file system is mounted.
    RootfsMounted = "rootfs-mounted",
    /// An image is mounted whole, so that a part can be taken of it.
    WholeMounted = "whole-mounted",
    /// An image volume is mounted.
    ViewMounted = "view-mounted",
    /// The whole image is unmounted again.
    WholeUnmounted = "whole-unmounted",
    /// The place of a mapped volume is made.
    MappedPlaced = "mapped-placed",
    /// A mapped volume is mounted.
    MappedMounted = "mapped-mounted",
    /// It is unmounted.
    MappedUnmounted = "mapped-unmounted",
    /// Its place is removed.
    MappedRemoved = "mapped-removed",
    /// A monitor is about to be started.
    MonitorCalled = "monitor-called",
    /// It is detached and makes the container.
    MonitorDetached = "monitor-detached",
    /// It has answered.
    MonitorAnswered = "monitor-answered",
    /// A runtime is at work, and goes on whatever becomes of the daemon.
    RuntimeRuns = "runtime-runs",
    /// The runtime is about to be called to start an init.
    RuntimeStartCalled = "runtime-start-called",
    /// It has done so.
    RuntimeStarted = "runtime-started",
    /// An init is about to be sent a signal.
    SignalDue = "signal-due",
    /// It was sent.
    SignalSent = "signal-sent",
    /// The runtime is about to be called to delete a container.
    RuntimeDeleteCalled = "runtime-delete-called",
    /// It has done so.
    RuntimeDeleted = "runtime-deleted",
    /// At a start: a container is about to be taken up.
    ContainerAdopted = "container-adopted",

    /// A view of an image is unmounted.
    ViewUnmounted = "view-unmounted",
    /// A root file system is unmounted.
    RootfsUnmounted = "rootfs-unmounted",
    /// What the storage had of it is moved away.
    RootfsTrashed = "rootfs-trashed",
    /// A container's bundle is removed.
    BundleRemoved = "bundle-removed",
    /// Its durable directory is removed.
    ContainerDirectoryRemoved = "container-directory-removed",
    /// A pinned namespace is unmounted.
    NamespaceUnpinned = "namespace-unpinned",
    /// The file it was mounted on is removed.
    PinRemoved = "pin-removed",
    /// The directory of the pins is removed.
    PinsDirectoryRemoved = "pins-directory-removed",
    /// A sandbox's shared memory is unmounted.
    ShmUnmounted = "shm-unmounted",
    /// A directory of a sandbox, or of its infra process, is removed.
    SandboxDirectoryRemoved = "sandbox-directory-removed",
    /// A sandbox's cgroup is made, to be limited as a whole.
    PodCgroupMade = "pod-cgroup-made",
    /// It is removed.
    PodCgroupRemoved = "pod-cgroup-removed",

    /// A directory to unpack a layer in is made.
    StagingMade = "staging-made",
    /// A layer is unpacked and verified.
    LayerUnpacked = "layer-unpacked",
    /// Unpacked layers are on the disk.
    LayersSynced = "layers-synced",
    /// A layer is in its place.
    LayerPlaced = "layer-placed",
    /// The directory of layers is on the disk.
    LayersDirectorySynced = "layers-directory-synced",
    /// A layer is moved to the trash.
    LayerTrashed = "layer-trashed",
    /// The trash is empty.
    TrashEmptied = "trash-emptied",
    /// At a start: what was half unpacked is moved to the trash.
    StagingSwept = "staging-swept",
    /// At a start: a root file system or view that never got its record is moved to the trash.
    UnbornSwept = "unborn-swept",
    /// At a start: requests are taken.
    Listening = "listening",
}

/// Tells where the daemon's work is.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn reached(_: Step) {}

#[cfg(debug_assertions)]
pub(crate) use armed::reached;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_words_and_differ() {
        let names: std::collections::BTreeSet<_> = Step::ALL.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace)));
    }
}
