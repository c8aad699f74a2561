//! Registries that break off, fall silent, lie or send too much.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use corten::image::{ErrorKind, ImageError};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    content::{Content, Family, OCI_INDEX, Packing, digest, file, image, layer, noise, small},
    server::{Fate, Reply, Server, serve},
    setup::{Place, Setup, request, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_where_it_broke_off() {
    let bulk = noise(1 << 20, 5);
    let made = image(
        Family::Oci,
        vec![
            layer(Packing::Gzip, &[file("bulk", &bulk)]),
            layer(Packing::Zstd, &[file("more", noise(400_000, 6))]),
        ],
    );
    let content = Content::default().with("v1", &made);
    let registry = Server::start(move |request, _| {
        let reply = serve(&content, request);
        // Each connection gives 200 kB more and breaks.
        let fate = match request.is_blob() {
            true => Fate::Cut(200_000),
            false => Fate::Whole,
        };
        reply.fate(fate)
    })
    .await;
    let setup = Setup::new().await;
    let pulled = setup.pull(&registry.name("app:v1")).await.unwrap();
    assert_eq!(setup.layer_file(&pulled.layers[0], "bulk").unwrap(), bulk);
    let ranges: Vec<usize> = registry
        .requests()
        .iter()
        .filter(|r| r.path.ends_with(&digest(&made.layers[0].blob)))
        .map(|r| r.from())
        .collect();
    assert!(ranges.len() >= 5, "{ranges:?}");
    assert_eq!(ranges[0], 0);
    assert!(ranges.windows(2).all(|w| w[0] < w[1]), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_ranges_is_read_past_what_is_known() {
    let bulk = noise(600_000, 9);
    let made = image(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("bulk", &bulk)])],
    );
    let content = Content::default().with("v1", &made);
    let tries: Mutex<HashMap<String, usize>> = Mutex::default();
    let registry = Server::start(move |request, _| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let reply = serve(&content, &plain);
        if !request.is_blob() {
            return reply;
        }
        let mut tries = tries.lock().unwrap();
        let n = tries.entry(request.path.clone()).or_default();
        *n += 1;
        reply.fate(Fate::Cut(250_000 * *n))
    })
    .await;
    let setup = Setup::new().await;
    let pulled = setup.pull(&registry.name("app:v1")).await.unwrap();
    assert_eq!(setup.layer_file(&pulled.layers[0], "bulk").unwrap(), bulk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed_and_bounded() {
    let made = image(
        Family::Oci,
        vec![layer(Packing::Plain, &[file("bulk", noise(500_000, 2))])],
    );
    let blob = digest(&made.layers[0].blob);
    let content = Content::default().with("v1", &made);
    let registry = Server::start(move |request, _| {
        let reply = serve(&content, request);
        match request.path.ends_with(&blob) {
            // It gives a little, then nothing; later nothing at all.
            true if request.from() == 0 => reply.fate(Fate::Stall(1000)),
            true => reply.fate(Fate::Stall(0)),
            false => reply,
        }
    })
    .await;
    let setup = Setup::with(|_, config| {
        config.stall_timeout = Duration::from_millis(200);
        config.tries = 3;
    })
    .await;
    let error = setup.pull(&registry.name("app:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        text(&error).contains("nothing came for"),
        "{}",
        text(&error)
    );
    assert_eq!(registry.count(&digest(&made.layers[0].blob)), 3);
    assert_eq!(setup.layers(), 0);
    assert!(setup.images.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_that_passes_is_waited_out_and_other_trouble_is_not() {
    let made = small("trouble");
    let content = Content::default().with("v1", &made);
    let registry = Server::start(move |request, n| match n {
        _ if request.path == "/v2/" => Reply::new(200, ""),
        0..4 => Reply::new(503, "<html>"),
        4 => Reply::new(429, "").header("Retry-After", "0"),
        _ => serve(&content, request),
    })
    .await;
    let setup = Setup::new().await;
    setup.pull(&registry.name("app:v1")).await.unwrap();

    let hopeless = Server::start(|request, _| match request.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(
            403,
            r#"{"errors":[{"code":"DENIED","message":"not\nyou"}]}"#,
        ),
    })
    .await;
    let error = setup.pull(&hopeless.name("app:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(text(&error).contains("DENIED: not you"), "{}", text(&error));
    assert_eq!(hopeless.count("/v1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_match_its_digest_is_refused() {
    let made = image(
        Family::Oci,
        vec![
            layer(Packing::Gzip, &[file("a", "1")]),
            layer(Packing::Gzip, &[file("b", noise(100_000, 1))]),
        ],
    );
    let other = layer(Packing::Gzip, &[file("b", noise(100_000, 2))]);
    let good = Content::default().with("v1", &made);
    let swap = |key: String, bytes: Vec<u8>| {
        let mut content = good.clone();
        content.blobs.insert(key, bytes);
        content
    };
    let mut flipped = made.layers[1].blob.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut longer = made.layers[1].blob.clone();
    longer.push(0);
    let mut wrong_manifest = good.clone();
    let entry = wrong_manifest.manifests.get_mut(&made.digest()).unwrap();
    entry.1.push(b' ');
    let lying = image(
        Family::Oci,
        vec![made.layers[0].clone(), made.layers[1].clone()],
    )
    .edited(|manifest| {
        manifest["layers"][1]["digest"] = json!(digest(&other.blob));
        manifest["layers"][1]["size"] = json!(other.blob.len());
    });
    let mut wrong_diff = Content::default().with("v1", &lying);
    wrong_diff
        .blobs
        .insert(digest(&other.blob), other.blob.clone());
    let by_tag = "app:v1".to_owned();
    let by_digest = format!("app@{}", made.digest());
    for (what, content, name) in [
        (
            "layer",
            swap(digest(&made.layers[1].blob), flipped),
            &by_tag,
        ),
        ("layer", swap(digest(&made.layers[1].blob), longer), &by_tag),
        ("uncompressed layer", wrong_diff, &by_tag),
        ("configuration", swap(made.id(), b"{}".to_vec()), &by_tag),
        ("manifest", wrong_manifest, &by_digest),
    ] {
        let registry = Server::holding(content).await;
        let setup = Setup::new().await;
        let error = setup.pull(&registry.name(name)).await.unwrap_err();
        assert!(
            matches!(error, ImageError::DigestMismatch { .. }),
            "{what}: {}",
            text(&error)
        );
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(text(&error).contains(what), "{what}: {}", text(&error));
        assert!(setup.images.list().is_empty());
        assert!(setup.layers() <= 1);
        setup.images.collect().await.unwrap();
        assert_eq!(setup.layers(), 0);
    }
}

#[tokio::test]
async fn what_is_ambiguous_or_too_large_is_refused() {
    let made = small("strict");
    let both = made.clone().edited(|m| m["manifests"] = json!([]));
    let typed = made.clone();
    let foreign = made
        .clone()
        .edited(|m| m["layers"][0]["urls"] = json!(["http://127.0.0.1:1/x"]));
    let traversal = made
        .clone()
        .edited(|m| m["config"]["digest"] = json!("sha256:../../../etc/passwd"));
    let count = made.clone().edited(|m| m["layers"] = json!([]));
    let mut content = Content::default()
        .with("both", &both)
        .with("typed", &typed)
        .with("foreign", &foreign)
        .with("traversal", &traversal)
        .with("count", &count);
    content.manifests.get_mut("typed").unwrap().0 = OCI_INDEX.into();
    content.manifests.insert(
        "huge".into(),
        ("application/json".into(), vec![b' '; (4 << 20) + 1]),
    );
    let registry = Server::holding(content).await;
    let setup = Setup::new().await;
    for (tag, says) in [
        ("both", "ambiguous"),
        ("typed", "ambiguous"),
        ("foreign", "foreign"),
        ("traversal", "digest"),
        ("count", "diff_ids"),
        ("huge", "larger than"),
    ] {
        let error = setup
            .pull(&registry.name(&format!("app:{tag}")))
            .await
            .unwrap_err();
        assert!(text(&error).contains(says), "{tag}: {}", text(&error));
        assert_ne!(error.kind(), ErrorKind::Unavailable, "{tag}");
    }
    assert!(registry.requests().iter().all(|r| !r.path.contains("..")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_layers_are_fetched_where_that_is_allowed() {
    let made = small("foreign");
    let store = Content::default().with("v1", &made);
    let elsewhere = Server::holding(store).await;
    let blob = digest(&made.layers[0].blob);
    let address = format!("http://{}/v2/x/blobs/{blob}", elsewhere.addr);
    let foreign = made.edited(|m| m["layers"][0]["urls"] = json!([address]));
    let mut content = Content::default().with("v1", &foreign);
    content.blobs.remove(&blob);
    let registry = Server::holding(content).await;
    let setup = Setup::with(|_, config| config.allow_foreign_layers = true).await;
    setup.pull(&registry.name("app:v1")).await.unwrap();
    assert_eq!(elsewhere.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_pulls_do_the_work_once() {
    let shared = layer(Packing::Gzip, &[file("shared", noise(300_000, 4))]);
    let one = image(
        Family::Oci,
        vec![shared.clone(), layer(Packing::Gzip, &[file("one", "1")])],
    );
    let two = image(
        Family::Oci,
        vec![shared.clone(), layer(Packing::Gzip, &[file("two", "2")])],
    );
    let gate = Arc::new(Semaphore::new(0));
    let shut = gate.clone();
    let content = Content::default().with("one", &one).with("two", &two);
    let registry = Server::start(move |request, _| {
        let reply = serve(&content, request);
        match request.is_blob() {
            true => reply.gate(&shut),
            false => reply,
        }
    })
    .await;
    let setup = Setup::new().await;
    let mut pulls = tokio::task::JoinSet::new();
    for n in 0..8 {
        let images = setup.images.clone();
        let name = registry.name(if n % 2 == 0 { "app:one" } else { "app:two" });
        pulls.spawn(async move { images.pull(request(&name)).await });
    }
    while registry.requests().iter().filter(|r| r.is_blob()).count() < 2 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1000);
    while let Some(pulled) = pulls.join_next().await {
        pulled.unwrap().unwrap();
    }
    for key in ["/one".to_owned(), "/two".to_owned()]
        .into_iter()
        .chain([one.id(), two.id(), digest(&shared.blob)])
        .chain([&one, &two].map(|i| digest(&i.layers[1].blob)))
    {
        assert_eq!(registry.count(&key), 1, "{key}");
    }
    assert_eq!(setup.images.list().len(), 2);
    assert_eq!(setup.layers(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_does_not_stop_the_work() {
    let made = small("leave");
    let gate = Arc::new(Semaphore::new(0));
    let shut = gate.clone();
    let content = Content::default().with("v1", &made);
    let registry = Server::start(move |request, _| {
        let reply = serve(&content, request);
        match request.is_blob() {
            true => reply.gate(&shut),
            false => reply,
        }
    })
    .await;
    let setup = Setup::new().await;
    let name = registry.name("app:v1");
    let images = setup.images.clone();
    let asked = request(&name);
    let leaving = tokio::spawn(async move { images.pull(asked).await });
    while registry.requests().iter().filter(|r| r.is_blob()).count() < 1 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    let retry = setup.images.start_pull(request(&name)).unwrap();
    gate.add_permits(1000);
    assert_eq!(retry.wait().await.unwrap().id, made.id());
    assert_eq!(registry.count("/v1"), 1);
}

/// One image's failure is not another's, even for a layer that both have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_registry_steps_in_for_a_shared_layer() {
    let shared = layer(Packing::Gzip, &[file("shared", noise(100_000, 8))]);
    let made = image(Family::Oci, vec![shared.clone()]);
    let content = Content::default().with("v1", &made);
    let good = Server::holding(content.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    let shut = gate.clone();
    let blob = digest(&shared.blob);
    let bad = Server::start(move |request, _| match request.path.ends_with(&blob) {
        true => Reply::new(404, "").gate(&shut),
        false => serve(&content, request),
    })
    .await;
    let setup = Setup::new().await;
    let first = setup
        .images
        .start_pull(request(&bad.name("app:v1")))
        .unwrap();
    while bad.count(&digest(&shared.blob)) < 1 {
        tokio::task::yield_now().await;
    }
    let second = setup
        .images
        .start_pull(request(&good.name("app:v1")))
        .unwrap();
    while good.requests().iter().filter(|r| r.is_blob()).count() < 1 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1000);
    assert_eq!(first.wait().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(second.wait().await.unwrap().id, made.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_one_place_lacks_comes_from_the_next() {
    let made = small("spread");
    let mut half = Content::default().with("v1", &made);
    half.blobs.remove(&digest(&made.layers[0].blob));
    let mirror = Server::holding(half).await;
    let registry = Server::holding(Content::default().with("v1", &made)).await;
    let setup = Setup::with(|dir, _| {
        std::fs::write(
            dir.join("registries.conf"),
            format!(
                "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
                registry.addr, mirror.addr
            ),
        )
        .unwrap();
    })
    .await;
    setup.pull("r.example/app:v1").await.unwrap();
    assert_eq!(registry.count(&digest(&made.layers[0].blob)), 1);
    assert_eq!(registry.count("/v1"), 0);
}

/// A file system of so many bytes, gone with this.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(done.success());
        Self(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_called_that_and_leaves_room_again() {
    let big = image(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("big", noise(12 << 20, 5))])],
    );
    let fits = small("fits");
    let content = Content::default().with("big", &big).with("fits", &fits);
    let registry = Server::holding(content).await;
    let disk = Small::new("8m");
    let setup = Setup::at(Place::inside(disk.0.path()), |_, _| {}).await;
    let error = setup.pull(&registry.name("app:big")).await.unwrap_err();
    assert!(
        matches!(error, ImageError::DiskFull { .. }),
        "{}",
        text(&error)
    );
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let archive = noise(12 << 20, 6);
    let error = setup
        .images
        .load_reader(archive.as_slice(), Default::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::ResourceExhausted,
        "{}",
        text(&error)
    );
    // What was begun is deleted behind the scenes.
    let mut tries = 0;
    while let Err(error) = setup.pull(&registry.name("app:fits")).await {
        tries += 1;
        assert!(tries < 500, "{}", text(&error));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(setup.images.list()[0].id, fits.id());
}
