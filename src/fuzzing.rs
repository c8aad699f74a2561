//! Parsers that are private to their modules, for the fuzz targets; compiled for a fuzzer alone.
//!
//! Each function panics where what a parser accepted is not what it should have accepted.

use std::{io::Write, path::Path};

use prost::Message;

use crate::{
    cli::logs::line,
    cri::{api, convert},
    image::{authfile, config, load, registry},
    storage::{
        record::{self, LayerInfo, RootfsRecord},
        tar::TarReader,
    },
    store::{Record, format},
};

/// A file of credentials.
pub fn auth_file(text: &[u8]) {
    for (host, repository) in [("registry.example", "team/app"), ("docker.io", "library/x")] {
        let found = authfile::find_in(text, Path::new("auth.json"), host, repository);
        if let Err(error) = found {
            assert!(error.to_string().contains("auth.json"));
        }
    }
}

/// A registry's and a token service's answers.
pub fn registry_answers(text: &[u8]) {
    let line = registry::failure::document(500, text);
    assert!(line.len() < 4096 && !line.contains(char::is_control));
    if let Ok(token) = registry::token::granted(text) {
        assert!(!token.is_empty());
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let found = registry::challenge::parse(text);
        assert!(found.len() <= text.len());
    }
}

/// An image's configuration.
pub fn image_config(text: &[u8]) {
    if let Ok(parsed) = config::parse(text) {
        let _ = (parsed.config.image_user(), parsed.config.platform());
    }
}

/// An archive of images, indexed in memory.
pub fn image_archive(bytes: &[u8]) {
    let Ok(memory) = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC)
        .map(std::fs::File::from)
    else {
        return;
    };
    if (&memory).write_all(bytes).is_ok() {
        let _ = load::count(memory);
    }
}

/// A layer's archive.
pub fn layer(bytes: &[u8]) {
    let mut reader = TarReader::new(bytes);
    let (mut data, mut described) = (0u64, 0usize);
    while let Ok(Some(entry)) = reader.next() {
        described += entry.path.len() + entry.link.len();
        described += entry
            .xattrs
            .iter()
            .map(|(k, v)| k.len() + v.len())
            .sum::<usize>();
        assert!(described <= bytes.len() * 64, "made out of nothing");
        if let Some(sparse) = &entry.sparse {
            let mapped: u64 = sparse.segments.iter().map(|(_, length)| length).sum();
            assert!(mapped <= entry.size && mapped <= sparse.real_size);
        }
        loop {
            match reader.fill() {
                Ok([]) => break,
                Ok(chunk) => {
                    let n = chunk.len();
                    data += n as u64;
                    reader.consume(n);
                }
                Err(_) => return,
            }
        }
        assert!(data <= bytes.len() as u64);
    }
}

/// A line of a container's log.
pub fn log_line(text: &[u8]) {
    if let Some(line) = line::parse(text) {
        assert!(!line.time.is_empty() && !line.time.contains(' '));
        assert!(text.ends_with(line.text));
    }
}

/// Records, as a power cut or a stranger may have left them.
pub fn records(text: &[u8]) {
    let _ = format::decode::<serde_json::Value>("things", 1, text);
    // Past the checksum, too.
    let whole = serde_json::from_slice::<serde_json::Value>(text);
    if let Ok(value) = whole
        && let Ok(record) = format::encode("things", 1, &value)
    {
        let again = format::decode::<serde_json::Value>("things", 1, &record);
        assert!(again.is_ok_and(|again| again.value == value));
        let cut = &record[..record.len() - 1];
        assert!(format::decode::<serde_json::Value>("things", 1, cut).is_err());
    }
    known::<crate::pod::record::PodRecord>(text);
    known::<crate::container::record::ContainerRecord>(text);
    known::<crate::image::record::ImageRecord>(text);
    let _ = record::parse::<LayerInfo>(text);
    let _ = record::parse::<RootfsRecord>(text);
}

fn known<T: Record>(text: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(text) {
        assert!(format::encode(T::KIND, T::VERSION, &record).is_ok());
    }
}

/// What a kubelet asks for.
pub fn requests(bytes: &[u8]) {
    if let Ok(config) = api::PodSandboxConfig::decode(bytes)
        && let Ok(spec) = convert::pod::spec(Some(config), String::new())
    {
        assert!(serde_json::to_vec(&spec).is_ok());
    }
    if let Ok(config) = api::ContainerConfig::decode(bytes)
        && let Ok(spec) = convert::container::spec(Some(config))
    {
        if let Some(path) = &spec.log_path {
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            assert!(path.components().all(plain));
        }
        assert!(serde_json::to_vec(&spec).is_ok());
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = crate::cri::redact::redact(&text);
}
