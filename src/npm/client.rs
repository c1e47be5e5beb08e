//! The features of one tenant, as a page holds them.

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::buffer::{self, Input, Outcomes};
use super::json;
use crate::flags::{AnswerId, ClientFlags};
use crate::model::UnixMillis;
use crate::wire::AnswerView;

/// The features of one tenant whose answers depend on the context.
#[wasm_bindgen]
pub struct Client {
    flags: ClientFlags,
    input: Input,
    outcomes: Outcomes,
}

#[wasm_bindgen]
impl Client {
    /// Reads a snapshot as JSON text. Throws the list of problems, as JSON text.
    #[wasm_bindgen(constructor)]
    pub fn new(snapshot: &str) -> Result<Client, JsValue> {
        let flags = ClientFlags::parse(snapshot).map_err(|problems| json(&problems))?;
        Ok(Self { flags, input: Input::default(), outcomes: Outcomes::default() })
    }

    /// Names as `{features, attributes}` in JSON text: their places are the numbers that are spoken in.
    pub fn keys(&self) -> String {
        #[derive(Serialize)]
        struct Names<'a> {
            features: Vec<&'a str>,
            attributes: &'a [String],
        }
        let set = self.flags.set();
        json(&Names { features: set.keys().collect(), attributes: set.attributes() })
    }

    /// Where the buffer is: addresses and lengths of its words, its text, and its outcomes.
    pub fn buffer(&self) -> Vec<usize> {
        vec![
            self.input.words() as usize,
            buffer::WORDS,
            self.input.text() as usize,
            buffer::BYTES,
            self.outcomes.as_ptr() as usize,
            buffer::OUTCOMES,
        ]
    }

    /// Evaluates every feature by the context in the buffer, behind a name that does not matter, with `length` bytes of text: one outcome per feature.
    pub fn evaluate(&mut self, length: usize, now_ms: f64) {
        let Self { flags, input, outcomes } = self;
        let (_, context) = input.name_and_context(length, flags.set());
        outcomes.write(flags.set().outcomes(flags.facts(&context, UnixMillis::from_js(now_ms))));
    }

    /// The answer that an outcome stands for, as JSON text.
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        json(&self.flags.answer(feature, AnswerId::from(outcome)).as_ref().map(AnswerView::from))
    }
}
