//! Pulls from a real registry.

use corten::image::{ErrorKind, ImageError, ImageUser, Phase, PullRequest, Step};
use serde_json::json;

use super::{
    content::{
        Family, OCI_INDEX, Packing, digest, file, host_arch, image, image_for, image_with, index,
        layer, noise, small,
    },
    docker::{Options, PASSWORD, Registry, USER},
    setup::{Setup, request, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_by_tag_and_by_digest() {
    let registry = Registry::start(Options::default());
    let setup = Setup::new().await;
    for (tag, family, packing) in [
        ("oci-plain", Family::Oci, Packing::Plain),
        ("oci-gzip", Family::Oci, Packing::Gzip),
        ("oci-zstd", Family::Oci, Packing::Zstd),
        ("docker-gzip", Family::Docker, Packing::Gzip),
    ] {
        let made = image(
            family,
            vec![
                layer(
                    packing,
                    &[file("etc/tag", tag), file("bulk", noise(300_000, 7))],
                ),
                layer(packing, &[file("top", "x")]),
            ],
        );
        registry.push("team/app", tag, &made).await;
        let name = registry.name(&format!("team/app:{tag}"));
        let pulled = setup.pull(&name).await.unwrap();
        assert_eq!(pulled.id, made.id());
        assert_eq!(pulled.repo_tags, [name.as_str()]);
        let pinned = registry.name(&format!("team/app@{}", made.digest()));
        assert_eq!(pulled.repo_digests, [pinned.as_str()]);
        assert_eq!(pulled.config.image_user(), ImageUser::Uid(1000));
        assert_eq!(
            setup.layer_file(&pulled.layers[0], "etc/tag").unwrap(),
            tag.as_bytes()
        );
        assert_eq!(
            setup.layer_file(&pulled.layers[0], "bulk").unwrap(),
            noise(300_000, 7)
        );
        assert_eq!(setup.layer_file(&pulled.layers[1], "top").unwrap(), b"x");
        assert!(pulled.size >= 300_000, "{}", pulled.size);
        for reference in [
            name.as_str(),
            &pinned,
            &pulled.id,
            &pulled.id[7..],
            &pulled.id[7..19],
            &registry.name(&format!("team/app:{tag}@{}", made.digest())),
        ] {
            let found = setup.images.get(reference).unwrap();
            assert_eq!(found.as_deref(), Some(&*pulled), "{reference}");
        }
        setup.images.remove(&name).await.unwrap();
        let again = setup.pull(&pinned).await.unwrap();
        assert!(again.repo_tags.is_empty());
        assert_eq!(again.repo_digests, [pinned]);
        setup.images.remove(&again.id).await.unwrap();
    }
    assert_eq!(setup.layers(), 0);
    assert!(setup.images.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_leads_to_this_platform_and_says_what_else_there_is() {
    let registry = Registry::start(Options::default());
    let setup = Setup::new().await;
    let here = small("here");
    let there = image_for(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("seed", "there")])],
        json!({}),
        "s390x",
    );
    registry.push("app", "here", &here).await;
    registry.push("app", "there", &there).await;
    let both = index(&[(&there, "s390x"), (&here, host_arch())]);
    registry
        .push_manifest("app", "both", OCI_INDEX, &both)
        .await;
    let other = index(&[(&there, "s390x")]);
    registry
        .push_manifest("app", "other", OCI_INDEX, &other)
        .await;

    let pulled = setup.pull(&registry.name("app:both")).await.unwrap();
    assert_eq!(pulled.id, here.id());
    // The index is what was asked for; the manifest in it is known too.
    let by_index = registry.name(&format!("app@{}", digest(&both)));
    assert_eq!(pulled.repo_digests, [by_index]);
    let inner = registry.name(&format!("app@{}", here.digest()));
    assert_eq!(setup.images.get(&inner).unwrap().unwrap().id, here.id());

    let chosen = setup
        .images
        .pull(PullRequest {
            platform: Some("linux/s390x".parse_platform()),
            ..request(&registry.name("app:both"))
        })
        .await
        .unwrap();
    assert_eq!(chosen.id, there.id());

    for tag in ["other", "there"] {
        let error = setup
            .pull(&registry.name(&format!("app:{tag}")))
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::NoPlatform { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(text(&error).contains("linux/s390x"), "{error}");
    }
}

trait ParsePlatform {
    fn parse_platform(&self) -> corten::image::Platform;
}

impl ParsePlatform for str {
    fn parse_platform(&self) -> corten::image::Platform {
        corten::image::Platform::parse(self).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_the_authority_from_certs_d_and_a_password() {
    let registry = Registry::start(Options {
        tls: true,
        password: true,
        ..Options::default()
    });
    let made = small("secret");
    registry.push("app", "v1", &made).await;
    let name = registry.name("app:v1");
    let auth = corten::image::Auth {
        username: USER.into(),
        password: PASSWORD.into(),
        ..Default::default()
    };

    let stranger = Setup::new().await;
    let error = stranger.pull_as(&name, auth.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(text(&error).contains("certificate"), "{}", text(&error));

    let setup = Setup::with(|dir, _| registry.trust_in(&dir.join("certs.d"))).await;
    let pulled = setup.pull_as(&name, auth.clone()).await.unwrap();
    assert_eq!(pulled.id, made.id());

    let encoded = corten::image::Auth {
        // base64 of the pair
        auth: "c29tZW9uZTpzM2NyZXQtd29yZA==".into(),
        server_address: format!("https://{}", registry.addr),
        ..Default::default()
    };
    setup.pull_as(&name, encoded).await.unwrap();

    let wrong = corten::image::Auth {
        password: "another-word".into(),
        ..auth.clone()
    };
    let elsewhere = corten::image::Auth {
        server_address: "elsewhere.example".into(),
        ..auth
    };
    for auth in [Default::default(), wrong, elsewhere] {
        let error = setup.pull_as(&name, auth).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        let text = format!("{} {error:?}", text(&error));
        for part in ["another-word", PASSWORD, USER] {
            assert!(!text.contains(part), "{text}");
        }
    }

    // The configured file stands in where a request brings nothing.
    let file = Setup::with(|dir, config| {
        registry.trust_in(&dir.join("certs.d"));
        let path = dir.join("auth.json");
        std::fs::write(
            &path,
            format!(
                r#"{{"auths":{{"{}":{{"auth":"c29tZW9uZTpzM2NyZXQtd29yZA=="}}}}}}"#,
                registry.addr
            ),
        )
        .unwrap();
        config.auth_file = Some(path);
    })
    .await;
    file.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_signed_certificate_is_trusted_where_it_was_put() {
    let options = || Options {
        tls: true,
        self_signed: true,
        ..Options::default()
    };
    let (registry, other) = (Registry::start(options()), Registry::start(options()));
    registry.push("app", "v1", &small("self")).await;
    let name = registry.name("app:v1");
    let setup = Setup::with(|dir, _| registry.trust_in(&dir.join("certs.d"))).await;
    setup.pull(&name).await.unwrap();
    // Another's certificate, put under this one's name, opens nothing.
    let misled = Setup::with(|dir, _| {
        let certs = dir.join("certs.d");
        other.trust_in(&certs);
        std::fs::rename(
            certs.join(other.addr.to_string()),
            certs.join(registry.addr.to_string()),
        )
        .unwrap();
    })
    .await;
    let error = misled.pull(&name).await.unwrap_err();
    assert!(text(&error).contains("certificate"), "{}", text(&error));
    let broken = Setup::with(|dir, _| {
        let certs = dir.join("certs.d").join(registry.addr.to_string());
        std::fs::create_dir_all(&certs).unwrap();
        std::fs::write(certs.join("ca.crt"), "no certificate").unwrap();
    })
    .await;
    let error = broken.pull(&name).await.unwrap_err();
    assert!(matches!(error, ImageError::Certificates { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insecure_spares_the_certificate_and_prefixes_lead_elsewhere() {
    let secure = Registry::start(Options {
        tls: true,
        ..Options::default()
    });
    let plain = Registry::start(Options::default());
    let made = small("moved");
    secure.push("copy/app", "v1", &made).await;
    plain
        .push("mirrored/team/app", "v2", &small("mirrored"))
        .await;
    let setup = Setup::with(|dir, _| {
        std::fs::write(
            dir.join("registries.conf"),
            format!(
                "[[registry]]\nprefix = \"registry.example/team\"\nlocation = \"{}/copy\"\ninsecure = true\n\
                 [[registry.mirror]]\nlocation = \"127.0.0.1:1/none\"\n\
                 [[registry.mirror]]\nlocation = \"{}/mirrored/team\"\n\
                 [[registry]]\nlocation = \"blocked.example\"\nblocked = true\n",
                secure.addr, plain.addr
            ),
        )
        .unwrap();
    })
    .await;
    // The first mirror is down, the second does not have it: the registry itself does.
    let pulled = setup.pull("registry.example/team/app:v1").await.unwrap();
    assert_eq!(pulled.id, made.id());
    assert_eq!(pulled.repo_tags, ["registry.example/team/app:v1"]);
    let mirrored = setup.pull("registry.example/team/app:v2").await.unwrap();
    assert_eq!(mirrored.id, small("mirrored").id());
    let error = setup.pull("blocked.example/x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(text(&error).contains("registries.conf"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_apart() {
    let registry = Registry::start(Options::default());
    registry.push("app", "v1", &small("x")).await;
    let setup = Setup::new().await;
    for (name, kind) in [
        (registry.name("app:v2"), ErrorKind::NotFound),
        (registry.name("none:v1"), ErrorKind::NotFound),
        (
            registry.name(&format!("app@sha256:{}", "0".repeat(64))),
            ErrorKind::NotFound,
        ),
        ("127.0.0.1:1/app:v1".to_owned(), ErrorKind::Unavailable),
        ("a//b".to_owned(), ErrorKind::InvalidArgument),
        (String::new(), ErrorKind::InvalidArgument),
        ("0".repeat(64), ErrorKind::InvalidArgument),
    ] {
        let error = setup.pull(&name).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        let text = text(&error);
        assert!(text.contains(&name), "{text}");
        assert_eq!(
            kind == ErrorKind::Unavailable,
            text.starts_with("RegistryUnavailable"),
            "{text}"
        );
    }
    assert!(setup.images.get("a//b").is_err());
    assert!(setup.images.get("nothing-here").unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_and_what_is_here_is_not_fetched_again() {
    let registry = Registry::start(Options::default());
    let base = layer(Packing::Gzip, &[file("base", noise(2 << 20, 3))]);
    let one = image(
        Family::Oci,
        vec![base.clone(), layer(Packing::Gzip, &[file("one", "1")])],
    );
    let two = image_with(
        Family::Oci,
        vec![base, layer(Packing::Zstd, &[file("two", "2")])],
        json!({"Labels": {"n": "2"}}),
    );
    registry.push("app", "1", &one).await;
    registry.push("app", "2", &two).await;
    let setup = Setup::new().await;
    let pull = setup
        .images
        .start_pull(request(&registry.name("app:1")))
        .unwrap();
    let progress = pull.progress();
    pull.wait().await.unwrap();
    let seen = progress.borrow().clone();
    assert_eq!(seen.step, Step::Done);
    assert_eq!(seen.layers.len(), 2);
    assert!(
        seen.layers
            .iter()
            .all(|l| l.phase == Phase::Done && l.done == l.total)
    );
    assert_eq!(seen.layers[0].total, one.layers[0].blob.len() as u64);

    let pull = setup
        .images
        .start_pull(request(&registry.name("app:2")))
        .unwrap();
    let progress = pull.progress();
    let image = pull.wait().await.unwrap();
    let seen = progress.borrow().clone();
    assert_eq!(seen.layers[0].phase, Phase::Exists);
    assert_eq!(seen.layers[1].phase, Phase::Done);
    assert_eq!(image.config.labels["n"], "2");
    assert_eq!(setup.layers(), 3);
}

/// Many layers, more than are fetched at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_layers_end_up_in_order() {
    let registry = Registry::start(Options::default());
    let layers = (0..40)
        .map(|n| {
            layer(
                Packing::Gzip,
                &[file(&format!("l{n}"), noise(1000 * (40 - n), n as u64))],
            )
        })
        .collect();
    let made = image(Family::Oci, layers);
    registry.push("deep", "v1", &made).await;
    let setup = Setup::new().await;
    let pulled = setup.pull(&registry.name("deep:v1")).await.unwrap();
    assert_eq!(pulled.layers.len(), 40);
    for (n, chain) in pulled.layers.iter().enumerate() {
        assert!(setup.layer_file(chain, &format!("l{n}")).is_some());
        let parent = n.checked_sub(1).map(|n| pulled.layers[n]);
        assert_eq!(setup.storage.layer(chain).unwrap().parent, parent);
    }
}
