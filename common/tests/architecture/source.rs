//! Just enough of Rust to see which paths a file names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path as FilePath, PathBuf},
};

/// The names of a path: `crate::db::begin` is `["crate", "db", "begin"]`, or without its beginning where it is absolute.
pub(crate) type Path = Vec<String>;

/// A file of a crate.
pub(crate) struct Module {
    /// Its path below the crate's root.
    pub(crate) path: Path,
    /// Its code, without comments, texts and tests.
    pub(crate) code: String,
}

impl Module {
    pub(crate) fn name(&self) -> String {
        self.path.join("::")
    }

    /// The module right below the crate's root that it belongs to.
    pub(crate) fn room(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// What `path` means here, below the crate's root; `None` if it leads out of the crate.
    pub(crate) fn absolute(&self, path: &Path, known: &BTreeSet<Path>) -> Option<Path> {
        if path.len() < 2 {
            return None;
        }
        let mut base = self.path.clone();
        let mut names = path.iter().peekable();
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                names.next();
            }
            "self" => {
                names.next();
            }
            "super" => {}
            child => {
                let mut here = base.clone();
                here.push(child.to_owned());
                if !known.contains(&here) {
                    return None;
                }
            }
        }
        while names.next_if(|name| *name == "super").is_some() {
            base.pop();
        }
        base.extend(names.filter(|name| *name != "self").cloned());
        Some(base)
    }
}

/// The module that has what `path` names, wherever it is passed on.
pub(crate) fn home(
    mut path: Path,
    passed_on: &BTreeMap<Path, Path>,
    known: &BTreeSet<Path>,
) -> Path {
    let mut tail = Path::new();
    while !path.is_empty() && !known.contains(&path) {
        if let Some(target) = passed_on.get(&path) {
            path.clone_from(target);
            path.extend(tail.drain(..).rev());
        } else {
            tail.extend(path.pop());
        }
    }
    path
}

/// All modules below `src` that are not tests.
pub(crate) fn modules(src: &FilePath) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut folders = vec![(src.to_owned(), Path::new())];
    while let Some((folder, path)) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let file: PathBuf = entry.unwrap().path();
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut path = path.clone();
            if !matches!(stem.as_str(), "mod" | "lib" | "main") {
                path.push(stem.clone());
            }
            if file.is_dir() {
                folders.push((file, path));
            } else if file.extension().is_some_and(|kind| kind == "rs") && stem != "tests" {
                let code = code(&fs::read_to_string(&file).unwrap());
                modules.push(Module { path, code });
            }
        }
    }
    modules
}

/// `text` without comments, texts in quotes, and the tests at its end.
pub(crate) fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '\'' if rest.starts_with("'\"'") => 3,
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_text(rest),
            '"' => quoted(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the text in quotes that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// The length of the raw text that `rest` begins with, or 0 if it is something else.
fn raw_text(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 2;
    rest[body..]
        .find(&end)
        .map_or(rest.len(), |at| body + at + end.len())
}

/// The paths that some code names.
#[derive(Default)]
pub(crate) struct Uses {
    /// All but those that are only passed on.
    pub(crate) paths: Vec<Path>,
    /// Those that are passed on, with `pub use`.
    pub(crate) passed_on: Vec<Path>,
}

impl Uses {
    pub(crate) fn of(code: &str) -> Self {
        let tokens = tokens(code);
        let mut uses = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let public = public_use(&tokens[at..]);
            at += public;
            let begins = is_name(tokens[at]) && (at == 0 || tokens[at - 1] != ".");
            if begins {
                let into = if public > 0 {
                    &mut uses.passed_on
                } else {
                    &mut uses.paths
                };
                at += path(&tokens[at..], &Path::new(), into);
            } else {
                at += 1;
            }
        }
        uses
    }

    pub(crate) fn names_crate(&self, name: &str) -> bool {
        let mut all = self.paths.iter().chain(&self.passed_on);
        all.any(|path| path[0] == name)
    }
}

/// How many tokens of a `pub use` the code begins with.
fn public_use(tokens: &[&str]) -> usize {
    match tokens {
        ["pub", "use", _, ..] => 2,
        ["pub", "(", _, ")", "use", _, ..] => 5,
        _ => 0,
    }
}

/// Reads a path with all its branches in `{}`, and returns how many tokens it has.
fn path(tokens: &[&str], before: &Path, into: &mut Vec<Path>) -> usize {
    let mut names = before.clone();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(&"{") if at > 0 => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at += path(&tokens[at..], &names, into).max(1);
                }
                return at + 1;
            }
            Some(name) if is_name(name) || *name == "*" => names.push((*name).to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if names.len() > before.len() {
        names.retain(|name| name != "*");
        into.push(names);
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_part(first) {
            rest.find(|c| !is_part(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}
