//! A picture of the ratios, as SVG. Pure.

use std::fmt::Write;

use super::figures::Figures;

const ROW: f64 = 26.0;
const LEFT: f64 = 330.0;
const WIDTH: f64 = 460.0;
/// Where a bar ends that would be longer.
const MOST: f64 = 2.0;

/// A bar a figure: what the first subject takes of what the last one does. The line is where they are equal.
pub(crate) fn ratios(figures: &Figures) -> String {
    let ratios = figures.ratios();
    let (ours, theirs) = figures.compared().unwrap_or_default();
    let height = 60.0 + ROW * ratios.len() as f64;
    let (full, one) = (LEFT + WIDTH + 70.0, LEFT + WIDTH / MOST);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{full}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">{} measured by {} = 1; a shorter bar is better</text>\n",
        escaped(ours),
        escaped(theirs)
    );
    for (n, (name, ratio)) in ratios.iter().enumerate() {
        let y = 44.0 + ROW * n as f64;
        let length = WIDTH * ratio.clamp(0.0, MOST) / MOST;
        let color = if *ratio <= 1.0 { "#3a7d44" } else { "#b3541e" };
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"16\" fill=\"{color}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.0}\">{ratio:.2}</text>\n",
            LEFT - 10.0,
            y + 13.0,
            escaped(name),
            y,
            LEFT + length + 6.0,
            y + 13.0,
        );
    }
    let _ = write!(
        svg,
        "<line x1=\"{one}\" x2=\"{one}\" y1=\"36\" y2=\"{:.0}\" stroke=\"#333\" stroke-dasharray=\"4 3\"/>\n</svg>\n",
        height - 12.0
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
