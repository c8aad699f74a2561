//! Certificates for one registry, containers-certs.d(5).

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

const MAX_FILE: u64 = 1 << 20;

/// What the directories hold for a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Certs {
    /// Authorities, beside the system's: PEM.
    pub(super) authorities: Vec<Vec<u8>>,
    /// Our own certificate and key: PEM.
    pub(super) identity: Option<Vec<u8>>,
}

/// Collects `HOST/*.crt`, and the first pair of `HOST/*.cert` and `*.key`; earlier directories win.
pub(super) fn load(dirs: &[PathBuf], host: &str) -> Result<Certs, String> {
    for dir in dirs {
        let dir = dir.join(host);
        match fs::read_dir(&dir) {
            Ok(entries) => return read_dir(&dir, entries),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("{}: {e}", dir.display())),
        }
    }
    Ok(Certs::default())
}

fn read_dir(dir: &Path, entries: fs::ReadDir) -> Result<Certs, String> {
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("{}: {e}", dir.display()))?;
    paths.sort();
    let mut certs = Certs::default();
    for path in &paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => certs.authorities.push(read(path)?),
            Some("cert") if certs.identity.is_none() => {
                let key = path.with_extension("key");
                let mut pem = read(path)?;
                pem.push(b'\n');
                pem.extend(read(&key)?);
                certs.identity = Some(pem);
            }
            _ => {}
        }
    }
    Ok(certs)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!(
            "{} is larger than {MAX_FILE} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_with_the_host_counts() {
        let top = tempfile::tempdir().unwrap();
        let dirs = [top.path().join("a"), top.path().join("b")];
        assert_eq!(load(&dirs, "r.example:5000").unwrap(), Certs::default());
        let host = dirs[1].join("r.example:5000");
        fs::create_dir_all(&host).unwrap();
        fs::write(host.join("ca.crt"), "CA").unwrap();
        fs::write(host.join("me.cert"), "CERT").unwrap();
        let error = load(&dirs, "r.example:5000").unwrap_err();
        assert!(error.contains("me.key"), "{error}");
        fs::write(host.join("me.key"), "KEY").unwrap();
        let certs = load(&dirs, "r.example:5000").unwrap();
        assert_eq!(certs.authorities, [b"CA"]);
        assert_eq!(certs.identity.unwrap(), b"CERT\nKEY");
        assert_eq!(load(&dirs, "r.example").unwrap(), Certs::default());
    }
}
