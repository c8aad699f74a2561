//! Tables of the kernel's packet filter, changed all at once.

use std::io;

use super::netlink::{messages::Request, socket::Socket};

// linux/netfilter/nfnetlink.h
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
// linux/netfilter/nf_tables.h
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const REGISTER: u32 = 1;
/// Elements of one message, which must not become longer than an attribute can be.
const AT_ONCE: usize = 500;

/// `inet`: both families.
const FAMILY_INET: u8 = 1;
/// What a packet's family is called in a rule.
const META_NFPROTO: u32 = 15;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
const POSTROUTING: u32 = 4;
/// Where source addresses are translated.
const PRIORITY_SNAT: u32 = 100;

/// Addresses of which family a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl SetKind {
    /// As nft numbers its types.
    fn number(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }

    fn length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    fn protocol(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    fn source_offset(self) -> u32 {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    fn destination_offset(self) -> u32 {
        self.source_offset() + self.length()
    }
}

/// A network in a rule: an address, and the bits of it that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// As in the packet, with all other bits zero.
    pub address: Vec<u8>,
    /// Ones for the bits that count.
    pub mask: Vec<u8>,
}

/// Changes to one table of both families that are made all or not at all.
#[derive(Debug)]
pub struct Transaction<'a> {
    table: &'a str,
    requests: Vec<Request>,
}

impl<'a> Transaction<'a> {
    /// Nothing yet.
    pub fn new(table: &'a str) -> Self {
        Self {
            table,
            requests: Vec::new(),
        }
    }

    /// The table is there.
    pub fn add_table(&mut self) {
        let table = self.table;
        let request = self.request(NEW_TABLE, libc::NLM_F_CREATE);
        request.text(1, table);
    }

    /// The table is gone, with all in it.
    pub fn delete_table(&mut self) {
        let table = self.table;
        let request = self.request(DELETE_TABLE, 0);
        request.text(1, table);
    }

    /// A chain that packets go through when they leave, where source addresses are translated.
    pub fn add_source_nat_chain(&mut self, chain: &str) {
        let table = self.table;
        let request = self.request(NEW_CHAIN, libc::NLM_F_CREATE);
        request.text(1, table);
        request.text(3, chain);
        request.nested(4, |hook| {
            hook.attribute(1, &POSTROUTING.to_be_bytes());
            hook.attribute(2, &PRIORITY_SNAT.to_be_bytes());
        });
        request.text(7, "nat");
    }

    /// A set of addresses; `number` tells it from others of the transaction.
    pub fn add_set(&mut self, set: &str, kind: SetKind, number: u32) {
        let table = self.table;
        let request = self.request(NEW_SET, libc::NLM_F_CREATE);
        request.text(1, table);
        request.text(2, set);
        request.attribute(3, &0u32.to_be_bytes());
        request.attribute(4, &kind.number().to_be_bytes());
        request.attribute(5, &kind.length().to_be_bytes());
        request.attribute(10, &number.to_be_bytes());
    }

    /// Addresses are in a set.
    pub fn add_elements(&mut self, set: &str, addresses: &[Vec<u8>]) {
        self.elements(NEW_ELEMENT, libc::NLM_F_CREATE, set, addresses);
    }

    /// Addresses are in a set no more. It is an error that they are not.
    pub fn delete_elements(&mut self, set: &str, addresses: &[Vec<u8>]) {
        self.elements(DELETE_ELEMENT, 0, set, addresses);
    }

    fn elements(&mut self, kind: u16, flags: i32, set: &str, addresses: &[Vec<u8>]) {
        let table = self.table;
        for some in addresses.chunks(AT_ONCE) {
            let request = self.request(kind, flags);
            request.text(1, table);
            request.text(2, set);
            request.nested(3, |list| {
                for address in some {
                    list.nested(LIST_ELEMENT, |element| {
                        element.nested(1, |key| key.attribute(DATA_VALUE, address));
                    });
                }
            });
        }
    }

    /// Packets from an address in `set` to none of the networks `but` get the address of the link they leave by.
    pub fn add_masquerade(&mut self, chain: &str, set: &str, kind: SetKind, but: &[Masked]) {
        let table = self.table;
        let request = self.request(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        request.text(1, table);
        request.text(2, chain);
        request.nested(4, |rule| {
            expression(rule, "meta", |data| {
                number(data, 1, REGISTER);
                number(data, 2, META_NFPROTO);
            });
            compare(rule, Comparison::Equal, &[kind.protocol()]);
            load(rule, kind.source_offset(), kind.length());
            expression(rule, "lookup", |data| {
                data.text(1, set);
                number(data, 2, REGISTER);
            });
            for network in but {
                load(rule, kind.destination_offset(), kind.length());
                expression(rule, "bitwise", |data| {
                    number(data, 1, REGISTER);
                    number(data, 2, REGISTER);
                    number(data, 3, kind.length());
                    data.nested(4, |mask| mask.attribute(DATA_VALUE, &network.mask));
                    let nothing = vec![0; network.mask.len()];
                    data.nested(5, |xor| xor.attribute(DATA_VALUE, &nothing));
                });
                compare(rule, Comparison::Different, &network.address);
            }
            expression(rule, "masq", |_| {});
        });
    }

    /// Makes the changes in the calling thread's network namespace.
    pub fn commit(self) -> io::Result<()> {
        let mut requests = self.requests;
        let Some(last) = requests.pop() else {
            return Ok(());
        };
        requests.push(last.acknowledged());
        Socket::netfilter()?.transact(frame(BATCH_BEGIN), requests, frame(BATCH_END))
    }

    fn request(&mut self, kind: u16, flags: i32) -> &mut Request {
        let mut request = Request::new(SUBSYSTEM << 8 | kind, flags as u16);
        request.header(&[FAMILY_INET, 0, 0, 0]);
        self.requests.push(request);
        let at = self.requests.len() - 1;
        &mut self.requests[at]
    }
}

#[derive(Clone, Copy)]
enum Comparison {
    Equal,
    Different,
}

fn compare(rule: &mut Request, how: Comparison, with: &[u8]) {
    let how: u32 = match how {
        Comparison::Equal => 0,
        Comparison::Different => 1,
    };
    expression(rule, "cmp", |data| {
        number(data, 1, REGISTER);
        number(data, 2, how);
        data.nested(3, |value| value.attribute(DATA_VALUE, with));
    });
}

fn load(rule: &mut Request, offset: u32, length: u32) {
    expression(rule, "payload", |data| {
        number(data, 1, REGISTER);
        number(data, 2, PAYLOAD_NETWORK_HEADER);
        number(data, 3, offset);
        number(data, 4, length);
    });
}

fn expression(rule: &mut Request, name: &str, fill: impl FnOnce(&mut Request)) {
    rule.nested(LIST_ELEMENT, |expression| {
        expression.text(1, name);
        expression.nested(2, fill);
    });
}

fn number(data: &mut Request, kind: u16, value: u32) {
    data.attribute(kind, &value.to_be_bytes());
}

/// The beginning or the end of a transaction.
fn frame(kind: u16) -> Request {
    let mut request = Request::new(kind, 0);
    let [high, low] = SUBSYSTEM.to_be_bytes();
    request.header(&[libc::AF_UNSPEC as u8, 0, high, low]);
    request
}
