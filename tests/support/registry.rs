//! A real registry: Debian's docker-registry on a free port of 127.0.0.1.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::{Blob, Image, Scratch, run, until};

/// What kind of registry.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RegistryOptions {
    /// With a certificate that its own authority signed.
    pub(crate) tls: bool,
    /// With the user `tester`, whose password is `secret word`.
    pub(crate) basic: bool,
}

/// A running registry.
pub(crate) struct Registry {
    scratch: Scratch,
    port: u16,
    options: RegistryOptions,
    shell: Child,
    lifeline: Option<ChildStdin>,
    client: reqwest::Client,
}

/// bcrypt of `secret word`.
const PASSWORD: &str = "tester:$2y$05$abcdefghijklmnopqrstuu1C7yeI3ZG3Jm.nHdnKkGJg1xTYKP9Oy\n";

impl Registry {
    pub(crate) async fn start(options: RegistryOptions) -> Self {
        let scratch = Scratch::new();
        // Free a moment ago; nothing else on the machine takes ports in this way meanwhile, mostly.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let data = scratch.dir("data");
        let mut yaml = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        );
        if options.tls {
            let (cert, key) = make_certificate(&scratch).await;
            let trust = scratch.dir(&format!("certs.d/127.0.0.1:{port}"));
            std::fs::copy(scratch.join("ca.crt"), trust.join("ca.crt")).unwrap();
            yaml.push_str(&format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                cert.display(),
                key.display()
            ));
        }
        if options.basic {
            let users = scratch.file("users", PASSWORD);
            yaml.push_str(&format!(
                "auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
                users.display()
            ));
        }
        let file = scratch.file("registry.yml", yaml);
        let log = std::fs::File::create(scratch.join("log")).unwrap();
        // The shell waits on a pipe that we hold: should the test process be killed, the registry goes too.
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "docker-registry serve \"$1\" <&- & read -r end; kill $!; wait $!",
                "sh",
            ])
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let lifeline = shell.stdin.take();
        install_crypto();
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let registry = Self {
            scratch,
            port,
            options,
            shell,
            lifeline,
            client,
        };
        until("the registry answers", async || {
            registry.request(reqwest::Method::GET, "").await.is_ok()
        })
        .await;
        registry
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Directory with the authority's certificate, as containers-certs.d(5) has it.
    pub(crate) fn certs_dir(&self) -> PathBuf {
        self.scratch.join("certs.d")
    }

    async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
    ) -> reqwest::Result<reqwest::Response> {
        self.prepare(method, &format!("/v2/{path}")).send().await
    }

    fn prepare(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let scheme = if self.options.tls { "https" } else { "http" };
        let url = if path.starts_with('/') {
            format!("{scheme}://{}{path}", self.host())
        } else {
            path.to_owned()
        };
        let request = self.client.request(method, url);
        if self.options.basic {
            request.basic_auth("tester", Some("secret word"))
        } else {
            request
        }
    }

    async fn push_blob(&self, repository: &str, blob: &Blob) {
        let start = self
            .request(
                reqwest::Method::POST,
                &format!("{repository}/blobs/uploads/"),
            )
            .await
            .unwrap();
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let joint = if location.contains('?') { '&' } else { '?' };
        let reply = self
            .prepare(
                reqwest::Method::PUT,
                &format!("{location}{joint}digest={}", blob.digest),
            )
            .header("content-type", "application/octet-stream")
            .body(blob.bytes.clone())
            .send()
            .await
            .unwrap();
        assert!(reply.status().is_success(), "{reply:?}");
    }

    /// Stores a manifest or an index.
    pub(crate) async fn push_manifest(&self, repository: &str, reference: &str, manifest: &Blob) {
        let reply = self
            .prepare(
                reqwest::Method::PUT,
                &format!("/v2/{repository}/manifests/{reference}"),
            )
            .header("content-type", &manifest.media_type)
            .body(manifest.bytes.clone())
            .send()
            .await
            .unwrap();
        assert!(reply.status().is_success(), "{reply:?}");
    }

    /// Stores an image under a tag; gives its full name.
    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in image.blobs() {
            self.push_blob(repository, blob).await;
        }
        self.push_manifest(repository, tag, &image.manifest).await;
        format!("{}/{repository}:{tag}", self.host())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The shell's `read` ends with the pipe; it then ends the registry and waits for it.
        drop(self.lifeline.take());
        let _ = self.shell.wait();
    }
}

/// TLS in tests, as in the daemon, is ring's.
fn install_crypto() {
    // An error says that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A certificate for 127.0.0.1, signed by an authority made for it.
async fn make_certificate(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let at = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
    let (ca, ca_key, cert, key) = (at("ca.crt"), at("ca.key"), at("cert.pem"), at("key.pem"));
    let (request, extra) = (at("cert.csr"), at("extra"));
    std::fs::write(
        &extra,
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    let ec = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let mut words = vec![
        "openssl",
        "req",
        "-x509",
        "-days",
        "30",
        "-subj",
        "/CN=tests",
    ];
    words.extend(ec);
    words.extend(["-addext", "basicConstraints=critical,CA:TRUE"]);
    words.extend(["-keyout", &ca_key, "-out", &ca]);
    run(&words).await.ok();
    let mut words = vec!["openssl", "req", "-subj", "/CN=127.0.0.1"];
    words.extend(ec);
    words.extend(["-keyout", &key, "-out", &request]);
    run(&words).await.ok();
    run(&[
        "openssl",
        "x509",
        "-req",
        "-days",
        "30",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-extfile",
        &extra,
        "-out",
        &cert,
    ])
    .await
    .ok();
    (cert.into(), key.into())
}
