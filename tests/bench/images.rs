//! The images that are measured with, in a registry that is there for as long as the measuring takes.

use crate::support::{Entry, Packing, Registry, RegistryOptions, busybox};
use serde_json::json;

/// Where the sleeper is by default, on nodes that were not made for the benchmark.
pub(crate) const SLEEPER: &str = "localhost/corten-sample:latest";
/// Tag of the image that is pulled whole.
pub(crate) const WHOLE: &str = "whole";
/// Tag of the image that shares all but its top layer with it.
pub(crate) const SHARED: &str = "shared";

const LAYERS: u32 = 8;
/// 16,000 files of 16 KiB on average: 256 MB, of which gzip leaves half.
const FILES: u32 = 2_000;

/// A registry with all images.
pub(crate) struct Images {
    registry: Registry,
}

impl Images {
    pub(crate) async fn serve() -> Self {
        let registry = Registry::start(RegistryOptions::default()).await;
        registry.push("sleeper", "1", &busybox()).await;
        let pause = busybox().with("Cmd", json!(["/bin/sleep", "1000000000"]));
        registry.push("pause", "1", &pause).await;
        let mut whole = busybox();
        for n in 0..LAYERS {
            whole = whole.layer(&layer(n), Packing::Gzip);
            if n + 2 == LAYERS {
                let shared = whole.clone().layer(&layer(LAYERS), Packing::Gzip);
                registry.push("layered", SHARED, &shared).await;
            }
        }
        registry.push("layered", WHOLE, &whole).await;
        Self { registry }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.registry.host()
    }

    /// The image of the containers.
    pub(crate) fn sleeper(&self) -> String {
        format!("{}/sleeper:1", self.host())
    }

    /// A program that sleeps, for runtimes that need one in each pod.
    pub(crate) fn pause(&self) -> String {
        format!("{}/pause:1", self.host())
    }

    /// The image of many layers, without its tag.
    pub(crate) fn layered(&self) -> String {
        format!("{}/layered", self.host())
    }
}

/// Files whose first half is noise and whose second half is text; none like another.
fn layer(number: u32) -> Vec<Entry> {
    let top = format!("data{number}");
    let mut entries = vec![Entry::dir(&top, 0o755)];
    let mut seed = 0x9E37_79B9_u32.wrapping_mul(number + 1);
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    for file in 0..FILES {
        if file % 100 == 0 {
            entries.push(Entry::dir(&format!("{top}/{}", file / 100), 0o755));
        }
        let size = 4_096 + next() % 24_576;
        let mut content: Vec<u8> = (0..size / 8).flat_map(|_| next().to_le_bytes()).collect();
        while content.len() < size as usize {
            content.extend_from_slice(format!("line {} of a file\n", content.len()).as_bytes());
        }
        let path = format!("{top}/{}/{file}", file / 100);
        entries.push(Entry::file(&path, content, 0o644));
    }
    entries
}
