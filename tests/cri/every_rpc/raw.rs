//! Calls by name.

use std::{collections::BTreeMap, fmt::Debug, marker::PhantomData};

use bytes::BufMut;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_prost::ProstDecoder;

use crate::support::Node;

/// A method as the CRI defines it.
pub(super) struct Method {
    service: String,
    pub(super) name: String,
}

/// All methods, in the order of their definition.
pub(super) fn methods() -> Vec<Method> {
    let compiled = include_bytes!(concat!(env!("OUT_DIR"), "/protocol.bin"));
    let set = FileDescriptorSet::decode(compiled.as_slice()).unwrap();
    let mut found = Vec::new();
    for file in set.file.iter().filter(|f| f.package() == "runtime.v1") {
        for service in &file.service {
            for method in &service.method {
                found.push(Method {
                    service: format!("runtime.v1.{}", service.name()),
                    name: method.name().to_owned(),
                });
            }
        }
    }
    found
}

/// Sends bytes as they are, and reads messages.
struct Bytes<A>(PhantomData<A>);

impl<A: Message + Default + Send + 'static> Codec for Bytes<A> {
    type Encode = Vec<u8>;
    type Decode = A;
    type Encoder = Plain;
    type Decoder = ProstDecoder<A>;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> ProstDecoder<A> {
        ProstDecoder::default()
    }
}

struct Plain;

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

/// Calls methods, and keeps what came of it.
pub(super) struct Caller {
    client: Grpc<Channel>,
    paths: BTreeMap<String, PathAndQuery>,
    /// The code of each method's last answer.
    pub(super) codes: BTreeMap<String, Code>,
    wrong: Vec<String>,
}

impl Caller {
    pub(super) fn new(node: &Node) -> Self {
        let path = |m: &Method| format!("/{}/{}", m.service, m.name).parse().unwrap();
        Self {
            client: Grpc::new(node.channel()).max_decoding_message_size(80 << 20),
            paths: methods()
                .into_iter()
                .map(|method| (method.name.clone(), path(&method)))
                .collect(),
            codes: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// Begins a call; a method with a single answer has a stream of one.
    pub(super) async fn begin<A>(
        &mut self,
        method: &str,
        request: Vec<u8>,
    ) -> Result<Streaming<A>, Status>
    where
        A: Message + Default + Send + 'static,
    {
        let path = self.paths[method].clone();
        self.client.ready().await.unwrap();
        let codec = Bytes(PhantomData);
        let answer = self
            .client
            .server_streaming(Request::new(request), path, codec)
            .await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.codes.insert(method.to_owned(), code);
        answer.map(tonic::Response::into_inner)
    }

    async fn answers<A>(&mut self, method: &str, request: Vec<u8>) -> Result<Vec<A>, Status>
    where
        A: Message + Default + Send + 'static,
    {
        let mut stream = self.begin(method, request).await?;
        let mut answers = Vec::new();
        while let Some(answer) = stream.message().await.inspect_err(|status| {
            self.codes.insert(method.to_owned(), status.code());
        })? {
            answers.push(answer);
        }
        Ok(answers)
    }

    /// A call that should be answered with what is `right`; gives the first answer, or an empty one.
    pub(super) async fn good<A>(
        &mut self,
        method: &str,
        request: impl Message,
        right: impl FnOnce(&A) -> bool,
    ) -> A
    where
        A: Message + Debug + Default + Send + 'static,
    {
        match self.answers(method, request.encode_to_vec()).await {
            Ok(mut answers) if answers.len() == 1 => {
                let answer = answers.remove(0);
                if !right(&answer) {
                    self.say(format!("{method}: {answer:?}"));
                }
                return answer;
            }
            Ok(answers) => self.say(format!("{method}: {} answers", answers.len())),
            Err(status) => self.say(format!("{method}: {status}")),
        }
        A::default()
    }

    /// A call that should be refused with a code.
    pub(super) async fn bad(&mut self, method: &str, request: Vec<u8>, code: Code) {
        let shown = String::from_utf8_lossy(&request).into_owned();
        match self.answers::<()>(method, request).await {
            Ok(_) => self.say(format!("{method} took {shown:?}")),
            Err(status) if status.code() == code && !status.message().is_empty() => {}
            Err(status) => self.say(format!("{method} refused {shown:?}, but with {status}")),
        }
    }

    pub(super) fn say(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    pub(super) fn all_was_right(&self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}
