//! Debian's docker-registry, run for one test.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use reqwest::{Client, Method, StatusCode};
use tempfile::TempDir;

use super::content::{Image, digest};

pub(crate) const USER: &str = "someone";
pub(crate) const PASSWORD: &str = "s3cret-word";
/// bcrypt of the password.
const HTPASSWD: &str = "someone:$2b$05$DkKaEoAv0nFVLwS.M29BoeNlh/fmdxOK66kwDoEB0LRQ6N/c42nWW\n";

/// How it is to be spoken to.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) tls: bool,
    /// One certificate that is its own authority, as administrators make them.
    pub(crate) self_signed: bool,
    pub(crate) password: bool,
}

/// A registry; it ends with this.
pub(crate) struct Registry {
    child: Child,
    dir: TempDir,
    pub(crate) addr: SocketAddr,
    options: Options,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    pub(crate) fn start(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: 127.0.0.1:0\n",
            path("data")
        );
        if options.tls {
            certificate(dir.path(), options.self_signed);
            config.push_str(&format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                path("server.crt"),
                path("server.key")
            ));
        }
        if options.password {
            fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                path("htpasswd")
            ));
        }
        let file = dir.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let addr = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.kill();
                let _ = child.wait();
                panic!("docker-registry did not start: {seen}");
            };
            if let Some(addr) = line
                .split("listening on ")
                .nth(1)
                .and_then(|a| a.split([',', '"', ' ']).next()?.parse().ok())
            {
                break addr;
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // It must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            dir,
            addr,
            options,
        }
    }

    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.addr)
    }

    /// Puts its authority where a client looks for it.
    pub(crate) fn trust_in(&self, certs_d: &Path) {
        let dir = certs_d.join(self.addr.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::copy(self.dir.path().join("ca.crt"), dir.join("ca.crt")).unwrap();
    }

    /// Puts an image in.
    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &Image) {
        for blob in image.blobs() {
            self.push_blob(repository, &blob).await;
        }
        self.push_manifest(
            repository,
            &image.digest(),
            image.media_type,
            &image.manifest,
        )
        .await;
        self.push_manifest(repository, tag, image.media_type, &image.manifest)
            .await;
    }

    async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let start = self
            .request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"))
            .send()
            .await
            .unwrap();
        assert_eq!(start.status(), StatusCode::ACCEPTED);
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let path = location
            .split_once(&self.addr.to_string())
            .map_or(location.as_str(), |(_, path)| path);
        let done = self
            .request(Method::PUT, &format!("{path}&digest={}", digest(blob)))
            .body(blob.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(done.status(), StatusCode::CREATED);
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        key: &str,
        media_type: &str,
        bytes: &[u8],
    ) {
        let done = self
            .request(Method::PUT, &format!("/v2/{repository}/manifests/{key}"))
            .header("content-type", media_type)
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap();
        let status = done.status();
        assert_eq!(status, StatusCode::CREATED, "{:?}", done.text().await);
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let scheme = if self.options.tls { "https" } else { "http" };
        let request = client.request(method, format!("{scheme}://{}{path}", self.addr));
        if self.options.password {
            request.basic_auth(USER, Some(PASSWORD))
        } else {
            request
        }
    }
}

/// An authority, and a certificate by it for 127.0.0.1.
fn certificate(dir: &Path, self_signed: bool) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let curve = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    if self_signed {
        let mut own = vec!["req", "-x509", "-days", "2", "-subj", "/CN=self"];
        own.extend(curve);
        own.extend(["-addext", "subjectAltName=IP:127.0.0.1"]);
        own.extend(["-keyout", "server.key", "-out", "server.crt"]);
        openssl(&own);
        fs::copy(dir.join("server.crt"), dir.join("ca.crt")).unwrap();
        return;
    }
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=test authority"];
    authority.extend(curve);
    authority.extend(["-keyout", "ca.key", "-out", "ca.crt"]);
    openssl(&authority);
    let mut request = vec!["req", "-subj", "/CN=test registry"];
    request.extend(curve);
    request.extend(["-keyout", "server.key", "-out", "server.csr"]);
    openssl(&request);
    fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "server.crt",
    ]);
}
