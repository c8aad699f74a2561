//! `corten load`.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    client::Context,
    error::CliError,
    output::{self, printable},
};
use crate::cri::control_api::{Image, LoadRequest};

/// Bytes of a message.
const CHUNK: usize = 256 << 10;

/// Messages on their way.
const QUEUE: usize = 4;

/// Arguments of `corten load`.
#[derive(Args)]
#[command(
    after_help = "The file is a tar archive, compressed or not, of an OCI image layout or as `docker save` writes it.\n\nExamples:\n  corten load image.tar\n  docker save app | corten load\n  tar -C layout -c . | corten load              a layout in a directory"
)]
pub(super) struct LoadArgs {
    /// The archive; - or nothing for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the images' IDs alone
    #[arg(short, long)]
    quiet: bool,
}

/// Sends an archive to the daemon and prints what was in it.
pub(super) async fn run(context: Context, args: LoadArgs) -> Result<u8, CliError> {
    let (source, name) = open(args.file.as_deref()).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut client = context.control();
    let call = client.load(ReceiverStream::new(receiver));
    let doing = format!("load {}", name.display());
    let sending = send(source, sender, name);
    tokio::pin!(call, sending);
    // A file that cannot be read must end the call by leaving it, not by ending its stream: the daemon would take
    // what it has for the whole.
    let answer = tokio::select! {
        answer = &mut call => answer,
        sent = &mut sending => {
            let _open = sent?;
            // Dropping the sender ends the stream.
            drop(_open);
            call.await
        }
    };
    let images = answer.map_err(CliError::rpc(doing))?.into_inner().images;
    for image in &images {
        output::print(&describe(image, args.quiet))?;
    }
    Ok(0)
}

fn describe(image: &Image, quiet: bool) -> String {
    match quiet {
        true => format!("{}\n", image.id),
        false if image.tags.is_empty() => format!("Loaded {}\n", image.id),
        false => format!(
            "Loaded {} ({})\n",
            printable(&image.tags.join(", ")),
            image.id
        ),
    }
}

type Source = Box<dyn AsyncRead + Send + Unpin>;

async fn open(file: Option<&Path>) -> Result<(Source, PathBuf), CliError> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        if io::stdin().is_terminal() {
            let problem = "standard input is a terminal; name a file, or pipe an archive in";
            return Err(CliError::Usage(problem.into(), "load"));
        }
        return Ok((Box::new(tokio::io::stdin()), "standard input".into()));
    };
    if path.is_dir() {
        return Err(CliError::Usage(
            format!(
                "{0} is a directory; pack it on the way: tar -C {0} -c . | corten load",
                path.display()
            ),
            "load",
        ));
    }
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|source| CliError::File {
            doing: "open",
            path: path.to_owned(),
            source,
        })?;
    Ok((Box::new(file), path.to_owned()))
}

/// Sends the source in parts; gives the sender back at its end.
async fn send(
    mut source: Source,
    sender: mpsc::Sender<LoadRequest>,
    name: PathBuf,
) -> Result<mpsc::Sender<LoadRequest>, CliError> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = (&mut source)
            .take(CHUNK as u64)
            .read_to_end(&mut chunk)
            .await
            .map_err(|source| CliError::File {
                doing: "read",
                path: name.clone(),
                source,
            })?;
        let last = count == 0;
        if sender.send(LoadRequest { chunk, last }).await.is_err() {
            // The daemon has given up; its answer says why.
            std::future::pending::<()>().await;
        }
        if last {
            return Ok(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sends_everything_in_parts() {
        let data: Vec<u8> = (0..CHUNK * 2 + 7).map(|i| i as u8).collect();
        let (sender, mut receiver) = mpsc::channel(100);
        let source: Source = Box::new(io::Cursor::new(data.clone()));
        let sender = send(source, sender, "x".into()).await.unwrap();
        drop(sender);
        let mut found = Vec::new();
        while let Some(part) = receiver.recv().await {
            assert!(part.chunk.len() <= CHUNK);
            found.extend(part.chunk);
        }
        assert_eq!(found, data);
    }

    #[tokio::test]
    async fn a_directory_is_answered_with_the_way_to_do_it() {
        let text = match open(Some(Path::new("/tmp"))).await {
            Ok(_) => panic!("opened a directory"),
            Err(e) => e.to_string(),
        };
        assert!(text.contains("tar -C /tmp -c . | corten load"), "{text}");
    }
}
