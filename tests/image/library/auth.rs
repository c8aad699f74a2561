//! Token services, redirects, and where credentials go.

use std::sync::{Arc, OnceLock};

use corten::image::{Auth, ErrorKind};

use super::{
    content::{Content, small},
    server::{Reply, Server, serve},
    setup::{Setup, text},
};

fn basic(username: &str, password: &str) -> Auth {
    Auth {
        username: username.into(),
        password: password.into(),
        ..Auth::default()
    }
}

/// A registry that wants a token of `realm`.
async fn guarded(content: Content, realm: String) -> Server {
    Server::start(move |request, _| {
        if request.path == "/v2/" || request.header("authorization") == "Bearer good" {
            return serve(&content, request);
        }
        Reply::new(401, "{}").header(
            "WWW-Authenticate",
            format!(
                "Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:other:pull,push\""
            ),
        )
    })
    .await
}

#[tokio::test]
async fn a_token_service_is_asked_for_this_repository_alone() {
    let tokens = Server::start(|request, _| match request.header("authorization") {
        // base64 of user:pass
        "Basic dXNlcjpwYXNz" => Reply::new(200, r#"{"token":"good","expires_in":60}"#),
        _ => Reply::new(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#,
        ),
    })
    .await;
    let made = small("token");
    let registry = guarded(
        Content::default().with("v1", &made),
        format!("http://{}/token", tokens.addr),
    )
    .await;
    let setup = Setup::new().await;
    let name = registry.name("team/app:v1");
    let pulled = setup.pull_as(&name, basic("user", "pass")).await.unwrap();
    assert_eq!(pulled.id, made.id());
    let asked = tokens.requests();
    // One token does for the manifest, the configuration and the layers.
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0]
            .path
            .contains("scope=repository%3Ateam%2Fapp%3Apull&"),
        "{}",
        asked[0].path
    );
    assert!(asked[0].path.contains("service=reg"));
    assert!(!asked[0].path.contains("push"));
    // The registry itself never saw the password.
    assert!(
        registry
            .requests()
            .iter()
            .all(|r| !r.header("authorization").starts_with("Basic"))
    );

    let error = setup
        .pull_as(&name, basic("user", "wrong"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?}").contains("wrong"));
    assert!(text(&error).contains("who?"));
}

#[tokio::test]
async fn identity_tokens_are_traded_and_registry_tokens_sent() {
    let tokens = Server::start(|request, _| {
        if request.method == "POST"
            && request.body.contains("grant_type=refresh_token")
            && request.body.contains("refresh_token=re%26fresh")
        {
            Reply::new(200, r#"{"access_token":"good"}"#)
        } else {
            Reply::new(400, "{}")
        }
    })
    .await;
    let content = Content::default().with("v1", &small("identity"));
    let registry = guarded(content, format!("http://{}/token", tokens.addr)).await;
    let setup = Setup::new().await;
    let name = registry.name("app:v1");
    let identity = Auth {
        identity_token: "re&fresh".into(),
        ..Auth::default()
    };
    setup.pull_as(&name, identity.clone()).await.unwrap();
    assert!(!tokens.requests()[0].path.contains("fresh"));
    let wrong = Auth {
        identity_token: "stale".into(),
        ..identity
    };
    let error = setup.pull_as(&name, wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);

    let count = tokens.requests().len();
    let token = Auth {
        registry_token: "good".into(),
        ..Auth::default()
    };
    setup.pull_as(&name, token).await.unwrap();
    let bad = Auth {
        registry_token: "bad".into(),
        ..Auth::default()
    };
    let error = setup.pull_as(&name, bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(tokens.requests().len(), count);
}

#[tokio::test]
async fn a_token_that_runs_out_is_renewed() {
    let content = Content::default().with("v1", &small("renew"));
    let tokens = Server::start(|_, n| Reply::new(200, format!(r#"{{"token":"t{n}"}}"#))).await;
    let realm = format!("http://{}/", tokens.addr);
    let registry = Server::start(move |request, _| {
        let wanted = if request.is_blob() {
            "Bearer t1"
        } else {
            "Bearer t0"
        };
        if request.path == "/v2/" || request.header("authorization") == wanted {
            return serve(&content, request);
        }
        Reply::new(401, "").header("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
    })
    .await;
    let setup = Setup::new().await;
    setup.pull(&registry.name("app:v1")).await.unwrap();
    assert_eq!(tokens.requests().len(), 2);
}

#[tokio::test]
async fn nothing_crosses_a_redirect_to_another_host() {
    let made = small("redirect");
    let content = Content::default().with("v1", &made);
    let blobs = content.clone();
    // The storage host wants a password of its own, and gets none.
    let greedy: Arc<OnceLock<bool>> = Arc::default();
    let refuse = greedy.clone();
    let storage = Server::start(move |request, _| {
        if refuse.get().is_some() {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        serve(&blobs, request)
    })
    .await;
    let target = storage.addr;
    let registry = Server::start(move |request, _| {
        if request.path == "/v2/" {
            return Reply::new(200, "");
        }
        // base64 of user:pass
        if request.header("authorization") != "Basic dXNlcjpwYXNz" {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if request.is_blob() {
            let path = format!("http://{target}{}?signature=hidden-query", request.path);
            return Reply::new(307, "").header("Location", path);
        }
        serve(&content, request)
    })
    .await;
    let setup = Setup::new().await;
    let name = registry.name("app:v1");
    setup.pull_as(&name, basic("user", "pass")).await.unwrap();
    assert!(!storage.requests().is_empty());
    setup.images.remove(&name).await.unwrap();
    greedy.set(true).unwrap();
    let error = setup
        .pull_as(&name, basic("user", "pass"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?} {}", text(&error)).contains("hidden-query"));
    assert!(
        storage
            .requests()
            .iter()
            .all(|r| r.header("authorization").is_empty())
    );
}

#[tokio::test]
async fn a_mirror_does_not_get_the_registrys_password() {
    let made = small("mirror");
    let content = Content::default().with("v1", &made);
    let mirror = Server::start(move |request, _| {
        if request.path == "/v2/" {
            return Reply::new(200, "");
        }
        if request.header("authorization").is_empty() {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        serve(&content, request)
    })
    .await;
    let setup = Setup::with(|dir, _| {
        std::fs::write(
            dir.join("registries.conf"),
            format!(
                "[[registry]]\nlocation = \"registry.example\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
                 [[registry]]\nprefix = \"moved.example\"\nlocation = \"{}\"\n",
                mirror.addr, mirror.addr
            ),
        )
        .unwrap();
    })
    .await;
    let error = setup
        .pull_as("moved.example/app:v1", basic("user", "pass"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(
        mirror
            .requests()
            .iter()
            .all(|r| r.header("authorization").is_empty())
    );
    // Credentials that name the mirror are for it.
    let named = Auth {
        server_address: mirror.addr.to_string(),
        ..basic("user", "pass")
    };
    setup.pull_as("moved.example/app:v1", named).await.unwrap();
}
