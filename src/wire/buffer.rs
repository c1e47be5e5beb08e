//! The buffers between JavaScript and a gate in WebAssembly: words and texts in, numbers out.
//!
//! They are allocated once and never move, so JavaScript can hold views of them. JavaScript writes
//! the words and the concatenated texts, and Rust reads them in order; `pkg/codec.js` is the other
//! side. The words contain the length of each text, and numbers.
//!
//! - A request ([`Input::with_request`]): flags, method, host, path, query, custom, then the
//!   headers
//!   and the context in the order of [`Names`], then features.
//! - A question about features ([`Input::name_and_context`]): a tenant's id and a context.

use serde::Serialize;
use smallvec::SmallVec;

use crate::flags::{AnswerId, FeatureSet, Slots};
use crate::gate::{Ask, Code, CompiledCatalog, Decision};
use crate::model::Key;
use crate::model::bounds::{MAX_ASKED_FEATURES, MAX_CHARGES, MAX_FEATURES};
use crate::resolve::{Attribute, Custom, EvalContext, Request};

/// The number of words: lengths of texts, numbers of features, kinds of attributes.
pub const WORDS: usize = 512;
/// The number of text bytes: more than a request may carry within the model's bounds.
pub const BYTES: usize = 65_536;
/// The number of outcomes: one for each feature of a catalog.
pub const OUTCOMES: usize = MAX_FEATURES;

/// The input, which JavaScript writes.
#[derive(Debug)]
pub struct Input {
    words: Box<[u32]>,
    text: Box<[u8]>,
}

/// Reads the input from front to back. Input that was not written reads as empty.
struct Cursor<'a> {
    words: std::slice::Iter<'a, u32>,
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn word(&mut self) -> u32 {
        self.words.next().copied().unwrap_or(0)
    }

    fn text(&mut self) -> &'a str {
        let length = usize::try_from(self.word()).unwrap_or(usize::MAX);
        let Some((text, rest)) = self.text.split_at_checked(length) else { return "" };
        self.text = rest;
        text
    }

    fn optional_text(&mut self) -> Option<&'a str> {
        if self.words.as_slice().first() == Some(&ABSENT) {
            self.word();
            return None;
        }
        Some(self.text())
    }

    fn number(&mut self) -> f64 {
        let (low, high) = (u64::from(self.word()), u64::from(self.word()));
        f64::from_bits(low | high << 32)
    }

    /// Reads the context: the number of attributes, then for each its index, its kind and its
    /// value.
    fn slots(&mut self, slots: &mut Slots<'a>) {
        let count = usize::try_from(self.word()).unwrap_or(0).min(WORDS);
        for _ in 0..count {
            let place = usize::try_from(self.word()).unwrap_or(usize::MAX);
            let value = match self.word() {
                0 => Attribute::Text(self.text()),
                1 => Attribute::Number(self.number()),
                kind => Attribute::Bool(kind == 2),
            };
            if let Some(slot) = slots.get_mut(place) {
                *slot = value.comparable();
            }
        }
    }
}

impl Default for Input {
    fn default() -> Self {
        Self { words: vec![0; WORDS].into(), text: vec![0; BYTES].into() }
    }
}

impl Input {
    /// The address of the words.
    pub fn words(&self) -> *const u32 {
        self.words.as_ptr()
    }

    /// The address of the text.
    pub fn text(&self) -> *const u8 {
        self.text.as_ptr()
    }

    fn cursor(&self, length: usize) -> Cursor<'_> {
        // JavaScript's encoder produces only UTF-8. Anything else is treated as empty text.
        let text = self.text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        Cursor { words: self.words.iter(), text }
    }

    /// Reads a name and a context, whose attributes are numbered as in `set`.
    pub fn name_and_context(&self, length: usize, set: &FeatureSet) -> (&str, Slots<'_>) {
        let mut cursor = self.cursor(length);
        let name = cursor.text();
        let mut slots = Slots::from_elem(None, set.attributes().len());
        cursor.slots(&mut slots);
        (name, slots)
    }
}

/// The outcome of each feature, for JavaScript to read.
#[derive(Debug)]
pub struct Outcomes(Box<[u32]>);

impl Default for Outcomes {
    fn default() -> Self {
        Self(vec![0; OUTCOMES].into())
    }
}

impl Outcomes {
    /// The address of the outcomes.
    pub fn as_ptr(&self) -> *const u32 {
        self.0.as_ptr()
    }

    /// Writes the outcome of each feature.
    pub fn write(&mut self, outcomes: impl Iterator<Item = AnswerId>) {
        for (slot, outcome) in self.0.iter_mut().zip(outcomes) {
            *slot = outcome.get();
        }
    }
}

/// The number of numbers in a decision.
pub const RESULTS: usize = HEAD + PER_FEATURE * (MAX_ASKED_FEATURES + 1) + PER_LIMIT * MAX_CHARGES;
/// The numbers before the first feature: tenant, retry time in milliseconds, caller, whether there
/// is a hold.
const HEAD: usize = 4;
/// The numbers per feature: number of the feature, outcome.
const PER_FEATURE: usize = 2;
/// The numbers per limit: number of the limit, limit, used, remaining, milliseconds until reset.
const PER_LIMIT: usize = 5;

/// The names to which JavaScript refers by number.
#[derive(Debug, Default)]
pub struct Names {
    /// The headers that strategies read.
    pub headers: Vec<String>,
    /// The number of attributes that rules read.
    pub attributes: usize,
}

impl Names {
    /// The names of a catalog.
    pub fn of(catalog: &CompiledCatalog) -> Self {
        Self { headers: catalog.resolver().headers().to_vec(), attributes: catalog.features().attributes().len() }
    }
}

/// All names of a catalog. The index of a name is its number in questions and results.
#[derive(Debug, Serialize)]
pub struct NamesView<'a> {
    features: Vec<&'a str>,
    limits: Vec<&'a str>,
    codes: Vec<&'static str>,
    headers: &'a [String],
    attributes: &'a [String],
}

impl<'a> From<&'a CompiledCatalog> for NamesView<'a> {
    fn from(catalog: &'a CompiledCatalog) -> Self {
        Self {
            features: catalog.document().features.keys().map(Key::as_str).collect(),
            limits: catalog.document().limits.keys().map(Key::as_str).collect(),
            codes: Code::ALL.map(Code::as_str).to_vec(),
            headers: catalog.resolver().headers(),
            attributes: catalog.features().attributes(),
        }
    }
}

/// The length that denotes an absent text.
const ABSENT: u32 = u32::MAX;

impl Input {
    /// Runs `then` with the request in the input and what is asked about it.
    pub fn with_request<T>(&self, length: usize, names: &Names, then: impl FnOnce(&Request<'_>, &Ask<'_>) -> T) -> T {
        let mut cursor = self.cursor(length);
        let flags = cursor.word();
        let (method, host, path, query) = (cursor.text(), cursor.text(), cursor.text(), cursor.text());
        let custom = cursor.optional_text().map_or(Custom::Nobody, Custom::Named);
        let mut present: SmallVec<[(&str, &str); 4]> = SmallVec::new();
        for name in &names.headers {
            if let Some(value) = cursor.optional_text() {
                present.push((name.as_str(), value));
            }
        }
        let mut context = Slots::from_elem(None, names.attributes);
        cursor.slots(&mut context);
        let count = usize::try_from(cursor.word()).unwrap_or(0).min(WORDS);
        let mut features: SmallVec<[&str; 8]> = SmallVec::new();
        for _ in 0..count {
            features.push(cursor.text());
        }
        let request = Request {
            method,
            host,
            path,
            query,
            headers: &present,
            custom,
            context: EvalContext::Placed(&context),
            ..Request::default()
        };
        then(&request, &Ask { features: &features, dry_run: flags & 1 != 0, ..Ask::default() })
    }
}

/// The numbers of a decision, for JavaScript to read.
#[derive(Debug)]
pub struct Results(Box<[f64]>);

impl Default for Results {
    fn default() -> Self {
        Self(vec![0.0; RESULTS].into())
    }
}

impl Results {
    /// The address of the numbers.
    pub fn as_ptr(&self) -> *const f64 {
        self.0.as_ptr()
    }

    /// Writes only the number of a tenant.
    pub fn write_tenant(&mut self, serial: u32) {
        if let Some(slot) = self.0.first_mut() {
            *slot = f64::from(serial);
        }
    }

    /// Writes a decision and the number of its caller. Returns the code in bits 0 to 7, the number
    /// of features in bits 8 to 19 and the number of limits in bits 20 to 31.
    #[expect(clippy::cast_precision_loss, reason = "quantities stay below 2^53 (MAX_QUANTITY)")]
    pub fn write(&mut self, decision: &Decision, caller: f64) -> u32 {
        let mut put = self.0.iter_mut();
        let mut write = |number: f64| {
            if let Some(slot) = put.next() {
                *slot = number
            }
        };
        write(decision.tenant.as_ref().map_or(0.0, |tenant| f64::from(tenant.serial())));
        write(decision.extras().retry_after_ms.map_or(-1.0, |millis| millis as f64));
        write(caller);
        write(f64::from(u8::from(decision.extras().hold.is_some())));
        for answer in &decision.features {
            write(answer.id.map_or(-1.0, f64::from));
            write(f64::from(answer.outcome.get()));
        }
        for gauged in &decision.limits {
            write(f64::from(gauged.budget.id));
            write(gauged.verdict.and_then(|verdict| verdict.limit).map_or(-1.0, |limit| limit as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.used as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.remaining as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.reset_ms as f64));
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(0);
        // INVARIANT (packing): MAX_ASKED_FEATURES and MAX_CHARGES are below 4096.
        decision.code.index() | count(decision.features.len()) << 8 | count(decision.limits.len()) << 20
    }
}
