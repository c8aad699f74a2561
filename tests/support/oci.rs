//! Images made on the spot: layers from entries, manifests in both formats, layouts and archives.

use std::{io::Write, path::Path, sync::OnceLock};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file, directory or other thing in a layer.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: tar::EntryType,
    pub(crate) content: Vec<u8>,
    pub(crate) link: Option<String>,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    fn new(path: &str, kind: tar::EntryType, mode: u32) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            content: Vec::new(),
            link: None,
            mode,
            owner: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn file(path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        Self {
            content: content.as_ref().to_vec(),
            ..Self::new(path, tar::EntryType::Regular, mode)
        }
    }

    pub(crate) fn dir(path: &str, mode: u32) -> Self {
        Self::new(path, tar::EntryType::Directory, mode)
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Self {
        Self {
            link: Some(target.to_owned()),
            ..Self::new(path, tar::EntryType::Symlink, 0o777)
        }
    }

    pub(crate) fn hardlink(path: &str, target: &str) -> Self {
        Self {
            link: Some(target.to_owned()),
            ..Self::new(path, tar::EntryType::Link, 0o755)
        }
    }

    pub(crate) fn device(path: &str, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..Self::new(path, tar::EntryType::Char, 0o666)
        }
    }

    pub(crate) fn fifo(path: &str) -> Self {
        Self::new(path, tar::EntryType::Fifo, 0o644)
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }

    fn append(&self, archive: &mut tar::Builder<Vec<u8>>) {
        if !self.xattrs.is_empty() {
            let names: Vec<(String, &[u8])> = self
                .xattrs
                .iter()
                .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice()))
                .collect();
            archive
                .append_pax_extensions(names.iter().map(|(name, value)| (name.as_str(), *value)))
                .unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(self.content.len() as u64);
        if self.kind == tar::EntryType::Char {
            header.set_device_major(self.device.0).unwrap();
            header.set_device_minor(self.device.1).unwrap();
        }
        if let Some(link) = &self.link {
            header.set_link_name_literal(link).unwrap();
        }
        // Written as it stands: `..` and absolute paths are just what some tests are about.
        let name = self.path.as_bytes();
        let field = &mut header.as_old_mut().name;
        assert!(name.len() <= field.len(), "too long a path: {}", self.path);
        field[..name.len()].copy_from_slice(name);
        header.set_cksum();
        archive.append(&header, self.content.as_slice()).unwrap();
    }
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Whose manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageFormat {
    Oci,
    Docker,
}

/// Some bytes with what they are.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest(&bytes),
            bytes,
        }
    }

    fn json(media_type: &str, value: &Value) -> Self {
        Self::new(media_type, serde_json::to_vec(value).unwrap())
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// An image of one platform, whole.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    unpacked: Vec<Vec<u8>>,
    diff_ids: Vec<String>,
    platform: (String, String),
    settings: Value,
    format: ImageFormat,
}

impl Image {
    /// An image of these layers.
    pub(crate) fn new(layers: &[(Vec<Entry>, Packing)]) -> Self {
        let mut image = Self {
            manifest: Blob::new("", Vec::new()),
            config: Blob::new("", Vec::new()),
            layers: Vec::new(),
            unpacked: Vec::new(),
            diff_ids: Vec::new(),
            platform: ("linux".to_owned(), "amd64".to_owned()),
            settings: json!({"Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/sbin"], "Cmd": ["sh"]}),
            format: ImageFormat::Oci,
        };
        for (entries, packing) in layers {
            let mut archive = tar::Builder::new(Vec::new());
            for entry in entries {
                entry.append(&mut archive);
            }
            image.push(archive.into_inner().unwrap(), *packing);
        }
        image.sealed()
    }

    fn push(&mut self, unpacked: Vec<u8>, packing: Packing) {
        let (suffix, bytes) = match packing {
            Packing::Plain => ("", unpacked.clone()),
            Packing::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&unpacked).unwrap();
                ("+gzip", gzip.finish().unwrap())
            }
            Packing::Zstd => ("+zstd", zstd::encode_all(unpacked.as_slice(), 3).unwrap()),
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        self.layers.push(Blob::new(&media_type, bytes));
        self.diff_ids.push(digest(&unpacked));
        self.unpacked.push(unpacked);
    }

    /// Adds a layer on top.
    pub(crate) fn layer(mut self, entries: &[Entry], packing: Packing) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in entries {
            entry.append(&mut archive);
        }
        self.push(archive.into_inner().unwrap(), packing);
        self.sealed()
    }

    /// Sets a member of the configuration that containers take over, like `Cmd`.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.settings[name] = value;
        self.sealed()
    }

    /// Declares it for another architecture.
    pub(crate) fn architecture(mut self, architecture: &str) -> Self {
        self.platform.1 = architecture.to_owned();
        self.sealed()
    }

    /// With manifests of the given kind.
    pub(crate) fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self.sealed()
    }

    /// With the configuration's word on the unpacked layers being false.
    pub(crate) fn with_false_diff_id(mut self) -> Self {
        self.diff_ids[0] = digest(b"something else");
        self.sealed()
    }

    fn sealed(mut self) -> Self {
        let oci = self.format == ImageFormat::Oci;
        for layer in &mut self.layers {
            if !oci {
                layer.media_type = match layer.media_type.rsplit_once('+') {
                    Some((_, "gzip")) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    Some(_) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
                    None if layer.media_type.contains("docker") => continue,
                    None => "application/vnd.docker.image.rootfs.diff.tar",
                }
                .to_owned();
            }
        }
        let ids = self.diff_ids.clone();
        self.config = Blob::json(
            if oci {
                "application/vnd.oci.image.config.v1+json"
            } else {
                "application/vnd.docker.container.image.v1+json"
            },
            &json!({
                "os": self.platform.0, "architecture": self.platform.1,
                "created": "2024-01-01T00:00:00Z", "config": self.settings,
                "rootfs": {"type": "layers", "diff_ids": ids},
                "history": ids.iter().map(|_| json!({"created_by": "the tests"})).collect::<Vec<_>>(),
            }),
        );
        let kind = if oci {
            "application/vnd.oci.image.manifest.v1+json"
        } else {
            "application/vnd.docker.distribution.manifest.v2+json"
        };
        let layers: Vec<Value> = self.layers.iter().map(Blob::descriptor).collect();
        self.manifest = Blob::json(
            kind,
            &json!({"schemaVersion": 2, "mediaType": kind,
                    "config": self.config.descriptor(), "layers": layers}),
        );
        self
    }

    /// What the CRI calls the image's ID.
    pub(crate) fn id(&self) -> &str {
        &self.config.digest
    }

    /// Every blob of it but the manifest.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }

    /// An index over images of several platforms.
    pub(crate) fn index(images: &[&Self], format: ImageFormat) -> Blob {
        let kind = match format {
            ImageFormat::Oci => "application/vnd.oci.image.index.v1+json",
            ImageFormat::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut entry = image.manifest.descriptor();
                entry["platform"] =
                    json!({"os": image.platform.0, "architecture": image.platform.1});
                entry
            })
            .collect();
        Blob::json(
            kind,
            &json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}),
        )
    }

    /// Writes it as an OCI layout, named by `name` where the layout says so.
    pub(crate) fn write_layout(&self, dir: &Path, name: &str) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.blobs().chain([&self.manifest]) {
            std::fs::write(blobs.join(&blob.digest[7..]), &blob.bytes).unwrap();
        }
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let mut entry = self.manifest.descriptor();
        entry["annotations"] =
            json!({"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    }

    /// An archive of some files.
    pub(crate) fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            Entry::file(name, bytes, 0o644).append(&mut archive);
        }
        archive.into_inner().unwrap()
    }

    /// Packs it as an OCI layout, layers as they are.
    pub(crate) fn layout_archive(&self, name: &str) -> Vec<u8> {
        let dir = super::Scratch::new();
        self.write_layout(dir.path(), name);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", dir.path()).unwrap();
        archive.into_inner().unwrap()
    }

    /// Packs it as `docker save` does.
    pub(crate) fn docker_archive(&self, names: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add =
            |name: &str, bytes: &[u8]| Entry::file(name, bytes, 0o644).append(&mut archive);
        let config = format!("{}.json", &self.config.digest[7..]);
        add(&config, &self.config.bytes);
        let mut layers = Vec::new();
        for (number, bytes) in self.unpacked.iter().enumerate() {
            let name = format!("{number}/layer.tar");
            add(&name, bytes);
            layers.push(name);
        }
        let manifest = json!([{"Config": config, "RepoTags": names, "Layers": layers}]);
        add("manifest.json", manifest.to_string().as_bytes());
        archive.into_inner().unwrap()
    }
}

/// The files of a small system with a shell.
pub(crate) fn busybox_entries() -> Vec<Entry> {
    let binary = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut entries: Vec<Entry> = [
        "bin", "dev", "etc", "home", "proc", "root", "sbin", "sys", "usr", "usr/bin", "var",
    ]
    .iter()
    .map(|dir| Entry::dir(dir, 0o755))
    .collect();
    entries.push(Entry::dir("home/tester", 0o755).owner(1000, 1000));
    entries.push(Entry::dir("tmp", 0o1777));
    entries.push(Entry::file("bin/busybox", binary, 0o755));
    for applet in [
        "sh", "cat", "chmod", "chown", "chroot", "cp", "date", "dd", "echo", "env", "false",
        "grep", "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls", "mkdir", "mkfifo",
        "mknod", "mount", "mv", "nc", "ping", "printf", "ps", "pwd", "readlink", "rm", "sed",
        "seq", "sleep", "sort", "stat", "sync", "tail", "test", "touch", "tr", "true", "umount",
        "usleep", "wc", "wget", "yes",
    ] {
        entries.push(Entry::hardlink(&format!("bin/{applet}"), "bin/busybox"));
    }
    entries.push(Entry::file(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n\
         tester:x:1000:1000::/home/tester:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        0o644,
    ));
    entries.push(Entry::file(
        "etc/group",
        "root:x:0:\nwww-data:x:33:\ntester:x:1000:\nstaff:x:50:tester\nvideo:x:44:tester\nnogroup:x:65534:\n",
        0o644,
    ));
    entries
}

/// The image most tests run: one layer, Debian's static busybox.
pub(crate) fn busybox() -> Image {
    static MADE: OnceLock<Image> = OnceLock::new();
    MADE.get_or_init(|| Image::new(&[(busybox_entries(), Packing::Gzip)]))
        .clone()
}
