//! Decoding with a bound on memory, for everything that comes over a link.
//!
//! An encoding can be small and what it stands for large: a list of a million empty lists is a million bytes on the wire and
//! 24 times as many in memory. So what lists and maps take is counted while they are read, and the encoding is refused when
//! that exceeds a small multiple of its own length. Strings and bytes are copies of what was received and need no count.

use std::cell::Cell;
use std::fmt;
use std::mem::size_of;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::message::{DecodeError, MAX_MESSAGE_BYTES};

/// Bytes of list and map elements that every encoding may stand for, however short it is.
pub const MEMORY_FLOOR: usize = 4 << 20;
/// Bytes of list and map elements that each byte of an encoding may stand for beyond that. Honest ones need at most seven: write
/// sets of many rows of one short column.
pub const MEMORY_PER_BYTE: usize = 12;

/// Reads one value that was received. What it takes in memory is at most its own bytes, the elements of its lists and maps
/// ([`MEMORY_FLOOR`], and [`MEMORY_PER_BYTE`] for each byte), and what a growing list keeps in reserve.
///
/// # Errors
/// When the bytes are longer than [`MAX_MESSAGE_BYTES`], are no encoding of such a value, stand for more than
/// they may, or are followed by others.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let allowed = MEMORY_FLOOR.saturating_add(bytes.len().saturating_mul(MEMORY_PER_BYTE));
    let meter = Meter {
        left: Cell::new(allowed),
        exceeded: Cell::new(false),
    };
    let mut plain = postcard::Deserializer::from_bytes(bytes);
    let value =
        T::deserialize(meter.over(&mut plain)).map_err(|error| match meter.exceeded.get() {
            true => DecodeError::TooMuchMemory(bytes.len()),
            false => DecodeError::Malformed(error),
        })?;
    match plain.finalize()?.len() {
        0 => Ok(value),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

/// What may still be taken.
struct Meter {
    left: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Meter {
    /// A part of serde that hands this meter on; what it reads next lies in the value itself.
    fn over<T>(&self, inner: T) -> Metered<'_, T> {
        Metered {
            inner,
            meter: self,
            counted: false,
        }
    }

    /// One that reads the elements of a list or a map.
    fn counting<T>(&self, inner: T) -> Metered<'_, T> {
        Metered {
            inner,
            meter: self,
            counted: true,
        }
    }

    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.exceeded.set(true);
                Err(E::custom("it stands for too much memory"))
            }
        }
    }
}

/// A deserializer, visitor, seed or access of serde's, with the meter.
struct Metered<'m, T> {
    inner: T,
    meter: &'m Meter,
    counted: bool,
}

/// What has no parts goes straight through.
macro_rules! plain {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

/// What has parts hands the meter on to them.
macro_rules! parts {
    ($($method:ident($($name:ident: $kind:ty),*) $over:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* self.meter.$over(visitor))
        }
    )*};
}

type Names = &'static [&'static str];

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Metered<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    parts! {
        deserialize_seq() counting
        deserialize_map() counting
        deserialize_option() over
        deserialize_tuple(len: usize) over
        deserialize_tuple_struct(name: &'static str, len: usize) over
        deserialize_newtype_struct(name: &'static str) over
        deserialize_unit_struct(name: &'static str) over
        deserialize_struct(name: &'static str, fields: Names) over
        deserialize_enum(name: &'static str, variants: Names) over
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Metered<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.meter.over(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.meter.over(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { meter, counted, .. } = self;
        self.inner.visit_seq(Metered {
            inner,
            meter,
            counted,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.meter.counting(inner))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.meter.over(inner))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Metered<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.meter.over(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(self.meter.over(seed))?;
        if self.counted && element.is_some() {
            self.meter.take(size_of::<S::Value>())?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key = self.inner.next_key_seed(self.meter.over(seed))?;
        if key.is_some() {
            self.meter.take(size_of::<S::Value>())?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.meter.take(size_of::<S::Value>())?;
        self.inner.next_value_seed(self.meter.over(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'm, A: EnumAccess<'de>> EnumAccess<'de> for Metered<'m, A> {
    type Error = A::Error;
    type Variant = Metered<'m, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.meter.over(seed))?;
        Ok((value, self.meter.over(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.meter.over(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.meter.over(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.meter.over(visitor))
    }
}
