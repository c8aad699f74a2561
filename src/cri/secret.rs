//! Messages that carry credentials print none of them.

use std::fmt;

use super::{api, control_api};

impl fmt::Debug for api::AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for control_api::Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_can_be_logged() {
        let request = api::PullImageRequest {
            auth: Some(api::AuthConfig {
                username: "bob".into(),
                password: "hunter2".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = format!("{request:?}");
        assert!(!request.contains("hunter2") && !request.contains("bob"));
    }
}
