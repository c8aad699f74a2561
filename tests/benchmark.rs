//! Parts of the benchmark, which has no tests of its own.

#[path = "bench/instructions.rs"]
mod instructions;
#[path = "bench/plot.rs"]
mod plot;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use instructions::Count;
use perf_event::events::{Hardware, Software};
use plot::{Run, draw};
use serde_json::json;

/// A run of two subjects with one figure.
fn run(name: &str, ours: f64, theirs: f64, more_is_better: bool) -> Run {
    let run = json!({"subjects": [name, "peer"], "figures": [
        {"figure": name, "unit": "ms", "more_is_better": more_is_better,
         "samples": [[ours], [theirs]], "medians": [ours, theirs]}]});
    Run::read(&run.to_string()).unwrap()
}

/// The elements of a document, and the text in and between them.
fn elements(svg: &str) -> Vec<&str> {
    let begun = svg.split('<').skip(1);
    begun
        .filter(|element| !element.starts_with('/'))
        .map(|element| element.split([' ', '>']).next().unwrap())
        .collect()
}

#[test]
fn a_bar_is_as_long_as_its_ratio() {
    let half = draw(&[run("half", 5.0, 10.0, false)]).unwrap();
    assert!(
        half.contains("width=\"200.0\"") && half.contains(">0.50</text>"),
        "{half}"
    );
    // Twice as many a second is half the cost.
    let rate = draw(&[run("rate", 20.0, 10.0, true)]).unwrap();
    assert!(rate.contains("width=\"200.0\""), "{rate}");
    let small = draw(&[run("small", 0.017, 1.0, false)]).unwrap();
    assert!(
        small.contains("width=\"6.8\"") && small.contains(">0.017</text>"),
        "{small}"
    );
    let long = draw(&[run("long", 30.0, 10.0, false)]).unwrap();
    assert!(
        long.contains("width=\"480.0\"") && long.contains(">3.00 →</text>"),
        "{long}"
    );
}

#[test]
fn runs_share_the_figures_they_have() {
    let mut first = run("first", 1.0, 2.0, false);
    first.ratios.push(("both".into(), 0.25));
    let mut second = run("second", 1.0, 2.0, false);
    second.ratios.push(("both".into(), 0.75));
    let svg = draw(&[first, second]).unwrap();
    assert_eq!(svg.matches(">both</text>").count(), 1);
    for length in ["100.0", "300.0"] {
        assert!(svg.contains(&format!("width=\"{length}\"")), "{svg}");
    }
    // Four bars, two of the legend, the ground.
    assert_eq!(svg.matches("<rect ").count(), 4 + 2 + 1);
}

#[test]
fn names_are_text() {
    let name = "<script href=\"x\">&\u{0}</script>".to_owned() + &"long".repeat(50);
    let svg = draw(&[run(&name, 1.0, 2.0, false)]).unwrap();
    let known = ["svg", "title", "rect", "text", "line"];
    for element in elements(&svg) {
        assert!(known.contains(&element), "{element}");
    }
    assert!(
        svg.contains("&lt;script href=&quot;x&quot;&gt;&amp;?&lt;/script&gt;long"),
        "{svg}"
    );
    assert!(!svg.contains(&"long".repeat(20)) && svg.contains('…'));
}

#[test]
fn what_is_no_run_is_refused_by_name() {
    let why = |text: &str| Run::read(text).unwrap_err();
    assert!(why("{").contains("EOF"));
    assert_eq!(why("{}"), "subjects: is no list");
    assert_eq!(
        why(r#"{"subjects": ["one"]}"#),
        "subjects: are not two names or more"
    );
    let figures = |figures: serde_json::Value| {
        why(&json!({"subjects": ["a", "b"], "figures": figures}).to_string())
    };
    assert_eq!(figures(json!(1)), "figures: is no list");
    assert_eq!(
        figures(json!([{"figure": 1}])),
        "figures[0].figure: is no text"
    );
    let one = json!({"figure": "x", "medians": [1, 2]});
    assert_eq!(
        figures(json!([one, {"figure": "x"}])),
        "figures[1].medians: is no list"
    );
    assert_eq!(
        figures(json!(vec![one; 65])),
        "figures: are 65, of 64 at most"
    );
    assert!(draw(&[]).is_err());
    assert!(draw(&vec![run("x", 1.0, 2.0, false); 5]).is_err());
}

#[test]
fn what_one_subject_lacks_is_left_out() {
    let run = json!({"subjects": ["a", "b"], "figures": [
        {"figure": "lacking", "medians": [1.0, null]}, {"figure": "there", "medians": [1.0, 4.0]},
        {"figure": "nothing", "medians": [0.0, 0.0]}]});
    let run = Run::read(&run.to_string()).unwrap();
    assert_eq!(run.ratios, [("there".to_owned(), 0.25)]);
}

/// The runs in the documentation, by the names that the benchmark gives them when it draws them together.
#[test]
fn the_plot_in_the_documentation_is_of_its_figures() {
    let runs = [
        (
            "own-runtime",
            include_str!("../docs/performance/own-runtime.json"),
        ),
        ("runc", include_str!("../docs/performance/runc.json")),
    ];
    let runs = runs.map(|(stem, json)| {
        let mut run = Run::read(json).unwrap();
        run.name = format!("{}, {stem}", run.name);
        run
    });
    let drawn = draw(&runs).unwrap();
    let again = "contrib/bench --draw docs/performance/*.json --plot docs/performance/ratios.svg";
    assert!(
        drawn == include_str!("../docs/performance/ratios.svg"),
        "draw it anew: {again}"
    );
}

#[test]
fn all_that_a_process_starts_is_counted() {
    let mut shell = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
    let mut script = shell.stdin.take().unwrap();
    // What needs no counter of the processor's, and programs do by being started.
    let faults = Software::PAGE_FAULTS;
    let mut count = Count::begin(shell.id().cast_signed(), faults).unwrap();
    let before = count.read().unwrap();
    assert!(before < 1000.0, "{before}");
    script
        .write_all(b"for n in 0 1 2 3 4 5 6 7 8 9; do sh -c 'ls / >/dev/null; true'; done\n")
        .unwrap();
    drop(script);
    assert!(shell.wait().unwrap().success());
    let all = count.read().unwrap();
    // Of twenty processes.
    assert!((500.0..100_000.0).contains(&all), "{before}, {all}");
}

#[test]
fn instructions_are_counted_or_it_is_said_that_they_are_not() {
    let own = std::process::id().cast_signed();
    match Count::begin(own, Hardware::INSTRUCTIONS) {
        Ok(mut count) => {
            let sum: u64 = (0..std::hint::black_box(1_000_000_u64)).sum();
            assert!(std::hint::black_box(sum) > 0);
            let counted = count.read().unwrap();
            assert!(counted > 1_000_000.0, "{counted}");
        }
        Err(error) => assert!(
            ["No such file", "not supported", "No such device"]
                .iter()
                .any(|words| error.to_string().contains(words)),
            "{error}"
        ),
    }
}
