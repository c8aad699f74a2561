//! The network configuration that is made of a template and the node's pod addresses.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::cni::{
    conf::{ConfError, ConfList},
    dir::Scan,
    plugin::Runner,
    result::IpPrefix,
    template::{Data, TEXT_MAX, Template, TemplateError},
};
use super::native::plugin::Usage;

/// The file that is written.
pub const FILE: &str = "10-corten-net.conflist";
/// It before it is whole; no one takes a file of this name for a configuration.
const STAGED: &str = ".10-corten-net.conflist.new";

/// Why no network configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum PodCidrError {
    /// The template cannot be read.
    #[error("cni_conf_template: reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The template is not understood.
    #[error("cni_conf_template: {}", .0.display())]
    Template(PathBuf, #[source] TemplateError),
    /// What it makes is no network configuration.
    #[error("cni_conf_template: {} makes no network configuration", .0.display())]
    Conf(PathBuf, #[source] ConfError),
    /// The configuration cannot be written.
    #[error("writing {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Writes the configuration, whole at once, unless there is another one that can be used, which then is what
/// the node's operator wants. Blocking.
pub(super) fn write(
    template: &Path,
    dir: &Path,
    network: Option<&str>,
    (runner, usage): (&Runner, Usage),
    cidrs: &[IpPrefix],
) -> Result<(), PodCidrError> {
    let path = dir.join(FILE);
    let scan = Scan::read(dir, runner, usage);
    let other = scan
        .usable
        .iter()
        .find(|(p, list)| *p != path && network.is_none_or(|name| list.name == name));
    if let Some((other, _)) = other {
        tracing::info!(file = %other.display(), "there is a network configuration; none is made");
        return Ok(());
    }
    let text = read(template).map_err(|e| PodCidrError::Read(template.to_owned(), e))?;
    let made = Template::parse(&text)
        .and_then(|parsed| parsed.render(&Data::new(cidrs)))
        .map_err(|e| PodCidrError::Template(template.to_owned(), e))?;
    ConfList::parse_list(made.as_bytes())
        .map_err(|e| PodCidrError::Conf(template.to_owned(), e))?;
    if read(&path).is_ok_and(|there| there == made) {
        return Ok(());
    }
    replace(dir, &path, &made).map_err(|e| PodCidrError::Write(path.clone(), e))?;
    tracing::info!(file = %path.display(), "network configuration written");
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    // Not blocking: a fifo would have us wait for a writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(TEXT_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn replace(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let staged = dir.join(STAGED);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&staged)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::create_dir(place.path("bin")).unwrap();
            let plugin = place.path("bin/ptp");
            fs::write(&plugin, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn template(&self, text: &str) -> &Self {
            fs::write(self.path("template"), text).unwrap();
            self
        }

        fn write(&self, cidr: &str) -> Result<(), PodCidrError> {
            let runner = Runner::new(&[self.path("bin")], Duration::from_secs(1), 1);
            let cidrs = [cidr.parse().unwrap()];
            write(
                &self.path("template"),
                &self.path("net.d"),
                None,
                (&runner, Usage::Never),
                &cidrs,
            )
        }

        fn made(&self) -> Option<String> {
            fs::read_to_string(self.path("net.d").join(FILE)).ok()
        }
    }

    fn conf(name: &str, subnet: &str) -> String {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"ptp","ipam":{{"subnet":"{subnet}"}} }}]}}"#
        )
    }

    #[test]
    fn follows_the_addresses() {
        let place = Place::new();
        place.template(&conf("pods", "{{.PodCIDR}}"));
        for cidr in ["10.0.0.0/24", "10.1.0.0/24", "10.1.0.0/24"] {
            place.write(cidr).unwrap();
            assert_eq!(place.made().unwrap(), conf("pods", cidr));
        }
        let entries: Vec<_> = fs::read_dir(place.path("net.d")).unwrap().collect();
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn another_configuration_has_precedence_if_it_can_be_used() {
        let place = Place::new();
        place.template(&conf("pods", "{{.PodCIDR}}"));
        fs::create_dir(place.path("net.d")).unwrap();
        let other = place.path("net.d/99-other.conflist");
        fs::write(&other, conf("other", "10.9.0.0/16")).unwrap();
        place.write("10.0.0.0/24").unwrap();
        assert_eq!(place.made(), None);
        fs::write(&other, "{").unwrap();
        place.write("10.0.0.0/24").unwrap();
        assert!(place.made().is_some());
    }

    #[test]
    fn what_is_no_configuration_is_not_written() {
        let place = Place::new();
        let path = place.path("template").display().to_string();
        let refused = |place: &Place| {
            let error = place.write("10.0.0.0/24").unwrap_err();
            assert_eq!(place.made(), None);
            crate::causes::whole(&error)
        };
        let missing = refused(&place);
        assert!(missing.contains(&path), "{missing}");
        place.template("{{.Nothing}}");
        let unknown = refused(&place);
        assert!(
            unknown.contains(&path) && unknown.contains(".Nothing"),
            "{unknown}"
        );
        place.template("{\"name\": \"{{.PodCIDR}}\"");
        let broken = refused(&place);
        assert!(
            broken.contains("makes no network configuration"),
            "{broken}"
        );
        fs::remove_file(place.path("template")).unwrap();
        fs::create_dir(place.path("template")).unwrap();
        refused(&place);
    }
}
