//! Finds out what a type reads. Its `Deserialize` is run again and again against a reader that has
//! only samples, and that writes down what it is asked for. A value that may be of several kinds is
//! given one kind after the other: the visitor takes it, refuses its kind, or refuses its text.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

/// The name under which `toml::Spanned` asks for a value and its span begins so.
const SPANNED: &str = "$__serde_spanned";

/// More runs than the largest file format needs.
const MOST_RUNS: usize = 20_000;

/// Runs without anything new, after which there is nothing new: enough for each form of a value in
/// each form of another.
const QUIET_RUNS: usize = 32;

/// The kind of value at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    Words(&'static [&'static str]),
    /// Its items are at [`item`].
    List,
    /// Its values are at [`item`].
    Map,
    /// Its values are at [`below`].
    Table(&'static [&'static str]),
    /// A table with the keys of one that it is in.
    Again,
    /// One of several, each at [`form`].
    OneOf {
        expected: String,
    },
    /// A list in a list, whose items are those of the outer one.
    SameAsOuter,
}

/// A kind of value that a visitor may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ValueForm {
    Switch,
    Number,
    Text,
    Table,
    List,
}

const FORMS: [ValueForm; 5] =
    [ValueForm::Switch, ValueForm::Number, ValueForm::Text, ValueForm::Table, ValueForm::List];

/// Returns the place of the items of a list or a map.
pub(super) fn item(path: &str) -> String {
    format!("{path}/*")
}

/// Returns the place of a key of a table.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") }
}

/// Returns the place of one form of a value.
pub(super) fn form(path: &str, form: ValueForm) -> String {
    format!("{path}|{form:?}")
}

/// The knowledge about a type so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) kinds: BTreeMap<String, Kind>,
    /// The verdict of a visitor about each form.
    tried: BTreeMap<String, BTreeMap<ValueForm, Verdict>>,
    /// The keys of tables that a visitor takes besides other forms.
    keys: BTreeMap<String, &'static [&'static str]>,
    /// The number of times that a value with several forms was read.
    turns: BTreeMap<String, usize>,
    /// Keys that no sample fits.
    skipped: BTreeSet<String>,
    /// A sample was refused, so this run ends.
    ended: bool,
    /// A form was tried that was not tried before.
    learned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Refused,
    /// The form is right, the sample is not.
    Understood,
    Taken,
}

impl Trace {
    /// Returns everything that `T` reads.
    pub(super) fn of<'de, T: Deserialize<'de>>() -> Self {
        let trace = RefCell::new(Self::default());
        let mut quiet = 0;
        for _ in 0..MOST_RUNS {
            (trace.borrow_mut().ended, trace.borrow_mut().learned) = (false, false);
            let _ = T::deserialize(TracingReader {
                trace: &trace,
                path: "",
                key: "",
                tables: &[],
                outer: "",
            });
            let new = trace.borrow().ended || trace.borrow().learned;
            quiet = if new { 0 } else { quiet + 1 };
            if quiet == QUIET_RUNS {
                break;
            }
        }
        trace.into_inner()
    }

    /// Returns the forms that a value with several may have.
    pub(super) fn forms(&self, path: &str) -> impl Iterator<Item = ValueForm> {
        let said = self.tried.get(path).into_iter().flatten();
        said.filter(|(_, said)| **said != Verdict::Refused).map(|(form, _)| *form)
    }

    fn say(&mut self, path: &str, form: ValueForm, said: Verdict) {
        self.learned = true;
        self.tried.entry(path.to_owned()).or_default().insert(form, said);
    }
}

/// The reason why a visitor does not take a value.
#[derive(Debug)]
enum NotTaken {
    Kind,
    Value,
    Key(&'static [&'static str]),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for NotTaken {}

impl de::Error for NotTaken {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Value
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::Kind
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::Key(known)
    }
}

/// Shows what a visitor expects.
struct Expecting<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

/// A reader at one place.
#[derive(Clone, Copy)]
struct TracingReader<'t> {
    trace: &'t RefCell<Trace>,
    path: &'t str,
    /// The place of the innermost key of a table.
    key: &'t str,
    /// The tables around this place, by the names of their types.
    tables: &'t [&'static str],
    /// The expectation of the visitor of the list around this place.
    outer: &'t str,
}

impl TracingReader<'_> {
    fn found(&self, kind: Kind) {
        self.trace.borrow_mut().kinds.insert(self.path.to_owned(), kind);
    }

    /// Gives a sample of one form.
    fn give<'de, V: Visitor<'de>>(
        &self,
        form: ValueForm,
        expected: &str,
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        let path = self::form(self.path, form);
        let here = TracingReader { path: &path, outer: expected, ..*self };
        match form {
            ValueForm::Switch => here.deserialize_bool(visitor),
            ValueForm::Number => here.deserialize_i64(visitor),
            ValueForm::Text => here.deserialize_string(visitor),
            ValueForm::List => here.deserialize_seq(visitor),
            ValueForm::Table => {
                let keys = self.trace.borrow().keys.get(&path).copied();
                here.found(Kind::Table(keys.unwrap_or_default()));
                visitor.visit_map(Entries::new(here, keys.unwrap_or(&["?"])))
            }
        }
    }

    /// Gives a form that was not tried yet.
    fn attempt<'de, V: Visitor<'de>>(
        &self,
        form: ValueForm,
        expected: &str,
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        let given = self.give(form, expected, visitor);
        let mut trace = self.trace.borrow_mut();
        if trace.ended {
            return given;
        }
        match &given {
            Ok(_) => {
                trace.say(self.path, form, Verdict::Taken);
                return given;
            }
            Err(NotTaken::Kind) => trace.say(self.path, form, Verdict::Refused),
            Err(NotTaken::Value) => trace.say(self.path, form, Verdict::Understood),
            Err(NotTaken::Key(keys)) => {
                _ = trace.keys.insert(self::form(self.path, form), keys);
            }
        }
        trace.ended = true;
        given
    }

    /// Returns the form to go on with. Forms that hold other values take turns.
    fn next(&self, path: &str) -> Option<ValueForm> {
        let mut trace = self.trace.borrow_mut();
        let said = trace.tried.get(path)?.clone();
        let taken = |form: &ValueForm| said.get(form) == Some(&Verdict::Taken);
        let deep =
            [ValueForm::Table, ValueForm::List].into_iter().filter(taken).collect::<Vec<_>>();
        let turn = trace.turns.entry(path.to_owned()).or_default();
        *turn += 1;
        let deep_one = deep.get(*turn % deep.len().max(1)).copied();
        deep_one.or_else(|| FORMS.into_iter().find(taken))
    }
}

impl<'de> Deserializer<'de> for TracingReader<'_> {
    type Error = NotTaken;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        let expected = Expecting(&visitor).to_string();
        if expected == self.outer {
            self.found(Kind::SameAsOuter);
            let outer = self.path.trim_end_matches("|List/*");
            let known = self.next(outer).filter(|form| *form != ValueForm::List);
            return self.give(known.unwrap_or(ValueForm::Number), &expected, visitor);
        }
        self.found(Kind::OneOf { expected: expected.clone() });
        let untried = {
            let trace = self.trace.borrow();
            let said = trace.tried.get(self.path);
            FORMS.iter().find(|form| said.is_none_or(|said| !said.contains_key(*form))).copied()
        };
        if let Some(form) = untried {
            return self.attempt(form, &expected, visitor);
        }
        if let Some(form) = self.next(self.path) {
            return self.give(form, &expected, visitor);
        }
        let mut trace = self.trace.borrow_mut();
        trace.ended = true;
        trace.skipped.insert(self.key.to_owned());
        Err(NotTaken::Value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        if name.starts_with(SPANNED) {
            return visitor.visit_map(Span { reader: self, fields: fields.iter(), field: "" });
        }
        if self.tables.contains(&name) {
            self.found(Kind::Again);
            return visitor.visit_map(Entries::new(self, &[]));
        }
        self.found(Kind::Table(fields));
        let tables: Vec<_> = self.tables.iter().copied().chain([name]).collect();
        visitor.visit_map(Entries::new(TracingReader { tables: &tables, ..self }, fields))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::List);
        visitor.visit_seq(OneItem(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Map);
        visitor.visit_map(OneEntry { reader: self, left: 1 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        self.found(Kind::Words(variants));
        visitor.visit_enum(text(variants.first().copied().unwrap_or_default()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Switch);
        visitor.visit_bool(true)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Number);
        visitor.visit_i64(SAMPLE)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Text);
        visitor.visit_str("sample")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

/// A number that a port, a status and a length of time may be.
const SAMPLE: i64 = 200;

fn text(text: &str) -> StrDeserializer<'_, NotTaken> {
    text.into_deserializer()
}

/// The one item of a list.
struct OneItem<'t>(Option<TracingReader<'t>>);

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = NotTaken;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NotTaken> {
        let Some(reader) = self.0.take() else { return Ok(None) };
        let path = item(reader.path);
        seed.deserialize(TracingReader { path: &path, ..reader }).map(Some)
    }
}

/// The one entry of a map.
struct OneEntry<'t> {
    reader: TracingReader<'t>,
    left: usize,
}

impl<'de> MapAccess<'de> for OneEntry<'_> {
    type Error = NotTaken;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NotTaken> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left = 0;
        let path = below(self.reader.path, "#");
        seed.deserialize(TracingReader { path: &path, ..self.reader }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NotTaken> {
        let path = item(self.reader.path);
        seed.deserialize(TracingReader { path: &path, outer: "", ..self.reader })
    }
}

/// The entries of a table.
struct Entries<'t> {
    reader: TracingReader<'t>,
    keys: &'static [&'static str],
    at: usize,
}

impl<'t> Entries<'t> {
    const fn new(reader: TracingReader<'t>, keys: &'static [&'static str]) -> Self {
        Self { reader, keys, at: 0 }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = NotTaken;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NotTaken> {
        while let Some(key) = self.keys.get(self.at) {
            self.at += 1;
            let path = below(self.reader.path, key);
            if !self.reader.trace.borrow().skipped.contains(&path) {
                return seed.deserialize(text(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NotTaken> {
        let key =
            self.keys.get(self.at.wrapping_sub(1)).ok_or_else(|| NotTaken::custom("no key"))?;
        let path = below(self.reader.path, key);
        seed.deserialize(TracingReader { path: &path, key: &path, outer: "", ..self.reader })
    }
}

/// A value and its span in the file, as `toml::Spanned` asks for them.
struct Span<'t> {
    reader: TracingReader<'t>,
    fields: std::slice::Iter<'static, &'static str>,
    field: &'static str,
}

impl<'de> MapAccess<'de> for Span<'_> {
    type Error = NotTaken;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NotTaken> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        self.field = field;
        seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NotTaken> {
        if !self.field.ends_with("value") {
            let offset: U64Deserializer<NotTaken> = 0_u64.into_deserializer();
            return seed.deserialize(offset);
        }
        seed.deserialize(self.reader)
    }
}
