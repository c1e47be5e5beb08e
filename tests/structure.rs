//! The house: dependencies point one way, the core is pure. This test reads the sources.

#![cfg(not(target_family = "wasm"))]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path).unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            files.push((path, code));
        }
    }
    assert!(!files.is_empty(), "no sources in `{folder}`");
    files
}

fn refuse(folder: &str, words: &[&str]) {
    for (path, code) in sources(folder) {
        for word in words {
            assert!(!code.contains(word), "`{}` says `{word}`, which does not belong in `{folder}`", path.display());
        }
    }
}

const CORE: [&str; 8] = ["model", "resolve", "flags", "identity", "ledger", "gate", "wire", "control"];

#[test]
fn the_core_knows_no_clock_no_io_no_randomness_no_javascript() {
    for folder in CORE {
        refuse(
            folder,
            &[
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
                "rand::",
                "RandomState",
            ],
        );
    }
}

/// Whom each folder may know.
const MAY_KNOW: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("resolve", &["model"]),
    ("flags", &["model", "resolve"]),
    ("identity", &["model", "resolve"]),
    ("ledger", &["model"]),
    ("gate", &["model", "resolve", "flags", "identity", "ledger"]),
    ("wire", &["model", "resolve", "flags", "identity", "ledger", "gate"]),
    ("control", &["model", "resolve", "flags", "identity", "ledger", "gate", "wire"]),
    ("worker", &["model", "resolve", "flags", "identity", "ledger", "gate", "wire", "control"]),
    ("npm", &["model", "resolve", "flags", "identity", "ledger", "gate", "wire", "control"]),
];

#[test]
fn dependencies_point_one_way() {
    for (folder, known) in MAY_KNOW {
        for (other, _) in MAY_KNOW {
            if other != folder && !known.contains(&other) {
                refuse(folder, &[&format!("crate::{other}")]);
            }
        }
    }
}

#[test]
fn every_core_module_forbids_unsafe_code() {
    for folder in CORE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).join("mod.rs");
        assert!(fs::read_to_string(path).unwrap().contains("#![forbid(unsafe_code)]"), "{folder}");
    }
}

#[test]
fn no_generated_or_local_paths_are_committed() {
    for (path, code) in sources("") {
        assert!(!code.contains("/home/") && !code.contains("/root/"), "{}", path.display());
    }
}
