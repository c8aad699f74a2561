//! Templates of network configurations: a small part of Go's text/template, as other runtimes take them.
//!
//! The data are `.PodCIDR` (the first network), `.PodCIDRRanges` (all) and `.Routes` (a default route for each
//! family). The actions are these values, `{{range [$i,] [$v :=] LIST}}`, `{{if VALUE}}`, `{{else}}`, `{{end}}`,
//! comments, and `{{-` and `-}}`, which take white space away. Anything else is an error that names it: half of a
//! network configuration is none. Pure.

use std::collections::BTreeMap;

use super::result::IpPrefix;

/// Largest template, and largest text that one makes.
pub const TEXT_MAX: usize = 1 << 20;
/// Most blocks in one another.
const DEPTH_MAX: usize = 16;
/// Most actions carried out: lists in lists multiply.
const STEPS_MAX: usize = 100_000;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is too large, or makes too much.
    #[error("is or makes more than {TEXT_MAX} bytes, or takes more than {STEPS_MAX} steps")]
    TooLarge,
    /// An action has no end.
    #[error("line {0}: {{{{ without }}}}")]
    Open(usize),
    /// An action that is not known here.
    #[error(
        "line {line}: {action:?} is not understood; there are .PodCIDR, .PodCIDRRanges, .Routes, range, if, else, end, variables of a range and comments"
    )]
    Unknown {
        /// Where.
        line: usize,
        /// What it says.
        action: String,
    },
    /// A block that is not closed.
    #[error("line {0}: the block has no {{{{end}}}}")]
    NoEnd(usize),
    /// An end or else without a block.
    #[error("line {line}: {action:?} without a block to belong to")]
    NoBlock {
        /// Where.
        line: usize,
        /// What it says.
        action: String,
    },
    /// Blocks too deep in one another.
    #[error("line {0}: more than {DEPTH_MAX} blocks in one another")]
    TooDeep(usize),
    /// A variable that no range around it has.
    #[error("line {line}: there is no variable {name}")]
    NoVariable {
        /// Where.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A value where a list is needed, or the other way round.
    #[error("line {line}: {what} is {is}")]
    Kind {
        /// Where.
        line: usize,
        /// As written.
        what: String,
        /// What it is instead.
        is: &'static str,
    },
}

/// What templates can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    ranges: Vec<String>,
    routes: Vec<String>,
}

impl Data {
    /// The values for a node whose pods have their addresses from `cidrs`.
    pub fn new(cidrs: &[IpPrefix]) -> Self {
        let default = [(true, "0.0.0.0/0"), (false, "::/0")];
        Self {
            ranges: cidrs.iter().map(ToString::to_string).collect(),
            routes: default
                .into_iter()
                .filter(|(v4, _)| cidrs.iter().any(|c| c.address.is_ipv4() == *v4))
                .map(|(_, route)| route.to_owned())
                .collect(),
        }
    }
}

/// A value of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Dot,
    First,
    Ranges,
    Routes,
    Variable(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Print(usize, Value),
    If(usize, Value, Vec<Node>, Vec<Node>),
    Range {
        line: usize,
        index: Option<String>,
        item: Option<String>,
        list: Value,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    nodes: Vec<Node>,
}

/// A piece of the source.
enum Piece<'a> {
    Text(&'a str),
    Action(usize, &'a str),
}

impl Template {
    /// Reads a template.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEXT_MAX {
            return Err(TemplateError::TooLarge);
        }
        let mut pieces = pieces(source)?.into_iter();
        let (nodes, end) = block(&mut pieces, 0)?;
        match end {
            None => Ok(Self { nodes }),
            Some((line, action)) => Err(TemplateError::NoBlock {
                line,
                action: action.to_owned(),
            }),
        }
    }

    /// The text it makes of `data`.
    pub fn render(&self, data: &Data) -> Result<String, TemplateError> {
        let mut run = Run {
            data,
            out: String::new(),
            steps: 0,
            variables: BTreeMap::new(),
        };
        run.nodes(&self.nodes, None)?;
        Ok(run.out)
    }
}

/// Cuts the source into text and actions, and takes white space away where an action says so.
fn pieces(source: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trim) = (source, 1, false);
    loop {
        let (text, after) = match rest.split_once("{{") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        let trim_end = after.is_some_and(|a| {
            a.starts_with('-') && a[1..].starts_with(|c: char| c.is_ascii_whitespace())
        });
        let lines = text.matches('\n').count();
        let mut shown = text;
        if trim {
            shown = shown.trim_start();
        }
        if trim_end {
            shown = shown.trim_end();
        }
        if !shown.is_empty() {
            pieces.push(Piece::Text(shown));
        }
        line += lines;
        let Some(after) = after else {
            return Ok(pieces);
        };
        let inside = if trim_end { &after[1..] } else { after };
        let (action, after) = inside.split_once("}}").ok_or(TemplateError::Open(line))?;
        let body = action.strip_suffix('-').filter(|body| {
            body.is_empty() && trim_end || body.ends_with(|c: char| c.is_ascii_whitespace())
        });
        trim = body.is_some();
        pieces.push(Piece::Action(line, body.unwrap_or(action).trim()));
        line += action.matches('\n').count();
        rest = after;
    }
}

/// What ended a block: the line and the action, `end` or `else`.
type Ending<'a> = Option<(usize, &'a str)>;

fn block<'a>(
    pieces: &mut std::vec::IntoIter<Piece<'a>>,
    depth: usize,
) -> Result<(Vec<Node>, Ending<'a>), TemplateError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let (line, action) = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text.to_owned()));
                continue;
            }
            Piece::Action(line, action) => (line, action),
        };
        if action.starts_with("/*") && action.len() >= 4 && action.ends_with("*/") {
            continue;
        }
        let (word, rest) = action
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((action, ""));
        let rest = rest.trim();
        match word {
            "end" | "else" if rest.is_empty() => return Ok((nodes, Some((line, action)))),
            "if" => {
                let value = value(line, rest)?;
                let (then, otherwise) = branches(pieces, line, depth)?;
                nodes.push(Node::If(line, value, then, otherwise));
            }
            "range" => {
                let (index, item, list) = range(line, action, rest)?;
                let (body, otherwise) = branches(pieces, line, depth)?;
                nodes.push(Node::Range {
                    line,
                    index,
                    item,
                    list,
                    body,
                    otherwise,
                });
            }
            _ => nodes.push(Node::Print(line, value(line, action)?)),
        }
    }
    Ok((nodes, None))
}

/// The body of a block and what stands behind its `else`.
fn branches(
    pieces: &mut std::vec::IntoIter<Piece<'_>>,
    line: usize,
    depth: usize,
) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
    if depth >= DEPTH_MAX {
        return Err(TemplateError::TooDeep(line));
    }
    let (then, ending) = block(pieces, depth + 1)?;
    match ending {
        None => Err(TemplateError::NoEnd(line)),
        Some((_, "end")) => Ok((then, Vec::new())),
        Some(_) => match block(pieces, depth + 1)? {
            (otherwise, Some((_, "end"))) => Ok((then, otherwise)),
            (_, Some((line, action))) => Err(TemplateError::NoBlock {
                line,
                action: action.to_owned(),
            }),
            (_, None) => Err(TemplateError::NoEnd(line)),
        },
    }
}

type Header = (Option<String>, Option<String>, Value);

fn range(line: usize, action: &str, rest: &str) -> Result<Header, TemplateError> {
    let Some((names, list)) = rest.split_once(":=") else {
        return Ok((None, None, value(line, rest)?));
    };
    let unknown = || TemplateError::Unknown {
        line,
        action: action.chars().take(80).collect(),
    };
    let name = |text: &str| match text.trim() {
        name if is_variable(name) => Ok(name.to_owned()),
        _ => Err(unknown()),
    };
    let (index, item) = match names.split_once(',') {
        Some((index, item)) => (Some(name(index)?), name(item)?),
        None => (None, name(names)?),
    };
    Ok((index, Some(item), value(line, list.trim())?))
}

fn value(line: usize, text: &str) -> Result<Value, TemplateError> {
    Ok(match text {
        "." => Value::Dot,
        ".PodCIDR" | "$.PodCIDR" => Value::First,
        ".PodCIDRRanges" | "$.PodCIDRRanges" => Value::Ranges,
        ".Routes" | "$.Routes" => Value::Routes,
        name if is_variable(name) => Value::Variable(name.to_owned()),
        _ => {
            return Err(TemplateError::Unknown {
                line,
                action: text.chars().take(80).collect(),
            });
        }
    })
}

/// `$` and a word.
fn is_variable(text: &str) -> bool {
    let word = text.strip_prefix('$').unwrap_or_default();
    !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !word.starts_with(|c: char| c.is_ascii_digit())
}

/// One rendering.
struct Run<'a> {
    data: &'a Data,
    out: String,
    steps: usize,
    variables: BTreeMap<&'a str, String>,
}

/// What a value is.
enum Found<'a> {
    One(String),
    Many(&'a [String]),
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: Option<&'a str>) -> Result<(), TemplateError> {
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(TemplateError::TooLarge);
            }
            match node {
                Node::Text(text) => self.print(text)?,
                Node::Print(line, value) => match self.find(*line, value, dot)? {
                    Found::One(text) => self.print(&text)?,
                    Found::Many(_) => return Err(kind(*line, value, "a list; use range")),
                },
                Node::If(line, value, then, otherwise) => {
                    let holds = match self.find(*line, value, dot)? {
                        // The first element's index is as good as nothing.
                        Found::One(text) => !text.is_empty() && text != "0",
                        Found::Many(list) => !list.is_empty(),
                    };
                    self.nodes(if holds { then } else { otherwise }, dot)?;
                }
                Node::Range {
                    line,
                    index,
                    item,
                    list,
                    body,
                    otherwise,
                } => {
                    let Found::Many(all) = self.find(*line, list, dot)? else {
                        return Err(kind(*line, list, "no list"));
                    };
                    if all.is_empty() {
                        self.nodes(otherwise, dot)?;
                    }
                    let outer = self.variables.clone();
                    for (i, one) in all.iter().enumerate() {
                        if let Some(index) = index {
                            self.variables.insert(index, i.to_string());
                        }
                        if let Some(item) = item {
                            self.variables.insert(item, one.clone());
                        }
                        self.nodes(body, Some(one))?;
                    }
                    self.variables = outer;
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.out.len() + text.len() > TEXT_MAX {
            return Err(TemplateError::TooLarge);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn find(
        &self,
        line: usize,
        value: &Value,
        dot: Option<&str>,
    ) -> Result<Found<'a>, TemplateError> {
        Ok(match value {
            Value::Dot => Found::One(
                dot.ok_or_else(|| kind(line, value, "all data; name one of them"))?
                    .to_owned(),
            ),
            Value::First => Found::One(self.data.ranges.first().cloned().unwrap_or_default()),
            Value::Ranges => Found::Many(&self.data.ranges),
            Value::Routes => Found::Many(&self.data.routes),
            Value::Variable(name) => {
                let value = self.variables.get(name.as_str());
                Found::One(value.cloned().ok_or_else(|| TemplateError::NoVariable {
                    line,
                    name: name.clone(),
                })?)
            }
        })
    }
}

fn kind(line: usize, value: &Value, is: &'static str) -> TemplateError {
    let what = match value {
        Value::Dot => ".",
        Value::First => ".PodCIDR",
        Value::Ranges => ".PodCIDRRanges",
        Value::Routes => ".Routes",
        Value::Variable(name) => name,
    };
    TemplateError::Kind {
        line,
        what: what.to_owned(),
        is,
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
