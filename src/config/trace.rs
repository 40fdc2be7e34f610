//! Finds out what a type reads. Its `Deserialize` is run once for each question: it gets samples
//! that lead to one place, and what it asks for there is the answer.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};

/// The name under which `toml::Spanned` asks for a value and its span begins so.
const SPANNED: &str = "$__serde_spanned";
/// A number that a port, a status and a length of time may be.
const NUMBER: i64 = 200;
const TEXT: &str = "sample";

/// What a type reads.
pub(super) enum Shape {
    Text,
    Number,
    Switch,
    Words(&'static [&'static str]),
    List(Box<Shape>),
    /// A table with any keys.
    Map(Box<Shape>),
    Table(Vec<(&'static str, Shape)>),
    /// A table with the keys of one that it is in.
    Again,
    /// One of several.
    OneOf {
        /// The words of the visitor; none for a list in a list of the same words.
        expected: Option<String>,
        forms: Vec<Shape>,
    },
}

impl Shape {
    /// Returns everything that `T` reads.
    pub(super) fn of<'de, T: Deserialize<'de>>() -> Option<Self> {
        Questions { ask: ask::<T>, steps: Vec::new(), tables: Vec::new() }.shape("")
    }
}

/// One step from a value to a value in it, or to one of its forms.
#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    /// An item of a list, or a value of a map.
    Item,
    Form(ValueForm),
}

/// A kind of value that a visitor may take.
#[derive(Clone, Copy, PartialEq)]
enum ValueForm {
    Switch,
    Number,
    Text,
    Table,
    List,
}

const FORMS: [ValueForm; 5] =
    [ValueForm::Switch, ValueForm::Number, ValueForm::Text, ValueForm::Table, ValueForm::List];

/// What a type asks for at a place.
enum Kind {
    /// A value with nothing in it.
    Leaf(Shape),
    List,
    Map,
    /// Its keys.
    Table(&'static [&'static str]),
    /// Any value, with the words for those that it takes.
    Any(String),
}

/// Returns what `T` asks for behind these steps; `None`: it refuses the last one.
fn ask<'de, T: Deserialize<'de>>(steps: &[Step]) -> Option<Kind> {
    let answer = Cell::new(None);
    match T::deserialize(TracingReader { steps, answer: &answer, text: TEXT }) {
        Err(NotTaken::Kind) => None,
        Err(NotTaken::Key(keys)) => Some(Kind::Table(keys)),
        Ok(_) | Err(NotTaken::Value) => answer.take(),
    }
}

/// The questions about a type.
struct Questions {
    ask: fn(&[Step]) -> Option<Kind>,
    /// The way to the place that is asked about.
    steps: Vec<Step>,
    /// The keys of each table around it.
    tables: Vec<&'static [&'static str]>,
}

impl Questions {
    /// Returns the shape of this place. `outer` is what the list around it expects.
    fn shape(&mut self, outer: &str) -> Option<Shape> {
        Some(match (self.ask)(&self.steps)? {
            Kind::Leaf(shape) => shape,
            Kind::List => Shape::List(Box::new(self.behind(Step::Item, outer)?)),
            Kind::Map => Shape::Map(Box::new(self.behind(Step::Item, "")?)),
            Kind::Table(keys) if self.tables.contains(&keys) => Shape::Again,
            Kind::Table(keys) => {
                self.tables.push(keys);
                let value = |key: &&'static str| Some((*key, self.behind(Step::Key(key), "")?));
                let values = keys.iter().filter_map(value).collect();
                self.tables.pop();
                Shape::Table(values)
            }
            Kind::Any(expected) => {
                let same = expected == outer;
                let forms = FORMS.into_iter().filter(|form| !same || *form != ValueForm::List);
                let forms = forms.filter_map(|form| self.behind(Step::Form(form), &expected));
                Shape::OneOf { forms: forms.collect(), expected: (!same).then_some(expected) }
            }
        })
    }

    fn behind(&mut self, step: Step, outer: &str) -> Option<Shape> {
        self.steps.push(step);
        let shape = self.shape(outer);
        self.steps.pop();
        shape
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

/// A reader at one place, with the steps that lead on from there.
#[derive(Clone, Copy)]
struct TracingReader<'t> {
    steps: &'t [Step],
    answer: &'t Cell<Option<Kind>>,
    /// The text that is given to whoever asks for one.
    text: &'static str,
}

impl TracingReader<'_> {
    /// Notes what is asked for, if this is the place.
    fn found(&self, kind: Kind) {
        if self.steps.is_empty() {
            self.answer.set(Some(kind));
        }
    }

    /// Gives a table that has these keys. The steps lead to the value of the last one, whose answer
    /// is the last too.
    fn give_table<'de, V: Visitor<'de>>(
        self,
        keys: &[&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        let entry = |text: &&'static str| (Self { text, ..self }, self);
        visitor.visit_map(MapDeserializer::new(keys.iter().map(entry)))
    }

    /// Gives a table of which the next step names the key, or one without keys.
    fn give_next<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        match self.steps.split_first() {
            Some((Step::Key(key), steps)) => Self { steps, ..self }.give_table(&[key], visitor),
            Some((_, steps)) => Self { steps, ..self }.give_table(&[TEXT], visitor),
            None => Err(NotTaken::Value),
        }
    }
}

impl<'de> Deserializer<'de> for TracingReader<'_> {
    type Error = NotTaken;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        let Some((Step::Form(form), steps)) = self.steps.split_first() else {
            self.found(Kind::Any(Expecting(&visitor).to_string()));
            return Err(NotTaken::Value);
        };
        let here = Self { steps, ..self };
        match form {
            ValueForm::Switch => here.deserialize_bool(visitor),
            ValueForm::Number => here.deserialize_i64(visitor),
            ValueForm::Text => here.deserialize_str(visitor),
            ValueForm::List => here.deserialize_seq(visitor),
            // A table names its keys when it refuses one.
            ValueForm::Table if steps.is_empty() => here.give_table(&["?"], visitor),
            ValueForm::Table => here.give_next(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        if name.starts_with(SPANNED) {
            return self.give_table(fields, visitor);
        }
        self.found(Kind::Table(fields));
        self.give_next(visitor)
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
        let item = self.steps.split_first().map(|(_, steps)| Self { steps, ..self });
        visitor.visit_seq(SeqDeserializer::new(item.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Map);
        self.give_next(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NotTaken> {
        self.found(Kind::Leaf(Shape::Words(variants)));
        Err(NotTaken::Value)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Leaf(Shape::Switch));
        visitor.visit_bool(true)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Leaf(Shape::Number));
        visitor.visit_i64(NUMBER)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.found(Kind::Leaf(Shape::Text));
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct ignored_any
    }
}

impl IntoDeserializer<'_, NotTaken> for TracingReader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Shows what a visitor expects.
struct Expecting<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}
