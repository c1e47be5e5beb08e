//! The house rules, checked on the parsed sources: rooms depend in one direction, files form no
//! cycle, the core is pure, and type names are unique.

#![cfg(not(target_family = "wasm"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The files of `src`, by module path such as `gate::decide::limits`.
struct Sources {
    files: BTreeMap<String, SourceFile>,
}

struct SourceFile {
    path: PathBuf,
    text: String,
    syntax: syn::File,
    /// Names that this module imports or re-exports, with the full path that each stands for.
    names: BTreeMap<String, Vec<String>>,
}

/// Folders of the core: no clock, no IO, no randomness, no JavaScript.
const CORE: [&str; 8] = ["model", "resolve", "flags", "identity", "ledger", "gate", "wire", "control"];

/// The rooms, lowest first. A room may use the rooms listed beside it.
const ROOMS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("resolve", &["model"]),
    ("flags", &["model", "resolve"]),
    ("identity", &["model", "resolve"]),
    ("ledger", &["model"]),
    ("gate", &["model", "resolve", "flags", "identity", "ledger"]),
    ("realtime", &["model", "ledger", "gate"]),
    ("wire", &["model", "resolve", "flags", "identity", "ledger", "gate", "realtime"]),
    ("control", &["model", "resolve", "flags", "identity", "ledger", "gate", "wire"]),
    ("worker", &["model", "resolve", "flags", "identity", "ledger", "gate", "realtime", "wire", "control"]),
    ("npm", &["model", "resolve", "flags", "identity", "ledger", "gate", "wire", "control"]),
];

/// The floors inside a room, lowest first. A floor may use only itself and floors below it. Files
/// that are not listed stand on the top floor.
const FLOORS: [(&str, &[&str]); 2] = [
    (
        "gate",
        &["code", "need", "compiled", "answer", "cache", "ask", "cx", "spend", "decide", "gate", "metering", "local"],
    ),
    (
        "worker",
        &[
            "runtime",
            "assertion",
            "config",
            "isolate",
            "http",
            "sources",
            "ledger",
            "gateway",
            "api",
            "realtime",
            "embedded",
            "admin",
            "router",
            "handlers",
        ],
    ),
];

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut open = vec![root.clone()];
        let mut files = BTreeMap::new();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let syntax = syn::parse_file(&text).unwrap();
                let module = module_of(path.strip_prefix(&root).unwrap());
                files.insert(module, SourceFile { path, text, syntax, names: BTreeMap::new() });
            }
        }
        assert!(files.len() > 100, "too few sources: {}", files.len());
        let mut sources = Self { files };
        let names: Vec<_> =
            sources.files.iter().map(|(module, file)| (module.clone(), imports(module, file))).collect();
        for (module, names) in names {
            sources.files.get_mut(&module).unwrap().names = names;
        }
        sources
    }

    /// The file that defines the item at `path`, following re-exports. `None` if another crate
    /// defines it.
    fn file_of(&self, path: &[String]) -> Option<String> {
        let mut module = String::new();
        for (depth, segment) in path.iter().enumerate() {
            let child = if module.is_empty() { segment.clone() } else { format!("{module}::{segment}") };
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            // The segment is an item of `module`, or a name that `module` re-exports.
            let target = self.files.get(&module)?.names.get(segment);
            return match target {
                Some(target) if *target != path[..=depth] => self.file_of(target),
                _ => Some(module),
            };
        }
        Some(module)
    }

    /// The files that each file uses.
    fn uses(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut uses = BTreeMap::new();
        for (module, file) in &self.files {
            let mut paths = Paths { module, found: Vec::new() };
            paths.visit_file(&file.syntax);
            let own = paths.found.iter().filter_map(|path| self.file_of(path)).filter(|other| other != module);
            uses.insert(module.as_str(), own.collect());
        }
        uses
    }
}

fn module_of(path: &Path) -> String {
    let names: Vec<_> = path.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    let names = names.strip_suffix(&["mod".to_owned()]).map_or(names.clone(), <[String]>::to_vec);
    if names == ["lib"] { String::new() } else { names.join("::") }
}

/// The path `segments` in `module`, from the root of the crate. `None` if it is a
/// path into another crate.
fn absolute(module: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = module.split("::").filter(|name| !name.is_empty()).map(String::from).collect();
    let mut rest = segments;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while let Some(tail) = rest.strip_prefix(&["super".to_owned()]) {
                base.pop();
                rest = tail;
            }
        }
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn imports(module: &str, file: &SourceFile) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for item in &file.syntax.items {
        if let syn::Item::Use(item) = item {
            for (path, name) in leaves(&item.tree) {
                // `pub use state::X` names a child module without `self::`.
                let child = || {
                    let own = module.split("::").filter(|name| !name.is_empty()).map(String::from);
                    own.chain(path.iter().cloned()).collect()
                };
                names.insert(name, absolute(module, &path).unwrap_or_else(child));
            }
        }
    }
    names
}

/// The paths of a `use` tree, each with the name that it introduces.
fn leaves(tree: &syn::UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        syn::UseTree::Path(path) => {
            let within = leaves(&path.tree).into_iter();
            within
                .map(|(mut rest, name)| {
                    let own = path.ident.to_string();
                    if rest == ["self"] {
                        return (vec![own.clone()], own);
                    }
                    rest.insert(0, own);
                    (rest, name)
                })
                .collect()
        }
        syn::UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        syn::UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        // `use a::*` uses the module `a`, but introduces no names that this test can follow.
        syn::UseTree::Glob(_) => vec![(Vec::new(), String::new())],
    }
}

/// Collects the paths into this crate. A module that only re-exports another one does not use it.
struct Paths<'a> {
    module: &'a str,
    found: Vec<Vec<String>>,
}

impl Paths<'_> {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.add(&path);
                        path.clear();
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                proc_macro2::TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Group(group) => {
                    self.add(&path);
                    path.clear();
                    self.tokens(group.stream());
                }
                _ => {
                    self.add(&path);
                    path.clear();
                    colons = 0;
                }
            }
        }
        self.add(&path);
    }

    fn add(&mut self, segments: &[String]) {
        // `pub(super)` inside a macro names no item.
        if segments.iter().all(|name| ["crate", "self", "super"].contains(&name.as_str())) {
            return;
        }
        self.found.extend(absolute(self.module, segments));
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (path, _) in leaves(&item.tree) {
            // A facade does not use its own modules by re-exporting them. A re-export of another
            // room is a use.
            let is_private = matches!(item.vis, syn::Visibility::Inherited);
            if is_private || path.first().is_some_and(|first| first == "crate") {
                self.add(&path);
            }
        }
    }

    // `pub(in crate::x)` does not use `x`.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        syn::visit::visit_macro(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Unit tests may use any room.
        let is_test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
        });
        if !is_test {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

#[test]
fn rooms_depend_in_one_direction() {
    let sources = Sources::read();
    for (module, used) in sources.uses() {
        let room = module.split("::").next().unwrap();
        let Some((_, known)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        for other in used {
            let other_room = other.split("::").next().unwrap();
            let allowed = other_room == room || known.contains(&other_room) || other_room.is_empty();
            assert!(allowed, "`{module}` uses `{other}`: `{room}` may use only {known:?}");
        }
    }
}

/// Attributes name paths in strings, such as `serde(with = "crate::x")`, which no parser resolves.
#[test]
fn no_line_of_code_names_a_forbidden_room() {
    for (module, file) in &Sources::read().files {
        let room = module.split("::").next().unwrap();
        let Some((_, known)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        let code = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for (other, _) in ROOMS.iter().filter(|(other, _)| *other != room && !known.contains(other)) {
                assert!(!line.contains(&format!("crate::{other}")), "{}: {line}", file.path.display());
            }
        }
    }
}

#[test]
fn floors_inside_a_room_depend_downwards() {
    let sources = Sources::read();
    for (room, floors) in FLOORS {
        for floor in floors {
            let at = format!("{room}::{floor}");
            assert!(sources.files.contains_key(&at), "there is no floor `{at}`");
        }
        let level = |module: &str| {
            let rest = module.strip_prefix(room)?;
            let name = rest.strip_prefix("::").unwrap_or("").split("::").next().unwrap();
            Some(floors.iter().position(|floor| *floor == name).unwrap_or(floors.len()))
        };
        for (module, used) in sources.uses() {
            let Some(own) = level(module) else { continue };
            for other in used {
                let Some(below) = level(&other) else { continue };
                assert!(below <= own, "`{module}` uses `{other}`, which stands on a higher floor of `{room}`");
            }
        }
    }
}

#[test]
fn files_form_no_cycle() {
    let sources = Sources::read();
    let uses = sources.uses();
    let reach = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = vec![start];
        while let Some(module) = open.pop() {
            for next in uses.get(module).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let circles: Vec<_> = uses
        .keys()
        .filter(|module| reach(module).contains(**module))
        .map(|module| {
            let onward = uses[module].iter().filter(|next| reach(next).contains(*module));
            format!("{module} -> {}", onward.cloned().collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "files in circles:\n{}", circles.join("\n"));
}

/// The types that a file declares, including wasm-bindgen classes and types inside macros.
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.0.push(item.ident.to_string());
    }

    fn visit_foreign_item_type(&mut self, item: &'ast syn::ForeignItemType) {
        self.0.push(item.ident.to_string());
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // Macros such as `document! { pub struct X { … } }`.
        let tokens: Vec<_> = item.tokens.clone().into_iter().map(|token| token.to_string()).collect();
        for pair in tokens.windows(2) {
            if ["struct", "enum", "trait", "type"].contains(&pair[0].as_str())
                && pair[1].starts_with(char::is_uppercase)
            {
                self.0.push(pair[1].clone());
            }
        }
    }
}

#[test]
fn type_names_are_unique() {
    let sources = Sources::read();
    let mut declared: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (module, file) in &sources.files {
        let mut types = Types(Vec::new());
        types.visit_file(&file.syntax);
        for name in types.0 {
            declared.entry(name).or_default().push(module);
        }
    }
    let twice: Vec<_> = declared.iter().filter(|(_, at)| at.len() > 1).collect();
    assert!(twice.is_empty(), "type names that stand twice: {twice:#?}");
}

#[test]
fn the_core_uses_no_clock_io_randomness_or_javascript() {
    const FOREIGN: [&str; 14] = [
        "worker::",
        "js_sys",
        "web_sys",
        "wasm_bindgen",
        "SystemTime",
        "Instant",
        "Utc::now",
        "Local::now",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::env",
        "std::thread",
        "getrandom",
    ];
    for (module, file) in &Sources::read().files {
        if !CORE.contains(&module.split("::").next().unwrap()) {
            continue;
        }
        let code: Vec<_> = file.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        for word in FOREIGN.iter().chain(&["rand::", "RandomState"]) {
            assert!(!code.contains(word), "`{}` uses `{word}`, which is not pure", file.path.display());
        }
    }
}

#[test]
fn every_core_room_forbids_unsafe_code() {
    let sources = Sources::read();
    for room in CORE {
        assert!(sources.files[room].text.contains("#![forbid(unsafe_code)]"), "{room}");
    }
}

#[test]
fn no_local_path_is_committed() {
    for file in Sources::read().files.values() {
        assert!(!file.text.contains("/home/") && !file.text.contains("/root/"), "{}", file.path.display());
    }
}

#[test]
fn comments_are_at_most_100_columns_wide() {
    let mut wide = Vec::new();
    for file in Sources::read().files.values() {
        let mut in_example = false;
        for (number, line) in file.text.lines().enumerate() {
            let text = line.trim_start();
            if !text.starts_with("//") {
                continue;
            }
            if text.trim_start_matches(['/', '!', ' ']).starts_with("```") {
                in_example = !in_example;
            }
            if !in_example && line.chars().count() > 100 {
                wide.push(format!("{}:{}", file.path.display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "comments of more than 100 columns:\n{}", wide.join("\n"));
}
