//! Version conditions. Versions are compared by precedence (Semantic Versioning 2.0.0 §11),
//! including pre-releases, so that every version satisfies exactly one of two opposite comparators
//! such as `<2` and `>=2`.

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

/// Parses a version such as `v1.2.3`, `1.2` or `1`. Returns `None` if it is invalid.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at_checked(end)?;
    let missing = 2_usize.checked_sub(core.matches('.').count())?;
    Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

/// Whether a version satisfies all comparators of a requirement: `<`, `<=`, `>`, `>=` and `=` by
/// precedence, `^` and `~` as in npm.
pub(super) fn meets(requirement: &VersionReq, version: &Version) -> bool {
    requirement.comparators.iter().all(|comparator| holds(comparator, version))
}

fn holds(comparator: &Comparator, version: &Version) -> bool {
    let is_whole = comparator.patch.is_some();
    let lowest = Version {
        pre: comparator.pre.clone(),
        ..Version::new(comparator.major, comparator.minor.unwrap_or(0), comparator.patch.unwrap_or(0))
    };
    let is_below = |bound: &Version| version.cmp_precedence(bound).is_lt();
    match comparator.op {
        Op::Less => is_below(&lowest),
        Op::GreaterEq => !is_below(&lowest),
        Op::Exact if is_whole => version.cmp_precedence(&lowest).is_eq(),
        Op::Greater if is_whole => version.cmp_precedence(&lowest).is_gt(),
        Op::LessEq if is_whole => !version.cmp_precedence(&lowest).is_gt(),
        Op::Greater => !is_below(&end(comparator)),
        Op::LessEq => is_below(&end(comparator)),
        // Operators that a later release of `semver` may add match no version.
        Op::Exact | Op::Tilde | Op::Caret | Op::Wildcard => !is_below(&lowest) && is_below(&end(comparator)),
        _ => false,
    }
}

/// The exclusive end of a comparator's range: the first pre-release of the first version after it.
fn end(comparator: &Comparator) -> Version {
    let Comparator { op, major, minor, patch, .. } = *comparator;
    let next = |number: u64| number.saturating_add(1);
    let (major, minor, patch) = match (op, minor, patch) {
        (_, None, _) => (next(major), 0, 0),
        (Op::Caret, Some(_), _) if major > 0 => (next(major), 0, 0),
        (Op::Caret, Some(0), Some(patch)) => (0, 0, next(patch)),
        (_, Some(minor), _) => (major, next(minor), 0),
    };
    let pre = Prerelease::new("0").unwrap_or(Prerelease::EMPTY);
    Version { major, minor, patch, pre, build: BuildMetadata::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(requirement: &str, text: &str) -> bool {
        meets(&VersionReq::parse(requirement).unwrap(), &read(text).unwrap())
    }

    #[test]
    fn each_version_satisfies_a_requirement_or_its_negation() {
        for version in [
            "2.1.0",
            "2.1.0-beta.1",
            "3.0.0-rc.1",
            "2.0.0-alpha",
            "1.9.0-rc.1",
            "2.1",
            "v2.1.0",
            "2",
            "2.1.0+build.5",
            "0.0.1",
        ] {
            for bound in ["2.0.0", "2.1.0", "2.1.0-beta.1", "2", "2.1", "0"] {
                assert_ne!(
                    met(&format!(">={bound}"), version),
                    met(&format!("<{bound}"), version),
                    "{bound}, {version}"
                );
                assert_ne!(
                    met(&format!(">{bound}"), version),
                    met(&format!("<={bound}"), version),
                    "{bound}, {version}"
                );
            }
        }
        assert!(met(">=2.0.0", "2.1.0-beta.1") && met(">=2.0.0", "3.0.0-rc.1"));
        assert!(met("<2.0.0", "2.0.0-alpha") && met("<2.0.0", "1.9.0-rc.1"));
        assert!(met("=2.1.0", "v2.1+build.5") && !met("=2.1.0", "2.1.0-beta.1") && met("=2", "2.9"));
    }

    #[test]
    fn a_range_matches_the_versions_between_its_bounds() {
        let ranges = [
            ("^1.2.3", ["1.2.3", "1.9.0", "1.9.0-rc.1"].as_slice(), ["1.2.3-beta", "2.0.0-0", "2.0.0"].as_slice()),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0-alpha", "0.3.0", "0.2.2"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4-0", "0.0.4", "0.0.2"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0", &["0.9.9"], &["1.0.0-rc.1", "1.0.0"]),
            ("^1.2.3-beta.2", &["1.2.3-beta.2", "1.2.3", "1.9.0"], &["1.2.3-beta.1", "2.0.0"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0-0", "1.3.0"]),
            ("~1.2", &["1.2.0"], &["1.3.0"]),
            ("~1", &["1.9.9"], &["2.0.0-alpha"]),
            (">=1.2.3, <2", &["1.2.3", "2.0.0-alpha"], &["2.0.0", "1.2.2"]),
        ];
        for (range, good, bad) in ranges {
            assert!(good.iter().all(|version| met(range, version)), "{range}: {good:?}");
            assert!(!bad.iter().any(|version| met(range, version)), "{range}: {bad:?}");
        }
    }

    #[test]
    fn invalid_versions_are_rejected() {
        for text in ["", "v", "1.2.3.4", "1..2", "one", "1.2.x", "01.2.3", "1.2.3-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
