//! DER taken apart and put together again, to write what no library would.

/// One element of DER.
#[derive(Clone, Debug)]
pub(crate) struct Der {
    pub(crate) tag: u8,
    pub(crate) content: Content,
}

/// What stands in it.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Items(Vec<Der>),
}

impl Der {
    pub(crate) fn bytes(tag: u8, bytes: &[u8]) -> Self {
        Self { tag, content: Content::Bytes(bytes.to_vec()) }
    }

    pub(crate) fn items(tag: u8, items: Vec<Self>) -> Self {
        Self { tag, content: Content::Items(items) }
    }

    /// Takes one element apart, with all that is within.
    pub(crate) fn parse(der: &[u8]) -> Self {
        let (it, rest) = Self::first(der);
        assert!(rest.is_empty(), "bytes behind the end");
        it
    }

    fn first(der: &[u8]) -> (Self, &[u8]) {
        let (tag, rest) = (der[0], &der[1..]);
        let (length, rest) = match rest[0] {
            short @ 0..=0x7f => (usize::from(short), &rest[1..]),
            long => {
                let (digits, rest) = rest[1..].split_at(usize::from(long & 0x7f));
                (digits.iter().fold(0, |sum, digit| sum * 256 + usize::from(*digit)), rest)
            }
        };
        let (mut body, rest) = rest.split_at(length);
        if tag & 0x20 == 0 {
            return (Self::bytes(tag, body), rest);
        }
        let mut items = Vec::new();
        while !body.is_empty() {
            let (item, behind) = Self::first(body);
            items.push(item);
            body = behind;
        }
        (Self::items(tag, items), rest)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = match &self.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Items(items) => items.iter().flat_map(Self::encode).collect(),
        };
        let digits: Vec<u8> =
            body.len().to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
        let mut der = vec![self.tag];
        if body.len() < 0x80 {
            der.push(u8::try_from(body.len()).unwrap());
        } else {
            der.push(0x80 | u8::try_from(digits.len()).unwrap());
            der.extend(digits);
        }
        der.extend(body);
        der
    }

    pub(crate) fn list(&mut self) -> &mut Vec<Self> {
        match &mut self.content {
            Content::Items(items) => items,
            Content::Bytes(_) => panic!("{:#x} holds no list", self.tag),
        }
    }

    pub(crate) fn at(&mut self, place: usize) -> &mut Self {
        &mut self.list()[place]
    }

    pub(crate) fn value(&mut self) -> &mut Vec<u8> {
        match &mut self.content {
            Content::Bytes(bytes) => bytes,
            Content::Items(_) => panic!("{:#x} holds a list", self.tag),
        }
    }
}

/// The parts of what is signed of a certificate (RFC 5280 §4.1), where its version is written.
pub(crate) const SERIAL: usize = 1;
pub(crate) const SIGNATURE: usize = 2;
pub(crate) const ISSUER: usize = 3;
pub(crate) const VALIDITY: usize = 4;
pub(crate) const SUBJECT: usize = 5;
pub(crate) const EXTENSIONS: usize = 7;

/// The extension of that number below id-ce, 2.5.29.
pub(crate) fn extension(tbs: &mut Der, number: u8) -> &mut Der {
    let all = tbs.at(EXTENSIONS).at(0).list();
    let is_it = |it: &mut Der| *it.at(0).value() == [0x55, 0x1d, number];
    let place = all.iter_mut().position(is_it).expect("that extension");
    &mut all[place]
}

/// That extension, with this content.
pub(crate) fn new_extension(number: u8, critical: bool, content: &Der) -> Der {
    let mut parts = vec![Der::bytes(6, &[0x55, 0x1d, number])];
    if critical {
        parts.push(Der::bytes(1, &[0xff]));
    }
    parts.push(Der::bytes(4, &content.encode()));
    Der::items(0x30, parts)
}
