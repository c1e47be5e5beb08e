//! The audit trail: one chain of entries for each tenant and one for the catalog, append-only.
//!
//! An entry is a line of JSON that names the SHA-256 of the line before it. So a trail that was exported verifies with a
//! few lines of any language: the hash of every line is the `previous` of the next. Whoever remembers the last hash notices
//! when anything before it is changed, dropped or put in another order.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::model::{UnixMillis, hex};

/// One entry.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a> {
    /// Whose trail: a tenant's id, or `catalog`.
    pub chain: &'a str,
    /// Its place, from 1.
    pub number: u64,
    /// The SHA-256 of the line before, in hexadecimal; empty for the first.
    pub previous: &'a str,
    /// When.
    pub at: UnixMillis,
    /// Who: `{"kind", "id"}`.
    pub actor: &'a Value,
    /// From where: `{"ip", "user_agent"}`.
    pub from: &'a Value,
    /// What, such as `tenant.suspend`.
    pub action: &'a str,
    /// Why, where it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// What changed: `{"member": {"before", "after"}}`.
    pub changes: &'a Value,
}

/// The end of a chain: how many entries, and the hash of the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Entries so far.
    pub number: u64,
    /// The SHA-256 of the last line, in hexadecimal; empty where there is none.
    pub hash: String,
}

/// Where a chain is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {number}: {why}")]
pub struct Broken {
    /// The place of the first entry that does not fit.
    pub number: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl AuditEntry<'_> {
    /// The entry's line.
    pub fn line(&self) -> String {
        // Text, numbers and JSON values always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The hash of a line.
pub fn hash(line: &str) -> String {
    hex(&Sha256::digest(line))
}

/// Verifies the lines of a chain that go on after `head`: the head that they lead to.
///
/// # Errors
/// Where they do not fit together.
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
        let entry: Value = serde_json::from_str(line).map_err(|_| broken("it is no JSON"))?;
        if entry.get("number").and_then(Value::as_u64) != Some(number) {
            return Err(broken("it has another number"));
        }
        if entry.get("previous").and_then(Value::as_str) != Some(head.hash.as_str()) {
            return Err(broken("it follows another entry than the one before it"));
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
    fn whatever_is_done_to_a_chain_shows() {
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
        // What is cut off at the end shows by the head.
        assert_ne!(check(&lines[..4]).unwrap(), head);
    }
}
