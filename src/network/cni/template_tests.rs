use super::*;
use proptest::prelude::*;

fn data(cidrs: &[&str]) -> Data {
    let cidrs: Vec<IpPrefix> = cidrs.iter().map(|c| c.parse().unwrap()).collect();
    Data::new(&cidrs)
}

fn render(source: &str, cidrs: &[&str]) -> Result<String, TemplateError> {
    Template::parse(source)?.render(&data(cidrs))
}

fn refused(source: &str) -> String {
    render(source, &["10.0.0.0/24"]).unwrap_err().to_string()
}

const TWO: [&str; 2] = ["10.0.0.0/24", "fd00::/64"];

#[test]
fn values_and_lists() {
    for (source, expected) in [
        ("plain", "plain"),
        ("a {{.PodCIDR}} b", "a 10.0.0.0/24 b"),
        ("{{ .PodCIDR }}", "10.0.0.0/24"),
        (
            "{{range .PodCIDRRanges}}<{{.}}>{{end}}",
            "<10.0.0.0/24><fd00::/64>",
        ),
        (
            "{{range $i, $r := .Routes}}{{if $i}}, {{end}}{{$r}}{{end}}",
            "0.0.0.0/0, ::/0",
        ),
        (
            "{{range $r := .Routes}}{{$r}} {{else}}none{{end}}",
            "0.0.0.0/0 ::/0 ",
        ),
        ("{{if .PodCIDR}}yes{{else}}no{{end}}", "yes"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("a\n  {{- .PodCIDR -}}  \n b", "a10.0.0.0/24b"),
        ("{{range .Routes -}}\n {{.}} {{- end}}", "0.0.0.0/0::/0"),
        ("{{range .Routes}}{{if $.PodCIDR}}x{{end}}{{end}}", "xx"),
        ("{{range .Routes}}{{if .}}x{{end}}{{end}}", "xx"),
        ("}} { {", "}} { {"),
    ] {
        assert_eq!(render(source, &TWO).unwrap(), expected, "{source}");
    }
    let none = "{{range .Routes}}x{{else}}none{{end}}{{if .PodCIDR}}y{{else}}z{{end}}";
    assert_eq!(render(none, &[]).unwrap(), "nonez");
}

#[test]
fn a_usual_configuration() {
    let source = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
      "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
      "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]}}]}"#;
    let json: serde_json::Value = serde_json::from_str(&render(source, &TWO).unwrap()).unwrap();
    let ipam = &json["plugins"][0]["ipam"];
    assert_eq!(ipam["ranges"][1][0]["subnet"], "fd00::/64");
    assert_eq!(ipam["routes"][1]["dst"], "::/0");
    let json: serde_json::Value =
        serde_json::from_str(&render(source, &TWO[1..]).unwrap()).unwrap();
    assert_eq!(json["plugins"][0]["ipam"]["routes"][0]["dst"], "::/0");
    assert_eq!(
        json["plugins"][0]["ipam"]["routes"][1],
        serde_json::Value::Null
    );
}

#[test]
fn says_what_is_wrong_and_where() {
    for (source, expected) in [
        ("a\nb {{.PodCIDR", "line 2: {{ without }}"),
        ("{{.PodCidr}}", "line 1: \".PodCidr\" is not understood"),
        ("\n{{printf \"%s\" .}}", "line 2: \"printf"),
        ("{{template \"x\"}}", "line 1: \"template"),
        ("{{}}", "line 1: \"\" is not understood"),
        ("{{range .Routes}}x", "line 1: the block has no {{end}}"),
        (
            "{{if .PodCIDR}}x{{else}}",
            "line 1: the block has no {{end}}",
        ),
        ("{{end}}", "line 1: \"end\" without a block"),
        (
            "{{if .PodCIDR}}{{else}}{{else}}{{end}}",
            "line 1: \"else\" without a block",
        ),
        (
            "{{else if .PodCIDR}}",
            "line 1: \"else if .PodCIDR\" is not",
        ),
        ("{{$x}}", "line 1: there is no variable $x"),
        (
            "{{range $x := .Routes}}{{end}}{{$x}}",
            "line 1: there is no variable $x",
        ),
        ("{{range $1 := .Routes}}{{end}}", "line 1: \"range $1"),
        ("{{.Routes}}", "line 1: .Routes is a list; use range"),
        ("{{range .PodCIDR}}{{end}}", "line 1: .PodCIDR is no list"),
        ("{{.}}", "line 1: . is all data"),
    ] {
        let error = refused(source);
        assert!(error.starts_with(expected), "{source}: {error}");
    }
    let deep = "{{if .PodCIDR}}".repeat(20) + &"{{end}}".repeat(20);
    assert!(refused(&deep).contains("more than 16 blocks"));
}

#[test]
fn growth_is_bounded() {
    let cidrs = ["10.0.0.0/24"; 16];
    let wide = "{{range .PodCIDRRanges}}".repeat(16) + &"{{end}}".repeat(16);
    assert_eq!(render(&wide, &cidrs), Err(TemplateError::TooLarge));
    let long = format!(
        "{{{{range .PodCIDRRanges}}}}{}{{{{end}}}}",
        "x".repeat(TEXT_MAX / 10)
    );
    assert_eq!(render(&long, &cidrs), Err(TemplateError::TooLarge));
    assert_eq!(
        Template::parse(&"x".repeat(TEXT_MAX + 1)),
        Err(TemplateError::TooLarge)
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        parts in prop::collection::vec(prop_oneof![
            Just("{{".to_owned()), Just("}}".to_owned()), Just("-".to_owned()), Just(" ".to_owned()),
            Just("{{range $i, $v := .Routes}}".to_owned()), Just("{{end}}".to_owned()),
            Just("{{else}}".to_owned()), Just("{{if $i}}".to_owned()), Just("{{$v}}".to_owned()),
            "\\PC{0,6}",
        ], 0..24),
    ) {
        let _ = render(&parts.concat(), &TWO);
    }

    #[test]
    fn text_without_actions_is_itself(text in "[^{]{0,80}") {
        prop_assert_eq!(render(&text, &TWO).unwrap(), text);
    }
}
