//! Documents that are generated from types and committed.

use std::path::Path;

use serde_json::Value;

/// Compares `document` with the committed file at `path`. If the environment variable `UPDATE` is
/// set, writes the file first.
pub fn committed(path: &str, document: &Value) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = format!("{document:#}\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, &text).unwrap();
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    assert!(found == text, "{path} is out of date: run this test with `UPDATE=1`");
}
