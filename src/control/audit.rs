//! The audit trail: one append-only chain of entries for each tenant and one for the catalog.
//!
//! An entry is a line of JSON that contains the SHA-256 of the previous line. A few lines of any
//! language therefore verify an exported trail: the hash of every line is the `previous` of the
//! next. Anyone who keeps the last hash detects if an earlier entry is changed, removed or
//! reordered.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::model::{UnixMillis, hex};

/// One entry of an audit trail.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a> {
    /// The chain: a tenant's id, or `catalog`.
    pub chain: &'a str,
    /// The position in the chain, from 1.
    pub number: u64,
    /// The SHA-256 of the previous line, in hexadecimal. Empty for the first entry.
    pub previous: &'a str,
    /// When the change was made.
    pub at: UnixMillis,
    /// The actor: `{"kind", "id"}`.
    pub actor: &'a Value,
    /// The client of the actor: `{"ip", "user_agent"}`.
    pub from: &'a Value,
    /// The action, such as `tenant.suspend`.
    pub action: &'a str,
    /// The reason, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The changed members: `{"member": {"before", "after"}}`.
    pub changes: &'a Value,
}

/// The end of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The number of entries.
    pub number: u64,
    /// The SHA-256 of the last line, in hexadecimal. Empty if the chain is empty.
    pub hash: String,
}

/// The first entry at which a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {number}: {why}")]
pub struct Broken {
    /// The position of the entry.
    pub number: u64,
    /// What is wrong with the entry.
    pub why: &'static str,
}

impl AuditEntry<'_> {
    /// Returns the entry's line.
    pub fn line(&self) -> String {
        // Cannot fail: text, numbers and JSON values always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Returns the SHA-256 of a line, in hexadecimal.
pub fn hash(line: &str) -> String {
    hex(&Sha256::digest(line))
}

/// Verifies the lines that follow `head` in a chain. Returns the new head.
///
/// # Errors
/// The first entry that does not continue the chain.
///
/// # Examples
/// ```
/// use tenantgate::control::audit::{Head, hash, verify};
/// let first = r#"{"chain":"t_acme","number":1,"previous":"","action":"tenant.create"}"#;
/// let second = format!(r#"{{"chain":"t_acme","number":2,"previous":"{}","action":"tenant.suspend"}}"#, hash(first));
/// assert_eq!(verify(Head::default(), [first, &second]).unwrap().number, 2);
/// let forged = first.replace("create", "import");
/// assert_eq!(verify(Head::default(), [forged.as_str(), &second]).unwrap_err().number, 2);
/// ```
pub fn verify<'a>(head: Head, lines: impl IntoIterator<Item = &'a str>) -> Result<Head, Broken> {
    lines.into_iter().try_fold(head, |head, line| {
        let number = head.number.saturating_add(1);
        let broken = |why| Broken { number, why };
        let entry: Value = serde_json::from_str(line).map_err(|_| broken("it is not JSON"))?;
        if entry.get("number").and_then(Value::as_u64) != Some(number) {
            return Err(broken("its number is not the next one"));
        }
        if entry.get("previous").and_then(Value::as_str) != Some(head.hash.as_str()) {
            return Err(broken("its `previous` is not the hash of the entry before it"));
        }
        Ok(Head { number, hash: hash(line) })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(length: u64) -> Vec<String> {
        let mut head = Head::default();
        (1..=length)
            .map(|number| {
                let line = AuditEntry {
                    chain: "t_acme",
                    number,
                    previous: &head.hash,
                    at: UnixMillis::new(number),
                    actor: &json!({"kind": "operator", "id": ""}),
                    from: &json!({}),
                    action: "tenant.change",
                    reason: None,
                    changes: &json!({"name": {"after": number}}),
                }
                .line();
                head = Head { number, hash: hash(&line) };
                line
            })
            .collect()
    }

    #[test]
    fn any_tampering_with_a_chain_is_detected() {
        let lines = chain(5);
        let check = |lines: &[String]| verify(Head::default(), lines.iter().map(String::as_str));
        let head = check(&lines).unwrap();
        assert_eq!((head.number, head.hash.len()), (5, 64));
        let tampered: [&dyn Fn(&mut Vec<String>); 5] = [
            &|lines| drop(lines.remove(2)),
            &|lines| lines.swap(1, 2),
            &|lines| lines[1] = lines[1].replace("\"after\":2", "\"after\":3"),
            &|lines| lines.insert(3, lines[2].clone()),
            &|lines| drop(lines.remove(0)),
        ];
        for tamper in tampered {
            let mut lines = lines.clone();
            tamper(&mut lines);
            assert!(check(&lines).is_err());
        }
        // Missing entries at the end are detected by the head.
        assert_ne!(check(&lines[..4]).unwrap(), head);
    }
}
