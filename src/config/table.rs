//! The macro that makes a struct, its defaults, its reader and its documentation of one table.

/// What is known of one option, apart from its type.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Key in the configuration file.
    pub key: &'static str,
    /// Heading it stands under.
    pub group: &'static str,
    /// What it is for, in lines of text that each begin with a space.
    pub doc: &'static [&'static str],
    /// Flag without dashes; empty where only a file can set it.
    pub flag: &'static str,
    /// Name of the flag's value in the help.
    pub hint: &'static str,
    /// How its value is written.
    pub shape: super::value::Shape,
}

impl OptionSpec {
    /// The environment variable: the flag in capitals after `CORTEN_`.
    pub fn variable(&self) -> String {
        format!(
            "CORTEN_{}",
            self.flag.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// Its lines of documentation without their leading space.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.doc
            .iter()
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
    }
}

/// Defines a struct of options.
///
/// Each entry is: documentation, `key: Type = default, "flag" "VALUE";`. The documentation is the field's, the help
/// text's and the comment in `corten config` alike.
macro_rules! options {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident;
        $( $group:literal {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $flag:literal $hint:literal; )+
        } )+
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($( $(#[doc = $doc])+ pub $key: $type, )+)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($( $key: $default, )+)+ }
            }
        }

        impl $name {
            /// Every option, in the order it is documented.
            pub const OPTIONS: &'static [$crate::config::table::OptionSpec] = &[
                $($( $crate::config::table::OptionSpec {
                    key: stringify!($key),
                    group: $group,
                    doc: &[$($doc),+],
                    flag: $flag,
                    hint: $hint,
                    shape: <$type as $crate::config::value::Setting>::SHAPE,
                }, )+)+
            ];

            /// Sets the option `key`; `None` when there is none of that name.
            pub(super) fn set(&mut self, key: &str, value: &toml::Value) -> Option<Result<(), String>> {
                match key {
                    $($( stringify!($key) => Some(
                        <$type as $crate::config::value::Setting>::read(value).map(|value| self.$key = value),
                    ), )+)+
                    _ => None,
                }
            }

            /// The value of the option `key`, as a file would hold it.
            pub(super) fn get(&self, key: &str) -> Option<toml::Value> {
                match key {
                    $($( stringify!($key) => Some($crate::config::value::Setting::write(&self.$key)), )+)+
                    _ => None,
                }
            }
        }
    };
}

pub(super) use options;
