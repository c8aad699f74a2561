//! Answers with long lists, written for the wire from the published views themselves.
//!
//! A container's entry in the generated messages is some forty pieces of memory, made only to be written and dropped; a node
//! has thousands of containers, and a kubelet lists them every second. So an answer that is sent holds views, and the entry of
//! each goes to the wire as it was written for the list before: all of it but the state never changes, and is kept with the
//! view. What it is made of lies in sixty places of the memory, and to visit them takes longer than all else. An answer that
//! was received holds the generated entries, as any message does.

mod entries;
mod part;

use std::sync::Arc;

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use super::api;
use crate::{container::view::ContainerView, pod::view::PodView};
use part::{Length, Sink, Writer};

/// Declares the answer `$answer` with entries `$entry` in its field 1, made from `$view`s, and how it is written and read.
macro_rules! answer {
    ($(#[$doc:meta])* $answer:ident { $items:ident: $entry:ty, $view:ty }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $answer {
            /// The entries, as received; what is to be sent has its entries in views.
            pub $items: Vec<$entry>,
            views: Vec<Arc<$view>>,
        }

        impl $answer {
            /// An answer to be sent.
            pub fn of(views: Vec<Arc<$view>>) -> Self {
                Self {
                    $items: Vec::new(),
                    views,
                }
            }
        }

        impl Message for $answer {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                encoding::message::encode_repeated(1, &self.$items, buf);
                let mut writer = Writer(buf);
                for view in &self.views {
                    writer.part(1, &**view);
                }
            }

            fn encoded_len(&self) -> usize {
                let mut length = Length(encoding::message::encoded_len_repeated(1, &self.$items));
                for view in &self.views {
                    length.part(1, &**view);
                }
                length.0
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                match tag {
                    1 => encoding::message::merge_repeated(wire_type, &mut self.$items, buf, context),
                    _ => encoding::skip_field(wire_type, tag, buf, context),
                }
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    };
}

answer! {
    /// The answer to `ListContainers`.
    ListContainersResponse { containers: api::Container, ContainerView }
}

answer! {
    /// The answer to `ListPodSandbox`.
    ListPodSandboxResponse { items: api::PodSandbox, PodView }
}
