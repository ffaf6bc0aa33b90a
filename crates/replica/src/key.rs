//! Typed keys: the name of an attribute together with its type and with how concurrent changes of
//! it merge, so that a call site cannot choose wrongly.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session::{NAME_BYTES_MAX, Name, NameError};
use smol_str::SmolStr;

/// How values of a type become the bytes that are replicated, and back.
///
/// Nodes of two neighbouring releases of a program serve the same sessions, so a codec must read
/// what the previous release wrote.
pub trait Codec<T> {
    /// Why a value has no bytes, or bytes no value.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The bytes of a value; equal values give equal bytes, which is what makes two elements of a
    /// [`Set`] the same element.
    ///
    /// # Errors
    /// The value has no bytes.
    fn encode(value: &T) -> Result<Vec<u8>, Self::Error>;

    /// The value of bytes that [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// They are of no such value.
    fn decode(bytes: &[u8]) -> Result<T, Self::Error>;
}

/// JSON: readable by other programs, and tolerant of fields that come and go.
#[derive(Debug)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    type Error = serde_json::Error;

    fn encode(value: &T) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(value)
    }

    fn decode(bytes: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Bytes as they are, for values that are encoded already.
#[derive(Debug)]
pub struct Raw;

impl Codec<Vec<u8>> for Raw {
    type Error = std::convert::Infallible;

    fn encode(value: &Vec<u8>) -> Result<Vec<u8>, Self::Error> {
        Ok(value.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, Self::Error> {
        Ok(bytes.to_vec())
    }
}

/// A key of any kind.
pub trait Key: sealed::Sealed {
    /// The name of the attribute.
    fn into_name(self) -> Name;
}

mod sealed {
    /// Nobody else makes keys.
    pub trait Sealed {}
    impl<T, C> Sealed for super::Register<T, C> {}
    impl<T, C> Sealed for super::Set<T, C> {}
    impl Sealed for super::Counter {}
}

/// Names of the attributes of a session, those known when the program was compiled without cost.
#[derive(Clone, Debug)]
enum KeyName {
    Fixed(&'static str),
    Dynamic(Name),
}

impl KeyName {
    const fn fixed(name: &'static str) -> Self {
        assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX, "a name has 1 to 128 bytes");
        Self::Fixed(name)
    }

    fn into_name(self) -> Name {
        match self {
            Self::Fixed(name) => {
                Name::new(SmolStr::new_static(name)).expect("its length was checked")
            }
            Self::Dynamic(name) => name,
        }
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $key:ident<T, C>) => {
        $(#[$doc])*
        pub struct $key<T, C = Json> {
            name: KeyName,
            of: PhantomData<fn() -> (T, C)>,
        }

        impl<T> $key<T> {
            /// The key of that name, with values as JSON.
            ///
            /// # Panics
            /// The name is empty or longer than 128 bytes. As a constant it then does not compile.
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                Self::with_codec(name)
            }

            /// A key whose name is known only now, with values as JSON.
            ///
            /// # Errors
            /// The name is empty or longer than 128 bytes.
            pub fn named(name: impl AsRef<str>) -> Result<Self, NameError> {
                let name = KeyName::Dynamic(Name::new(name.as_ref())?);
                Ok(Self { name, of: PhantomData })
            }
        }

        impl<T, C> $key<T, C> {
            /// The key of that name, with values as the codec `C` writes them.
            ///
            /// # Panics
            /// As for [`new`](Self::new).
            #[must_use]
            pub const fn with_codec(name: &'static str) -> Self {
                Self { name: KeyName::fixed(name), of: PhantomData }
            }
        }

        impl<T, C> Key for $key<T, C> {
            fn into_name(self) -> Name {
                self.name.into_name()
            }
        }

        impl<T, C> Clone for $key<T, C> {
            fn clone(&self) -> Self {
                Self { name: self.name.clone(), of: PhantomData }
            }
        }

        impl<T, C> std::fmt::Debug for $key<T, C> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($key)).field(&self.name.clone().into_name()).finish()
            }
        }
    };
}

key! {
    /// A value of which the last written wins.
    ///
    /// ```
    /// const THEME: replica::Register<String> = replica::Register::new("theme");
    /// ```
    Register<T, C>
}

key! {
    /// A set that keeps every addition; an addition wins over a removal at the same time.
    ///
    /// ```
    /// const CART: replica::Set<u64> = replica::Set::new("cart");
    /// ```
    Set<T, C>
}

/// A number to which additions made at the same time all count.
///
/// ```
/// const VISITS: replica::Counter = replica::Counter::new("visits");
/// ```
#[derive(Clone, Debug)]
pub struct Counter {
    name: KeyName,
}

impl Counter {
    /// The counter of that name.
    ///
    /// # Panics
    /// The name is empty or longer than 128 bytes. As a constant it then does not compile.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: KeyName::fixed(name) }
    }

    /// A counter whose name is known only now.
    ///
    /// # Errors
    /// The name is empty or longer than 128 bytes.
    pub fn named(name: impl AsRef<str>) -> Result<Self, NameError> {
        Ok(Self { name: KeyName::Dynamic(Name::new(name.as_ref())?) })
    }
}

impl Key for Counter {
    fn into_name(self) -> Name {
        self.name.into_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_known_late_are_checked_late() {
        assert!(Register::<u8>::named("").is_err());
        assert!(Counter::named("x".repeat(129)).is_err());
        let (late, early) = (Set::<u8>::named("cart").unwrap(), Set::<u8>::new("cart"));
        assert_eq!(late.into_name(), early.into_name());
        assert_eq!(format!("{:?}", Register::<u8, Raw>::with_codec("a")), "Register(\"a\")");
    }
}
