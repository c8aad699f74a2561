//! Showing how far a pull is: a bar for each layer on a terminal, lines elsewhere.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    output::{printable, short},
    time::bytes,
};
use crate::cri::control_api::{Layer, LayerState};

/// Where progress is shown.
pub(super) enum Progress {
    /// A terminal.
    Bars {
        /// All of them.
        all: MultiProgress,
        /// By the layer's digest.
        layers: HashMap<String, ProgressBar>,
    },
    /// A file or a pipe: what has happened, not how far it is.
    Lines {
        /// The last state told of each layer.
        told: HashMap<String, LayerState>,
    },
    /// Nowhere.
    Quiet,
}

impl Progress {
    /// Progress on stderr.
    pub(super) fn new(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                layers: HashMap::new(),
            },
            (false, false) => Self::Lines {
                told: HashMap::new(),
            },
        }
    }

    /// A pull begins.
    pub(super) fn begin(&mut self, image: &str) {
        let text = format!("Pulling {}", printable(image));
        match self {
            Self::Bars { all, .. } => {
                let _ = all.println(&text);
            }
            Self::Lines { .. } => say(&text),
            Self::Quiet => {}
        }
    }

    /// A layer moved on.
    pub(super) fn layer(&mut self, layer: &Layer) {
        match self {
            Self::Bars { all, layers } => {
                let bar = layers.entry(layer.digest.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(layer.size));
                    bar.set_style(style());
                    bar.set_prefix(printable(short(&layer.digest)));
                    bar
                });
                update(bar, layer);
            }
            Self::Lines { told } => {
                let last = told.insert(layer.digest.clone(), layer.state());
                if last != Some(layer.state())
                    && let Some(text) = line(layer)
                {
                    say(&text);
                }
            }
            Self::Quiet => {}
        }
    }
}

impl Drop for Progress {
    /// Bars that are not done keep their last state, so that a failure shows where it happened.
    fn drop(&mut self) {
        if let Self::Bars { layers, .. } = self {
            layers.values().for_each(ProgressBar::abandon);
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("  {prefix}  {bar:30}  {bytes:>11} / {total_bytes:<11} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn update(bar: &ProgressBar, layer: &Layer) {
    bar.set_length(layer.size.max(layer.transferred));
    bar.set_position(layer.transferred);
    bar.set_message(match layer.state() {
        LayerState::Waiting => "waiting",
        LayerState::Pulling => "",
        LayerState::Unpacking => "unpacking",
        LayerState::Done | LayerState::Present => {
            bar.set_position(bar.length().unwrap_or(layer.size));
            match layer.state() {
                LayerState::Present => "already here",
                _ => "done",
            }
        }
    });
}

fn line(layer: &Layer) -> Option<String> {
    let name = printable(short(&layer.digest));
    match layer.state() {
        LayerState::Done => Some(format!("  {name}  {}  done", bytes(layer.size))),
        LayerState::Present => Some(format!("  {name}  {}  already here", bytes(layer.size))),
        LayerState::Waiting | LayerState::Pulling | LayerState::Unpacking => None,
    }
}

fn say(text: &str) {
    // Progress that nobody can read is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(state: LayerState, transferred: u64) -> Layer {
        Layer {
            digest: "sha256:0123456789abcdef".into(),
            state: state.into(),
            transferred,
            size: 2048,
        }
    }

    #[test]
    fn lines_tell_what_has_happened() {
        assert_eq!(line(&layer(LayerState::Pulling, 7)), None);
        assert_eq!(
            line(&layer(LayerState::Done, 2048)).unwrap(),
            "  0123456789abc  2.0 KiB  done"
        );
    }

    #[test]
    fn bars_follow_the_layer() {
        let bar = ProgressBar::hidden();
        update(&bar, &layer(LayerState::Pulling, 7));
        assert_eq!((bar.position(), bar.length()), (7, Some(2048)));
        update(&bar, &layer(LayerState::Present, 0));
        assert_eq!(
            (bar.position(), bar.message().as_str()),
            (2048, "already here")
        );
    }
}
