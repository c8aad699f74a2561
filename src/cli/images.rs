//! `corten images`.

use clap::Args;
use serde::Serialize;

use super::{
    client::Context,
    error::CliError,
    output::{self, short},
    time,
};
use crate::cri::api;

/// Arguments of `corten images`.
#[derive(Args)]
pub(super) struct ImagesArgs {
    /// Print whole IDs alone
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ImageRow {
    id: String,
    tags: Vec<String>,
    digests: Vec<String>,
    size: u64,
    pinned: bool,
}

/// Lists images.
pub(super) async fn run(context: Context, args: ImagesArgs) -> Result<u8, CliError> {
    let mut images: Vec<ImageRow> = context
        .images()
        .list_images(api::ListImagesRequest::default())
        .await
        .map_err(CliError::rpc("list images"))?
        .into_inner()
        .images
        .into_iter()
        .map(|image| ImageRow {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
            size: image.size,
            pinned: image.pinned,
        })
        .collect();
    images.sort_by(|a, b| (&a.tags, &a.id).cmp(&(&b.tags, &b.id)));
    if args.json {
        return output::json(&images).map(|()| 0);
    }
    if args.quiet {
        let ids: String = images
            .iter()
            .map(|image| format!("{}\n", image.id))
            .collect();
        return output::print(&ids).map(|()| 0);
    }
    let cells: Vec<Vec<String>> = images.iter().flat_map(rows).collect();
    output::print(&output::table(&["IMAGE", "TAG", "SIZE", "ID"], &cells)).map(|()| 0)
}

/// A line for each tag; an image without one stands under its repository, or under nothing.
fn rows(image: &ImageRow) -> Vec<Vec<String>> {
    let line = |name: &str, tag: &str| {
        vec![
            name.to_owned(),
            tag.to_owned(),
            time::bytes(image.size),
            short(&image.id).to_owned(),
        ]
    };
    if image.tags.is_empty() {
        let name = image
            .digests
            .first()
            .and_then(|digest| digest.split('@').next());
        return vec![line(name.unwrap_or("-"), "-")];
    }
    image
        .tags
        .iter()
        .map(|tag| match tag.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => line(name, tag),
            _ => line(tag, "-"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_has_its_line() {
        let mut image = ImageRow {
            id: "sha256:0123456789abcdef".into(),
            tags: vec!["localhost:5000/a:1".into(), "localhost:5000/b".into()],
            digests: vec!["quay.io/c@sha256:00".into()],
            size: 2048,
            pinned: false,
        };
        let lines = rows(&image);
        assert_eq!(
            lines[0],
            ["localhost:5000/a", "1", "2.0 KiB", "0123456789abc"]
        );
        assert_eq!(lines[1][..2], ["localhost:5000/b", "-"]);
        image.tags.clear();
        assert_eq!(rows(&image)[0][..2], ["quay.io/c", "-"]);
    }
}
