//! Load: hundreds of pods, churned at random while the daemon is killed now and then, and every answer, list, status
//! and event compared with a model of what is lawful. At the end nothing may have leaked, nor the daemon have grown.
//!
//! `LOAD_SECONDS` says for how long, `LOAD_PODS` with how many pods, `LOAD_SEED` with which choices, and `LOAD_WORKERS`
//! how many requests are under way at a time. The same seed makes the same choices; what they meet is up to time.

mod calls;
mod census;
mod churn;
mod ears;
mod model;
mod moves;
#[path = "../powercut/random.rs"]
#[allow(dead_code, reason = "shared with a test that uses all of it")]
mod random;
mod settings;
mod subject;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with tests that use all of it"
)]
mod support;
mod weight;

use calls::Daemon;
use settings::Settings;

#[tokio::test]
async fn a_node_under_load_does_what_the_model_says() {
    let settings = Settings::from_environment();
    println!(
        "{settings:?}; LOAD_SEED={} repeats the choices",
        settings.seed
    );
    support::node(async |node| {
        let load = churn::Load::new(Daemon::new(node), settings);
        if let Err(what) = load.run().await {
            panic!("LOAD_SEED={}: {what}", settings.seed);
        }
    })
    .await;
}
