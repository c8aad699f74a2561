//! `corten pull`.

use std::io::Read;

use clap::Args;

use super::{client::Context, error::CliError, output, progress::Progress};
use crate::cri::control_api::{Credentials, Image, PullRequest, pull_event::Event};

/// The longest password read from standard input.
const PASSWORD_MAX: u64 = 64 << 10;

/// Arguments of `corten pull`.
#[derive(Args)]
#[command(
    after_help = "Credentials come from the configured auth_file unless given here.\n\nExamples:\n  corten pull docker.io/library/alpine:3.20\n  corten pull quay.io/prometheus/busybox@sha256:…\n  corten pull --username me --password-stdin registry.example/app < token\n  corten pull --platform linux/arm64 docker.io/library/alpine"
)]
pub(super) struct PullArgs {
    /// Image by name and tag, or name and digest
    image: String,
    /// Another platform than this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// User name at the registry
    #[arg(long, requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input, where no other user can see it
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Print the image's ID alone
    #[arg(short, long)]
    quiet: bool,
}

/// Downloads an image and prints its ID.
pub(super) async fn run(context: Context, args: PullArgs) -> Result<u8, CliError> {
    let credentials = match &args.username {
        None => None,
        Some(username) => Some(Credentials {
            username: username.clone(),
            password: password()?,
            ..Default::default()
        }),
    };
    let request = PullRequest {
        image: args.image,
        credentials,
        platform: args.platform.unwrap_or_default(),
    };
    let image = pull(&context, request, Progress::new(args.quiet)).await?;
    output::print(&format!("{}\n", image.id)).map(|()| 0)
}

fn password() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .take(PASSWORD_MAX)
        .read_to_string(&mut text)
        .map_err(|e| CliError::Stdio("read the password from standard input", e))?;
    let password = text.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        true => Err(CliError::Usage(
            "standard input holds no password".into(),
            "pull",
        )),
        false => Ok(password.to_owned()),
    }
}

/// Downloads an image for another command; returns its ID.
pub(super) async fn image(context: &Context, name: &str) -> Result<String, CliError> {
    let request = PullRequest {
        image: name.to_owned(),
        ..Default::default()
    };
    pull(context, request, Progress::new(false))
        .await
        .map(|image| image.id)
}

async fn pull(
    context: &Context,
    request: PullRequest,
    mut progress: Progress,
) -> Result<Image, CliError> {
    let doing = format!("pull the image {}", request.image);
    progress.begin(&request.image);
    let failed = || CliError::rpc(doing.clone());
    let mut events = context
        .control()
        .pull(request)
        .await
        .map_err(failed())?
        .into_inner();
    while let Some(event) = events.message().await.map_err(failed())? {
        match event.event {
            Some(Event::Layers(known)) => {
                known.layers.iter().for_each(|layer| progress.layer(layer))
            }
            Some(Event::Layer(layer)) => progress.layer(&layer),
            Some(Event::Done(image)) => return Ok(image),
            // Of a newer daemon.
            None => {}
        }
    }
    Err(CliError::Answer {
        doing,
        lacks: "the image",
    })
}
