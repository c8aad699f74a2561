//! Messages declared once, as the types they are and as their encoding.

/// A struct whose fields travel in the order they are written.
macro_rules! message {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut $crate::wire::Encoder) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
            }
            fn decode(
                input: &mut $crate::wire::Decoder<'_>,
            ) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: $crate::wire::Wire::decode(input)?,)* })
            }
        }
    };
}

/// An enum whose alternatives travel as a number and their fields.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$alt_meta:meta])* $alt:ident = $tag:literal
            $({ $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$alt_meta])* $alt $({ $($(#[$field_meta])* $field: $type,)* })?,)*
        }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut $crate::wire::Encoder) {
                match self {
                    $(Self::$alt $({ $($field,)* })? => {
                        out.raw(&[$tag]);
                        $($($crate::wire::Wire::encode($field, out);)*)?
                    })*
                }
            }
            fn decode(
                input: &mut $crate::wire::Decoder<'_>,
            ) -> Result<Self, $crate::wire::WireError> {
                match input.array()? {
                    $([$tag] => Ok(Self::$alt $({
                        $($field: $crate::wire::Wire::decode(input)?,)*
                    })?),)*
                    [tag] => Err($crate::wire::WireError::Tag { what: stringify!($name), tag }),
                }
            }
        }
    };
}

pub(crate) use {choice, message};
