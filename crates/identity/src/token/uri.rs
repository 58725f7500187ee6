use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;

const SCHEME: &str = "pkcs11:";

/// Which key of which token: a `pkcs11:` URI (RFC 7512).
///
/// Of the attributes in RFC 7512 §2.3 these are understood: `token`, `serial`, `manufacturer`,
/// `model`, `object`, `id` and `type=private`; in the query `module-path` and `pin-source`. Any
/// other is refused rather than passed over: it would say that another key is meant. `pin-value` is
/// refused for itself, as it would stand where others can read it.
///
/// The text of one that was parsed holds no secret: the PIN is in the file that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUri {
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) module: Option<PathBuf>,
    pub(super) pin_file: Option<PathBuf>,
}

impl TokenUri {
    /// Whether this names a key in a token rather than a file.
    pub fn is_in(path: &Path) -> bool {
        path.as_os_str().as_encoded_bytes().starts_with(SCHEME.as_bytes())
    }

    /// The same, in the module that is meant where the URI names none.
    #[must_use]
    pub fn or_module(self, module: Option<&Path>) -> Self {
        Self { module: self.module.or_else(|| module.map(Path::to_owned)), ..self }
    }

    /// Whether it names the module that speaks to the token.
    pub fn has_module(&self) -> bool {
        self.module.is_some()
    }

    /// Whether it says where the PIN is.
    pub fn has_pin(&self) -> bool {
        self.pin_file.is_some()
    }

    /// Where another key of the same purpose goes: the same token, a name that ends as `suffix`
    /// says, and an identifier that is made with the key.
    #[must_use]
    pub fn successor(&self, suffix: &str) -> Self {
        let own = self.object.as_deref().unwrap_or("key");
        // One suffix, however often there has been a successor.
        let is_suffix = |end: &str| {
            end.len() == suffix.len() && end.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let name = own.rsplit_once('.').filter(|(_, end)| is_suffix(end)).map_or(own, |(it, _)| it);
        Self { object: Some(format!("{name}.{suffix}")), id: None, ..self.clone() }
    }

    /// As a path, for settings that name a file or a key in a token.
    pub fn to_path(&self) -> PathBuf {
        self.to_string().into()
    }

    pub(super) fn refuse(&self, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Token { uri: self.to_string(), reason: reason.into(), remedy: remedy.into() }
    }

    fn take(&mut self, part: Part, name: &str, value: Vec<u8>) -> Result<(), String> {
        let text = || {
            let text = String::from_utf8(value.clone()).ok();
            text.filter(|text| !text.contains(char::is_control) && !text.is_empty())
                .ok_or_else(|| format!("the value of {name} is not a text"))
        };
        let twice = || format!("{name} is given twice");
        let set = |place: &mut Option<String>| match place.replace(text()?) {
            Some(_) => Err(twice()),
            None => Ok(()),
        };
        match (part, name) {
            (Part::Path, "token") => set(&mut self.token),
            (Part::Path, "serial") => set(&mut self.serial),
            (Part::Path, "manufacturer") => set(&mut self.manufacturer),
            (Part::Path, "model") => set(&mut self.model),
            (Part::Path, "object") => set(&mut self.object),
            (Part::Path, "id") if value.is_empty() => Err("id is empty".into()),
            (Part::Path, "id") => match self.id.replace(value) {
                Some(_) => Err(twice()),
                None => Ok(()),
            },
            (Part::Path, "type") if value == b"private" => Ok(()),
            (Part::Path, "type") => Err("only type=private is a key that signs".into()),
            (Part::Query, "module-path") => {
                let path = absolute(name, &text()?)?;
                self.module.replace(path).map_or(Ok(()), |_| Err(twice()))
            }
            (Part::Query, "pin-source") => {
                let given = text()?;
                let file = given
                    .strip_prefix("file:")
                    .ok_or("pin-source must be file: and the path of a file that holds the PIN")?;
                // `file:///x` and `file:/x` are the same (RFC 8089 §2).
                let file = file.strip_prefix("//").unwrap_or(file);
                let path = absolute(name, file)?;
                self.pin_file.replace(path).map_or(Ok(()), |_| Err(twice()))
            }
            (_, "pin-value") => {
                Err("a PIN must not stand in a URI; write it to a file for pin-source".into())
            }
            _ => Err(format!("{name} is not understood here")),
        }
    }
}

impl FromStr for TokenUri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::TokenUri { reason })
    }
}

/// As it is parsed again. Attributes are in one order, and nothing stands plain that could be
/// read otherwise.
impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = [
            ("token", self.token.as_deref().map(str::as_bytes)),
            ("serial", self.serial.as_deref().map(str::as_bytes)),
            ("manufacturer", self.manufacturer.as_deref().map(str::as_bytes)),
            ("model", self.model.as_deref().map(str::as_bytes)),
            ("object", self.object.as_deref().map(str::as_bytes)),
            ("id", self.id.as_deref()),
        ];
        let as_bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let pin = self.pin_file.as_deref().map(|file| [b"file:", &as_bytes(file)[..]].concat());
        let module = self.module.as_deref().map(as_bytes);
        let query = [("module-path", module.as_deref()), ("pin-source", pin.as_deref())];
        f.write_str(SCHEME)?;
        let parts = [(Part::Path, &path[..], "", ";"), (Part::Query, &query[..], "?", "&")];
        for (part, attributes, first, then) in parts {
            let given = attributes.iter().filter_map(|(name, value)| Some((name, (*value)?)));
            for (at, (name, value)) in given.enumerate() {
                let separator = if at == 0 { first } else { then };
                write!(f, "{separator}{name}={}", encoded(value, part))?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Part {
    Path,
    Query,
}

fn parse(text: &str) -> Result<TokenUri, String> {
    let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with pkcs11:")?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let mut uri = TokenUri::default();
    let parts = [(Part::Path, ';', Some(path)), (Part::Query, '&', query)];
    for (part, separator, text) in parts {
        for attribute in text.into_iter().flat_map(|text| text.split(separator)) {
            let (name, value) = attribute
                .split_once('=')
                .ok_or_else(|| format!("{attribute:?} is not of the form name=value"))?;
            let decoded = decoded(value, part).ok_or_else(|| {
                format!("the value of {name} has characters that must be written as %XX")
            })?;
            uri.take(part, name, decoded)?;
        }
    }
    if uri.token.is_none() && uri.serial.is_none() {
        return Err("it names no token: give token=LABEL, or serial=".into());
    }
    if uri.object.is_none() && uri.id.is_none() {
        return Err("it names no key: give object=LABEL, or id=".into());
    }
    Ok(uri)
}

fn absolute(name: &str, path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    path.is_absolute().then_some(path).ok_or_else(|| format!("the path in {name} is not absolute"))
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn decoded(value: &str, part: Part) -> Option<Vec<u8>> {
    // RFC 7512 §2.3, `pk11-res-avail` and what each part has besides.
    let besides: &[u8] = match part {
        Part::Path => b":[]@!$'()*+,=&",
        Part::Query => b":[]@!$'()*+,=/?|",
    };
    let mut bytes = value.bytes();
    let mut out = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
            }
            _ if is_unreserved(byte) || besides.contains(&byte) => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

fn encoded(value: &[u8], part: Part) -> String {
    let besides: &[u8] = match part {
        Part::Path => b"",
        Part::Query => b"/:",
    };
    let mut out = String::with_capacity(value.len());
    for &byte in value {
        match is_unreserved(byte) || besides.contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> String {
        text.parse::<TokenUri>().unwrap_err().to_string()
    }

    #[test]
    fn what_a_uri_says_is_read() {
        let text = "pkcs11:token=Seal%20wire;object=ca;id=%01%fF;type=private\
                    ?pin-source=file:///etc/pin&module-path=/usr/lib/softhsm/libsofthsm2.so";
        let uri: TokenUri = text.parse().unwrap();
        assert_eq!(uri.token.as_deref(), Some("Seal wire"));
        assert_eq!(uri.object.as_deref(), Some("ca"));
        assert_eq!(uri.id.as_deref(), Some(&[1, 0xff][..]));
        assert_eq!(uri.pin_file.as_deref(), Some(Path::new("/etc/pin")));
        assert_eq!(uri.module.as_deref(), Some(Path::new("/usr/lib/softhsm/libsofthsm2.so")));
        assert_eq!(
            uri.to_string(),
            "pkcs11:token=Seal%20wire;object=ca;id=%01%FF\
             ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin"
        );
    }

    #[test]
    fn what_could_be_read_in_another_way_is_refused() {
        for (text, why) in [
            ("", "does not begin with pkcs11:"),
            ("PKCS11:token=a;object=b", "does not begin with pkcs11:"),
            ("pkcs11:", "not of the form"),
            ("pkcs11:token=a", "names no key"),
            ("pkcs11:object=a", "names no token"),
            ("pkcs11:token=a;object=b;", "not of the form"),
            ("pkcs11:token=a;object=b?", "not of the form"),
            ("pkcs11:token=a;token=a;object=b", "token is given twice"),
            ("pkcs11:token=a;id=%01;id=%02", "id is given twice"),
            ("pkcs11:token=a;object=", "not a text"),
            ("pkcs11:token=a;id=", "id is empty"),
            ("pkcs11:token=a;object=%0a", "not a text"),
            ("pkcs11:token=a;object=%ff", "not a text"),
            ("pkcs11:token=a;object=b c", "must be written as %XX"),
            ("pkcs11:token=a;object=b/c", "must be written as %XX"),
            ("pkcs11:token=a;object=%2", "must be written as %XX"),
            ("pkcs11:token=a;object=%+1", "must be written as %XX"),
            ("pkcs11:token=a;object=b;slot-id=1", "slot-id is not understood"),
            ("pkcs11:token=a;object=b;type=cert", "only type=private"),
            ("pkcs11:token=a;object=b;vendor-x=1", "vendor-x is not understood"),
            ("pkcs11:token=a;object=b?pin-value=1234", "must not stand in a URI"),
            ("pkcs11:token=a;object=b;pin-value=1234", "must not stand in a URI"),
            ("pkcs11:token=a;object=b?pin-source=/etc/pin", "pin-source must be file:"),
            ("pkcs11:token=a;object=b?pin-source=|/bin/pin", "pin-source must be file:"),
            ("pkcs11:token=a;object=b?pin-source=file:pin", "pin-source is not absolute"),
            ("pkcs11:token=a;object=b?pin-source=file://host/pin", "pin-source is not absolute"),
            ("pkcs11:token=a;object=b?module-path=x.so", "module-path is not absolute"),
            ("pkcs11:token=a;object=b?module-name=x", "module-name is not understood"),
            ("pkcs11:object=b?token=a", "token is not understood"),
        ] {
            assert!(reason(text).contains(why), "{text}: {}", reason(text));
        }
        // What is refused is not repeated: it may have been a PIN.
        assert!(!reason("pkcs11:token=a;object=b?pin-value=1234").contains("1234"));
    }

    #[test]
    fn a_successor_has_one_suffix() {
        let uri: TokenUri = "pkcs11:token=a;object=ca;id=%01".parse().unwrap();
        let next = uri.successor("0123abcd");
        assert_eq!(next.to_string(), "pkcs11:token=a;object=ca.0123abcd");
        assert_eq!(next.successor("ffff0000").to_string(), "pkcs11:token=a;object=ca.ffff0000");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            token in "[^\\pC]{1,20}",
            object in proptest::option::of("[^\\pC]{1,20}"),
            id in proptest::collection::vec(any::<u8>(), 1..20),
            module in "(/[^/\\pC]{1,9}){1,3}",
            pin in "(/[^/\\pC]{1,9}){1,3}",
        ) {
            let uri = TokenUri {
                token: Some(token),
                object,
                id: Some(id),
                module: Some(module.into()),
                pin_file: Some(pin.into()),
                ..TokenUri::default()
            };
            prop_assert_eq!(uri.to_string().parse::<TokenUri>().unwrap(), uri);
        }

        #[test]
        fn no_text_ends_in_a_panic(text in "pkcs11:(token=|id=|object=|%|;|[?]|&|\\PC){0,30}") {
            if let Ok(uri) = text.parse::<TokenUri>() {
                prop_assert_eq!(uri.to_string().parse::<TokenUri>().unwrap(), uri);
            }
        }
    }
}
