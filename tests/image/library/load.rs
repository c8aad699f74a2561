//! Archives and layouts.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::Path,
};

use corten::image::{ErrorKind, LoadOptions};
use serde_json::{Value, json};

use super::{
    content::{
        Family, Image, Packing, digest, file, host_arch, image, image_for, layer, noise, small,
    },
    setup::{Setup, text},
};

/// The files of an archive.
type Files = BTreeMap<String, Vec<u8>>;

fn blob(files: &mut Files, bytes: &[u8]) {
    files.insert(
        format!("blobs/sha256/{}", &digest(bytes)[7..]),
        bytes.to_vec(),
    );
}

fn layout(images: &[(&Image, Value)]) -> Files {
    let mut files = Files::new();
    let mut entries = Vec::new();
    for (image, annotations) in images {
        for bytes in image.blobs() {
            blob(&mut files, &bytes);
        }
        blob(&mut files, &image.manifest);
        entries.push(
            json!({"mediaType": image.media_type, "digest": image.digest(),
            "size": image.manifest.len(), "annotations": annotations}),
        );
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    );
    files
}

fn docker(images: &[(&Image, &[&str])]) -> Files {
    let mut files = Files::new();
    let mut entries = Vec::new();
    for (image, tags) in images {
        let config = format!("{}.json", &image.id()[7..]);
        files.insert(config.clone(), image.config.clone());
        let mut paths = Vec::new();
        for layer in &image.layers {
            let path = format!("{}/layer.tar", &digest(&layer.blob)[7..]);
            files.insert(path.clone(), layer.blob.clone());
            paths.push(path);
        }
        entries.push(json!({"Config": config, "RepoTags": tags, "Layers": paths}));
    }
    files.insert(
        "manifest.json".into(),
        serde_json::to_vec(&entries).unwrap(),
    );
    files
}

fn tarball(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, data.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn unpack(files: &Files, dir: &Path) {
    for (path, data) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

fn named(name: &str) -> LoadOptions {
    LoadOptions {
        name: Some(name.into()),
        ..LoadOptions::default()
    }
}

fn sample() -> Image {
    image(
        Family::Oci,
        vec![
            layer(Packing::Gzip, &[file("a", "1")]),
            layer(Packing::Zstd, &[file("b", noise(200_000, 3))]),
            layer(Packing::Plain, &[file("c", "3")]),
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_as_directory_file_and_stream() {
    let made = sample();
    let full = "r.example/app:v1";
    let files = layout(&[(&made, json!({"org.opencontainers.image.ref.name": full}))]);
    let setup = Setup::new().await;
    let dir = setup.dir.path().join("my-layout");
    unpack(&files, &dir);
    let tar = tarball(&files);
    let plain = setup.dir.path().join("a.tar");
    std::fs::write(&plain, &tar).unwrap();
    let packed = setup.dir.path().join("a.tar.gz");
    std::fs::write(&packed, gzip(&tar)).unwrap();
    for path in [dir, plain, packed] {
        let loaded = setup
            .images
            .load_path(&path, LoadOptions::default())
            .await
            .unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].id, made.id());
        assert_eq!(loaded[0].repo_tags, [full]);
        assert_eq!(
            loaded[0].repo_digests,
            [format!("r.example/app@{}", made.digest())]
        );
        assert_eq!(
            setup.layer_file(&loaded[0].layers[1], "b").unwrap(),
            noise(200_000, 3)
        );
        setup.images.remove(full).await.unwrap();
        assert_eq!(setup.layers(), 0);
    }
    for bytes in [tar.clone(), gzip(&tar)] {
        let loaded = setup
            .images
            .load_reader(bytes.as_slice(), LoadOptions::default())
            .await
            .unwrap();
        assert_eq!(loaded[0].id, made.id());
        setup.images.remove(full).await.unwrap();
    }
    assert_eq!(
        std::fs::read_dir(setup.dir.path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_from_the_archive_the_caller_or_the_file() {
    let made = small("bare");
    let bare = tarball(&layout(&[(
        &made,
        json!({"org.opencontainers.image.ref.name": "v7"}),
    )]));
    let silent = tarball(&layout(&[(&made, json!({}))]));
    let setup = Setup::new().await;
    let path = setup.dir.path().join("Sample App.tar");
    std::fs::write(&path, &bare).unwrap();
    let tags = |loaded: Vec<std::sync::Arc<corten::image::Image>>| loaded[0].repo_tags.clone();
    let of_file = setup
        .images
        .load_path(&path, LoadOptions::default())
        .await
        .unwrap();
    assert_eq!(tags(of_file), ["localhost/sample-app:v7"]);
    assert!(setup.images.get("sample-app:v7").unwrap().is_some());
    setup.images.remove(&made.id()).await.unwrap();
    let of_caller = setup
        .images
        .load_reader(bare.as_slice(), named("r.example/x"))
        .await
        .unwrap();
    assert_eq!(tags(of_caller), ["r.example/x:v7"]);
    setup.images.remove(&made.id()).await.unwrap();
    let unnamed = setup
        .images
        .load_reader(silent.as_slice(), LoadOptions::default())
        .await
        .unwrap();
    assert!(unnamed[0].repo_tags.is_empty() && unnamed[0].repo_digests.is_empty());
    let given = setup
        .images
        .load_reader(silent.as_slice(), named("r.example/x:1"))
        .await
        .unwrap();
    assert_eq!(tags(given), ["r.example/x:1"]);
    let error = setup
        .images
        .load_reader(silent.as_slice(), named("Not A Name"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_archives_old_and_new() {
    let (one, two) = (
        image(
            Family::Docker,
            vec![
                layer(Packing::Plain, &[file("a", "1")]),
                layer(Packing::Gzip, &[file("b", "2")]),
            ],
        ),
        small("two"),
    );
    let setup = Setup::new().await;
    let old = tarball(&docker(&[
        (&one, &["app:1", "r.example/app:one"]),
        (&two, &[]),
    ]));
    let loaded = setup
        .images
        .load_reader(old.as_slice(), LoadOptions::default())
        .await
        .unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[0].id, one.id());
    assert_eq!(
        loaded[0].repo_tags,
        ["docker.io/library/app:1", "r.example/app:one"]
    );
    assert!(loaded[1].repo_tags.is_empty());
    assert_eq!(setup.layer_file(&loaded[0].layers[1], "b").unwrap(), b"2");
    for image in loaded {
        setup.images.remove(&image.id).await.unwrap();
    }
    // A recent one is a layout too, whose annotations may say less than the tags.
    let mut both = layout(&[(
        &one,
        json!({"io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.ref.name": "1"}),
    )]);
    both.extend(docker(&[(&one, &["app:1", "app:2"])]));
    let loaded = setup
        .images
        .load_reader(tarball(&both).as_slice(), LoadOptions::default())
        .await
        .unwrap();
    assert_eq!(
        loaded[0].repo_tags,
        ["docker.io/library/app:1", "docker.io/library/app:2"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tools_write_what_we_load() {
    // skopeo, where it is installed, is a second opinion on both formats.
    if std::process::Command::new("skopeo")
        .arg("--version")
        .output()
        .is_err()
    {
        return;
    }
    let made = image(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("a", noise(50_000, 9))])],
    );
    let setup = Setup::new().await;
    let source = setup.dir.path().join("source");
    unpack(
        &layout(&[(&made, json!({"org.opencontainers.image.ref.name": "v1"}))]),
        &source,
    );
    for (kind, out) in [("docker-archive", "docker.tar"), ("oci-archive", "oci.tar")] {
        let out = setup.dir.path().join(out);
        let done = std::process::Command::new("skopeo")
            .args(["--insecure-policy", "--tmpdir"])
            .arg(setup.dir.path())
            .arg("copy")
            .arg(format!("oci:{}:v1", source.display()))
            .arg(format!("{kind}:{}:r.example/app:v2", out.display()))
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let loaded = setup
            .images
            .load_path(&out, LoadOptions::default())
            .await
            .unwrap();
        assert_eq!(loaded[0].repo_tags, ["r.example/app:v2"], "{kind}");
        assert_eq!(
            setup.layer_file(&loaded[0].layers[0], "a").unwrap(),
            noise(50_000, 9)
        );
        setup.images.remove(&loaded[0].id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_loaded_is_said() {
    let made = small("bad");
    let other = image_for(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("x", "y")])],
        json!({}),
        "s390x",
    );
    let good = layout(&[(&made, json!({}))]);
    let changed = |change: fn(&mut Files, &Image)| {
        let mut files = good.clone();
        change(&mut files, &made);
        tarball(&files)
    };
    let path_of = |bytes: &[u8]| format!("blobs/sha256/{}", &digest(bytes)[7..]);
    let missing = path_of(&made.layers[0].blob);
    let cases: Vec<(Vec<u8>, ErrorKind, String)> = vec![
        (
            b"not a tar at all".to_vec(),
            ErrorKind::InvalidArgument,
            String::new(),
        ),
        (Vec::new(), ErrorKind::InvalidArgument, "neither".into()),
        (
            tarball(&Files::from([("x".into(), b"y".to_vec())])),
            ErrorKind::InvalidArgument,
            "neither".into(),
        ),
        (
            changed(|f, i| {
                f.remove(&format!("blobs/sha256/{}", &digest(&i.layers[0].blob)[7..]));
            }),
            ErrorKind::InvalidArgument,
            missing,
        ),
        (
            changed(|f, i| {
                let path = format!("blobs/sha256/{}", &digest(&i.manifest)[7..]);
                f.insert(path, b"{}".to_vec());
            }),
            ErrorKind::InvalidArgument,
            "digest".into(),
        ),
        (
            changed(|f, i| {
                let path = format!("blobs/sha256/{}", &digest(&i.layers[0].blob)[7..]);
                let last = f[&path].len() - 1;
                f.get_mut(&path).unwrap()[last] ^= 1;
            }),
            ErrorKind::DataLoss,
            "layer".into(),
        ),
        (
            changed(|f, _| {
                f.insert("index.json".into(), b"{".to_vec());
            }),
            ErrorKind::FailedPrecondition,
            "index.json".into(),
        ),
        (
            tarball(&layout(&[(&other, json!({}))])),
            ErrorKind::FailedPrecondition,
            "linux/s390x".into(),
        ),
        (
            tarball(&layout(&[])),
            ErrorKind::InvalidArgument,
            "no image".into(),
        ),
        (
            tarball(&Files::from([(
                "manifest.json".into(),
                br#"[{"Config": "../../etc/passwd", "Layers": []}]"#.to_vec(),
            )])),
            ErrorKind::InvalidArgument,
            "../../etc/passwd".into(),
        ),
    ];
    let setup = Setup::new().await;
    for (n, (bytes, kind, says)) in cases.into_iter().enumerate() {
        let error = setup
            .images
            .load_reader(bytes.as_slice(), LoadOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{n}: {}", text(&error));
        assert!(text(&error).contains(&says), "{n}: {}", text(&error));
    }
    let error = setup
        .images
        .load_path(Path::new("/nonexistent/a.tar"), LoadOptions::default())
        .await
        .unwrap_err();
    assert!(text(&error).contains("/nonexistent/a.tar"));
    assert!(setup.images.list().is_empty());
    assert_eq!(setup.layers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_grows_too_large_is_stopped() {
    let setup = Setup::with(|_, config| config.max_archive = 1 << 20).await;
    let bomb = zstd::encode_all(std::io::repeat(0).take(64 << 20), 1).unwrap();
    let error = setup
        .images
        .load_reader(bomb.as_slice(), LoadOptions::default())
        .await
        .unwrap_err();
    assert!(text(&error).contains("1048576"), "{}", text(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_of_several_platforms() {
    let here = small("here");
    let there = image_for(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("x", "there")])],
        json!({}),
        "s390x",
    );
    let mut files = layout(&[(&here, json!({})), (&there, json!({}))]);
    let index = super::content::index(&[(&there, "s390x"), (&here, host_arch())]);
    blob(&mut files, &index);
    let top = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": super::content::OCI_INDEX, "digest": digest(&index), "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "r.example/multi:1"}}]});
    files.insert("index.json".into(), top.to_string().into_bytes());
    let setup = Setup::new().await;
    let loaded = setup
        .images
        .load_reader(tarball(&files).as_slice(), LoadOptions::default())
        .await
        .unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].id, here.id());
    let by_index = format!("r.example/multi@{}", digest(&index));
    assert_eq!(loaded[0].repo_digests, [by_index.as_str()]);
    let inner = format!("r.example/multi@{}", here.digest());
    for name in [by_index, inner] {
        assert!(setup.images.get(&name).unwrap().is_some(), "{name}");
    }
}
