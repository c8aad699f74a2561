//! Tokens from a registry's token service.

use reqwest::{Url, header};
use serde::Deserialize;

use super::{
    failure::{Failure, FailureKind},
    http::{Get, Http, Trust},
};
use crate::image::{
    auth::{Credential, basic_header},
    digest::clip,
};

const MAX_TOKEN: usize = 1 << 20;
const CLIENT_ID: &str = "corten";

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// What is asked of a token service.
pub(super) struct Ask<'a> {
    /// Its address, as the registry gave it.
    pub(super) realm: &'a str,
    /// What it knows the registry as.
    pub(super) service: Option<&'a str>,
    /// The repository to read.
    pub(super) repository: &'a str,
    /// Who we are.
    pub(super) credential: &'a Credential,
    /// Whether the registry itself was spoken to by HTTPS: then so is its token service.
    pub(super) registry_is_https: bool,
    /// Whether the registry must prove itself.
    pub(super) trust: Trust,
}

/// Fetches a token for reading one repository.
pub(super) async fn fetch(http: &Http, ask: &Ask<'_>) -> Result<String, Failure> {
    let realm = Url::parse(ask.realm)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Protocol,
                format!("token service {:?} is no HTTP address", clip(ask.realm)),
            )
        })?;
    if ask.registry_is_https && realm.scheme() != "https" && ask.trust == Trust::Verified {
        return Err(Failure::new(
            FailureKind::Protocol,
            "the registry sends us to a token service without TLS",
        ));
    }
    let scope = format!("repository:{}:pull", ask.repository);
    let answer = match ask.credential {
        Credential::Identity(token) => oauth(http, ask, realm, &scope, token).await?,
        _ => basic(http, ask, realm, &scope).await?,
    };
    if !answer.status().is_success() {
        let mut failure = http.refusal(answer).await;
        failure.detail = format!("token service: {}", failure.detail);
        // A bad request here is about the credentials.
        if failure.kind == FailureKind::Protocol {
            failure.kind = FailureKind::Unauthenticated;
        }
        return Err(failure);
    }
    granted(&http.body(answer, MAX_TOKEN).await?)
}

/// The token in an answer.
pub(crate) fn granted(body: &[u8]) -> Result<String, Failure> {
    let reply: Reply = serde_json::from_slice(body).map_err(|_| {
        Failure::new(
            FailureKind::Protocol,
            "the token service's answer is no token",
        )
    })?;
    reply
        .token
        .or(reply.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Protocol,
                "the token service's answer has no token",
            )
        })
}

/// The plain way: a GET, with a name and a password where we have them.
async fn basic(
    http: &Http,
    ask: &Ask<'_>,
    mut url: Url,
    scope: &str,
) -> Result<reqwest::Response, Failure> {
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = ask.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", scope);
        if let Credential::Basic { username, .. } = ask.credential {
            query.append_pair("account", username);
        }
    }
    let authorization = match ask.credential {
        Credential::Basic { username, password } => {
            Some(sensitive(&basic_header(username, password))?)
        }
        _ => None,
    };
    let answer = http
        .get(Get {
            url,
            trust: ask.trust,
            accept: None,
            from: 0,
            authorization: authorization.as_ref(),
        })
        .await?;
    Ok(answer.response)
}

/// The OAuth2 way, with a refresh token. It goes to the realm alone: redirects are not followed.
async fn oauth(
    http: &Http,
    ask: &Ask<'_>,
    url: Url,
    scope: &str,
    refresh: &str,
) -> Result<reqwest::Response, Failure> {
    // A URL's query has the encoding of a form.
    let mut form = url.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", ask.service.unwrap_or_default())
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", scope)
        .append_pair("refresh_token", refresh);
    let body = form.query().unwrap_or_default().to_owned();
    let request = http
        .client(&url, ask.trust)?
        .post(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body);
    http.answered(request).await
}

/// A header value that is not shown.
pub(super) fn sensitive(text: &str) -> Result<header::HeaderValue, Failure> {
    let mut value = header::HeaderValue::from_str(text).map_err(|_| {
        Failure::new(
            FailureKind::Unauthenticated,
            "the credentials cannot be sent in a header",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
