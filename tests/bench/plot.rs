//! A picture of what was measured, as SVG: a bar a figure and run, as long as what the first subject takes of what the last one
//! does. Pure.

use std::fmt::Write;

use serde_json::Value;

/// What one run says of its first subject and its last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// What is measured.
    pub(crate) name: String,
    /// What by.
    pub(crate) peer: String,
    /// By figure, what the first takes of what the last does: below 1 is better, whichever way the figure is.
    pub(crate) ratios: Vec<(String, f64)>,
}

/// Most runs in a picture, and figures of one.
const RUNS_MAX: usize = 4;
const FIGURES_MAX: usize = 64;
/// Most characters of a name.
const NAME_MAX: usize = 48;

impl Run {
    /// Reads what `--json` writes. Figures that either subject lacks are left out.
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let run: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let subjects = run["subjects"].as_array().ok_or("subjects: is no list")?;
        let (Some(name), Some(peer), true) = (
            subjects.first().and_then(Value::as_str),
            subjects.last().and_then(Value::as_str),
            subjects.len() > 1,
        ) else {
            return Err("subjects: are not two names or more".into());
        };
        let figures = run["figures"].as_array().ok_or("figures: is no list")?;
        if figures.len() > FIGURES_MAX {
            return Err(format!(
                "figures: are {}, of {FIGURES_MAX} at most",
                figures.len()
            ));
        }
        let mut ratios = Vec::new();
        for (n, figure) in figures.iter().enumerate() {
            let name = figure["figure"].as_str();
            let name = name.ok_or_else(|| format!("figures[{n}].figure: is no text"))?;
            let medians = figure["medians"].as_array();
            let medians = medians.ok_or_else(|| format!("figures[{n}].medians: is no list"))?;
            let (Some(ours), Some(theirs)) = (
                medians.first().and_then(Value::as_f64),
                medians.last().and_then(Value::as_f64),
            ) else {
                continue;
            };
            let ratio = match figure["more_is_better"].as_bool() {
                Some(true) => theirs / ours,
                _ => ours / theirs,
            };
            if ratio.is_finite() {
                ratios.push((name.to_owned(), ratio));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            peer: peer.to_owned(),
            ratios,
        })
    }
}

/// Where bars begin, and how long one of ratio 1 is.
const LEFT: f64 = 350.0;
const ONE: f64 = 400.0;
/// Where a bar ends that would be longer.
const LONGEST: f64 = 1.2;
const RIGHT: f64 = LEFT + ONE * LONGEST + 60.0;
/// A bar with what is between it and the next, and what is between figures.
const BAR: f64 = 12.0;
const GAP: f64 = 9.0;
const COLORS: [&str; RUNS_MAX] = ["#1b6ca8", "#e08a1e", "#4a9d5b", "#8a5a9e"];

/// The picture of some runs: a group of bars for each figure of any of them.
pub(crate) fn draw(runs: &[Run]) -> Result<String, String> {
    if runs.is_empty() || runs.len() > RUNS_MAX {
        return Err(format!(
            "{} runs; from 1 to {RUNS_MAX} can be drawn",
            runs.len()
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|run| &run.ratios) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let top = 52.0 + 20.0 * runs.len() as f64;
    let group = BAR * runs.len() as f64 + GAP;
    let bottom = top + group * names.len() as f64;
    let height = bottom + 34.0;
    let mut svg = String::new();
    let peer = escaped(&runs[0].peer);
    line(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {RIGHT} {height}\" \
         width=\"{RIGHT}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>What is taken of what {peer} takes</title>\n\
         <rect width=\"{RIGHT}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"14\" y=\"26\" font-size=\"16\">Taken of what {peer} takes: shorter is better</text>"
        ),
    );
    for (n, run) in runs.iter().enumerate() {
        let y = 40.0 + 20.0 * n as f64;
        line(
            &mut svg,
            format_args!(
                "<rect x=\"14\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n\
             <text x=\"32\" y=\"{}\">{}</text>",
                COLORS[n],
                y + 11.0,
                escaped(&run.name),
            ),
        );
    }
    scale(&mut svg, top, bottom);
    for (n, name) in names.iter().enumerate() {
        let y = top + group * n as f64;
        line(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 10.0,
                y + (group - GAP) / 2.0 + 4.5,
                escaped(name)
            ),
        );
        for (at, run) in runs.iter().enumerate() {
            if let Some((_, ratio)) = run.ratios.iter().find(|(of, _)| of == name) {
                bar(&mut svg, y + BAR * at as f64, *ratio, COLORS[at]);
            }
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Lines at quarters; the one that counts is where both take the same.
fn scale(svg: &mut String, top: f64, bottom: f64) {
    for (part, label) in [(0.25, "¼"), (0.5, "½"), (0.75, "¾"), (1.0, "the same")] {
        let x = LEFT + ONE * part;
        let stroke = match part {
            1.0 => "stroke=\"#b3261e\" stroke-width=\"1.5\"",
            _ => "stroke=\"#ccc\" stroke-dasharray=\"3 3\"",
        };
        line(
            svg,
            format_args!(
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{bottom}\" {stroke}/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>",
                top - 4.0,
                bottom + 17.0,
            ),
        );
    }
}

fn bar(svg: &mut String, y: f64, ratio: f64, color: &str) {
    let length = (ONE * ratio.clamp(0.0, LONGEST)).max(1.0);
    let beyond = if ratio > LONGEST { " →" } else { "" };
    let digits = if ratio < 0.1 { 3 } else { 2 };
    line(
        svg,
        format_args!(
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{}\" fill=\"{color}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\">{ratio:.digits$}{beyond}</text>",
            BAR - 1.0,
            LEFT + length + 5.0,
            y + BAR - 2.5,
        ),
    );
}

fn line(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = writeln!(svg, "{text}");
}

/// A name as the text of an element: nothing in it is markup, and it is not too long.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for (n, char) in name.chars().enumerate() {
        if n == NAME_MAX {
            text.push('…');
            break;
        }
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            // Not even as an entity may they be in a document.
            char if char.is_control() => text.push('?'),
            char => text.push(char),
        }
    }
    text
}
